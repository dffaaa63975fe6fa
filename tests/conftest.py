"""What the tests share: models without a training, and ntm-copy as a process."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ntm import commands, console
from ntm.runtime import onnx_file
from ntm.runtime.folder import DEFAULT, find
from ntm.runtime.metadata import FILES, STEP
from ntm.signals import ENDING

# Under nohup, or in the background, signals are ignored, and would be by the commands that the tests start. What has a
# handler, were it one that does nothing, is not handed on.
for _number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# The tests compile many small networks and run each of them for a few steps. So code that XLA does not optimise takes
# half as long in all; and threads cost more than they give.
_QUICKER = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
for _name, _value in _QUICKER.items():
    os.environ.setdefault(_name, _value)

_MAKE_TINY_MODEL = pathlib.Path(__file__).with_name("make_tiny_model.py")


@pytest.fixture
def default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes use XLA and threads as they do for a user."""
    for name in _QUICKER:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a model that copies bytes; it is not trained but wired."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([sys.executable, _MAKE_TINY_MODEL, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model_of_16_bits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same for 16-bit words."""
    folder = tmp_path_factory.mktemp("models") / "tiny16"
    subprocess.run([sys.executable, _MAKE_TINY_MODEL, folder, "16"], check=True)
    return folder


@pytest.fixture(scope="session")
def bundled_variables() -> dict[str, np.ndarray]:
    """What the bundled network has learned, by the names of its variables."""
    graph = onnx.load(find(DEFAULT) / FILES[STEP]).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


@pytest.fixture
def command(tiny_model: pathlib.Path) -> list[str]:
    """``ntm-copy`` with the tiny model, to be started."""
    return [sys.executable, "-c", "from ntm.commands import copy; copy()", "--model", str(tiny_model)]


@pytest.fixture
def ntm_copy(
    command: list[str],
    tiny_model: pathlib.Path,
    in_process: Callable[..., subprocess.CompletedProcess[Any]],
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``ntm-copy`` with the tiny model and these arguments to its end; from file to file in this process."""

    def run(*arguments: str | pathlib.Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if not options and "-o" in arguments and not {"-", "/dev/stdout"} & set(arguments):
            return in_process("ntm-copy", commands.copy, "--model", tiny_model, *arguments, text=False)
        defaults: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60}
        if "input" not in options:
            defaults["stdin"] = subprocess.DEVNULL
        completed: subprocess.CompletedProcess[bytes] = subprocess.run(
            [*command, *map(str, arguments)], check=False, **defaults | options
        )
        return completed

    return run


@pytest.fixture(scope="session")
def in_process() -> Callable[..., subprocess.CompletedProcess[Any]]:
    """Run a command in this process, which has imported TensorFlow already; an import takes more than most tests.

    What has to do with signals, with descriptors or with the imports needs a process of its own.
    """

    def run(
        name: str, main: Callable[[], None], *arguments: object, text: bool = True
    ) -> subprocess.CompletedProcess[Any]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        handlers = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGALRM)}
        with (
            mock.patch.object(sys, "argv", [name, *map(str, arguments)]),
            mock.patch.object(sys, "unraisablehook", sys.unraisablehook),
            mock.patch.object(console, "import_tensorflow"),
            mock.patch.dict(os.environ),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                with pytest.raises(SystemExit) as end:
                    main()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        printed: list[Any] = [stream.buffer.getvalue() for stream in (out, err)]
        if text:
            printed = [content.decode() for content in printed]
        return subprocess.CompletedProcess([name, *map(str, arguments)], int(end.value.code or 0), *printed)

    return run


@pytest.fixture
def edited_model(tiny_model: pathlib.Path, tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Copy the tiny model, with all of its files changed."""

    def edit(
        *,
        props: Mapping[str, str] | None = None,
        weights: Callable[[Any], Any] | None = None,
        change: Callable[[onnx.ModelProto], object] | None = None,
        first: Mapping[str, Any] | None = None,
    ) -> pathlib.Path:
        """Replace properties of the metadata, apply a function to what is learned, or change anything else.

        ``first`` is what tensors of the state hold before the first step, by name, at their first locations.
        """
        folder = tmp_path / "edited"
        shutil.copytree(tiny_model, folder)
        for path in folder.iterdir():
            model = onnx.load_model(path)
            if props is not None:
                onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | dict(props))
            if first is not None:
                state = json.loads(next(p.value for p in model.metadata_props if p.key == "state"))
                for name, numbers in first.items():
                    state[name]["first"] = numbers
                least = max(len(tensor["first"][0]) for tensor in state.values() if tensor["shape"][-1] == "N")
                changed_props = {"state": json.dumps(state), "least_locations": str(least)}
                onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | changed_props)
            if weights is not None:
                for tensor in model.graph.initializer:
                    if tensor.name in ("kernel", "bias"):
                        changed = weights(numpy_helper.to_array(tensor))
                        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
            if change is not None:
                change(model)
            path.write_bytes(onnx_file.sealed(model.SerializeToString()))
        return folder

    return edit
