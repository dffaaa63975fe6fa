"""Copy batches of words in the processes of joblib.

Run it: ``python examples/with_joblib.py``. It needs ``pip install . joblib``.
"""

import joblib
import numpy as np

import ntm


def main() -> None:
    """Make batches, copy them in two processes, compare."""
    words = np.random.default_rng(0).integers(0, 2, (512, 20, 8), np.uint8)  # [B, L, bits]
    batches = np.array_split(words, 8)

    # Hand over the model itself. A function of this file that loads it, and keeps it in a global variable, would load
    # it at every call: joblib sends such a function with a new copy of its globals. With functools.cache it would fail.
    model = ntm.load()
    copies = joblib.Parallel(n_jobs=2)(joblib.delayed(model.copy)(batch) for batch in batches)

    print(f"{len(words)} sequences, {np.count_nonzero(np.concatenate(copies) != words)} wrong bits")


if __name__ == "__main__":
    main()
