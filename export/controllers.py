"""The controllers as nodes of a graph of several steps, for both positions of the batch among the axes."""

import abc
from collections.abc import Mapping, Sequence

import numpy as np

from ntm.export.graph import Graph, matrix
from ntm.models import NTMCell
from ntm.models.controller import Controller
from ntm.models.feedforward import Feedforward
from ntm.models.lstm import LSTM

State = Mapping[str, str]  # the names of the state's tensors inside the graph, by their names in the state


class Layout(abc.ABC):
    """The order of the axes in a graph.

    Attributes:
        axis: the axis of the units of a layer.
    """

    axis: int
    graph: Graph

    @abc.abstractmethod
    def layer(self, name: str, weights: np.ndarray, x: str) -> str:
        """X W + b for one step; the last row of ``weights`` is b."""

    @abc.abstractmethod
    def first_layer(self, name: str, weights: np.ndarray, word: str, others: Sequence[str]) -> str:
        """X W + b, where X is the input of the step, in the form of the layout, with the other tensors behind it."""

    def split(self, tensor: str, name: str, sizes: Sequence[int]) -> list[str]:
        """Parts of the units of a layer; ``name`` is the name of the constant of the sizes."""
        graph = self.graph
        if len(sizes) == 1:
            return [tensor]
        split = graph.constant(f"{name}/split", sizes, np.int64)
        return graph.nodes("Split", tensor, split, names=[None] * len(sizes), axis=self.axis)

    def concat(self, tensors: Sequence[str], name: str | None = None) -> str:
        """The units of several layers side by side; ``name`` is the name of the result."""
        if len(tensors) == 1:
            return tensors[0] if name is None else self.graph.node("Identity", tensors[0], name=name)
        return self.graph.node("Concat", *tensors, axis=self.axis, name=name)


class ControllerNodes(abc.ABC):
    """A controller as nodes.

    Args:
        cell: the network.
    """

    def __init__(self, cell: NTMCell) -> None:
        self.sizes = cell.controller.sizes
        self.matrices = [matrix(layer) for layer in cell.layers[:-1]]

    @abc.abstractmethod
    def step(self, layout: Layout, word: str, reads: str, state: State, names: State) -> str:
        """One time step; returns the input of the heads' layer and of the output layer.

        Args:
            layout: the layout, which adds the nodes to its graph.
            word: the input of the step.
            reads: r[t-1], the vectors of all heads side by side.
            state: the state before the step.
            names: the names for the state after the step.
        """


class FeedforwardNodes(ControllerNodes):
    """``ntm.models.feedforward``."""

    def step(self, layout: Layout, word: str, reads: str, state: State, names: State) -> str:  # noqa: ARG002
        """One time step."""
        first, *others = self.matrices
        hidden = layout.graph.node("Tanh", layout.first_layer("hidden_0", first, word, [reads]))
        for i, weights in enumerate(others, 1):
            hidden = layout.graph.node("Tanh", layout.layer(f"hidden_{i}", weights, hidden))
        return hidden


class LSTMNodes(ControllerNodes):
    """``ntm.models.lstm``."""

    def step(self, layout: Layout, word: str, reads: str, state: State, names: State) -> str:
        """One time step."""
        graph, seen = layout.graph, ""
        hidden_before, cell_before = (layout.split(state[name], "lstm", self.sizes) for name in ("hidden", "cell"))
        hidden_name, cell_name = (names["hidden"], names["cell"]) if len(self.sizes) == 1 else (None, None)
        hidden, cells = [], []
        for i, (units, weights) in enumerate(zip(self.sizes, self.matrices, strict=True)):
            name = f"lstm_{i}"
            if i == 0:
                output = layout.first_layer(name, weights, word, [reads, hidden_before[i]])
            else:
                output = layout.layer(name, weights, layout.concat([seen, hidden_before[i]]))
            gates, candidate = layout.split(output, f"{name}/gates", [3 * units, units])
            input_gate, forget, output_gate = layout.split(graph.node("Sigmoid", gates), f"{name}/each", [units] * 3)
            kept = graph.node("Mul", forget, cell_before[i])
            written = graph.node("Mul", input_gate, graph.node("Tanh", candidate))
            cells.append(graph.node("Add", kept, written, name=cell_name))
            seen = graph.node("Mul", output_gate, graph.node("Tanh", cells[-1]), name=hidden_name)
            hidden.append(seen)
        if len(self.sizes) > 1:
            layout.concat(hidden, names["hidden"])
            layout.concat(cells, names["cell"])
        return seen


# The graphs of several steps are for these controllers.
NODES: dict[type[Controller], type[ControllerNodes]] = {Feedforward: FeedforwardNodes, LSTM: LSTMNodes}


def controller_nodes(cell: NTMCell) -> ControllerNodes:
    """The controller of a network as nodes."""
    return NODES[type(cell.controller)](cell)
