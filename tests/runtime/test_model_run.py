"""Whole sequences of any numbers: ``Model.run``, ``Model.chunks`` and ``Model.trace`` are ``Model.step`` repeated."""

import contextlib
import itertools
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntm
from ntm.runtime.session import Floats
from ntm.tasks import copy as copying

GRAPHS = ("unrolled", "sparse", "batched")
MODELS = ("tiny", "bundled", "untrained")
EACH = [pair for pair in itertools.product(MODELS, GRAPHS) if pair != ("untrained", "sparse")]


@pytest.fixture(scope="module")
def models(tiny_model: pathlib.Path, untrained: Callable[[str], pathlib.Path]) -> dict[str, ntm.Model]:
    """By name: one is wired, one is trained and uses location addressing alone, one has content addressing."""
    return {"tiny": ntm.load(tiny_model), "bundled": ntm.load(), "untrained": ntm.load(untrained("priority-sort"))}


def random_inputs(model: ntm.Model, steps: int, batch: int, seed: int = 0) -> Floats:
    """Numbers of both signs."""
    shape = (steps, batch, model.metadata.input_size)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def state_after(model: ntm.Model, steps: int, batch: int, locations: int) -> ntm.State:
    """The state after some random steps."""
    return stepwise(model, random_inputs(model, steps, batch, seed=1), model.initial_state(batch, locations))[1]


def stepwise(model: ntm.Model, x: Floats, state: ntm.State) -> tuple[Floats, ntm.State]:
    """What ``Model.run`` should return."""
    y = np.empty((*x.shape[:2], model.metadata.output_size), np.float32)
    for t, x_t in enumerate(x):
        y[t], state = model.step(x_t, state)
    return y, state


def assert_equal(found: tuple[Floats, ntm.State], expected: tuple[Floats, ntm.State]) -> None:
    """The same shapes, and no number differs by more than what rounding grows to in some dozens of steps."""
    assert list(found[1]) == list(expected[1])
    for tensor, wanted in zip((found[0], *found[1].values()), (expected[0], *expected[1].values()), strict=True):
        assert tensor.shape == wanted.shape
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, wanted, rtol=1e-2, atol=1e-3)


def through(model: ntm.Model, *graphs: str) -> Any:
    """Make the sequences go through those of these graphs that there are in turn; without any, through the fastest."""
    there = [model._sessions[graph] for graph in graphs if graph in model._sessions]
    if not there:
        return contextlib.nullcontext()
    sessions = itertools.cycle(there)
    return mock.patch.object(model, "_session", side_effect=lambda *_: next(sessions))


# Model.run


@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 16, 21])
@pytest.mark.parametrize(("name", "graph"), EACH)
def test_run_is_the_steps_through_every_graph(models: dict[str, ntm.Model], name: str, graph: str, steps: int) -> None:
    model = models[name]
    x, state = random_inputs(model, steps, 3), state_after(model, 5, 3, 20)
    with through(model, graph):
        assert_equal(model.run(x, state), stepwise(model, x, state))


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(MODELS),
    steps=st.integers(0, 30),
    batch=st.integers(0, 6),
    batch_size=st.none() | st.integers(1, 4),
    graphs=st.lists(st.sampled_from(GRAPHS), max_size=4),
    split=st.integers(0, 30),
    seed=st.integers(0, 9),
)
def test_run_is_the_steps_for_any_shape_and_resumes(  # noqa: PLR0917  (hypothesis)
    models: dict[str, ntm.Model],
    name: str,
    steps: int,
    batch: int,
    batch_size: int | None,
    graphs: list[str],
    split: int,
    seed: int,
) -> None:
    model = models[name]
    x, state = random_inputs(model, steps, batch, seed), model.initial_state(batch, 20)
    expected = stepwise(model, x, state)
    with mock.patch.object(model, "_given_batch_size", batch_size), through(model, *graphs):
        assert_equal(model.run(x, state), expected)
        first, between = model.run(x[:split], state)
        second, after = model.run(x[split:], between)
    assert_equal((np.concatenate([first, second]), after), expected)


