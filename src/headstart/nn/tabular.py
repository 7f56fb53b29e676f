"""A network of table rows: an embedding for each column, an MLP, and beside it what boosted trees say of the row.

Numbers go through piecewise-linear embeddings (Gorishniy, Rubachev & Babenko 2022, On embeddings for numerical features
in tabular deep learning, arXiv:2203.05556; the package ``rtdl_num_embeddings``), categories through a table with a row
for what is unknown. What is missing has an embedding of its own, so that a column may be missing altogether. The tables
of the trees and the network's own classifier are buffers: they belong to the weights and do not train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from headstart.errors import missing_package
from headstart.types import Json

EMBEDDED, WORDS, HIDDEN, DROPOUT = 12, 12, 192, 0.1
BLOCKS = 2


@dataclass(frozen=True)
class Sizes:
    """What the network is built from. edges: of the bins of each number. levels: of each category. columns: those that
    are passed on, standardised. outputs: C of the source's own task. trees, leaves, places: of the trees, and the width
    of a leaf's embedding.
    """

    edges: tuple[tuple[float, ...], ...]
    levels: tuple[int, ...]
    columns: int
    outputs: int
    trees: int = 0
    leaves: int = 0
    places: int = 0

    @property
    def parts(self) -> tuple[int, ...]:
        """Widths of the blocks of the pooled features: outputs of trees and network, network, leaves, columns."""
        return (2 * self.outputs, HIDDEN, self.places, self.columns)

    def to_json(self) -> Json:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Sizes:
        """What `to_json` gave."""
        return cls(**{**data, "edges": tuple(map(tuple, data["edges"])), "levels": tuple(data["levels"])})


class Numbers(nn.Module):
    """[B,K] standardised numbers, NaN where missing, to [B,K,D]."""

    def __init__(self, edges: Sequence[Sequence[float]]) -> None:
        super().__init__()
        try:
            import rtdl_num_embeddings as rtdl
        except ImportError as error:
            raise missing_package("rtdl_num_embeddings", "tables") from error
        bins = [torch.tensor(each, dtype=torch.float32) for each in edges]
        self.embed = rtdl.PiecewiseLinearEmbeddings(bins, EMBEDDED, activation=False, version="B")
        self.missing = nn.Parameter(0.1 * torch.randn(len(bins), EMBEDDED))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """See the class."""
        known = torch.isfinite(numbers)
        found = self.embed(torch.where(known, numbers, torch.zeros_like(numbers)))
        return torch.where(known[..., None], found, self.missing)


class Words(nn.Module):
    """[B,J] codes of categories, 0 where unknown, to [B,J D]."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count + 1, WORDS) for count in levels)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.cat([table(codes[:, at]) for at, table in enumerate(self.tables)], dim=1)


class Block(nn.Module):
    """A linear layer, normalised, with a ReLU and dropout."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(before, after), nn.LayerNorm(after), nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,before] -> [B,after]."""
        found: torch.Tensor = self.dropout(torch.relu(self.norm(self.linear(x))))
        return found


class Tabular(nn.Module):
    """Rows to features [B,D]: the blocks of `Sizes.parts`, each times its factor in ``scale``."""

    leaf_values: torch.Tensor
    leaf_places: torch.Tensor
    leaf_offset: torch.Tensor
    own_weight: torch.Tensor
    own_bias: torch.Tensor
    scale: torch.Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.numbers = Numbers(sizes.edges) if sizes.edges else None
        self.words = Words(sizes.levels) if sizes.levels else None
        width = EMBEDDED * len(sizes.edges) + WORDS * len(sizes.levels)
        self.blocks = nn.Sequential(*(Block(HIDDEN if at else width, HIDDEN) for at in range(BLOCKS)))
        for name, shape in {
            "leaf_values": (sizes.leaves, sizes.outputs), "leaf_places": (sizes.leaves, sizes.places),
            "leaf_offset": (sizes.outputs,), "own_weight": (sizes.outputs, HIDDEN), "own_bias": (sizes.outputs,),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("scale", torch.ones(len(sizes.parts)))

    def forward(
        self, numbers: torch.Tensor, codes: torch.Tensor, leaves: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """numbers [B,K], codes [B,J], leaves [B,T], columns [B,W] -> [B,D]."""
        inputs = [] if self.numbers is None else [self.numbers(numbers).flatten(1)]
        inputs += [] if self.words is None else [self.words(codes)]
        hidden = self.blocks(torch.cat(inputs, dim=1))
        trees = self.leaf_values[leaves].sum(dim=1) + self.leaf_offset
        own = hidden @ self.own_weight.T + self.own_bias
        parts = [torch.cat([trees, own], dim=1), hidden, self.leaf_places[leaves].sum(dim=1), columns]
        return torch.cat([part * factor for part, factor in zip(parts, self.scale)], dim=1)
