"""The configuration of a Neural Turing Machine."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ntm.models.controller import Controller
from ntm.models.feedforward import Feedforward
from ntm.models.lstm import LSTM

# A controller by name.
CONTROLLERS: dict[str, type[Controller]] = {"feedforward": Feedforward, "lstm": LSTM}

# The size of each axis: a number, or "B" or "N" where the size is left open.
Shape = tuple[str | int, ...]

CONSTANT, LEARNED, RANDOM = "constant", "learned", "random"
FIRST, UNIFORM = "first", "uniform"
ZERO = "zero"
_CHOICES: dict[str, Iterable[str]] = {
    "controller": CONTROLLERS,
    "initial_memory": (CONSTANT, LEARNED, RANDOM),
    "initial_weights": (FIRST, UNIFORM, LEARNED),
    "initial_reads": (ZERO, LEARNED),
}


@dataclasses.dataclass(frozen=True)
class NTMConfig:
    """The configuration of a network; equal configurations give variables of equal shapes.

    Attributes:
        input_size: I, numbers that the network sees at a step.
        output_size: O, numbers that it outputs at a step.
        memory_locations: N. It is only a default: every ``initial_state`` may be given another, no smaller than
            ``least_locations``.
        memory_vector_size: M.
        shifts: S, odd: 3 allows -1, 0 and +1.
        controller: a name of ``CONTROLLERS``.
        controller_sizes: units of each layer of the controller; by default as the controller has it.
        read_heads: R.
        write_heads: K.
        initial_memory: what the memory holds before the first step (Collier & Beel 2018, arXiv:1807.08518):
            ``constant``, a small number; ``learned`` numbers; or ``random`` ones, which are not trained. The last two
            are for N locations; any beyond them hold the constant.
        initial_weights: the weightings before the first step: one-hot on the ``first`` location, ``uniform``, or
            ``learned`` for N locations.
        initial_reads: the read vectors before the first step: ``zero`` or ``learned``.

    Raises:
        ValueError: a size is below 1, ``shifts`` is even, there are fewer than S - 1 memory locations, or a choice is
            none of those above.
    """

    input_size: int
    output_size: int
    memory_locations: int = 128
    memory_vector_size: int = 20
    shifts: int = 3
    controller: str = "feedforward"
    controller_sizes: tuple[int, ...] = ()
    read_heads: int = 1
    write_heads: int = 1
    initial_memory: str = CONSTANT
    initial_weights: str = FIRST
    initial_reads: str = ZERO

    model: ClassVar[str] = "ntm"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)}")
        # JSON has no tuples.
        sizes = tuple(self.controller_sizes) or CONTROLLERS[self.controller].default_sizes
        object.__setattr__(self, "controller_sizes", sizes)
        check_sizes(self, (field.name for field in dataclasses.fields(self) if field.name not in _CHOICES))
        if self.shifts % 2 == 0:
            raise ValueError(f"shifts must be odd, not {self.shifts}")
        if self.memory_locations < self.shifts - 1:
            raise ValueError(f"memory_locations must be at least {self.shifts - 1}, not {self.memory_locations}")

    @property
    def kind(self) -> str:
        """The name of this kind of network in recipes and figures, e.g. ``ntm-lstm``."""
        return f"{self.model}-{self.controller}"

    @property
    def description(self) -> str:
        """A description of the network, for people."""
        return f"A Neural Turing Machine (Graves et al. 2014, arXiv:1410.5401) with the controller `{self.controller}`"

    @property
    def heads(self) -> int:
        """R+K: read heads and write heads."""
        return self.read_heads + self.write_heads

    @property
    def matrix_shapes(self) -> list[tuple[int, int]]:
        """The inputs and outputs of every layer: the controller's layers, the heads' layer and the output layer."""
        controller = CONTROLLERS[self.controller](self.controller_sizes)
        of_reads, units = self.read_heads * self.memory_vector_size, controller.output_size
        return [
            *controller.matrix_shapes(self.input_size + of_reads),
            (units, sum(columns.size for columns in self.head_columns.values())),
            (units + of_reads, self.output_size),
        ]

    @property
    def addressing_sizes(self) -> dict[str, int]:
        """The parameters of addressing that the heads' layer outputs for each head, in order, with their sizes."""
        return {"key": self.memory_vector_size, "strength": 1, "gate": 1, "sharpening": 1, "shift": self.shifts}

    @property
    def head_columns(self) -> dict[str, np.ndarray]:
        """The columns of the heads' layer by parameter.

        The parameters of ``addressing_sizes`` have the columns ``[R+K, size]``: all those of head 0 come first. Then
        ``erase`` and ``add`` follow, with the columns ``[M, K]`` each.
        """
        m, k = self.memory_vector_size, self.write_heads
        sizes = self.addressing_sizes
        addressing = np.arange(self.heads * sum(sizes.values())).reshape(self.heads, -1)
        parts = np.split(addressing, np.cumsum(list(sizes.values()))[:-1], axis=1)
        erase, add = addressing.size + np.arange(2 * m * k).reshape(2, m, k)
        return {**dict(zip(sizes, parts, strict=True)), "erase": erase, "add": add}

    @property
    def state_shapes(self) -> dict[str, Shape]:
        """The shapes of the memory, the weightings, the read vectors and the state of the controller."""
        carried = CONTROLLERS[self.controller](self.controller_sizes).state_sizes
        return {
            "memory": ("B", self.memory_vector_size, "N"),
            "weights": ("B", self.heads, "N"),
            "reads": ("B", self.read_heads, self.memory_vector_size),
            **{name: ("B", size) for name, size in carried.items()},
        }

    @property
    def fixed_locations(self) -> bool:
        """Whether the network works with its own N only, since its locations differ before the first step."""
        return self.initial_memory != CONSTANT

    @property
    def least_locations(self) -> int:
        """The fewest memory locations that the network can be given."""
        by_location = self.fixed_locations or self.initial_weights == LEARNED
        return self.memory_locations if by_location else max(self.shifts - 1, 1)


def check_sizes(config: Any, names: Iterable[str]) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: a size is below 1.
    """
    for name in names:
        size = getattr(config, name)
        sizes = size if isinstance(size, tuple) else (size,)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
