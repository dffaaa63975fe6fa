"""The event files of a training, read back as TensorBoard reads them."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.errors import FileError, MissingExtraError
from ntm.tasks import find
from ntm.training.run import load_config
from ntm.training.train import train

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is missing"
)

COPY = find("copy", {"bits": 2})
OPTIONS: dict[str, Any] = {
    "sizes": {"length": (1, 3)},
    "memory_vector_size": 3,
    "controller_sizes": (5,),
    "max_batches": 7,
    "report_batches": 3,
    "xla": False,
}


def read(folder: pathlib.Path) -> Any:
    events = accumulators.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def scalars(events: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(name)]


@pytest.mark.slow
def test_figures_pictures_and_the_configuration_are_written(tmp_path: pathlib.Path) -> None:
    run, log = tmp_path / "run", tmp_path / "run" / "tensorboard"
    lines: list[dict[str, Any]] = []
    train(COPY, run, log_dir=log, report=lines.append, **OPTIONS | {"read_heads": 2})
    events = read(log)
    for name in ("loss", "cost", "wrong bits", "learning rate"):
        expected = [(line["batches"], line[name.replace(" ", "_")]) for line in lines]
        np.testing.assert_allclose(scalars(events, f"training/{name}"), expected, rtol=1e-6)
    assert [step for step, _ in scalars(events, "training/gradient norm")] == [3, 6, 7]
    assert all(rate > 0 for _, rate in scalars(events, "training/sequences per second"))
    assert len(scalars(events, "check/wrong bits")) == 1
    for head in ("read head 1", "read head 2", "write head 1"):
        ((step, sharpening),) = scalars(events, f"{head}/sharpening")
        ((_, gate),) = scalars(events, f"{head}/gate")
        assert step == 3
        assert sharpening > 1
        assert 0 < gate < 1
    (text,) = events.Tensors("configuration")
    shown = tf.make_ndarray(text.tensor_proto).item()
    config = json.loads(shown.decode().removeprefix("```json\n").removesuffix("\n```"))
    assert config == json.loads(json.dumps(load_config(run).as_dict()))

    (event,) = events.Tensors("picture/sequence")
    width, height, png = tf.make_ndarray(event.tensor_proto)[:3]
    picture = tf.io.decode_png(png).numpy()
    steps, rows = 7, 3 + 2 + 2 + 3 * 5  # inputs, targets, outputs, and N locations of each head
    assert (int(width), int(height)) == (4 * steps, 4 * (rows + 5 * 2))
    x = COPY.batch(np.random.default_rng(0), 1, {"length": 3}).x[:, 0].T
    np.testing.assert_array_equal(picture[: 4 * 3 : 4, ::4, 0], 255 * (1 - x))
    (event,) = events.Tensors("picture/memory")
    assert int(tf.make_ndarray(event.tensor_proto)[1]) == 4 * 3


def test_a_network_without_heads_has_a_picture_without_them(tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {
        "model": "lstm",
        "layer_sizes": (4,),
        "max_batches": 1,
        "sizes": {"length": (1, 3)},
        "xla": False,
    }
    train(COPY, log_dir=tmp_path, **options)
    names = read(tmp_path).Tags()["tensors"]
    assert "picture/sequence" in names
    assert not [name for name in names if "head" in name or name == "picture/memory"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"^cannot write .*file/log: not a directory$"):
        train(COPY, log_dir=tmp_path / "file" / "log", **OPTIONS)


def test_a_missing_tensorboard_is_named_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        MissingExtraError, match=r"tensorboard is missing: pip install 'neural-turing-machine\[tensorboard\]'"
    ):
        train(COPY, log_dir="log", **OPTIONS)
