"""``ntm.export`` is a package and a function: it can be called before its modules are imported, and after."""

import pathlib
import subprocess
import sys
import types

import pytest

import ntm
import ntm.export.step  # which makes ntm.export the package
from ntm.runtime.metadata import BATCHED, FILES, STEP, UNROLLED
from ntm.training.run import load_run

pytestmark = pytest.mark.slow

GRAPHS = [FILES[graph] for graph in (STEP, UNROLLED, BATCHED)]  # of a network with content addressing


def python(code: str, *arguments: str | pathlib.Path) -> str:
    """Run a program, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("short_gate")
def test_the_package_is_called_as_the_function(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert isinstance(ntm.export, types.ModuleType)
    found = ntm.export(run, tmp_path / "of-a-folder", unroll=2, model_name="called")
    assert list(found) == GRAPHS
    assert ntm.load(tmp_path / "of-a-folder").metadata.model_name == "called"
    ntm.export(load_run(run), tmp_path / "of-a-network", unroll=2, model_name="called")
    for file in GRAPHS:
        assert (tmp_path / "of-a-network" / file).read_bytes() == (tmp_path / "of-a-folder" / file).read_bytes()


def test_it_is_a_function_before_its_modules_are_imported(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code = """if True:
        import sys, types, ntm
        assert isinstance(ntm.export, types.FunctionType)
        assert "tensorflow" not in sys.modules
        print(*ntm.export(sys.argv[1], sys.argv[2]))
        assert isinstance(ntm.export, types.ModuleType)
        try:
            ntm.export(sys.argv[1], sys.argv[2])
        except ntm.ExportError as error:
            print(error)"""
    graphs, refused = python(code, run, tmp_path / "out").splitlines()
    assert graphs.split() == GRAPHS
    assert refused == f"{tmp_path / 'out'} exists (--force replaces an export)"
    assert (tmp_path / "out" / "card.md").is_file()


WITHOUT = """if True:
    import importlib.machinery, sys

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, *arguments):
            return None if name.partition(".")[0] == sys.argv[1] else super().find_spec(name, *arguments)

    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
    import ntm

    def export():
        try:
            ntm.export(sys.argv[2], sys.argv[3])
        except ntm.MissingExtraError as error:
            print(error)

    export()
    import ntm.export.options
    export()
"""


@pytest.mark.parametrize("missing", ["tensorflow", "tf2onnx", "onnx", "ai_edge_litert"])
def test_a_missing_extra_is_named(run: pathlib.Path, tmp_path: pathlib.Path, missing: str) -> None:
    """Called as a function, and as the package."""
    message = f"{missing} is missing: pip install 'neural-turing-machine[export]'"
    assert python(WITHOUT, missing, run, tmp_path / "out").splitlines() == [message, message]
    assert list(tmp_path.iterdir()) == []
