"""Classical features, as people made them before there were pretrained networks; the baseline reads them.

A featurizer learns from the training rows (``fit``), turns any rows into a matrix [n,D] (``transform``), and is saved
as plain JSON and arrays (``state``, ``restore``).

- text: TF-IDF of words (1 and 2 in a row) and of characters inside words (2 to 5), sublinear term frequency
- words (token labels): the word, its shape, its ends and its two neighbours on each side, as indicators
- image: 16 x 16 pixels, a joint colour histogram (4 x 4 x 4) and histograms of oriented gradients
- sound: statistics over time of log-mel bands and MFCC (`headstart.nn.sound_features`)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.types import Json

Array: TypeAlias = np.ndarray

WORD = r"(?u)\b\w+\b"
IMAGE_BLOCKS = (16 * 16 * 3, 4 * 4 * 4, 5 * 5 * 2 * 2 * 9)
"""Columns of pixels, colours and oriented gradients."""

MOST_WORDS, MOST_PIECES = 50_000, 100_000


class Featurizer(ABC):
    """From rows to a matrix. kind: the name it is saved under. owner: row of each item after ``transform`` (words)."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, train: Dataset) -> Featurizer:
        """Learn vocabulary or scale from the training rows; targets are not read."""

    @abstractmethod
    def transform(self, dataset: Dataset) -> Any:
        """The features [n,D] of rows (of words, for token labels), float32, dense or CSR."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the columns that `transform` gives."""

    @abstractmethod
    def state(self) -> tuple[Json, dict[str, Array]]:
        """What `restore` needs: JSON values and arrays."""

    @classmethod
    @abstractmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> Featurizer:
        """The featurizer that gave this `state`. Raises KeyError or ValueError for missing or misshapen ones."""


class TextFeatures(Featurizer):
    """TF-IDF of word and character n-grams, side by side. vocabularies: (words, pieces); weights: their idf."""

    kind = "text"

    def __init__(self, vocabularies: Sequence[Sequence[str]], weights: Sequence[Array]) -> None:
        self.vocabularies = [list(vocabulary) for vocabulary in vocabularies]
        self.weights = [np.asarray(weight, dtype=np.float32) for weight in weights]
        if [len(vocabulary) for vocabulary in self.vocabularies] != [weight.size for weight in self.weights]:
            raise ValueError("misshapen idf")

    @classmethod
    def fit(cls, train: Dataset) -> TextFeatures:
        """n-grams of two rows or more (of any row where there are under 20 rows, or no others)."""
        return cls.fit_transform(train)[0]

    @classmethod
    def fit_transform(cls, train: Dataset) -> tuple[TextFeatures, Any]:
        """`fit` and the features of the same rows, at the price of one."""
        from scipy import sparse

        texts = _texts(train)
        vocabularies: list[list[str]] = []
        weights, blocks = [], []
        for part in (0, 1):
            vectorizer = _fitted_vectorizer(part, texts)
            if vectorizer is None:
                vocabularies.append([])
                weights.append(np.zeros(0))
                continue
            model, block = vectorizer
            vocabularies.append(model.get_feature_names_out().tolist())
            weights.append(model.idf_)
            blocks.append(block)
        features = cls(vocabularies, weights)
        return features, sparse.hstack(blocks).tocsr() if blocks else sparse.csr_matrix((len(texts), 1), dtype="f4")

    def transform(self, dataset: Dataset) -> Any:
        """CSR float32 [N,D]; texts without a known n-gram are rows of zeros."""
        from scipy import sparse

        texts = _texts(dataset)
        blocks = []
        for part, (vocabulary, weight) in enumerate(zip(self.vocabularies, self.weights)):
            if vocabulary:
                model = _vectorizer(part, vocabulary={term: i for i, term in enumerate(vocabulary)})
                model.idf_ = weight
                blocks.append(model.transform(texts))
        if not blocks:
            return sparse.csr_matrix((len(texts), 1), dtype=np.float32)
        return sparse.hstack(blocks).tocsr()

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return max(1, sum(map(len, self.vocabularies)))

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The vocabularies as JSON, the weights as arrays."""
        return {"vocabularies": self.vocabularies}, {f"idf{part}": weight for part, weight in enumerate(self.weights)}

    @classmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> TextFeatures:
        """The featurizer that gave this `state`."""
        return cls(data["vocabularies"], [arrays["idf0"], arrays["idf1"]])


class WordFeatures(Featurizer):
    """Indicators for each word of pre-split rows. vocabulary: the indicators known from training."""

    kind = "words"

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = list(vocabulary)
        self._index = {name: i for i, name in enumerate(self.vocabulary)}

    @classmethod
    def fit(cls, train: Dataset) -> WordFeatures:
        """Indicators of two words or more (of any word in under 50 rows)."""
        least = 2 if len(train) >= 50 else 1
        counts: Counter[str] = Counter()
        for words in train.samples():
            for names in _indicators(words):
                counts.update(names)
        return cls(sorted(name for name, count in counts.items() if count >= least))

    def transform(self, dataset: Dataset) -> Any:
        """CSR float32 [words,D] of 0 and 1."""
        from scipy import sparse

        columns: list[int] = []
        ends = [0]
        for words in dataset.samples():
            for names in _indicators(words):
                columns.extend(sorted({self._index[name] for name in names if name in self._index}))
                ends.append(len(columns))
        values = np.ones(len(columns), dtype=np.float32)
        return sparse.csr_matrix((values, columns, ends), shape=(len(ends) - 1, max(len(self.vocabulary), 1)))

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return max(1, len(self.vocabulary))

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary}, {}

    @classmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> WordFeatures:
        """The featurizer that gave this `state`."""
        return cls(data["vocabulary"])


class ImageFeatures(Featurizer):
    """Pixels, colours and gradients; norms: root mean square of each block in training, which it is divided by."""

    kind = "image"

    def __init__(self, norms: Array) -> None:
        self.norms = np.asarray(norms, dtype=np.float32)
        if self.norms.shape != (len(IMAGE_BLOCKS),):
            raise ValueError("misshapen norms")

    @classmethod
    def fit(cls, train: Dataset) -> ImageFeatures:
        """The spread of each block over the training rows."""
        return cls.fit_transform(train)[0]

    @classmethod
    def fit_transform(cls, train: Dataset) -> tuple[ImageFeatures, Any]:
        """`fit` and the features of the same rows, at the price of one."""
        blocks = _image_blocks(train)
        spread = [float(np.sqrt(block.var(axis=0).sum())) for block in blocks]
        features = cls(np.asarray([value if value > 1e-6 else 1.0 for value in spread]))
        return features, features._join(blocks)

    def transform(self, dataset: Dataset) -> Any:
        """Dense float32 [N,D]. Raises DataError HS-DATA-013 for an image that cannot be decoded."""
        return self._join(_image_blocks(dataset))

    def _join(self, blocks: list[Array]) -> Array:
        return np.hstack([block / norm for block, norm in zip(blocks, self.norms)]).astype(np.float32)

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return sum(IMAGE_BLOCKS)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The norms."""
        return {}, {"norms": self.norms}

    @classmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> ImageFeatures:
        """The featurizer that gave this `state`."""
        return cls(arrays["norms"])


