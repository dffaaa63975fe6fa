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
H       numbers that the controller outputs
R+K     all heads; the read heads come first
======  =============================================

The memory is held as ``[B, M, N]``, the transpose of the paper's N x M matrix: with the locations
innermost every operation of the addressing runs along contiguous numbers.
"""

from typing import Any

from ntm.models.baseline import LSTMConfig, LSTMNetwork
from ntm.models.cell import NTMCell
from ntm.models.config import CONTROLLERS, NTMConfig, Shape
from ntm.models.network import Network, State

__all__ = [
    "CONTROLLERS",
    "NETWORKS",
    "LSTMConfig",
    "LSTMNetwork",
    "NTMCell",
    "NTMConfig",
    "Network",
    "NetworkConfig",
    "Shape",
    "State",
    "make_network",
]

NetworkConfig = NTMConfig | LSTMConfig
# The networks by the name of the model: the class of the configuration, and that of the network.
NETWORKS: dict[str, tuple[type[Any], type[Network]]] = {
    NTMConfig.model: (NTMConfig, NTMCell),
    LSTMConfig.model: (LSTMConfig, LSTMNetwork),
}


def make_network(config: NetworkConfig, seed: int = 0, **biases: float) -> Network:
    """A network with initial variables.

    Args:
        config: the configuration, whose class determines the kind of network.
        seed: the seed of the initial variables.
        **biases: initial biases of the heads, as ``NTMCell`` takes them; a network without heads ignores them.
    """
    _, network = NETWORKS[config.model]
    return network(config, seed, **biases)
