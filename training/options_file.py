"""The options of ``ntm-train`` from a TOML file: its keys are the long names of the options.

.. code-block:: toml

    task = "copy"
    seed = 3
    controller-sizes = [100, 100]   # or "100,100"
    xla = false
    size.length = [1, 40]           # or "1-40"
    option.bits = 16
"""

import json
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from ntm.errors import RunError, explaining

SUFFIX = ".toml"
_BETWEEN = {"size": "-"}  # the sign between the numbers of a list, if it is no comma


def use(context: Any, path: pathlib.Path | None) -> pathlib.Path | None:
    """Make the options in a TOML file the defaults of the command. Any other path is returned.

    Args:
        context: the ``typer.Context`` of the command.
        path: the file.

    Raises:
        FileError: the file cannot be read.
        RunError: the file is not TOML, or has an unknown option.
    """
    if path is None or path.suffix != SUFFIX:
        return path
    context.default_map = _read(path, context.command)
    return None


def _read(path: pathlib.Path, command: Any) -> dict[str, Any]:
    """The values of a command's parameters in a TOML file."""
    try:
        with explaining(f"cannot read {path}"), open(path, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    parameters = {
        name.lstrip("-"): parameter
        for parameter in command.params
        for name in parameter.opts
        if not parameter.is_eager  # --config and --version are eager
    }
    found = {}
    for key, value in values.items():
        parameter = parameters.get(key.replace("_", "-"))
        if parameter is None:
            raise RunError(f"cannot read {path}: there is no option {key}")
        try:
            found[parameter.name] = _as_given(key, value, several=parameter.multiple)
        except ValueError as error:
            raise RunError(f"cannot read {path}: {key} {error}") from error
    return found


def _as_given(key: str, value: Any, *, several: bool) -> Any:
    """A value in the form of the command line.

    Raises:
        ValueError: the value is a table, or a date.
    """
    if isinstance(value, Mapping):
        if not several:
            raise ValueError("must be one value, not a table")
        return [f"{name}={_text(part, _BETWEEN.get(key, ','))}" for name, part in value.items()]
    if several:
        return [_text(part, ",") for part in (value if isinstance(value, list) else [value])]
    return value if isinstance(value, bool) else _text(value, ",")


def _text(value: Any, between: str) -> str:
    if isinstance(value, list):
        return between.join(_text(part, between) for part in value)
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"must hold numbers, texts and truth values, not {value!r}")
    return value if isinstance(value, str) else json.dumps(value)
