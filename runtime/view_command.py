"""``ntm-view``: watch a Neural Turing Machine at work, in a page of the browser."""

import functools
import http.server
import pathlib
import tempfile
import webbrowser
from http import HTTPStatus
from typing import Annotated, Any

from typer import Option

from ntm import console
from ntm.errors import explaining
from ntm.runtime import folder, options

COMMAND = "ntm-view"

_LOOPBACK = "127.0.0.1"  # no other machine sees the page


def view(
    model: options.ModelArgument = folder.DEFAULT,
    *,
    task: Annotated[
        str | None,
        Option(
            metavar="FILE.py:CLASS", help="What MODEL was trained on, if the task is not built in; this runs the file."
        ),
    ] = None,
    port: Annotated[
        int, Option(min=0, max=65_535, metavar="PORT", help="Port of the page.", show_default="a free one")
    ] = 0,
    browser: Annotated[bool, Option(help="Open the page in a browser.")] = True,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback acts on it)
) -> int:
    """Watch a Neural Turing Machine at work, in a page of the browser.

    The page shows a sequence going in and coming out, the memory, and where the heads read and write. It is served on
    this machine alone, until Ctrl-C.
    """
    console.check_stdout()
    step = folder.read(model).step
    from ntm.runtime import site  # noqa: PLC0415  (it imports NumPy)
    from ntm.runtime.evaluate import task_of  # noqa: PLC0415

    learned, runtime = task_of(step.metadata, task), site.find_runtime()
    with tempfile.TemporaryDirectory(prefix="ntm-view-", ignore_cleanup_errors=True) as temporary:
        site.write(pathlib.Path(temporary), step, learned, runtime)
        if not quiet:
            console.say(f"{COMMAND}: {runtime}")
        serve = functools.partial(Handler, directory=temporary)
        with explaining(f"cannot serve on port {port}"):
            server = http.server.ThreadingHTTPServer((_LOOPBACK, port), serve)
        with server:
            address = f"http://{_LOOPBACK}:{server.server_port}/"
            console.show(address)
            if browser:
                webbrowser.open(address)
            server.serve_forever()
    return console.OK


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of the site, with the types that browsers need, independent of the system's settings."""

    extensions_map = {  # noqa: RUF012  (like the base class)
        ".html": "text/html; charset=utf-8",
        ".css": "text/css",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".json": "application/json",
        ".wasm": "application/wasm",
    }

    def list_directory(self, _: Any) -> None:
        """Refuse to list a folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_: Any) -> None:
        """Print no requests."""


def main() -> None:
    """The entry point."""
    console.run(COMMAND, view)
