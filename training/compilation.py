"""What has to stand in the environment before TensorFlow compiles a training; TensorFlow is not imported here."""

import os
import pathlib
import shutil

from ntm.text import DISTRIBUTION

# What the cache of compiled trainings may take, in bytes.
_CACHE_BYTES = 1 << 26


def set_up() -> None:
    """Choose how XLA compiles, and where it keeps what it has compiled; what the user has set stays."""
    # The kernels of so small a network compile faster at level 1, and run no slower.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
    cache = _cache()
    if cache is not None:
        os.environ.setdefault("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={cache}")


def _cache() -> pathlib.Path | None:
    """The folder of the cache; None where XLA could not write it, which would be an error of its."""
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / DISTRIBUTION
        folder = cache / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= _CACHE_BYTES
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    return folder if writable else None
