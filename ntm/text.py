"""Text for people: messages on one line, and tables."""

from collections.abc import Sequence

DISTRIBUTION = "neural-turing-machine"  # the name for pip

# A rule of a Markdown table has three characters, and some programs accept no fewer.
_LEAST_WIDTH = 3


def one_line(message: str) -> str:
    """A message as one printable line without a full stop at its end."""
    line = " ".join(filter(None, map(str.strip, message.splitlines()))).rstrip(".")
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


def table(rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """A Markdown table that is easy to read as plain text. The first row is the header.

    The first ``left`` columns are aligned to the left, all others to the right.
    """
    widths = [max(_LEAST_WIDTH, *map(len, column)) for column in zip(*rows, strict=True)]
    rules = ["-" * width if column < left else "-" * (width - 1) + ":" for column, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    return "\n".join(map(line, (rows[0], rules, *rows[1:])))
