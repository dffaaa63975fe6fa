"""What is exported: a trained network, and how it is to be called and cut."""

import dataclasses

from ntm.export.step import initial_state
from ntm.runtime.copy_command import BLOCK_LENGTH
from ntm.runtime.metadata import BATCHED, STEP, UNROLLED, Metadata
from ntm.training.run import TrainedRun

LOCATIONS = 128
BATCHED_UNROLL = 2 * BLOCK_LENGTH + 1  # a block of ntm-copy, which is there to be shown, and to be recalled


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network to export.

    Attributes:
        run: the trained network.
        model_name: what the model is called.
        unroll: U, the steps in ``unrolled.onnx``.
        memory_locations: N of what is exported for one N only, a sequence that Triton keeps.
        batched_unroll: U, the steps in ``batched.onnx``.
    """

    run: TrainedRun
    model_name: str
    unroll: int
    memory_locations: int = LOCATIONS
    batched_unroll: int = BATCHED_UNROLL

    def metadata(self, graph: str = STEP) -> Metadata:
        """What an exported graph says of itself."""
        return Metadata(
            graph=graph,
            unroll={STEP: 1, UNROLLED: self.unroll, BATCHED: self.batched_unroll}[graph],
            model_name=self.model_name,
            config=dataclasses.asdict(self.run.cell.config),
            initial_state=initial_state(self.run.cell),
            training=self.run.summary,
            checkpoint_sha256=self.run.checkpoint_sha256,
        )
