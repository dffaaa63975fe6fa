"""The manners that all commands share: errors on one line, exit codes, versions, interrupts, progress.

A command is a function with typer's annotations that returns its exit code (or None for 0), and its entry point is
``console.run("ntm-copy", function)``. Results go to stdout and everything else to stderr.
"""

import contextlib
import functools
import gc
import importlib
import io
import logging
import mmap
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any, NoReturn, Self

import typer
import typer.completion
import typer.core

from ntm import __version__
from ntm.errors import Error, explaining, lowered
from ntm.signals import ENDING
from ntm.text import one_line

OK, WRONG, TROUBLE = 0, 1, 2

# Seconds until a command that an interrupt has not ended is interrupted again: libraries swallow exceptions, mostly
# during their import. Windows has no such timer.
_INSISTENCE = 1.0
_TIMER = getattr(signal, "SIGALRM", None)

# The address space in MiB, and the threads, that libraries need: with less, they end the process.
_ADDRESS_SPACE, _ADDRESS_SPACE_OF_TENSORFLOW = 300, 3_072
_THREADS_OF_TENSORFLOW = 24 + (os.cpu_count() or 1)
_NO_THREAD = "can't start new thread"  # the message of Python

_received: list[int] = []  # the signals so far
_unhurried = False  # whether a signal may wait


class CommandError(Error):
    """A command that is called wrongly; like every ``ntm.errors.Error`` one line, exit code 2."""


class SignalError(BaseException):
    """A signal asks the command to end. It is an exception, so that the command cleans up."""


def run(name: str, function: Callable[..., int | None]) -> NoReturn:
    """Run a command on ``sys.argv`` and exit: the whole of an entry point.

    A command prints at most one line of error and no traceback, unless the environment variable ``NTM_TRACEBACK`` asks
    for one. Ctrl-C exits 130 and SIGTERM 143, after the clean-up. A closed pipe is no error.
    """
    ended = False

    def interrupt(number: int, _: FrameType | None) -> None:
        _received.append(number)
        if ended:
            os._exit(128 + _received[0])
        if _TIMER is not None:
            signal.setitimer(signal.ITIMER_REAL, _INSISTENCE)
        if not _unhurried or number == _TIMER:
            raise SignalError(number)

    if _TIMER is not None:
        signal.signal(_TIMER, interrupt)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where it is closed
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it: not every encoding has every character
    # Pictures go to files. Matplotlib cannot be imported if the backend that a notebook has set is missing here.
    os.environ["MPLBACKEND"] = "agg"
    sys.unraisablehook = _unless_interrupted
    warnings.showwarning = lambda message, *_, **__: say(f"{name}: warning: {one_line(str(message))}")
    try:
        code = _outcome(name, function)
        ended = True
    except SignalError:
        ended, code = True, OK
    with contextlib.suppress(OSError, AttributeError):
        sys.stdout.flush()
    if _received:  # even if a library has swallowed the exception
        os._exit(128 + _received[0])  # at once: Python would wait for running threads, or they would crash
    with contextlib.suppress(OSError, AttributeError):
        # At its end the interpreter would try again to write the rest of stdout, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


def _unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print no interrupt that Python cannot raise, e.g. in a destructor: the timer repeats the interrupt."""
    with contextlib.suppress(SignalError):  # of a second signal
        if not isinstance(unraisable.exc_value, SignalError):
            sys.__unraisablehook__(unraisable)


def _outcome(name: str, function: Callable[..., int | None]) -> int:
    """Call a command; returns its exit code, after a line of error if there is one to report."""
    try:
        code = _invoke(name, function)
        if sys.stdout is not None:
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.flush()
    except BrokenPipeError:
        return OK
    except Exception as error:
        if os.environ.get("NTM_TRACEBACK"):
            raise
        if not _received:  # else a library has turned the interrupt into this error
            say(f"{name}: error: {one_line(_explain(error))}")
        return TROUBLE
    return code


def check_stdout() -> None:
    """Refuse to begin a command that could not ``show`` its result.

    Raises:
        CommandError: stdout is closed.
    """
    if sys.stdout is None:
        raise CommandError("standard output is closed")


def show(result: str) -> None:
    """Write a result on stdout, at once. A closed pipe is no error, and does not change the exit code.

    Raises:
        CommandError: stdout is closed.
        FileError: the result cannot be written.
    """
    check_stdout()
    with contextlib.suppress(BrokenPipeError), explaining("cannot write standard output"):
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def unhurried() -> Iterator[Callable[[], bool]]:
    """Delay signals until the end of the block, but for a second at most.

    Yields:
        A function that says whether a signal has come.

    Raises:
        SignalError: a signal has come; raised at the end of the block.
    """
    global _unhurried  # noqa: PLW0603  (signal handlers are global too)
    _unhurried = True
    try:
        yield lambda: bool(_received)
    finally:
        _unhurried = False
    if _received:
        raise SignalError(_received[0])


def say(message: str) -> None:
    """Write a line on stderr, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()


