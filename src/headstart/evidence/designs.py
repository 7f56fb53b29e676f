"""What small fits read: features of all rows, computed once, then cut and rescaled for every subset.

A learning curve fits the same two models dozens of times on parts of the same rows. Frozen features do not depend on
the part; classical ones do, but only by a factor a column, so that one pass over the raw inputs serves every part:

- TF-IDF is tf * idf over the row's norm. The part gets its own columns (n-grams of two rows or more) and its own idf;
  a row's old norm cancels, since the row is normalised anew. What a fit from the raw texts would give, but for n-grams
  that the whole left out of its vocabulary (in one row only, or beyond its largest size).
- Word indicators: the columns that two words or more of the part have.
- Blocks of picture statistics: each divided by its own spread over the part; statistics of sounds, each column so.
- MiniRocket's shares: each divided by its spread over the part; the biases stay those of all labelled rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted
from headstart.methods.baseline import BaselineFitted
from headstart.methods.network import NetworkFitted
from headstart.nn.featurizers import IMAGE_BLOCKS, ImageFeatures, TextFeatures, WordFeatures, owners
from headstart.nn.linear import balance
from headstart.nn.minirocket import SeriesFeatures, spread
from headstart.nn.sound_features import SoundFeatures
from headstart.types import Outputs

Array: TypeAlias = np.ndarray


class Design(ABC):
    """Features of the rows of a pool. X: [items,D], dense or CSR. counts: items of each row; None: one, the row."""

    def __init__(self, X: Any, counts: Array | None = None) -> None:
        self.X, self.counts = X, counts

    @abstractmethod
    def cut(self, train: Array) -> View:
        """These rows (ascending positions in the pool) as training features of their own."""

    def items(self, rows: Array) -> Array:
        """Positions of the items of these rows."""
        if self.counts is None:
            return rows
        starts = np.cumsum(self.counts) - self.counts
        return np.concatenate([np.arange(starts[row], starts[row] + self.counts[row]) for row in rows] or [rows])

    def split(self, outputs: Array, rows: Array) -> Outputs:
        """Outputs of items as the task reads them: [n,C], or a list of [T_i,C]."""
        return outputs if self.counts is None else np.split(outputs, np.cumsum(self.counts[rows])[:-1])

    def owner(self, rows: Array) -> Array | None:
        """Of each item the place of its row in ``rows``; None where items are rows."""
        return None if self.counts is None else np.repeat(np.arange(len(rows)), self.counts[rows])


class View:
    """The features of one part. X: [items,d] to fit on. columns: those of the design that it kept, None for all.

    factors: what each kept column is multiplied by. blocks: column ranges that are normalised to length 1 each.
    """

    def __init__(
        self, design: Design, X: Any, columns: Array | None = None, factors: Array | None = None,
        blocks: Sequence[slice] = (),
    ) -> None:  # fmt: skip
        self.design, self.X = design, X
        self.columns, self.factors, self.blocks = columns, factors, tuple(blocks)

    def outputs(self, weight: Array, bias: Array, rows: Array) -> Outputs:
        """Outputs of any rows of the pool by a linear head weight [C,d], bias [C] that was fitted on this part."""
        if len(rows) == 0:
            return [] if self.design.counts is not None else np.zeros((0, len(bias)))
        Z = self.design.X[self.design.items(rows)]
        width = Z.shape[1]
        factors = np.ones(weight.shape[1]) if self.factors is None else self.factors
        wide, scale = np.zeros((len(bias), width)), np.zeros(width)
        columns = np.arange(width) if self.columns is None else self.columns
        wide[:, columns], scale[columns] = weight * factors, factors
        if not self.blocks:
            return self.design.split(np.asarray(Z @ wide.T) + bias, rows)
        total = np.tile(np.asarray(bias, dtype=np.float64), (Z.shape[0], 1))
        for block in self.blocks:
            part = Z[:, block]
            norms = np.sqrt(np.asarray(part.power(2) @ scale[block] ** 2))
            total += np.asarray(part @ wide[:, block].T) / np.where(norms > 0, norms, 1.0)[:, None]
        return self.design.split(total, rows)


class Frozen(Design):
    """Features that depend on no training row: those of a source. widths: of the outputs that stand side by side."""

    def __init__(self, X: Array, counts: Array | None = None, widths: Sequence[int] = ()) -> None:
        super().__init__(X, counts)
        self.ends = np.cumsum(widths)[:-1] if len(widths) else np.empty(0, int)

    def cut(self, train: Array) -> View:
        """The rows, their outputs balanced as the probe does it."""
        X = self.X[self.items(train)]
        factors = balance(np.split(X, self.ends, axis=1))
        return View(self, X * factors, None, factors)


class Words(Design):
    """Indicators of words."""

    def cut(self, train: Array) -> View:
        """The indicators of two words or more (of any word in under 50 rows)."""
        X = self.X[self.items(train)]
        columns = np.flatnonzero(X.getnnz(axis=0) >= (2 if len(train) >= 50 else 1))
        return View(self, X[:, columns], columns, np.ones(len(columns)))


class Pictures(Design):
    """Blocks of picture statistics."""

    def cut(self, train: Array) -> View:
        """Each block over its spread in these rows."""
        X, factors, start = self.X[train], np.ones(self.X.shape[1]), 0
        for width in IMAGE_BLOCKS:
            spread = float(np.sqrt(X[:, start : start + width].var(axis=0, dtype=np.float64).sum()))
            factors[start : start + width] = 1 / spread if spread > 1e-6 else 1.0
            start += width
        return View(self, (X * factors).astype(np.float32), None, factors)


class Sounds(Design):
    """Statistics of sounds, centred over the whole."""

    def cut(self, train: Array) -> View:
        """Each column over its spread in these rows."""
        spread = self.X[train].std(axis=0, dtype=np.float64)
        factors = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 1.0)
        return View(self, (self.X[train] * factors).astype(np.float32), None, factors)


class Shares(Design):
    """MiniRocket's shares of positive values."""

    def cut(self, train: Array) -> View:
        """Each divided by its spread over these rows."""
        X, factors = self.X[train], 1 / spread(self.X[train]).astype(np.float64)
        return View(self, (X * factors).astype(np.float32), None, factors)


