"""Text of others, made fit to be shown."""


def one_line(message: str) -> str:
    """A message as one printable line without a full stop; names, of files or in them, may hold anything."""
    line = " ".join(filter(None, map(str.strip, message.splitlines()))).rstrip(".")
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
