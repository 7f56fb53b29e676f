"""Texts and pre-split words to token tensors, by the tokenizer alone (no framework around it).

A text becomes ids [B,T], padded on the right to the longest of the batch. For pre-split words the batch also holds
``word_index`` [B,W]: where each word's first piece stands in the ids, -1 for padding and for words that the
truncation dropped; `by_word` gathers with it, so features line up with the words whatever the tokenizer did.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.errors import SourceError
from headstart.types import Batch, Json, Sample

TOKENIZER = "tokenizer.json"


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
        split = len(samples) > 0 and isinstance(samples[0], list | tuple)
        if split:
            rows = [[_clean(word) for word in _checked(sample, list | tuple)] for sample in samples]
            encodings = self._words.encode_batch(rows, is_pretokenized=True)
        else:
            texts = [_clean(_checked("" if sample is None else sample, str)) for sample in samples]
            encodings = self._texts.encode_batch(texts)
        ids = [encoding.ids or [self.pad] for encoding in encodings]  # a row of no token at all would be all padding
        inputs = {"input_ids": _padded(ids, self.pad), "attention_mask": _padded([[1] * len(row) for row in ids], 0)}
        if self.types and any(any(encoding.type_ids) for encoding in encodings):
            inputs["token_type_ids"] = _padded([encoding.type_ids or [0] for encoding in encodings], 0)
        if split:
            starts = [_starts(encoding.word_ids, len(row)) for encoding, row in zip(encodings, rows)]
            inputs["word_index"] = _padded(starts, -1)
        return Batch(inputs)

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


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """Rows of different length as one int64 tensor [B, longest], at least one column wide."""
    out = np.full((len(rows), max((len(row) for row in rows), default=0) or 1), fill, dtype=np.int64)
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
