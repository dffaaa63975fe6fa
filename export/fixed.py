"""Fixed sizes: the folders ``fixed/<B>x<N>`` hold one time step for programs that take no open sizes.

Such programs are Core ML, LiteRT in a browser and compilers for phones. A folder holds the files of one time step under
their usual names, with fixed B and N, and a known answer of these sizes. ``ntm.load`` ignores these folders.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import ModuleType

from ntm.errors import ExportError
from ntm.export import known_answer, onnx_format, savedmodel, tflite
from ntm.export.options import MOST_LOCATIONS, Format
from ntm.export.parity import Candidate, KnownAnswer
from ntm.export.source import Source
from ntm.export.step import Sizes
from ntm.models import NetworkConfig

FOLDER = "fixed"
FORMATS: dict[str, ModuleType] = {
    Format.ONNX.value: onnx_format,
    Format.SAVEDMODEL.value: savedmodel,
    Format.TFLITE.value: tflite,
}

_CARD = """\
### Fixed sizes

For programs that take no open sizes (Core ML, LiteRT in a browser, compilers for phones): {folders}. The files there
compute one time step under the names of the table above. {details}"""
_SAVEDMODEL = "The SavedModel there has one signature, `serving_default`, which is a step. "
_CONVERTERS = {
    "onnx": "onnx2tf converts this `step.onnx`, and refuses the one of open sizes. ",
    "savedmodel": "Core ML Tools convert this SavedModel: `coremltools.convert(FOLDER, source='tensorflow')`. ",
}


def checked(fixed: Iterable[Sequence[int]], formats: Collection[str], config: NetworkConfig) -> list[Sizes]:
    """The requested sizes, checked, each once.

    Raises:
        ExportError: the network cannot have these sizes, or no format supports fixed sizes.
        TypeError: an element of ``fixed`` is no pair.
    """
    found = list(dict.fromkeys(_checked(sizes, config) for sizes in fixed))
    if found and not set(formats) & set(FORMATS):
        raise ExportError(f"fixed sizes are for the formats {', '.join(FORMATS)}")
    return found


def _checked(sizes: Sequence[int], config: NetworkConfig) -> Sizes:
    if not isinstance(sizes, Sequence):
        raise TypeError(f"fixed must hold pairs of B and N, not {sizes!r}")
    wanted = ("B", "N") if config.heads else ("B",)
    shown = ",".join(map(str, sizes))
    if len(sizes) != len(wanted):
        has = "has" if config.heads else "has no"
        raise ExportError(f"fixed sizes are {','.join(wanted)}, since this network {has} memory locations; not {shown}")
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ExportError(f"fixed sizes must be whole numbers from 1, not {shown}")
    of_step = Sizes(*sizes)
    least = config.least_locations
    if of_step.locations is not None and of_step.locations < least:
        raise ExportError(f"this network needs at least {least} memory locations, not {of_step.locations}")
    if of_step.batch * (of_step.locations or 1) > MOST_LOCATIONS:
        raise ExportError(f"fixed sizes may have {MOST_LOCATIONS:,} locations in all sequences together, not {shown}")
    return of_step


def write(source: Source, folder: pathlib.Path, formats: Iterable[str], fixed: Iterable[Sizes]) -> None:
    """Write a folder for each of the sizes."""
    for sizes in fixed:
        of_step = dataclasses.replace(source, sizes=sizes)
        target = folder / FOLDER / str(sizes)
        target.mkdir(parents=True)
        for name in formats:
            if name in FORMATS:
                FORMATS[name].write(of_step, target)
        known_answer.write(of_step, target)


def describe(folder: pathlib.Path, formats: Collection[str], fixed: Iterable[Sizes]) -> list[str]:
    """The section of the model card; empty without such sizes."""
    folders = []
    for sizes in fixed:
        locations = "" if sizes.locations is None else f" and N = {sizes.locations}"
        files = ", ".join(f"`{path.name}`" for path in sorted((folder / FOLDER / str(sizes)).iterdir()))
        folders.append(f"`{FOLDER}/{sizes}` is of B = {sizes.batch}{locations} ({files})")
    details = _SAVEDMODEL if "savedmodel" in formats else ""
    details += "".join(sentence for name, sentence in _CONVERTERS.items() if name in formats)
    return [_CARD.format(folders="; ".join(folders), details=details).strip()] if folders else []


def candidates(folder: pathlib.Path) -> Iterator[Candidate]:
    """The written graphs, to be compared with TensorFlow."""
    for path, sizes in _written(folder):
        for module in FORMATS.values():
            for candidate in module.candidates(path, sizes):
                yield dataclasses.replace(candidate, name=f"{FOLDER}/{sizes}/{candidate.name}")


def answers(folder: pathlib.Path, config: NetworkConfig) -> Iterator[KnownAnswer]:
    """The written known answers, to be compared with TensorFlow."""
    for path, sizes in _written(folder):
        if (path / known_answer.FILE).exists():
            yield known_answer.read(path, config, f"{FOLDER}/{sizes}/{known_answer.FILE}", sizes)


def _written(folder: pathlib.Path) -> list[tuple[pathlib.Path, Sizes]]:
    paths = sorted((folder / FOLDER).iterdir()) if (folder / FOLDER).exists() else []
    return [(path, Sizes(*map(int, path.name.split("x")))) for path in paths]