def owners(dataset: Dataset) -> Array:
    """The row of each word, [words], ascending."""
    return np.repeat(np.arange(len(dataset)), [len(words) for words in dataset.samples()])


def _texts(dataset: Dataset) -> list[str]:
    return [" ".join(map(str, s)) if isinstance(s, list | tuple) else str(s or "") for s in dataset.samples()]


def _vectorizer(part: int, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if part == 0:
        return TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True, dtype=np.float32, **settings)
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float32, **settings)


def _fitted_vectorizer(part: int, texts: list[str]) -> tuple[Any, Any] | None:
    """A vectorizer and its matrix; None where the texts hold nothing to count."""
    most = (MOST_WORDS, MOST_PIECES)[part]
    for least in (2, 1) if len(texts) >= 20 else (1,):
        model = _vectorizer(part, min_df=least, max_features=most)
        try:
            block = model.fit_transform(texts)
        except ValueError:  # scikit-learn's "empty vocabulary" and "no terms remain"
            continue
        model.idf_ = np.asarray(model.idf_, dtype=np.float32)
        return model, block
    return None


def _indicators(words: Sequence[str]) -> list[list[str]]:
    """The names of what is true of each word."""
    lower = [str(word).lower() for word in words]
    shapes = [_shape(str(word)) for word in words]
    result = []
    for i, word in enumerate(lower):
        names = ["bias", f"w={word}", f"shape={shapes[i]}"]
        names += [f"start{k}={word[:k]}" for k in (1, 2, 3)] + [f"end{k}={word[-k:]}" for k in (1, 2, 3, 4)]
        for offset in (-2, -1, 1, 2):
            at = i + offset
            inside = 0 <= at < len(lower)
            names.append(f"w{offset:+d}={lower[at]}" if inside else f"w{offset:+d}.none")
            if inside and abs(offset) == 1:
                names += [f"shape{offset:+d}={shapes[at]}", f"pair{offset:+d}={shapes[i]}|{shapes[at]}"]
                names.append(f"end{offset:+d}={lower[at][-3:]}")
        result.append(names)
    return result


def _shape(word: str) -> str:
    """Xx for Paris, XX for EU, d for 42, x for town; runs count once."""
    letters = ["X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word]
    return "".join(c for i, c in enumerate(letters) if i == 0 or c != letters[i - 1])[:12]


def _image_blocks(dataset: Dataset) -> list[Array]:
    """Pixels [N,768], colours [N,64], gradients [N,900]."""
    from PIL import Image
    from skimage.feature import hog

    from headstart.sources.image import decode

    pixels, colours, gradients = [], [], []
    for sample in dataset.samples():
        image = decode(sample, (64, 64))
        pixels.append(np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel() / 255)
        small = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).reshape(-1, 3) // 64
        counts = np.bincount(small @ np.asarray([16, 4, 1]), minlength=64)
        colours.append(np.sqrt(counts / counts.sum()))
        grey = np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BILINEAR), dtype=np.float32)
        gradients.append(hog(grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2)))
    return [np.asarray(block, dtype=np.float32) for block in (pixels, colours, gradients)]
