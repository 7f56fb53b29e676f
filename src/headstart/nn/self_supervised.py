"""What a network is trained on where there are no labels, as the engine needs it.

An `Objective` is a module around a source's network: it makes a batch in which something is hidden, deleted or seen
twice, and says how badly the network deals with it. Heads that only the loss needs live in the objective; the network
leaves without them. `spread` tells whether the features still differ from row to row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart.sources.base import Source
from headstart.sources.text import TextReader
from headstart.types import Batch, Modality, Sample

Array: TypeAlias = np.ndarray

BATCH = 32


class Objective(nn.Module, ABC):
    """A loss without labels. name: the field's term. usual: what ``headstart pretrain`` goes on from, where that is not
    the usual source of the modality. collapses: whether features may become alike. All draws come from torch's global
    generator.

    Whoever makes one has asked `lacks` before. Subclasses supply `prepare` and `loss`.
    """

    name: ClassVar[str]
    modality: ClassVar[Modality]
    paper: ClassVar[str]
    usual: ClassVar[str | None] = None
    collapses: ClassVar[bool] = True

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.backbone = source.network
        self._source = [source]  # in a list: its network is registered once, as the backbone

    @property
    def source(self) -> Source:
        """The source whose network trains."""
        return self._source[0]

    @classmethod
    @abstractmethod
    def lacks(cls, source: Source) -> str | None:
        """What the source lacks for this objective, in words; None where it can be trained."""

    @abstractmethod
    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """A batch for `loss`, and what it has to find."""

    @abstractmethod
    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss under the key ``loss``, and its terms."""

    def forward(self, batch: Batch) -> torch.Tensor:
        """Pooled features [B,D] of a prepared batch, by which the engine compares precisions."""
        return self.source.forward(batch).pooled

    def heads(self) -> list[nn.Parameter]:
        """The parameters that only the loss needs."""
        own = {id(p) for p in self.backbone.parameters()}
        return [p for p in self.parameters() if id(p) not in own]


def spread(source: Source, samples: Sequence[Sample]) -> float:
    """How far the pooled features of the samples lie apart: root mean variance of the features at unit length.

    0 where every row has the same features, sqrt(1/D) where they point everywhere (Chen & He 2020, section 4.1). Runs
    in evaluation mode where the network is, and leaves its mode as it was.
    """
    home, modes = next(source.network.parameters()).device, [m.training for m in source.network.modules()]
    source.network.eval()
    with torch.no_grad():
        rows = [source.forward(make().to(home)).pooled.float() for _, make in source.batches(samples, BATCH)]
    for module, mode in zip(source.network.modules(), modes, strict=True):
        module.training = mode
    return deviation(torch.cat(rows))


def deviation(features: torch.Tensor) -> float:
    """The same of features [N,D]."""
    units = nn.functional.normalize(features, dim=1)
    return float(units.var(dim=0, unbiased=False).mean().sqrt())


def text_reader(source: Source) -> TextReader | None:
    """How the source tokenises, or None where it reads no text of its own."""
    reader = getattr(source, "reader", None)
    return reader if isinstance(reader, TextReader) else None


def embedding(source: Source) -> nn.Embedding | None:
    """The embedding of the source's tokens, or None where it says of none."""
    ask = getattr(source.network, "get_input_embeddings", None)
    try:
        found = ask() if callable(ask) else None
    except NotImplementedError:  # how a model of transformers says that it has none
        return None
    return found if isinstance(found, nn.Embedding) else None


def lacks_tokens(source: Source) -> str | None:
    """What a text source lacks for objectives that predict tokens."""
    if text_reader(source) is None:
        return "a tokenizer"
    return None if embedding(source) is not None else "an embedding of its tokens"


class Tied(nn.Module):
    """Hidden vectors [n,D] to logits [n,V] by the transposed embedding of the tokens [V,E], which stays the backbone's.

    transform: whether D x E weights, GELU and a layer norm come first (the head of BERT).
    """

    def __init__(self, width: int, tokens: nn.Embedding, transform: bool) -> None:
        super().__init__()
        inner = tokens.embedding_dim
        steps = [nn.Linear(width, inner), nn.GELU(), nn.LayerNorm(inner)]
        self.transform = nn.Sequential(*steps) if transform else _matched(width, inner)
        self.bias = nn.Parameter(torch.zeros(tokens.num_embeddings))

    def forward(self, hidden: torch.Tensor, tokens: nn.Embedding) -> torch.Tensor:
        """Logits in fp32."""
        logits: torch.Tensor = self.transform(hidden) @ tokens.weight.T
        return logits.float() + self.bias


def _matched(width: int, inner: int) -> nn.Module:
    return nn.Identity() if width == inner else nn.Linear(width, inner)


def packed(tensor: torch.Tensor, keep: torch.Tensor, fill: int) -> torch.Tensor:
    """The entries of [B,T] where ``keep`` is true, moved together to the left and padded: [B, most that stay]."""
    counts = keep.sum(dim=1)
    out = torch.full((len(tensor), max(1, int(counts.max()))), fill, dtype=tensor.dtype)
    out[torch.arange(out.shape[1]) < counts[:, None]] = tensor[keep]
    return out
