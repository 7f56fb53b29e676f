"""Kinds of item models with their settings: popularity, item-kNN, EASE and ALS, also towards what a source tells.

A recipe makes an `ItemWeights` of the interactions X [N,I] of training rows; which recipe it is to be is chosen in
`headstart.methods.items`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array

from headstart.datasets.base import Dataset
from headstart.errors import missing_package
from headstart.methods.elsewhere import Elsewhere, plain
from headstart.nn.ease import ease, told_by_content
from headstart.nn.item_factors import ItemFactors, drawn
from headstart.nn.item_weights import ItemWeights
from headstart.types import Json

Array = np.ndarray

STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CONTENT_STRENGTHS, SHIFTS = (100.0, 1000.0), (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the ridges where contents tell; the wider the shift, the more alike are the columns that contents tell."""

APART = (0.3, 1.0, 3.0)
"""Ridges of the weights from what users took elsewhere."""

USERS = (0.0, 10.0, 100.0, 1e6)
"""Users of the target for which the source's popularity counts."""

DIMENSIONS, SHARES, ALPHAS, SWEEPS = 64, (0.02, 0.05, 0.1, 0.25), (1.0, 3.0), 10
"""Of factors: their number; ridges, over the largest singular value of the interactions, from which on nothing is left
of factors with alpha 1; weights of an interaction; sweeps over users and items."""

PULLS, DRAWN = (0.3, 1.0, 3.0, 10.0, np.inf), 4
"""Strengths of the pull towards a source's factors, over the ridge that these were learned with, and sweeps."""

WORDS = 4000
MOST = 2500
"""Items that a dense matrix of weights speaks of: the most popular ones."""


class Recipe(ABC):
    """A kind of model with its settings. Subclasses are final."""

    kind: str
    settings: Json
    users: Sequence[float] = (0.0,)
    elsewhere: Elsewhere | None = None

    @abstractmethod
    def build(self, X: Any) -> ItemWeights:
        """The model of the interactions X [N,I]; its popularity counts users. With ``elsewhere`` X is [N,I+D]."""

    def popularity(self, model: ItemWeights, X: Any, users: float) -> Array:
        """The popularity [I], 1 for the first. users: for how many the source's counts, of those in ``users``."""
        return _largest1(model.popularity)


@dataclass(frozen=True)
class Prior:
    """What a source knows of the task's items. weights: [K,K] between the items ``known`` [K], or None. popularity:
    [I], the share of users, or None. vectors: [I,D] of unit length, zero where nothing is known, or None.
    """

    weights: Array | None = None
    known: Array | None = None
    popularity: Array | None = None
    vectors: Array | None = None

    def among(self, items: Array) -> Array | None:
        """The weights between these items [M], [M,M] float32, zero where nothing is known; None without any."""
        if self.weights is None or self.known is None:
            return None
        made = np.zeros((len(items), len(items)), np.float32)
        _, here, there = np.intersect1d(items, self.known, return_indices=True)
        made[np.ix_(here, here)] = self.weights[np.ix_(there, there)]
        return made


@dataclass(frozen=True)
class FactorPrior:
    """Factors that a source knows of the task's items: table [K,D] of the items ``known`` [K], and how they were
    learned (`headstart.nn.item_factors`). popularity: [I], the share of users.
    """

    table: Array
    known: Array
    popularity: Array
    alpha: float
    ridge: float


