"""The example of an own task, and the one in the documentation, work as they stand."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from ntm.tasks import find

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.usefixtures("default_settings")
@pytest.mark.slow
def test_the_example_learns_its_task_and_serves_it(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "own_task.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    converged, *evaluated, marked, output = done.stdout.splitlines()
    assert re.fullmatch(r"converged: True, after \d+ sequences", converged)
    for length, line in zip((10, 100), evaluated, strict=True):
        found = re.fullmatch(rf"lists of {length}: (\d+) wrong bits in 1000 lists", line)
        assert found, line
        # Every kind of processor rounds otherwise and trains another network, which may err in a rare list.
        assert int(found[1]) <= 8  # of 4,000
    assert marked.removeprefix("the marked number: ") == output.removeprefix("the output:        ")
    assert not list(tmp_path.iterdir())


def test_the_task_in_the_documentation_is_a_task(tmp_path: pathlib.Path) -> None:
    page = (ROOT / "docs" / "own_task.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "reverse.py").write_text(code, encoding="utf-8")
    assert len(code.splitlines()) <= 60
    task = find(f"{tmp_path / 'reverse.py'}:Reverse", {"bits": 4})
    x, target, mask = task.batch(np.random.default_rng(0), 2, {"length": 3})
    np.testing.assert_array_equal(target[3:], x[:3, :, :4][::-1])
    np.testing.assert_array_equal(x[:, 0, 4], [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(mask[:, 0], x[:, 0, 4])
