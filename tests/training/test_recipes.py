"""The configuration that a task is learned with."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest

from ntm.models import NTMConfig
from ntm.tasks import BUILT_IN, Batch, Size, Task, find
from ntm.tasks.task import largest
from ntm.training.config import Lesson, TrainingConfig
from ntm.training.recipes import FEEDFORWARD, GENERAL, LSTM, LSTM_CONTROLLER, RECIPES, Recipe, configure, misfits

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Echo(Task):
    """A task of a user's: repeat what was seen a step before."""

    channels: int = 3

    training_sizes = {"length": range(4, 10)}  # noqa: RUF012

    @property
    def input_size(self) -> int:
        return self.channels

    output_size = input_size

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["length"], batch_size, self.channels)).astype(np.float32)
        return Batch(x, np.roll(x, 1, axis=0), np.ones(x.shape[:2], np.float32))


@pytest.mark.parametrize(
    ("task", "numbers"),
    [
        (find("copy"), (9, 8, 22)),
        (find("copy", {"bits": 16}), (17, 16, 22)),
        (find("repeat-copy"), (10, 9, 22)),
        (find("associative-recall"), (8, 6, 44)),
        (find("associative-recall", {"bits": 4, "vectors": 1}), (6, 4, 22)),
        (find("dynamic-ngrams"), (1, 1, 64)),
        (find("dynamic-ngrams", {"n": 3}), (1, 1, 8)),
        (find("priority-sort"), (10, 8, 40)),
        (Echo(5), (5, 5, 9)),  # one location for each step
    ],
    ids=lambda value: f"{value.name} {value.options}" if isinstance(value, Task) else "",
)
def test_the_network_follows_from_the_task_and_its_options(task: Task, numbers: tuple[int, int, int]) -> None:
    network, training = configure(task)
    assert (network.input_size, network.output_size, network.memory_locations) == numbers
    assert training.ranges == task.training_sizes


@pytest.mark.parametrize(
    ("name", "sizes", "memory_locations"),
    [
        ("copy", {"length": (1, 40)}, 42),
        ("copy", {"length": (3, 3)}, 5),
        ("repeat-copy", {"length": (1, 20)}, 42),
        ("repeat-copy", {"repeats": (1, 20)}, 22),
        ("associative-recall", {"items": (2, 12)}, 78),
        ("priority-sort", {"vectors": (5, 30)}, 60),
    ],
)
def test_the_memory_has_room_for_the_largest_size(
    name: str, sizes: dict[str, tuple[int, int]], memory_locations: int
) -> None:
    task = find(name)
    network, training = configure(task, options={"sizes": sizes})
    assert network.memory_locations == memory_locations
    needed = task.memory_locations(largest(training.ranges))
    assert max(network.memory_locations, *training.train_locations, 0) >= needed  # in some of the batches at least
    own = {size: (min(values), max(values)) for size, values in task.training_sizes.items()}
    assert training.sizes == own | sizes  # a size that is not given stays as it is


@pytest.mark.parametrize(("bits", "numbers"), [(1, 20), (8, 20), (16, 27), (31, 42)])
def test_a_memory_vector_has_room_for_what_is_output(bits: int, numbers: int) -> None:
    network, _ = configure(find("copy", {"bits": bits}))
    assert dataclasses.asdict(network)["memory_vector_size"] == numbers


@pytest.mark.parametrize(
    ("options", "practice", "annealing_practice"),
    [
        ({}, {"repeats": (1, 13)}, {"length": (1, 24)}),
        ({"sizes": {"length": (2, 5)}}, {"repeats": (1, 13)}, {"length": (2, 12)}),
        ({"sizes": {"repeats": (1, 20)}}, {"repeats": (1, 26)}, {"length": (1, 24)}),
        ({"sizes": {"repeats": (1, 20)}, "practice": {"repeats": (1, 25)}}, {"repeats": (1, 25)}, {"length": (1, 24)}),
        ({"annealing_practice": {}}, {"repeats": (1, 13)}, {}),
        ({"controller": "lstm"}, {"repeats": (1, 13)}, {}),
    ],
)
def test_practice_is_a_multiple_of_the_sizes_of_the_training(
    options: dict[str, Any], practice: dict[str, Any], annealing_practice: dict[str, Any]
) -> None:
    _, training = configure(find("repeat-copy"), options=options)
    assert (training.practice, training.annealing_practice) == (practice, annealing_practice)


