"""What the pictures of ``ntm-eval`` show, asked of the figures; and that their files are whole or not there."""

import dataclasses
import itertools
import pathlib
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.legend import Legend
from matplotlib.text import Text

import ntm
from ntm.errors import FileError
from ntm.runtime import pictures
from ntm.runtime.evaluate import Case, Output, Score
from ntm.runtime.model import Trace
from ntm.tasks import Batch, Size, Task, find
from ntm.tasks.copy import inputs


def score_of(batch: Batch, size: Size, *wrong: tuple[int, int], sequences: int = 100) -> Score:
    """The score of a network that got these outputs of the one sequence of a batch wrong, and no other sequence."""
    x, target, mask = (values[:, 0] for values in batch)
    y = target.copy()
    for step, output in wrong:
        y[step, output] = 1 - y[step, output]
    worst = Output(x, target, mask, y)
    wrong_bits = np.zeros(sequences, np.int64)
    wrong_bits[0] = worst.wrong_bits
    return Score(Case(size, 128, sequences), wrong_bits, np.zeros(sequences), None, worst)


def score_of_copy(length: int, *wrong: tuple[int, int], sequences: int = 100) -> Score:
    """The score of a network that got these bits of the words of a copy wrong."""
    in_output_phase = [(length + 1 + word, bit) for word, bit in wrong]
    return score_of(drawn(find("copy"), length=length), {"length": length}, *in_output_phase, sequences=sequences)


def drawn(task: Task, **size: int) -> Batch:
    """One sequence."""
    return Batch(*(values.astype(np.float32) for values in task.batch(np.random.default_rng(0), 1, size)))


def panels(figure: Figure) -> dict[str, Axes]:
    """The panels that show something, by title and head, or by label."""
    return {
        f"{axes.get_title(loc='left')} {axes.get_title(loc='right')}".strip() or axes.get_ylabel(): axes
        for axes in figure.get_axes()
        if axes.images
    }


def shown(axes: Axes) -> Any:
    return axes.images[0].get_array()


def assert_shows(axes: Axes, values: Any, counts: Any) -> None:
    """The image holds ``[T, rows]`` where they count, and nothing elsewhere."""
    image = shown(axes)
    masked = np.broadcast_to(np.ma.getmaskarray(image), image.shape)
    np.testing.assert_array_equal(masked, np.broadcast_to(~counts, values.T.shape))
    np.testing.assert_array_equal(np.ma.getdata(image)[~masked], values.T[~masked])


def is_grey(color: Any) -> bool:
    red, green, blue, _ = to_rgba(color)
    return red == green == blue and 0 < red < 1


# Sequences


def test_sequences_are_four_panels_for_each_size() -> None:
    first, second = score_of_copy(20), score_of_copy(120, (60, 3), (61, 3))
    figure = pictures.draw_sequences([first, second])
    with_images = [axes for axes in figure.get_axes() if axes.images]
    assert [axes.get_ylabel() for axes in with_images] == ["input", "target", "output", "error:\noutput - target"] * 2
    assert [axes.get_title() for axes in with_images if axes.get_title()] == [
        "no bit wrong in 100 sequences of length=20, N = 128",
        "2 of 960 bits wrong in the worst of 100 sequences of length=120, N = 128",
    ]
    assert [axes.get_xlabel() for axes in with_images] == ["", "", "", "time step"] * 2
    for i, score in enumerate((first, second)):
        seen, target, output, error = with_images[4 * i : 4 * i + 4]
        counts = score.worst.mask > 0
        assert_shows(seen, score.worst.x, np.full(len(counts), True))
        assert_shows(target, score.worst.target, counts)
        assert_shows(output, score.worst.y, counts)
        assert_shows(error, score.worst.y - score.worst.target, counts)
        steps = 2 * score.case.size["length"] + 1
        assert {axes.get_xlim() for axes in (seen, target, output, error)} == {(0.5, steps + 0.5)}
        assert {axes.images[0].get_clim() for axes in (seen, target, output)} == {(0, 1)}
        assert error.images[0].get_clim() == (-1, 1)
        assert all(is_grey(axes.get_facecolor()) for axes in (target, output, error))


