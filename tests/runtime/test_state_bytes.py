"""A state goes over a wire exactly, or not at all."""

import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntm


@pytest.fixture(scope="module")
def content(tiny_model: pathlib.Path) -> bytes:
    return ntm.state_to_bytes(ntm.load(tiny_model).initial_state(1, 3))


def assert_same(found: ntm.State, expected: ntm.State) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_a_state_is_the_same_afterwards_and_goes_on(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model)
    x = np.random.default_rng(0).uniform(size=(9, 2, 9)).astype(np.float32)
    y, after = model.run(x)
    _, state = model.run(x[:4], model.initial_state(2))
    received = ntm.state_from_bytes(ntm.state_to_bytes(state))
    assert_same(received, state)
    rest, end = model.run(x[4:], received)
    np.testing.assert_array_equal(rest, y[4:])
    assert_same(end, after)


@pytest.mark.parametrize("shape", [(0, 9, 4), (1, 0), ()])
def test_every_number_and_shape_is_kept(shape: tuple[int, ...]) -> None:
    odd = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, np.float32(0.1)], np.float32)
    nan = np.frombuffer(b"\x01\x00\xc0\x7f", np.float32)  # with a payload
    state = {"odd": odd, "nan": nan, "empty": np.zeros(shape, np.float32)}
    assert_same(ntm.state_from_bytes(ntm.state_to_bytes(state)), state)


def test_lists_and_other_numbers_become_float32(tiny_model: pathlib.Path) -> None:
    state = ntm.load(tiny_model).initial_state(2, 5)
    given_state = {name: array.astype(float).tolist() for name, array in state.items()}
    assert_same(ntm.state_from_bytes(ntm.state_to_bytes(given_state)), state)


def test_numpy_reads_and_writes_the_same_file(tiny_model: pathlib.Path) -> None:
    state = ntm.load(tiny_model).initial_state(1)
    with np.load(io.BytesIO(ntm.state_to_bytes(state)), allow_pickle=False) as file:
        assert_same(dict(file), state)
    file = io.BytesIO()
    np.savez(file, memory=state["memory"], weights=state["weights"], reads=state["reads"])
    assert_same(ntm.state_from_bytes(file.getvalue()), state)


def test_what_is_no_state_is_not_sent() -> None:
    with pytest.raises(TypeError, match=r"^state must hold arrays by name, not be a list$"):
        ntm.state_to_bytes([np.zeros(3)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^memory must hold numbers, not object$"):
        ntm.state_to_bytes({"memory": np.array([object()])})


@pytest.mark.parametrize(
    "made",
    [b"", b"PK\x03\x04" * 30, b"\x93NUMPY", pickle.dumps({"memory": np.zeros(3)}), b"{}" * 100],
    ids=["empty", "archive", "array", "pickle", "text"],
)
def test_what_is_no_state_is_not_read(made: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the bytes are no state, or damaged: [^\n]+$"):
        ntm.state_from_bytes(made)
    with pytest.raises(TypeError, match="bytes-like object"):
        ntm.state_from_bytes(str(made))  # type: ignore[arg-type]


def packed(arrays: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    """As ``state_to_bytes`` would not do it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    return file.getvalue()


def long_header() -> bytes:
    """NumPy's own error would be several lines."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }" + b" " * 20_000
        archive.writestr("memory.npy", b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header)
    return file.getvalue()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (packed({"memory": np.zeros(1 << 20, np.float32)}, zipfile.ZIP_DEFLATED), "or damaged: they are compressed"),
        (long_header(), "or damaged: Header info length"),
        (packed({"memory": np.array([{}])}), "or damaged: Object arrays cannot be loaded"),
        (packed({"memory": np.zeros(3)}), "memory holds float64, not float32"),
    ],
    ids=["compressed", "long header", "pickle", "float64"],
)
def test_what_a_stranger_may_have_made_is_refused(made: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^the bytes are no state[,:] {message}[^\n]*$"):
        ntm.state_from_bytes(made)


def test_what_is_cut_short_is_refused(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^the bytes are no state, or damaged: "):
            ntm.state_from_bytes(content[:length])


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_bytes_are_no_other_state(content: bytes, data: st.DataObject) -> None:
    """A bit of a file's date may change and harm nothing; the arrays do not change, or there is one clear error."""
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        found = ntm.state_from_bytes(bytes(damaged))
    except ValueError as error:
        assert str(error).startswith("the bytes are no state, or damaged: ")  # noqa: PT017
        return
    assert_same(found, ntm.state_from_bytes(content))
