"""The recipes: the options that differ from the defaults, by task and network, and the evidence for them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ntm.models import NETWORKS, NetworkConfig, NTMConfig
from ntm.models.config import LEARNED, UNIFORM
from ntm.tasks.task import Task, describe, largest
from ntm.training.config import CONTENT, LOCATION, RMSPROP, Lesson, TrainingConfig, as_ends

# The networks of the paper, by the ``kind`` of their configurations.
FEEDFORWARD, LSTM_CONTROLLER, LSTM = "ntm-feedforward", "ntm-lstm", "lstm"
# The numbers of a memory vector beyond those of an output, which a network needs to address it.
_BESIDE_THE_OUTPUT = 11
# More batches than any training has.
_NEVER = 10**9
# For a network that is already trained: no lessons and no restarts.
FURTHER: Mapping[str, Any] = {"lessons": (), "restart_batches": _NEVER, "unsolved_batches": _NEVER}
# For the paper's optimiser: its settings (section 4.6), and the batches that they need.
_OF_RMSPROP: dict[str, Any] = {
    "learning_rate": 1e-4,
    "content_learning_rate": 1e-4,
    "momentum": 0.9,
    "clip_norm": 0.0,
    "clip_outlier": 0.0,
    "clip_element": 10.0,
    "restart_batches": _NEVER,
    "unsolved_batches": _NEVER,
    "max_batches": 125_000,
}
# One of this many training sequences is of the task's variant.
_VARIANT_EVERY = 8
# A network with more outputs than this learns short sequences first, and a feedforward controller has larger layers.
_WIDE, _WIDE_LAYERS = 16, (300, 300)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The best options for a task and a kind of network.

    Attributes:
        evidence: the place of the measurement.
        network: fields of the network's configuration that differ from its defaults.
        training: fields of ``TrainingConfig`` that differ from its defaults.
        locations: the network's own N, as a share of the N that the task needs. Below 1, the N of a batch is drawn from
            both, so that the network learns to do with few spare locations, as in longer sequences.
        one_output: fields of ``TrainingConfig`` that differ too for a task with one output number.
        practice: the largest size that is practised, as a multiple of the largest size of the training.
        annealing_practice: the same, while annealing.
        wide_lesson_options: for a task with many outputs, the options of the task in the lessons.
    """

    evidence: str
    network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    locations: float = 1.0
    one_output: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    practice: Mapping[str, float] = dataclasses.field(default_factory=dict)
    annealing_practice: Mapping[str, float] = dataclasses.field(default_factory=dict)
    wide_lesson_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def own_locations(self, needed: int) -> int:
        """N of the network for a task that needs this many locations."""
        return int(self.locations * needed)


# A network that is trained with one N may depend on the length of the circle of locations, or on the number of empty
# locations. So half of the batches have the default N of the runtime.
_SERVED = {"train_locations": (128,)}

_BY_CONTENT = {"addressing": (CONTENT,), "batch_size": 16, "turn_content_off": False}

_OWN_TASKS = Recipe(
    evidence="docs/results/own_tasks.md, Own tasks",
    # Heads that can skip a location learn rules such as "every second word" twenty times as fast.
    network={"read_heads": 2, "shifts": 5},
    # Some tasks need several restarts.
    training={**_SERVED, "sharpness_penalty": 1e-3, "max_batches": 100_000},
)

# For tasks without their own recipe; the first recipe is also that of any further kind of controller.
GENERAL: dict[str, Recipe] = {
    FEEDFORWARD: _OWN_TASKS,
    LSTM_CONTROLLER: dataclasses.replace(
        _OWN_TASKS,
        network={"read_heads": 2},
        training={
            **_OWN_TASKS.training,
            "addressing": (CONTENT, LOCATION),
            "restart_batches": 1_500,
            "unsolved_batches": 4_000,
            "annealing_batches": 3_000,
            "annealing_learning_rate": 1e-3,
            "drift_penalty": 0.03,
        },
    ),
    LSTM: Recipe(
        evidence="docs/results/three_networks.md, The LSTM on copy",
        training={
            "batch_size": 16,
            "learning_rate": 1e-3,
            "turn_content_off": False,
            "variant_every": 0,
            # This network learns slowly, and a restart does not help.
            "restart_batches": _NEVER,
            "unsolved_batches": _NEVER,
            "max_batches": 12_500,
        },
    ),
}

