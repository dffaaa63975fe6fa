"""The page of one's own in ``examples/javascript`` copies its words in a browser."""

import pathlib
import shutil

import browser
import pytest

from ntm.runtime.folder import DEFAULT, find

PAGE = pathlib.Path(__file__).parents[2] / "examples" / "javascript" / "page.html"
WORDS = "10110010 00000001 11111111"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")

pytestmark = pytest.mark.slow


def test_it_copies_its_words(tmp_path: pathlib.Path) -> None:
    try:
        browser.chromium()
        runtime = browser.runtime()
    except browser.MissingError as missing:
        pytest.skip(str(missing))
    assert runtime.folder is not None
    for file in (PAGE, find(DEFAULT) / "step.onnx", *(runtime.folder / "dist" / name for name in FILES)):
        shutil.copy(file, tmp_path)
    with browser.serving(tmp_path) as address, browser.tab() as tab:
        tab.page.goto(f"{address}{PAGE.name}")
        tab.wait_for("document.getElementById('copy').textContent !== ''")
        assert tab.page.inner_text("#copy") == WORDS
        assert all(request.startswith(address) for request in tab.requests)
