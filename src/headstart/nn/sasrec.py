"""SASRec: a causal transformer over the items of a history, in order of time. Kang & McAuley 2018, arXiv:1808.09781.

    x_t = E[i_t] + P[t]     x <- x + attention(norm(x))     x <- x + W2 relu(W1 norm(x))     score_j = x_t . E_j + b_j

x_t sees the items up to t and tells the item at t + 1. Learned by cross-entropy over all items at every step, none
drawn as a negative: with it SASRec is as good as what came after it (Klenitskiy & Vasilev 2023, arXiv:2309.07602), and
the overconfidence that few negatives bring (Petrov & Macdonald 2023, gSASRec, arXiv:2308.07192) does not arise.
Histories are padded at the end, where nothing that counts looks, so a row does not depend on its batch. The bias of
each item (how popular it is) is not in the paper.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from headstart.nn.histories import HistoryReader


class Block(nn.Module):
    """Causal self-attention and two linear maps at each step, each after a norm and beside a way around it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]."""
        rows, steps, width = x.shape
        parts = self.mixed(self.first_norm(x)).view(rows, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]  # [B,heads,T,D/heads]
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(rows, steps, width)))
        found: torch.Tensor = x + self.dropout(self.inner(self.second_norm(x)))
        return found


class SASRec(HistoryReader):
    """The network. items: how many there are (I). length: steps of a history that it sees (T at most)."""

    def __init__(self, items: int, width: int, blocks: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.items = nn.Embedding(items, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(items))
        self.dropout = nn.Dropout(dropout)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """See `HistoryReader.forward`."""
        places = torch.arange(items.shape[1], device=items.device).expand_as(items)
        x = self.dropout(self.items(items) + self.places(places))
        for block in self.blocks:
            x = block(x)
        found: torch.Tensor = self.norm(x)
        return found

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `HistoryReader.scores`."""
        return functional.linear(hidden, self.items.weight, self.bias)
