"""Run a file of a model in one runtime: ``python portability_runtimes.py RUNTIME FILE TASK``; see portability.py.

Each runtime has an environment of its own, with little but NumPy beside it, so this program imports nothing else of
this project. TASK is JSON with what the model card says: the names, the initial ``state``, and ``steps``, U of the
graph; and ``x``, the inputs of a sequence. Prints JSON: ``y``, and the ``microseconds`` of a step, the least;
or an empty object where a runtime can only convert.
"""

import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray]
Run = Callable[[Tensors], Tensors]


def onnxruntime(file: pathlib.Path, _: Tensors, outputs: list[str]) -> Run:
    """On one thread, like all that can be asked for it."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))


def reference(file: pathlib.Path, _: Tensors, outputs: list[str]) -> Run:
    """The evaluator of the package onnx."""
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(str(file))
    return lambda inputs: dict(zip(outputs, evaluator.run(outputs, dict(inputs)), strict=True))


def openvino(file: pathlib.Path, _: Tensors, outputs: list[str], **hints: Any) -> Run:
    """By its defaults: bfloat16 where the processor has it."""
    core = importlib.import_module("openvino").Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_NUM_THREADS": 1, **hints})

    def run(inputs: Tensors) -> Tensors:
        found = compiled(dict(inputs))
        return {name: found[name] for name in outputs}

    return run


def openvino_in_float32(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """With its hint for the precision."""
    return openvino(file, first, outputs, INFERENCE_PRECISION_HINT="f32")


def tract(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """With the sizes of the inputs, which it asks for; outputs go by their order, since it has other names for them."""
    library = importlib.import_module("tract")
    model = library.onnx().load(file)
    names = [model.input_name(i) for i in range(model.input_count())]
    for i, name in enumerate(names):
        model.set_input_fact(i, ",".join(map(str, (*first[name].shape, "f32"))))
    for i in range(model.output_count()):
        model.set_output_fact(i, None)  # it follows
    runnable = model.into_model().into_runnable()

    def run(inputs: Tensors) -> Tensors:
        tensors = runnable.run([inputs[name] for name in names])
        return {name: tensor.to_numpy() for name, tensor in zip(outputs, tensors, strict=False)}

    return run


def iree(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """Compiled for this processor; inputs and outputs go by their order in the file."""
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("iree.runtime")
    programs = pathlib.Path(sys.executable).parent
    graph = onnx.load(file).graph
    with tempfile.TemporaryDirectory() as folder:
        imported, compiled = (pathlib.Path(folder, name) for name in ("step.mlir", "step.vmfb"))
        _call(programs / "iree-import-onnx", file, "--opset-version", "18", "-o", imported)
        target = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
        _call(programs / "iree-compile", imported, *target, "--iree-llvmcpu-target-cpu=host", "-o", compiled)
        content = compiled.read_bytes()
    config = runtime.Config("local-sync")
    module = runtime.load_vm_module(runtime.VmModule.copy_buffer(config.vm_instance, content), config)
    (function,) = (name for name in module.vm_module.function_names if name == graph.name)
    names, found = [value.name for value in graph.input], [value.name for value in graph.output]

    def run(inputs: Tensors) -> Tensors:
        tensors = [np.asarray(tensor) for tensor in module[function](*(inputs[name] for name in names))]
        return {name: tensors[found.index(name)] for name in outputs}

    del first
    return run


def tvm(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """Compiled for these sizes."""
    library, onnx = importlib.import_module("tvm"), importlib.import_module("onnx")
    relax = importlib.import_module("tvm.relax")
    from_onnx = importlib.import_module("tvm.relax.frontend.onnx").from_onnx
    model = onnx.load(file)
    shapes = {name: list(tensor.shape) for name, tensor in first.items()}
    module = from_onnx(model, shape_dict=shapes, keep_params_in_input=False)
    machine = relax.VirtualMachine(library.compile(module, target="llvm"), library.cpu())
    names, found = [value.name for value in model.graph.input], [value.name for value in model.graph.output]

    def run(inputs: Tensors) -> Tensors:
        tensors = machine["main"](*(library.runtime.tensor(inputs[name]) for name in names))
        return {name: tensors[found.index(name)].numpy() for name in outputs}

    return run


def tinygrad(file: pathlib.Path, _: Tensors, outputs: list[str]) -> Run:
    """On the CPU, for which it needs the command clang: here that of the package ziglang."""
    clang = pathlib.Path(sys.executable).with_name("clang")
    clang.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang clang "$@"\n', encoding="utf-8")
    clang.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(clang.parent), os.environ.get("PATH", "")])
    os.environ["DEV"] = "CPU"
    library = importlib.import_module("tinygrad")
    runner = importlib.import_module("tinygrad.nn.onnx").OnnxRunner(file)

    @library.TinyJit  # type: ignore[untyped-decorator]
    def step(**inputs: Any) -> Any:
        found = runner(inputs)
        return [found[name].realize() for name in outputs]

    def run(inputs: Tensors) -> Tensors:
        tensors = step(**{name: library.Tensor(value).realize() for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in zip(outputs, tensors, strict=True)}

    return run


def mnn(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """Converted to its format first; what ``MNN.tools`` does, but that module installs packages when it is imported."""
    library, expressions = importlib.import_module("MNN"), importlib.import_module("MNN.expr")
    converted = pathlib.Path(tempfile.mkdtemp(), "step.mnn")
    arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", str(file), "--MNNModel", str(converted), "--bizCode", "ntm"]
    importlib.import_module("_tools").mnnconvert(arguments)
    if not converted.exists():
        raise ValueError("mnnconvert wrote nothing")
    names = list(first)
    module = library.nn.load_module_from_file(str(converted), names, outputs)

    def run(inputs: Tensors) -> Tensors:
        given = [
            expressions.const(np.ascontiguousarray(inputs[name]), inputs[name].shape, expressions.NCHW)
            for name in names
        ]
        tensors = module.forward(given)
        return {name: np.array(tensor.read()) for name, tensor in zip(outputs, tensors, strict=True)}

    return run


def litert(file: pathlib.Path, first: Tensors, outputs: list[str], module: str = "ai_edge_litert.interpreter") -> Run:
    """The interpreter, with its tensors by the order of the card."""
    interpreter = importlib.import_module(module).Interpreter(str(file), num_threads=1)
    given, found = interpreter.get_input_details(), interpreter.get_output_details()
    for name, detail in zip(first, given, strict=True):
        if list(detail["shape"]) != list(first[name].shape):
            interpreter.resize_tensor_input(detail["index"], first[name].shape)
    interpreter.allocate_tensors()

    def run(inputs: Tensors) -> Tensors:
        for name, detail in zip(first, given, strict=True):
            interpreter.set_tensor(detail["index"], inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(d["index"]) for name, d in zip(outputs, found, strict=False)}

    return run


def tflite_runtime(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """The interpreter that LiteRT has followed."""
    return litert(file, first, outputs, "tflite_runtime.interpreter")


def onnx2torch(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """Converted to a module of PyTorch; inputs and outputs go by their order in the file."""
    torch, onnx = importlib.import_module("torch"), importlib.import_module("onnx")
    torch.set_num_threads(1)
    model = onnx.load(file)
    module = importlib.import_module("onnx2torch").convert(model)
    found = [value.name for value in model.graph.output]

    def run(inputs: Tensors) -> Tensors:
        with torch.no_grad():
            tensors = module(*(torch.from_numpy(inputs[name]) for name in first))
        return {name: tensors[found.index(name)].numpy() for name in outputs}

    return run


def onnx2tf(file: pathlib.Path, first: Tensors, outputs: list[str]) -> Run:
    """Converted to TF-Lite, and run by its interpreter; it keeps neither names nor order, so shapes tell them apart."""
    folder = pathlib.Path(tempfile.mkdtemp())
    converter = importlib.import_module("onnx2tf")
    keep = [name for name, tensor in first.items() if tensor.ndim > 2]
    options = {"keep_shape_absolutely_input_names": keep, "verbosity": "error"}
    converter.convert(str(file), output_folder_path=str(folder), **options)
    (converted,) = folder.glob("*float32.tflite")
    runner = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(converted)).get_signature_runner()
    return lambda inputs: {name: runner(**inputs)[name] for name in outputs}


def coreml(file: pathlib.Path, _: Tensors, __: list[str]) -> None:
    """The conversion alone: a model of Core ML runs on macOS."""
    importlib.import_module("coremltools").convert(str(file), source="tensorflow")


def _call(*command: str | pathlib.Path) -> None:
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error:" in line] or done.stderr.splitlines() or ["?"]
        raise ValueError(errors[0])


RUNTIMES: dict[str, Callable[[pathlib.Path, Tensors, list[str]], Run | None]] = {
    function.__name__: function
    for function in (
        onnxruntime, reference, openvino, openvino_in_float32, tract, iree, tvm, tinygrad, mnn, onnx2torch, onnx2tf,
        litert, tflite_runtime, coreml,
    )
}  # fmt: skip


def main() -> None:
    """Run a sequence, and print what came out."""
    name, file, task = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(pathlib.Path(sys.argv[3]).read_text("utf-8"))
    steps: int = task["steps"]
    state = {key: np.array(t["data"], np.float32).reshape(t["shape"]) for key, t in task["state"].items()}
    x = np.array(task["x"], np.float32)[:, np.newaxis]  # [T, 1, I]
    chunks = list(np.pad(x, [(0, -len(x) % steps), (0, 0), (0, 0)]).reshape(-1, steps, *x.shape[1:]))
    if task["single"]:
        chunks = [chunk[0] for chunk in chunks]
    outputs = ["y", *(f"next_{key}" for key in state)]
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        run = RUNTIMES[name](file, {"x": chunks[0], **state}, outputs)
        y, times = [], []
        for chunk in chunks:
            if run is None:
                break
            start = time.perf_counter()
            found = run({"x": chunk, **state})
            times.append(time.perf_counter() - start)
            y.append(np.array(found["y"]).reshape(steps, -1))
            state = {key: np.array(found[f"next_{key}"], np.float32) for key in state}
    result = {"microseconds": 1e6 * min(times) / steps, "y": np.concatenate(y)[: len(x)].tolist()} if y else {}
    print(json.dumps(result), file=stdout)


if __name__ == "__main__":
    main()
