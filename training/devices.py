"""The devices of TensorFlow: the device of a training, and full float32 on the CPU for exact results."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from ntm.errors import RunError

_NAME = re.compile(r"(cpu|gpu)(?::(\d{1,4}))?")
_KINDS = ("CPU", "GPU")


@contextlib.contextmanager
def on(name: str | None) -> Iterator[str]:
    """Compute a block on a device.

    Args:
        name: ``"cpu"``, ``"gpu"``, or one of several GPUs: ``"gpu:1"``; by default the first GPU, or else the CPU.

    Yields:
        The device, and its product name if that is known: ``"cpu:0"``, ``"gpu:1 (NVIDIA A100)"``.

    Raises:
        RunError: there is no such device.
    """
    if name is None:
        yield describe("gpu:0" if tf.config.list_logical_devices("GPU") else "cpu:0")
        return
    device = _found(name)
    with tf.device(device.upper()):
        yield describe(device)


def _found(name: str) -> str:
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise RunError(f"a device is cpu, gpu, or one of several such as gpu:1, not {name}")
    device = f"{parts[1]}:{int(parts[2] or 0)}"
    known = [f"{kind.lower()}:{i}" for kind in _KINDS for i, _ in enumerate(tf.config.list_logical_devices(kind))]
    if device not in known:
        raise RunError(f"there is no device {device}: TensorFlow sees {', '.join(known)}")
    return device


def describe(device: str) -> str:
    """A device with its product name, e.g. ``"gpu:1 (NVIDIA A100)"``."""
    kind, _, number = device.partition(":")
    physical = tf.config.list_physical_devices(kind.upper())
    if kind != "gpu" or int(number) >= len(physical):
        return device
    made_as = tf.config.experimental.get_device_details(physical[int(number)]).get("device_name")
    return f"{device} ({made_as})" if made_as else device


def hide_gpus() -> None:
    """Hide the GPUs from TensorFlow, which then takes none of their memory; without effect once TensorFlow computes."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute a block, or a decorated function, on the CPU and in full float32.

    A GPU rounds the factors of a float32 product to TF32, 10 bits of mantissa, unless told otherwise.
    """
    rounds = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        with tf.device("CPU:0"):
            yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(rounds)
