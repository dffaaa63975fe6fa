"""The C of a native library: its functions, graphs of operations, and numbers."""

import ctypes
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ntm.errors import ExportError
from ntm.export import c_code, compiler, native_source

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the format native needs a C compiler"
)
# The functions of C, beside the same in float64.
FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
    "exponential": (np.exp, np.linspace(-86, 0, 20001)),
    "logarithm": (np.log, np.logspace(-37, 37, 20001)),
    "hyperbolic_tangent": (np.tanh, np.linspace(-20, 20, 20001)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), np.linspace(-80, 80, 20001)),
    "softplus": (lambda x: np.logaddexp(0, x), np.linspace(-80, 80, 20001)),
}


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("functions")
    text = (pathlib.Path(native_source.__file__).parent / "native_functions.h").read_text()
    calls = (f"float call_{name}(float x) {{ return {name}(x); }}\n" for name in FUNCTIONS)
    visible = "".join(f'__attribute__((visibility("default"))) {call}' for call in calls)
    (folder / "functions.c").write_text(text + visible)
    compiler.build_here(folder / "functions.c", folder / "functions.so")
    return ctypes.CDLL(str(folder / "functions.so"))


def call(functions: ctypes.CDLL, name: str, x: float) -> float:
    function = functions[f"call_{name}"]
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return float(function(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_as_exact_as_float32(functions: ctypes.CDLL, name: str) -> None:
    function, x = FUNCTIONS[name]
    x = x.astype(np.float32)
    found, expected = np.array([call(functions, name, value) for value in x]), function(x.astype(np.float64))
    scale = np.abs(expected) if name in ("exponential", "logarithm") else np.maximum(np.abs(expected), 1)
    assert np.max(np.abs(found - expected) / np.maximum(scale, 1e-38)) < 2.5e-7


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_nan_stays_one(functions: ctypes.CDLL, name: str) -> None:
    assert np.isnan(call(functions, name, float("nan")))


def test_ends_of_the_functions(functions: ctypes.CDLL) -> None:
    assert 0 <= call(functions, "exponential", -1000) < 2e-38
    assert call(functions, "exponential", 0) == 1
    assert call(functions, "logarithm", 1) == 0
    assert call(functions, "logarithm", 0) == -np.inf
    assert call(functions, "logarithm", np.inf) == np.inf
    assert np.isnan(call(functions, "logarithm", -1))
    assert (call(functions, "hyperbolic_tangent", -100), call(functions, "hyperbolic_tangent", 100)) == (-1, 1)
    assert 0 <= call(functions, "sigmoid", -1000) < 2e-38
    assert call(functions, "sigmoid", 1000) == 1
    assert call(functions, "softplus", 1000) == 1000


def compiled(model: onnx.ModelProto, tmp_path: pathlib.Path) -> Callable[..., dict[str, np.ndarray]]:
    """What the C of a graph computes."""
    code = c_code.step(model)
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    constants = "".join(
        f"static const float {name}[] = {c_code.floats(values.ravel().tolist())};\n"
        for name, values in code.constants.items()
    )
    work = "".join(f"float {name}[{size}];" for name, size in code.buffers.items())
    pointers = ", ".join(f"float *{name}" for name in names)
    functions_text = (pathlib.Path(native_source.__file__).parent / "native_functions.h").read_text()
    (tmp_path / "graph.c").write_text(
        f"{functions_text}{constants}struct work {{ float none; {work} }};\n"
        f'__attribute__((visibility("default"))) void graph({pointers})\n'
        "{ static struct work of_all, *work = &of_all; (void)work;\n" + "\n".join(code.lines) + "\n}\n"
    )
    compiler.build_here(tmp_path / "graph.c", tmp_path / "graph.so")
    function = ctypes.CDLL(str(tmp_path / "graph.so")).graph

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        for value in model.graph.output:
            shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
            arrays[value.name] = np.full(shape, np.nan, np.float32)
        function(*(arrays[name].ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for name in names))
        return {value.name: arrays[value.name] for value in model.graph.output}

    return run


def graph_of(
    nodes: list[onnx.NodeProto], a: tuple[int, ...], outputs: dict[str, tuple[int, ...]], **constants: Any
) -> Any:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, a)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


RANDOM = np.random.default_rng(0)
# What a network's step has too, but not in these combinations: nodes, the shape of a, outputs, constants.
GRAPHS: dict[str, tuple[Any, ...]] = {
    "a transposed product of both kinds": (
        [
            helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["t", "a"], ["u"]),
            helper.make_node("MatMul", ["a", "t"], ["v"]),
        ],
        (2, 5, 7),
        {"u": (2, 7, 7), "v": (2, 5, 5)},
    ),
    "a slice that is reshaped, and read twice": (
        [
            helper.make_node("Split", ["a", "sizes"], ["p", "q"], axis=1),
            helper.make_node("Reshape", ["q", "shape"], ["r"]),
            helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
            helper.make_node("Reshape", ["t", "flat"], ["u"]),
            helper.make_node("Add", ["u", "u"], ["v"]),
            helper.make_node("Identity", ["p"], ["w"]),
        ],
        (2, 10),
        {"v": (2, 6), "w": (2, 4)},
        {"sizes": np.array([4, 6]), "shape": np.array([2, 3, 2]), "flat": np.array([2, 6])},
    ),
    "sums over either axis": (
        [
            helper.make_node("Mul", ["a", "a"], ["m"]),
            helper.make_node("ReduceSum", ["m", "first"], ["u"], keepdims=1),
            helper.make_node("ReduceSum", ["a", "last"], ["v"], keepdims=1),
        ],
        (3, 4, 6),
        {"u": (1, 4, 6), "v": (3, 4, 1)},
        {"first": np.array([0]), "last": np.array([-1])},
    ),
    "a sum into one element": (
        [helper.make_node("ReduceSum", ["a", "axes"], ["u"], keepdims=1)],
        (1, 37, 1),
        {"u": (1, 1, 1)},
        {"axes": np.array([1])},
    ),
    "a product with a constant, and a broadcast bias": (
        [helper.make_node("Gemm", ["a", "kernel", "bias"], ["u"]), helper.make_node("Softmax", ["u"], ["v"], axis=-1)],
        (3, 9),
        {"v": (3, 5)},
        {"kernel": RANDOM.normal(size=(9, 5)).astype(np.float32), "bias": RANDOM.normal(size=5).astype(np.float32)},
    ),
    "a slice with steps, joined": (
        [
            helper.make_node("Slice", ["a", "starts", "ends", "axes", "steps"], ["s"]),
            helper.make_node("Sub", ["a", "one"], ["t"]),
            helper.make_node("Concat", ["s", "t", "a"], ["u"], axis=1),
        ],
        (2, 9),
        {"u": (2, 23)},
        {
            "starts": np.array([8]),
            "ends": np.array([-10]),
            "axes": np.array([1]),
            "steps": np.array([-2]),
            "one": np.float32(1),
        },
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_in_c_computes_what_onnxruntime_computes(name: str, tmp_path: pathlib.Path) -> None:
    nodes, shape, outputs, *constants = GRAPHS[name]
    model = graph_of(nodes, shape, outputs, **(constants[0] if constants else {}))
    a = RANDOM.normal(size=shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = compiled(model, tmp_path)(a=a)
    for output, expected in zip(outputs, session.run(list(outputs), {"a": a}), strict=True):
        np.testing.assert_allclose(found[output], expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_operation_is_one_line() -> None:
    model = graph_of([helper.make_node("Cos", ["a"], ["b"], "where")], (2,), {"b": (2,)})
    with pytest.raises(ExportError, match="the format native has no operation Cos, which is in where"):
        c_code.step(model)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1e-45, 3.4028235e38, -1e-7, 0.1, np.inf, -np.inf])
def test_a_number_in_c_is_the_same_float32(value: float) -> None:
    literal = c_code.floats([value]).split()[1].strip("}")
    expected = {np.inf: "INFINITY", -np.inf: "-INFINITY"}.get(value)
    if expected is None:
        assert literal.endswith("f")
        assert np.float32(literal[:-1]).tobytes() == np.float32(value).tobytes()
    else:
        assert literal == expected
