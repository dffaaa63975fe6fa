"""The header and the seal of an ONNX file, read without onnxruntime and without onnx before the file runs.

An ONNX file is a protocol buffer (https://protobuf.dev/programming-guides/encoding), a list of numbered fields. Only
a dozen of them matter here, and reading these takes a millisecond, where onnxruntime takes a hundred to prepare the
graph: ``--version`` is fast, and a file that is no model is refused before anything runs.

The last property of a file's metadata is its seal, the SHA-256 of all bytes before it. The seal is checked first, since
a damaged graph may crash onnxruntime or compute something else. A seal is no signature: it detects damage, but anybody
can seal a file.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

FLOAT = 1  # onnx.TensorProto.FLOAT

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxFileError(ValueError):
    """Bytes that are not an ONNX file; the message is one line."""


class TensorType(NamedTuple):
    """The declared type of a graph's input or output."""

    name: str
    element: int  # as in onnx.TensorProto
    shape: tuple[int | None, ...] | None  # a size is None where it is left open, as is the shape


class Header(NamedTuple):
    """The metadata of an ONNX file, and the inputs and outputs of its graph."""

    metadata: dict[str, str]
    inputs: list[TensorType]
    outputs: list[TensorType]


def sealed(content: bytes) -> bytes:
    """An ONNX file with a seal at its end; an earlier seal becomes content."""
    return content + _seal(content)


def unsealed(content: bytes) -> bytes:
    """An ONNX file without the seal at its end, valid or not, if it has one."""
    return content[: -len(_seal(b""))] if has_seal(content) else content


def check_seal(content: bytes) -> None:
    """Check that an ONNX file is what was sealed, byte for byte.

    Raises:
        OnnxFileError: the file has changed since, or has no seal.
    """
    if not has_seal(content):
        raise OnnxFileError("ntm-export did not write it, or it is cut short")
    start = len(content) - len(_seal(b""))
    if content[start:] != _seal(content[:start]):
        raise OnnxFileError("it is damaged: its checksum is not the one it was written with")


def has_seal(content: bytes) -> bool:
    """Whether bytes end with a seal, valid or not."""
    return content[-len(_seal(b"")) :].startswith(_SEAL)


# Protocol buffers may be joined end to end. Joined here is field 14 of an onnx.ModelProto, an
# onnx.StringStringEntryProto of 74 bytes: field 1, the key, of 6 bytes, and field 2, the value, of 64.
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"


def _seal(content: bytes) -> bytes:
    return _SEAL + hashlib.sha256(content).hexdigest().encode()


def read_header(content: bytes) -> Header:
    """Read the metadata and the types of the inputs and outputs.

    Raises:
        OnnxFileError: the bytes are not an ONNX file, or not all of one.
    """
    header = Header({}, [], [])
    graphs = 0
    for number, value in _fields(memoryview(content)):  # onnx.ModelProto
        if number == 7:
            graphs += 1
            for part, inner in _fields(_message(value)):  # onnx.GraphProto
                if part == 11:
                    header.inputs.append(_tensor_type(_message(inner)))
                elif part == 12:
                    header.outputs.append(_tensor_type(_message(inner)))
        elif number == 14:
            entry = dict(_fields(_message(value)))  # onnx.StringStringEntryProto
            header.metadata[_text(entry.get(1, _EMPTY))] = _text(entry.get(2, _EMPTY))
    if graphs != 1:
        raise OnnxFileError("it is not an ONNX file")
    return header


_EMPTY = memoryview(b"")


def _tensor_type(value_info: memoryview) -> TensorType:
    """The type in an onnx.ValueInfoProto, which holds a TypeProto, TypeProto.Tensor and TensorShapeProto."""
    info = dict(_fields(value_info))
    tensor = dict(_fields(_message(dict(_fields(_message(info.get(2, _EMPTY)))).get(1, _EMPTY))))
    element = tensor.get(1, 0)
    shape: tuple[int | None, ...] | None = None
    if 2 in tensor:
        sizes = [dict(_fields(_message(dimension))).get(1) for _, dimension in _fields(_message(tensor[2]))]
        shape = tuple(size if isinstance(size, int) else None for size in sizes)
    return TensorType(_text(info.get(1, _EMPTY)), element if isinstance(element, int) else 0, shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The numbered fields of a message: a number, or bytes that are a text or another message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise OnnxFileError("it is not an ONNX file")
        if at + size > len(message):
            raise OnnxFileError("it is not an ONNX file, or it is truncated")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, seven bits per byte, the lowest first; and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise OnnxFileError("it is not an ONNX file, or it is truncated")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise OnnxFileError("it is not an ONNX file")
    return value


def _text(value: int | memoryview) -> str:
    try:
        return str(_message(value), "utf-8")
    except UnicodeDecodeError as error:
        raise OnnxFileError("it is not an ONNX file: a name in it is not UTF-8") from error
