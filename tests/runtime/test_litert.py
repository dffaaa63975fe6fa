"""A model in LiteRT, beside the same model in onnxruntime."""

import json
import multiprocessing
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntm
from ntm.runtime import onnx_file, tflite_file

pytest.importorskip("ai_edge_litert", reason="the backend litert needs ai-edge-litert")


def both(name: str = "copy-8bit") -> tuple[ntm.Model, ntm.Model]:
    return ntm.load(name), ntm.load(name, backend="litert")


@pytest.mark.parametrize("name", ["copy-8bit", "associative-recall", "dynamic-ngrams"])
def test_it_computes_what_onnxruntime_computes(name: str) -> None:
    onnxruntime, litert = both(name)
    assert litert.metadata == onnxruntime.metadata
    task = ntm.tasks.find(onnxruntime.metadata.task_name)
    x = task.batch(np.random.default_rng(0), 3, {size: max(ends) for size, ends in task.training_sizes.items()}).x
    expected, expected_state = onnxruntime.run(x)
    y, state = litert.run(x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert state.keys() == expected_state.keys()
    for tensor, array in state.items():
        np.testing.assert_allclose(array, expected_state[tensor], rtol=1e-5, atol=1e-5, err_msg=tensor)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(3, 40)), min_size=1, max_size=6))
def test_sizes_change_from_call_to_call(sizes: list[tuple[int, int]]) -> None:
    onnxruntime, litert = _MODELS
    for batch_size, locations in sizes:
        x = np.ones((batch_size, 9), np.float32)
        expected, expected_state = onnxruntime.step(x, onnxruntime.initial_state(batch_size, locations))
        y, state = litert.step(x, litert.initial_state(batch_size, locations))
        np.testing.assert_allclose(y, expected, atol=1e-6)
        for tensor, array in state.items():
            np.testing.assert_allclose(array, expected_state[tensor], atol=1e-6)


_MODELS = both()


def test_what_a_step_returned_is_not_changed_by_the_next() -> None:
    _, litert = _MODELS
    y, state = litert.step(np.ones((1, 9)), litert.initial_state(1, 20))
    kept = y.copy(), {name: array.copy() for name, array in state.items()}
    litert.step(np.zeros((1, 9)), state)
    np.testing.assert_array_equal(y, kept[0])
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[1][name])


def test_threads_share_a_model() -> None:
    _, litert = both()
    random = np.random.default_rng(0)
    words = [random.integers(0, 2, (2, int(length), 8), np.uint8) for length in random.integers(1, 12, 60)]
    with ThreadPoolExecutor(8) as pool:
        for given_words, copied in zip(words, pool.map(litert.copy, words), strict=True):
            np.testing.assert_array_equal(copied, given_words)


def test_it_is_pickled_by_name_and_whole() -> None:
    _, litert = both()
    words = np.random.default_rng(0).integers(0, 2, (2, 5, 8), np.uint8)
    travelling = pickle.dumps(litert)
    assert len(travelling) < 500
    other = pickle.loads(travelling)  # noqa: S301
    assert "litert" in repr(other)
    np.testing.assert_array_equal(other.copy(words), words)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.skipif(not hasattr(multiprocessing, "get_context"), reason="no fork")
def test_it_works_after_a_fork(threads: int) -> None:
    program = f"""
import multiprocessing, numpy as np, ntm
model, words = ntm.load(backend="litert", threads={threads}), np.ones((2, 5, 8), np.uint8)
model.copy(words)
def child():
    raise SystemExit(0 if (model.copy(words) == words).all() else 1)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print(process.exitcode)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_only_litert_is_imported() -> None:
    program = """
import sys, numpy as np, ntm
ntm.load(backend="litert").copy(np.ones((1, 2, 8), np.uint8))
print(sorted(sys.modules.keys() & {"onnxruntime", "tensorflow", "onnx"}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend must be one of onnxruntime, litert, native, not 'torch'"):
        ntm.load(backend="torch")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(ntm.ModelError, match=r"pip install 'neural-turing-machine\[litert\]'"):
        ntm.load(backend="litert")


def test_a_folder_without_the_file_is_refused(tiny_model: pathlib.Path) -> None:
    with pytest.raises(ntm.ModelError, match=r"step\.tflite: no such file or directory"):
        ntm.load(tiny_model, backend="litert")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda content: content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
    "cut short": lambda content: content[:-10],
    "nothing": lambda _: b"",
    "not of ours": lambda _: b"TFL3" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_file_is_refused(tmp_path: pathlib.Path, damage: Callable[[bytes], bytes]) -> None:
    content = (pathlib.Path(ntm.runtime.folder.find("copy-8bit")) / tflite_file.STEP).read_bytes()
    (tmp_path / tflite_file.STEP).write_bytes(damage(content))
    with pytest.raises(ntm.ModelError, match=r"cannot load the model .*step\.tflite") as error:
        ntm.load(tmp_path, backend="litert")
    assert "\n" not in str(error.value)


def test_a_file_with_other_metadata_is_refused(tmp_path: pathlib.Path) -> None:
    content = (pathlib.Path(ntm.runtime.folder.find("copy-8bit")) / tflite_file.STEP).read_bytes()
    schema_version = json.dumps({"schema_version": ntm.load().metadata.to_props()["schema_version"]})[1:-1].encode()
    assert schema_version in content
    changed = content.replace(schema_version, schema_version[:-2] + b'1"')[: -len(onnx_file.sealed(b""))]
    (tmp_path / tflite_file.STEP).write_bytes(onnx_file.sealed(changed))
    with pytest.raises(ntm.ModelError, match="schema version '1'"):
        ntm.load(tmp_path, backend="litert")
