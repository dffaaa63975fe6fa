"""A damaged .npy file is refused by one error, and nothing in it is run."""

import io
import pathlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ntm.errors import FileError
from ntm.runtime import run_command

ARRAY = np.random.default_rng(0).integers(0, 2, (2, 7, 9), np.uint8)
_buffer = io.BytesIO()
np.save(_buffer, ARRAY)
WHOLE = _buffer.getvalue()


def _read(content: bytes, path: pathlib.Path) -> npt.NDArray[Any] | None:
    """The array in a file, None if it is refused; without a word on the way, even to those who look at warnings."""
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            array = run_command._read(str(path))
        except FileError as error:
            assert str(error) == f"cannot read {path}: it is not a .npy file, or is damaged"  # noqa: PT017
            array = None
    assert not said
    return array


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x93NUMPY")
@example(b"\x93NUMPY\x01\x00\xff\xff")
@example(b"\x93NUMPY\x02\x00\xff\xff\xff\xff")
@example(b"\x93NUMPY\x09\x00\x10\x00{}")
@example(b"PK\x03\x04")
def test_random_bytes_are_refused(tmp_path: pathlib.Path, content: bytes) -> None:
    assert _read(content, tmp_path / "x.npy") is None


def test_every_truncation_is_refused(tmp_path: pathlib.Path) -> None:
    for size in range(len(WHOLE)):
        assert _read(WHOLE[:size], tmp_path / "x.npy") is None, size
    np.testing.assert_array_equal(_read(WHOLE, tmp_path / "x.npy"), ARRAY)


HEADER = len(WHOLE) - ARRAY.nbytes


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, HEADER - 1), new=st.binary(min_size=1, max_size=12))
@example(at=10, new=b"(" * 100)
@example(at=10, new=b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
@example(at=10, new=b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999999,), }")
@example(at=10, new=b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 7, 9), }")
@example(at=10, new=b"{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 7L, 9L), }")
@example(at=10, new=b"{'descr': '\\d', 'fortran_order': False, 'shape': (2, 7, 9), }")
@example(at=10, new=b"{'descr': '|V0', 'fortran_order': False, 'shape': (2, 7, 9), }")
def test_a_damaged_header_is_refused_or_read(tmp_path: pathlib.Path, at: int, new: bytes) -> None:
    """In no other way than by the one error, and without a crash."""
    damaged = WHOLE[:at] + new + WHOLE[at + len(new) :]
    array = _read(damaged, tmp_path / "x.npy")
    assert array is None or not array.dtype.hasobject
