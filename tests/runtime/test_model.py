import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import onnx
import pytest

import ntm
from ntm.runtime import folder
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import FILES

ROOT = pathlib.Path(__file__).parents[2]


def random_words(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, shape, np.uint8)


def test_the_names_are_the_contract() -> None:
    for graph in folder.read(folder.DEFAULT).graphs:
        assert graph.metadata.inputs == ("x", "memory", "weights", "reads")
        adds = ("adds",) if graph.metadata.graph == "step" else ()
        assert graph.metadata.outputs == ("y", "next_memory", "next_weights", "next_reads", *adds)


def test_serving_imports_nothing_of_training() -> None:
    code = (
        "import sys, ntm.runtime, ntm.runtime.copy_command, ntm.runtime.model, ntm.runtime.stream, onnxruntime\n"
        "import ntm.runtime.eval_command, ntm.runtime.evaluate, ntm.runtime.run_command, ntm.tasks\n"
        "print(*{'tensorflow', 'tf2onnx', 'onnx', 'matplotlib', 'rich', 'ntm.models'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 14, 15, 16, 40])
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_copy(tiny_model: pathlib.Path, length: int, dtype: Any) -> None:
    words = random_words(3, length, 8).astype(dtype)
    before = words.copy()
    copied = ntm.load(tiny_model).copy(words)
    assert copied.dtype == dtype
    np.testing.assert_array_equal(copied, before)
    np.testing.assert_array_equal(words, before)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint64, np.float64, np.float32, np.float16])
def test_copy_of_any_type_of_zeros_and_ones(tiny_model: pathlib.Path, dtype: Any) -> None:
    words = random_words(3, 5, 8).astype(dtype)
    copied = ntm.load(tiny_model).copy(words)
    assert copied.dtype == dtype
    np.testing.assert_array_equal(copied, words)


def test_copy_of_lists(tiny_model: pathlib.Path) -> None:
    model, words = ntm.load(tiny_model), random_words(3, 5, 8)
    for lists in (words.tolist(), words.astype(bool).tolist(), list(words), words.astype(float).tolist()):
        copied = model.copy(lists)
        assert isinstance(copied, np.ndarray)
        np.testing.assert_array_equal(copied, words)


def test_copy_of_no_sequence(tiny_model: pathlib.Path) -> None:
    assert ntm.load(tiny_model).copy(random_words(0, 5, 8)).shape == (0, 5, 8)


def test_step_by_step_is_the_copy(tiny_model: pathlib.Path) -> None:
    model, words = ntm.load(tiny_model), random_words(2, 6, 8)
    state = model.initial_state(2)
    x = np.zeros((13, 2, 9))
    x[:6, :, :8] = words.transpose(1, 0, 2)
    x[6, :, 8] = 1
    ys = []
    for x_t in x:
        y, state = model.step(x_t, state)
        ys.append(y)
    np.testing.assert_array_equal(np.array(ys)[7:].transpose(1, 0, 2) > 0.5, words)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batches_change_nothing(tiny_model: pathlib.Path, batch_size: int) -> None:
    model, words = ntm.load(tiny_model, batch_size=batch_size), random_words(5, 6, 8)
    with mock.patch.object(model, "_chunks", wraps=model._chunks) as chunks:
        np.testing.assert_array_equal(model.copy(words), words)
    batches = [call.args[0].shape[1] for call in chunks.call_args_list]
    assert max(batches) == min(batch_size, 5)
    assert sum(batches) == 5


def test_batches_are_cut_by_the_memory_they_take(
    tiny_model: pathlib.Path, edited_model: Callable[..., pathlib.Path]
) -> None:
    model, by_content = ntm.load(tiny_model), ntm.load(edited_model(props={"content_addressing": "true"}))
    assert model.batch_size(128) == 256
    assert (model.batch_size(24), model.batch_size(25)) == (341, 1310)
    assert (by_content.batch_size(32), by_content.batch_size(33)) == (256, 992)
    assert model.batch_size(10_240) == 3
    assert model.batch_size(1 << 20) == 1
    assert ntm.load(tiny_model, batch_size=7).batch_size(1 << 20) == 7