_OF_FEEDFORWARD: dict[str, Recipe] = {
    "copy": Recipe(
        evidence="docs/results/recipe.md, The recipe: every choice is better than its absence",
        training={
            "addressing": (LOCATION,),
            "learned_loss": 0.0,
            "halving_batches": 0,
            "max_batches": 20_000,
            "clean_sequences": 1_600,
            "unsolved_batches": 1_100,
            "content_restarts": 3,
            "annealing_learning_rate": 1e-3,
        },
        # Half of the words of one bit look like the empty input of the output phase, so that networks easily find their
        # way by content, which fails with long sequences.
        one_output={"gate_bias": -4.0},
        # A random word of many bits always has several ones. So a network may learn to move its heads only where it
        # sees ones, and then it fails with empty words.
        wide_lesson_options={"pattern": "uneven"},
    ),
    "repeat-copy": Recipe(
        evidence="docs/results/paper_tasks.md, Repeat copy",
        # With one hidden layer the network counts more exactly than with three.
        network={"read_heads": 2, "write_heads": 2, "controller_sizes": (100,)},
        training={
            **_BY_CONTENT,
            "batch_size": 8,
            "content_learning_rate": 1.4e-3,
            # With it no seed is left far behind, and more seeds are right with twice as many words.
            "content_writing_penalty": 0.05,
            "strength_bias": 3.0,
            "learned_loss": 0.04,
            "halving_batches": 3_000,
            # One sequence that goes wrong altogether is no setback.
            "setback": 30.0,
            "sharpness_penalty": 1e-3,
            "restart_batches": 6_000,
            "unsolved_batches": 24_000,
            "max_batches": 60_000,
            "annealing_batches": 8_000,
            "annealing_halving_batches": 800,
            "average_decay": 0.998,
            # A batch of one count alone moves all ends the same way, whatever it does to other counts.
            "mixed": ("repeats",),
            # The rare wrong ends make the largest gradients.
            "clip_outlier": 0.0,
            # A network that is trained with fewer N counts wrongly with other N.
            "train_locations": (44, 128),
        },
        # A network learns the largest counts last.
        practice={"repeats": 1.3},
        # A network that has never seen more than 10 words often counts wrongly with 20; with 24 seen, it has a margin.
        annealing_practice={"length": 2.4},
    ),
    "associative-recall": Recipe(
        evidence="docs/results/paper_tasks.md, Associative recall",
        network={"read_heads": 4},
        locations=0.7,
        training={
            **_BY_CONTENT,
            "lessons": (Lesson(800, loss=0.02, sizes={"items": (2, 3)}),),
            "strength_bias": 3.0,
            "halving_batches": 2_000,
            "variant_every": 4,
            "restart_batches": 1_200,
            "begun_loss": 0.2,
            "unsolved_batches": 10_000,
            "annealing_batches": 2_500,
            # Empty locations take a share of the weighting by content. With 2 items and N = 128 nearly all are empty,
            # and networks that were trained with fewer locations alone err.
            "annealing_locations": (128,),
        },
    ),
    "dynamic-ngrams": Recipe(
        evidence="docs/results/paper_tasks.md, Dynamic n-grams",
        # A table of counts: the key of a context finds the same location from the first bit on, and no head moves.
        network={"read_heads": 2, "shifts": 1, "initial_memory": LEARNED, "initial_weights": UNIFORM},
        training={
            **_BY_CONTENT,
            "batch_size": 32,
            "content_gate_bias": 4.0,
            "key_bias": 0.3,
            "strength_bias": 3.0,
            "sharpness_penalty": 1e-3,
            "goal": 0.75,
            "learned_loss": 0.02,
            "halving_batches": 4_000,
            "setback": 1.5,
            # The loss stays on a plateau for a quarter of the training before the network uses the table.
            "restart_batches": _NEVER,
            "unsolved_batches": _NEVER,
            "max_batches": 12_000,
            "annealing_batches": 2_500,
            "annealing_learning_rate": 1e-3,
        },
    ),
    "priority-sort": Recipe(
        evidence="docs/results/paper_tasks.md, Priority sort",
        training={
            **_BY_CONTENT,
            "content_learning_rate": 2e-3,
            "goal": 10.0,
            "learned_loss": 0.1,
            "halving_batches": 4_000,
            "setback": 1.5,
            "sharpness_penalty": 1e-3,
            "restart_batches": 5_000,
            "begun_loss": 0.3,
            # It takes long to tell similar priorities apart: after 6,000 batches, networks close to the goal restarted.
            "unsolved_batches": 20_000,
            "max_batches": 80_000,
            **_SERVED,
        },
    ),
}


