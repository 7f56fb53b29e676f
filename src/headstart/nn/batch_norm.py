"""What a batch norm knows of its data: the mean and variance of every channel, which differ from domain to domain.

Li, Wang, Shi, Liu & Hou 2016, Revisiting Batch Normalization For Practical Domain Adaptation, arXiv:1603.04779: the
weights hold what is told apart, these statistics hold where the data lie; so those of another domain may be exchanged
without training anything. `recomputed` is algorithm 1, for all layers in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Batched = TypeVar("Batched")


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms of the network that keep statistics, in the order of its modules."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def recomputed(network: nn.Module, batches: Iterable[Batched], forward: Callable[[Batched], object]) -> int:
    """Replace the statistics of every batch norm by those of these rows; weights stay. Returns how many layers it were.

    batches: of two rows or more, drawn at random and of like size: all count the same (the average is cumulative).
    forward: runs one of them through the network. While it runs, batch norms read the batch and everything else is in
    eval mode; afterwards all of the network is.
    """
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches, not the moving one
        layer.train()
    try:
        with torch.no_grad():
            for batch in batches:
                forward(batch)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
        network.eval()
    return len(layers)
