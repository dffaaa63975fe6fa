"""What the tests of training share: a tiny trainer, ``ntm-train``, options for a quick training, and a run."""

import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ntm.models import Network, NTMConfig
from ntm.tasks import find
from ntm.training import command
from ntm.training.config import LOCATION, TrainingConfig
from ntm.training.train import train
from ntm.training.trainer import Trainer

_COPY = find("copy", {"bits": 2})
_NETWORK = NTMConfig(
    _COPY.input_size, _COPY.output_size, memory_locations=4, memory_vector_size=3, controller_sizes=(5,)
)
_CONFIG = TrainingConfig(
    sizes={"length": (1, 2)},
    seed=3,
    batch_size=8,
    max_batches=1_000,
    learning_rate=2e-3,
    content_learning_rate=1e-3,
    halving_batches=0,
    addressing=(LOCATION,),
    gate_bias=-2.0,
    content_penalty=0.02,
    writing_penalty=0.1,
    blur_penalty=0.02,
    variant={"pattern": "sparse"},
    variant_every=8,
    clean_sequences=1_600,
    restart_batches=450,
    begun_loss=0.3,
    unsolved_batches=1_100,
    content_restarts=3,
    annealing_batches=10,
    annealing_learning_rate=1e-3,
    turn_content_off=True,
    xla=False,
)


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., Trainer]:
    """Make a trainer of a tiny network on copying words of 2 bits, which changes to its recipe may be given."""

    def make(
        kind: type[Trainer] = Trainer,
        *,
        network: Mapping[str, Any] = types.MappingProxyType({}),
        initial: Network | None = None,
        **changes: Any,
    ) -> Trainer:
        of = dataclasses.replace(_NETWORK, **network)
        return kind(of, dataclasses.replace(_CONFIG, **changes), _COPY, initial)

    return make


@pytest.fixture(scope="session")
def ntm_train(
    in_process: Callable[..., "subprocess.CompletedProcess[str]"],
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run ``ntm-train`` with these arguments in this process."""

    def run_command(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return in_process("ntm-train", command.main, *arguments)

    return run_command


@pytest.fixture(scope="session")
def new_process() -> Callable[..., list[str]]:
    """How ``ntm-train`` with these arguments is started as a process of its own."""

    def arguments_of(*arguments: object) -> list[str]:
        return [sys.executable, "-c", "from ntm.commands import train; train()", *map(str, arguments)]

    return arguments_of


# The process that this starts imports these modules once, then forks: the import takes longer than most tests.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["ntm.training.train", "ntm.training.command"])


class Forked:
    """A program in a process of its own that has imported TensorFlow already; what it writes goes to files."""

    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self._streams = [folder / name for name in ("stdout", "stderr")]
        redirect = f"""
import os
for number, path in enumerate({[str(path) for path in self._streams]}, 1):
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
"""
        self._process = _forks.Process(target=exec, args=(redirect + program, {}))
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> "subprocess.CompletedProcess[str]":
        """Wait for its end, for two minutes at most."""
        self._process.join(120)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            pytest.fail("the process does not end")
        return subprocess.CompletedProcess("", code, *(path.read_text() for path in self._streams))


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Forked]:
    """Start a program in Python in a process of its own."""
    return lambda program: Forked(program, tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="session")
def fork_train(fork: Callable[[str], Forked]) -> Callable[..., Forked]:
    """Start ``ntm-train`` with these arguments in a process of its own, after lines of Python if need be.

    What has to do with the imports needs a process of its own from the beginning, ``new_process``.
    """

    def start(*arguments: object, before: str = "") -> Forked:
        argv = ["ntm-train", *map(str, arguments)]
        return fork(f"import sys\nsys.argv = {argv}\n{before}\nfrom ntm.commands import train; train()")

    return start


@pytest.fixture(scope="session")
def quick() -> tuple[str, ...]:
    """Options of a training of 60 batches that takes a second."""
    return ("--max-batches", "60", "--size", "length=1-3", "--controller-sizes", "8", "--no-xla")


@pytest.fixture(scope="session")
def run(
    new_process: Callable[..., list[str]], quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The run of a quick training, which has reached its limit."""
    folder = tmp_path_factory.mktemp("train") / "run"
    done = subprocess.run(new_process("--output", folder, *quick), capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ntm-train: not converged after 480 sequences")
    assert done.stderr.endswith(" s on cpu:0; --resume goes on with more --max-batches than 60\n")
    assert done.stderr.count("\n") == 1
    return folder


_PARITY = """
import dataclasses

import numpy as np

from ntm.tasks import Batch, Task


@dataclasses.dataclass(frozen=True)
class Parity(Task):
    \"\"\"See bits, then output whether the number of ones among them is odd.\"\"\"

    channels: int = 1

    output_size = 1
    training_sizes = {"length": range(1, 9)}

    @property
    def input_size(self):
        return self.channels + 1

    def batch(self, rng, batch_size, size):
        bits = rng.integers(0, 2, (size["length"], batch_size, self.channels))
        x = np.zeros((len(bits) + 1, batch_size, self.input_size), np.float32)
        target, mask = np.zeros((*x.shape[:2], 1), np.float32), np.zeros(x.shape[:2], np.float32)
        x[:-1, :, :-1], x[-1, :, -1], mask[-1] = bits, 1, 1
        target[-1, :, 0] = bits.sum(axis=(0, 2)) % 2
        return Batch(x, target, mask)
"""


@pytest.fixture
def parity(tmp_path: pathlib.Path) -> pathlib.Path:
    """The file of a task of the user's own, ``Parity``."""
    file = tmp_path / "my tasks.py"
    file.write_text(_PARITY)
    return file


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Options of a training of three batches on copying words of 2 bits."""
    return {
        "sizes": {"length": (1, 2)},
        "memory_vector_size": 3,
        "controller_sizes": (5,),
        "seed": 3,
        "batch_size": 8,
        "max_batches": 3,
        "addressing": (LOCATION,),
        "learning_rate": 2e-3,
        "halving_batches": 0,
        "clean_sequences": 1_600,
        "unsolved_batches": 1_100,
        "annealing_learning_rate": 1e-3,
        "xla": False,
    }


@pytest.fixture(scope="session")
def of_three_batches(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The run of such a training, which no test may change."""
    folder = tmp_path_factory.mktemp("train") / "run"
    train(_COPY, folder, **tiny)
    return folder


@pytest.fixture
def finished(of_three_batches: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The same run, to do with as a test likes."""
    return shutil.copytree(of_three_batches, tmp_path / "run")
