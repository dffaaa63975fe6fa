"""A Neural Turing Machine in Keras: trained by ``model.fit``, saved, loaded, exported and served.

The task: copy 1 to 3 words of 4 bits. Run it: ``python examples/keras_model.py``. It needs ``pip install '.[export]'``.
"""

import os
import pathlib
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported: it says less

import keras
import numpy as np

import ntm
import ntm.keras
from ntm.tasks import Copy, Task

LENGTH = 3  # the most words of a sequence
STEPS = 2 * LENGTH + 1
LOCATIONS = 16  # N; the network sees no other in training, so it is served with this one
LEARNED = 0.004  # the loss of a start that gets stuck stays far above
EPOCHS, SEQUENCES, BATCH = 3, 6400, 32


def sequences(task: Task, of_each_length: int, seed: int) -> tuple[Any, Any, Any]:
    """Sequences of all lengths, padded with zeros to the same steps, in Keras's order of axes.

    Returns:
        x ``[B, T, I]``, the target ``[B, T, O]``, and the weight of each step, ``[B, T]``: 1 where the output counts.
    """
    rng = np.random.default_rng(seed)
    padded = []
    for length in range(1, LENGTH + 1):
        x, target, mask = task.batch(rng, of_each_length, {"length": length})  # [T, B, ...]
        padding = [(0, STEPS - len(x)), (0, 0)]
        padded.append((np.pad(x, [*padding, (0, 0)]), np.pad(target, [*padding, (0, 0)]), np.pad(mask, padding)))
    x, target, weight = (np.concatenate(blocks, axis=1) for blocks in zip(*padded, strict=True))
    return x.swapaxes(0, 1), target.swapaxes(0, 1), weight.T


def make_model(task: Task, seed: int) -> keras.Model:
    """The model: it outputs logits."""
    # With this bias, heads begin with location addressing, which copying needs.
    cell = ntm.keras.NTMCell(
        task.output_size, memory_locations=LOCATIONS, controller_sizes=(64,), gate_bias=-2.0, seed=seed
    )
    model = keras.Sequential(
        [
            keras.Input((STEPS, task.input_size)),
            keras.layers.RNN(cell, return_sequences=True),
        ]
    )
    falling = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * SEQUENCES // BATCH)
    model.compile(
        keras.optimizers.Adam(falling, clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    return model


def main() -> None:
    """Train, save, export, evaluate, serve."""
    task = Copy(bits=4)
    x, target, weight = sequences(task, SEQUENCES // LENGTH, seed=0)
    for seed in range(1, 5):  # some starts get stuck: then another one
        keras.utils.set_random_seed(seed)  # Keras shuffles the sequences
        model = make_model(task, seed)
        history = model.fit(x, target, sample_weight=weight, batch_size=BATCH, epochs=EPOCHS, verbose=2).history
        if history["loss"][-1] < LEARNED:
            break
    x, target, weight = sequences(task, 200, seed=1)
    scores = model.evaluate(x, target, sample_weight=weight, verbose=0, return_dict=True)
    print(f"bits that Keras finds right: {scores['binary_accuracy']:.2%}")

    with tempfile.TemporaryDirectory() as folder:
        model.save(pathlib.Path(folder, "copy.keras"))
        loaded = keras.models.load_model(pathlib.Path(folder, "copy.keras"))

        exported = pathlib.Path(folder, "model")
        ntm.export(ntm.keras.trained(loaded, task), exported)  # refuses what differs from TensorFlow
        served = ntm.load(exported, memory_locations=LOCATIONS)  # from here on without TensorFlow
        sizes = [{"length": length} for length in range(1, LENGTH + 1)]
        for score in ntm.evaluate(served, sizes=sizes, sequences=1000, memory_locations=LOCATIONS):
            figures = score.as_dict()
            print(f"{figures['length']} words: {figures['wrong_bits']} wrong bits in {figures['sequences']} sequences")

    words = np.random.default_rng(2).integers(0, 2, (1, LENGTH, task.bits), np.uint8)  # [B, L, bits]
    print("the words:", words[0].tolist())
    print("the copy: ", served.copy(words)[0].tolist())


if __name__ == "__main__":
    main()
