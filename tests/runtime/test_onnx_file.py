import contextlib
import pathlib

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntm.runtime.onnx_file import OnnxFileError, read_header


@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx"])
def test_the_header_is_what_onnx_says(tiny_model: pathlib.Path, name: str) -> None:
    header = read_header((tiny_model / name).read_bytes())
    model = onnx.load_model(tiny_model / name)
    assert header.metadata == {p.key: p.value for p in model.metadata_props}
    for found, values in ((header.inputs, model.graph.input), (header.outputs, model.graph.output)):
        assert found == [
            (
                value.name,
                value.type.tensor_type.elem_type,
                tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim),
            )
            for value in values
        ]


def test_a_shape_may_be_left_open() -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [value], []))
    assert read_header(model.SerializeToString()).inputs == [("x", 1, None)]


def test_every_truncation_is_noticed(tiny_model: pathlib.Path) -> None:
    content = (tiny_model / "step.onnx").read_bytes()
    complete = read_header(content)
    for size in range(len(content)):
        try:
            header = read_header(content[:size])
        except OnnxFileError:
            continue
        assert len(header.metadata) < len(complete.metadata), size  # cut between two fields: the metadata is last


@given(st.binary())
@example(b"")
@example(b"Once upon a time there was a text file.\n")
@example(b"\x3a\x80" * 20)
@example(b"\x38\x01")  # a number where the graph should be
@example(b"\x3a\x00\x3a\x00")  # two graphs
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with contextlib.suppress(OnnxFileError):
        assert read_header(content).inputs == []
