"""Native libraries: what a C compiler makes of a step, and what a program sees of it."""

import ctypes
import json
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import ntm
from ntm.errors import ExportError
from ntm.export import compiler, native, publish
from ntm.export.compiler import Machine
from ntm.export.source import Source
from ntm.export.step import Sizes
from ntm.models import Network
from ntm.runtime import folder as model_folder
from ntm.runtime import native_library
from ntm.tasks import Copy
from ntm.training.run import TrainedRun, load_run

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the format native needs a C compiler"
)
TASK = Copy(bits=3)
# Networks, and B of the library.
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "R1-K1": (1, {}),
    "R2-K2, LSTM controller of two layers": (
        3,
        {"read_heads": 2, "write_heads": 2, "controller": "lstm", "controller_sizes": (7, 5)},
    ),
    "R2-K5, S=5, learned": (
        2,
        {
            "memory_locations": 6,
            "shifts": 5,
            "read_heads": 2,
            "write_heads": 5,
            "initial_memory": "learned",
            "initial_weights": "learned",
            "initial_reads": "learned",
        },
    ),
    "S=1, uniform, random": (
        1,
        {"memory_locations": 6, "shifts": 1, "initial_weights": "uniform", "initial_memory": "random"},
    ),
    "content addressing off": (3, {"content_addressing": False}),
    "LSTM": (3, {"model": "lstm", "layer_sizes": (6, 5)}),
}


@pytest.mark.slow
@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(("batch_size", "options"), NETWORKS.values(), ids=NETWORKS)
def test_every_network_is_compiled_and_equals_tensorflow(
    make_network: Callable[..., Network],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    batch_size: int,
    options: dict[str, Any],
) -> None:
    network = make_network(TASK, **options)
    found = publish.publish(
        trained(network, TASK), tmp_path / "out", ["native"], memory_locations=23, batch_size=batch_size
    )
    (agreement,) = found.values()
    assert set(agreement.difference) >= {"y", *(f"next_{name}" for name in network.config.state_shapes)}
    assert set(publish.verify(trained(network, TASK), tmp_path / "out")) == set(found)
    model = ntm.load(tmp_path / "out", backend="native")
    for count in (0, 1, 2, 4):  # B of the library and others
        x = TASK.batch(np.random.default_rng(0), max(count, 1), {"length": 5}).x[:, :count]
        y, after = model.run(x)
        state = network.initial_state(count, 23)
        for x_t, y_t in zip(x, y, strict=True):
            logits, state = network(x_t, state)
            np.testing.assert_allclose(y_t, 1 / (1 + np.exp(-logits.numpy())), atol=1e-5)
        for name, value in state.items():
            np.testing.assert_allclose(after[name], value.numpy(), atol=1e-5, err_msg=name)


def loaded(folder: pathlib.Path) -> tuple[native_library.NativeLibrary, model_folder.Graph]:
    graph = model_folder.read_native(folder / "native" / native_library.shared_name())
    return native_library.NativeLibrary(graph.content, graph.metadata, model_folder.fixed_shapes(graph)), graph


def test_what_is_exported(library: pathlib.Path) -> None:
    names = {path.name for path in (library / "native").iterdir()}
    assert names == {"ntm.h", "ntm.c", "libntm.a", native_library.shared_name(), "known_answer.json"}
    card = (library / "card.md").read_text()
    assert "`native/` is one time step of B = 1 and N = 30 as machine code, for this system, any processor:" in card
    assert f"| native/{native_library.shared_name()} |" in card
    header = (library / "native" / "ntm.h").read_text()
    for line in ("#define NTM_B 1", "#define NTM_N 30", "#define NTM_I 6", "#define NTM_O 5", "#define NTM_SIZE_X 6"):
        assert line in header.splitlines()


