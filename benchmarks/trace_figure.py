"""Draw what the bundled model does while it copies a short text, step by step: the picture in the README.

The words are bytes of the text, seen top bit first, then a delimiter, then what the network recalls; below them the
weightings of the write head and of the read head over the memory.
"""

import argparse
import pathlib

import numpy as np
from matplotlib import pyplot

import ntm

TEXT = b"a machine that remembers"


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path, help="the PNG file to write")
    output = parser.parse_args().output
    words = np.unpackbits(np.frombuffer(TEXT, np.uint8)).reshape(-1, 8)  # [L, W]
    length = len(words)
    inputs = np.zeros((2 * length + 1, 9), np.float32)
    inputs[:length, :8] = words
    inputs[length, 8] = 1.0

    model = ntm.load()
    state = model.initial_state(batch_size=1, memory_locations=length + 2)
    outputs, reading, writing = [], [], []
    for x in inputs:
        y, state = model.step(x[np.newaxis], state)
        outputs.append(y[0])
        reading.append(state.weights[0, 0])
        writing.append(state.weights[0, 1])
    outputs[: length + 1] = [np.zeros(8)] * (length + 1)  # the network is not asked there

    panels = (("input", inputs.T), ("output", np.transpose(outputs)))
    heads = (
        ("write weighting\n(location)", np.transpose(writing)),
        ("read weighting\n(location)", np.transpose(reading)),
    )
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 6.4), sharex=True, height_ratios=[9, 8, 20, 20])
    for axis, (title, values) in zip(axes, (*panels, *heads), strict=True):
        axis.imshow(values, cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.axvline(length, color="tab:red", linewidth=1)
        axis.set_ylabel(title, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    axes[-1].set_xlabel("time step (red: the delimiter)")
    recalled = np.packbits(np.array(outputs)[length + 1 :] > 0.5).tobytes()
    axes[0].set_title(f"seen: “{TEXT.decode()}”   recalled: “{recalled.decode(errors='replace')}”")
    figure.tight_layout()
    figure.savefig(output, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
