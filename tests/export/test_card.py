"""The model card: the task as it is encoded, an example that a program can check itself with, tensors and numbers."""

import json
import pathlib

import numpy as np
import pytest

from ntm.export import card
from ntm.runtime.metadata import StateTensor
from ntm.tasks import Copy
from ntm.training.run import load_run

pytestmark = pytest.mark.slow


def test_card_tells_how_to_run_it(exported: pathlib.Path, run: pathlib.Path) -> None:
    text = (exported / "card.md").read_text()
    assert "| `memory` | `[B, 6, N]` | | `next_memory` | `[B, 6, N]` |" in text
    assert "|  | | | `adds` | `[B, 1, 6]` |" in text
    assert load_run(run).checkpoint_sha256 in text
    for graph in ("step.onnx", "unrolled.onnx", "batched.onnx", "savedmodel", "step.tflite", "triton step"):
        assert graph in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### ONNX",
        "### SavedModel",
        "### TF-Lite",
        "### Triton",
        "### A page for the browser",
        "### Which file runs where",
    ]
    assert "| memory | each of the N locations holds 6 times 1e-06 |" in text
    assert "1. Choose N, at least 2; a sequence of length=20 needs 22." in text


def test_card_tells_the_shapes_of_every_format(exported: pathlib.Path) -> None:
    """I is 6, O is 5, and U is 8."""
    text = " ".join((exported / "card.md").read_text().split())
    for onnx in ("x is `[8, B, 6]` and y is `[8, B, 5]`", "`batched.onnx` has the same form and 11 steps"):
        assert onnx in text
    for saved_model in ("float32 `[B, T, 6]`", "y, float32 `[B, T, 5]`", "[[1.0, 0.0, 0.0, 0.0, 0.0, 0.0],"):
        assert saved_model in text
    for triton in ("x `[8, B, 6]` and y `[8, B, 5]`", '"shape": [1, 6]', '"data": [0, 0, 0, 0, 0, 0]'):
        assert triton in text


def test_card_tells_the_order_of_the_outputs_and_which_file_runs_where(exported: pathlib.Path) -> None:
    text = " ".join((exported / "card.md").read_text(encoding="utf-8").split())
    assert "Take them by name:" in text
    assert "in alphabetical order, from 0: `adds`, `next_memory`, `next_reads`, `next_weights`, `y`." in text
    table = text.partition("### Which file runs where")[2].partition("##")[0]
    rows = {row.split("`")[1]: row for row in table.split(" | | ") if "`" in row.partition("|")[0]}
    assert set(rows) >= {"step.onnx", "unrolled.onnx", "batched.onnx", "step.tflite"}
    for runtime in ("onnxruntime", "onnxruntime-web (WASM)", "tract", "MNN", "tinygrad"):
        assert runtime in rows["step.onnx"]
    assert "MNN" not in rows["unrolled.onnx"]
    assert "Do not run them in its WebGPU" in text


def test_card_tells_what_the_task_is_and_what_was_compared(exported: pathlib.Path) -> None:
    text = (exported / "card.md").read_text()
    assert "trained on the task `copy`." in text
    assert Copy.__doc__ is not None
    for line in Copy.__doc__.splitlines():
        assert line.strip() in text
    assert 'Options of this model: bits = 5, pattern = "random".' in text
    assert "A sequence of length=3, with which a program can check itself." in text
    assert "over random sequences of length=1 and length=20. A difference\nmay be 1e-05 at most" in text


def test_every_section_is_there_once(exported: pathlib.Path) -> None:
    lines = (exported / "card.md").read_text().splitlines()
    assert [line for line in lines if line.startswith(("# ", "## "))] == [
        "# tiny-copy",
        "## The task",
        "## How to run it",
        "## Example",
        "## Known answer",
        "## Agreement with TensorFlow",
        "## Configuration",
        "## Training",
    ]
    assert lines.count("```") * 2 == sum(line.startswith("```") for line in lines)  # each block is closed


def test_card_tells_learned_numbers_to_the_last_bit() -> None:
    learned = np.array([0.1234567, 1 / 3], np.float32)
    of_one, of_both = (float(learned[0]),), (float(learned[0]), float(learned[1]))
    state = {
        "memory": StateTensor((1, "N"), ((),), of_one),
        "weights": StateTensor((1, "N"), ((1.0, 0.0),), (0.0,)),
        "reads": StateTensor((1, 2), (of_both,)),
    }
    rows = card._initial_state(state)
    assert "| memory | each of the N locations holds 1 times 0.1234567 |" in rows
    told = json.loads(rows.rpartition("reads of head 0 | ")[2].removesuffix(" |"))
    assert np.array_equal(np.array(told, np.float32), learned)


def test_card_tells_the_state_of_every_kind() -> None:
    state = {
        "memory": StateTensor((1, "N"), ((0.5, 0.25),), (1.0,)),
        "weights": StateTensor((2, "N"), ((), ()), "1/N"),
        "reads": StateTensor((1, 1), ((0.0,),)),
        "hidden": StateTensor((3,), (0.0, 0.0, 0.0)),
    }
    assert card._initial_state(state).splitlines() == [
        "| memory | its first 2 locations hold the vectors of `state` in the metadata; each of the others holds "
        "1 times 1.0 |",
        "| weights | 1/N everywhere |",
        "| reads of head 0 | 1 times 0.0 |",
        "| hidden | 3 times 0.0 |",
    ]
