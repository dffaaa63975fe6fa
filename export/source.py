"""The source of an export: a trained network, its name, and the sizes of the graphs."""

import dataclasses

from ntm.export.compiler import ANY, Machine
from ntm.export.controllers import NODES
from ntm.export.options import DEFAULT_UNROLL
from ntm.export.step import Sizes, initial_state
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.metadata import BATCHED, SPARSE, STEP, UNROLLED, Metadata
from ntm.tasks.task import Task
from ntm.training.run import TrainedRun

SPARSE_UNROLL = DEFAULT_UNROLL
BATCHED_UNROLL = 11  # the steps of one block of ntm-copy: 5 bytes, the delimiter, 5 bytes


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network to export.

    Attributes:
        run: the trained network.
        task: the task that the network was trained on.
        model_name: the name of the model.
        unroll: U, the steps in ``unrolled.onnx``.
        memory_locations: N of the formats with a fixed N: a sequence in Triton, and a native library.
        batch_size: B of a native library.
        machine: the machine of a native library.
        sizes: B and N of a step of fixed sizes; None for open sizes.
    """

    run: TrainedRun
    task: Task
    model_name: str
    unroll: int = DEFAULT_UNROLL
    memory_locations: int = NTMConfig.memory_locations
    batch_size: int = 1
    machine: Machine = ANY
    sizes: Sizes | None = None

    def steps(self, graph: str) -> int:
        """U of a graph."""
        return {STEP: 1, UNROLLED: self.unroll, SPARSE: SPARSE_UNROLL, BATCHED: BATCHED_UNROLL}[graph]

    @property
    def card_numbers(self) -> dict[str, int]:
        """The numbers that the cards of several formats name."""
        config = self.run.network.config
        unrolls = {"unroll": UNROLLED, "sparse_unroll": SPARSE, "batched_unroll": BATCHED}
        sizes = {"inputs": config.input_size, "outputs": config.output_size}
        return sizes | {name: self.steps(graph) for name, graph in unrolls.items()}

    @property
    def graphs(self) -> tuple[str, ...]:
        """The ONNX graphs of the network.

        The graphs of several steps are for open sizes, and for a Neural Turing Machine whose controller can be written
        as nodes. The sparse graph is for location addressing alone.
        """
        network = self.run.network
        if not isinstance(network, NTMCell) or type(network.controller) not in NODES or self.sizes is not None:
            return (STEP,)
        return (STEP, UNROLLED, BATCHED) if network.content_addressing else (STEP, UNROLLED, SPARSE, BATCHED)

    def metadata(self, graph: str = STEP, *, unroll: int | None = None) -> Metadata:
        """The metadata of an exported graph; ``unroll`` is its U, by default that of ``steps``."""
        network = self.run.network
        return Metadata(
            graph=graph,
            graphs=self.graphs,
            unroll=unroll or self.steps(graph),
            model_name=self.model_name,
            task={"name": self.task.name, "options": self.task.options},
            network=network.config.model,
            config=dataclasses.asdict(network.config),
            parameters=network.parameters,
            content_addressing=network.content_addressing,
            state=initial_state(network),
            least_locations=network.config.least_locations,
            training=self.run.summary,
            checkpoint_sha256=self.run.checkpoint_sha256,
        )