@pytest.mark.parametrize("name", MODELS)
def test_run_begins_at_the_beginning_with_a_location_for_each_step(models: dict[str, ntm.Model], name: str) -> None:
    model = models[name]
    for steps, locations in ((5, model.memory_locations), (130, 130)):
        x = random_inputs(model, steps, 2)
        y, state = model.run(x)
        assert state["memory"].shape[2] == model.locations_for(steps) == locations
        assert_equal((y, state), stepwise(model, x, model.initial_state(2, locations)))


def test_the_memory_that_is_given_serves_any_sequence(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model, memory_locations=12)
    assert model.locations_for(1) == model.locations_for(200) == 12
    assert model.run(np.zeros((20, 1, 9)))[1]["memory"].shape == (1, 9, 12)


def test_run_of_nothing(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    y, state = model.run(np.zeros((0, 2, 9)))
    assert y.shape == (0, 2, 8)
    for name, initial in model.initial_state(2).items():
        np.testing.assert_array_equal(state[name], initial)
    y, state = model.run(np.zeros((5, 0, 9)))
    assert (y.shape, state["memory"].shape, state["weights"].shape) == ((5, 0, 8), (0, 9, 16), (0, 2, 16))


def test_run_changes_nothing_that_it_is_given_and_keeps_nothing(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    x, state = random_inputs(model, 10, 2), state_after(model, 3, 2, 16)
    before = [tensor.copy() for tensor in (x, *state.values())]
    y, after = model.run(x, state)
    for tensor, copy in zip((x, *state.values()), before, strict=True):
        np.testing.assert_array_equal(tensor, copy)
    for tensor in after.values():
        tensor[:] = np.nan
    np.testing.assert_array_equal(model.run(x, state)[0], y)


@pytest.mark.parametrize("steps", [3, 8, 12])
def test_run_takes_arrays_of_any_type_and_order(tiny_model: pathlib.Path, steps: int) -> None:
    model = ntm.load(tiny_model)
    x = np.random.default_rng(0).integers(0, 2, (steps, 3, 9))
    expected = model.run(x.astype(np.float32))
    state = {name: np.asfortranarray(tensor, np.float64) for name, tensor in model.initial_state(3).items()}
    wide = np.zeros((3, steps, 18), np.int16)
    wide[:, :, ::2] = x.transpose(1, 0, 2)
    for same in (x.tolist(), x.astype(">f8"), np.asfortranarray(x), wide[:, :, ::2].transpose(1, 0, 2), x == 1):
        assert_equal(model.run(same, state), expected)
        y = np.concatenate(list(model.chunks(same, state)))
        np.testing.assert_allclose(y, expected[0], atol=1e-5)


@pytest.mark.parametrize(("name", "graph"), EACH)
def test_a_sequence_without_sense_leaves_the_others_alone(models: dict[str, ntm.Model], name: str, graph: str) -> None:
    """NaN or infinity in one of them, in its input or in its state."""
    model = models[name]
    x, state = random_inputs(model, 19, 4), state_after(model, 5, 4, 20)
    x[3, 0, 0], x[2, 1, 1] = np.nan, np.inf
    state["memory"][2, 0, 0] = np.nan
    with through(model, graph):
        y, after = model.run(x, state)
        alone, after_alone = model.run(x[:, 3:], {name: tensor[3:] for name, tensor in state.items()})
    assert_equal((y[:, 3:], {name: tensor[3:] for name, tensor in after.items()}), (alone, after_alone))
    assert np.isfinite(alone).all()
    assert np.isnan(y[:, 0]).any()


@pytest.mark.parametrize("shape", [(3, 9), (9,), (), (3, 1, 8), (3, 1, 10), (3, 1, 9, 1), (0,), (2, 3, 0)])
def test_inputs_of_another_shape_are_refused(tiny_model: pathlib.Path, shape: tuple[int, ...]) -> None:
    model = ntm.load(tiny_model)
    for run in (model.run, model.chunks, model.trace):
        with pytest.raises(ValueError, match=r"^x must have the shape \[T, B, 9\], not \("):
            run(np.zeros(shape), model.initial_state(1))


def test_states_of_another_shape_are_refused(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    state, x = model.initial_state(1), np.zeros((3, 1, 9))
    for run in (model.run, model.chunks, model.trace):
        with pytest.raises(ValueError, match=r"^memory must have the shape \(1, "):
            run(x, model.initial_state(2))
        with pytest.raises(ValueError, match=r"^weights must have the shape "):
            run(x, state | {"weights": state["weights"][:, :1]})
        with pytest.raises(ValueError, match=r"^reads must have the shape "):
            run(x, state | {"reads": state["reads"][0]})
        with pytest.raises(ValueError, match="memory_locations must be at least 1, not 0"):
            run(x, state | {name: state[name][..., :0] for name in ("memory", "weights")})


# Which graph runs


@pytest.mark.parametrize(
    ("batch", "locations", "graph"),
    [
        (1, 9, "unrolled"),
        (17, 9, "unrolled"),
        (18, 9, "batched"),
        (48, 24, "batched"),
        (47, 24, "sparse"),
        (31, 25, "unrolled"),
        (32, 25, "sparse"),
        (1000, 25, "sparse"),
        (1, 2047, "unrolled"),
        (1, 2048, "sparse"),
        (31, 66, "unrolled"),
        (31, 67, "sparse"),
    ],
)
def test_the_sizes_decide_which_graph_runs(batch: int, locations: int, graph: str) -> None:
    model, words = ntm.load(memory_locations=locations, batch_size=1000), random_words(batch, 7, 8)
    used = graphs_used(model)
    np.testing.assert_array_equal(model.copy(words), words)
    assert set(used) == {graph}


@pytest.mark.parametrize(
    ("batch", "locations", "graph"),
    [(26, 9, "unrolled"), (27, 9, "batched"), (95, 32, "unrolled"), (96, 32, "batched"), (96, 33, "unrolled")],
)
def test_the_sizes_decide_otherwise_with_content_addressing(
    edited_model: Callable[..., pathlib.Path], batch: int, locations: int, graph: str
) -> None:
    props = {"content_addressing": "true", "graphs": '["step", "unrolled", "batched"]'}
    model = ntm.load(edited_model(props=props), memory_locations=locations, batch_size=1000)
    words = random_words(batch, 3, 8)
    used = graphs_used(model)
    np.testing.assert_array_equal(model.copy(words), words)
    assert set(used) == {graph}


@pytest.mark.parametrize(
    ("head", "looked_at", "graph"),
    [(0, 42, "sparse"), (0, 43, "unrolled"), (1, 30, "sparse"), (1, 43, "unrolled")],
)
def test_where_heads_look_everywhere_the_sparse_graph_does_not_run(
    tiny_model: pathlib.Path, head: int, looked_at: int, graph: str
) -> None:
    """The tiny model's heads only shift: they look at as many locations ever after."""
    model = ntm.load(tiny_model)
    state = model.initial_state(batch_size=16, memory_locations=128)
    state["weights"][:, head] = 2.0**-33  # 2^-29, all 16 together
    state["weights"][:, head, :looked_at] = 1 / looked_at
    state["weights"][0, head, 0] = 0.0  # but another sequence looks there
    used = graphs_used(model)
    x = copying.inputs(random_words(20, 16, 8))
    model.run(x[:40], state)
    assert used == [graph] * 5
    list(model.chunks(x, state))
    assert used == [graph] * 11


def test_sequences_go_to_another_graph_when_their_heads_spread() -> None:
    """With so few locations the six that the bundled model's heads look at are more than a third."""
    model, words = ntm.load(memory_locations=17, batch_size=1000), random_words(33, 13, 8)
    used = graphs_used(model)
    np.testing.assert_array_equal(model.copy(words), words)
    assert used == ["sparse", "unrolled"]


def test_a_sequence_may_go_from_graph_to_graph() -> None:
    model, words = ntm.load(), random_words(100, 3, 8)
    with through(model, "unrolled", "batched", "sparse", "sparse"):
        y = np.concatenate(list(model.chunks(copying.inputs(words), model.initial_state(3, 102))))
    np.testing.assert_array_equal(y[101:] > 0.5, words)


def graphs_used(model: ntm.Model) -> list[str]:
    """Which graphs of several steps run from now on."""
    used: list[str] = []
    for name in filter(model._sessions.__contains__, GRAPHS):
        session = model._sessions[name]

        def run(*inputs: Any, name: str = name, run: Callable[..., Any] = session.run) -> Any:
            used.append(name)
            return run(*inputs)

        setattr(session, "run", run)  # noqa: B010  (which no type checker has to like)
    return used


def random_words(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, shape, np.uint8)


# Model.run_each


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(MODELS),
    lengths=st.lists(st.integers(0, 30), max_size=6),
    batch_size=st.none() | st.integers(1, 4),
    locations=st.none() | st.integers(17, 20),
    graphs=st.lists(st.sampled_from(GRAPHS), max_size=4),
)
def test_each_sequence_runs_as_if_it_were_alone(  # noqa: PLR0917  (hypothesis)
    models: dict[str, ntm.Model],
    name: str,
    lengths: list[int],
    batch_size: int | None,
    locations: int | None,
    graphs: list[str],
) -> None:
    """By default some lengths are above the 16 or 22 memory locations of the models, and have N = T."""
    model = models[name]
    sequences = [random_inputs(model, length, 1, seed)[:, 0] for seed, length in enumerate(lengths)]
    with mock.patch.multiple(model, _given_batch_size=batch_size, _given_locations=locations):
        alone = [model.run(sequence[:, np.newaxis])[0][:, 0] for sequence in sequences]
        with through(model, *graphs):
            found = model.run_each(iter(sequences))
    assert [y.shape for y in found] == [y.shape for y in alone]
    for y, expected in zip(found, alone, strict=True):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, rtol=1e-2, atol=1e-3)


def test_each_sequence_has_the_memory_that_it_has_alone(models: dict[str, ntm.Model]) -> None:
    """By default N follows T, and content addressing sees more empty locations where N is larger."""
    model = models["untrained"]
    short, long = (random_inputs(model, steps, 1, seed=steps) for steps in (60, 500))
    assert model.memory_locations < 500
    expected = model.run(short)[0][:, 0]
    assert abs(model.run(short, model.initial_state(1, 500))[0][:, 0] - expected).max() > 0.01
    np.testing.assert_allclose(model.run_each([short[:, 0], long[:, 0]])[0], expected, atol=1e-4)


def test_nothing_behind_a_sequence_changes_it(models: dict[str, ntm.Model]) -> None:
    """It shares its chunks with padding, and with the longer sequences beside it."""
    for model in models.values():
        short, long = (random_inputs(model, steps, 1, seed=steps)[:, 0] for steps in (3, 14))
        with through(model, "unrolled"):
            expected = model.run_each([short])[0]
            np.testing.assert_allclose(model.run_each([long, short, long])[1], expected, atol=1e-6)
            expected = model.run_each([long])[0][:3]
            np.testing.assert_allclose(model.run_each([long[:3]])[0], expected, atol=1e-6)


def test_a_sequence_that_has_ended_costs_no_more(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model, memory_locations=40)
    session = model._sessions["unrolled"]
    unroll = session.metadata.unroll
    with through(model, "unrolled"), mock.patch.object(session, "run_chunk", side_effect=session.run_chunk) as run:
        model.run_each(np.zeros((length, 9)) for length in (1, 3 * unroll, unroll, unroll + 1))
    assert [call.args[0].shape[1] for call in run.call_args_list] == [4, 2, 1]


def test_sequences_of_one_length_are_an_array_too(tiny_model: pathlib.Path) -> None:
    model, x = ntm.load(tiny_model), np.random.default_rng(0).integers(0, 2, (3, 7, 9))
    expected = model.run(x.transpose(1, 0, 2))[0]
    for same in (x, x.tolist(), list(x.astype(">f8")), x == 1):
        np.testing.assert_allclose(np.stack(model.run_each(same), axis=1), expected, atol=1e-5)
    assert model.run_each([]) == []


def test_the_outputs_are_arrays_of_their_own(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    first, second = model.run_each([np.ones((4, 9)), np.ones((4, 9))])
    first[:] = np.nan
    assert np.isfinite(second).all()
    assert first.base is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((3, 8)), r"must have the shape \[T, 9\], not \(3, 8\)$"),
        (np.zeros((3, 1, 9)), r"must have the shape \[T, 9\], not \(3, 1, 9\)$"),
        ([[0] * 9, [0] * 8], r"must be an array, or lists of equal lengths: .* Model\.run_each$"),
        ("words", "must hold numbers, not <U5$"),
    ],
)
def test_the_wrong_one_of_several_sequences_is_named(tiny_model: pathlib.Path, wrong: Any, message: str) -> None:
    model = ntm.load(tiny_model)
    with pytest.raises(ValueError, match=rf"^sequences\[1\] {message}"):
        model.run_each([np.zeros((2, 9)), wrong])
    with pytest.raises(TypeError, match="not iterable"):
        model.run_each(5)  # type: ignore[arg-type]