def test_the_lessons_of_a_recipe_are_for_the_sizes_of_the_task_alone() -> None:
    task = find("associative-recall")
    assert len(configure(task)[1].lessons) == 1
    assert configure(task, options={"sizes": {"items": (8, 12)}})[1].lessons == ()
    assert len(configure(task, options={"seed": 7})[1].lessons) == 1


def test_wide_outputs_are_learned_in_the_shorter_sequences_first() -> None:
    _, narrow = configure(find("copy", {"bits": 16}))
    _, wide = configure(find("copy", {"bits": 17}), options={"sizes": {"length": (1, 40)}})
    assert narrow.lessons == ()
    assert [dict(lesson.sizes) for lesson in wide.lessons] == [{"length": (1, most)} for most in (4, 10, 20)]
    _, own = configure(find("copy", {"bits": 17}), options={"lessons": ()})
    assert own.lessons == ()


def test_the_lessons_of_wide_copies_have_words_that_are_nearly_empty() -> None:
    _, copy = configure(find("copy", {"bits": 17}))
    assert [lesson.options for lesson in copy.lessons] == [{"pattern": "uneven"}] * 3
    _, sort = configure(find("priority-sort", {"bits": 17}))  # has no such option
    assert [lesson.options for lesson in sort.lessons] == [{}] * 3


@pytest.mark.parametrize(
    ("bits", "options", "layers"),
    [
        (16, {}, (100, 100, 100)),
        (17, {}, (300, 300)),
        (17, {"controller_sizes": (50,)}, (50,)),
        (17, {"controller": "lstm"}, (100,)),
    ],
)
def test_wide_outputs_need_larger_layers(bits: int, options: dict[str, Any], layers: tuple[int, ...]) -> None:
    network, _ = configure(find("copy", {"bits": bits}), options)
    assert isinstance(network, NTMConfig)
    assert network.controller_sizes == layers


@pytest.mark.parametrize(
    ("bits", "options", "gate_bias"),
    [(1, {}, -4.0), (2, {}, -2.0), (1, {"gate_bias": -3.0}, -3.0), (1, {"controller": "lstm"}, -2.0)],
)
def test_copies_of_one_bit_begin_with_gates_that_are_almost_closed(
    bits: int, options: dict[str, Any], gate_bias: float
) -> None:
    assert configure(find("copy", {"bits": bits}), options)[1].gate_bias == gate_bias


def test_an_lstm_with_wide_outputs_keeps_its_layers() -> None:
    options = {"model": "lstm"}
    narrow, wide = (configure(find("copy", {"bits": bits}), options)[0] for bits in (16, 17))
    assert dataclasses.replace(wide, input_size=narrow.input_size, output_size=narrow.output_size) == narrow


def test_the_memory_has_room_for_the_shifts() -> None:
    network, _ = configure(find("copy"), options={"sizes": {"length": (1, 1)}, "shifts": 9})
    assert network.memory_locations == 8


def test_a_task_without_a_recipe_has_the_general_one() -> None:
    network, training = configure(Echo())
    assert network == NTMConfig(3, 3, memory_locations=9, read_heads=2, shifts=5)
    assert training == TrainingConfig(sizes={"length": (4, 9)}, **GENERAL[network.kind].training)
    for kind in ({"controller": "feedforward"}, {"controller": "lstm"}, {"model": "lstm"}):
        network, training = configure(Echo(), kind)
        assert training == TrainingConfig(sizes={"length": (4, 9)}, **GENERAL[network.kind].training)
        assert {name: getattr(network, name) for name in kind} == kind


def test_no_batch_has_fewer_memory_locations_than_the_task_needs() -> None:
    for most, further in ((127, (128,)), (128, ()), (200, ())):
        network, training = configure(Echo(), {"sizes": {"length": (1, most)}})
        assert network.memory_locations == most
        assert training.train_locations == further
    _, training = configure(find("copy"), options={"train_locations": (5,)})
    assert training.train_locations == (5,)