def test_inputs_below_0_have_a_colour_of_their_own() -> None:
    """In priority-sort: 0 is white, and the scale is the same for all sizes and for both signs."""
    task = find("priority-sort")
    batches = {size: drawn(task, vectors=size) for size in (10, 20)}
    scores = [score_of(batch, {"vectors": size}) for size, batch in batches.items()]
    assert all(batch.x.min() < 0 for batch in batches.values())
    figure = pictures.draw_sequences(scores)
    for axes, score in zip([axes for axes in figure.get_axes() if axes.get_ylabel() == "input"], scores, strict=True):
        assert_shows(axes, score.worst.x, np.full(len(score.worst.x), True))
        image = axes.images[0]
        assert image.get_clim() == (-1, 1)
        colour = {value: image.to_rgba(np.array([[value]]))[0, 0, :3].tolist() for value in (-1, 0, 1)}
        assert colour[0] == [1, 1, 1]
        assert colour[-1][2] > colour[-1][0]  # purple
        assert colour[1][0] > colour[1][2]  # orange
    (bar,) = [axes for axes in figure.get_axes() if axes.get_title() == "input"]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["\N{MINUS SIGN}1", "0", "1"]


def test_inputs_above_1_are_shown_as_large_as_they_are() -> None:
    """In repeat-copy, where the number of repeats is normalised: it may also be below 0."""
    task = find("repeat-copy")
    for repeats, limits in ((10, (0, 4.5 / 8.25**0.5)), (20, (0, 14.5 / 8.25**0.5)), (5, (-1, 1))):
        size = {"length": 3, "repeats": repeats}
        figure = pictures.draw_sequences([score_of(drawn(task, **size), size)])
        assert panels(figure)["input"].images[0].get_clim() == pytest.approx(limits, rel=1e-6)
    scores = [
        score_of(drawn(task, length=3, repeats=repeats), {"length": 3, "repeats": repeats}) for repeats in (5, 20)
    ]
    figure = pictures.draw_sequences(scores)
    for axes in figure.get_axes():
        if axes.get_ylabel() == "input":
            assert axes.images[0].get_clim() == pytest.approx((-14.5 / 8.25**0.5, 14.5 / 8.25**0.5), rel=1e-6)
    assert scores[0].worst.target.shape[1] == 9


def test_an_output_phase_from_early_on() -> None:
    """In dynamic-ngrams: one row, of which all but the first four steps count."""
    size = {"length": 200}
    score = score_of(drawn(find("dynamic-ngrams"), **size), size, (0, 0), (4, 0), (198, 0))
    figure = pictures.draw_sequences([score])
    titles = panels(figure)
    counts = np.arange(199) >= 4
    for name, values in (("target", score.worst.target), ("output", score.worst.y)):
        assert_shows(titles[name], values, counts)
        assert titles[name].get_ylim() == (0.5, -0.5)
    error = shown(titles["error:\noutput - target"])
    assert np.flatnonzero(error[0].filled(0)).tolist() == [4, 198]
    assert titles["input"].get_title() == "2 of 195 bits wrong in the worst of 100 sequences of length=200, N = 128"


