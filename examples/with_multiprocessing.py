"""Copy batches of words in a pool of processes that are spawned, with the standard library alone.

Run it: ``python examples/with_multiprocessing.py``. It needs ``pip install .``.
"""

import multiprocessing

import numpy as np

import ntm


def main() -> None:
    """Make batches, copy them in two processes, compare."""
    words = np.random.default_rng(0).integers(0, 2, (512, 20, 8), np.uint8)  # [B, L, bits]
    batches = np.array_split(words, 8)

    model = ntm.load()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        # Each piece of work brings the model along, and begins with the making of sessions: some 0.1 s. So there are
        # few pieces, of several batches each.
        copies = pool.map(model.copy, batches, chunksize=4)

    print(f"{len(words)} sequences, {np.count_nonzero(np.concatenate(copies) != words)} wrong bits")


# A process that is spawned imports this file: without this line each would start a pool of its own.
if __name__ == "__main__":
    main()
