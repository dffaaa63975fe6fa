"""``ntm-train``: train a Neural Turing Machine, or an LSTM, on a task."""

import dataclasses
import functools
import json
import math
import pathlib
import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

_STARTED = time.monotonic()  # before the slow imports: they are part of the time to converge

from typer import Option  # noqa: E402

from ntm import console  # noqa: E402
from ntm.errors import require  # noqa: E402
from ntm.training import options_file  # noqa: E402
from ntm.training.config import ADAM, OPTIMIZERS  # noqa: E402

if TYPE_CHECKING:
    from ntm.training.run import TrainedRun

_COMMAND = "ntm-train"

# The most layers of a controller or an LSTM, and the most units in each.
_MOST_LAYERS, _MOST_UNITS = 16, 1 << 12
_RECIPE = "by the recipe"
# The shortest and the longest time between two lines of progress without a terminal, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 60.0
_LIST = "help"  # --task help lists the tasks
_DEFAULT = "copy"
# Parameters of the command that are neither options of the network nor of its training.
_NOT_OF_THE_RECIPE = (
    *("output", "task", "option", "config", "initial", "log_dir", "device", "distribute", "resume", "force"),
    *("as_json", "quiet", "version"),
)


# The groups of the help; all other options are in one further group.
_LearningOption = functools.partial(Option, rich_help_panel="Learning")
_NetworkOption = functools.partial(Option, rich_help_panel="Network")
_ReportOption = functools.partial(Option, rich_help_panel="Reports and checkpoints")


def _task_names(incomplete: str) -> list[str]:
    from ntm.tasks import BUILT_IN  # noqa: PLC0415  (it imports NumPy)

    return console.words(*BUILT_IN, _LIST)(incomplete)


