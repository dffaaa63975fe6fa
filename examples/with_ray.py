"""Copy words in a pool of Ray actors, which Ray Data hands batches to; here a Ray of this machine alone.

Run it: ``python examples/with_ray.py``. It needs ``pip install . 'ray[data]'``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import ray.data

import ntm

ACTORS = 2


class Copier:
    """An actor: a process that keeps its model."""

    # Hand over the model itself. A function of this file that loads it, and keeps it by functools.cache, could not be
    # sent: actors have another __main__.
    def __init__(self, model: ntm.Model) -> None:
        self.model = model

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Words and copies side by side: batches may come back in any order."""
        return {"words": batch["data"], "copied": self.model.copy(batch["data"])}


def main() -> None:
    """Make words, copy them in two actors, compare."""
    words = np.random.default_rng(0).integers(0, 2, (512, 20, 8), np.uint8)  # [B, L, bits]

    # One CPU more than actors: an actor keeps its CPU, and the other steps of Ray Data wait for one, for ever if there
    # is none (https://github.com/ray-project/ray/issues/44687).
    ray.init(num_cpus=ACTORS + 1)
    copied = ray.data.from_numpy(np.array_split(words, 8)).map_batches(
        Copier,
        fn_constructor_args=[ntm.load()],
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=ACTORS),
    )
    sequences = wrong = 0
    for batch in copied.iter_batches():
        sequences += len(batch["words"])
        wrong += int(np.count_nonzero(batch["copied"] != batch["words"]))
    print(f"{sequences} sequences, {wrong} wrong bits")
    ray.shutdown()


if __name__ == "__main__":
    main()
