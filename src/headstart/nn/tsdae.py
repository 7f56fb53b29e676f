"""TSDAE: most tokens of a text are deleted, and a small decoder writes the whole text from the pooled vector alone.

Of the tokens (special ones left out) 60 % are deleted, so that the vector has to carry the meaning. Wang, Reimers &
Gurevych 2021, arXiv:2104.06979. There the decoder is as deep as the encoder and shares its weights; here it is one
layer of its own, which reads and writes tokens by the encoder's embedding, and is dropped afterwards. It writes all
tokens, and a random quarter of them is judged: the logits over the vocabulary would cost more than the network, and
the loss is the same on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective, Tied, embedding, lacks_tokens, packed, text_reader
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

RATE = 0.6
JUDGED = 0.25


def kept(candidates: torch.Tensor, valid: torch.Tensor, rate: float = RATE) -> torch.Tensor:
    """Which tokens stay, bool [B,T]. candidates: those that may go, of each row all but one. valid: no padding."""
    chance = torch.rand(candidates.shape)
    lucky = torch.zeros_like(candidates)
    best = chance.masked_fill(~candidates, -1.0).argmax(dim=1, keepdim=True)
    lucky.scatter_(1, best, True)
    return valid & (~candidates | (chance >= rate) | lucky)


class TSDAE(Objective):
    """The whole text is written from the vector of a text with most words missing."""

    name: ClassVar[str] = "tsdae"
    modality: ClassVar[Modality] = "text"
    paper: ClassVar[str] = "Wang et al. 2021, arXiv:2104.06979"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        reader, tokens = text_reader(source), embedding(source)
        assert reader is not None and tokens is not None, "ask lacks() first"
        width, self.pad = source.card.width, reader.pad
        self.special = torch.tensor(sorted(reader.vocabulary.special), dtype=torch.int64)
        self.start = nn.Parameter(torch.zeros(tokens.embedding_dim))
        self.place = nn.Embedding(reader.max_length, tokens.embedding_dim)
        nn.init.normal_(self.place.weight, std=0.02)
        self.inward = nn.Sequential(nn.LayerNorm(tokens.embedding_dim), nn.Linear(tokens.embedding_dim, width))
        self.memory = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        heads = next(n for n in (8, 4, 2, 1) if width % n == 0)
        self.decoder = nn.TransformerDecoderLayer(width, heads, 2 * width, batch_first=True, norm_first=True)
        self.head = Tied(width, tokens, transform=True)

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """A tokenizer, and an embedding to read and write with."""
        return lacks_tokens(source)

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """The batch without most of its tokens; the target [B,2,T] is the whole text, and what of it is judged.

        -100 stands for padding, and for what is not judged.
        """
        inputs = self.source.preprocess(samples, train=True).inputs
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        keep = kept(valid & ~torch.isin(ids, self.special), valid)
        fills = {"input_ids": self.pad}
        less = {name: packed(value, keep, fills.get(name, 0)) for name, value in inputs.items() if name != "word_index"}
        whole = ids.masked_fill(~valid, -100)
        return Batch(less), torch.stack([whole, whole.masked_fill(torch.rand(ids.shape) >= JUDGED, -100)], dim=1)

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean cross-entropy of the judged tokens of the text given those before them and the vector, in nats."""
        tokens = embedding(self.source)
        assert tokens is not None
        whole, judged = target.unbind(dim=1)
        length = whole.shape[1]
        memory = self.memory(self(batch)).unsqueeze(1)  # [B,1,D]
        before = tokens(whole[:, :-1].clamp(min=0))  # [B,T-1,E]
        before = torch.cat([self.start.expand(len(whole), 1, -1).to(before.dtype), before], dim=1)
        before = self.inward(before + self.place.weight[:length])
        later = torch.ones(length, length, dtype=torch.bool, device=whole.device).triu(1)
        hidden = self.decoder(before, memory, tgt_mask=later)
        found = judged >= 0
        if not found.any():
            return {"loss": 0.0 * hidden.sum()}
        return {"loss": nn.functional.cross_entropy(self.head(hidden[found], tokens), judged[found])}
