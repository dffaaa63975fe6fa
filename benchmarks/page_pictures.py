"""Draw the pictures of ``ntm-view`` for the docs: a screenshot, and a short animation of the same page.

Both are of the page itself in headless Chromium, see ``browser.py``: ``page.png``, a text that is being copied, and
``page.gif``, associative recall step by step. ``--all FOLDER`` writes screenshots to look at instead: every task, on a
phone and on a desktop, light and dark, while the sequence goes in and while it comes out.
"""

import argparse
import io
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import browser
from PIL import Image

from ntm import console
from ntm.runtime.folder import bundled

_SCREENSHOT = "copy-8bit/#text=A+tape+that+is+learned,+not+built&step=56"
_ANIMATION = "associative-recall/#items=3&seed=5"
_MILLISECONDS = 250  # of a step
_COLOURS = 128
_SCREENS = {"phone": (390, 844), "narrow": (320, 640), "desktop": (1280, 900)}


def main() -> int:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("docs/pictures"), help="default: %(default)s"
    )
    parser.add_argument("--all", type=pathlib.Path, metavar="FOLDER", help="screenshots to look at instead")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            root = pathlib.Path(temporary)
            for name in bundled():
                browser.make_site(root / name, name)
            with browser.serving(root) as address:
                if arguments.all:
                    arguments.all.mkdir(exist_ok=True)
                    _look_at_all(address, arguments.all)
                else:
                    _draw(address, arguments.output)
    except browser.MissingError as missing:
        print(missing, file=sys.stderr)
        return console.TROUBLE
    return console.OK


def _draw(address: str, output: pathlib.Path) -> None:
    """The pictures of the docs."""
    with browser.tab(viewport={"width": 1100, "height": 830}) as tab:
        tab.open(address + _SCREENSHOT)
        _optimised(tab.page.screenshot(), output / "page.png")
    with browser.tab(viewport={"width": 860, "height": 760}) as tab:
        tab.open(address + _ANIMATION)
        first, *others = _frames(tab)
        last = 6 * _MILLISECONDS
        first.save(
            output / "page.gif",
            save_all=True,
            append_images=others,
            duration=[_MILLISECONDS] * len(others) + [last],
            loop=0,
            optimize=True,
        )


def _frames(tab: browser.Tab) -> Iterator[Image.Image]:
    """The page at every step."""
    for step in range(tab.page.evaluate("ntm.sequence.steps") + 1):
        tab.page.evaluate("(step) => ntm.goTo(step)", step)
        yield _few_colours(tab.page.screenshot())


def _few_colours(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)


def _optimised(png: bytes, path: pathlib.Path) -> None:
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _look_at_all(address: str, folder: pathlib.Path) -> None:
    for screen, (width, height) in _SCREENS.items():
        for scheme in ("light", "dark"):
            viewport = {"width": width, "height": height}
            with browser.tab(viewport=viewport, color_scheme=scheme) as tab:
                for name in bundled():
                    for moment in ("input", "output"):
                        tab.open(f"{address}{name}/")
                        step = tab.page.evaluate("[ntm.sequence.outputPhase, ntm.sequence.steps]")
                        at = step[0] // 2 if moment == "input" else step[1] - 1
                        tab.page.evaluate("(step) => ntm.goTo(step)", at)
                        tab.page.screenshot(path=folder / f"{name}-{screen}-{scheme}-{moment}.png")


if __name__ == "__main__":
    sys.exit(main())
