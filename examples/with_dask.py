"""Copy an array of words block by block in the processes of a Dask cluster, here one on this machine.

Run it: ``python examples/with_dask.py``. It needs ``pip install . 'dask[array,distributed]'``.
"""

import numpy as np
from dask import array as da
from distributed import Client, LocalCluster

import ntm


def main() -> None:
    """Make words, copy them in two processes, compare."""
    words = np.random.default_rng(0).integers(0, 2, (512, 20, 8), np.uint8)  # [B, L, bits]

    # Hand over the model itself. A function of this file that loads it, and keeps it in a global variable, would load
    # it anew in every block.
    model = ntm.load()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        blocks = da.from_array(words, chunks=(64, -1, -1))
        # Without dtype and meta Dask calls model.copy with no words at all, to see what comes out; that fails.
        copied = blocks.map_blocks(model.copy, dtype=words.dtype, meta=words[:0]).compute()

    print(f"{len(words)} sequences, {np.count_nonzero(copied != words)} wrong bits")


# The processes of the cluster import this file.
if __name__ == "__main__":
    main()
