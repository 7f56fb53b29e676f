"""Masked language modelling: some tokens are hidden, and the network says which they were.

Of the tokens of a text (special ones left out) 15 % are chosen; of these 80 % become the mask token, 10 % a random
token and 10 % stay. The loss is the cross-entropy of the chosen ones alone (Devlin et al. 2018, arXiv:1810.04805).
On the texts of the target's own domain it is domain-adaptive pretraining (Gururangan et al. 2020, arXiv:2004.10964).
Encoders of sentences have lost the head of their own pretraining; a fresh one is tied to the embedding of the tokens.
Only the chosen positions go through it: B x T logits over the vocabulary would cost more than the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from headstart.nn.self_supervised import Objective, Tied, embedding, lacks_tokens, packed, text_reader
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

RATE = 0.15
MASKED, SWAPPED = 0.8, 0.1  # of the chosen tokens; the others stay


class Corrupted(NamedTuple):
    """ids: [B,T] as the network sees them. chosen: bool [B,T], those that it has to find."""

    ids: torch.Tensor
    chosen: torch.Tensor


def corrupt(
    ids: torch.Tensor, candidates: torch.Tensor, mask: int, ordinary: torch.Tensor, rate: float = RATE
) -> Corrupted:
    """Hide tokens. ids: int64 [B,T]. candidates: bool [B,T], which may be chosen. ordinary: ids that may be swapped in.

    Where chance chooses none of the batch, its first candidate is.
    """
    chosen = (torch.rand(ids.shape) < rate) & candidates
    if not chosen.any() and candidates.any():
        chosen.view(-1)[candidates.view(-1).nonzero()[0]] = True
    what = torch.rand(ids.shape)
    others = ordinary[torch.randint(len(ordinary), ids.shape)]
    seen = torch.where(chosen & (what < MASKED), torch.full_like(ids, mask), ids)
    seen = torch.where(chosen & (what >= MASKED) & (what < MASKED + SWAPPED), others, seen)
    return Corrupted(seen, chosen)


def positions(chosen: torch.Tensor) -> torch.Tensor:
    """Where the true entries of bool [B,T] stand: [B,M], -1 for padding; at least one column."""
    return packed(torch.arange(chosen.shape[1]).expand_as(chosen), chosen, -1)


class MaskedLanguage(Objective):
    """Hidden tokens are found from the others."""

    name: ClassVar[str] = "mlm"
    modality: ClassVar[Modality] = "text"
    paper: ClassVar[str] = "Devlin et al. 2018, arXiv:1810.04805; Gururangan et al. 2020, arXiv:2004.10964"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        reader, tokens = text_reader(source), embedding(source)
        assert reader is not None and tokens is not None, "ask lacks() first"
        words = reader.vocabulary
        assert words.mask is not None
        self.mask, self.special = words.mask, torch.tensor(sorted(words.special), dtype=torch.int64)
        size = min(words.size, tokens.num_embeddings)
        self.ordinary = torch.tensor([i for i in range(size) if i not in words.special], dtype=torch.int64)
        self.head = Tied(source.card.width, tokens, transform=True)

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """A tokenizer with a mask token, and an embedding to predict with."""
        reader = text_reader(source)
        if reader is not None and reader.vocabulary.mask is None:
            return "a mask token"
        return lacks_tokens(source)

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """The batch with hidden tokens; ``word_index`` [B,M] says where, the target [B,M] what they were."""
        inputs = dict(self.source.preprocess(samples, train=True).inputs)
        ids = inputs["input_ids"]
        candidates = inputs["attention_mask"].bool() & ~torch.isin(ids, self.special)
        seen, chosen = corrupt(ids, candidates, self.mask, self.ordinary)
        places = positions(chosen)
        target = ids.gather(1, places.clamp(min=0)).masked_fill(places < 0, -100)
        return Batch({**inputs, "input_ids": seen, "word_index": places}), target

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean cross-entropy of the hidden tokens, in nats."""
        features, tokens = self.source.forward(batch), embedding(self.source)
        assert features.tokens is not None and tokens is not None
        found = target >= 0
        if not found.any():  # nothing but special tokens
            return {"loss": 0.0 * features.pooled.sum()}
        logits = self.head(features.tokens[found], tokens)
        return {"loss": nn.functional.cross_entropy(logits, target[found])}
