"""What the tests of the runtime share: untrained models, a file to copy, and a place for an output."""

import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ntm.tasks import find

UNROLL = 8


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pathlib.Path]:
    """Export a small network for a task that is built in: random variables, content addressing, three heads."""
    from ntm.export import onnx_format  # noqa: PLC0415  (as the next ones: TensorFlow takes seconds to import)
    from ntm.export.source import Source  # noqa: PLC0415
    from ntm.models import NTMCell, NTMConfig  # noqa: PLC0415
    from ntm.training.config import TrainingConfig  # noqa: PLC0415
    from ntm.training.run import RunConfig, TrainedRun  # noqa: PLC0415

    @functools.cache
    def export(name: str) -> pathlib.Path:
        task, random = find(name), np.random.default_rng(0)
        cell = NTMCell(
            NTMConfig(task.input_size, task.output_size, memory_vector_size=4, controller_sizes=(10,), read_heads=2)
        )
        for variable in cell.trainable_variables:
            variable.assign(random.normal(size=variable.shape, scale=0.5))
        sizes = {size: (min(values), max(values)) for size, values in task.training_sizes.items()}
        config = RunConfig(task.name, task.options, cell.config, TrainingConfig(sizes=sizes))
        folder = tmp_path_factory.mktemp("models") / f"untrained-{name}"
        folder.mkdir()
        run = TrainedRun(cell, config, {"batches": 0}, "0" * 64)
        onnx_format.write(Source(run, task, folder.name, UNROLL), folder)
        return folder

    return export


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    """A file to copy, which holds the ``CONTENT`` of the test's module."""
    path = tmp_path / "source.bin"
    path.write_bytes(request.module.CONTENT)
    return path


@pytest.fixture
def target(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where an output shall go: in a folder of its own, in which nothing else may be left."""
    folder = tmp_path / "output"
    folder.mkdir()
    yield folder / "target"
    assert set(folder.iterdir()) <= {folder / "target"}