def train(
    *,
    output: Annotated[
        pathlib.Path | None, Option("--output", "-o", metavar="RUN", help="The run folder to make.")
    ] = None,
    task: Annotated[
        str | None,
        Option(
            metavar="TASK",
            autocompletion=_task_names,
            help=f"The task to learn: a task of the paper, or FILE.py:CLASS; `{_LIST}` lists the tasks.",
            show_default=f"{_DEFAULT}, or the task of a resumed run",
        ),
    ] = None,
    option: Annotated[
        list[str], Option(metavar="NAME=VALUE", help="An option of the task; may be given several times.")
    ] = [],  # noqa: B006  (typer copies it)
    size: Annotated[
        list[str],
        Option(
            metavar="NAME=LEAST-MOST",
            help="Sizes of the training sequences, e.g. length=1-20; may be given several times.",
        ),
    ] = [],  # noqa: B006
    curriculum: Annotated[
        list[str],
        Option(
            metavar="NAME=MOST,...",
            help="The largest size of each stage, e.g. length=5,10,20: a stage ends once the network has learned it.",
        ),
    ] = [],  # noqa: B006
    seed: Annotated[
        int | None,
        Option(min=0, max=(1 << 31) - 1, metavar="SEED", help="Seed of the network and of the data.", show_default="0"),
    ] = None,
    max_batches: Annotated[
        int | None,
        _LearningOption(
            min=1,
            max=(1 << 31) - 1,
            metavar="BATCHES",
            help="Stop after this many batches, including those before a resume.",
            show_default=_RECIPE,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, _LearningOption(min=1, max=1 << 16, metavar="B", help="Sequences in a batch.", show_default=_RECIPE)
    ] = None,
    early_stopping: Annotated[
        bool | None,
        _LearningOption(
            "--early-stopping/--no-early-stopping",
            help="End once the network has converged and annealing is over, or train for --max-batches in any case.",
            show_default="early-stopping",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        _LearningOption(
            metavar="NAME",
            autocompletion=console.words(*OPTIMIZERS),
            help="The optimiser: adam, or rmsprop, by default with the settings of the paper.",
            show_default=ADAM,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        _LearningOption(metavar="RATE", help="Learning rate, above 0 and at most 1.", show_default=_RECIPE),
    ] = None,
    momentum: Annotated[
        float | None,
        _LearningOption(metavar="SHARE", help="Momentum of rmsprop, from 0 to below 1.", show_default="0.9"),
    ] = None,
    clip_norm: Annotated[
        float | None,
        _LearningOption(min=0, metavar="NORM", help="The largest norm of the gradient; 0: no limit.", show_default="1"),
    ] = None,
    clip_element: Annotated[
        float | None,
        _LearningOption(
            min=0,
            metavar="MOST",
            help="The largest magnitude of a number in the gradient; 0: no limit. The paper has 10.",
            show_default="0",
        ),
    ] = None,
    annealing_batches: Annotated[
        int | None,
        _LearningOption(
            min=0,
            max=(1 << 31) - 1,
            metavar="BATCHES",
            help="Batches of a falling learning rate once the network has converged.",
            show_default=_RECIPE,
        ),
    ] = None,
    annealing_learning_rate: Annotated[
        float | None,
        _LearningOption(metavar="RATE", help="The learning rate at the beginning of annealing.", show_default=_RECIPE),
    ] = None,
    goal: Annotated[
        float | None,
        _LearningOption(
            min=0,
            metavar="BITS",
            help="The cost at which the network has converged, in bits per sequence above the optimal predictor; 0: no "
            "wrong bit.",
            show_default=_RECIPE,
        ),
    ] = None,
    sharpness_penalty: Annotated[
        float | None,
        _LearningOption(
            min=0,
            metavar="NATS",
            help="The penalty of heads that are sharper than necessary. Sharp heads magnify rounding, so that "
            "ntm-export may refuse the network; then try 1e-3.",
            show_default=_RECIPE,
        ),
    ] = None,
    addressing: Annotated[
        str | None,
        _LearningOption(
            metavar="KIND,...",
            help="The addressing to prefer, location or content. The first start takes the first KIND, every restart "
            "the next one.",
            show_default=_RECIPE,
        ),
    ] = None,
    turn_content_off: Annotated[
        bool | None,
        _LearningOption(
            "--turn-content-off/--keep-content",
            help="Turn content addressing off at the end, if the network passes the last check without it; the export "
            "is then faster.",
            show_default=_RECIPE,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _NetworkOption(
            metavar="MODEL",
            autocompletion=console.words("ntm", "lstm"),
            help="The network: ntm, or lstm, which has no memory matrix.",
            show_default="ntm",
        ),
    ] = None,
    controller: Annotated[
        str | None,
        _NetworkOption(
            metavar="KIND",
            autocompletion=console.words("feedforward", "lstm"),
            help="The controller of an NTM: feedforward or lstm.",
            show_default="feedforward",
        ),
    ] = None,
    controller_sizes: Annotated[
        str | None,
        _NetworkOption(
            metavar="H,...",
            help="Units of each layer of the controller.",
            show_default="100,100,100, or 100 of an LSTM",
        ),
    ] = None,
    layer_sizes: Annotated[
        str | None,
        _NetworkOption(metavar="H,...", help="Units of each layer of --model lstm.", show_default="256,256,256"),
    ] = None,
    memory_locations: Annotated[
        int | None,
        _NetworkOption(
            min=1,
            max=1 << 20,
            metavar="N",
            help="Memory locations in training, S - 1 or more.",
            show_default="as many as the task needs",
        ),
    ] = None,
    memory_vector_size: Annotated[
        int | None,
        _NetworkOption(
            min=1,
            max=1 << 12,
            metavar="M",
            help="Numbers in a location.",
            show_default="20, or more for a task of many outputs",
        ),
    ] = None,
    shifts: Annotated[
        int | None,
        _NetworkOption(
            min=1, max=63, metavar="S", help="Shifts allowed, odd: 3 are -1, 0 and +1.", show_default=_RECIPE
        ),
    ] = None,
    read_heads: Annotated[
        int | None, _NetworkOption(min=1, max=1 << 6, metavar="R", help="Read heads.", show_default=_RECIPE)
    ] = None,
    write_heads: Annotated[
        int | None, _NetworkOption(min=1, max=1 << 6, metavar="K", help="Write heads.", show_default=_RECIPE)
    ] = None,
    initial_memory: Annotated[
        str | None,
        _NetworkOption(
            metavar="KIND",
            autocompletion=console.words("constant", "learned", "random"),
            help="The memory before the first step: constant, learned or random numbers.",
            show_default=_RECIPE,
        ),
    ] = None,
    initial_weights: Annotated[
        str | None,
        _NetworkOption(
            metavar="KIND",
            autocompletion=console.words("first", "uniform", "learned"),
            help="The weightings before the first step: first (location), uniform or learned.",
            show_default=_RECIPE,
        ),
    ] = None,
    initial_reads: Annotated[
        str | None,
        _NetworkOption(
            metavar="KIND",
            autocompletion=console.words("zero", "learned"),
            help="The read vectors before the first step: zero or learned.",
            show_default=_RECIPE,
        ),
    ] = None,
    xla: Annotated[
        bool | None, _LearningOption("--xla/--no-xla", help="Compile the training step with XLA.", show_default="xla")
    ] = None,
    log_dir: Annotated[
        pathlib.Path | None,
        _ReportOption(
            metavar="DIR",
            help="Write files for TensorBoard: figures, and pictures of the memory and the heads.",
            show_default="none",
        ),
    ] = None,
    report_batches: Annotated[
        int | None,
        _ReportOption(min=1, metavar="BATCHES", help="The batches between two reports.", show_default="25"),
    ] = None,
    keep_checkpoints: Annotated[
        int | None,
        _ReportOption(
            min=0,
            metavar="COUNT",
            help="Keep the newest COUNT checkpoints in RUN/checkpoints; each is a run that can be exported.",
            show_default="0",
        ),
    ] = None,
    checkpoint_batches: Annotated[
        int | None,
        _ReportOption(min=1, metavar="BATCHES", help="The batches between two kept checkpoints.", show_default="1000"),
    ] = None,
    device: Annotated[
        str | None,
        Option(
            metavar="DEVICE",
            autocompletion=console.words("cpu", "gpu"),
            help="The device of the training: cpu, gpu, or one of several GPUs, e.g. gpu:1.",
            show_default="the first GPU, or else the CPU",
        ),
    ] = None,
    distribute: Annotated[
        str | None,
        Option(
            metavar="KIND",
            autocompletion=console.words("mirrored", "multiworker"),
            help="How to share every batch: mirrored, among all GPUs of this machine; or multiworker, among the "
            "processes that the environment variable TF_CONFIG names.",
            show_default="one device",
        ),
    ] = None,
    config: Annotated[
        pathlib.Path | None,
        Option(
            metavar="FILE",
            callback=options_file.use,
            is_eager=True,
            help="Take options from a TOML file, or all those of a run: RUN or RUN/config.json. The command line wins.",
        ),
    ] = None,
    initial: Annotated[
        pathlib.Path | None,
        Option("--from", metavar="RUN", help="Begin with the network of RUN, and train it further as a new run."),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the run in --output RUN, with the options of that run.")
    ] = False,
    force: Annotated[bool, Option("--force", "-f", help="Replace a run that is already there.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,
) -> int:
    """Train a Neural Turing Machine on a task.

    Every task has a recipe, which sets the options that are not given.

    The exit code is 0 if the network has converged, 1 if not, 2 for trouble. Converged means no wrong bit in 2,000 new
    sequences of the training sizes, or a cost within the goal.
    """
    given = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_RECIPE and value is not None}
    if as_json or task == _LIST:
        console.check_stdout()
    if task == _LIST:
        console.show(_tasks())
        return console.OK
    if output is None:
        raise console.CommandError("give the run folder to make: --output RUN")
    if resume and force:
        raise console.CommandError("give either --resume or --force: one goes on with a run, the other replaces it")
    from ntm.tasks import find, notation  # noqa: PLC0415  (it imports NumPy)

    options = _parsed(given)
    require("train", "tensorflow")
    task_options = notation.parse_options(option)
    if config is not None:
        console.import_tensorflow()
        task, task_options, options = _as_run(config, task, task_options, options)
    learned: Any = task  # a resumed run has its own options of the task
    if not resume or task_options:
        learned = find(task or _DEFAULT, task_options)
    console.import_tensorflow()
    train_on = _trainer(device)
    went_on = False
    with console.Progress(None, quiet=quiet) as bar, console.unhurried() as interrupted:
        lines = _Lines(enabled=not (quiet or bar.enabled))
        is_new = not output.exists()

        def report(line: dict[str, Any]) -> None:
            nonlocal went_on
            went_on = True
            loss, wrong = (math.nan if line[name] is None else line[name] for name in ("loss", "wrong_bits"))
            rate = line["sequences"] / max(line["seconds"], 1e-9)
            text = f"batch {line['batches']:,}, loss {loss:.2e}, {wrong:.2f} wrong bits, {rate:,.0f} sequences/s"
            bar.update(line["batches"], text)
            lines.update(text)

        def tell_how_to_go_on() -> None:
            if not quiet and (output / "checkpoint.npz").exists():
                console.say(f"{_COMMAND}: interrupted; to go on: {_command_to_resume(output, task)}")

        try:
            trained = train_on(
                learned,
                output,
                resume=resume,
                replace=force,
                initial=initial,
                log_dir=log_dir,
                device=device,
                distribute=distribute,
                began=functools.partial(_tell_the_device, device or distribute, quiet=quiet or as_json),
                report=report,
                interrupted=interrupted,
                started=_STARTED,
                **options,
            )
        except BaseException:
            if interrupted() and (went_on or resume or is_new):  # the training did not end within a second
                tell_how_to_go_on()
            raise
        if interrupted() and _can_go_on(trained):
            tell_how_to_go_on()
    if as_json:
        console.show(json.dumps(trained.summary))
    elif not quiet:
        console.say(f"{_COMMAND}: {'' if went_on else 'nothing left to do: '}{_sentence(trained)}")
    return console.OK if trained.converged else console.WRONG


def _trainer(device: str | None) -> Callable[..., "TrainedRun"]:
    """The function that trains; for the device ``cpu`` all GPUs are hidden."""
    from ntm.training import devices  # noqa: PLC0415  (it imports TensorFlow)
    from ntm.training.train import train as train_on  # noqa: PLC0415

    if device == "cpu":
        devices.hide_gpus()
    return train_on


def _tell_the_device(asked: str | None, device: str, *, quiet: bool) -> None:
    """Print the device at the beginning, if it was chosen or is no CPU."""
    if not quiet and (asked is not None or not device.startswith("cpu")):
        console.say(f"{_COMMAND}: training on {device}")


def _as_run(
    config: pathlib.Path, task: str | None, task_options: dict[str, Any], options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """The task, its options and those of the training: the given ones, or else those of a run."""
    from ntm.training.run import CONFIG, load_config  # noqa: PLC0415  (it imports TensorFlow)

    run = load_config(config.parent if config.name == CONFIG else config)
    as_was = {"model": run.network.model} | dataclasses.asdict(run.network) | dataclasses.asdict(run.training)
    sizes = {**run.training.sizes, **options.get("sizes", {})}
    return task or run.task, {**run.task_options, **task_options}, {**as_was, **options, "sizes": sizes}


def _parsed(given: dict[str, Any]) -> dict[str, Any]:
    """The options in the form that ``ntm.train`` takes."""
    from ntm.tasks import notation  # noqa: PLC0415  (it imports NumPy)

    parse: dict[str, Callable[[Any], Any]] = {
        "size": notation.parse_ranges,
        "curriculum": notation.parse_stages,
        "addressing": lambda text: tuple(text.split(",")),
        "controller_sizes": lambda text: parse_sizes("controller-sizes", text),
        "layer_sizes": lambda text: parse_sizes("layer-sizes", text),
    }
    options = {name: parse.get(name, lambda value: value)(value) for name, value in given.items() if value != []}
    if "size" in options:
        options["sizes"] = options.pop("size")
    if "learning_rate" in options:
        options["content_learning_rate"] = options["learning_rate"]
    return options


class _Lines:
    """Progress as lines, without a terminal for a bar; their distance grows with the time."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._begun: float | None = None  # the time of the first update, after the compilation
        self._next = _FIRST_WAIT

    def update(self, text: str) -> None:
        """Print the progress if a line is due."""
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        elapsed = now - self._begun
        if self._enabled and elapsed >= self._next:
            console.say(f"{_COMMAND}: {text}")
            self._next = elapsed + min(elapsed, _LONGEST_WAIT)


def _can_go_on(trained: "TrainedRun") -> bool:
    """Whether a training has ended early, so that it can be resumed."""
    return not trained.converged and trained.summary["batches"] < trained.config.training.max_batches


def _command_to_resume(output: pathlib.Path, task: str | None) -> str:
    from ntm.tasks import BUILT_IN  # noqa: PLC0415  (it imports NumPy)

    own = [] if task is None or task in BUILT_IN else ["--task", task]
    return shlex.join([_COMMAND, "--output", str(output), *own, "--resume"])


def parse_sizes(option: str, text: str) -> tuple[int, ...]:
    """Read ``100,100,100``, the value of an option.

    Raises:
        CommandError: the text is something else.
    """
    sizes = [size.strip() for size in text.split(",")]
    if len(sizes) > _MOST_LAYERS or not all(
        size.isascii() and size.isdecimal() and len(size) < 10 and 1 <= int(size) <= _MOST_UNITS for size in sizes
    ):
        raise console.CommandError(
            f"{option} must be up to {_MOST_LAYERS} numbers from 1 to {_MOST_UNITS} with commas between, not {text}"
        )
    return tuple(map(int, sizes))


def _tasks() -> str:
    """The built-in tasks, one per line."""
    from ntm.tasks import BUILT_IN  # noqa: PLC0415  (it imports NumPy)
    from ntm.tasks.catalogue import summary  # noqa: PLC0415

    width = max(map(len, BUILT_IN))
    lines = [f"{name.ljust(width)}  {summary(kind)}" for name, kind in BUILT_IN.items()]
    return "\n".join([*lines, f"{'FILE.py:CLASS'.ljust(width)}  A task of your own: a subclass of ntm.tasks.Task"])


def _sentence(trained: "TrainedRun") -> str:
    from ntm.training import beyond  # noqa: PLC0415  (it imports TensorFlow)

    summary = trained.summary
    device = summary.get("device", "an unknown device")  # older runs do not record it
    if not summary["converged"]:
        return (
            f"not converged after {summary['sequences']:,} sequences in {summary['seconds']:.1f} s on {device}; "
            f"--resume goes on with more --max-batches than {summary['batches']}"
        )
    seen = beyond.sentence(summary, trained.config.training.goal)
    return (
        f"converged after {summary['sequences_to_converge']:,} sequences in {summary['seconds_to_converge']:.1f} s, "
        f"finished after {summary['sequences']:,} in {summary['seconds']:.1f} s on {device}{seen and f'; {seen}'}"
    )


def main() -> None:
    """The entry point."""
    console.run(_COMMAND, train)