def test_the_recipe_of_a_task_serves_its_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("measured", {"read_heads": 4, "shifts": 5, "memory_locations": 30}, {"batch_size": 5})
    monkeypatch.setitem(RECIPES, ("Echo", FEEDFORWARD), recipe)
    network, training = configure(Echo())
    assert network == NTMConfig(3, 3, memory_locations=30, read_heads=4, shifts=5)
    assert training == TrainingConfig(sizes={"length": (4, 9)}, batch_size=5)


@pytest.mark.parametrize(
    ("options", "memory_locations", "train_locations"),
    [
        ({}, 9, (128,)),
        ({"memory_locations": 50}, 50, (128,)),
        ({"sizes": {"length": (4, 30)}}, 30, (128,)),
        ({"memory_locations": 128}, 128, ()),
        ({"train_locations": (7, 8)}, 9, (7, 8)),
        ({"train_locations": ()}, 9, ()),
    ],
)
def test_a_network_is_trained_with_further_memory_locations_by_the_recipe(
    options: dict[str, Any], memory_locations: int, train_locations: tuple[int, ...]
) -> None:
    network, training = configure(Echo(), options=options)
    assert (network.memory_locations, training.train_locations) == (memory_locations, train_locations)


def test_options_override_the_recipe() -> None:
    copy = find("copy")
    network, training = configure(copy)
    changes: dict[str, Any] = {"clean_sequences": 7, "gate_bias": 1.0, "seed": 8}
    assert RECIPES["copy", FEEDFORWARD].training["clean_sequences"] != 7
    options = changes | {"read_heads": 2, "memory_locations": 50}
    before = dict(options)
    changed = configure(copy, options=options)
    assert options == before
    changed_network = {"read_heads": 2, "memory_locations": 50}
    assert dataclasses.asdict(changed[0]) == dataclasses.asdict(network) | changed_network
    assert changed[1] == dataclasses.replace(training, **changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 3}, "there is no option colour of the model ntm"),
        ({"word_bits": 8, "max_length": 20, "seed": 1}, "there is no option max_length, word_bits of the model ntm"),
        ({"sizes": {"items": (1, 2)}}, "the task copy has no size items; its sizes: length"),
        ({"sizes": {"length": (1, 2), "repeats": (1, 2)}}, "the task copy has no size repeats; its sizes: length"),
        ({"sizes": {"length": (5, 1)}}, "length must not go from a larger number to a smaller one: 5 to 1"),
        ({"input_size": 8}, "input_size follows from the task copy: 9"),
        ({"output_size": 9}, "output_size follows from the task copy: 8"),
        ({"shifts": 4}, "shifts must be odd, not 4"),
        ({"memory_locations": 1}, "memory_locations must be at least 2, not 1"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        configure(find("copy"), options=options)


def test_the_sizes_of_the_network_may_be_repeated() -> None:
    copy = find("copy")
    assert configure(copy, options={"input_size": 9, "output_size": 8}) == configure(copy)


OPTIONS: dict[str, dict[str, Any]] = {
    FEEDFORWARD: {"controller": "feedforward"},
    LSTM_CONTROLLER: {"controller": "lstm"},
    LSTM: {"model": "lstm"},
}


@pytest.mark.parametrize("key", RECIPES, ids=" ".join)
def test_every_recipe_is_of_a_built_in_task_and_can_be_used(key: tuple[str, str]) -> None:
    name, kind = key
    recipe, task = RECIPES[key], find(name)
    assert name in BUILT_IN
    network, training = configure(task, OPTIONS[kind])
    assert network.kind == kind
    for configuration, fields in ((network, recipe.network), (training, recipe.training)):
        names = {field.name for field in dataclasses.fields(configuration)}
        assert set(fields) <= names
        assert {field: getattr(configuration, field) for field in fields} == dict(fields)
    find(name, task.options | dict(training.variant))  # which refuses an unknown option
    assert bool(task.variant) == bool(training.variant_every)


@pytest.mark.parametrize("recipe", [*GENERAL.values(), *RECIPES.values()], ids=[*GENERAL, *map(" ".join, RECIPES)])
def test_every_recipe_names_its_evidence(recipe: Recipe) -> None:
    """The file, and where in it."""
    file, _, section = recipe.evidence.partition(", ")
    assert (ROOT / file).is_file()
    assert section.strip()


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("model", ["ntm", "lstm"])
def test_defaults_fit_the_task(name: str, model: str) -> None:
    task = find(name)
    assert not misfits(task, *configure(task, {"model": model}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"memory_locations": 22, "sizes": {"length": (1, 40)}},
            "22 memory locations are fewer than the 42 that length=40 needs: the network may never converge; give it "
            "--memory-locations 42",
        ),
        (
            {"memory_vector_size": 8},
            "a memory vector of 8 numbers holds 8 outputs and nothing to find them by: the network may never converge; "
            "give it --memory-vector-size 19",
        ),
    ],
)
def test_what_cannot_fit_is_said_with_the_option_to_change(options: dict[str, Any], message: str) -> None:
    task = find("copy")
    assert misfits(task, *configure(task, options)) == [message]


