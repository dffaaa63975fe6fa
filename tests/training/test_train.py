"""A training from beginning to end, by the Python API, and the run folder that it leaves behind."""

import dataclasses
import functools
import json
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.errors import FileError, RunError, TaskError
from ntm.tasks import BUILT_IN, Batch, Size, Task, find
from ntm.training import compilation, run
from ntm.training.recipes import configure
from ntm.training.run import RunConfig
from ntm.training.schedule import Check, Step
from ntm.training.train import train
from ntm.training.trainer import Trainer

pytestmark = pytest.mark.slow

COPY = find("copy", {"bits": 2})
PASSED, FAILED = Check(True, 0, 0.0, 0), Check(False, 7, 9.0, 0)


@dataclasses.dataclass(frozen=True)
class Echo(Task):
    """A task of a user's: repeat what was seen a step before."""

    channels: int  # which has no default

    training_sizes = {"length": range(4, 10)}  # noqa: RUF012

    @property
    def input_size(self) -> int:
        return self.channels

    output_size = input_size

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["length"], batch_size, self.channels)).astype(np.float32)
        return Batch(x, np.roll(x, 1, axis=0), np.ones(x.shape[:2], np.float32))


def figures(loss: float, wrong_bits: float) -> tuple[tf.Tensor, ...]:
    """What a training step returns."""
    return tf.constant(loss), tf.fill([8], wrong_bits), tf.ones([8])


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_training_returns_what_the_run_folder_holds(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    lines: list[dict[str, Any]] = []
    trained = train(COPY, tmp_path / "run", report=lines.append, **tiny)
    assert sorted(files(tmp_path / "run")) == ["checkpoint.npz", "config.json", "history.jsonl"]
    loaded = run.load_run(tmp_path / "run")
    assert trained.config == loaded.config
    assert trained.config == RunConfig("copy", {"bits": 2, "pattern": "random"}, *configure(COPY, options=tiny))
    assert trained.summary == loaded.summary
    assert trained.checkpoint_sha256 == loaded.checkpoint_sha256
    assert trained.summary["batches"] == 3
    assert trained.converged is trained.summary["converged"] is False
    for ours, theirs in zip(trained.network.trainable_variables, loaded.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    history = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in history] == lines
    assert [line["batches"] for line in lines] == [3]


def test_the_run_folder_is_needless(
    tiny: dict[str, Any], finished: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    trained = train(COPY, **tiny)
    assert list(empty.iterdir()) == []
    expected = run.load_run(finished)
    assert trained.config == expected.config
    for ours, theirs in zip(trained.network.trainable_variables, expected.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_task_is_given_by_its_name_or_as_an_object(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: figures(0.1, 1.0))  # what is learned does not matter here
    monkeypatch.setattr(Trainer, "check", lambda _: FAILED)
    for given in ("copy", find("copy")):
        trained = train(given, **tiny)
        assert (trained.config.task, trained.config.task_options) == ("copy", {"bits": 8, "pattern": "random"})
    own = train(Echo(2), tmp_path / "run", **tiny | {"sizes": {"length": (4, 5)}})
    assert (own.config.task, own.config.task_options) == ("Echo", {"channels": 2})
    assert (own.network.config.input_size, own.network.config.memory_locations) == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None, "run"), {}, RunError, "give a task to learn"),
        ((None,), {"resume": True}, RunError, "give the run folder to resume"),
        (
            ("cpoy", "run"),
            {},
            TaskError,
            f"there is no task 'cpoy': give one of {', '.join(BUILT_IN)}, or FILE.py:CLASS",
        ),
        (("copy", "run"), {"colour": 1}, RunError, "there is no option colour of the model ntm"),
        (("copy", "run"), {"shifts": 4}, RunError, "shifts must be odd, not 4"),
        (("copy", "run"), {"sizes": {"items": (1, 2)}}, RunError, "the task copy has no size items; its sizes: length"),
        (
            ("copy", "run"),
            {"sizes": {"length": (1, 3)}, "initial_weights": "learned", "train_locations": (9, 4)},
            RunError,
            "train_locations must be at least 5, as many as this network needs, not 4",
        ),
        (
            ("copy", "run"),
            {"sizes": {"length": (1, 3)}, "shifts": 5, "annealing_locations": (3,)},
            RunError,
            "annealing_locations must be at least 4, as many as this network needs, not 3",
        ),
        (
            ("copy", "run"),
            {"sizes": {"length": (1, 3)}, "shifts": 5, "train_locations": (3,)},
            RunError,
            "train_locations must be at least 4, as many as this network needs, not 3",
        ),
        (
            ("associative-recall", "run"),
            {"sizes": {"items": (1, 3)}},
            TaskError,
            "the task associative-recall, batch of items=1: ValueError: items must be at least 2, not 1",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str, tmp_path: pathlib.Path
) -> None:
    task, *output = arguments
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        train(task, *(tmp_path / name for name in output), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_knows_its_task_and_options(tiny: dict[str, Any], finished: pathlib.Path) -> None:
    before = files(finished)
    for task in (None, "copy", COPY):
        assert train(task, finished, resume=True).summary["batches"] == 3
        assert train(task, finished, resume=True, **tiny).summary["batches"] == 3
    lists: dict[str, Any] = {"sizes": {"length": [1, 2]}, "controller_sizes": [5]}
    assert train(None, finished, resume=True, **lists).summary["batches"] == 3
    assert files(finished) == before
    assert train(None, finished, resume=True, max_batches=5).summary["batches"] == 5
    assert run.load_config(finished).training.max_batches == 5


def test_a_run_of_a_task_that_has_gained_an_option_since_goes_on(finished: pathlib.Path) -> None:
    config = json.loads((finished / run.CONFIG).read_text())
    del config["task"]["options"]["pattern"]
    (finished / run.CONFIG).write_text(json.dumps(config))
    batches = run.load_run(finished).summary["batches"]
    assert train(None, finished, resume=True, max_batches=batches + 1).summary["batches"] == batches + 1


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            find("copy"),
            {},
            'cannot resume RUN: it was trained on copy with bits=2, pattern="random", '
            'not with bits=8, pattern="random"',
        ),
        ("repeat-copy", {}, "cannot resume RUN: it was trained on copy, not on repeat-copy"),
        (Echo(2), {}, "cannot resume RUN: it was trained on copy, not on Echo"),
        (None, {"seed": 4}, "--resume keeps the options of RUN: seed is 3, not 4"),
        (None, {"goal": 1.0}, "--resume keeps the options of RUN: goal is 0.0, not 1.0"),
        (None, {"controller_sizes": (5, 5)}, "--resume keeps the options of RUN: controller_sizes is (5,), not (5, 5)"),
        (None, {"colour": 1}, "there is no option colour"),
        (
            None,
            {"sizes": {"length": (1, 3)}},
            "--resume keeps the options of RUN: sizes is {'length': (1, 2)}, not {'length': (1, 3)}",
        ),
    ],
    ids=str,
)
def test_a_contradiction_to_the_resumed_run_is_refused(
    task: Task | str | None, options: dict[str, Any], message: str, finished: pathlib.Path
) -> None:
    before = files(finished)
    with pytest.raises(RunError, match=f"^{re.escape(message.replace('RUN', str(finished)))}$"):
        train(task, finished, resume=True, **options)
    assert files(finished) == before


