"""Where TensorFlow computes: the device of a training, and full float32 on the CPU for what has to be exact."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from ntm.errors import RunError

_NAME = re.compile(r"(cpu|gpu)(?::(\d{1,4}))?")
_KINDS = ("CPU", "GPU")


@contextlib.contextmanager
def on(name: str | None) -> Iterator[str]:
    """Compute a block on a device; without a name on TensorFlow's choice, the first GPU or else the CPU.

    Args:
        name: ``"cpu"``, ``"gpu"``, or one of several: ``"gpu:1"``.

    Yields:
        The device, with the name of its maker where that is known: ``"cpu:0"``, ``"gpu:1 (NVIDIA A100)"``.

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
    there_are = [f"{kind.lower()}:{i}" for kind in _KINDS for i, _ in enumerate(tf.config.list_logical_devices(kind))]
    if device not in there_are:
        raise RunError(f"there is no device {device}: TensorFlow sees {', '.join(there_are)}")
    return device


def describe(device: str) -> str:
    """A device as users know it, e.g. ``"gpu:1 (NVIDIA A100)"``."""
    kind, _, number = device.partition(":")
    physical = tf.config.list_physical_devices(kind.upper())
    if kind != "gpu" or int(number) >= len(physical):
        return device
    made_as = tf.config.experimental.get_device_details(physical[int(number)]).get("device_name")
    return f"{device} ({made_as})" if made_as else device


def hide_gpus() -> None:
    """Let this process use no GPU, and take none of its memory; without effect once TensorFlow has begun to compute."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute a block, or a function that this decorates, on the CPU and in full float32.

    A GPU rounds the factors of a float32 product to TF32, 10 bits of mantissa, unless told otherwise.
    """
    rounds = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        with tf.device("CPU:0"):
            yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(rounds)
