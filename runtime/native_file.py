"""The names of a native library's files, and its metadata, read without loading it; nothing slow is imported."""

import json
import sys

from ntm.runtime.metadata import Metadata, MetadataError

# The folder in the folder of the model, and its files. The name of the shared library depends on the system.
FOLDER = "native"
HEADER, SOURCE, STATIC = "ntm.h", "ntm.c", "libntm.a"
SHARED = (_ELF, _MACH_O, _PE) = ("libntm.so", "libntm.dylib", "ntm.dll")

# The library holds this mark, then its metadata as JSON: the properties of an ONNX file, and B and N by these names.
MARK = "ntm-metadata:"
BATCH_SIZE, MEMORY_LOCATIONS = "batch_size", "memory_locations"


def shared_name(system: str | None = None) -> str:
    """The name of the shared library on a system.

    Args:
        system: the system as ``sys.platform`` or a compiler names it; by default this system.
    """
    system = sys.platform if system is None else system
    if "darwin" in system or "apple" in system:
        return _MACH_O
    return _PE if any(name in system for name in ("win32", "windows", "mingw")) else _ELF


def read_metadata(content: bytes) -> tuple[Metadata, tuple[int, int]]:
    """The metadata of a library, and its B and N, which is 1 without a memory. The library is not loaded.

    Raises:
        MetadataError: there is no metadata, or it is of another schema.
    """
    start = content.find(MARK.encode() + b"{") + len(MARK)
    end = content.find(b"\0", start)
    if start < len(MARK) or end < 0:
        raise MetadataError("it has no metadata, so ntm-export did not write it")
    try:
        props = json.loads(content[start:end])
        sizes = int(props[BATCH_SIZE]), int(props[MEMORY_LOCATIONS])
    except (ValueError, KeyError, TypeError) as error:
        raise MetadataError("its metadata has no sizes") from error
    return Metadata.from_props(props), sizes