class Popular(Recipe):
    """The most popular items, to everybody."""

    kind = "popularity"

    def __init__(self) -> None:
        self.settings: Json = {}

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`."""
        none = np.zeros(0, np.int64)
        return ItemWeights(none, none, np.zeros((0, 0), np.float32), _counts(X)).scaled(X)


class Ridge(Recipe):
    """EASE (`headstart.nn.ease`), alone or towards what a source knows.

    strength: of the ridge; infinity: the source's weights as they are. shift: of the kernel ridge from contents, where
    there are vectors. elsewhere: what users took elsewhere, with the ridge ``apart``. more: further settings, of how
    the prior was made.
    """

    def __init__(
        self, strength: float, *, prior: Prior | None = None, shift: float = 0.0, told: str = "",
        elsewhere: Elsewhere | None = None, apart: float = 1.0, more: Json | None = None,
    ) -> None:  # fmt: skip
        self.prior, self.strength, self.shift = prior, strength, shift
        self.kind = "EASE" if prior is None else f"EASE towards {told}"
        self.settings: Json = {"strength": None if strength == np.inf else strength, **(more or {})}
        self.elsewhere, self.apart = elsewhere, apart
        if elsewhere is not None:
            self.kind += f" with {elsewhere.told}"
            self.settings["apart"] = apart
        if prior is not None and prior.vectors is not None:
            self.settings["shift"] = shift
        if prior is not None and prior.popularity is not None:
            self.users = USERS

    def popularity(self, model: ItemWeights, X: Any, users: float) -> Array:
        """See `Recipe`: (counts + users * the source's) / (N + users)."""
        if self.prior is None or self.prior.popularity is None:
            return _largest1(model.popularity)
        return _largest1(model.popularity + users * self.prior.popularity)

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`."""
        whole, X = X, X[:, : X.shape[1] - self.elsewhere.width] if self.elsewhere is not None else X
        counts, prior = _counts(X), self.prior
        weight = counts if prior is None or prior.popularity is None else counts + prior.popularity
        kept = np.sort(np.argsort(-weight, kind="stable")[:MOST])
        kept = kept[weight[kept] > 0]
        part = X[:, kept]
        if self.elsewhere is not None:
            return self._beside(whole, part, kept, counts)
        if prior is None:
            return ItemWeights(kept, kept, ease(part, self.strength), counts).scaled(X)
        W = ease(part, self.strength, prior.among(kept))
        if prior.vectors is None:
            return ItemWeights(kept, kept, W, counts).scaled(X)
        return self._by_content(X, part, kept, counts, W, prior.vectors)

    def _beside(self, whole: Any, part: Any, kept: Array, counts: Array) -> ItemWeights:
        """Weights from the items and from what users took elsewhere, which stands behind the items in ``whole``."""
        size = np.float32(np.sqrt(self.strength / self.apart))
        J = sparse.csr_array(sparse.hstack([part, whole[:, len(counts) :] * size], format="csr"))
        B = None
        if self.prior is not None and (told := self.prior.among(kept)) is not None:
            B = np.zeros((J.shape[1], J.shape[1]), np.float32)
            B[: len(kept), : len(kept)] = told
        W = ease(J, self.strength, B)[:, : len(kept)]
        W[len(kept) :] *= size
        rows = np.concatenate([kept, np.arange(len(counts), whole.shape[1])])
        return ItemWeights(rows, kept, W, counts).scaled(whole)

    def _by_content(self, X: Any, part: Any, kept: Array, counts: Array, W: Array, V: Array) -> ItemWeights:
        """Columns of new items as their contents tell, and the others drawn towards what theirs tell."""
        known = np.abs(V).sum(axis=1) > 0
        new = np.setdiff1d(np.flatnonzero(known), kept)
        told = np.concatenate([W, counts[None, kept]])  # popularity is told by content as well
        inside, outside = told_by_content(told, V[kept], V[new], self.shift)
        B = np.where(known[kept], inside[:-1], W)
        B[np.diag_indices(len(B))] = 0
        W = np.concatenate([ease(part, self.strength, B), outside[:-1]], axis=1)
        popularity = counts.copy()
        popularity[new] = np.maximum(outside[-1], 0)
        return ItemWeights(kept, np.concatenate([kept, new]), W, popularity).scaled(X)


class Neighbours(Recipe):
    """Item-kNN of the library ``implicit``: the ``size`` most similar items of each, by cosine, TF-IDF or BM25."""

    def __init__(self, weighting: str, size: int) -> None:
        self.weighting, self.size = weighting, size
        self.kind = "item-kNN"
        self.settings: Json = {"weighting": weighting, "neighbours": size}

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`. Raises EnvironmentProblem HS-ENV-001 where ``implicit`` is not installed."""
        try:
            from implicit import nearest_neighbours
        except ImportError as error:
            raise missing_package("implicit", "recommendation") from error
        from scipy.sparse import csr_matrix

        kind = {
            "cosine": nearest_neighbours.CosineRecommender,
            "TF-IDF": nearest_neighbours.TFIDFRecommender,
            "BM25": nearest_neighbours.BM25Recommender,
        }[self.weighting]
        model = kind(K=self.size, num_threads=1)
        with warnings.catch_warnings():  # it warns of a conversion of its own
            warnings.simplefilter("ignore")
            model.fit(csr_matrix(X, dtype=np.float64), show_progress=False)
        every = np.arange(X.shape[1])
        return ItemWeights(every, every, csr_array(model.similarity, dtype=np.float32), _counts(X)).scaled(X)


