"""Run the files of a model in other runtimes, and print which runtime is right for which file; Markdown.

Three networks for the copy task are exported: one without content addressing, one with it, and one of two read and two
write heads. Each file copies 200 random words with N = 256 in each runtime, which knows of it what the model card says.
A runtime gets a virtual environment of its own under ``--environments``, and is left out if that cannot be made. The
table compares y with that of TensorFlow in float64: the output bits that differ, and the largest difference.

The exit code is 1 if ``step.onnx`` is wrong anywhere without an error, or if a file is not right where the model cards
say so (``ntm.export.runtimes``).
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from programs import train

import ntm
from ntm import console, text
from ntm.export.runtimes import RIGHT
from ntm.runtime import folder as model_folder
from ntm.tasks import Copy

LENGTH, LOCATIONS, SECONDS = 200, 256, 300
FOLDER = pathlib.Path(__file__).parent
NETWORKS: dict[str, tuple[str, ...]] = {
    "location": (),
    "content": ("--keep-content",),
    "heads": ("--read-heads", "2", "--write-heads", "2"),
}
FIXED = f"fixed/1x{LOCATIONS}"
STEP, FIXED_STEP = "step.onnx", f"{FIXED}/step.onnx"
ONNX = (STEP, "unrolled.onnx", "sparse.onnx", "batched.onnx", FIXED_STEP)
TFLITE = tuple(f"{folder}step{kind}.tflite" for kind in ("", "_dynamic_range") for folder in ("", f"{FIXED}/"))


class Runtime(NamedTuple):
    """A runtime of others.

    Attributes:
        program: a name of ``portability_runtimes.RUNTIMES``, or a package of npm.
        packages: what is installed; the first is the one whose version is shown.
        files: of a model, those that it may run.
    """

    program: str
    packages: tuple[str, ...]
    files: tuple[str, ...] = ONNX


RUNTIMES = {
    "onnxruntime": Runtime("onnxruntime", ("onnxruntime",)),
    "onnxruntime-node": Runtime("onnxruntime-node", ("onnxruntime-node",)),
    "onnxruntime-web (WASM)": Runtime("onnxruntime-web", ("onnxruntime-web",)),
    "ONNX reference evaluator": Runtime("reference", ("onnx",)),
    "OpenVINO": Runtime("openvino", ("openvino",)),
    "OpenVINO, float32 hint": Runtime("openvino_in_float32", ("openvino",)),
    "tract": Runtime("tract", ("tract",)),
    "IREE": Runtime("iree", ("iree-base-compiler[onnx]", "iree-base-runtime")),
    "TVM": Runtime("tvm", ("apache-tvm", "onnx")),
    "tinygrad": Runtime("tinygrad", ("tinygrad", "ziglang")),
    "MNN": Runtime("mnn", ("MNN",)),
    "onnx2torch": Runtime("onnx2torch", ("onnx2torch", "torch", "setuptools<81")),
    "onnx2tf": Runtime("onnx2tf", ("onnx2tf", "tensorflow", "tf-keras", "ai-edge-litert", "psutil")),
    "LiteRT": Runtime("litert", ("ai-edge-litert",), TFLITE),
    "tflite-runtime": Runtime("tflite_runtime", ("tflite-runtime", "numpy<2"), TFLITE),
    "Core ML Tools (conversion)": Runtime("coreml", ("coremltools", "tensorflow"), (f"{FIXED}/savedmodel/1",)),
}


class Result(NamedTuple):
    """What a runtime made of a file, over the networks.

    Attributes:
        right: the networks that it ran, or converted.
        wrong_bits: those of all networks together.
        difference: the largest of y.
        microseconds: of a step of the first network, the least.
        refusal: why a network did not run.
    """

    right: int
    wrong_bits: int
    difference: float
    microseconds: float
    refusal: str


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=pathlib.Path, metavar="DIR", help="kept for the next time")
    parser.add_argument("--runs", type=pathlib.Path, metavar="DIR", help="runs of the networks, trained if missing")
    parser.add_argument("--seed", type=int, default=1, help="of the training (default: %(default)s)")
    parser.add_argument("--runtimes", nargs="+", metavar="NAME", choices=list(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--files", nargs="+", metavar="FILE", help="of a model (default: all)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        environments, runs = arguments.environments or folder / "environments", arguments.runs or folder / "runs"
        console.import_tensorflow()
        tasks = {}
        for name, options in NETWORKS.items():
            train(runs / name, arguments.seed, options)
            model = runs / f"{name}-model"
            if not model.exists():
                ntm.export(runs / name, model, ["onnx", "tflite", "savedmodel"], fixed=[(1, LOCATIONS)])
            tasks[model] = _task(runs / name)
        rows, good = [], True
        for name in arguments.runtimes:
            runtime = RUNTIMES[name]
            version = _install(runtime, environments)
            if version is None:
                rows.append([name, "", "", "", "", "", "", "cannot be installed here"])
                continue
            for file in runtime.files:
                if not arguments.files or file in arguments.files:
                    found = _measure(runtime, environments, file, tasks, folder)
                    good &= _as_told(name, file, found)
                    rows.append([name, version, file, *_cells(found)])
                    print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["runtime", "version", "file", "networks", "wrong bits", "largest difference", "µs a step", "refusal"]
    print(f"{platform.machine()}, one thread where a runtime can be asked for it\n")
    print(text.table([header, *rows], left=3))
    return console.OK if good else console.WRONG


def _as_told(runtime: str, file: str, found: Result) -> bool:
    """Whether a runtime is right where the cards say so; or at least, not wrong without an error where it matters."""
    if runtime in RIGHT.get(pathlib.Path(file).name, ()):
        return found.right == len(NETWORKS) and found.wrong_bits == 0
    return found.wrong_bits == 0 or file not in (STEP, FIXED_STEP)


def _task(run: pathlib.Path) -> tuple[dict[str, Any], np.ndarray]:
    """What a program knows from the model card, and y of TensorFlow, ``[T, O]``."""
    from ntm.export.parity import write_down  # noqa: PLC0415  (as the next ones: it imports TensorFlow)
    from ntm.export.step import Sizes  # noqa: PLC0415
    from ntm.training.run import load_run  # noqa: PLC0415

    task, size = Copy(), {"length": LENGTH}
    steps = write_down(load_run(run).network, task, size, range(task.steps(size)), Sizes(1, LOCATIONS))
    first = {name: tensor for name, tensor in steps[0][0].items() if name != "x"}
    state = {name: {"shape": list(tensor.shape), "data": tensor.ravel().tolist()} for name, tensor in first.items()}
    x, y = (np.concatenate([tensors[i][name] for tensors in steps]) for i, name in enumerate("xy"))
    return {"state": state, "x": x.tolist()}, y


def _install(runtime: Runtime, environments: pathlib.Path) -> str | None:
    """Make the environment of a runtime, unless it is there; returns the version, or None if it cannot be made."""
    folder, (package, *others) = environments / runtime.packages[0].partition("[")[0], runtime.packages
    name = package.partition("[")[0]
    if runtime.program == name and runtime.program.startswith("onnxruntime-"):
        installed = folder / "node_modules" / name / "package.json"
        if not installed.exists():
            folder.mkdir(parents=True, exist_ok=True)
            # Its script fetches what only a GPU needs.
            if not _succeeds(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", package], cwd=folder):
                return None
        return str(json.loads(installed.read_text(encoding="utf-8"))["version"])
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        if not _succeeds([python, "-m", "pip", "install", "--quiet", package, *others, "numpy"]):
            python.unlink()
            return None
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _succeeds(command: Sequence[str | pathlib.Path], cwd: pathlib.Path | None = None) -> bool:
    try:
        return subprocess.run(command, check=False, cwd=cwd, capture_output=True, timeout=2 * SECONDS).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def _measure(
    runtime: Runtime,
    environments: pathlib.Path,
    file: str,
    tasks: Mapping[pathlib.Path, tuple[dict[str, Any], np.ndarray]],
    temporary: pathlib.Path,
) -> Result:
    """Run a file of every network, until one is refused."""
    right, wrong, differences, times, refusal = 0, 0, [], [], ""
    for model, (task, y) in tasks.items():
        if not (model / file).exists():
            continue  # sparse.onnx of a network with content addressing
        given = temporary / "task.json"
        steps = 1
        if file in ("unrolled.onnx", "sparse.onnx", "batched.onnx"):
            graphs = model_folder.read(model).graphs
            steps = next(graph.metadata.unroll for graph in graphs if graph.path.name == file)
        given.write_text(json.dumps(task | {"steps": steps, "single": steps == 1}), encoding="utf-8")
        copied = temporary / "copied" / pathlib.Path(file).name  # onnx2tf changes its input file
        shutil.rmtree(copied.parent, ignore_errors=True)
        copied.parent.mkdir()
        (shutil.copytree if (model / file).is_dir() else shutil.copy)(model / file, copied)
        found = _run(runtime, environments, copied, given)
        if isinstance(found, str):
            refusal = found
            break
        right += 1
        if not found:
            refusal = "converts; runs elsewhere"
            continue
        actual = np.array(found["y"])
        counts = slice(LENGTH + 1, None)
        wrong += int(np.count_nonzero((actual[counts] > 0.5) != (y[counts] > 0.5)))
        differences.append(float(np.max(np.abs(actual - y))))
        times.append(float(found["microseconds"]))
    return Result(right, wrong, max(differences, default=np.nan), times[0] if times else np.nan, refusal)


def _run(runtime: Runtime, environments: pathlib.Path, file: pathlib.Path, task: pathlib.Path) -> dict[str, Any] | str:
    """What a runtime makes of a sequence; or in a line, why it does not."""
    folder = environments / runtime.packages[0].partition("[")[0]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", HOME=str(folder))
    if runtime.program.startswith("onnxruntime-"):
        environment["NODE_PATH"] = str(folder / "node_modules")
        command: list[str | pathlib.Path] = ["node", FOLDER / "portability.cjs"]
    else:
        command = [folder / "bin" / "python", FOLDER / "portability_runtimes.py"]
    command += [runtime.program, file, task]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=SECONDS, env=environment, cwd=folder
        )
    except subprocess.TimeoutExpired:
        return f"not within {SECONDS} s"
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    if done.returncode < 0:
        return f"ends with signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\w*: ", line)]
    return [f"exit code {done.returncode}", *lines, *errors][-1]


def _cells(found: Result) -> list[str]:
    ran = not np.isnan(found.microseconds)
    return [
        f"{found.right} of {len(NETWORKS)}",
        f"{found.wrong_bits:,}" if ran else "",
        f"{found.difference:.1e}" if ran else "",
        f"{found.microseconds:,.0f}" if ran else "",
        found.refusal.replace("|", "/")[:140],
    ]


if __name__ == "__main__":
    sys.exit(main())
