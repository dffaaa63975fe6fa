"""The backend ``native``: a model whose step is a library."""

import multiprocessing
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ntm
from ntm.models import Network
from ntm.runtime import native_library, onnx_file
from ntm.tasks import Copy
from ntm.training.run import load_run

LOCATIONS = 30


@pytest.fixture(scope="module")
def network(run: pathlib.Path) -> Network:
    return load_run(run).network


@pytest.fixture
def model(library: pathlib.Path) -> ntm.Model:
    return ntm.load(library, backend="native")


def file_in(folder: pathlib.Path) -> pathlib.Path:
    return folder / "native" / native_library.shared_name()


def inputs(steps: int, batch_size: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (steps, batch_size, 6)).astype(np.float32)


def test_it_computes_what_tensorflow_computes(model: ntm.Model, network: Network) -> None:
    x = inputs(20, 3)
    y, after = model.run(x)
    state = network.initial_state(3, LOCATIONS)
    for x_t, y_t in zip(x, y, strict=True):
        logits, state = network(x_t, state)
        np.testing.assert_allclose(y_t, 1 / (1 + np.exp(-logits.numpy())), atol=1e-5)
    for name, value in state.items():
        np.testing.assert_allclose(after[name], value.numpy(), atol=1e-5)


def test_n_is_that_of_the_library(model: ntm.Model, library: pathlib.Path) -> None:
    assert model.memory_locations == model.locations_for(1000) == LOCATIONS
    assert ntm.load(library, backend="native", memory_locations=LOCATIONS).memory_locations == LOCATIONS
    with pytest.raises(ntm.ModelError, match="is compiled for N = 30, not 31: ntm-export --format native"):
        ntm.load(library, backend="native", memory_locations=31)
    with pytest.raises(ntm.ModelError, match="is compiled for N = 30, not 31"):
        model.step(np.zeros((1, 6)), model.initial_state(1, 31))
    with pytest.warns(UserWarning, match="exceeds the 30 memory locations"):
        model.copy(np.zeros((1, 40, 5), np.uint8))


def test_what_a_step_returned_is_not_changed_by_the_next(model: ntm.Model) -> None:
    y, state = model.step(np.ones((1, 6)), model.initial_state(1))
    kept = y.copy(), {name: array.copy() for name, array in state.items()}
    model.step(np.zeros((1, 6)), state)
    np.testing.assert_array_equal(y, kept[0])
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[1][name])


def test_a_trace_shows_what_the_heads_added(model: ntm.Model, network: Network) -> None:
    x = inputs(4)
    trace, state = model.trace(x, model.initial_state(1)), network.initial_state(1, LOCATIONS)
    for t, x_t in enumerate(x):
        _, state, heads = network.step_with_heads(x_t, state)
        np.testing.assert_allclose(trace.adds[t], heads.add[0].numpy().T, atol=1e-5)
        np.testing.assert_allclose(trace.reads[t], state["reads"][0].numpy(), atol=1e-5)


def test_threads_share_a_model(model: ntm.Model) -> None:
    x = [inputs(30, seed=seed) for seed in range(40)]
    expected = [model.run(each)[0] for each in x]
    with ThreadPoolExecutor(8) as pool:
        for y, (found, _) in zip(expected, pool.map(model.run, x), strict=True):
            np.testing.assert_array_equal(found, y)


