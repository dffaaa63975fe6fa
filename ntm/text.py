"""Text made fit to be shown: messages that may hold anything, and tables."""

from collections.abc import Sequence

DISTRIBUTION = "neural-turing-machine"  # what pip calls it

# A rule of Markdown is three dashes, of which one may be a colon; some programs take no fewer.
_LEAST_WIDTH = 3


def one_line(message: str) -> str:
    """A message as one printable line without a full stop; names, of files or in them, may hold anything."""
    line = " ".join(filter(None, map(str.strip, message.splitlines()))).rstrip(".")
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


def table(rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """Rows, of which the first is the header, as Markdown that is easy to read as it stands.

    The first ``left`` columns lean to the left, all others, of numbers, to the right.
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
