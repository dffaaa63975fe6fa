"""Constants that ``ntm-export`` and the library share; nothing slow is imported."""

import enum

from ntm.errors import ExportError

CARD = "card.md"  # the file of the model card

# By benchmarks/export.py: the time of loading grows with U, and one sequence is hardly faster with more than 24 steps.
DEFAULT_UNROLL = 24


class Format(enum.StrEnum):
    """The formats of an export, as ``--format`` takes them."""

    ONNX = "onnx"
    SAVEDMODEL = "savedmodel"
    TFLITE = "tflite"
    TRITON = "triton"
    WEB = "web"
    NATIVE = "native"
    ALL = "all"


FORMATS = tuple(form.value for form in Format if form != Format.ALL)
# "all" leaves out native, which needs a C compiler and is for one kind of machine.
ALL = tuple(name for name in FORMATS if name != Format.NATIVE)
# The largest B N of a step of fixed sizes: more sequences side by side run no faster.
MOST_LOCATIONS = 1 << 15


def parse_sizes(text: str) -> tuple[int, ...]:
    """The value of ``--fixed``: B and N, or B alone for a network without a memory.

    Raises:
        ExportError: the text is something else.
    """
    sizes = tuple(int(size) for size in text.split(",") if size.isascii() and size.isdecimal() and len(size) < 10)
    if len(sizes) != text.count(",") + 1:
        raise ExportError(f"--fixed takes whole numbers B,N, such as 1,128, not {text!r}")
    return sizes