@pytest.mark.skipif(shutil.which("ldd") is None, reason="there is no ldd")
def test_it_needs_the_library_of_c_alone(library: pathlib.Path) -> None:
    path = library / "native" / native_library.shared_name()
    needed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].rpartition("/")[2].partition(".")[0] for line in needed.splitlines()}
    assert names <= {"linux-vdso", "linux-gate", "libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64"}
    assert path.stat().st_size < 5 << 20


@pytest.mark.skipif(shutil.which("readelf") is None, reason="there is no readelf")
def test_no_other_library_can_take_the_place_of_a_function(library: pathlib.Path) -> None:
    """What the loader may resolve is of the library of C."""
    path = library / "native" / native_library.shared_name()
    found = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    assert "malloc" in found
    assert "ntm_" not in found


@pytest.mark.slow
@pytest.mark.usefixtures("short_gate")
def test_an_export_has_the_same_bytes_again(run: pathlib.Path, library: pathlib.Path, tmp_path: pathlib.Path) -> None:
    publish.publish(run, tmp_path / "tiny-copy", ["native"], memory_locations=30)
    for path in (library / "native").iterdir():
        assert path.read_bytes() == (tmp_path / "tiny-copy" / "native" / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_run_is_a_step_repeated(library: pathlib.Path) -> None:
    native_one, graph = loaded(library)
    instance, other = native_one.instance(), native_one.instance()
    x = Copy(bits=5).batch(np.random.default_rng(0), 1, {"length": 9}).x
    y, state = native_one.run(instance, x), native_one.state(other)
    for x_t, y_t in zip(x, y, strict=True):
        found = native_one.compute(other, {"x": x_t, **state})
        np.testing.assert_array_equal(found["y"], y_t)
        state = {name: found[f"next_{name}"] for name in state}
    for name, value in native_one.state(instance).items():
        np.testing.assert_array_equal(value, state[name])
    assert graph.sizes == (1, 30)


def test_instances_are_independent_in_threads(library: pathlib.Path) -> None:
    native_one, _ = loaded(library)
    x = [Copy(bits=5).batch(np.random.default_rng(i), 1, {"length": 40}).x for i in range(8)]
    expected = [native_one.run(native_one.instance(), each) for each in x]
    assert not np.array_equal(expected[0], expected[1])

    def again(each: np.ndarray) -> list[np.ndarray]:
        return [native_one.run(native_one.instance(), each) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for y, found in zip(expected, pool.map(again, x), strict=True):
            assert all(np.array_equal(y, each) for each in found)


def test_an_array_of_another_shape_is_refused(library: pathlib.Path) -> None:
    native_one, _ = loaded(library)
    instance = native_one.instance()
    inputs = {"x": np.zeros((1, 6), np.float32), **native_one.state(instance)}
    with pytest.raises(ValueError, match="memory must have the shape"):
        native_one.compute(instance, inputs | {"memory": inputs["memory"][:, :, :20]})
    with pytest.raises(ValueError, match="an array must be float32"):
        native_one.run(instance, np.zeros((2, 1, 7), np.float32))
    with pytest.raises(ValueError, match="an array must be float32"):
        native_one.run(instance, np.zeros((2, 1, 6), np.float64))


def test_the_mode_of_the_thread_stays(library: pathlib.Path) -> None:
    """Denormal numbers are zero within a step, and only there; in a process whose mode nothing else has changed."""
    program = """
import pathlib, sys
import numpy as np
from ntm.runtime import folder, native_library
graph = folder.read_native(pathlib.Path(sys.argv[1]))
one = native_library.NativeLibrary(graph.content, graph.metadata, folder.fixed_shapes(graph))
small, one_half = np.full(1, 1e-39, np.float32), np.full(1, 0.5, np.float32)
assert (small * one_half)[0] > 0
one.run(one.instance(), np.ones((3, 1, 6), np.float32))
assert (small * one_half)[0] > 0
"""
    path = library / "native" / native_library.shared_name()
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=60)


@pytest.mark.slow
def test_a_name_may_hold_anything(
    make_network: Callable[..., Network], trained: Callable[..., TrainedRun], tmp_path: pathlib.Path
) -> None:
    name = 'é" \\ */ ??/ %s'
    source = Source(trained(make_network(TASK), TASK), TASK, name, memory_locations=5)
    native.write(source, tmp_path)
    _, graph = loaded(tmp_path)
    assert graph.metadata.model_name == name
    program = '#include "ntm.h"\n#include <stdio.h>\nint main(void) { return fputs(NTM_MODEL, stdout) < 0; }\n'
    (tmp_path / "native" / "main.c").write_text(program)
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-std=c11", "-fopenmp-simd", "main.c", "ntm.c", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path / "native", check=True)
    done = subprocess.run([tmp_path / "native" / "main"], capture_output=True, check=True)
    assert done.stdout.decode() == name


def test_metadata_is_that_of_the_other_formats(run: pathlib.Path, library: pathlib.Path) -> None:
    _, graph = loaded(library)
    trained_run = load_run(run)
    assert graph.metadata == Source(trained_run, Copy(bits=5), "tiny-copy", sizes=Sizes(1, 30)).metadata()
    functions = ctypes.CDLL(str(library / "native" / native_library.shared_name()))
    functions.ntm_metadata.restype = ctypes.c_char_p
    assert json.loads(functions.ntm_metadata())["model_name"] == "tiny-copy"


@pytest.mark.slow
@pytest.mark.usefixtures("short_gate")
def test_a_library_for_a_named_processor(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    found = publish.publish(run, tmp_path / "out", ["native"], memory_locations=30, cpu="native")
    assert list(found) == [f"native/{native_library.shared_name()}"]
    assert "for this system, processor native:" in (tmp_path / "out" / "card.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("short_gate")
def test_a_library_that_does_not_run_here_is_proven_by_its_source(
    monkeypatch: pytest.MonkeyPatch, run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    build = compiler.build

    def for_another_system(
        source: pathlib.Path, shared: pathlib.Path, static: pathlib.Path | None, machine: Machine
    ) -> None:
        build(source, shared, static, compiler.ANY)
        if machine.target:
            shared.write_bytes(b"\x7fELF of another processor" + shared.read_bytes())

    monkeypatch.setattr(compiler, "build", for_another_system)
    found = publish.publish(run, tmp_path / "out", ["native"], memory_locations=30, target="other-linux-gnu")
    assert list(found) == ["native/ntm.c"]
    assert list(publish.verify(run, tmp_path / "out")) == ["native/ntm.c"]
    model = ntm.load(tmp_path / "out", backend="native")
    with pytest.raises(ntm.ModelError, match=r"cannot load the model .*native/\S+: ") as error:
        model.step(np.zeros((1, 6)), model.initial_state(1))
    assert "\n" not in str(error.value)


def test_options_of_the_compiler() -> None:
    assert Machine().options == []
    assert Machine("x86_64-linux-gnu", "x86-64-v3").options == ["-march=x86-64-v3"]
    assert Machine("aarch64-linux-gnu", "cortex-a72").options == ["-mcpu=cortex-a72"]


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        (
            {"PATH": ""},
            [],
            "the format native needs a C compiler: install gcc or clang, or name one in the environment",
        ),
        ({"CC": "no-such-compiler -x"}, [], "CC names a C compiler that is not there: no-such-compiler"),
        ({"CC": "false"}, [], "false fails: exit code 1"),
        (
            {"PATH": ""},
            ["--target", "riscv64-linux-gnu"],
            "there is no C compiler for riscv64-linux-gnu: install riscv64-",
        ),
        ({}, ["--cpu", "no-such-processor"], "fails: "),
        ({}, ["--cpu", "two words"], "cpu must be a name of the C compiler's, not 'two words'"),
        ({}, ["--target", ""], "target must be a name of the C compiler's, not ''"),
        (
            {},
            ["--memory-locations", "20000", "--batch-size", "2"],
            "may have 32,768 locations in all sequences together",
        ),
    ],
)
def test_what_cannot_be_compiled_is_one_line(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    ntm_export: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    environment: dict[str, str],
    options: list[str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ntm_export(run, "--format", "native", "--output", tmp_path / "out", *options) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_all_is_without_native() -> None:
    from ntm.export.options import ALL, FORMATS  # noqa: PLC0415

    assert set(FORMATS) - set(ALL) == {"native"}


def test_the_c_of_the_card_and_of_the_page_is_a_program(library: pathlib.Path, tmp_path: pathlib.Path) -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "native.md").read_text(encoding="utf-8")
    blocks = [re.findall(r"```c\n(.*?)```", text, re.DOTALL) for text in ((library / "card.md").read_text(), page)]
    assert blocks[0] == blocks[1]
    (block,) = blocks[0]
    include, _, statements = block.partition("\n\n")
    (tmp_path / "main.c").write_text(
        f"{include}\nint main(void)\n{{\n{statements}return !(y[0] > 0 && y[0] < 1);\n}}\n"
    )
    command = f"cc -Wall -Werror -I{library}/native main.c {library}/native/libntm.a -lm -o main"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


@pytest.mark.usefixtures("short_gate")
def test_the_known_answer_is_compared_with_the_library_and_with_tensorflow(
    run: pathlib.Path, library: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    native_one, _ = loaded(library)
    path = library / "native" / "known_answer.json"
    instance, known = native_one.instance(), json.loads(path.read_text())
    for step in known["steps"]:
        inputs = {name: np.reshape(np.float32(t["data"]), t["shape"]) for name, t in step["inputs"].items()}
        found = native_one.compute(instance, inputs)
        for name, t in step["outputs"].items():
            np.testing.assert_allclose(found[name].ravel(), t["data"], rtol=1e-5, atol=1e-5, err_msg=name)
    shutil.copytree(library, tmp_path / "out")
    known["steps"][0]["outputs"]["y"]["data"][0] += 0.01
    (tmp_path / "out" / "native" / "known_answer.json").write_text(json.dumps(known))
    with pytest.raises(publish.DisagreementError, match=r"native/known_answer\.json"):
        publish.verify(run, tmp_path / "out")


def test_a_folder_without_a_library_is_no_export(
    run: pathlib.Path, library: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(library, tmp_path / "out")
    (tmp_path / "out" / "native" / native_library.shared_name()).unlink()
    with pytest.raises(
        ExportError, match=r"cannot read the export .*native must hold one of libntm\.so, libntm\.dylib"
    ):
        publish.verify(run, tmp_path / "out")


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("linux", "libntm.so"),
        ("aarch64-linux-gnu", "libntm.so"),
        ("darwin", "libntm.dylib"),
        ("aarch64-apple-darwin", "libntm.dylib"),
        ("win32", "ntm.dll"),
        ("x86_64-w64-mingw32", "ntm.dll"),
        ("x86_64-windows-gnu", "ntm.dll"),
    ],
)
def test_a_library_is_called_as_the_system_has_it(system: str, name: str) -> None:
    assert native_library.shared_name(system) == name


@pytest.mark.slow
def test_a_library_for_this_system_has_to_run(
    monkeypatch: pytest.MonkeyPatch, run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    build = compiler.build

    def for_another_system(source: pathlib.Path, shared: pathlib.Path, *others: Any) -> None:
        build(source, shared, *others)
        shared.write_bytes(b"\x7fELF of another processor" + shared.read_bytes())

    monkeypatch.setattr(compiler, "build", for_another_system)
    with pytest.raises(ExportError, match="what the C compiler made does not run on this system"):
        publish.publish(run, tmp_path / "out", ["native"], memory_locations=30)
    assert list(tmp_path.iterdir()) == []
