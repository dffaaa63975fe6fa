"""The page of ``ntm-view`` in a browser: it does what ``ntm.load`` does, and shows it."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import browser
import numpy as np
import pytest
from browser import Tab

import ntm
from ntm.runtime import site
from ntm.runtime.folder import bundled
from ntm.tasks import Copy, Task
from ntm.tasks.catalogue import BUILT_IN

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the site of each bundled model."""
    root = tmp_path_factory.mktemp("sites")
    try:
        browser.chromium(), browser.runtime()
    except browser.MissingError as missing:
        pytest.skip(str(missing))
    for name in bundled():
        browser.make_site(root / name, name)
    with browser.serving(root) as address:
        yield address


@pytest.fixture(scope="module")
def shared_tab(sites: str) -> Iterator[Tab]:  # noqa: ARG001  (what can be skipped comes first)
    with browser.tab() as opened:
        yield opened


@pytest.fixture
def tab(shared_tab: Tab) -> Iterator[Tab]:
    """A tab that must not complain."""
    shared_tab.messages.clear()
    shared_tab.requests.clear()
    yield shared_tab
    assert shared_tab.messages == []


def found(tab: Tab) -> dict[str, np.ndarray]:
    """The sequence that is shown, and what the network did with it: as ``Model.trace`` has it."""
    got = tab.page.evaluate(
        """() => ({
            x: [...ntm.sequence.x], target: [...ntm.sequence.target], mask: [...ntm.sequence.mask], y: [...ntm.trace.y],
            N: ntm.trace.locations, weights: ntm.trace.states.slice(1).map(({ weights }) => [...weights]),
        })"""
    )
    steps, locations = len(got["mask"]), got.pop("N")
    arrays = {name: np.array(values, np.float32) for name, values in got.items()}
    shaped = {name: array.reshape(steps, -1) for name, array in arrays.items()}
    return shaped | {"weights": shaped["weights"].reshape(steps, -1, locations)}


def found_inputs(tab: Tab) -> np.ndarray:
    """The inputs of the sequence that is shown, ``[T, 1, I]``."""
    x, inputs = tab.page.evaluate("[[...ntm.sequence.x], ntm.sequence.inputs]")
    return np.reshape(np.float32(x), (-1, 1, inputs))


@pytest.mark.parametrize(
    ("name", "wanted", "perfect"),
    [
        ("copy-8bit", "length=200", True),
        ("copy-8bit", "length=200&N=512&seed=7", True),
        ("associative-recall", "items=6", True),
        ("associative-recall", "items=20&N=128&seed=5", True),
        ("repeat-copy", "length=5&repeats=3", True),
        ("priority-sort", "vectors=12", False),
        ("dynamic-ngrams", "length=100", False),
    ],
)
def test_does_what_the_runtime_does(tab: Tab, sites: str, name: str, wanted: str, perfect: bool) -> None:
    tab.open(f"{sites}{name}/#{wanted}")
    in_page, model = found(tab), ntm.load(name)
    state = model.initial_state(1, in_page["weights"].shape[2])
    trace = model.trace(in_page["x"][:, np.newaxis], state)
    np.testing.assert_allclose(in_page["weights"], trace.weights, atol=1e-5)
    np.testing.assert_allclose(in_page["y"], trace.y, atol=1e-5)
    assert ((in_page["y"] > 0.5) == (trace.y > 0.5)).all()
    counts = in_page["mask"] == 1
    wrong = ((in_page["y"] > 0.5) != (in_page["target"] > 0.5)) & counts
    assert not perfect or not wrong.any()
    if not tab.page.evaluate("Boolean(ntm.sequence.optimal)"):
        tab.page.keyboard.press("End")
        assert f"{wrong.sum()} of {counts.sum() * wrong.shape[1]} bits wrong" in tab.page.inner_text("#now")


def test_asks_nobody_else(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}copy-8bit/#length=5")
    assert tab.requests
    assert {
        url for url in tab.requests if not url.startswith((sites, "data:", "about:", f"blob:{sites[:-1]}"))
    } == set()


SIZES = {
    "copy": [{"length": 1}, {"length": 7}],
    "repeat-copy": [{"length": 1, "repeats": 1}, {"length": 3, "repeats": 12}],
    "associative-recall": [{"items": 2}, {"items": 9}],
    "priority-sort": [{"vectors": 2}, {"vectors": 20}],
    "dynamic-ngrams": [{"length": 6}, {"length": 90}],
}


