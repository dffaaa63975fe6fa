"""What ``import ntm.tasks`` loads, in a process of its own."""

import json
import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "tf2onnx", "onnx", "onnxruntime"}


def _loaded(code: str) -> set[str]:
    """The top-level modules that are loaded after a program."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "code", ["import ntm.tasks", "from ntm.tasks import BUILT_IN, find\nlist(map(find, BUILT_IN))"]
)
def test_tasks_are_numpy_alone(code: str) -> None:
    loaded = _loaded(code)
    assert {"ntm", "numpy"} <= loaded
    assert not HEAVY & loaded


def test_what_is_loaded_is_seen() -> None:
    assert _loaded("import onnx") & HEAVY == {"onnx"}
