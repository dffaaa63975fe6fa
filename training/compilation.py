"""What has to stand in the environment before TensorFlow compiles a training, and the cache of compiled trainings.

XLA keeps what it has compiled as files in a folder, and uses what it finds there unseen. So this module

- gives every processor, GPU, version of TensorFlow and setting of XLA a folder of its own: the files hold native code;
- keeps a checksum beside every file, and deletes a file that has none, or another, before TensorFlow sees it;
- deletes the oldest files where all are too large together;
- lets XLA keep nothing where the folder cannot be written.

TensorFlow is not imported here.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import tempfile
import time

from ntm.files import atomic_output
from ntm.text import DISTRIBUTION

# What the cache may take, and what one compiled training takes at the most, in bytes.
_CACHE_BYTES, _ENTRY_BYTES = 1 << 26, 1 << 23
_ENTRIES, _CHECKSUM = "xla_compile_cache_*", ".sha256"
# XLA writes a file under another name first. What it has not finished in so many seconds it never will.
_TEMPORARY, _WRITING_SECONDS = ".tmp", 600.0
# Of /proc/cpuinfo: the lines that tell what code a processor can run.
_OF_A_PROCESSOR = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part", "isa")

# Where NVIDIA's driver tells its version and what GPUs there are, and the lines that say what code a GPU can run.
_DRIVER, _OF_A_GPU = pathlib.Path("/proc/driver/nvidia"), ("NVRM version", "Model")

_folder: pathlib.Path | None = None  # which this process's TensorFlow uses


def set_up() -> None:
    """Choose how XLA compiles, and where it keeps what it has compiled; what the user has set stays."""
    global _folder  # noqa: PLW0603  (as the environment is: the process has one)
    # The kernels of so small a network compile faster at level 1, and run no slower.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
    folder = _usable_folder()
    if folder is not None:
        ours = _flag(folder)
        if os.environ.setdefault("TF_XLA_FLAGS", ours) == ours:
            _folder = folder
            _delete_damaged(folder)


def keep() -> None:
    """Make what has been compiled so far last: without a checksum it would be deleted when the next training begins."""
    if _folder is None:
        return
    with contextlib.suppress(OSError):  # somebody else may delete the file
        for path in _folder.glob(_ENTRIES):
            if path.suffix not in (_CHECKSUM, _TEMPORARY) and not _checksum_of(path).exists():
                with atomic_output(_checksum_of(path)) as file:
                    file.write(_digest(path))
        _prune(_folder.parent)


def discard() -> bool:
    """Delete all that this process's TensorFlow might read or has left; returns whether it uses the cache at all."""
    if _folder is None:
        return False
    for path in _folder.glob(_ENTRIES):
        _delete(path)
    return True


def is_to_blame(message: str) -> bool:
    """Whether an error of TensorFlow is about a file in the cache."""
    return _folder is not None and str(_folder) in message


def _usable_folder() -> pathlib.Path | None:
    """The folder of the cache; None where XLA could not write it, which would be an error of its."""
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache").absolute()
        folder = cache / DISTRIBUTION / "xla" / _key()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:  # a quota shows only so
            room = file.write(bytes(_ENTRY_BYTES)) == _ENTRY_BYTES
    except (OSError, RuntimeError, importlib.metadata.PackageNotFoundError):  # the second where there is no home
        return None
    return folder if room else None


def _key() -> str:
    """What compiled code depends on, but for the network: the name of a folder."""
    import numpy as np  # noqa: PLC0415  (whoever trains imports it anyway)

    processor = [platform.machine(), os.environ["XLA_FLAGS"], repr(np.show_config(mode="dicts")["SIMD Extensions"])]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = {line.strip() for line in file if line.partition("\t")[0].strip() in _OF_A_PROCESSOR}
        processor += sorted(lines)
    except OSError:  # as on macOS, where the machine must stand for its processor
        processor.append(platform.node())
    with contextlib.suppress(OSError):  # without a GPU there is nothing to tell
        told = [
            path.read_text("utf-8", "replace") for path in (_DRIVER / "version", *_DRIVER.glob("gpus/*/information"))
        ]
        lines = {line.strip() for line in "\n".join(told).splitlines() if line.partition(":")[0] in _OF_A_GPU}
        processor += sorted(lines)
    digest = hashlib.sha256("\n".join(processor).encode()).hexdigest()
    return f"tensorflow-{importlib.metadata.version('tensorflow')}-{digest[:16]}"


def _flag(folder: pathlib.Path) -> str:
    """What tells TensorFlow of the folder, of whatever name."""
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'--tf_xla_persistent_cache_directory="{escaped}"'


def _delete_damaged(folder: pathlib.Path) -> None:
    for path in folder.glob(_ENTRIES):
        if path.suffix == _CHECKSUM:
            continue
        try:
            if path.suffix == _TEMPORARY:
                fine = time.time() - path.stat().st_mtime < _WRITING_SECONDS
            else:
                fine = _checksum_of(path).read_bytes() == _digest(path)
        except OSError:
            fine = False
        if not fine:
            _delete(path)


def _prune(cache: pathlib.Path) -> None:
    """Delete the oldest files until all of them, whatever they are keyed by, take no more than they may."""
    found = []
    for path in cache.rglob(_ENTRIES):
        with contextlib.suppress(OSError):  # somebody else has deleted it
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= _CACHE_BYTES:
            return
        _delete(path)
        total -= size


def _digest(path: pathlib.Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def _checksum_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + _CHECKSUM)


def _delete(path: pathlib.Path) -> None:
    for each in (path, _checksum_of(path)):
        with contextlib.suppress(OSError):
            each.unlink()
