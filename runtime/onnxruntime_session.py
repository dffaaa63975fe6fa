"""A graph in onnxruntime."""

from typing import Any

from ntm.errors import ModelError
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import X
from ntm.runtime.session import Floats, Session, State, first_line, locations_of

_FATAL = 4  # onnxruntime prints nothing but fatal messages; the other errors are exceptions


class OnnxruntimeSession(Session):
    """An ONNX graph in onnxruntime, on the CPU; one serves several threads at a time."""

    _run_options: Any = None

    def _compute(self, inputs: State) -> list[Floats]:
        outputs: list[Floats] = self._engine.run(self._outputs, inputs, self._run_options)
        expected = self.shapes(inputs[X].shape[-2], locations_of(inputs))
        for name, value in zip(self._outputs, outputs, strict=True):
            if value.shape != expected[name]:
                raise ModelError(f"its {name} is of shape {value.shape}")
        return outputs

    def _make(self) -> Any:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(self._threads, available_cores())
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        if self._own_process:
            onnxruntime.set_default_logger_severity(_FATAL)
            # Weightings underflow into denormals, on which some processors are many times slower.
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _FATAL
        try:
            # From bytes, so that the checked content runs and cannot refer to other files. Without the fallback, which
            # prints on stdout.
            return onnxruntime.InferenceSession(
                self._graph.content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # of several classes without a common base
            raise self._refused(error) from error


def _import_onnxruntime() -> Any:
    """The module ``onnxruntime``, which several distributions such as ``onnxruntime-gpu`` contain.

    Raises:
        ModelError: the module is missing or incomplete.
    """
    try:
        import onnxruntime  # noqa: PLC0415  (it is slow to import)
    except ImportError as error:
        raise ModelError(
            f"cannot import onnxruntime ({first_line(error)}): pip install onnxruntime, or another distribution of it "
            "such as onnxruntime-gpu"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise ModelError(
            "onnxruntime is incomplete, as after two distributions of it were installed and one was removed: pip "
            "uninstall all of them, and install one"
        )
    return onnxruntime