def test_initial_state(edited_model: Callable[..., pathlib.Path]) -> None:
    first = {"memory": [[0.5, 1.5]] * 8 + [[0.25, 1.25]], "weights": [[0.75, 0.25], [1, 0]], "reads": [[2.0] * 9]}
    model = ntm.load(edited_model(first=first))
    state = model.initial_state(3, memory_locations=5)
    assert list(state) == ["memory", "weights", "reads"]
    memory, weights, reads = state.values()
    np.testing.assert_array_equal(
        memory, np.broadcast_to([[0.5, 1.5, 0, 0, 0]] * 8 + [[0.25, 1.25, 0, 0, 0]], (3, 9, 5))
    )
    np.testing.assert_array_equal(weights, [[[0.75, 0.25, 0, 0, 0], [1, 0, 0, 0, 0]]] * 3)
    np.testing.assert_array_equal(reads, np.full((3, 1, 9), 2.0))
    assert {array.dtype for array in (memory, weights, reads)} == {np.dtype(np.float32)}
    assert model.initial_state(1)["memory"].shape == (1, 9, 16)  # the configuration's
    assert model.initial_state(0)["reads"].shape == (0, 1, 9)
    with pytest.raises(ValueError, match="memory_locations must be at least 2, not 1"):
        model.initial_state(1, memory_locations=1)
    with pytest.raises(ValueError, match="batch_size must be at least 0, not -1"):
        model.initial_state(-1)


def test_a_uniform_initial_weighting_is_so_for_any_n(edited_model: Callable[..., pathlib.Path]) -> None:
    def uniform(graph: onnx.ModelProto) -> None:
        props = {prop.key: prop.value for prop in graph.metadata_props}
        state = json.loads(props["state"])
        state["weights"] |= {"first": [[], []], "beyond": "1/N"}
        onnx.helper.set_model_props(graph, props | {"state": json.dumps(state)})

    model = ntm.load(edited_model(change=uniform))
    for locations in (1, 7):
        expected = np.full((2, 2, locations), 1 / locations, np.float32)
        np.testing.assert_array_equal(model.initial_state(2, locations)["weights"], expected)


