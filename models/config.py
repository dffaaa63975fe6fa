"""The configuration of a Neural Turing Machine."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class NTMConfig:
    """What defines a network; two networks of equal configuration have variables of equal shapes.

    ``memory_locations`` is only a default: no variable depends on it, unless ``learn_w_bias``, so every
    ``initial_state`` may be given another.

    Raises:
        ValueError: a size is below 1, ``shifts`` is even, or there are fewer than S - 1 memory locations.
    """

    input_size: int  # I, numbers that the network sees at a step
    output_size: int  # O, numbers that it outputs at a step
    memory_locations: int = 128  # N
    memory_vector_size: int = 20  # M
    shifts: int = 3  # S, odd: 3 allows -1, 0 and +1
    controller_sizes: tuple[int, ...] = (100, 100, 100)  # units of each hidden layer
    read_heads: int = 1  # R
    write_heads: int = 1  # K
    learn_r_bias: bool = False  # learn the read vectors before the first step
    learn_w_bias: bool = False  # learn the weightings before the first step
    learn_m_bias: bool = False  # learn the memory vector that fills the memory before the first step

    def __post_init__(self) -> None:
        # JSON has no tuples.
        object.__setattr__(self, "controller_sizes", tuple(self.controller_sizes))
        for name, size in dataclasses.asdict(self).items():
            if isinstance(size, bool):
                continue
            sizes = size if isinstance(size, tuple) else (size,)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if self.shifts % 2 == 0:
            raise ValueError(f"shifts must be odd, not {self.shifts}")
        if self.memory_locations < self.shifts - 1:
            raise ValueError(f"memory_locations must be at least {self.shifts - 1}, not {self.memory_locations}")

    @property
    def heads(self) -> int:
        """R+K: read heads and write heads."""
        return self.read_heads + self.write_heads