class Texts(Design):
    """TF-IDF of words and of pieces. idf: of each block in the whole."""

    def __init__(self, X: Any, idf: Sequence[Array]) -> None:
        super().__init__(X)
        self.idf = [np.asarray(values, dtype=np.float64) for values in idf if len(values)]

    def cut(self, train: Array) -> View:
        """The n-grams of two rows or more of these (of any row in under 20 rows), with their own idf."""
        from scipy import sparse

        X, found, columns, factors, blocks, start = self.X[train], [], [], [], [], 0
        for idf in self.idf:
            block = slice(start, start + len(idf))
            start = block.stop
            part = X[:, block]
            rows = part.getnnz(axis=0)
            keep = np.flatnonzero(rows >= (2 if len(train) >= 20 else 1))
            if len(keep) == 0:
                keep = np.flatnonzero(rows)
            factor = (np.log((1 + len(train)) / (1 + rows[keep])) + 1) / idf[keep]
            scaled = part[:, keep] @ sparse.diags(factor)
            norms = np.sqrt(np.asarray(scaled.power(2).sum(axis=1)).ravel())
            found.append(sparse.diags(1 / np.where(norms > 0, norms, 1.0)) @ scaled)
            columns.append(keep + block.start)
            factors.append(factor)
            blocks.append(block)
        kept = sparse.hstack(found).tocsr().astype(np.float32)
        return View(self, kept, np.concatenate(columns), np.concatenate(factors), blocks)


def design_of(fitted: Fitted, pool: Sequence[Dataset]) -> Design | None:
    """The design of a fitted linear model over the rows of ``pool``, one dataset after the other; None where the model
    is not linear on features of these kinds.
    """
    from scipy import sparse

    if isinstance(fitted, NetworkFitted) and not fitted.changed:
        if fitted.outputs_used == ("tokens",):
            rows = [row for part in pool for row in fitted.extractor.tokens(part)]
            return Frozen(np.concatenate(rows), np.array([len(row) for row in rows]))
        parts = [fitted.extractor.blocks(part, fitted.outputs_used) for part in pool]
        blocks = [np.concatenate(block) for block in zip(*parts)]
        return Frozen(np.concatenate(blocks, axis=1), None, [block.shape[1] for block in blocks])
    if not isinstance(fitted, BaselineFitted) or fitted.trees is not None:
        return None
    features = fitted.features
    if isinstance(features, ImageFeatures):
        return Pictures(np.concatenate([features.transform(part) for part in pool]))
    if isinstance(features, SoundFeatures):
        return Sounds(np.concatenate([features.transform(part) for part in pool]))
    if isinstance(features, SeriesFeatures):
        return Shares(np.concatenate([features.raw(part) for part in pool]))
    if isinstance(features, TextFeatures) and any(len(weight) for weight in features.weights):
        return Texts(sparse.vstack([features.transform(part) for part in pool]).tocsr(), features.weights)
    if isinstance(features, WordFeatures):
        counts = np.concatenate([np.bincount(owners(part), minlength=len(part)) for part in pool])
        return Words(sparse.vstack([features.transform(part) for part in pool]).tocsr(), counts)
    return None