def test_a_curriculum_is_a_lesson_for_each_stage_but_the_last() -> None:
    _, training = configure(find("copy"), {"curriculum": {"length": (5, 10, 30)}})
    assert training.ranges == {"length": range(1, 31)}
    stages = [Lesson(1_100, clean_sequences=1_600, sizes={"length": (1, most)}) for most in (5, 10)]
    assert training.lessons == tuple(stages)
    task = find("repeat-copy")
    _, training = configure(task, {"curriculum": {"length": (3, 10), "repeats": (2, 10)}})
    assert [lesson.sizes for lesson in training.lessons] == [{"length": (1, 3), "repeats": (1, 2)}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": {"length": (5, 3, 20)}}, "length must grow from stage to stage, from 1 or more to 20"),
        ({"curriculum": {"length": (5, 5)}}, "length must grow"),
        ({"curriculum": {"length": (0, 5)}}, "length must grow from stage to stage, from 1 or more to 5"),
        ({"curriculum": {"length": (5, 10)}, "sizes": {"length": (1, 20)}}, "from 1 or more to 20, in as many stages"),
        ({"curriculum": {"items": (5, 10)}}, "the task copy has no size items"),
    ],
)
def test_a_curriculum_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(find("copy"), options)


@dataclasses.dataclass(frozen=True)
class EchoOfZeros(Echo):
    """With a variant."""

    zeros: bool = False

    variant = {"zeros": True}  # noqa: RUF012


def test_a_task_may_have_a_variant() -> None:
    _, training = configure(EchoOfZeros())
    assert (training.variant, training.variant_every) == ({"zeros": True}, 8)
    assert configure(Echo())[1].variant_every == 0
    assert configure(EchoOfZeros(), {"variant_every": 0})[1].variant_every == 0


def test_a_recipe_may_leave_the_network_few_locations_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the N of a batch is that, or what the task needs; and nothing is too small."""
    kind = configure(Echo())[0].kind
    recipe = Recipe("measured", training={"train_locations": (128,)}, locations=0.5)
    monkeypatch.setitem(RECIPES, (Echo().name, kind), recipe)
    network, training = configure(Echo(), {"sizes": {"length": (1, 40)}})
    assert (network.memory_locations, training.train_locations) == (20, (40, 128))
    assert misfits(Echo(), network, training) == []
    network, training = configure(Echo(), {"sizes": {"length": (1, 40)}, "memory_locations": 19})
    assert (network.memory_locations, training.train_locations) == (19, (40, 128))
    assert "give it --memory-locations 20" in misfits(Echo(), network, training)[0]


def test_annealing_has_no_fewer_locations_than_the_network() -> None:
    recall = find("associative-recall")
    assert configure(recall)[1].annealing_locations == (128,)
    assert configure(recall, options={"sizes": {"items": (2, 50)}})[1].annealing_locations == ()
    assert configure(recall, options={"annealing_locations": (7,)})[1].annealing_locations == (7,)
