"""What the pages say of the examples is so: every one is listed, and every block of code is of one, or runs."""

import concurrent.futures
import json
import multiprocessing
import pathlib
import re
import textwrap
from typing import Any

import numpy as np
import onnxruntime
import pytest

import ntm
from ntm.runtime import folder

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")}
PAGE = (ROOT / "docs" / "in_programs.md").read_text(encoding="utf-8")


def sources(block: str) -> set[str]:
    """The examples that a block of code was taken from."""
    indented = [textwrap.indent(block, indent) for indent in ("", " " * 4, " " * 8)]
    return {name for name, source in EXAMPLES.items() if any(text in source for text in indented)}


# What marks the blocks that run steps, by the file of the model that they need.
STEP_BLOCKS = {"step.tflite": 'backend="litert"', "known_answer.json": "known_answer.json"}


def test_every_example_is_listed_with_its_needs() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| \S.* \| \S.* \|$", page, re.MULTILINE)
    assert all(name == link for name, link in rows)
    others = [path.name for kind in ("ipynb", "c", "rs") for path in (ROOT / "examples").glob(f"*.{kind}")]
    assert sorted(name for name, _ in rows) == sorted([*EXAMPLES, *others])


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_says_how_to_run_it_and_what_it_needs(name: str) -> None:
    line = re.search(r"Run it.*?: ``python examples/(\w+\.py).*?``\. It needs \S", EXAMPLES[name])
    assert line
    assert line[1] == name


def test_the_page_shows_every_engine() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert {"with_dask.py", "with_ray.py", "with_spark.py", "http_server.py"} == set().union(*map(sources, blocks))


@pytest.mark.parametrize("file", ["step.tflite", "known_answer.json"])
def test_the_blocks_of_a_step_run(file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    if file == "step.tflite":
        pytest.importorskip("ai_edge_litert", reason="the backend litert needs ai-edge-litert")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if STEP_BLOCKS[file] in block]
    (tmp_path / "model").symlink_to(folder.find("copy-8bit"))
    monkeypatch.chdir(tmp_path)
    names = {"ntm": ntm, "np": np, "json": json, "onnxruntime": onnxruntime, "steps": np.zeros((3, 1, 8))}
    exec(block, names)  # noqa: S102
    assert names.keys() >= ({"y", "state"} if file == "step.tflite" else {"found"})


def test_every_other_block_of_the_page_runs() -> None:
    words = np.random.default_rng(0).integers(0, 2, (6, 4, 8), np.uint8)
    names: dict[str, Any] = {
        "concurrent": concurrent,
        "multiprocessing": multiprocessing,
        "batches": np.split(words, 3),
        "x": np.random.default_rng(1).integers(0, 2, (9, 1, 9)),
    }
    blocks = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if not sources(block)]
    blocks = [block for block in blocks if not any(mark in block for mark in STEP_BLOCKS.values())]
    copied = 0
    for block in blocks:
        names.pop("copies", None)
        exec(block, names)  # noqa: S102
        if "copies" in names:
            np.testing.assert_array_equal(np.concatenate(names["copies"]), words)
            copied += 1
    assert copied == 2  # by threads and by processes
    model, x = ntm.load(), names["x"]
    y, state = model.run(x)
    np.testing.assert_array_equal(names["y"], model.run(x, state)[0])
    assert [len(output) for output in names["outputs"]] == [5, 9, 2]
    np.testing.assert_allclose(names["outputs"][1], y[:, 0], atol=1e-5)
