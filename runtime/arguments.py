"""Checks of the arguments that callers give: the error says what is wrong, and what to do."""

import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt


def whole_number(name: str, value: SupportsIndex, least: int) -> int:
    """An argument that is a whole number.

    Raises:
        TypeError: the value is no whole number.
        ValueError: the value is below ``least``.
    """
    if isinstance(value, bool | np.bool_) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def floats(name: str, value: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Numbers as a contiguous float32 array, which onnxruntime takes. Such an array is not copied.

    Raises:
        ValueError: the value holds something other than numbers, or lists of different lengths.
    """
    if type(value) is np.ndarray and value.dtype == np.float32 and value.flags.c_contiguous:
        return value
    return np.ascontiguousarray(numbers(name, value), np.float32)


def numbers(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Numbers or booleans, in an array or in nested lists, as an array of their type.

    Raises:
        ValueError: the value holds something other than numbers, or lists of different lengths.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name} must be an array, or lists of equal lengths: give sequences of different lengths one by one, or "
            "those of each length together, or their inputs to Model.run_each"
        ) from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, not {array.dtype}")
    return array