@pytest.mark.parametrize(("task", "options"), [*((task, {}) for task in BUILT_IN), ("repeat-copy", {"count": "steps"})])
def test_encodes_as_the_task_does(tab: Tab, sites: str, task: str, options: dict[str, str]) -> None:
    """The words that a sequence of Python holds, encoded by the page, give this sequence; so do the page's own."""
    tab.open(f"{sites}copy-8bit/")
    made, rng = ntm.tasks.find(task, options), np.random.default_rng(3)
    for size in SIZES[task]:
        for _ in range(3):
            batch = made.batch(rng, 1, size)
            tensors = {"x": batch.x, "target": batch.target, "mask": batch.mask}
            given = {name: np.float32(values[:, 0]).tolist() for name, values in tensors.items()}
            got = tab.page.evaluate(
                """async ([name, options, size, given]) => {
                    const { BUILT_IN, recorded } = await import(new URL("page/tasks/index.js", document.baseURI));
                    const { decode } = await import(new URL("page/tasks/recorded.js", document.baseURI));
                    const task = BUILT_IN[name];
                    const encode = (sequence) => task.encode(options, task.words(options, sequence, size), size);
                    const { random } = await import(new URL("page/random.js", document.baseURI));
                    const own = task.make(options, size, random(5));
                    const again = encode(own);
                    const plain = ({ x, target, mask, optimal }) =>
                        ({ x: [...x], target: [...target], mask: [...mask], optimal: optimal && [...optimal] });
                    return { encoded: plain(encode(decode(given))), own: plain(own), again: plain(again),
                             locations: task.locations(options, size), steps: own.steps };
                }""",
                [task, made.options, size, given],
            )
            for name, values in tensors.items():
                np.testing.assert_array_equal(np.float32(got["encoded"][name]), np.float32(values).ravel())
            optimal = made.optimal(batch)
            if optimal is not None:
                np.testing.assert_allclose(got["encoded"]["optimal"], optimal.ravel(), rtol=1e-6)
            assert got["own"] == got["again"]
            assert got["locations"] == made.memory_locations(size)
            assert got["steps"] == made.steps(size)


@pytest.mark.parametrize("text", ["a", "Hello wörld, 你好 🙂!", "x" * 290])
def test_writes_a_text_to_memory_and_reads_it_back(tab: Tab, sites: str, text: str) -> None:
    tab.open(f"{sites}copy-8bit/")
    tab.page.fill("input[name=text]", text)
    tab.settled()
    tab.page.evaluate("document.activeElement.blur()")
    tab.page.keyboard.press("End")
    assert tab.page.inner_text("#spelled output") == text
    assert tab.page.locator("#spelled mark").count() == 0
    steps = 2 * len(text.encode()) + 1
    assert f"Step {steps} of {steps}, output phase · 0 of" in tab.page.inner_text("#now")


def test_a_disturbed_location_spoils_what_was_written_there(tab: Tab, sites: str) -> None:
    """Copying walks: so the one word that the location held is wrong, and the others are right."""
    tab.open(f"{sites}copy-8bit/#length=20&step=21")
    locations = tab.page.evaluate("() => ntm.trace.states[21].memory.length / 20")
    written = tab.page.evaluate(
        "(n) => { const w = ntm.trace.states[5].weights.slice(n); return w.indexOf(Math.max(...w)); }", locations
    )
    tab.page.fill("#location", str(written))
    tab.page.click("#disturb")
    tab.settled()
    got = found(tab)
    wrong = (((got["y"] > 0.5) != (got["target"] > 0.5)) & (got["mask"] == 1)).any(axis=1)
    assert wrong.sum() == 1
    assert tab.page.locator("#restore").is_enabled()
    assert tab.page.evaluate("ntm.step") == 21
    tab.page.click("#restore")
    tab.settled()
    got = found(tab)
    assert not (((got["y"] > 0.5) != (got["target"] > 0.5)) & (got["mask"] == 1)).any()


def test_a_click_on_the_memory_disturbs(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}copy-8bit/#length=20&step=21")
    tab.page.locator("#memory > canvas").click(position={"x": 40, "y": 40})
    tab.settled()
    assert tab.page.evaluate("ntm.changes.map(({ step }) => step)") == [21]


def test_can_be_used_by_the_keyboard(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}copy-8bit/#length=5")
    assert tab.page.evaluate("ntm.step") == 0  # it does not begin to move where motion is to be reduced
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 11), ("Home", 0)):
        tab.page.keyboard.press(key)
        assert tab.page.evaluate("ntm.step") == step
    tab.wait_for("location.hash.includes('step=0')")
    tab.page.keyboard.press("Space")
    tab.wait_for("ntm.step === 11")
    assert tab.page.get_attribute("#play", "aria-label") == "Play"


def test_sliders_and_buttons_make_other_sequences(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}associative-recall/#items=3&seed=2")
    first = found(tab)["x"]
    assert tab.page.locator("#parts li").count() == 5  # three items, the query and the answer
    tab.page.click("#another")
    tab.settled()
    second = found(tab)["x"]
    assert first.shape == second.shape
    assert (first != second).any()
    tab.page.locator("#sizes input").fill("8")
    tab.settled()
    assert tab.page.locator("#parts li").count() == 10
    tab.page.select_option("select[name=locations]", "256")
    tab.settled()
    assert found(tab)["weights"].shape[2] == 256
    tab.wait_for("location.hash.includes('items=8') && location.hash.includes('N=256')")


