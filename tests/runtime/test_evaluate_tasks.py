"""The task that is evaluated: the model's, another one that fits, or the user's."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import ntm
from ntm.runtime.evaluate import Case, Score, evaluate, run_case, task_of
from ntm.runtime.session import Floats
from ntm.tasks import Batch, Copy, RepeatCopy, Size, Task


@dataclasses.dataclass(frozen=True)
class Inverse(Task):
    """Output at each step the opposite of the first numbers of the input."""

    turns: int = 1

    name = "inverse"
    input_size = 9
    output_size = 8
    training_sizes: ClassVar[dict[str, range]] = {"steps": range(2, 5)}

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["steps"], batch_size, 9)).astype(np.float32)
        return Batch(x, 1 - x[:, :, :8], np.ones(x.shape[:2], np.float32))


def test_a_task_of_the_user(tiny_model: pathlib.Path) -> None:
    """Its sizes are those that the task says, and N is at least that of the paper."""
    scores = evaluate(ntm.load(tiny_model), Inverse(), sequences=4)
    assert [score.case for score in scores] == [Case({"steps": 2}, 128, 4, 0), Case({"steps": 4}, 128, 4, 0)]
    assert all(score.wrong_bits.any() for score in scores)


def test_the_task_of_the_model_with_its_own_options(
    tiny_model_of_16_bits: pathlib.Path, edited_model: Callable[..., pathlib.Path]
) -> None:
    metadata = ntm.load(tiny_model_of_16_bits).metadata
    assert task_of(metadata, None) == task_of(metadata, "copy") == Copy(bits=16)
    assert task_of(metadata, None, {"pattern": "ones"}) == Copy(bits=16, pattern="ones")
    assert task_of(metadata, "copy", {"pattern": "ones"}) == Copy(bits=16, pattern="ones")
    assert task_of(metadata, Copy(bits=16, pattern="text")) == Copy(bits=16, pattern="text")
    sparse = ntm.load(edited_model(props={"task": '{"name": "copy", "options": {"pattern": "sparse"}}'})).metadata
    assert task_of(sparse, None) == Copy(pattern="sparse")
    assert task_of(sparse, "copy", {"pattern": "ones"}) == Copy(pattern="ones")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("repeat-copy", {}, "the task repeat-copy has 10 inputs, and the model tiny 9"),
        (RepeatCopy(), {}, "the task repeat-copy has 10 inputs, and the model tiny 9"),
        (None, {"bits": 7}, "the task copy has 8 inputs, and the model tiny 9"),
        ("associative-recall", {"bits": 7}, "the task associative-recall has 7 outputs, and the model tiny 8"),
        (None, {"size": 7}, "the task copy has no option 'size'"),
        (None, {"pattern": "noise"}, "pattern must be one of "),
        ("recall", {}, "there is no task 'recall'"),
        ("no.py:Task", {}, "there is no file no.py"),
    ],
    ids=str,
)
def test_a_task_that_does_not_fit_the_model_is_refused(
    tiny_model: pathlib.Path, given: Task | str | None, options: dict[str, Any], message: str
) -> None:
    model = ntm.load(tiny_model)
    with pytest.raises(ntm.TaskError) as refused:
        task_of(model.metadata, given, options)
    assert message in str(refused.value)
    if not options:
        with pytest.raises(ntm.TaskError):
            evaluate(model, given)


def test_another_task_fits_if_its_sequences_are_of_the_sizes_of_the_model(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    assert task_of(model.metadata, "repeat-copy", {"bits": 7}) == RepeatCopy(bits=7)
    (score,) = evaluate(model, RepeatCopy(bits=7), [{"length": 3, "repeats": 2}], sequences=2)
    assert score.worst.y.shape == (11, 8)
    assert score.wrong_bits.all()


EVIL = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
from ntm.tasks import Copy as Evil
"""


@pytest.mark.parametrize("name", ["evil.py:Evil", "{folder}/evil.py:Evil", "evil:Evil", "evil", "Evil"])
def test_a_model_file_never_makes_a_program_run(
    edited_model: Callable[..., pathlib.Path],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Not even if it names a program as its task; the user who names the same one runs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    pathlib.Path("evil.py").write_text(EVIL)
    name = name.format(folder=tmp_path)
    model = ntm.load(edited_model(props={"task": f'{{"name": "{name}", "options": {{}}}}'}))
    assert model.metadata.task_name == name
    for use in (
        lambda: evaluate(model),
        lambda: task_of(model.metadata, None, {"bits": 8}),
        lambda: evaluate(model, name if ".py:" not in name else "Evil"),
        lambda: model.copy(np.zeros((1, 1, 8), np.uint8)),
    ):
        with pytest.raises((ntm.TaskError, ntm.ModelError)):
            use()
    assert not pathlib.Path("ran").exists()
    evaluate(model, "evil.py:Evil", [{"length": 3}], sequences=1)
    assert pathlib.Path("ran").exists()


def test_a_task_without_sizes_to_evaluate(tiny_model: pathlib.Path) -> None:
    kind: type[Task] = dataclasses.make_dataclass(
        "Sizeless", [], bases=(Inverse,), namespace={"evaluation_sizes": ()}, frozen=True
    )
    with pytest.raises(ntm.TaskError, match=r"^the task inverse has no evaluation_sizes: give a size$"):
        evaluate(ntm.load(tiny_model), kind())
    assert len(evaluate(ntm.load(tiny_model), kind(), [{"steps": 3}], sequences=2)) == 1


@dataclasses.dataclass(frozen=True)
class Fragile(Inverse):
    """An Inverse of which a part is broken."""

    broken: str = ""

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        if self.broken == "batch" and size["steps"] > 4:
            raise RuntimeError("not so long")
        return super().batch(rng, batch_size, size)

    def optimal(self, batch: Batch) -> Floats | None:
        if self.broken == "optimal":
            raise RuntimeError("no idea")
        if self.broken == "optimal's shape" and len(batch.x) == 9:
            return batch.target[:, :, :3]
        return None

    def memory_locations(self, size: Size) -> int:
        if self.broken == "memory_locations" and size["steps"] > 4:
            raise RuntimeError("too many")
        return super().memory_locations(size)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("batch", "the task inverse, batch of steps=9: RuntimeError: not so long"),
        ("optimal", "the task inverse, optimal: RuntimeError: no idea"),
        ("optimal's shape", "the task inverse, optimal: ValueError: the shape must be (9, 3, 8), not (9, 3, 3)"),
        ("memory_locations", "the task inverse, memory_locations: RuntimeError: too many"),
    ],
)
def test_the_error_of_a_task_says_whose_it_is(tiny_model: pathlib.Path, broken: str, message: str) -> None:
    with pytest.raises(ntm.TaskError) as error:
        evaluate(ntm.load(tiny_model), Fragile(broken=broken), [{"steps": 9}], sequences=3)
    assert str(error.value) == message


def test_a_score_is_of_all_sequences(tiny_model: pathlib.Path) -> None:
    """The batches' scores are joined in order, with the first worst sequence of all."""
    model = ntm.load(tiny_model, batch_size=3)
    score = run_case(model, Inverse(), Case({"steps": 4}, 8, 10), threads=2)
    assert isinstance(score, Score)
    assert len(score.wrong_bits) == len(score.cost) == 10
    assert score.worst.wrong_bits == score.wrong_bits.max()