def test_it_is_pickled_whole(model: ntm.Model, library: pathlib.Path, tmp_path: pathlib.Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(library, moved)
    travelling = pickle.dumps(ntm.load(moved, backend="native"))
    shutil.rmtree(moved)
    other = pickle.loads(travelling)  # noqa: S301
    assert "native" in repr(other)
    assert other.checksum == model.checksum
    x = inputs(9)
    np.testing.assert_array_equal(other.run(x)[0], model.run(x)[0])
    with pytest.raises(ntm.ModelError, match=f"cannot run the model {file_in(moved)}: "):  # as it was called
        other.step(np.zeros((1, 6)), other.initial_state(1, 9))


@pytest.mark.skipif(not hasattr(multiprocessing, "get_context"), reason="no fork")
def test_it_works_after_a_fork(library: pathlib.Path) -> None:
    program = f"""
import multiprocessing, numpy as np, ntm
model, x = ntm.load({str(library)!r}, backend="native"), np.ones((5, 2, 6), np.float32)
y = model.run(x)[0]
def child():
    raise SystemExit(0 if (model.run(x)[0] == y).all() else 1)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print(process.exitcode)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_no_runtime_is_imported(library: pathlib.Path) -> None:
    program = f"""
import sys, numpy as np, ntm
ntm.load({str(library)!r}, backend="native").run(np.ones((1, 2, 6)))
print(sorted(sys.modules.keys() & {{"onnxruntime", "tensorflow", "onnx", "ai_edge_litert"}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_other_backends_do_not_look_at_the_library(library: pathlib.Path, tiny_model: pathlib.Path) -> None:
    """It is code: nothing loads it that was not asked to."""
    folder = library.with_name("both")
    shutil.copytree(tiny_model, folder)
    shutil.copytree(library / "native", folder / "native")
    file_in(folder).write_bytes(b"code that must not run")
    words = np.ones((1, 3, 8), np.uint8)
    np.testing.assert_array_equal(ntm.load(folder).copy(words), words)


def test_metadata_and_checks_run_no_code(library: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> None:
        raise AssertionError("the library was loaded")

    monkeypatch.setattr(native_library, "_load", refuse)
    monkeypatch.setattr(native_library, "_libraries", {})
    assert ntm.load(library, backend="native").metadata.task == {"name": "copy", "options": Copy(bits=5).options}


def test_a_folder_without_a_library_is_refused(tiny_model: pathlib.Path) -> None:
    with pytest.raises(ntm.ModelError, match=r"native/\S+: no such file or directory"):
        ntm.load(tiny_model, backend="native")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "cut short": lambda content: content[:-10],
    "stripped": onnx_file.unsealed,
    "nothing": lambda _: b"",
    "not of ours": lambda _: b"\x7fELF" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_library_is_refused(
    library: pathlib.Path, tmp_path: pathlib.Path, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "native").mkdir()
    file_in(tmp_path).write_bytes(damage(file_in(library).read_bytes()))
    with pytest.raises(ntm.ModelError, match=r"cannot load the model .*native/\S+: ") as error:
        ntm.load(tmp_path, backend="native")
    assert "\n" not in str(error.value)


SEALED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no metadata": (lambda _: b"\x7fELF", "it has no metadata, so ntm-export did not write it"),
    "no end": (lambda _: b"ntm-metadata:{", "it has no metadata, so ntm-export did not write it"),
    "no sizes": (lambda _: b"ntm-metadata:{}\0", "its metadata has no sizes"),
    "another schema": (
        lambda content: content.replace(b'{"schema_version": "', b'{"schema_version": "9'),
        "it has schema version '9",
    ),
}


@pytest.mark.parametrize(("change", "message"), SEALED.values(), ids=list(SEALED))
def test_a_sealed_library_of_another_schema_is_refused(
    library: pathlib.Path, tmp_path: pathlib.Path, change: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / "native").mkdir()
    content = onnx_file.unsealed(file_in(library).read_bytes())
    file_in(tmp_path).write_bytes(onnx_file.sealed(change(content)))
    with pytest.raises(ntm.ModelError) as error:
        ntm.load(tmp_path, backend="native")
    assert message in str(error.value)


def test_a_sealed_file_that_is_no_library_is_refused_where_it_is_loaded(
    library: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "native").mkdir()
    content = onnx_file.unsealed(file_in(library).read_bytes())
    start = content.find(b"ntm-metadata:")
    file_in(tmp_path).write_bytes(onnx_file.sealed(b"\x7fELF" + content[start:]))
    model = ntm.load(tmp_path, backend="native")
    with pytest.raises(ntm.ModelError, match=r"cannot load the model .*native/\S+: ") as error:
        model.step(np.zeros((1, 6)), model.initial_state(1))
    assert "\n" not in str(error.value)
