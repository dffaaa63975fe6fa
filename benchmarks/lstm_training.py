"""Time a training step of the LSTM baseline on the copy task beside Keras's own LSTM layers; Markdown.

Both have three layers of 256 units, see the same batches of 16 sequences, and take a step of Adam. Each line is a
process of its own, and the lines are measured in turns, several times over; the median counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from rates import steps_a_second

from ntm import text
from ntm.runtime.evaluate import readable

BATCH, SECONDS = 16, 10.0
CASES = ("ntm-train", "Keras", "Keras, XLA")


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(ours() if arguments.measure == CASES[0] else keras(xla="XLA" in arguments.measure)))
        return
    rates: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(arguments.rounds):
        for case in CASES:
            command = [sys.executable, __file__, "--measure", case]
            environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            rates[case].append(float(done.stdout))
    base = statistics.median(rates["Keras"])
    rows = [["", "sequences/s", "against Keras"]]
    for case, values in rates.items():
        rows.append([case, readable(statistics.median(values)), f"{statistics.median(values) / base:.2f}x"])
    print(text.table(rows, left=1))


def ours() -> float:
    """Sequences a second of the step that ``ntm-train`` takes."""
    from ntm import console  # noqa: PLC0415

    console.import_tensorflow()
    from ntm.tasks import Copy  # noqa: PLC0415
    from ntm.training.recipes import configure  # noqa: PLC0415
    from ntm.training.trainer import Trainer  # noqa: PLC0415

    task = Copy()
    return BATCH * steps_a_second(
        Trainer(*configure(task, {"model": "lstm", "batch_size": BATCH}), task).train, SECONDS
    )


def keras(*, xla: bool) -> float:
    """Sequences a second of three ``keras.layers.LSTM``, padded to the longest sequence as Keras has it."""
    import tensorflow as tf  # noqa: PLC0415

    from ntm.tasks import Copy  # noqa: PLC0415
    from ntm.training.data import Data  # noqa: PLC0415
    from ntm.training.recipes import configure  # noqa: PLC0415

    task = Copy()
    layers = [tf.keras.layers.LSTM(256, return_sequences=True) for _ in range(3)]
    model = tf.keras.Sequential([*layers, tf.keras.layers.Dense(task.output_size)])
    optimizer = tf.keras.optimizers.Adam(1e-3)
    data = Data(task, configure(task, {"model": "lstm", "batch_size": BATCH})[1])
    model.build([BATCH, data.steps, task.input_size])
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator]
    def step(x: Any, target: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, model(x, training=True))
            loss = tf.reduce_sum(entropy * mask[:, :, tf.newaxis]) / tf.reduce_sum(mask)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, model.trainable_variables), 1.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    number = 0

    def one() -> None:
        nonlocal number
        batch = data.training(number)
        number += 1
        step(*(tf.constant(array.swapaxes(0, 1)) for array in batch[:3])).numpy()

    return BATCH * steps_a_second(one, SECONDS)


if __name__ == "__main__":
    main()
