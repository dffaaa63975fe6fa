import contextlib
import hashlib
import pathlib

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntm.runtime.onnx_file import OnnxFileError, check_seal, read_header, sealed


@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
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


def test_a_seal_is_a_property_of_the_metadata(tiny_model: pathlib.Path) -> None:
    content = (tiny_model / "step.onnx").read_bytes()
    check_seal(content)
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    seal = model.metadata_props.pop()
    assert (seal.key, seal.value) == ("sha256", hashlib.sha256(model.SerializeToString()).hexdigest())
    assert sealed(model.SerializeToString()) == content


@given(st.binary(), st.binary(min_size=1))
def test_what_was_sealed_is_not_changed(content: bytes, more: bytes) -> None:
    whole = sealed(content)
    check_seal(whole)
    check_seal(sealed(whole))
    for other in (whole[:-1], whole[1:], whole + more, more + whole):
        with pytest.raises(OnnxFileError):
            check_seal(other)


def test_every_flipped_bit_is_noticed(tiny_model: pathlib.Path) -> None:
    content = bytearray((tiny_model / "step.onnx").read_bytes())
    for at in range(len(content)):
        content[at] ^= 1 << at % 8
        with pytest.raises(OnnxFileError):
            check_seal(bytes(content))
        content[at] ^= 1 << at % 8


@given(st.binary())
def test_foreign_bytes_have_no_seal(content: bytes) -> None:
    with pytest.raises(OnnxFileError):
        check_seal(content)
