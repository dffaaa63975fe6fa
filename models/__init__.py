"""The Neural Turing Machine of Graves et al. (2014, arXiv:1410.5401): equations, cell, state, configuration.

One legend of shapes is used everywhere, with the paper's symbols where it has one:

======  =============================================
B       batch: sequences side by side
T       time steps
I       numbers in the input of a step
O       numbers in the output of a step
N       memory locations
M       memory vector size
S       shifts allowed, odd
R, K    read heads, write heads
R+K     all heads; the read heads come first
======  =============================================

The memory is held as ``[B, M, N]``, the transpose of the paper's N x M matrix: with the locations
innermost every operation of the addressing runs along contiguous numbers.
"""

from ntm.models.cell import NTMCell, State
from ntm.models.config import NTMConfig

__all__ = ["NTMCell", "NTMConfig", "State"]
