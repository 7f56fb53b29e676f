"""Two towers: one reads what an item is, the other the items of a history; a score is the product of what they make.

    e_j = A v_j + r_j    x_t = sum_{s <= t} e_{i_s} / sqrt(t)    u_t = norm(x_t + f(x_t))    score_j = u_t . e_j + b_j

v_j are frozen vectors of what is said of item j, A one linear map (the adaptor of UniSRec, Hou et al. 2022,
arXiv:2206.05941), f two linear maps with a GELU between them: the user tower of Covington et al. 2016, which averages
the items of a history. r_j and b_j are the item's own; they are left out of what is to serve other catalogues, so that
all that is learned goes through the text. Learned by cross-entropy over all items at every step, as
`headstart.nn.sasrec`: none is drawn as a negative, so that there is no sampling to correct for (Yi et al. 2019).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from headstart.nn.histories import HistoryReader


class ItemTower(nn.Module):
    """From frozen vectors [I,V] of items, a buffer, to their embeddings [I,D]. own: items have r_j, zero at first."""

    vectors: torch.Tensor

    def __init__(self, items: int, told: int, width: int, dropout: float, own: bool) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(items, told))
        self.adaptor = nn.Linear(told, width)
        self.own = nn.Parameter(torch.zeros(items, width)) if own else None
        self.dropout = nn.Dropout(dropout)

    def table(self) -> torch.Tensor:
        """The embeddings of all items [I,D]."""
        found: torch.Tensor = self.adaptor(self.dropout(self.vectors))
        return found if self.own is None else found + self.own

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """The embeddings of items [B,T], [B,T,D]."""
        return self.table()[items]


class TwoTower(HistoryReader):
    """The network. items: how many there are (I). told: V."""

    def __init__(self, items: int, told: int, width: int, dropout: float, own: bool) -> None:
        super().__init__()
        self.items = ItemTower(items, told, width, dropout, own)
        inner = nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        self.user = nn.Sequential(*inner)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(items)) if own else None

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """See `HistoryReader.forward`."""
        steps = torch.arange(1, items.shape[1] + 1, device=items.device)
        x = self.items(items).cumsum(dim=1) / steps.sqrt()[:, None]
        found: torch.Tensor = self.norm(x + self.user(x))
        return found

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `HistoryReader.scores`."""
        return functional.linear(hidden, self.items.table(), self.bias)
