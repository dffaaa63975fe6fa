"""A model in other processes: pickled, copied, forked; and in many threads."""

import copy
import multiprocessing
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

import ntm
from ntm.runtime import folder

ROOT = pathlib.Path(__file__).parents[2]


def random_words(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, shape, np.uint8)


WAYS: list[Callable[[ntm.Model], ntm.Model]] = [
    lambda model: pickle.loads(pickle.dumps(model)),  # noqa: S301
    lambda model: pickle.loads(pickle.dumps(model, protocol=2)),  # noqa: S301
    copy.copy,
    copy.deepcopy,
]


@pytest.mark.parametrize("way", WAYS, ids=["pickle", "old pickle", "copy", "deepcopy"])
@pytest.mark.parametrize("used", [False, True])
def test_a_model_is_pickled_and_copied(
    tiny_model: pathlib.Path, way: Callable[[ntm.Model], ntm.Model], used: bool
) -> None:
    words = random_words(3, 5, 8)
    for model in (ntm.load(), ntm.load(tiny_model, memory_locations=33, batch_size=2, threads=2)):
        if used:
            model.copy(words)
        other = way(model)
        assert other is not model
        assert (other.metadata, other.memory_locations) == (model.metadata, model.memory_locations)
        assert other.batch_size(1000) == model.batch_size(1000)
        assert other._options == model._options
        np.testing.assert_array_equal(other.copy(words), words)


def test_a_bundled_model_is_small_and_any_other_travels_whole(tmp_path: pathlib.Path) -> None:
    shutil.copytree(folder.find(folder.DEFAULT), tmp_path / "model")
    assert len(pickle.dumps(ntm.load())) < 500
    travelling = pickle.dumps(ntm.load(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")  # as on another machine
    words = random_words(2, 5, 8)
    np.testing.assert_array_equal(pickle.loads(travelling).copy(words), words)  # noqa: S301


def test_another_bundled_model_of_the_name_is_refused(
    tiny_model: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    travelling = pickle.dumps(ntm.load())
    monkeypatch.setattr(folder, "_PRETRAINED", tmp_path)
    with pytest.raises(ntm.ModelError, match=r"^the bundled model copy-8bit was pickled, and this release of .* none"):
        pickle.loads(travelling)  # noqa: S301
    shutil.copytree(tiny_model, tmp_path / folder.DEFAULT)
    message = r"^the bundled model copy-8bit was pickled with the checksum \w{12}, and here it has \w{12}: install "
    with pytest.raises(ntm.ModelError, match=message):
        pickle.loads(travelling)  # noqa: S301


def test_a_path_cannot_stand_in_for_a_bundled_model(
    tiny_model: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    travelling = pickle.dumps(ntm.load())
    shutil.copytree(tiny_model, tmp_path / folder.DEFAULT)
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(travelling).metadata.model_name == folder.DEFAULT  # noqa: S301


def test_what_was_damaged_on_the_way_is_refused(tiny_model: pathlib.Path) -> None:
    travelling = bytearray(pickle.dumps(ntm.load(tiny_model)))
    content = (tiny_model / "step.onnx").read_bytes()
    travelling[travelling.index(content) + len(content) // 2] ^= 1
    with pytest.raises(ntm.ModelError, match=r"step\.onnx: it is damaged: its checksum"):
        pickle.loads(travelling)  # noqa: S301


def test_a_state_and_a_trace_are_pickled(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    x = np.random.default_rng(0).uniform(size=(7, 1, 9)).astype(np.float32)
    y, after = model.run(x)
    _, state = model.run(x[:4], model.initial_state(1))
    for found in (state, copy.deepcopy(state), pickle.loads(pickle.dumps(state))):  # noqa: S301
        rest, end = model.run(x[4:], found)
        np.testing.assert_array_equal(rest, y[4:])
        assert list(end) == list(after)
        for name, expected in after.items():
            np.testing.assert_array_equal(end[name], expected)
    trace = model.trace(x, model.initial_state(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trace)).memory, trace.memory)  # noqa: S301


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_of_processes(tiny_model: pathlib.Path, method: str) -> None:
    batches = [np.random.default_rng(seed).integers(0, 2, (2, 9, 8), np.uint8) for seed in range(4)]
    context = multiprocessing.get_context(method)
    for model in (ntm.load(), ntm.load(tiny_model)):
        model.copy(batches[0])
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            for words, copied in zip(batches, pool.map(model.copy, batches, timeout=120), strict=True):
                np.testing.assert_array_equal(words, copied)


def test_joblib(tiny_model: pathlib.Path) -> None:
    joblib = pytest.importorskip("joblib")
    model, batches = ntm.load(tiny_model), [random_words(2, length, 8) for length in range(1, 5)]
    model.copy(batches[0])
    copies = joblib.Parallel(n_jobs=2, timeout=120)(joblib.delayed(model.copy)(words) for words in batches)
    for words, copied in zip(batches, copies, strict=True):
        np.testing.assert_array_equal(words, copied)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_model_that_was_used_before_a_fork(threads: int) -> None:
    """The child has none of the threads of onnxruntime; it ends as any other program does."""
    program = f"""if True:
        import os, sys
        import numpy as np
        import ntm
        model = ntm.load(threads={threads})
        words = np.random.default_rng(0).integers(0, 2, (64, 30, 8), np.uint8)
        assert (model.copy(words) == words).all()
        child = os.fork()
        assert (model.copy(words) == words).all()
        if not child:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("session_threads", [1, 2])
def test_many_threads_and_processes_at_once(tiny_model: pathlib.Path, session_threads: int) -> None:
    """A short run of the benchmark, whose exit code says so."""
    script = ROOT / "benchmarks" / "stress.py"
    options = {"copies": 30, "threads": 16, "processes": 3, "seconds": 60, "session-threads": session_threads}
    command = [sys.executable, str(script), *(f"--{name}={value}" for name, value in options.items())]
    done = subprocess.run([*command, "--model", tiny_model], capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_memory_does_not_grow_with_the_calls(tiny_model: pathlib.Path) -> None:
    """A short run of the benchmark, whose exit code says so."""
    script = ROOT / "benchmarks" / "soak.py"
    command = [sys.executable, str(script), "--calls", "600", "--loads", "30", "--model", str(tiny_model)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| copy, run, step, trace | 600 | 0 |" in done.stdout
