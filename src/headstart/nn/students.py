"""Small networks that start from nothing, and what turns rows into their input.

- `Recurrent`: word embeddings, a bidirectional LSTM, the maximum and the mean over the words (Conneau et al. 2017)
- `Convolutional`: five convolutions of a small picture, the maximum and the mean over what is left of it
- `Bag`: one matrix on the classical features of `headstart.nn.featurizers`, with or without a hidden layer behind it

A `Reader` learns from the training inputs what the input needs (a vocabulary, a scale) and encodes rows; it is saved as
plain JSON and arrays.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.nn.featurizers import Featurizer, ImageFeatures, TextFeatures
from headstart.nn.minirocket import SeriesFeatures
from headstart.nn.sound_features import SoundFeatures
from headstart.nn.tables import TableFeatures
from headstart.sources.image import ImageReader
from headstart.types import Json, Sample

Array: TypeAlias = np.ndarray
Inputs: TypeAlias = dict[str, torch.Tensor]

MOST_WORDS, BUCKETS, LONGEST = 20_000, 1_000, 160
WORD = re.compile(r"\w+|[^\w\s]")
FEATURES: dict[str, type[Featurizer]] = {
    each.kind: each for each in (TextFeatures, ImageFeatures, SoundFeatures, SeriesFeatures, TableFeatures)
}


# --- readers ---------------------------------------------------------------------------------------------------


class Encoded(ABC):
    """Rows ready to be drawn. costs: [N], a rough cost of each row, by which batches are bucketed."""

    costs: Array

    @abstractmethod
    def batch(self, rows: Array, train: bool) -> Inputs:
        """These rows as named tensors, the first with axis B. ``train`` allows random augmentation."""


class Reader(ABC):
    """From rows to the input of a network. kind: the name it is saved under."""

    kind: ClassVar[str]

    @abstractmethod
    def encode(self, *parts: Dataset) -> Encoded:
        """The rows of all parts, ready to be drawn. Raises DataError for inputs that cannot be read."""

    @abstractmethod
    def state(self) -> tuple[Json, dict[str, Array]]:
        """What `restored` needs: JSON values and arrays."""


class WordReader(Reader):
    """Texts as word numbers: 0 is padding; words outside the vocabulary share `BUCKETS` numbers by their digest."""

    kind = "words"

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = list(vocabulary)
        self._index = {word: 1 + BUCKETS + place for place, word in enumerate(self.vocabulary)}

    @classmethod
    def fit(cls, parts: Sequence[Dataset]) -> WordReader:
        """The commonest words of two rows or more."""
        counts: Counter[str] = Counter()
        for part in parts:
            for sample in part.samples():
                counts.update(set(words(sample)))
        common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(word for word, count in common[:MOST_WORDS] if count > 1)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return 1 + BUCKETS + len(self.vocabulary)

    def encode(self, *parts: Dataset) -> EncodedWords:
        """The first `LONGEST` words of every text; an empty one has one word of its own."""
        return EncodedWords([self._numbers(sample) for part in parts for sample in part.samples()])

    def _numbers(self, sample: Sample) -> Array:
        found = words(sample)[:LONGEST] or [""]
        return np.array([self._index.get(word) or 1 + zlib.crc32(word.encode()) % BUCKETS for word in found], np.int64)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary}, {}


class EncodedWords(Encoded):
    """Word numbers of each row."""

    def __init__(self, rows: list[Array]) -> None:
        self.rows = rows
        self.costs = np.array([len(row) for row in rows], dtype=np.int64)

    def batch(self, rows: Array, train: bool) -> Inputs:
        """``words`` [B,T], ``lengths`` [B]."""
        lengths = self.costs[rows]
        numbers = np.zeros((len(rows), int(lengths.max())), dtype=np.int64)
        for place, row in enumerate(rows):
            numbers[place, : lengths[place]] = self.rows[row]
        return {"words": torch.from_numpy(numbers), "lengths": torch.from_numpy(lengths)}


class PixelReader(Reader):
    """Pictures at one small size."""

    kind = "pixels"

    def __init__(self, size: int) -> None:
        self.size = size
        self.read = ImageReader((size, size), (size, size), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def encode(self, *parts: Dataset) -> EncodedPixels:
        """Decoded when they are drawn."""
        return EncodedPixels([sample for part in parts for sample in part.samples()], self.read)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The size."""
        return {"size": self.size}, {}