def _edited(folder: pathlib.Path, edit: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> None:
    """Change the summary and the state in the checkpoint of a run."""
    state, summary = run.load_state(folder)
    variables = {v.name.removesuffix(":0"): v.numpy() for v in run.load_run(folder).network.variables}
    edit(summary, state)
    run.save_checkpoint(folder, variables, state, summary)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda summary, _: summary.pop("progress"), "'progress'"),
        (lambda summary, _: summary.pop("seconds"), "'seconds'"),
        (lambda summary, _: summary["progress"].update(mood=1), "this release knows no 'mood' of 'progress'"),
        (lambda summary, _: summary["progress"].update(batches="3"), 'batches must be a whole number, not "3"'),
        (lambda summary, _: summary["progress"].update(loss=None), "loss must be a number, not null"),
        (lambda summary, _: summary["progress"].update(lesson=1), "its progress is not one of this training"),
        (lambda summary, _: summary["progress"].update(batches=-1), "its progress is not one of this training"),
        (lambda _, state: state.pop("training/0"), "its variables are others"),
        (lambda _, state: state.update({"training/0": np.zeros([2, 2], np.float32)}), "its variables are others"),
        (lambda _, state: state.update({"training/99": np.zeros(1)}), "its variables are others"),
        (lambda _, state: state.update(steps=np.zeros([2, 3])), "missing 1 required positional argument"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_a_line(
    edit: Callable[[dict[str, Any], dict[str, np.ndarray]], object], message: str, finished: pathlib.Path
) -> None:
    _edited(finished, edit)
    before = files(finished)
    with pytest.raises(RunError) as error:
        train(None, finished, resume=True, max_batches=5)
    start = f"cannot resume {finished}: checkpoint.npz does not fit config.json or this release: "
    assert str(error.value).startswith(start)
    assert message in str(error.value)
    assert files(finished) == before


def test_a_checkpoint_of_an_older_release_is_resumed(finished: pathlib.Path) -> None:
    def age(summary: dict[str, Any], state: dict[str, np.ndarray]) -> None:
        del state["steps"], summary["right_up_to"], summary["beyond_training"]

    _edited(finished, age)
    assert train(None, finished, resume=True, max_batches=5).summary["batches"] == 5


def test_a_run_on_a_task_of_the_users_is_resumed_with_the_task(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    options = tiny | {"sizes": {"length": (4, 5)}}
    train(Echo(2), tmp_path, **options)
    message = f"cannot resume {tmp_path}: its task Echo is not built in: give --task FILE.py:Echo"
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        train(None, tmp_path, resume=True)
    with pytest.raises(RunError, match=r"it was trained on Echo with channels=2, not with channels=3$"):
        train(Echo(3), tmp_path, resume=True)
    assert train(Echo(2), tmp_path, resume=True, max_batches=4).summary["batches"] == 4


def test_an_interrupt_ends_training_after_the_batch_and_nothing_is_lost(
    tiny: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    asked = iter([False, False, False, True])
    summary = train(COPY, tmp_path, interrupted=lambda: next(asked), **tiny | {"max_batches": 99}).summary
    assert (summary["batches"], summary["converged"]) == (3, False)
    resumed = train(None, tmp_path, resume=True, max_batches=6)
    whole = train(COPY, **tiny | {"max_batches": 6})
    for ours, theirs in zip(resumed.network.trainable_variables, whole.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_line_that_spans_interrupts_tells_of_all_its_batches(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """Interrupts after 1, 3, 5 and 7 batches: two in the first line, one at its end, and one in the second."""
    options: dict[str, Any] = tiny | {"max_batches": 12, "report_batches": 5}
    whole: list[dict[str, Any]] = []
    train(COPY, report=whole.append, **options)
    before = 0
    for batches in (1, 3, 5, 7):
        asked = iter([*[False] * (batches - before), True])
        interrupted = train(COPY, tmp_path, resume=before > 0, interrupted=functools.partial(next, asked), **options)
        assert interrupted.summary["batches"] == batches
        before = batches
    train(None, tmp_path, resume=True)
    history = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) | {"seconds": 0} for line in history] == [line | {"seconds": 0} for line in whole]


def test_an_interrupt_before_the_first_batch_leaves_no_folder(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match="is not a run of ntm-train"):
        train(COPY, tmp_path / "run", interrupted=lambda: True, **tiny)
    assert list(tmp_path.iterdir()) == []


def test_history_tells_of_checks_and_a_finished_run_is_not_trained_on(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: figures(0.1, 0.0))
    monkeypatch.setattr(Trainer, "check", lambda _: Check(True, 0, 0.25, 0))
    lines: list[dict[str, Any]] = []
    options = tiny | {"max_batches": 20_000, "annealing_batches": 50}
    trained = train(COPY, tmp_path, report=lines.append, **options)
    checked = {line["batches"]: line["check_cost"] for line in lines if line.get("check_wrong_bits") == 0}
    assert checked == {250: 0.25}
    assert [line["learning_rate"] < 2e-3 for line in lines] == [line["batches"] >= 200 for line in lines]
    assert trained.converged
    assert trained.summary["sequences_to_converge"] == 1_600
    assert trained.summary["content_addressing_off"]
    assert not run.load_run(tmp_path).network.content_addressing
    count = len(lines)
    again = train(None, tmp_path, resume=True, report=lines.append)
    assert (again.summary, len(lines)) == (trained.summary, count)


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_network_that_fails_the_last_checks_learns_on_or_restarts(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, restarts: int
) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: figures(0.1, 0.0))
    checks = iter([PASSED, FAILED, FAILED, PASSED, PASSED])  # to anneal, twice at the end of it, and both again
    monkeypatch.setattr(Trainer, "check", lambda _: next(checks))
    lines: list[dict[str, Any]] = []
    options = {"max_batches": 20_000, "annealing_batches": 50, "turn_content_off": False, "content_restarts": restarts}
    trained = train(COPY, tmp_path, report=lines.append, **tiny | options)
    assert {line["batches"]: line["check_wrong_bits"] for line in lines if "check_wrong_bits" in line} == {
        250: 7,
        300: 7,
        550: 0,
    }
    assert [line["learning_rate"] for line in lines if 325 <= line["batches"] <= 475] == [2e-3] * 7
    assert (trained.converged, trained.summary["batches"], trained.summary["restarts"]) == (True, 550, restarts)


def test_what_was_reached_before_a_restart_does_not_count(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """The network converges, fails the last check and restarts; the history tells of it, the summary does not."""
    wrong = iter([0.0] * 200 + [1.0] * 10_000)
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: figures(0.2, 0.0))
    advance = Trainer._advance

    def advance_with_wrong_bits(self: Trainer, step: Step, loss: float) -> None:
        advance(self, step._replace(wrong_bits=next(wrong)), loss)

    monkeypatch.setattr(Trainer, "_advance", advance_with_wrong_bits)
    checks = iter([PASSED] + [FAILED] * 1_000)
    monkeypatch.setattr(Trainer, "check", lambda _: next(checks))
    lines: list[dict[str, Any]] = []
    options = tiny | {"annealing_batches": 50, "max_batches": 600, "unsolved_batches": 210}
    summary = train(COPY, tmp_path, report=lines.append, **options).summary
    assert any(line["learning_rate"] < 2e-3 for line in lines)
    assert [line["restarts"] for line in lines][:: len(lines) - 1] == [0, summary["restarts"]]
    assert summary["restarts"] > 0
    assert (summary["converged"], summary["sequences_to_converge"]) == (False, None)
    history = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in history] == lines


def test_nan_is_bounded_by_the_limit_and_never_written(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: figures(math.nan, 9.0))
    summary = train(COPY, tmp_path, **tiny | {"max_batches": 30}).summary
    assert (summary["converged"], summary["batches"], summary["restarts"]) == (False, 30, 30)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["loss"] for line in lines] == [None, None]