# Model.chunks


@pytest.mark.parametrize("steps", [1, 7, 8, 9, 41])
@pytest.mark.parametrize("name", MODELS)
def test_chunks_are_the_outputs_of_run(models: dict[str, ntm.Model], name: str, steps: int) -> None:
    model = models[name]
    x, state = random_inputs(model, steps, 3), state_after(model, 5, 3, 20)
    unroll = model._sessions["unrolled"].metadata.unroll
    chunks = list(model.chunks(x, state))
    assert [len(chunk) for chunk in chunks] == [min(unroll, steps - start) for start in range(0, steps, unroll)]
    np.testing.assert_allclose(np.concatenate(chunks), model.run(x, state)[0], atol=1e-5)


def test_nothing_has_no_chunks(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    for shape in ((0, 2, 9), (5, 0, 9)):
        with pytest.raises(ValueError, match=r"^x must hold a step of a sequence at least, not \("):
            model.chunks(np.zeros(shape), model.initial_state(shape[1]))


def test_chunks_are_computed_as_they_are_asked_for(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    used = graphs_used(model)
    chunks = model.chunks(np.zeros((1000, 1, 9)), model.initial_state(1))
    assert used == []
    next(chunks)
    assert len(used) == 1


# Model.trace


def test_a_trace_is_the_steps(models: dict[str, ntm.Model]) -> None:
    for model in models.values():
        x, state = random_inputs(model, 12, 1), state_after(model, 5, 1, 20)
        x[9:] = 0.0
        trace = model.trace(x, state)
        np.testing.assert_array_equal(trace.x, x[:, 0])
        for t, x_t in enumerate(x):
            y, state = model.step(x_t, state)
            np.testing.assert_array_equal(trace.y[t], y[0])
            np.testing.assert_array_equal(trace.weights[t], state["weights"][0])
            np.testing.assert_array_equal(trace.reads[t], state["reads"][0])
            if t == 8:
                np.testing.assert_array_equal(trace.memory, state["memory"][0])


def test_a_trace_tells_what_is_added(tiny_model: pathlib.Path) -> None:
    """The tiny model writes each input to the next location, and reads after the delimiter."""
    model, words = ntm.load(tiny_model), random_words(5, 1, 8)
    x = copying.inputs(words)
    trace = model.trace(x, model.initial_state(1, 7))
    np.testing.assert_array_equal(trace.y[6:] > 0.5, words[:, 0])
    np.testing.assert_array_equal(trace.adds[:, 0], x[:, 0])
    np.testing.assert_array_equal(trace.memory.T[:6], x[:6, 0])
    np.testing.assert_array_equal(trace.weights[:, 0].argmax(axis=1), [0] * 6 + [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(trace.weights[:, 1].argmax(axis=1), [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(trace.reads[6:, 0, :8], words[:, 0])


def test_the_memory_of_a_trace_without_any_input_is_that_of_the_first_step(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    state = state_after(model, 3, 1, 16)
    x = np.zeros((4, 1, 9), np.float32)
    np.testing.assert_array_equal(model.trace(x, state).memory, model.step(x[0], state)[1]["memory"][0])


@pytest.mark.parametrize("shape", [(3, 2, 9), (3, 0, 9), (0, 1, 9)])
def test_a_trace_is_of_one_sequence(tiny_model: pathlib.Path, shape: tuple[int, ...]) -> None:
    model = ntm.load(tiny_model)
    with pytest.raises(ValueError, match=r"^x must hold one sequence of a step at least, not \("):
        model.trace(np.zeros(shape), model.initial_state(shape[1]))


# Several threads


def test_one_model_serves_several_threads(models: dict[str, ntm.Model]) -> None:
    model = models["untrained"]
    batches = [random_inputs(model, 20, 3, seed) for seed in range(20)]
    expected = [model.run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(model.run, batches), expected, strict=True):
            assert_equal(found, alone)