class EncodedPixels(Encoded):
    """Pictures that are decoded when they are drawn, and augmented mildly for training."""

    def __init__(self, samples: Sequence[Sample], read: ImageReader) -> None:
        self.samples, self.read = samples, read
        self.costs = np.ones(len(samples), dtype=np.int64)

    def batch(self, rows: Array, train: bool) -> Inputs:
        """``pixels`` [B,3,H,W]."""
        return {"pixels": self.read([self.samples[row] for row in rows], train).inputs["pixel_values"]}


class FeatureReader(Reader):
    """The classical features that the baseline reads."""

    kind = "features"

    def __init__(self, features: Featurizer) -> None:
        self.features = features

    @classmethod
    def fit(cls, parts: Sequence[Dataset]) -> FeatureReader:
        """Learned on all parts for texts and tables, on the first for pictures, sounds and series."""
        modality = parts[0].modality
        if modality == "text":
            return cls(TextFeatures.fit(_texts(parts)))
        if modality == "audio":
            return cls(SoundFeatures.fit(parts[0]))
        if modality == "series":
            return cls(SeriesFeatures.fit(parts[0]))
        return cls(ImageFeatures.fit(parts[0]) if modality == "image" else TableFeatures.fit(_table(parts)))

    @property
    def size(self) -> int:
        """D, the columns."""
        return self.features.width

    def encode(self, *parts: Dataset) -> EncodedFeatures:
        """The features of all rows."""
        from scipy import sparse

        blocks = [self.features.transform(part) for part in parts]
        dense = isinstance(blocks[0], np.ndarray)
        return EncodedFeatures(np.concatenate(blocks) if dense else sparse.vstack(blocks).tocsr())

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The featurizer's."""
        facts, arrays = self.features.state()
        return {"features": self.features.kind, "state": facts}, arrays


class EncodedFeatures(Encoded):
    """A matrix [N,D], dense or CSR."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.costs = np.ones(matrix.shape[0], dtype=np.int64)

    def batch(self, rows: Array, train: bool) -> Inputs:
        """``dense`` [B,D], or of sparse ones ``offsets`` [B], ``columns`` and ``values``, as in CSR."""
        part = self.matrix[rows]
        if isinstance(part, np.ndarray):
            return {"dense": torch.from_numpy(part.astype(np.float32))}
        return {
            "offsets": torch.from_numpy(part.indptr[:-1].astype(np.int64)),
            "columns": torch.from_numpy(part.indices.astype(np.int64)),
            "values": torch.from_numpy(part.data.astype(np.float32)),
        }


def restored(kind: str, facts: Json, arrays: dict[str, Array]) -> Reader:
    """The reader that gave this `Reader.state`. Raises KeyError or ValueError for missing or misshapen ones."""
    if kind == "words":
        return WordReader(facts["vocabulary"])
    if kind == "pixels":
        return PixelReader(facts["size"])
    return FeatureReader(FEATURES[facts["features"]].restore(facts["state"], arrays))


def words(sample: Sample) -> list[str]:
    """The lower-case words and marks of a text, or the words of a text that comes split."""
    if isinstance(sample, list | tuple):
        return [str(word).lower() for word in sample]
    return WORD.findall(str(sample or "").lower())


def _texts(parts: Sequence[Dataset]) -> Dataset:
    """The texts of all parts in one dataset."""
    import datasets

    texts = [" ".join(map(str, s)) if isinstance(s, list | tuple) else s for part in parts for s in part.samples()]
    return Dataset(datasets.Dataset.from_dict({"text": texts}), [Column("text", "input", "text")])


def _table(parts: Sequence[Dataset]) -> Dataset:
    """The input columns of all parts in one dataset."""
    import datasets

    inputs = parts[0].inputs
    tables = [part.table.select_columns([column.name for column in inputs]) for part in parts]
    return Dataset(datasets.concatenate_datasets(tables), inputs, origin=parts[0].origin)


# --- networks --------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Word numbers to features [B,4 width]."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.features = 4 * width
        self.embedding = nn.Embedding(size, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The maximum and the mean of the hidden states over the words."""
        numbers, lengths = inputs["words"], inputs["lengths"]
        embedded = self.dropout(self.embedding(numbers))
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # [B,T,2 width]
        there = (torch.arange(states.shape[1], device=states.device)[None] < lengths[:, None])[..., None]
        most = states.masked_fill(~there, -torch.inf).amax(dim=1)
        mean = states.masked_fill(~there, 0.0).sum(dim=1) / lengths[:, None]
        return torch.cat([most, mean], dim=1)


