"""Copy batches of words in the Python processes of Spark, here a Spark of this machine alone.

Run it: ``python examples/with_spark.py``. It needs ``pip install . pyspark``, and Java.
"""

import os
import sys

import numpy as np
from pyspark.sql import SparkSession

import ntm


def main() -> None:
    """Make batches, copy them in two processes, compare."""
    words = np.random.default_rng(0).integers(0, 2, (512, 20, 8), np.uint8)  # [B, L, bits]
    batches = np.array_split(words, 8)

    # By default Spark starts the python3 that it finds first, which may be one without this library.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    # A broadcast model is made once in each process. A function of this file that loads it, and keeps it in a global
    # variable, would load it anew in every task. With functools.cache it would fail.
    model = spark.sparkContext.broadcast(ntm.load())
    parts = spark.sparkContext.parallelize(batches, 4)
    copies = parts.mapPartitions(lambda part: map(model.value.copy, part)).collect()
    spark.stop()

    print(f"{len(words)} sequences, {np.count_nonzero(np.concatenate(copies) != words)} wrong bits")


if __name__ == "__main__":
    main()