def warn(message: str) -> None:
    """Warn the user: a line on stderr."""
    warnings.warn(message, stacklevel=2)


def fail(command: str, message: str, code: int = TROUBLE) -> NoReturn:
    """Print ``command: error: message`` and exit."""
    say(f"{command}: error: {one_line(message)}")
    raise SystemExit(code)


def _show_version(context: typer.Context, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:  # a shell asks for completions
        return
    from ntm.runtime import folder  # noqa: PLC0415  (nothing else needs it)

    lines = [f"{context.info_name} {__version__}"]
    for name in folder.bundled():
        try:
            data = folder.read(name).metadata
            lines.append(f"model {data.model_name}, checkpoint {data.checkpoint_sha256[:12]}")
        except Error as error:
            lines.append(f"no bundled model {name}: {error}")
    if sys.stdout is not None:
        show("\n".join(lines))
    raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_show_version,
        is_eager=True,
        help="Print the versions of the package and of the bundled models.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no summary; errors stay.")]


def words(*choices: str) -> Callable[[str], list[str]]:
    """The ``autocompletion`` of an option that takes one of these words."""

    def completed(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return completed


class Progress:
    """A progress bar on stderr, for as long as the ``with`` block lasts.

    It is drawn only on a terminal that can overwrite a line, and only once the block has lasted a moment, since a short
    run needs no bar and should not import one. NO_COLOR is honoured.

    Args:
        total: the last value of ``update``; None if it is unknown.
        quiet: draw nothing.
    """

    _PATIENCE = 0.5  # seconds

    def __init__(self, total: float | None, *, quiet: bool = False) -> None:
        self._total = total
        self._enabled = not quiet and stderr_is_terminal() and os.environ.get("TERM", "dumb") not in ("", "dumb")
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def enabled(self) -> bool:
        """Whether a bar is drawn once the block has lasted a moment."""
        return self._enabled

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._start

    def update(self, completed: float, text: str = "") -> None:
        """Show the progress and a short text, e.g. the rate."""
        if not self._enabled or (self._bar is None and self.elapsed < self._PATIENCE):
            return
        if self._bar is None:
            self._begin()
        self._bar.update(self._task, completed=completed, text=text)

    def _begin(self) -> None:
        from rich import console, progress  # noqa: PLC0415  (as slow to import as typer)

        columns: list[str | progress.ProgressColumn] = [
            progress.TextColumn("{task.fields[text]}", markup=False),
            progress.TimeElapsedColumn(),
        ]
        if self._total:
            columns = [progress.TaskProgressColumn(), progress.BarColumn(), *columns]
            columns += [progress.TimeRemainingColumn(), "left"]
        else:
            columns = [progress.SpinnerColumn("line"), *columns]  # "line" is ASCII
        self._bar = progress.Progress(*columns, console=console.Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=self._total, text="")
        self._bar.start()


def import_tensorflow() -> None:
    """Import TensorFlow without its messages, and without the garbage collection.

    The collection takes a fifth of the time of the import and finds no garbage.

    Raises:
        CommandError: a limit of the process is too small for TensorFlow.
    """
    from ntm.training import compilation  # noqa: PLC0415  (as the next lines: only training and export need it)

    _require_address_space(_ADDRESS_SPACE_OF_TENSORFLOW)
    _require_threads(_THREADS_OF_TENSORFLOW)
    compilation.set_up()
    silence_libraries()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # TensorFlow imports it, and it warns of a missing cache
    gc.disable()
    try:
        importlib.import_module("tensorflow")
        gc.freeze()  # later collections skip the objects of TensorFlow
    finally:
        gc.enable()


def silence_libraries() -> None:
    """Drop the messages that the C++ code of TensorFlow and LiteRT writes to stderr: no setting prevents them.

    The C++ code writes to the descriptor of stderr; Python goes on with a copy of the descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.stderr is not None:
        encoding, errors = sys.stderr.encoding, sys.stderr.errors
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors=errors)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)


def stderr_is_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Command(typer.core.TyperCommand):
    """A command with plain help: options in groups, in the encoding of stdout; click would print UTF-8.

    The group of an option is its ``rich_help_panel``, which typer itself shows only with boxes.
    """

    def get_help(self, ctx: Any) -> str:
        encoding = getattr(sys.stdout, "encoding", "utf-8")
        return super().get_help(ctx).encode(encoding, "backslashreplace").decode(encoding)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            usual = "Options"
            if parameter.param_type_name == "argument":
                usual, record = "Arguments", (parameter.metavar or record[0], record[1])  # without its type
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


def _invoke(name: str, function: Callable[..., int | None]) -> int:
    """Parse the arguments and call the function; or complete the arguments if a shell asks for it.

    The typer application is not called itself, since it prints errors on many lines and exits 1 for a broken pipe.
    """
    command = make_command(function)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()  # set by the completion scripts of typer
    try:
        if variable in os.environ:
            return typer.completion.shell_complete(command, {}, name, variable, os.environ[variable])
        with command.make_context(name, sys.argv[1:]) as context:
            _require_address_space(_ADDRESS_SPACE)
            return command.invoke(context) or OK
    except typer.Exit as end:
        return end.exit_code


def make_command(function: Callable[..., int | None]) -> Any:
    """The ``typer.core.TyperCommand`` of a function, with the options for the completion of a shell."""
    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=_Command)(function)
    command: Any = typer.main.get_command(app)
    for parameter in command.params:
        if parameter.name in _OF_COMPLETION:
            parameter.is_eager = True
            parameter.callback = functools.partial(_show_completion, parameter.callback)
            parameter.help = _OF_COMPLETION[parameter.name]
    return command


# The help of typer takes three lines for the second option.
_OF_COMPLETION = {
    "install_completion": "Install completion for the current shell.",
    "show_completion": "Print the script of the completion for the current shell.",
}


def _show_completion(act: Any, context: Any, parameter: Any, wanted: bool) -> None:
    """Install the completion of a shell, or print its script, and end. The messages of typer go to stdout.

    Raises:
        CommandError: typer does not know the shell that the command was started from.
    """
    if not wanted or context.resilient_parsing:
        return
    check_stdout()
    messages = io.StringIO()
    try:
        with contextlib.redirect_stdout(messages), contextlib.redirect_stderr(messages):
            act(context, parameter, wanted)
    except typer.Exit as end:
        raise CommandError(
            "no completion for this shell: start the command from bash, zsh, fish or PowerShell"
        ) from end
    except SystemExit as end:
        show(messages.getvalue().rstrip())
        raise typer.Exit from end


def _require_address_space(mebibytes: int) -> None:
    """Check that the process may map this much more memory.

    Raises:
        CommandError: it may not.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows has no such limit
        return
    try:
        mmap.mmap(-1, mebibytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError as error:
        raise CommandError(
            f"out of memory: the limit of the address space (ulimit -v) must leave {mebibytes:,} MiB"
        ) from error


def _require_threads(count: int) -> None:
    """Check that the process may start this many threads.

    Raises:
        CommandError: it may not.
    """
    end = threading.Event()
    threads = []
    try:
        for _ in range(count):
            threads.append(threading.Thread(target=end.wait, daemon=True))
            threads[-1].start()
    except RuntimeError as error:
        threads.pop()
        raise CommandError(f"the limit of processes (ulimit -u) must leave {count} threads") from error
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _explain(error: Exception) -> str:
    """The message of an exception for the user."""
    if isinstance(error, Error):
        return str(error)
    if hasattr(error, "format_message"):  # a usage error; its class differs between the releases of typer
        return lowered(str(error.format_message()))
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return "cannot start a thread: the limit of processes (ulimit -u) or of memory is too small"
    if isinstance(error, OSError):
        reason = lowered(error.strerror or str(error))
        return f"{error.filename}: {reason}" if error.filename else reason
    return f"internal error, NTM_TRACEBACK=1 shows where: {type(error).__name__}: {error}"
