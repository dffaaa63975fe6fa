"""Training on several devices or machines reaches the variables that one device reaches with the same batches.

No second machine and no GPU is needed: processes on the loopback interface, and one CPU taken for two, stand for them.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import ntm
from ntm.errors import RunError
from ntm.models import make_network
from ntm.tasks import Copy
from ntm.training import losses
from ntm.training.backpropagation import unroll
from ntm.training.data import Data
from ntm.training.distribution import Replicas
from ntm.training.losses import Sequences
from ntm.training.recipes import configure
from ntm.training.run import load_run, load_state

# The order in which gradients are summed differs, by which variables of up to 2 were seen to differ by 3e-8 after 20
# batches.
_TOLERANCE = 1e-6
_OPTIONS: dict[str, Any] = {"controller_sizes": (8,), "sizes": {"length": (1, 3)}, "batch_size": 8}

# Both workers are stopped by the second one alone, and go on; then the second one is given another seed.
_WORKER = """
import json, os, sys
from ntm.errors import RunError
from ntm.training.train import train

folder, options = sys.argv[1], json.loads(sys.argv[2])
is_second = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1
seen = []
stopped = train(
    "copy", folder, distribute="multiworker", report=seen.append, interrupted=lambda: is_second and bool(seen),
    max_batches=1000, report_batches=5, xla=False, **options
)
ended = train("copy", folder, resume=True, distribute="multiworker", max_batches=20)
print(json.dumps([stopped.summary["batches"], ended.summary["batches"], ended.summary["device"], len(seen)]))
sys.stdout.flush()
try:
    train("copy", f"{folder}-other", distribute="multiworker", max_batches=1, seed=int(is_second), xla=False, **options)
except RunError as error:
    print(error)
"""

_MIRRORED = """
import json, sys
import tensorflow as tf
import ntm

cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
folder, options = sys.argv[1], json.loads(sys.argv[2])
trained = ntm.train("copy", folder, distribute="mirrored", max_batches=20, **options)
print(trained.summary["device"])
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The run of one process on one device."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    ntm.train("copy", folder, max_batches=20, report_batches=5, xla=False, **_OPTIONS)
    return folder


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _run_two_workers(folder: pathlib.Path) -> tuple[list[int], list[tuple[str, str]]]:
    """The exit codes, and what both workers wrote."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    workers = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, "-c", _WORKER, str(folder / "two"), json.dumps(_OPTIONS)]
        environment = os.environ | {"TF_CONFIG": json.dumps(config), "TMPDIR": str(folder / "temporary")}
        workers.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    ended = [worker.communicate(timeout=300) for worker in workers]
    return [worker.returncode for worker in workers], ended


def _assert_alike(one: pathlib.Path, other: pathlib.Path) -> None:
    (expected, summary), (found, of_other) = load_state(one), load_state(other)
    assert summary["progress"].keys() == of_other["progress"].keys()
    assert summary["batches"] == of_other["batches"] == 20
    assert expected.keys() == found.keys()
    for name in (name for name in expected if name.startswith("training/")):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=_TOLERANCE, err_msg=name)


@pytest.mark.slow
def test_two_workers_train_to_the_variables_of_one(one: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "temporary").mkdir()
    codes, ended = _run_two_workers(tmp_path)
    if all("cannot be reached" in error for _, error in ended):  # another program has taken a port that was free
        shutil.rmtree(tmp_path / "two", ignore_errors=True)
        codes, ended = _run_two_workers(tmp_path)
    assert codes == [0, 0], ended
    (first, refused_by_chief), (second, refused_by_second) = (out.splitlines() for out, _ in ended)
    assert json.loads(first) == json.loads(second) == [6, 20, "2 devices (multiworker)", 1]
    assert refused_by_second == "this worker has other options than the chief, or resumes another checkpoint"
    assert refused_by_chief == "another worker has ended, or cannot be reached; its own message may say why"
    assert not (tmp_path / "two-other").exists()
    # The chief has written the run, and the other worker has left nothing.
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"config.json", "history.jsonl", "checkpoint.npz"}
    assert os.listdir(tmp_path / "temporary") == []

    _assert_alike(one, tmp_path / "two")
    assert load_run(one).config == load_run(tmp_path / "two").config


@pytest.mark.slow
def test_two_devices_train_to_the_variables_of_one(one: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The two with XLA."""
    command = [sys.executable, "-c", _MIRRORED, str(tmp_path / "two"), json.dumps(_OPTIONS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "2 devices (mirrored)\n"), done.stderr
    _assert_alike(one, tmp_path / "two")


def test_the_shares_of_a_batch_weigh_as_much_as_they_hold() -> None:
    """Of sequences with unequal numbers of outputs, the weighted losses and penalties add up to those of the batch."""
    task = Copy(bits=3)
    network, config = configure(task, options={"sizes": {"length": (3, 3)}, "batch_size": 4, "controller_sizes": (5,)})
    batch = Data(task, config).training(0)
    batch.mask[-1:, 0] = 0.0
    batch.mask[-2:, 1] = 0.0
    cell = make_network(network, 0)

    def measured(x: Any, target: Any, mask: Any, steps: Any) -> tuple[np.ndarray, np.ndarray]:
        sequences = Sequences(*map(tf.constant, (x, target, mask, steps)))
        unrolled = unroll(cell, sequences.x, sequences.steps)
        return losses.loss(unrolled.logits, sequences).numpy(), losses.penalties(unrolled, sequences).numpy()

    loss, penalties = measured(*batch[:3], np.int32(batch.steps))
    replicas: Any = types.SimpleNamespace(count=2)
    shares = [Replicas._share(replicas, batch, (1.0,) * 5, replica) for replica in range(2)]
    parts = [measured(*share[:4]) for share in shares]
    assert shares[0][4] < shares[1][4]
    weighted = zip(parts, shares, strict=True)
    np.testing.assert_allclose(sum(part[0] * share[4].numpy() for part, share in weighted), loss, rtol=1e-6)
    weighted = zip(parts, shares, strict=True)
    np.testing.assert_allclose(sum(part[1] * share[5].numpy() for part, share in weighted), penalties, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        ({"distribute": "rings"}, None, "distribute must be mirrored or multiworker, not rings"),
        ({"distribute": "mirrored", "device": "cpu"}, None, "give either a device or how to distribute"),
        ({"distribute": "multiworker"}, None, "needs the environment variable TF_CONFIG, such as {"),
        ({"distribute": "multiworker"}, "{", "TF_CONFIG must name the workers and which of them this is, as {"),
        ({"distribute": "multiworker"}, '{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG must name the workers"),
        (
            {"distribute": "multiworker"},
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "TF_CONFIG must name the workers",
        ),
        (
            {"distribute": "multiworker"},
            '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
            "TF_CONFIG must name the workers",
        ),
        # The tests have computed something already.
        (
            {"distribute": "multiworker"},
            '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}',
            "--distribute multiworker must be what a process does first with TensorFlow",
        ),
    ],
)
def test_what_cannot_be_distributed_is_refused(
    options: dict[str, Any],
    config: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    tf.constant(0)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(RunError) as error:
        ntm.train("copy", tmp_path / "run", **options)
    assert message in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_batch_is_shared_evenly_or_refused() -> None:
    replicas: Any = types.SimpleNamespace(count=3)
    with pytest.raises(RunError, match=r"^the batch size must be a multiple of the 3 replicas, not 8$"):
        Replicas.check_divides(replicas, 8)
