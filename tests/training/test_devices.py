"""The device of a training: chosen, refused, said, and none but the CPU in full float32 for the publish gate.

No GPU is needed: TensorFlow takes one CPU for two, and the details of GPUs are made up.
"""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from ntm import commands, console
from ntm.errors import RunError
from ntm.training import compilation, devices

_PROGRAM = """
import json, sys
import numpy as np
import tensorflow as tf
import ntm
from ntm.export import parity
from ntm.training import devices, trainer

cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
made, new = [], trainer.make_network
trainer.make_network = lambda *args, **options: made.append(new(*args, **options)) or made[-1]
options = {"max_batches": 3, "controller_sizes": (8,), "sizes": {"length": (1, 3)}}
trained = ntm.train("copy", sys.argv[1], device="cpu:1", **options)
found = {"device": trained.summary["device"], "variables": sorted({v.device for n in made for v in n.variables})}

def look(*_):
    found["gate"] = tf.matmul(tf.ones([2, 2]), tf.ones([2, 2])).device
    found["tf32 in the gate"] = tf.config.experimental.tensor_float_32_execution_enabled()

metadata = ntm.runtime.folder.read("copy-8bit").metadata
with tf.device("CPU:1"):
    candidate = parity.Candidate("graph", metadata, look)
    parity.prove(trained.network, ntm.tasks.find("copy"), {"length": range(1, 4)}, [candidate])
    found["after the gate"] = tf.ones([2]).device
found["tf32 after the gate"] = tf.config.experimental.tensor_float_32_execution_enabled()
resumed = ntm.train("copy", sys.argv[1], resume=True, max_batches=4, device="cpu:0")
found["resumed on"] = resumed.summary["device"]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_training_on_another_device_and_the_gate_on_the_cpu_in_full_float32(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", f"import ntm.runtime.folder\n{_PROGRAM}", str(tmp_path / "run")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = (f"/job:localhost/replica:0/task:0/device:CPU:{i}" for i in range(2))
    assert json.loads(done.stdout) == {
        "device": "cpu:1",
        "variables": [second],
        "gate": first,
        "tf32 in the gate": False,
        "after the gate": second,
        "tf32 after the gate": True,
        "resumed on": "cpu:0",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "there is no device gpu:0: TensorFlow sees cpu:0"),
        ("cpu:7", "there is no device cpu:7: TensorFlow sees cpu:0"),
        ("tpu", "a device is cpu, gpu, or one of several such as gpu:1, not tpu"),
        ("GPU:0", "a device is cpu, gpu, or one of several such as gpu:1, not GPU:0"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(RunError, match=f"^{message}$"), devices.on(name):
        pass


def _pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let TensorFlow's lists have GPUs; nothing can be computed on them."""

    def listed(kind: str) -> list[Any]:
        number = count if kind == "GPU" else 1
        return [tf.config.PhysicalDevice(f"/physical_device:{kind}:{i}", kind) for i in range(number)]

    monkeypatch.setattr(tf.config, "list_physical_devices", listed)
    monkeypatch.setattr(tf.config, "list_logical_devices", listed)
    details = {"/physical_device:GPU:0": {"device_name": "Made Up 100"}, "/physical_device:GPU:1": {}}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details[device.name])


def test_what_is_asked_of_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_gpus(monkeypatch, 2)
    asked: list[str] = []

    class Device:
        def __init__(self, name: str) -> None:
            asked.append(name)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(tf, "device", Device)
    said = []
    for name in (None, "cpu", "gpu", "gpu:1"):
        with devices.on(name) as chosen:
            said.append(chosen)
    assert said == ["gpu:0 (Made Up 100)", "cpu:0", "gpu:0 (Made Up 100)", "gpu:1"]
    assert asked == ["CPU:0", "GPU:0", "GPU:1"]  # without a name TensorFlow is left its choice
    with (
        pytest.raises(RunError, match="there is no device gpu:2: TensorFlow sees cpu:0, gpu:0, gpu:1"),
        devices.on("gpu:2"),
    ):
        pass


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(commands.train, ["-o", "run", "--device", "cpu"]), (commands.export, ["run", "-o", "model"])],
)
def test_commands_for_the_cpu_hide_all_gpus(
    in_process: Callable[..., "subprocess.CompletedProcess[str]"],
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[], None],
    arguments: list[str],
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "hide_gpus", lambda: console.fail("hidden", ""))
    assert in_process("ntm", command, *arguments).stderr.endswith("hidden: error: \n")


def test_hidden_gpus_are_no_longer_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[Any], str]] = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *given: asked.append(given))
    devices.hide_gpus()
    assert asked == [([], "GPU")]


def test_what_is_compiled_for_one_gpu_is_not_kept_for_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(compilation, "_DRIVER", tmp_path)
    keys = [compilation._key()]
    gpu = tmp_path / "gpus" / "0000:00:1e.0"
    gpu.mkdir(parents=True)
    (tmp_path / "version").write_text("NVRM version: NVIDIA 1.2\nGCC version: 3\n")
    for model, uuid in (("Made Up 100", 1), ("Made Up 200", 1), ("Made Up 200", 2)):
        (gpu / "information").write_text(f"Model: \t\t {model}\nGPU UUID: \t {uuid}\n")
        keys.append(compilation._key())
    assert len(set(keys)) == 3
    assert keys[2] == keys[3]
