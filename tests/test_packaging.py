"""The map of the import names, the links and the folders agree, and a wheel holds what it should."""

import configparser
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import ntm
from ntm import commands
from ntm.errors import has_tensorflow
from ntm.runtime.folder import bundled
from ntm.runtime.metadata import FILES

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
COMMANDS = {
    "ntm-train": "train",
    "ntm-export": "export",
    "ntm-copy": "copy",
    "ntm-eval": "evaluate",
    "ntm-run": "run",
    "ntm-view": "view",
}
FOLDERS = {"models", "tasks", "training", "export", "runtime"}


def test_packages_map_and_links_agree() -> None:
    assert set(SETUPTOOLS["packages"]) == {"ntm", *(f"ntm.{folder}" for folder in FOLDERS)}
    assert SETUPTOOLS["package-dir"] == {"ntm": "ntm", **{f"ntm.{folder}": folder for folder in FOLDERS}}
    links = {path.name: path.readlink() for path in (ROOT / "ntm").iterdir() if path.is_symlink()}
    assert links == {folder: pathlib.Path("..", folder) for folder in FOLDERS}
    for folder in FOLDERS:
        assert (ROOT / folder / "__init__.py").is_file()


def test_no_package_is_forgotten() -> None:
    with_code = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert {path.relative_to(ROOT).as_posix() for path in with_code} == FOLDERS


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14", "3.15"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("darwin", "arm64"), ("darwin", "x86_64")])
def test_the_extra_asks_for_tensorflow_where_it_is_released(python: str, system: str, machine: str) -> None:
    (line,) = PROJECT["project"]["optional-dependencies"]["train"]
    requirement = Requirement(line)
    assert requirement.name == "tensorflow"
    assert requirement.marker is not None
    environment = {"python_version": python, "sys_platform": system, "platform_machine": machine}
    asked = requirement.marker.evaluate(environment)
    major, minor = Version(python).release
    assert asked == has_tensorflow((major, minor), system, machine)
    if (system, machine) == ("darwin", "x86_64") or python in ("3.14", "3.15"):
        assert not asked
    else:
        assert asked


def test_every_command_has_an_entry_point() -> None:
    assert PROJECT["project"]["scripts"] == {name: f"ntm.commands:{function}" for name, function in COMMANDS.items()}
    public = {name for name in vars(commands) if not name.startswith("_") and callable(getattr(commands, name))}
    assert public == set(COMMANDS.values())


@pytest.mark.parametrize("links", ["links", "files that name them", "none"])
def test_python_runs_in_the_root_of_a_clone(tmp_path: pathlib.Path, links: str) -> None:
    """Git writes a link as a file that names its target where it cannot make links, and an archive may lose it."""
    for folder in ("ntm", *FOLDERS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    for folder in FOLDERS:
        link = tmp_path / "ntm" / folder
        if links != "links":
            target = str(link.readlink())
            link.unlink()
            if links != "none":
                link.write_text(target)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    program = f"""
import sys
sys.path += {packages!r}
import ntm, ntm.export.options, ntm.training
from ntm import console, tasks
words = [[[0, 1] * 4] * 3]
assert ntm.load().copy(words).tolist() == words
print(ntm.__file__)
print(ntm.runtime.metadata.__file__)
"""
    # Without site: it knows where this project is installed.
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, check=False, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    file, metadata = map(pathlib.Path, done.stdout.splitlines())
    assert file == tmp_path / "ntm" / "__init__.py"
    assert metadata.resolve() == tmp_path / "runtime" / "metadata.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", ROOT, source], check=True)
    stale = source / "build" / "lib" / "ntm" / "stale.py"  # as an earlier release of setuptools or of ours left it
    stale.parent.mkdir(parents=True)
    stale.touch()
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert [path for path in (source / "build").rglob("*") if path.is_file()] == [stale]  # nothing more is left
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_the_wheel_installs_one_top_level_package(wheel: pathlib.Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"ntm"}


@pytest.mark.slow
def test_the_wheel_is_of_the_version(wheel: pathlib.Path) -> None:
    assert wheel.name.startswith(f"neural_turing_machine-{ntm.__version__}-")


@pytest.mark.slow
def test_the_wheel_holds_nothing_of_an_earlier_one(wheel: pathlib.Path) -> None:
    assert "ntm/stale.py" not in zipfile.ZipFile(wheel).namelist()


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_bundled_models(wheel: pathlib.Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        f"ntm/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).iterdir()
        if path.suffix in (".py", ".c", ".h")
    }
    assert modules <= names
    assert {"ntm/__init__.py", "ntm/py.typed"} <= names
    assert "copy-8bit" in bundled()
    files = {name: [FILES[graph] for graph in ntm.load(name).metadata.graphs] for name in bundled()}
    assert files["copy-8bit"] == ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"]
    models = {name for name in names if name.startswith("ntm/runtime/pretrained/")}
    as_good = {name for name in models if name.endswith("/step_dynamic_range.tflite")}  # of some of them
    assert models - as_good == {
        f"ntm/runtime/pretrained/{model}/{file}"
        for model, graphs in files.items()
        for file in (*graphs, "step.tflite", "known_answer.json", "card.md")
    }
    page = {f"ntm/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "runtime" / "page").rglob("*.*")}
    assert page == {name for name in names if name.startswith("ntm/runtime/page/")}
    assert wheel.stat().st_size < 5 * 2**20


@pytest.mark.slow
def test_the_wheel_installs_every_command(wheel: pathlib.Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
    entry_points = configparser.ConfigParser()
    entry_points.read_string(archive.read(path).decode())
    installed = dict(entry_points["console_scripts"])
    assert installed == {name: f"ntm.commands:{function}" for name, function in COMMANDS.items()}
