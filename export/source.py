"""What is exported: a trained network, and how it is to be called and cut."""

import dataclasses

from ntm.export.step import initial_state
from ntm.runtime.metadata import STEP, Metadata
from ntm.training.run import TrainedRun

LOCATIONS = 128


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network to export.

    Attributes:
        run: the trained network.
        model_name: what the model is called.
        unroll: U, the steps in the unrolled graph.
        memory_locations: N of what is exported for one N only, a sequence that Triton keeps.
    """

    run: TrainedRun
    model_name: str
    unroll: int
    memory_locations: int = LOCATIONS

    def metadata(self, graph: str = STEP) -> Metadata:
        """What an exported graph says of itself."""
        return Metadata(
            graph=graph,
            unroll=1 if graph == STEP else self.unroll,
            model_name=self.model_name,
            config=dataclasses.asdict(self.run.cell.config),
            initial_state=initial_state(self.run.cell),
            training=self.run.summary,
            checkpoint_sha256=self.run.checkpoint_sha256,
        )
