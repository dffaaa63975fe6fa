"""The environment variables for XLA, and the cache of compiled trainings.

XLA stores compiled code as files in a folder, and later uses these files unchecked. So this module

- gives every processor, GPU, version of TensorFlow and setting of XLA its own folder, since the files hold native code;
- stores a checksum beside every file, and deletes a file without a valid checksum before TensorFlow reads it;
- deletes the oldest files if all files together are too large;
- turns the cache off if the folder cannot be written.

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

# The largest size of the cache, and of one compiled training, in bytes.
_CACHE_BYTES, _ENTRY_BYTES = 1 << 26, 1 << 23
_ENTRIES, _CHECKSUM = "xla_compile_cache_*", ".sha256"
# XLA first writes a file under a temporary name. After this many seconds the process that wrote it must have ended.
_TEMPORARY, _WRITING_SECONDS = ".tmp", 600.0
# The lines of /proc/cpuinfo that determine which code a processor can run.
_OF_A_PROCESSOR = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part", "isa")

# The files of NVIDIA's driver about its version and the GPUs, and their lines that determine which code a GPU can run.
_DRIVER, _OF_A_GPU = pathlib.Path("/proc/driver/nvidia"), ("NVRM version", "Model")

_folder: pathlib.Path | None = None  # the folder that TensorFlow uses in this process


def set_up() -> None:
    """Set the options of XLA and the folder of its cache; variables that the user has set stay."""
    global _folder  # noqa: PLW0603  (the environment is global too)
    # The kernels of a small network compile faster at level 1, and run no slower.
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
    """Write the checksums of the files so far; without a checksum the next training would delete them."""
    if _folder is None:
        return
    with contextlib.suppress(OSError):  # another process may delete a file
        for path in _folder.glob(_ENTRIES):
            if path.suffix not in (_CHECKSUM, _TEMPORARY) and not _checksum_of(path).exists():
                with atomic_output(_checksum_of(path)) as file:
                    file.write(_digest(path))
        _prune(_folder.parent)


def discard() -> bool:
    """Delete all files of this process's cache; returns whether the process uses the cache."""
    if _folder is None:
        return False
    for path in _folder.glob(_ENTRIES):
        _delete(path)
    return True


def is_to_blame(message: str) -> bool:
    """Whether an error of TensorFlow is about a file in the cache."""
    return _folder is not None and str(_folder) in message


def _usable_folder() -> pathlib.Path | None:
    """The folder of the cache; None if XLA could not write to it, which would be an error."""
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache").absolute()
        folder = cache / DISTRIBUTION / "xla" / _key()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:  # a test that finds a quota too
            room = file.write(bytes(_ENTRY_BYTES)) == _ENTRY_BYTES
    except (OSError, RuntimeError, importlib.metadata.PackageNotFoundError):  # RuntimeError: there is no home
        return None
    return folder if room else None


def _key() -> str:
    """The name of a folder, from all that compiled code depends on except the network."""
    import numpy as np  # noqa: PLC0415  (it is slow to import)

    processor = [platform.machine(), os.environ["XLA_FLAGS"], repr(np.show_config(mode="dicts")["SIMD Extensions"])]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = {line.strip() for line in file if line.partition("\t")[0].strip() in _OF_A_PROCESSOR}
        processor += sorted(lines)
    except OSError:  # macOS has no such file: use the name of the machine
        processor.append(platform.node())
    with contextlib.suppress(OSError):  # there is no GPU
        texts = [
            path.read_text("utf-8", "replace") for path in (_DRIVER / "version", *_DRIVER.glob("gpus/*/information"))
        ]
        lines = {line.strip() for line in "\n".join(texts).splitlines() if line.partition(":")[0] in _OF_A_GPU}
        processor += sorted(lines)
    digest = hashlib.sha256("\n".join(processor).encode()).hexdigest()
    return f"tensorflow-{importlib.metadata.version('tensorflow')}-{digest[:16]}"


def _flag(folder: pathlib.Path) -> str:
    """The option of TensorFlow for the folder; special characters are escaped."""
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
    """Delete the oldest files of all folders until the cache is small enough."""
    found = []
    for path in cache.rglob(_ENTRIES):
        with contextlib.suppress(OSError):  # another process has deleted the file
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
