"""Texts and pre-split words to token tensors, by the tokenizer alone (no framework around it).

A text becomes ids [B,T], padded on the right to the longest of the batch. For pre-split words the batch also holds
``word_index`` [B,W]: where each word's first piece stands in the ids, -1 for padding and for words that the
truncation dropped; `by_word` gathers with it, so features line up with the words whatever the tokenizer did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from headstart.errors import SourceError
from headstart.sources.base import by_cost
from headstart.types import Batch, Json, Sample

TOKENIZER = "tokenizer.json"
STEP = 8  # tokens to which the length of a frozen batch is rounded up: backends prepare every new shape anew


class Tokens(NamedTuple):
    """One sample: ids [T]; kinds [T] where a segment other than 0 occurs; starts [W] of pre-split words. int32."""

    ids: np.ndarray
    kinds: np.ndarray | None
    starts: np.ndarray | None


class Vocabulary(NamedTuple):
    """mask: id of the mask token, or None. special: ids that stand for no piece of a text. size: ids in all."""

    mask: int | None
    special: frozenset[int]
    size: int


class TextReader:
    """Tokenises. max_length: T at most. pad: id that fills rows. types: whether the network takes segment ids."""

    kind = "text"

    def __init__(self, tokenizer: Any, max_length: int, pad: int, types: bool) -> None:
        import tokenizers

        content = tokenizer.to_str()
        self.max_length, self.pad, self.types = max_length, pad, types
        self._texts = tokenizers.Tokenizer.from_str(content)
        self._texts.no_padding()
        self._texts.enable_truncation(max_length)
        self._words = _for_words(tokenizers.Tokenizer.from_str(self._texts.to_str()))

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """``str`` or ``list[str]`` samples (one kind in a batch) to input_ids and attention_mask [B,T] (int64).

        token_type_ids [B,T] only where a segment other than 0 occurs; word_index [B,W] for pre-split words.
        Raises SourceError HS-SOURCE-005 for samples that are not text.
        """
        return self.collate(self.encode(samples))

    def encode(self, samples: Sequence[Sample]) -> list[Tokens]:
        """The tokens of each sample, not padded. Raises SourceError HS-SOURCE-005 for samples that are not text."""
        split = len(samples) > 0 and isinstance(samples[0], list | tuple)
        starts: list[np.ndarray | None] = [None] * len(samples)
        if split:
            rows = [[_clean(word) for word in _checked(sample, list | tuple)] for sample in samples]
            encodings = self._words.encode_batch(rows, is_pretokenized=True)
            starts = [_integers(_starts(encoding.word_ids, len(row))) for encoding, row in zip(encodings, rows)]
        else:
            texts = [_clean(_checked("" if sample is None else sample, str)) for sample in samples]
            encodings = self._texts.encode_batch(texts)
        ids = [_integers(encoding.ids or [self.pad]) for encoding in encodings]  # no token at all: all padding
        kinds = [
            _integers(encoding.type_ids or [0]) if self.types and any(encoding.type_ids) else None
            for encoding in encodings
        ]
        return [Tokens(*row) for row in zip(ids, kinds, starts)]

    def collate(self, rows: Sequence[Tokens], length: int = 0) -> Batch:
        """Tokens of samples of one kind as a batch, padded to the longest or to ``length``."""
        ids = [row.ids for row in rows]
        inputs = {
            "input_ids": _padded(ids, self.pad, length),
            "attention_mask": _padded([np.ones_like(row) for row in ids], 0, length),
        }
        if any(row.kinds is not None for row in rows):
            kinds = [np.zeros_like(row.ids) if row.kinds is None else row.kinds for row in rows]
            inputs["token_type_ids"] = _padded(kinds, 0, length)
        if rows and rows[0].starts is not None:
            inputs["word_index"] = _padded([row.starts for row in rows if row.starts is not None], -1)
        return Batch(inputs)

    def batches(self, samples: Sequence[Sample], size: int) -> list[tuple[np.ndarray, Callable[[], Batch]]]:
        """See `Source.batches`; tokenised once, and ordered by the tokens themselves."""
        tokens = self.encode(samples)
        lengths = np.array([len(row.ids) for row in tokens])
        lengths = np.minimum(-(-lengths // STEP) * STEP, max(self.max_length, int(lengths.max(initial=1))))
        return [
            (rows, partial(self.collate, [tokens[i] for i in rows], int(lengths[rows[0]])))
            for rows in by_cost(lengths, size)
        ]

    @property
    def vocabulary(self) -> Vocabulary:
        """What the ids stand for; the mask token is the special one that is called so."""
        added = {number: token for number, token in self._texts.get_added_tokens_decoder().items() if token.special}
        masks = [number for number, token in added.items() if token.content.strip("[]<>|").lower() == "mask"]
        size = self._texts.get_vocab_size(with_added_tokens=True)
        return Vocabulary(masks[0] if masks else None, frozenset(added), size)

    def settings(self) -> Json:
        """What `load` needs besides the tokenizer file."""
        return {"kind": self.kind, "max_length": self.max_length, "pad": self.pad, "types": self.types}

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` into the folder."""
        (folder / TOKENIZER).write_text(self._texts.to_str(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, settings: Json) -> TextReader:
        """The reader that `save` wrote. Raises SourceError HS-SOURCE-007 where the tokenizer is missing or damaged."""
        import tokenizers

        path = folder / TOKENIZER
        try:
            tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception for bad JSON
            raise SourceError("HS-SOURCE-007", f"{path} is missing or damaged.", "Fetch the source again.") from error
        return cls(tokenizer, int(settings["max_length"]), int(settings["pad"]), bool(settings["types"]))


def cost(sample: Sample) -> int:
    """The number of characters in a text or in pre-split words."""
    if isinstance(sample, list | tuple):
        return sum(len(str(word)) + 1 for word in sample)
    return len(str(sample))


def by_word(hidden: torch.Tensor, word_index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden [B,T,D] and word_index [B,W] to the features of the words [B,W,D] (zero where masked) and the mask."""
    mask = word_index >= 0
    index = word_index.clamp(min=0).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index) * mask.unsqueeze(-1).to(hidden.dtype), mask


def _checked(sample: Sample, kind: Any) -> Any:
    if not isinstance(sample, kind):
        raise SourceError(
            "HS-SOURCE-005",
            f"this source reads text, but a sample is of type {type(sample).__name__}.",
            "Choose a source for that kind of input, or give text (or lists of words) in every row.",
        )
    return sample


def _clean(text: object) -> str:
    """A string without lone surrogates, which tokenizers refuse."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _integers(values: Sequence[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)


def _padded(rows: Sequence[np.ndarray], fill: int, length: int = 0) -> torch.Tensor:
    """Rows of different length as one int64 tensor [B, longest or ``length``], at least one column wide."""
    longest = max((len(row) for row in rows), default=0)
    out = np.full((len(rows), max(longest, length, 1)), fill, dtype=np.int64)
    for line, row in zip(out, rows):
        line[: len(row)] = row
    return torch.from_numpy(out)


def _starts(word_ids: Sequence[int | None], words: int) -> list[int]:
    """For each word the position of its first piece, -1 where it has none."""
    starts = [-1] * words
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            starts[word] = position
    return starts


def _for_words(tokenizer: Any) -> Any:
    """The tokenizer for pre-split words: byte-level ones must see the blank that stood before each word."""
    from tokenizers import pre_tokenizers

    if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.pre_tokenizer.add_prefix_space = True
    return tokenizer