def test_a_cost_of_nan_is_never_written(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """As a check finds it where the last step has made the variables NaN."""
    monkeypatch.setattr(Trainer, "check", lambda _: Check(False, 7, math.nan, 0))
    trained = train(COPY, tmp_path, **tiny)
    assert trained.summary["check_cost"] is None
    line = json.loads((tmp_path / "history.jsonl").read_text(), parse_constant=pytest.fail)
    assert (line["check_wrong_bits"], line["check_cost"]) == (7, None)


def test_an_exhausted_memory_leaves_nothing(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def exhaust(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(Trainer, "train", exhaust)
    with pytest.raises(MemoryError):
        train(COPY, tmp_path / "run", **tiny)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("failures", "goes_on"), [(1, True), (2, False)])
def test_a_full_disk_of_the_cache_is_no_exhausted_memory(
    tiny: dict[str, Any], failures: int, goes_on: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(compilation, "_folder", tmp_path)
    step, failed = Trainer.train, iter([True] * failures)
    message = f"{tmp_path}/xla_compile_cache__1.pb; No space left on device"
    (tmp_path / "xla_compile_cache__0.pb").touch()

    def fail(trainer: Trainer) -> Step:
        if next(failed, False):
            raise tf.errors.ResourceExhaustedError(None, None, message)
        return step(trainer)

    monkeypatch.setattr(Trainer, "train", fail)
    if goes_on:
        assert train(COPY, tmp_path / "run", **tiny).summary["batches"] == 3
    else:
        with pytest.raises(FileError, match=f"^cannot use the cache of compiled trainings: {re.escape(message)}$"):
            train(COPY, tmp_path / "run", **tiny)
        assert not (tmp_path / "run").exists()
    assert not (tmp_path / "xla_compile_cache__0.pb").exists()


def test_a_training_that_does_not_fit_the_memory_is_not_tried(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    there_is = {"SC_PAGE_SIZE": 1 << 12, "SC_PHYS_PAGES": 1 << 21}  # 8 GiB
    monkeypatch.setattr("os.sysconf", there_is.__getitem__)
    with pytest.raises(MemoryError):
        train(COPY, tmp_path / "run", **tiny | {"memory_locations": 1 << 20, "batch_size": 1 << 16})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", [{}, {"memory_locations": 4}])
@pytest.mark.parametrize("least", [1, 999_999_999])
def test_of_a_huge_size_no_sequence_is_drawn(
    tiny: dict[str, Any], own: dict[str, Any], least: int, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    drawn: list[int] = []

    class Watched(Echo):
        name = "watched"

        def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
            drawn.append(size["length"])
            if size["length"] % 2 and size["length"] > 9:
                raise ValueError("odd")
            return super().batch(rng, batch_size, size)

    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1 << 12, "SC_PHYS_PAGES": 1 << 16}.__getitem__)  # 256 MiB
    with pytest.raises(MemoryError):
        train(Watched(2), tmp_path / "run", **tiny | own | {"sizes": {"length": (least, 999_999_999)}})
    assert 1_000 < max(drawn) < 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_trained_further_as_a_new_run(of_three_batches: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = run.load_run(of_three_batches)
    options: dict[str, Any] = {"sizes": {"length": (1, 4)}, "learning_rate": 1e-4, "max_batches": 1, "xla": False}
    trained = train(COPY, tmp_path / "run", initial=of_three_batches, **options)
    network, training = trained.config.network, trained.config.training
    assert dataclasses.asdict(network) == dataclasses.asdict(source.config.network) | {"memory_locations": 6}
    assert training.ranges == {"length": range(1, 5)}
    assert trained.summary["from_checkpoint_sha256"] == source.checkpoint_sha256
    for ours, theirs in zip(trained.network.trainable_variables, source.network.trainable_variables, strict=True):
        assert 0 < np.abs(ours - theirs).max() < 1e-3
    again = train(COPY, initial=source, **options)
    for ours, theirs in zip(trained.network.variables, again.network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    resumed = train(None, tmp_path / "run", resume=True, max_batches=2)
    assert resumed.summary["from_checkpoint_sha256"] == source.checkpoint_sha256


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            COPY,
            {"controller_sizes": (6,)},
            r"^controller_sizes is that of the network to begin with, \(5,\), not \(6,\)$",
        ),
        (find("copy"), {}, "^the task copy has 9 inputs, and the network to begin with 3$"),
        (None, {"resume": True}, "^a resumed run goes on with its own network"),
    ],
)
def test_a_network_to_begin_with_has_to_fit(
    task: Task | None, options: dict[str, Any], message: str, of_three_batches: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises((RunError, TaskError), match=message):
        train(task, tmp_path / "run", initial=of_three_batches, **options)
    assert list(tmp_path.iterdir()) == []