def test_the_memory_grows_with_the_sequence_unless_it_is_given(tiny_model: pathlib.Path) -> None:
    words = random_words(1, 20, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (ntm.load(tiny_model).copy(words) == words).all()
        assert (ntm.load(tiny_model, memory_locations=22).copy(words) == words).all()
    with pytest.warns(UserWarning, match="a sequence of 20 words exceeds the 12 memory locations, which hold 10"):
        assert (ntm.load(tiny_model, memory_locations=12).copy(words) != words).any()


@pytest.mark.parametrize(
    "words",
    [
        random_words(1, 2, 7),
        random_words(2, 8),
        random_words(1, 2, 8).astype(np.complex64),
        random_words(1, 2, 8).astype(object),
        random_words(1, 2, 8) + np.uint8(1),
        random_words(1, 2, 8).astype(np.int8) - np.int8(1),
        random_words(1, 2, 8).astype(np.float32) / 2,
        random_words(1, 2, 8) * np.nan,
    ],
    ids=["word width", "rank", "complex", "objects", "two", "minus one", "a half", "NaN"],
)
def test_copy_refuses(tiny_model: pathlib.Path, words: Any) -> None:
    with pytest.raises(ValueError, match=r"^words must "):
        ntm.load(tiny_model).copy(words)


@pytest.mark.parametrize("words", [[[0] * 8], [], "words", None])
def test_copy_refuses_what_is_no_array(tiny_model: pathlib.Path, words: Any) -> None:
    with pytest.raises(ValueError, match=r"^words must "):
        ntm.load(tiny_model).copy(words)


def test_copy_says_what_is_no_bit(tiny_model: pathlib.Path) -> None:
    words = random_words(2, 3, 8).astype(int)
    words[1, 2, 3] = 7
    with pytest.raises(ValueError, match=r"^words must hold nothing but 0 and 1, not 7$"):
        ntm.load(tiny_model).copy(words)


def test_lists_of_different_lengths_are_refused_with_advice(tiny_model: pathlib.Path) -> None:
    model, short, long = ntm.load(tiny_model), [[0] * 9], [[0] * 9] * 2
    advice = "must be an array, or lists of equal lengths: give sequences of different lengths one by one"
    for call, name in (
        (lambda: model.copy([[[0] * 8], [[0] * 8, [1] * 8]]), "words"),
        (lambda: model.run([short, long]), "x"),
        (lambda: next(model.chunks([short, long], model.initial_state(1))), "x"),
        (lambda: model.trace([short, long], model.initial_state(1)), "x"),
        (lambda: model.step([[0] * 9, [0] * 8], model.initial_state(2)), "x"),
    ):
        with pytest.raises(ValueError, match=f"^{name} {advice}"):
            call()


@pytest.mark.parametrize("x", ["words", None, [[["0"] * 9]], [[[0j] * 9]]])
def test_run_refuses_what_is_no_number(tiny_model: pathlib.Path, x: Any) -> None:
    with pytest.raises(ValueError, match=r"^x must hold numbers, not "):
        ntm.load(tiny_model).run(x)


def test_what_a_model_shows_of_itself(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model, memory_locations=33)
    shown = f"<Model tiny: task copy, I=9, O=8, N=33, U=8, onnxruntime, checksum {model.checksum[:12]}>"
    assert repr(model) == shown
    assert repr(ntm.load(tiny_model)) == shown.replace("33", "16")
    digest = hashlib.sha256()
    for file in FILES.values():
        digest.update((tiny_model / file).read_bytes())
    assert model.checksum == digest.hexdigest()


def test_only_a_model_of_the_copy_task_copies(edited_model: Callable[..., pathlib.Path]) -> None:
    model = ntm.load(edited_model(props={"task": '{"name": "repeat-copy", "options": {"bits": 8}}'}))
    with pytest.raises(ntm.ModelError, match=r"^the model tiny was trained on repeat-copy, not on copy$"):
        model.copy(random_words(1, 2, 8))
    x = np.random.default_rng(0).uniform(size=(3, 1, 9))
    assert model.run(x)[0].shape == (3, 1, 8)  # it serves its own task


@pytest.mark.parametrize("own_process", [False, True])
def test_denormal_numbers_are_lost_to_a_command_and_to_nobody_else(tiny_model: pathlib.Path, own_process: bool) -> None:
    code = f"""if True:
        import numpy as np
        from ntm.runtime import folder, model
        network = model.Model(folder.read({str(tiny_model)!r}), own_process={own_process})
        network.copy(np.ones([1, 3, 8], np.uint8))
        print(np.float32(1e-30) * np.float32(1e-10) == 0)"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert printed == f"{own_process}\n"


def test_step_refuses_other_shapes(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    state = model.initial_state(2)
    with pytest.raises(ValueError, match=r"^x must "):
        model.step(np.zeros((2, 8)), state)
    with pytest.raises(ValueError, match=r"^memory must "):
        model.step(np.zeros((1, 9)), state)
    with pytest.raises(ValueError, match=r"^weights must "):
        model.step(np.zeros((2, 9)), state | {"weights": state["weights"][:, :, 1:]})
    with pytest.raises(ValueError, match=r"^x must "):
        model.step(0.0, state)
    for no_state in (None, state["memory"], [*state.values()], {"memory": state["memory"]}):
        with pytest.raises(TypeError, match=r"^state must hold arrays by name: memory, weights, reads$"):
            model.step(np.zeros((2, 9)), no_state)  # type: ignore[arg-type]
    lists: Any = {name: tensor.tolist() for name, tensor in state.items()}
    np.testing.assert_array_equal(model.step(np.zeros((2, 9)), state)[0], model.step([[0] * 9] * 2, lists)[0])


@pytest.mark.parametrize("options", [{"threads": 0}, {"memory_locations": 0}, {"batch_size": 0}])
def test_load_refuses(tiny_model: pathlib.Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ntm.load(tiny_model, **options)


@pytest.mark.parametrize("name", ["memory_locations", "batch_size", "threads"])
@pytest.mark.parametrize("value", ["33", 33.0, True, [33]])
def test_load_refuses_what_is_no_number(tiny_model: pathlib.Path, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a whole number, not {re.escape(repr(value))}$"):
        ntm.load(tiny_model, **{name: value})
    assert ntm.load(tiny_model, **{name: np.int64(33)})  # type: ignore[arg-type]


def test_more_threads_than_cores_are_not_started() -> None:
    program = """
import pathlib, sys
import ntm
model = ntm.load(threads=10**6)
model.copy([[[0] * 8]])
ntm.evaluate(model, sizes=[{"length": 3}], sequences=300, threads=10**6)
print(len(list(pathlib.Path("/proc/self/task").iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0
    if pathlib.Path("/proc/self/task").exists():
        assert int(done.stdout) <= 64 + 4 * available_cores()  # those of NumPy's library too


def test_sizes_that_are_no_numbers_are_refused(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    calls: list[Callable[[], object]] = [
        lambda: model.initial_state("1"),  # type: ignore[arg-type]
        lambda: model.initial_state(1, 20.0),  # type: ignore[arg-type]
        lambda: model.batch_size("20"),  # type: ignore[arg-type]
        lambda: model.locations_for("20"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"^\w+ must be a whole number, not "):
            call()


@pytest.mark.parametrize("model", [5, b"copy-8bit", True, ["copy-8bit"]])
def test_load_refuses_what_is_no_path(model: Any) -> None:
    for call in (ntm.load, ntm.evaluate):
        with pytest.raises(
            TypeError, match=r"^model must be the path of a folder or the name of a bundled model, not "
        ):
            call(model)


@pytest.mark.slow
def test_damaged_files_are_refused_and_sealed_ones_do_no_harm_to_our_code(tiny_model: pathlib.Path) -> None:
    """A short run of the benchmark, whose exit code says so."""
    script = ROOT / "benchmarks" / "fuzz_loader.py"
    command = [sys.executable, str(script), "--files", "560", "--model", str(tiny_model)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    damaged = re.search(r"^damaged: (\d+) refused$", done.stdout, re.MULTILINE)  # and none was not
    assert damaged
    assert int(damaged[1]) > 200
    assert " refused, " in done.stdout.partition("sealed: ")[2]  # and others went further


def test_one_model_serves_several_threads(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    batches = [np.random.default_rng(seed).integers(0, 2, (5, 14, 8), np.uint8) for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        for words, copied in zip(batches, pool.map(model.copy, batches), strict=True):
            np.testing.assert_array_equal(words, copied)


@pytest.mark.parametrize("change", [lambda kernel: 0 * kernel, lambda kernel: kernel[::-1].copy()])
def test_the_network_does_the_copying(edited_model: Callable[..., pathlib.Path], change: Callable[..., Any]) -> None:
    words = random_words(4, 10, 8)
    assert (ntm.load(edited_model(weights=change)).copy(words) != words).mean() > 0.2


def test_a_bundled_model_is_loaded_by_its_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder.DEFAULT in folder.bundled()
    for name in folder.bundled():
        assert ntm.load(name).metadata == ntm.load(folder.find(name)).metadata
        assert ntm.load(name).metadata.model_name == name
    assert ntm.load().metadata == ntm.load(folder.DEFAULT).metadata


def test_a_path_goes_before_a_bundled_name(
    tiny_model: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, folder.DEFAULT)
    assert ntm.load(folder.DEFAULT).metadata.model_name == "tiny"
