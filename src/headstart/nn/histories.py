"""What a network does that reads histories: a vector for each step, and from it the logits of all items."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn


class HistoryReader(nn.Module):
    """A network over the items of a history in order of time. Histories are padded at the end. unseen: bool [I], items
    that no training row can hold, so that the loss leaves them out, or None.
    """

    unseen: torch.Tensor | None = None

    @abstractmethod
    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """What each step [B,T] of the histories makes of the items until then, [B,T,D]."""

    @abstractmethod
    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits [n,I] of the next item, from hidden vectors [n,D]."""