def test_says_where_the_memory_is_too_small(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}copy-8bit/#length=60&N=32")
    assert "N = 32 is fewer than the 62 locations" in tab.page.inner_text("#now")


@pytest.mark.parametrize("width", [320, 768, 1600])
def test_fits_the_screen(tab: Tab, sites: str, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 700})
    for name in bundled():
        tab.open(f"{sites}{name}/")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, name
    tab.page.set_viewport_size({"width": 1000, "height": 800})


def test_names_everything_for_a_screen_reader(tab: Tab, sites: str) -> None:
    tab.open(f"{sites}repeat-copy/")
    unnamed = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas[role=img]")]
            .filter((one) => one.checkVisibility() && !one.ariaLabel && !one.textContent.trim()
                             && !one.labels?.length && !one.closest("figure, label"))
            .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize(
    "damaged", ["page/step.onnx", "page/ort.wasm.bundle.min.mjs", "page/ort-wasm-simd-threaded.wasm"]
)
def test_a_damaged_file_shows_an_error(shared_tab: Tab, tmp_path: pathlib.Path, damaged: str) -> None:
    root = browser.make_site(tmp_path / "site", "copy-8bit")
    path = root / damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with browser.serving(root) as address:
        shared_tab.page.goto(address)
        shared_tab.page.wait_for_selector("#error:not([hidden])")
        assert shared_tab.page.inner_text("#error") == f"Cannot load {damaged}: it cannot be reached, or it is damaged."
        assert not shared_tab.page.is_visible("#view")


def test_a_missing_file_shows_an_error(shared_tab: Tab, tmp_path: pathlib.Path) -> None:
    root = browser.make_site(tmp_path / "site", "copy-8bit")
    (root / "page" / "step.onnx").unlink()
    with browser.serving(root) as address:
        shared_tab.page.goto(address)
        shared_tab.page.wait_for_selector("#error:not([hidden])")
        assert "Cannot load page/step.onnx" in shared_tab.page.inner_text("#error")


class OwnCopy(Copy):
    """Copy, as a task of the user's: the page knows nothing of how it makes sequences."""

    name = "own"


def test_a_task_of_the_users_brings_its_sequences(tab: Tab, tmp_path: pathlib.Path) -> None:
    own: Task = OwnCopy()
    root = browser.make_site(tmp_path / "site", "copy-8bit", own)
    sequences = json.loads((root / "page" / "model.json").read_text(encoding="utf-8"))["sequences"]
    with browser.serving(root) as address:
        tab.open(f"{address}#size=3&seed=1")
        shown = found(tab)
        assert any(
            np.array_equal(shown["x"], np.float32(one["x"]))
            and np.array_equal(shown["target"], np.float32(one["target"]))
            for one in sequences
        )
        assert tab.page.inner_text("#sizes output").startswith("length ")
        assert not tab.page.is_visible("#text")


@pytest.mark.parametrize(
    ("options", "panels"),
    [
        (
            {"controller": "lstm", "controller_sizes": (6,), "read_heads": 2},
            ["Read head 1", "Read head 2", "Write head"],
        ),
        ({"model": "lstm", "layer_sizes": (5, 4)}, []),
    ],
)
def test_shows_what_a_controller_carries(
    tab: Tab, tmp_path: pathlib.Path, options: dict[str, Any], panels: list[str]
) -> None:
    """As ``ntm-export --format web`` writes it, of networks that have learned nothing."""
    pytest.importorskip("tensorflow")
    trained = ntm.train("copy", max_batches=1, xla=False, **options)
    with pytest.warns(UserWarning, match="not converged"):
        ntm.export(trained, tmp_path / "site", formats=["web", "onnx"])
    with browser.serving(tmp_path / "site") as address:
        tab.open(f"{address}#length=4")
        titles = tab.page.locator("#over-time figcaption").all_inner_texts()
        wanted = [f"{name}: weighting, location by step" for name in panels]
        assert titles == [*wanted, "Hidden: unit by step", "Cell: unit by step"]
        assert tab.page.is_visible("#memory") == bool(panels)
        assert tab.page.is_visible("#locations") == bool(panels)
        x, model = found_inputs(tab), ntm.load(tmp_path / "site")
        y, state = model.run(x, model.initial_state(1, tab.page.evaluate("ntm.trace.locations")))
        np.testing.assert_allclose(np.float32(tab.page.evaluate("[...ntm.trace.y]")), y.ravel(), atol=1e-5)
        last = tab.page.evaluate("[...ntm.trace.states.at(-1).hidden]")
        np.testing.assert_allclose(np.float32(last), state["hidden"].ravel(), atol=1e-5)


def test_is_plain_files() -> None:
    """No build step, no trackers, no fonts from elsewhere: the files name no other machine but the CDN's."""
    source = pathlib.Path(site.__file__).with_name("page")
    for path in source.rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://localhost:8000", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