@pytest.mark.parametrize("length", [249, 250, 500, 5_000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_no_error_is_too_small_to_be_seen(length: int, place: float) -> None:
    """One wrong bit of 40,000 is an element of the picture, and an element is more than a dot."""
    word = round(place * (length - 1))
    figure = pictures.draw_sequences([score_of_copy(length, (word, 5))])
    error = shown(panels(figure)["error:\noutput - target"])
    assert np.count_nonzero(error.filled(0)) == 1
    row, column = np.argwhere(error.filled(0))[0]
    assert row == 5
    assert column == (length + 1 + word) // -(-(2 * length + 1) // 500)
    assert error.shape[1] <= 500


# A trace


@pytest.fixture
def copied() -> Score:
    return score_of_copy(5)


@pytest.fixture
def trace(tiny_model: pathlib.Path) -> Trace:
    """A copy of 5 words in 128 locations."""
    model = ntm.load(tiny_model)
    words = np.random.default_rng(0).integers(0, 2, (5, 1, 8), np.uint8)
    return model.trace(inputs(words), model.initial_state(1, 128))


def test_a_trace_is_five_panels(trace: Trace, copied: Score) -> None:
    figure = pictures.draw_trace(trace, copied)
    titles = panels(figure)
    assert set(titles) == {"adds", "reads", "write weights", "memory after the last input", "read weights"}
    np.testing.assert_array_equal(shown(titles["adds"]), trace.adds[:, 0].T)
    np.testing.assert_array_equal(shown(titles["reads"]), trace.reads[:, 0].T)
    # The write head gets to location 11; the rest of the 128 is left out, the same in all three.
    np.testing.assert_array_equal(shown(titles["write weights"]), trace.weights[:, 1, :13].T)
    np.testing.assert_array_equal(shown(titles["read weights"]), trace.weights[:, 0, :13].T)
    np.testing.assert_array_equal(shown(titles["memory after the last input"]), trace.memory[:, :13].T)
    for name in ("adds", "reads", "write weights", "read weights"):
        assert titles[name].get_xlabel() == "time step"
        assert titles[name].get_xlim() == (0.5, 11.5)  # from left to right
        assert beginning(titles[name]) == 6.5  # after the five words and the delimiter
    assert titles["write weights"].get_ylabel() == "location"
    assert titles["adds"].get_ylabel() == titles["memory after the last input"].get_xlabel() == "vector element"
    assert len({titles[name].images[0].get_clim() for name in ("adds", "memory after the last input", "reads")}) == 1
    assert figure.get_suptitle() == "length=5, N = 128: no bit wrong"
    (legend,) = figure.findobj(Legend)
    assert [text.get_text() for text in legend.get_texts()] == ["start of the output phase"]
    assert legend.get_lines()[0].get_color() == titles["adds"].lines[0].get_color()


def beginning(axes: Axes) -> float:
    """Where the line is that marks the beginning of the output phase."""
    (line,) = axes.lines
    x, again = np.asarray(line.get_xdata())
    assert x == again
    return float(x)


def test_a_trace_of_several_heads(trace: Trace, copied: Score) -> None:
    """Each has a panel of its own, and panels one above the other share the time."""
    weights = trace.weights[:, [0, 0, 0, 1, 1]] * np.array([1, 0.5, 0.25, 0.5, 1], np.float32)[:, np.newaxis]
    several = trace._replace(
        adds=np.concatenate([trace.adds, -trace.adds], axis=1),
        weights=weights,
        reads=np.concatenate([trace.reads, -trace.reads, 0 * trace.reads], axis=1),
    )
    figure = pictures.draw_trace(several, copied)
    assert set(panels(figure)) == {
        *("adds head 0", "head 1", "reads head 0", "head 2", "write weights head 0", "read weights head 0"),
        "memory after the last input",
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


def trace_of(score: Score, heads: int = 1, locations: int = 20) -> Trace:
    """Of a network that looks everywhere and writes nothing."""
    steps = len(score.worst.x)
    return Trace(
        x=score.worst.x,
        y=score.worst.y,
        adds=np.zeros((steps, 1, 20), np.float32),
        weights=np.full((steps, heads + 1, locations), 1, np.float32),
        reads=np.zeros((steps, heads, 20), np.float32),
        memory=np.zeros((20, locations), np.float32),
        carried={},
    )


@pytest.mark.parametrize(
    ("name", "size", "first"),
    [
        ("dynamic-ngrams", {"length": 200}, 5),
        ("priority-sort", {"vectors": 20}, 22),
        ("associative-recall", {"items": 6}, 30),
        ("repeat-copy", {"length": 3, "repeats": 5}, 5),
    ],
)
def test_the_output_phase_of_a_trace_begins_where_the_output_counts(
    name: str, size: dict[str, int], first: int
) -> None:
    score = score_of(drawn(find(name), **size), size)
    figure = pictures.draw_trace(trace_of(score), score)
    titles = panels(figure)
    assert {beginning(titles[panel]) for panel in ("adds", "reads", "write weights", "read weights")} == {first - 0.5}
    assert figure.get_suptitle().endswith(", N = 20: no bit wrong")


@pytest.mark.slow
@pytest.mark.parametrize(("length", "locations"), [(1, 3), (20, 128), (120, 128), (1_000, 1_002), (100_000, 3)])
@pytest.mark.parametrize("heads", [1, 3])
def test_no_text_of_a_copy_is_printed_over_another(length: int, locations: int, heads: int) -> None:
    assert_no_text_is_printed_over_another(score_of_copy(length), heads, locations)


@pytest.mark.slow
@pytest.mark.parametrize("length", [6, 20, 200])
@pytest.mark.parametrize("heads", [1, 3])
def test_no_text_is_printed_over_another_if_the_output_phase_begins_early(length: int, heads: int) -> None:
    size = {"length": length}
    assert_no_text_is_printed_over_another(score_of(drawn(find("dynamic-ngrams"), **size), size), heads, 64)


def assert_no_text_is_printed_over_another(score: Score, heads: int, locations: int) -> None:
    figure = pictures.draw_trace(trace_of(score, heads, locations), score)
    figure.draw_without_rendering()
    words = {text for text in figure.findobj(Text) if any(map(str.isalpha, text.get_text()))}
    assert len(words) >= 15
    over = [
        (a, b) for a, b in itertools.combinations(words, 2) if a.get_window_extent().overlaps(b.get_window_extent())
    ]
    assert not over


def test_a_trace_of_many_heads(trace: Trace, copied: Score) -> None:
    """A picture that grew with them could become too large to be drawn."""
    many = trace._replace(adds=trace.adds.repeat(50, axis=1), weights=trace.weights[:, [0, *[1] * 50]])
    assert pictures.draw_trace(many, copied).get_size_inches()[1] < 100


def test_a_trace_without_any_focus_shows_all_locations(trace: Trace, copied: Score) -> None:
    figure = pictures.draw_trace(trace._replace(weights=np.full_like(trace.weights, 1 / 64)), copied)
    assert shown(panels(figure)["write weights"]).shape == (128, 11)


def test_wrong_bits_of_a_trace_are_counted(trace: Trace, copied: Score) -> None:
    """Those of the output phase alone, whatever is said before it."""
    worst = copied.worst._replace(x=trace.x, target=np.concatenate([np.zeros((6, 8)), trace.x[:5, :8]]))
    score = dataclasses.replace(copied, worst=worst)
    for y, wrong in ((trace.y, "no bit"), (1 - trace.y, "40 of 40 bits")):
        figure = pictures.draw_trace(trace._replace(y=y), score)
        assert figure.get_suptitle() == f"length=5, N = 128: {wrong} wrong"


# Files


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "PNG"])
def test_saved_as_the_name_says(tmp_path: pathlib.Path, trace: Trace, copied: Score, suffix: str) -> None:
    path = tmp_path / f"trace.{suffix}"
    pictures.save(pictures.draw_trace(trace, copied), path, replace=False)
    assert list(tmp_path.iterdir()) == [path]
    if suffix.lower() == "png":
        assert imread(path).shape == (930, 1500, 4)
    elif suffix == "pdf":
        assert path.read_bytes().startswith(b"%PDF")
    else:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314


def test_a_picture_is_whole_or_not_there(tmp_path: pathlib.Path) -> None:
    path, figure = tmp_path / "plot.png", pictures.draw_sequences([score_of_copy(5)])

    def fail(file: Any, **_: object) -> None:
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    with (
        mock.patch.object(figure, "savefig", fail),
        pytest.raises(FileError, match=r"^cannot write .*plot.png: no space left on device$"),
    ):
        pictures.save(figure, path, replace=False)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"mine")
    with pytest.raises(FileError, match="file exists"):
        pictures.save(figure, path, replace=False)
    assert path.read_bytes() == b"mine"
    pictures.save(figure, path, replace=True)
    assert imread(path).ndim == 3
