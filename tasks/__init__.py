"""The tasks that a network learns: the five tasks of the paper, and the base class of your own task.

A task makes batches of sequences, in NumPy alone: ``find("copy").batch(rng, batch_size, {"length": 20})``. Training,
evaluation, export and pictures use nothing but the interface of ``Task``.
"""

from ntm.tasks.associative_recall import AssociativeRecall
from ntm.tasks.catalogue import BUILT_IN, find
from ntm.tasks.copy import Copy
from ntm.tasks.dynamic_ngrams import DynamicNGrams
from ntm.tasks.priority_sort import PrioritySort
from ntm.tasks.repeat_copy import RepeatCopy
from ntm.tasks.task import Batch, Size, Task

__all__ = [
    "BUILT_IN",
    "AssociativeRecall",
    "Batch",
    "Copy",
    "DynamicNGrams",
    "PrioritySort",
    "RepeatCopy",
    "Size",
    "Task",
    "find",
]
