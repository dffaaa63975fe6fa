"""The Python API, which ``import ntm`` offers. Slow modules are imported by the functions that need them."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ntm.errors import require

if TYPE_CHECKING:
    from ntm.export.parity import Agreement
    from ntm.runtime.evaluate import Score
    from ntm.runtime.model import Model
    from ntm.tasks import Size, Task
    from ntm.training.run import TrainedRun

Path = str | os.PathLike[str]


def train(
    task: "Task | str | None" = None,
    output: Path | None = None,
    *,
    resume: bool = False,
    replace: bool = False,
    initial: "TrainedRun | Path | None" = None,
    log_dir: Path | None = None,
    device: str | None = None,
    distribute: str | None = None,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    **options: Any,
) -> "TrainedRun":
    """Train a Neural Turing Machine on a task. Needs the extra ``train``.

    Args:
        task: the task to learn: a ``ntm.tasks.Task``, or the text that ``ntm.tasks.find`` takes. A resumed run needs
            no task if its task is built in.
        output: the run folder to make; by default a folder that is deleted at the end.
        resume: go on with the run in ``output``, with its own options.
        replace: replace a run in ``output``.
        initial: a run, or its folder. The training begins with the network of this run, on this task and with these
            options, as a new run.
        log_dir: a folder for the event files of TensorBoard; needs the extra ``tensorboard``.
        device: ``"cpu"``, ``"gpu"``, or one of several GPUs such as ``"gpu:1"``; by default the first GPU, or else the
            CPU.
        distribute: share every batch among devices: ``"mirrored"``, all GPUs of this machine; or ``"multiworker"``, all
            devices of the processes that the environment variable ``TF_CONFIG`` names, each of which makes this call
            before TensorFlow computes anything else.
        report: called with every progress report: a line of ``history.jsonl``.
        **options: fields of ``ntm.models.NTMConfig`` and ``ntm.training.config.TrainingConfig`` that differ from the
            recipe of the task, e.g. ``seed=3``, ``controller="lstm"`` or ``sizes={"length": (1, 40)}``; or
            ``model="lstm"`` and fields of ``ntm.models.LSTMConfig``; or ``curriculum={"length": (5, 10, 20)}``, the
            largest size of each stage.

    Returns:
        The trained network; ``converged`` says whether it has learned the task.

    Raises:
        MissingExtraError: TensorFlow is missing, or TensorBoard if ``log_dir`` is given.
        TaskError: there is no such task, or it breaks its contract.
        TypeError: ``task`` is neither a task nor a text.
        RunError: an option cannot be used, there is no such device, or ``output`` is not free, or not a run.
        FileError: the folder cannot be read, made or written.
        MemoryError: the network or a batch is too large.
    """
    check_task(task)
    require("train", "tensorflow")
    from ntm.training import compilation  # noqa: PLC0415

    compilation.set_up()
    from ntm.training.train import train as train_on  # noqa: PLC0415  (it imports TensorFlow)

    return train_on(
        task,
        output,
        resume=resume,
        replace=replace,
        initial=initial,
        log_dir=log_dir,
        device=device,
        distribute=distribute,
        report=report,
        **options,
    )


def export(
    run: "Path | TrainedRun",
    folder: Path,
    formats: Collection[str] = ("onnx",),
    *,
    task: "Task | str | None" = None,
    replace: bool = False,
    **options: Any,
) -> "dict[str, Agreement]":
    """Export a trained network, and compare the export with TensorFlow. Needs the extra ``export``.

    Args:
        run: a run folder, or the result of ``ntm.train``.
        folder: the folder to make.
        formats: ``onnx``, ``savedmodel``, ``tflite``, ``triton``, ``web`` or ``native``, or several of them.
        task: the task that the network was trained on, if it is not built in.
        replace: replace an export in ``folder``.
        **options: further arguments of ``ntm.export.publish.publish``: ``unroll``, ``memory_locations``,
            ``batch_size``, ``target``, ``cpu``, ``fixed`` and ``model_name``.

    Returns:
        The differences from TensorFlow, by graph.

    Raises:
        MissingExtraError: a package is missing.
        RunError: the run cannot be read.
        TaskError: the task is not built in and not given, or another task is given.
        TypeError: ``task`` is neither a task nor a text.
        ExportError: an argument cannot be used, ``folder`` is not free, or a graph disagrees with TensorFlow; nothing
            was published.
        FileError: the folder cannot be made.
    """
    check_task(task)
    require("export", "tensorflow", "tf2onnx", "onnx", "ai_edge_litert")
    from ntm.export.publish import publish  # noqa: PLC0415  (it imports TensorFlow)

    return publish(run, folder, formats, task=task, replace=replace, **options)


def load(
    model: Path | None = None,
    *,
    memory_locations: int | None = None,
    batch_size: int | None = None,
    threads: int = 1,
    backend: str = "onnxruntime",
) -> "Model":
    """Load an exported model; see ``ntm.runtime.model.load``.

    Args:
        model: its folder, or the name of a bundled model; by default ``copy-8bit``.
        memory_locations: N; by default that of the training, or more if a sequence needs more.
        batch_size: the most sequences that run side by side; by default the fastest number.
        threads: the threads that share the work of one step; at most one per core that the process may use.
        backend: ``onnxruntime``, the fastest for many sequences side by side; ``litert``, faster for single steps of
            one sequence, which needs the extra ``litert``; or ``native``, the fastest for one sequence, with a
            fixed N, which runs the library of ``ntm-export --format native``. A library is a program: load only a
            library that you trust.

    Raises:
        ModelError: there is no such model, it is damaged or of another schema, or the backend or its file is missing.
        TypeError: ``model`` is no path, or another argument no whole number.
        ValueError: ``memory_locations``, ``batch_size`` or ``threads`` is too small, or there is no such backend.
    """
    from ntm.runtime.model import load as load_model  # noqa: PLC0415  (it imports NumPy)

    return load_model(model, memory_locations=memory_locations, batch_size=batch_size, threads=threads, backend=backend)


def evaluate(
    model: "Model | Path | None" = None,
    task: "Task | str | None" = None,
    sizes: "Sequence[Size] | None" = None,
    *,
    sequences: int = 100,
    memory_locations: int | None = None,
    seed: int = 0,
    threads: int = 1,
) -> "list[Score]":
    """Count the bits that a model gets wrong on fresh sequences of a task, and their cost.

    Args:
        model: a model, or the argument of ``load``.
        task: a ``ntm.tasks.Task``, or the text that ``ntm.tasks.find`` takes; by default the task of the training.
        sizes: e.g. ``[{"items": 6}, {"items": 20}]``; by default the evaluation sizes of the task.
        sequences: the number of sequences of each size.
        memory_locations: N; by default as many as the size needs, at least 128.
        seed: the seed of the sequences.
        threads: the batches that are computed at a time; at most one per core that the process may use.

    Returns:
        A score for each size: ``as_dict()`` has the figures.

    Raises:
        ModelError: there is no such model, or it cannot be run.
        TaskError: the model's task is not built in and none is given, or the task does not fit the model.
        TypeError: ``model``, ``task`` or ``sizes`` is of another type, or a number is no whole number.
        ValueError: a number is too small.
    """
    check_task(task)
    from ntm.runtime.evaluate import evaluate as evaluate_on  # noqa: PLC0415  (as the next one: it imports NumPy)
    from ntm.runtime.model import Model  # noqa: PLC0415

    network = model if isinstance(model, Model) else load(model)
    return evaluate_on(
        network,
        task,
        sizes,
        sequences=sequences,
        memory_locations=memory_locations,
        seed=seed,
        threads=threads,
    )


def check_task(task: object) -> None:
    """Refuse a value that is neither a task nor the name of a task.

    Raises:
        TypeError: it is something else.
    """
    from ntm.tasks import Task  # noqa: PLC0415  (it imports NumPy)

    if isinstance(task, type) and issubclass(task, Task):
        raise TypeError(f"task must be an object: {task.__name__}(), not {task.__name__}")
    if not isinstance(task, Task | str | None):
        raise TypeError(f"task must be a ntm.tasks.Task or the name of one, not {task!r}")
