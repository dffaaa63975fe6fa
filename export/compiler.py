"""The C compiler of the system, or one for another system."""

import dataclasses
import os
import pathlib
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
    "-fPIC",
    "-fvisibility=hidden",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
_SECONDS = 600
_X86 = ("x86_64", "amd64", "i386", "i486", "i586", "i686")


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine that code is compiled for.

    Attributes:
        target: the compiler's name of the system, such as ``aarch64-linux-gnu``; None for this system.
        cpu: the compiler's name of the processor, such as ``x86-64-v3``, ``cortex-a72`` or ``native``; None for every
            processor of the architecture.
    """

    target: str | None = None
    cpu: str | None = None

    def __str__(self) -> str:
        return f"{self.target or 'this system'}, {f'processor {self.cpu}' if self.cpu else 'any processor'}"

    @property
    def options(self) -> list[str]:
        """The options of the compiler for the processor."""
        if self.cpu is None:
            return []
        architecture = (self.target or os.uname().machine).partition("-")[0]
        return [f"-march={self.cpu}" if architecture in _X86 else f"-mcpu={self.cpu}"]


ANY = Machine()  # every processor of this system


def build(source: pathlib.Path, shared: pathlib.Path, static: pathlib.Path | None, machine: Machine) -> None:
    """Compile a source, and make libraries of it.

    Args:
        source: the file; the files that it includes are in the same folder.
        shared: the shared library to make, in the same folder.
        static: the static library to make, in the same folder; None for none.
        machine: the machine that the code is for.

    Raises:
        ExportError: there is no compiler, or it fails.
    """
    compiler = _compiler(machine)
    folder, compiled = source.parent, source.with_suffix(".o")
    # Relative names keep the paths of this machine out of the code.
    _call([*compiler, *_OPTIONS, *machine.options, "-c", source.name, "-o", compiled.name], folder)
    _call([*compiler, "-shared", "-o", shared.name, compiled.name, "-lm"], folder)
    if static is not None:
        _call([*_archiver(machine), "rcs", static.name, compiled.name], folder)
    compiled.unlink()


def _compiler(machine: Machine) -> list[str]:
    """The command that compiles.

    Raises:
        ExportError: there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        if shutil.which(named[0]) is None:
            raise ExportError(f"the environment variable CC names a C compiler that is not there: {named[0]}")
        return named
    if machine.target is None:
        found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
        if found is None:
            raise ExportError(
                "the format native needs a C compiler: install gcc or clang, or name one in the environment variable CC"
            )
        return [found]
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