# The options that differ with an LSTM controller.
_OF_LSTM: dict[str, dict[str, Any]] = {
    # An LSTM that counts in its cells errs beyond the training, and an LSTM that begins slowly needs no restart.
    "copy": {"drift_penalty": 0.3, "restart_batches": 2_000, "unsolved_batches": 4_000},
    # The values of the measurement; those of the feedforward controller were not tried.
    "repeat-copy": {
        "content_learning_rate": 7e-4,
        "content_writing_penalty": 0.0,
        "average_decay": 0.99,
        "annealing_batches": 3_000,
        "annealing_halving_batches": 200,
    },
    "associative-recall": {
        "lessons": (Lesson(6_000, loss=0.02, sizes={"items": (2, 3)}),),
        "restart_batches": 6_000,
        "annealing_batches": 1_500,
        "annealing_locations": (),
    },
}

RECIPES: dict[tuple[str, str], Recipe] = {
    **{(task, FEEDFORWARD): recipe for task, recipe in _OF_FEEDFORWARD.items()},
    **{
        (task, LSTM_CONTROLLER): dataclasses.replace(
            recipe,
            locations=1.0,
            one_output={},
            annealing_practice={},
            wide_lesson_options={},
            training={**recipe.training, **_OF_LSTM.get(task, {})},
        )
        for task, recipe in _OF_FEEDFORWARD.items()
    },
}


