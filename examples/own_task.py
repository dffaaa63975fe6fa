"""A task of your own from beginning to end: define it, train a network, export it, evaluate it and serve it.

The task: the network sees a list of numbers, each as bits, one of them marked. When the list is over, it should output
the marked number. Run it: ``python examples/own_task.py``. It needs ``pip install '.[export]'``.
"""

import dataclasses
import pathlib
import tempfile

import numpy as np

import ntm
from ntm.tasks import Batch, Size, Task


@dataclasses.dataclass(frozen=True)
class MarkedNumber(Task):
    """See a list of numbers of which one is marked, then output the marked one.

    Size: ``length``, the numbers in the list L.

    - Steps 1 to L: a number as bits in the first channels, and in the next channel 1 if it is the marked one.
    - Step L + 1: the last channel is 1, all others are 0. The output should be the marked number.
    """

    bits: int = 4

    training_sizes = {"length": range(1, 11)}  # noqa: RUF012
    evaluation_sizes = ({"length": 10}, {"length": 100})

    @property
    def input_size(self) -> int:
        """The bits, the mark, and the question."""
        return self.bits + 2

    @property
    def output_size(self) -> int:
        """The bits."""
        return self.bits

    def memory_locations(self, size: Size) -> int:  # noqa: ARG002
        """Few suffice, however long the list is."""
        return 8

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Random numbers, one of them marked."""
        length, sequence = size["length"], np.arange(batch_size)
        numbers = rng.integers(0, 2, (length, batch_size, self.bits))
        marked = rng.integers(0, length, batch_size)
        x = np.zeros((length + 1, batch_size, self.input_size))
        x[:length, :, : self.bits] = numbers
        x[marked, sequence, self.bits] = 1
        x[length, :, self.bits + 1] = 1
        target = np.zeros((length + 1, batch_size, self.output_size))
        target[length] = numbers[marked, sequence]
        mask = np.zeros((length + 1, batch_size))
        mask[length] = 1
        return Batch(x, target, mask)


def main() -> None:
    """Train, export, evaluate, serve."""
    task = MarkedNumber()
    with tempfile.TemporaryDirectory() as folder:
        trained = ntm.train(task, seed=0)
        print(f"converged: {trained.converged}, after {trained.summary['sequences_to_converge']} sequences")

        model_folder = pathlib.Path(folder, "model")
        ntm.export(trained, model_folder, task=task)
        model = ntm.load(model_folder)
        for score in ntm.evaluate(model, task, sequences=1000):
            figures = score.as_dict()
            print(f"lists of {figures['length']}: {figures['wrong_bits']} wrong bits in {figures['sequences']} lists")

        batch = task.batch(np.random.default_rng(1), 1, {"length": 5})
        y, _ = model.run(batch.x)  # [T, B, O], probabilities
        print("the marked number:", batch.target[-1, 0].astype(int))
        print("the output:       ", (y[-1, 0] > 0.5).astype(int))


if __name__ == "__main__":
    main()