class ALS(Recipe):
    """Factors of items by alternating least squares, of the library ``implicit``. strength: of the ridge, over the
    largest singular value of the interactions. alpha: the weight of one.
    """

    def __init__(self, strength: float, alpha: float, dimensions: int = DIMENSIONS) -> None:
        self.strength, self.alpha, self.dimensions = strength, alpha, dimensions
        self.kind = "ALS"
        self.settings: Json = {"strength": strength, "alpha": alpha, "dimensions": dimensions}

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`. Raises EnvironmentProblem HS-ENV-001 where ``implicit`` is not installed."""
        try:
            from implicit.cpu.als import AlternatingLeastSquares
        except ImportError as error:
            raise missing_package("implicit", "recommendation") from error
        from scipy.sparse import csr_matrix
        from sklearn.utils.extmath import randomized_svd

        counts = _counts(X)
        kept = np.flatnonzero(counts)
        part = csr_matrix(X[:, kept], dtype=np.float32)
        ridge = self.strength * float(randomized_svd(part, 1, random_state=0)[1][0])
        with warnings.catch_warnings():  # it warns of threads of BLAS
            warnings.simplefilter("ignore")
            model = AlternatingLeastSquares(
                self.dimensions, ridge, self.alpha, iterations=SWEEPS, num_threads=1, random_state=0
            )
            model.fit(part, show_progress=False)
        table = np.asarray(model.item_factors, np.float32)
        return ItemWeights(kept, kept, ItemFactors(table, self.alpha, ridge), counts).scaled(X)


class DrawnALS(Recipe):
    """ALS towards a source's factors (`headstart.nn.item_factors.drawn`), all settings but ``strength`` as the source
    has them. strength: of the pull, over the ridge of the source; infinity: its factors as they are. Items that the
    source does not know start from nothing, with its ridge.
    """

    users = USERS

    def __init__(self, strength: float, prior: FactorPrior, told: str) -> None:
        self.strength, self.prior = strength, prior
        self.kind = f"ALS towards {told}"
        self.settings: Json = {"strength": None if strength == np.inf else strength}

    def popularity(self, model: ItemWeights, X: Any, users: float) -> Array:
        """See `Recipe`: (counts + users * the source's) / (N + users)."""
        return _largest1(model.popularity + users * self.prior.popularity)

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`."""
        counts, prior = _counts(X), self.prior
        table = np.zeros((X.shape[1], prior.table.shape[1]), np.float32)
        table[prior.known] = prior.table
        strength = np.full(len(table), prior.ridge)
        strength[prior.known] *= self.strength
        table = drawn(X, table, strength, prior.alpha, prior.ridge, DRAWN)
        kept = np.flatnonzero(table.any(axis=1))
        return ItemWeights(kept, kept, ItemFactors(table[kept], prior.alpha, prior.ridge), counts).scaled(X)


def factor_recipes() -> list[Recipe]:
    """ALS from scratch, with all settings that are tried. A control tries it where it is named only: chosen by itself
    it ranked users with short histories worse (`docs/applications/recommendation.md`).
    """
    return [ALS(share, alpha) for alpha in ALPHAS for share in SHARES]


def classical(dataset: Dataset) -> list[Recipe]:
    """What a careful person would try without a source: popularity, item-kNN, EASE, and contents by TF-IDF."""
    found: list[Recipe] = [Popular()]
    found += [Neighbours(weighting, size) for weighting in ("cosine", "TF-IDF", "BM25") for size in (20, 100)]
    found += [Ridge(strength) for strength in STRENGTHS]
    if dataset.items is not None and any(dataset.items.texts):
        prior = Prior(vectors=word_vectors(dataset.items.texts))
        found += [
            Ridge(s, prior=prior, shift=shift, told="TF-IDF of contents") for s in CONTENT_STRENGTHS for shift in SHIFTS
        ]
    return found + with_elsewhere(plain(dataset))


def with_elsewhere(
    readings: Sequence[Elsewhere], prior: Prior | None = None, told: str = "", strengths: Sequence[float] = ()
) -> list[Recipe]:  # fmt: skip
    """EASE with each of these readings of what users took elsewhere. prior, told: of the items here, see `Ridge`."""
    return [
        Ridge(strength, prior=prior, told=told, elsewhere=reading, apart=apart)
        for reading in readings for strength in strengths or CONTENT_STRENGTHS for apart in APART
    ]  # fmt: skip


def word_vectors(texts: Sequence[str]) -> Array:
    """TF-IDF of the words of each text, [I,D] float32 of unit length; zero for an empty text."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    reader = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", max_features=WORDS)
    return np.asarray(reader.fit_transform(texts).toarray(), np.float32)


def _largest1(counts: Array) -> Array:
    top = float(counts.max(initial=0))
    return np.asarray(counts / top if top > 0 else counts)


def _counts(X: Any) -> Array:
    return np.asarray(X.sum(axis=0), np.float64).ravel()