def _wide(sizes: Mapping[str, tuple[int, int]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The additions to a recipe for many outputs: first the shortest tenth, quarter and half of the sizes.

    Args:
        sizes: the least and the most of each size of the training.
        options: the options of the task in these lessons.
    """

    def shortest(part: int, loss: float) -> Lesson:
        share = {name: (least, least + (most - least) // part) for name, (least, most) in sizes.items()}
        return Lesson(1_000, loss=loss, sizes=share, options=options)

    return {
        "learning_rate": 1e-3,
        "lessons": (shortest(10, loss=0.1), shortest(4, loss=0.05), shortest(2, loss=0.05)),
        "setback": 4.0,
        "learned_loss": 0.02,
        "halving_batches": 1_000,
        "restart_batches": 1_500,
        "unsolved_batches": 6_000,
    }


def _stages(curriculum: Mapping[str, Sequence[int]], training: TrainingConfig) -> tuple[Lesson, ...]:
    """The stages of a curriculum before the last, which is the task itself.

    Raises:
        ValueError: the stages do not grow, or the last stage differs from the sizes of the training.
    """
    lengths = {len(most) for most in curriculum.values()}
    for name, most in curriculum.items():
        least, last = training.sizes[name]
        if list(most) != sorted(set(most)) or most[0] < least or most[-1] != last or len(lengths) > 1:
            raise ValueError(
                f"curriculum: {name} must grow from stage to stage, from {least} or more to {last}, in as many stages "
                f"as the others, not {', '.join(map(str, most))}"
            )
    return tuple(
        Lesson(
            training.unsolved_batches,
            clean_sequences=training.clean_sequences,
            sizes={name: (training.sizes[name][0], most[stage]) for name, most in curriculum.items()},
        )
        for stage in range(min(lengths) - 1)
    )


def configure(task: Task, options: Mapping[str, Any] | None = None) -> tuple[NetworkConfig, TrainingConfig]:
    """The network and the training for a task, by its recipe.

    Args:
        task: the task to learn.
        options: the ``model``, a name of ``ntm.models.NETWORKS``; the ``curriculum``, the largest size of each stage by
            the name of the size; and fields of both configurations that differ from the recipe.

    Raises:
        ValueError: an option is out of its range, or unknown.
    """
    options = dict(options or {})
    model = options.pop("model", NTMConfig.model)
    if model not in NETWORKS:
        raise ValueError(f"model must be {' or '.join(NETWORKS)}, not {model}")
    network_config, _ = NETWORKS[model]
    sizes = as_ends(task.training_sizes)
    curriculum = options.pop("curriculum", {})
    given = {name: (sizes.get(name, (0, 0))[0], most[-1]) for name, most in curriculum.items()}
    given |= options.pop("sizes", {})
    sizes |= given
    if set(sizes) != set(task.training_sizes):
        unknown = ", ".join(sorted(set(sizes) - set(task.training_sizes)))
        raise ValueError(f"the task {task.name} has no size {unknown}; its sizes: {', '.join(task.training_sizes)}")
    names = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (network_config, TrainingConfig)}
    of_network = {name: options.pop(name) for name in names[network_config] & set(options)}
    unknown = ", ".join(sorted(set(options) - names[TrainingConfig]))
    if unknown:
        raise ValueError(f"there is no option {unknown} of the model {model}")
    own = {"input_size": task.input_size, "output_size": task.output_size}
    for name, size in own.items():
        if of_network.get(name, size) != size:
            raise ValueError(f"{name} follows from the task {task.name}: {size}")
    kind = network_config(**own | of_network).kind
    recipe = _recipe(task, kind)
    by_recipe = {"variant_every": _VARIANT_EVERY if task.variant else 0} | dict(recipe.training)
    if task.output_size == 1:
        by_recipe |= recipe.one_output
    for name, beyond in ("practice", recipe.practice), ("annealing_practice", recipe.annealing_practice):
        by_recipe[name] = {size: (sizes[size][0], round(times * sizes[size][1])) for size, times in beyond.items()}
    if given:  # lessons are for the task's own sizes
        by_recipe.pop("lessons", None)
    wide = _wide(sizes, recipe.wide_lesson_options) if task.output_size > _WIDE else {}
    slow = _OF_RMSPROP if options.get("optimizer") == RMSPROP else {}
    training = TrainingConfig(**{"sizes": sizes, "variant": task.variant} | by_recipe | wide | slow | options)
    if curriculum:
        training = dataclasses.replace(training, lessons=_stages(curriculum, training))
    shifts = of_network.get("shifts", recipe.network.get("shifts", NTMConfig.shifts))
    of_task = task.memory_locations(largest(training.ranges))
    needed = {
        "memory_locations": max(recipe.own_locations(of_task), shifts - 1),
        "memory_vector_size": max(NTMConfig.memory_vector_size, task.output_size + _BESIDE_THE_OUTPUT),
    }
    needed = {name: size for name, size in needed.items() if name in names[network_config]}
    layers = {"controller_sizes": _WIDE_LAYERS} if wide and kind == FEEDFORWARD else {}
    network = network_config(**own | needed | layers | dict(recipe.network) | of_network)
    train_locations = {of_task, *training.train_locations} if recipe.locations < 1 else training.train_locations
    further = {"train_locations": train_locations, "annealing_locations": training.annealing_locations}
    enough: dict[str, Any] = {  # those of the recipe, unless the task needs more
        name: tuple(n for n in sorted(locations) if n > network.memory_locations)
        for name, locations in further.items()
        if name not in options
    }
    return network, dataclasses.replace(training, **enough)


def _recipe(task: Task, kind: str) -> Recipe:
    """The recipe of a task for a kind of network."""
    return RECIPES.get((task.name, kind)) or GENERAL.get(kind, _OWN_TASKS)


def misfits(task: Task, network: NetworkConfig, training: TrainingConfig) -> list[str]:
    """Warnings about sizes of the network that are too small for the task, each with the option to change."""
    if not isinstance(network, NTMConfig):
        return []
    size, found = largest(training.ranges), []
    needed = _recipe(task, network.kind).own_locations(task.memory_locations(size))
    if network.memory_locations < needed:
        found.append(
            f"{network.memory_locations} memory locations are fewer than the {needed} that {describe(size)} needs: the "
            f"network may never converge; give it --memory-locations {needed}"
        )
    if network.memory_vector_size <= task.output_size:
        enough = task.output_size + _BESIDE_THE_OUTPUT
        found.append(
            f"a memory vector of {network.memory_vector_size} numbers holds {task.output_size} outputs and nothing to "
            f"find them by: the network may never converge; give it --memory-vector-size {enough}"
        )
    return found
