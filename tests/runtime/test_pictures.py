"""What the pictures of ``ntm-eval`` show, asked of the figures; and that their files are whole or not there."""

import itertools
import pathlib
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import ntm
from ntm import console
from ntm.runtime import pictures
from ntm.runtime.evaluate import Case, Recall, Score
from ntm.runtime.model import Trace


def score_of(length: int, *wrong: tuple[int, int], sequences: int = 100) -> Score:
    """The score of a network that got these bits of a sequence wrong, and no other sequence."""
    words = np.random.default_rng(length).integers(0, 2, (length, 8), np.uint8)
    y = words.astype(np.float32)
    for word, bit in wrong:
        y[word, bit] = 1 - y[word, bit]
    wrong_bits = np.zeros(sequences, np.int64)
    wrong_bits[0] = len(wrong)
    return Score(Case(length, 128, sequences), wrong_bits, np.zeros(sequences), Recall(words, y))


def panels(figure: Figure) -> dict[str, Axes]:
    """The panels that show something, by title and head, or by label."""
    return {
        f"{axes.get_title(loc='left')} {axes.get_title(loc='right')}".strip() or axes.get_ylabel(): axes
        for axes in figure.get_axes()
        if axes.images
    }


def shown(axes: Axes) -> Any:
    return axes.images[0].get_array()


