import pathlib
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntm
from ntm.runtime.stream import copy_batch, copy_batches


@pytest.fixture(scope="module")
def model(tiny_model: pathlib.Path) -> ntm.Model:
    return ntm.load(tiny_model, memory_locations=16)


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=200), block_length=st.integers(1, 14))
def test_bytes_come_back(model: ntm.Model, content: bytes, block_length: int) -> None:
    assert copy_batch(model, content, block_length) == (content, 0, None)


@settings(deadline=None, max_examples=25)
@given(content=st.binary(min_size=1, max_size=100), size=st.integers(1, 50), threads=st.integers(1, 4))
def test_order_is_kept(model: ntm.Model, content: bytes, size: int, threads: int) -> None:
    batches = [content[start : start + size] for start in range(0, len(content), size)]
    assert [batch.content for batch in copy_batches(model, batches, 7, threads)] == batches


def test_the_most_significant_bit_is_first(edited_model: Callable[..., pathlib.Path]) -> None:
    def forget_the_first(weights: object) -> object:
        weights[..., 0] = weights[..., -1]  # type: ignore[index]
        return weights

    forgetful = ntm.load(edited_model(weights=lambda w: forget_the_first(w.copy()) if w.ndim == 2 else w))
    copied = copy_batch(forgetful, b"\x00\x80\x01\x81", 4)
    assert copied.content == b"\x00\x00\x81\x81"
    assert (copied.wrong_bits, copied.first_wrong) == (2, 1)


def test_few_batches_are_read_ahead(model: ntm.Model) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"abc"

    copied = copy_batches(model, endless(), 3, threads=2)
    for done in range(1, 20):
        next(copied)
        assert read <= done + 4


def test_an_error_ends_it_and_no_thread_stays(model: ntm.Model) -> None:
    def failing() -> Iterator[bytes]:
        yield from [b"abc"] * 10
        raise OSError("gone")

    before = threading.active_count()
    with pytest.raises(OSError, match="gone"):
        list(copy_batches(model, failing(), 3, threads=2))
    assert threading.active_count() == before
