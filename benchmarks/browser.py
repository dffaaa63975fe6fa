"""The page of ``ntm-view`` in headless Chromium: for the tests of the page, its benchmark and its pictures.

It needs the extra ``browser``, Chromium, and the npm package onnxruntime-web in ``node_modules`` here or in a folder
that ``NODE_PATH`` names.
"""

import contextlib
import functools
import http.server
import importlib.util
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

from ntm.runtime import folder, site
from ntm.runtime.evaluate import task_of
from ntm.runtime.view_command import Handler
from ntm.tasks.task import Task

# Debian's, and what others call it; the environment may name another.
_NAMES = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
_PATIENCE = 120.0  # seconds


class MissingError(Exception):
    """Something that must be installed is not; the message says what."""


def chromium() -> str:
    """The path of Chromium.

    Raises:
        MissingError: it is not installed, or the package that drives it is not.
    """
    if importlib.util.find_spec("playwright") is None:
        raise MissingError("playwright is missing: pip install 'neural-turing-machine[browser]'")
    for found in map(shutil.which, filter(None, _NAMES)):
        if found is not None:
            return found
    raise MissingError("Chromium is not installed: apt-get install chromium")


def runtime() -> site.Runtime:
    """The npm package onnxruntime-web.

    Raises:
        MissingError: it is not installed.
    """
    found = site.find_runtime()
    if found.folder is None:
        raise MissingError(
            f"{site.PACKAGE} is not installed: npm install {site.PACKAGE}, and name its folder in NODE_PATH"
        )
    return found


def make_site(root: pathlib.Path, model: str | pathlib.Path, task: Task | None = None) -> pathlib.Path:
    """Write the site of a model into a new folder.

    Raises:
        MissingError: onnxruntime-web is not installed.
    """
    step = folder.read(model).step
    root.mkdir()
    site.write(root, step, task_of(step.metadata, task), runtime())
    return root


@contextlib.contextmanager
def serving(root: pathlib.Path) -> Iterator[str]:
    """Serve a folder on the loopback interface; gives its address."""
    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Tab:
    """A tab with the page.

    Attributes:
        page: the page of playwright.
        messages: the messages of the page on the console, and its errors.
        requests: the addresses that the page has requested.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(_PATIENCE * 1_000)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address: str) -> None:
        """Open an address, and wait for its sequence."""
        self.page.goto("about:blank")  # so that another #fragment loads the page anew
        self.page.goto(address)
        self.settled()

    def settled(self) -> None:
        """Wait until what was asked for has been run and is shown."""
        self.wait_for("window.ntm?.settled?.() === true")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true. The page's policy forbids playwright's own way.

        Raises:
            TimeoutError: it has not become true.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} is still not true; the page says: {self.page.inner_text('body')}")
            self.page.wait_for_timeout(20)


@contextlib.contextmanager
def tab(**options: Any) -> Iterator[Tab]:
    """A tab of headless Chromium, without motion unless the options of playwright's context ask for it.

    Raises:
        MissingError: Chromium, or what drives it, is not installed.
    """
    path = chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (it may be missing)

    usual = {"reduced_motion": "reduce", "viewport": {"width": 1000, "height": 800}}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with contextlib.closing(browser):
            yield Tab(browser.new_page(**usual | options))
