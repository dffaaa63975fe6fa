"""The C compiler of the system, or one for another system."""

import dataclasses
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from ntm.errors import ExportError
from ntm.text import one_line

# A product and a sum may become one instruction, and the code uses neither errno nor traps. The other parts of
# -ffast-math are left out, since a NaN must stay a NaN.
_OPTIONS = (
    "-std=c11",
    "-O3",
    "-g0",
    "-fPIC",
    "-fvisibility=hidden",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
_SECONDS = 600
_HERE = ("cc", "gcc", "clang")  # compilers for this system
_NAME = r"\w[\w.+=,-]*"  # of a system or a processor
_X86 = ("x86_64", "amd64", "i386", "i486", "i586", "i686")


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine that code is compiled for.

    Attributes:
        target: the compiler's name of the system, such as ``aarch64-linux-gnu``; None for this system.
        cpu: the compiler's name of the processor, such as ``x86-64-v3``, ``cortex-a72`` or ``native``; None for every
            processor of the architecture.

    Raises:
        ExportError: one cannot be a name.
    """

    target: str | None = None
    cpu: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name = getattr(self, field.name)
            if name is not None and not re.fullmatch(_NAME, name):
                raise ExportError(f"{field.name} must be a name of the C compiler's, not {name!r}")

    def __str__(self) -> str:
        return f"{self.target or 'this system'}, {f'processor {self.cpu}' if self.cpu else 'any processor'}"

    @property
    def options(self) -> list[str]:
        """The options of the compiler for the processor."""
        if self.cpu is None:
            return []
        architecture = (self.target or platform.machine()).partition("-")[0].lower()
        return [f"-march={self.cpu}" if architecture in _X86 else f"-mcpu={self.cpu}"]


ANY = Machine()  # every processor of this system


def build(source: pathlib.Path, shared: pathlib.Path, static: pathlib.Path | None, machine: Machine) -> None:
    """Compile a source, and make libraries of it, by the compiler that CC names or that of the machine.

    Args:
        source: the file; the files that it includes are in the same folder.
        shared: the shared library to make, in the same folder.
        static: the static library to make, in the same folder; None for none.
        machine: the machine that the code is for.

    Raises:
        ExportError: there is no compiler, or it fails.
    """
    compiled = _compiled(_named() or _of(machine), source, shared, machine)
    if static is not None:
        _call([*_archiver(machine), "rcs", static.name, compiled.name], source.parent)
    compiled.unlink()


def build_here(source: pathlib.Path, shared: pathlib.Path) -> None:
    """Make a shared library for this system, whatever system CC compiles for.

    Raises:
        ExportError: there is no compiler, or it fails.
    """
    compiler = [name for name in _HERE if shutil.which(name)][:1] or _named() or _of(ANY)
    _compiled(compiler, source, shared, ANY).unlink()


def _compiled(compiler: list[str], source: pathlib.Path, shared: pathlib.Path, machine: Machine) -> pathlib.Path:
    """Make a shared library; the object file that it is of."""
    folder, compiled = source.parent, source.with_suffix(".o")
    # Relative names keep the paths of this machine out of the code.
    _call([*compiler, *_OPTIONS, *machine.options, "-c", source.name, "-o", compiled.name], folder)
    _call([*compiler, "-shared", "-o", shared.name, compiled.name, "-lm"], folder)
    return compiled


def _named() -> list[str]:
    """The command that the environment variable CC names, if it names one.

    Raises:
        ExportError: it is not there.
    """
    named = shlex.split(os.environ.get("CC", ""))
    if named and shutil.which(named[0]) is None:
        raise ExportError(f"the environment variable CC names a C compiler that is not there: {named[0]}")
    return named


def _of(machine: Machine) -> list[str]:
    """The command that compiles for a machine.

    Raises:
        ExportError: there is none.
    """
    if machine.target is None:
        found = [name for name in _HERE if shutil.which(name)][:1]
        if not found:
            raise ExportError(
                "the format native needs a C compiler: install gcc or clang, or name one in the environment variable CC"
            )
        return found
    of_target = f"{machine.target}-gcc"
    if shutil.which(of_target):
        return [of_target]
    if shutil.which("clang"):
        return ["clang", f"--target={machine.target}"]
    raise ExportError(
        f"there is no C compiler for {machine.target}: install {of_target} or clang, or name one in the environment "
        "variable CC"
    )


def _archiver(machine: Machine) -> list[str]:
    """The command that makes a static library.

    Raises:
        ExportError: there is none.
    """
    named = shlex.split(os.environ.get("AR", ""))
    names = [f"{machine.target}-ar", "llvm-ar", "ar"] if machine.target else ["ar", "llvm-ar"]
    found = named or [name for name in names if shutil.which(name)][:1]
    if not found:
        raise ExportError("the format native needs ar, which makes static libraries: install binutils")
    return found


def _call(command: Sequence[str], folder: pathlib.Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{command[0]} fails: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise ExportError(f"{command[0]} fails: {one_line(errors[0] if errors else f'exit code {done.returncode}')}")
