"""What the tests of the export share: networks and runs without a training, an export, and ``ntm-export``."""

import os
import pathlib
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import pytest

from ntm import console
from ntm.export import command, onnx_format, options, parity, publish
from ntm.export.step import Sizes
from ntm.models import NETWORKS, Network, NTMCell
from ntm.models import make_network as initial_network
from ntm.tasks import Copy, Size, Task
from ntm.training.config import TrainingConfig
from ntm.training.run import RunConfig, TrainedRun, save_checkpoint, save_config

# Small ones of each model.
SIZES: dict[str, dict[str, Any]] = {
    "ntm": {"memory_vector_size": 6, "controller_sizes": (20, 20)},
    "lstm": {"layer_sizes": (6, 5)},
}


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """Make a network for a task that was never trained, but decides: hardly a bit is a matter of rounding."""

    def make(
        task: Task, *, model: str = "ntm", seed: int = 0, content_addressing: bool = True, **sizes: Any
    ) -> Network:
        config, _ = NETWORKS[model]
        network = initial_network(config(task.input_size, task.output_size, **SIZES[model] | sizes))
        random = np.random.default_rng(seed)
        for variable in network.trainable_variables:
            variable.assign(random.normal(size=variable.shape, scale=0.5 if "bias" in variable.name else 0.3))
        if not content_addressing:
            network.turn_content_addressing_off()
        return network

    return make


@pytest.fixture(scope="session")
def make_cell(make_network: Callable[..., Network]) -> Callable[..., NTMCell]:
    """Make such a Neural Turing Machine."""

    def make(task: Task, **options: Any) -> NTMCell:
        cell = make_network(task, **options)
        assert isinstance(cell, NTMCell)
        return cell

    return make


@pytest.fixture(scope="session")
def trained() -> Callable[..., TrainedRun]:
    """Make of a network what a training on a task returns."""

    def make(network: Network, task: Task, summary: dict[str, Any] | None = None) -> TrainedRun:
        sizes = {name: (min(values), max(values)) for name, values in task.training_sizes.items()}
        config = RunConfig(task.name, task.options, network.config, TrainingConfig(sizes=sizes))
        return TrainedRun(network, config, {} if summary is None else summary, "0" * 64)

    return make


@pytest.fixture(scope="session")
def save_run(trained: Callable[..., TrainedRun]) -> Callable[..., pathlib.Path]:
    """Write the run folder that a training of a network on a task leaves behind."""

    def save(folder: pathlib.Path, network: Network, task: Task, summary: dict[str, Any] | None = None) -> pathlib.Path:
        variables = {variable.name.removesuffix(":0"): variable.numpy() for variable in network.variables}
        folder.mkdir()
        save_config(folder, trained(network, task).config)
        save_checkpoint(folder, variables, {}, {"batches": 7} if summary is None else summary)
        return folder

    return save


@pytest.fixture(scope="session")
def run(
    make_cell: Callable[..., NTMCell],
    save_run: Callable[..., pathlib.Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """The run of a network for the copy task with words of 5 bits."""
    task = Copy(bits=5)
    return save_run(tmp_path_factory.mktemp("runs") / "run", make_cell(task), task)


@pytest.fixture(scope="session")
def run_without_content_addressing(
    make_cell: Callable[..., NTMCell],
    save_run: Callable[..., pathlib.Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """The same with content addressing turned off."""
    task = Copy(bits=5)
    return save_run(tmp_path_factory.mktemp("runs") / "off", make_cell(task, content_addressing=False), task)


@pytest.fixture(scope="session")
def exported(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export of ``run`` in every format of ``all``, which one test proves in full."""
    folder = tmp_path_factory.mktemp("exports") / "tiny-copy"
    with pytest.MonkeyPatch.context() as monkeypatch:
        shorten_gate(monkeypatch)
        publish.publish(run, folder, options.ALL, unroll=8)
    return folder


@pytest.fixture(scope="session")
def exported_by_location(
    run_without_content_addressing: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """An export of ``run_without_content_addressing`` in ONNX."""
    folder = tmp_path_factory.mktemp("exports") / "tiny-copy"
    with pytest.MonkeyPatch.context() as monkeypatch:
        shorten_gate(monkeypatch)
        publish.publish(run_without_content_addressing, folder, ["onnx"], unroll=8)
    return folder


@pytest.fixture(scope="session")
def library(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export of ``run`` as a native library of B = 1 and N = 30, proven in full."""
    if not has_compiler():
        pytest.skip("the format native needs a C compiler")
    folder = tmp_path_factory.mktemp("exports") / "tiny-copy"
    publish.publish(run, folder, ["native"], memory_locations=30)
    return folder


@pytest.fixture
def ntm_export(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in this process, and return its exit code."""
    monkeypatch.setattr(console, "silence_libraries", lambda: None)

    def run_command(*arguments: str | pathlib.Path) -> int:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        monkeypatch.setattr(sys, "argv", ["ntm-export", *map(str, arguments)])
        monkeypatch.setattr(os, "dup2", lambda *_: None)
        try:
            with pytest.raises(SystemExit) as end:
                command.main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return int(end.value.code or 0)

    return run_command


@pytest.fixture
def short_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the wrong bits of a quantised graph in short sequences alone."""
    monkeypatch.setattr(parity, "count_wrong_bits", _count_in_short_sequences)


@pytest.fixture
def short_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare one batch of short sequences, where neither the gate nor the conversion of the step is what is tested."""
    shorten_gate(monkeypatch)


def has_compiler() -> bool:
    return any(map(shutil.which, ("cc", "gcc", "clang")))


def shorten_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "LEAST_STEPS", 1)
    monkeypatch.setattr(parity, "_MOST_STEPS", _MOST_STEPS)
    monkeypatch.setattr(parity, "count_wrong_bits", _count_in_short_sequences)
    monkeypatch.setattr(onnx_format, "convert", _convert_once)


_MOST_STEPS = 50  # of a sequence in a short gate
_count_wrong_bits = parity.count_wrong_bits


def _count_in_short_sequences(
    network: Network, task: Task, step: parity.Graph, compared: Iterable[Size], sizes: Sizes | None = None
) -> dict[str, int]:
    return _count_wrong_bits(network, task, step, [size for size in compared if task.steps(size) <= _MOST_STEPS], sizes)


_convert = onnx_format.convert
_converted: dict[tuple[Any, ...], bytes] = {}


def _convert_once(network: Network, sizes: Sizes | None = None) -> onnx.ModelProto:
    """What tf2onnx makes of a step: it takes half a second, and tests export the same few networks again and again."""
    numbers = tuple(variable.numpy().tobytes() for variable in network.variables)
    key = (repr(network.config), numbers, network.content_addressing, sizes)
    if key not in _converted:
        _converted[key] = _convert(network, sizes).SerializeToString()
    return onnx.load_from_string(_converted[key])
