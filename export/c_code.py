"""C of a graph: one step of fixed sizes as a function of plain loops.

Every tensor has a fixed place in memory; a slice or a transposition is a view of the same place. An element-wise
operation is part of the loop of the operation that reads its result, if there is one such operation of the same shape.
``native_functions.h`` has the functions that the C calls.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ntm.errors import ExportError

Indices = Sequence[str]
Shape = tuple[int, ...]
Positions = npt.NDArray[np.int64]

# An element of the result, from elements of the operands; more than two operands are combined one after the other.
_ELEMENTWISE = {
    "Add": "({} + {})",
    "Div": "({} / {})",
    "Identity": "{}",
    "Log": "logarithm({})",
    "Max": "most({}, {})",
    "Min": "least({}, {})",
    "Mul": "({} * {})",
    "Reciprocal": "(1.0f / {})",
    "Sigmoid": "sigmoid({})",
    "Softplus": "softplus({})",
    "Sqrt": "sqrtf({})",
    "Sub": "({} - {})",
    "Sum": "({} + {})",
    "Tanh": "hyperbolic_tangent({})",
}
# A product of matrices with at most this many inner elements is element-wise: a sum of products.
_FEW = 4
_FLOATS_A_LINE = 8


@dataclasses.dataclass(frozen=True)
class Place:
    """A tensor in memory; the element at the indices i is ``base[offset + sum(strides * i)]``."""

    base: str
    shape: Shape
    strides: Shape
    offset: int = 0

    @classmethod
    def whole(cls, base: str, shape: Shape) -> "Place":
        """A tensor whose elements lie one after the other, the last axis innermost."""
        return cls(base, shape, tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))))

    def at(self, indices: Indices) -> str:
        """An element in C. Broadcasting: the last indices count, and an axis of size 1 has the index 0."""
        axes = zip(indices[len(indices) - len(self.shape) :], self.shape, self.strides, strict=True)
        terms = [index if stride == 1 else f"{stride} * {index}" for index, size, stride in axes if size > 1]
        if self.offset or not terms:
            terms.insert(0, str(self.offset))
        return f"{self.base}[{' + '.join(term for term in terms if not term.endswith('* 0'))}]"

    @property
    def positions(self) -> Positions:
        """The positions of all elements behind ``base``."""
        axes = (stride * np.arange(size) for stride, size in zip(self.strides, self.shape, strict=True))
        return self.offset + functools.reduce(np.add.outer, axes, np.zeros((), np.int64))

    def view(self, rearrange: Callable[[Positions], Positions]) -> "Place | None":
        """The tensor as a function of NumPy rearranges it; None if its elements are then not evenly spaced."""
        found = rearrange(self.positions)
        first = int(found.flat[0])
        steps = (int(found.take(1, axis).flat[0]) - first if size > 1 else 0 for axis, size in enumerate(found.shape))
        place = Place(self.base, found.shape, tuple(steps), first)
        return place if np.array_equal(place.positions, found) else None


@dataclasses.dataclass(frozen=True)
class Computed:
    """A tensor whose elements are computed where they are read."""

    shape: Shape
    at: Callable[[Indices], str]


Value = Place | Computed


@dataclasses.dataclass
class Code:
    """The C of a step.

    Attributes:
        constants: arrays by name, of floats.
        buffers: the sizes of the arrays of the struct ``work``, by name.
        lines: the body of the function. Its inputs and outputs are pointers to float with the names of the graph.
    """

    constants: dict[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    buffers: dict[str, int] = dataclasses.field(default_factory=dict)
    lines: list[str] = dataclasses.field(default_factory=list)


def floats(values: Iterable[float]) -> str:
    """Numbers as an initialiser in C, exact to the last bit of float32."""
    texts = (_literal(value) for value in values)
    lines = iter(lambda: ", ".join(itertools.islice(texts, _FLOATS_A_LINE)), "")
    return "{\n    " + ",\n    ".join(lines) + "}"


def _literal(value: float) -> str:
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.float32(value))
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def step(model: onnx.ModelProto) -> Code:
    """The C of a graph whose sizes are all fixed.

    Raises:
        ExportError: the graph has an operation that this module does not know.
    """
    writer = _Writer(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph)
    for node in writer.graph.node:
        writer.write(node)
    return writer.code


class _Writer:
    """Writes the operations of a graph in order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.code = Code()
        self._shapes = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._values: dict[str, Value] = {
            value.name: Place.whole(value.name, self._shapes[value.name]) for value in graph.input
        }
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._reader = {name: node for node in graph.node for name in node.input}

    def write(self, node: onnx.NodeProto) -> None:
        """Write an operation."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type in _ELEMENTWISE:
            self._elementwise(node)
        elif node.op_type in _OPERATIONS:
            _OPERATIONS[node.op_type](self, node, attributes)
        else:
            raise ExportError(f"the format native has no operation {node.op_type}, which is in {node.name}")

    def _elementwise(self, node: onnx.NodeProto) -> None:
        values = [self._value(name) for name in node.input]
        form = _ELEMENTWISE[node.op_type]

        def element(indices: Indices) -> str:
            texts = [value.at(indices[len(indices) - len(value.shape) :]) for value in values]
            return functools.reduce(form.format, texts) if len(texts) > 1 else form.format(*texts)

        self._define(node, node.output[0], element)

    def _rearranged(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Reshape, Slice, Split, Squeeze, Transpose and Unsqueeze: views of the same numbers."""
        place = self._place(node.input[0])
        for i, name in enumerate(node.output):
            rearrange = functools.partial(self._positions, node, attributes, i)
            view = place.view(rearrange)
            if view is None:
                place = self._copied(node.input[0], place)
                view = place.view(rearrange)
            if view is None:
                raise ExportError(f"the format native cannot rearrange the tensor in {node.name}")
            if name in self._outputs:
                self._define(node, name, view.at)
            else:
                self._values[name] = view

    def _positions(self, node: onnx.NodeProto, attributes: dict[str, Any], i: int, of: Positions) -> Positions:
        """The positions of the elements of output i, from the positions ``of`` the elements of the input."""
        match node.op_type:
            case "Transpose":
                return of.transpose(attributes["perm"])
            case "Split":
                axis = attributes.get("axis", 0)
                sizes = [self._shapes[name][axis] for name in node.output]
                return np.split(of, np.cumsum(sizes)[:-1], axis)[i]
            case "Slice":
                starts, ends, axes = (self._arrays[name].tolist() for name in node.input[1:4])
                steps = self._arrays[node.input[4]].tolist() if len(node.input) > 4 else [1] * len(starts)
                slices = [slice(None)] * of.ndim
                for axis, start, end, pace in zip(axes, starts, ends, steps, strict=True):
                    slices[axis] = slice(start, end, pace)
                return of[tuple(slices)]
        return of.reshape(self._shapes[node.output[i]])

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        target = self._target(node.output[0])
        values = [self._value(name) for name in node.input]
        axis = attributes["axis"]
        ends = np.cumsum([value.shape[axis] for value in values]).tolist()
        self._comment(node)
        for value, end in zip(values, ends, strict=True):
            part = np.arange(end - value.shape[axis], end)
            place = target.view(lambda of, part=part: of.take(part, axis))  # type: ignore[misc]
            assert place is not None  # noqa: S101  (a part of an axis is evenly spaced)
            self._fill(place, value.at)

    def _softmax(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value, target = self._value(node.input[0]), self._target(node.output[0])
        *outer, size = target.shape
        if attributes.get("axis", -1) not in (-1, len(outer)):
            raise ExportError(f"the format native takes softmax over the last axis alone, not as in {node.name}")
        self._comment(node)
        self._fill(target, value.at)  # softmax works in place

        def rows(indices: Indices) -> list[str]:
            row = f"&{target.at([*indices, '0'])}"
            return [f"softmax({row}, {row}, {size});"]

        self._loop(outer, rows, simd=False)

    def _reduce_sum(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        value, target = self._value(node.input[0]), self._target(node.output[0])
        axes = self._arrays[node.input[1]].tolist()
        if len(axes) != 1 or not attributes.get("keepdims", 1):
            raise ExportError(f"the format native takes sums over one axis that is kept, not as in {node.name}")
        last = len(value.shape) - 1
        axis = axes[0] % len(value.shape)
        self._comment(node)
        if axis == last:
            inside, size = f"i{last}", value.shape[last]

            def one(indices: Indices) -> list[str]:
                return [
                    "float sum = 0.0f;",
                    "#pragma omp simd reduction(+ : sum)",
                    f"for (int {inside} = 0; {inside} < {size}; {inside}++)",
                    f"    sum += {value.at([*indices, inside])};",
                    f"{target.at([*indices, '0'])} = sum;",
                ]

            self._loop(value.shape[:last], one, simd=False)
            return
        self._fill(target, lambda _: "0.0f")
        inner = max(value.shape[axis + 1 :]) > 1  # else the innermost loop adds to one element
        self._loop(value.shape, lambda indices: [f"{target.at(indices)} += {value.at(indices)};"], simd=inner)

    def _product(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """MatMul, and Gemm, which adds a vector."""
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        if any(attributes[name] != plain.get(name) for name in attributes):
            raise ExportError(f"the format native takes a plain product of matrices, not as in {node.name}")
        a, b, *bias = (self._place(name) for name in node.input)
        name, rows = node.output[0], a.shape[-1]
        if rows <= _FEW and not bias:

            def element(indices: Indices) -> str:
                *outer, i, j = indices
                terms = (f"{a.at([*outer, i, str(k)])} * {b.at([*outer, str(k), j])}" for k in range(rows))
                return f"({' + '.join(terms)})"

            self._define(node, name, element)
            return
        if b.strides[-1] != 1 and b.strides[-2] != 1:
            b = self._copied(node.input[1], b)
        target = self._target(name)
        self._comment(node)
        if b.strides[-1] == 1:
            self._fill(target, bias[0].at if bias else lambda _: "0.0f")

            def row(indices: Indices) -> list[str]:
                of_row = [*indices, "0"]
                places = (
                    f"&{target.at(of_row)}",
                    f"&{a.at(of_row)}, {a.strides[-1]}",
                    f"&{b.at([*indices[:-1], '0', '0'])}, {b.strides[-2]}",
                )
                return [f"add_product({', '.join(places)}, {rows}, {target.shape[-1]});"]

            self._loop(target.shape[:-1], row, simd=False)
            return
        if a.strides[-1] != 1:
            a = self._copied(node.input[0], a)
        ends = bias[0] if bias else None

        def one(indices: Indices) -> list[str]:
            *outer, i, j = indices
            product = f"inner_product(&{a.at([*outer, i, '0'])}, &{b.at([*outer, '0', j])}, {rows})"
            return [f"{target.at(indices)} = {product}{f' + {ends.at(indices)}' if ends else ''};"]

        self._loop(target.shape, one, simd=False)

    def _value(self, name: str) -> Value:
        """A tensor or a constant."""
        if name not in self._values:
            array = self._arrays[name].astype(np.float32)
            if array.size == 1:
                literal = _literal(array.item())
                return Computed(array.shape, lambda _: literal)
            constant = self._identifier(name, self.code.constants)
            self.code.constants[constant] = array
            self._values[name] = Place.whole(constant, array.shape)
        return self._values[name]

    def _place(self, name: str) -> Place:
        """A tensor in memory."""
        value = self._value(name)
        return value if isinstance(value, Place) else self._copied(name, value)

    def _copied(self, name: str, value: Value) -> Place:
        """A contiguous copy of a tensor."""
        place = self._buffer(name, value.shape)
        self._fill(place, value.at)
        return place

    def _define(self, node: onnx.NodeProto, name: str, element: Callable[[Indices], str]) -> None:
        """A tensor of these elements: computed where it is read, if one loop reads it; else computed now."""
        shape, reader = self._shapes[name], self._reader.get(name)
        if reader is not None and name not in self._outputs and self._uses[name] == 1:
            same = reader.op_type in _ELEMENTWISE and self._shapes[reader.output[0]] == shape
            if same or reader.op_type in _LOOPS_OVER_INPUTS:
                self._values[name] = Computed(shape, element)
                return
        target = self._target(name)
        self._comment(node)
        self._fill(target, element)

    def _target(self, name: str) -> Place:
        """The place of a new tensor."""
        shape = self._shapes[name]
        place = Place.whole(name, shape) if name in self._outputs else self._buffer(name, shape)
        self._values[name] = place
        return place

    def _buffer(self, name: str, shape: Shape) -> Place:
        identifier = self._identifier(name, self.code.buffers)
        self.code.buffers[identifier] = math.prod(shape)
        return Place.whole(f"work->{identifier}", shape)

    @staticmethod
    def _identifier(name: str, taken: Iterable[str]) -> str:
        plain = re.sub(r"\W+", "_", f"of_{name}")
        numbered = (f"{plain}_{i}" for i in itertools.count(2))
        return next(candidate for candidate in itertools.chain([plain], numbered) if candidate not in taken)

    def _comment(self, node: onnx.NodeProto) -> None:
        self.code.lines.append(f"/* {node.name or node.op_type} */")

    def _fill(self, target: Place, element: Callable[[Indices], str]) -> None:
        self._loop(target.shape, lambda indices: [f"{target.at(indices)} = {element(indices)};"])

    def _loop(self, shape: Sequence[int], body: Callable[[Indices], list[str]], *, simd: bool = True) -> None:
        """Nested loops over all axes with more than one element, the last axis innermost."""
        indices = [f"i{axis}" if size > 1 else "0" for axis, size in enumerate(shape)]
        inner, lines = max((axis for axis, size in enumerate(shape) if size > 1), default=-1), self.code.lines
        indent = ""
        for axis, size in enumerate(shape):
            if size > 1:
                if simd and axis == inner:
                    lines.append("#pragma omp simd")
                lines.append(f"{indent}for (int i{axis} = 0; i{axis} < {size}; i{axis}++) {{")
                indent += "    "
        if not indent:
            lines.append("{")
        lines.extend(line if line.startswith("#") else f"{indent or '    '}{line}" for line in body(indices))
        depth = max(len(indent) // 4, 1)
        lines.extend("    " * (depth - 1 - i) + "}" for i in range(depth))


_OPERATIONS: dict[str, Callable[[_Writer, onnx.NodeProto, dict[str, Any]], None]] = {
    **dict.fromkeys(("Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"), _Writer._rearranged),
    "Concat": _Writer._concat,
    "Gemm": _Writer._product,
    "MatMul": _Writer._product,
    "ReduceSum": _Writer._reduce_sum,
    "Softmax": _Writer._softmax,
}
_LOOPS_OVER_INPUTS = ("Concat", "ReduceSum", "Softmax")