def test_copies_are_three_panels_for_each_length() -> None:
    first, second = score_of(20), score_of(120, (60, 3), (61, 3))
    figure = pictures.draw_copies([first, second])
    with_images = [axes for axes in figure.get_axes() if axes.images]
    assert [axes.get_ylabel() for axes in with_images] == ["target", "output", "error:\noutput - target"] * 2
    assert [axes.get_title() for axes in with_images if axes.get_title()] == [
        "no bit wrong in 100 sequences of length 20, N = 128",
        "2 of 960 bits wrong in the worst of 100 sequences of length 120, N = 128",
    ]
    assert [axes.get_xlabel() for axes in with_images] == ["", "", "word"] * 2
    for i, score in enumerate((first, second)):
        target, output, error = with_images[3 * i : 3 * i + 3]
        np.testing.assert_array_equal(shown(target), score.worst.words.T)
        np.testing.assert_array_equal(shown(output), score.worst.y.T)
        np.testing.assert_array_equal(shown(error), (score.worst.y - score.worst.words).T)
        assert target.get_xlim() == output.get_xlim() == error.get_xlim() == (0.5, score.case.length + 0.5)
        assert target.images[0].get_clim() == output.images[0].get_clim() == (0, 1)
        assert error.images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("length", [500, 501, 1_000, 10_000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_no_error_is_too_small_to_be_seen(length: int, place: float) -> None:
    """One wrong bit of 80,000 is an element of the picture, and an element is more than a dot."""
    word = round(place * (length - 1))
    figure = pictures.draw_copies([score_of(length, (word, 5))])
    error = shown(panels(figure)["error:\noutput - target"])
    assert np.count_nonzero(error) == 1
    row, column = np.argwhere(error)[0]
    assert row == 5
    assert column == word // -(-length // 500)
    assert error.shape[1] <= 500


@pytest.fixture
def trace(tiny_model: pathlib.Path) -> Trace:
    """A copy of 5 words in 128 locations."""
    model = ntm.load(tiny_model)
    words = np.random.default_rng(0).integers(0, 2, (1, 5, 8), np.uint8)
    return model.trace(words, model.initial_state(1, 128))


def test_a_trace_is_five_panels(trace: Trace) -> None:
    figure = pictures.draw_trace(trace)
    titles = panels(figure)
    assert set(titles) == {"adds", "reads", "write weights", "memory after the delimiter", "read weights"}
    np.testing.assert_array_equal(shown(titles["adds"]), trace.adds[:, 0].T)
    np.testing.assert_array_equal(shown(titles["reads"]), trace.reads[:, 0].T)
    # The write head gets to location 11; the rest of the 128 is left out, the same in all three.
    np.testing.assert_array_equal(shown(titles["write weights"]), trace.weights[:, 1, :13].T)
    np.testing.assert_array_equal(shown(titles["read weights"]), trace.weights[:, 0, :13].T)
    np.testing.assert_array_equal(shown(titles["memory after the delimiter"]), trace.memory[:, :13].T)
    for name in ("adds", "reads", "write weights", "read weights"):
        assert titles[name].get_xlabel() == "time step"
        assert titles[name].get_title() == ("" if "weights" in name else "delimiter")
        assert titles[name].get_xlim() == (0.5, 11.5)  # from left to right
        (mark,) = titles[name].patches
        assert (mark.get_x(), mark.get_x() + mark.get_width()) == (5.5, 6.5)  # type: ignore[attr-defined]
    assert titles["write weights"].get_ylabel() == "location"
    assert titles["adds"].get_ylabel() == titles["memory after the delimiter"].get_xlabel() == "vector element"
    assert len({titles[name].images[0].get_clim() for name in ("adds", "memory after the delimiter", "reads")}) == 1
    assert figure.get_suptitle() == "a copy of length 5, N = 128: no bit wrong"


def test_a_trace_of_several_heads(trace: Trace) -> None:
    """Each has a panel of its own, and panels one above the other share the time."""
    weights = trace.weights[:, [0, 0, 0, 1, 1]] * np.array([1, 0.5, 0.25, 0.5, 1], np.float32)[:, np.newaxis]
    several = trace._replace(
        adds=np.concatenate([trace.adds, -trace.adds], axis=1),
        weights=weights,
        reads=np.concatenate([trace.reads, -trace.reads, 0 * trace.reads], axis=1),
    )
    figure = pictures.draw_trace(several)
    assert set(panels(figure)) == {
        *("adds head 0", "head 1", "reads head 0", "head 2", "write weights head 0", "read weights head 0"),
        "memory after the delimiter",
    }
    drawn = [axes for axes in figure.get_axes() if axes.images]
    expected = [*several.adds.transpose(1, 2, 0), *several.reads.transpose(1, 2, 0)]
    expected += [*weights[:, 3:, :13].transpose(1, 2, 0), *weights[:, :3, :13].transpose(1, 2, 0)]
    assert len(drawn) == len(expected) + 1
    for axes, values in zip(drawn, expected, strict=False):
        np.testing.assert_array_equal(shown(axes), values)
    assert [axes.get_xlabel() for axes in drawn[:-1]] == [*("", "time step"), *("", "", "time step")] * 2
    figure.draw_without_rendering()
    columns = [axes.get_position().intervalx.tolist() for axes in drawn]
    assert columns[:2] == columns[5:7] == [columns[0]] * 2
    assert columns[2:5] == columns[7:10] == [columns[2]] * 3


@pytest.mark.parametrize(("length", "locations"), [(1, 3), (20, 128), (120, 128), (1_000, 1_002), (100_000, 3)])
@pytest.mark.parametrize("heads", [1, 3])
def test_no_text_is_printed_over_another(length: int, locations: int, heads: int) -> None:
    steps = 2 * length + 1
    figure = pictures.draw_trace(
        Trace(
            x=np.zeros((steps, 9), np.float32),
            y=np.zeros((steps, 8), np.float32),
            adds=np.zeros((steps, 1, 20), np.float32),
            weights=np.full((steps, heads + 1, locations), 1, np.float32),
            reads=np.zeros((steps, heads, 20), np.float32),
            memory=np.zeros((20, locations), np.float32),
        )
    )
    figure.draw_without_rendering()
    words = {text for text in figure.findobj(Text) if any(map(str.isalpha, text.get_text()))}
    assert len(words) >= 15
    over = [
        (a, b) for a, b in itertools.combinations(words, 2) if a.get_window_extent().overlaps(b.get_window_extent())
    ]
    assert not over


def test_a_trace_of_many_heads(trace: Trace) -> None:
    """A picture that grew with them could become too large to be drawn."""
    figure = pictures.draw_trace(
        trace._replace(adds=trace.adds.repeat(50, axis=1), weights=trace.weights[:, [0, *[1] * 50]])
    )
    assert figure.get_size_inches()[1] < 100


def test_a_trace_without_any_focus(trace: Trace) -> None:
    pictures.draw_trace(trace._replace(weights=np.full_like(trace.weights, 1 / 128)))


def test_wrong_bits_of_a_trace_are_counted(trace: Trace) -> None:
    figure = pictures.draw_trace(trace._replace(y=1 - trace.y))
    assert figure.get_suptitle() == "a copy of length 5, N = 128: 40 of 40 bits wrong"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "PNG"])
def test_saved_as_the_name_says(tmp_path: pathlib.Path, trace: Trace, suffix: str) -> None:
    path = tmp_path / f"trace.{suffix}"
    pictures.save(pictures.draw_trace(trace), path, replace=False)
    assert list(tmp_path.iterdir()) == [path]
    if suffix.lower() == "png":
        assert imread(path).shape == (930, 1500, 4)
    elif suffix == "pdf":
        assert path.read_bytes().startswith(b"%PDF")
    else:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314


def test_a_picture_is_whole_or_not_there(tmp_path: pathlib.Path) -> None:
    path, figure = tmp_path / "plot.png", pictures.draw_copies([score_of(5)])

    def fail(file: Any, **_: object) -> None:
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    with (
        mock.patch.object(figure, "savefig", fail),
        pytest.raises(console.CommandError, match=r"^cannot write .*plot.png: no space left on device$"),
    ):
        pictures.save(figure, path, replace=False)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"mine")
    with pytest.raises(console.CommandError, match="file exists"):
        pictures.save(figure, path, replace=False)
    assert path.read_bytes() == b"mine"
    pictures.save(figure, path, replace=True)
    assert imread(path).ndim == 3