class Convolutional(nn.Module):
    """Pixels to features [B,2 width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = 2 * width
        thin, middle = max(4, width // 4), max(4, width // 2)
        self.stem = _convolution(3, thin)
        self.block1 = nn.Sequential(nn.MaxPool2d(2), _convolution(thin, middle), _convolution(middle, middle))
        self.block2 = nn.Sequential(nn.MaxPool2d(2), _convolution(middle, width), _convolution(width, width))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The maximum and the mean of the last map."""
        maps = self.block2(self.block1(self.stem(inputs["pixels"].contiguous(memory_format=torch.channels_last))))
        return torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)


def _convolution(given: int, made: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(given, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU())


class Bag(nn.Module):
    """A matrix [D,width] on classical features, dense or sparse, with a nonlinearity behind it where ``hidden``."""

    def __init__(self, size: int, width: int, hidden: bool) -> None:
        super().__init__()
        self.features, self.hidden = width, hidden
        self.weight = nn.Parameter(torch.randn(size, width) / width**0.5 if hidden else torch.zeros(size, width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """[B,width]."""
        if "dense" in inputs:
            sums = inputs["dense"] @ self.weight
        else:
            sums = nn.functional.embedding_bag(
                inputs["columns"], self.weight, inputs["offsets"], mode="sum", per_sample_weights=inputs["values"]
            )
        return torch.relu(sums + self.bias) if self.hidden else sums + self.bias


class StudentNetwork(nn.Module):
    """A small network and its head. width: D of `features`; a linear one's features are its outputs themselves."""

    def __init__(self, body: Recurrent | Convolutional | Bag, head: nn.Module, dropout: float) -> None:
        super().__init__()
        self.body, self.head, self.dropout = body, head, nn.Dropout(dropout)

    @property
    def width(self) -> int:
        """D of `features`."""
        return self.body.features

    def features(self, batch: Any) -> torch.Tensor:
        """What the head reads, [B,D]."""
        return self.body(batch.inputs)  # type: ignore[no-any-return]

    def read(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B,D] to outputs [B,C]."""
        return self.head(self.dropout(features))  # type: ignore[no-any-return]

    def forward(self, batch: Any) -> torch.Tensor:
        """Outputs [B,C]."""
        return self.read(self.features(batch))


@dataclass(frozen=True)
class Shape:
    """What a student looks like. kind: lstm, cnn, mlp or linear."""

    kind: str
    width: int
    size: int
    dropout: float

    def reader(self, parts: Sequence[Dataset]) -> Reader:
        """The reader, learned on the inputs of these rows, the labelled ones first."""
        if self.kind == "lstm":
            return WordReader.fit(parts)
        return PixelReader(self.size) if self.kind == "cnn" else FeatureReader.fit(parts)

    def network(self, reader: Reader, outputs: int) -> StudentNetwork:
        """Fresh weights, from torch's global generator, for C outputs."""
        body: Recurrent | Convolutional | Bag
        if isinstance(reader, WordReader):
            body = Recurrent(reader.size, self.width, self.dropout)
        elif isinstance(reader, PixelReader):
            body = Convolutional(self.width)
        elif self.kind == "mlp":
            assert isinstance(reader, FeatureReader)
            body = Bag(reader.size, self.width, hidden=True)
        else:
            assert isinstance(reader, FeatureReader)
            return StudentNetwork(Bag(reader.size, outputs, hidden=False), nn.Identity(), 0.0)
        return StudentNetwork(body, nn.Linear(body.features, outputs), self.dropout)
