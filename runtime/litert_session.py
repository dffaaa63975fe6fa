"""A TF-Lite graph in LiteRT."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ntm.errors import ModelError
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import X
from ntm.runtime.session import Floats, Session, State, locations_of
from ntm.runtime.tflite_file import SIGNATURE, import_litert

Sizes = tuple[int, int]  # B and N


class LiteRTSession(Session):
    """A TF-Lite graph in LiteRT.

    An interpreter computes one step at a time, of the sizes that it was last resized to. So each thread takes an idle
    interpreter, of the right sizes if there is one. There are as many interpreters as there were simultaneous calls.
    """

    _engine: "list[_Interpreter]"  # the idle interpreters

    def _make(self) -> "list[_Interpreter]":
        return [self._interpreter()]

    def _compute(self, inputs: State) -> list[Floats]:
        sizes = inputs[X].shape[-2], locations_of(inputs)
        if not sizes[0]:  # LiteRT takes no empty arrays
            shapes = self.shapes(*sizes)
            return [np.zeros([size or 0 for size in shapes[name]], np.float32) for name in self._outputs]
        interpreter = self._taken(sizes)
        outputs = interpreter.compute(inputs, self._outputs)
        self._engine.append(interpreter)
        return outputs

    def _taken(self, sizes: Sizes) -> "_Interpreter":
        """An interpreter for these sizes, which no other thread can take."""
        idle = self._engine
        with self._lock:
            for i, interpreter in enumerate(idle):
                if interpreter.sizes == sizes:
                    return idle.pop(i)
            taken = idle.pop() if idle else None
        taken = taken or self._interpreter()
        taken.resize(sizes, self.shapes(*sizes))
        return taken

    def _interpreter(self) -> "_Interpreter":
        interpreter = import_litert("interpreter").Interpreter
        try:
            made = interpreter(model_content=self._graph.content, num_threads=min(self._threads, available_cores()))
            runner = made.get_signature_runner(SIGNATURE)
            details = runner.get_input_details(), runner.get_output_details()
        except Exception as error:  # of several classes without a common base
            raise self._refused(error) from error
        inputs, outputs = ({name: detail["index"] for name, detail in part.items()} for part in details)
        for what, found, wanted in (
            ("inputs", inputs, self.metadata.inputs),
            ("outputs", outputs, self.metadata.outputs),
        ):
            if found.keys() != set(wanted):
                raise ModelError(f"cannot load the model {self._graph.path}: its {what} must be {', '.join(wanted)}")
        return _Interpreter(made, inputs, outputs)


class _Interpreter:
    """An interpreter, the indices of its inputs and outputs by name, and its present sizes."""

    def __init__(self, interpreter: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        self._interpreter = interpreter
        self._inputs, self._outputs = inputs, outputs
        self.sizes: Sizes | None = None

    def resize(self, sizes: Sizes, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        """Change the sizes."""
        for name, index in self._inputs.items():
            self._interpreter.resize_tensor_input(index, shapes[name])
        self._interpreter.allocate_tensors()
        self.sizes = sizes

    def compute(self, inputs: State, outputs: tuple[str, ...]) -> list[Floats]:
        """The outputs of these names."""
        interpreter, numbers = self._interpreter, self._outputs
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return [interpreter.get_tensor(numbers[name]) for name in outputs]
