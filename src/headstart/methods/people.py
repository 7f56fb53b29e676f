"""What is known of a user besides the history: popularity as the user's features have it.

Ridge regression from the features f [F] of a user to the 0/1 of each item, beside the popularity p of all users:

    p(u) = p + f_u C        C = argmin |X - mean - f C|^2 + s |C|^2        w = h / (h + n)

A user without a history is ranked by p(u); one with n items gets w f_u C besides what the items say, the less the more
items there are (h = 0: nothing). The strength s is chosen by NDCG@10 of the rankings that users get without any
history, out of fold, and the features are left out where that is not clearly more than by popularity alone; h on
histories cut off after 1, 3 and 10 items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.datasets.base import Column, Dataset
from headstart.nn.tables import TableFeatures
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json

Array = np.ndarray

STRENGTHS = (10_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0)
HALVES = (0.0, 0.03, 0.1, 0.3, 1.0)
CUTS = (1, 3, 10)
"""Items of a history after which it is cut off to choose h."""

PREFIX = "people."
"""Of the names of arrays."""

FOLDS = 3
CLEARLY = 2.0
"""Standard errors by which features must be ahead: the best of many strengths is ahead by chance, too."""


@dataclass(frozen=True)
class People:
    """reader: of the features. weights: C [F,I], in units of the most popular item's share. half: h."""

    reader: TableFeatures
    weights: Array
    half: float = 0.0

    @classmethod
    def fit(cls, rows: Dataset, X: Any, strength: float, half: float = 0.0) -> People:
        """From rows with features and their interactions X [N,I]."""
        reader = TableFeatures.fit(view(rows))
        F = _read(reader, rows)
        gram = F.T @ F
        gram[np.diag_indices(len(gram))] += strength
        mean = np.asarray(X.sum(axis=0), np.float64).ravel() / max(X.shape[0], 1)
        C = np.linalg.solve(gram, np.asarray((X.T @ F).T) - F.sum(axis=0)[:, None] * mean)
        return cls(reader, np.asarray(C / max(float(mean.max(initial=0)), 1e-9), np.float32), half)

    def told(self, rows: Dataset) -> Array:
        """What the features say of each item beyond its popularity, which is 1 for the first, [n,I]."""
        return np.asarray(_read(self.reader, rows) @ self.weights, np.float32)

    def added(self, told: Array, counts: Array, popularity: Array, mix: float) -> Array:
        """What is added to the scores that histories give, [n,I].

        told: of the features [n,I]. counts: items on record [n]. mix: the share of the popularity [I] without features.
        """
        weight = np.where(counts > 0, self.half / np.maximum(self.half + counts, 1e-9), 1.0)[:, None]
        share = np.where(counts > 0, mix, 1.0)[:, None]
        return np.asarray(weight * told + share * popularity, np.float32)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """Numbers and arrays."""
        facts, arrays = self.reader.state(PREFIX)
        named = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        return {"reader": facts, "half": self.half}, {**named, f"{PREFIX}weights": self.weights}

    @classmethod
    def restore(cls, facts: Json, arrays: dict[str, Array], items: int) -> People:
        """What `state` gave. Raises KeyError or ValueError where something is missing or misshapen."""
        weights = arrays[f"{PREFIX}weights"]
        reader = TableFeatures.restore(facts["reader"], arrays, PREFIX)
        if weights.shape != (reader.width, items):
            raise ValueError(f"misshapen weights of features {list(weights.shape)}")
        return cls(reader, weights, float(facts["half"]))


def view(rows: Dataset) -> Dataset:
    """The features of the rows' users as the inputs of a table."""
    columns = [replace(column, role="input") for column in telling(rows)]
    return Dataset(rows.table, columns, origin=rows.origin, numbers=rows.numbers)


def _read(reader: TableFeatures, rows: Dataset) -> Array:
    """Standardised features [N,F]; zeros for a user of whom nothing is known."""
    names = [plan.name for plan in reader.plans]
    if not set(names) <= {column.name for column in rows.columns}:
        return np.zeros((len(rows), reader.width), np.float32)
    F = np.asarray(reader.transform(view(rows)), np.float32)
    F[~_told_of(rows, names)] = 0
    return F


def telling(rows: Dataset) -> list[Column]:
    """The columns that tell something of users, but for what they took elsewhere."""
    return [column for column in rows.with_role("feature") if column.kind != "items"]


def knows(rows: Dataset) -> Array:
    """Whether anything is known of the user of each row besides the history [N]."""
    names = [column.name for column in telling(rows)]
    return _told_of(rows, names) if names else np.zeros(len(rows), bool)


def _told_of(rows: Dataset, names: Sequence[str]) -> Array:
    """Whether any of these columns has a value [N]."""
    return np.array([any(value is not None for value in row) for row in zip(*(rows.values(name) for name in names))])


def chosen_strength(
    rows: Dataset, X: Any, items: Sequence[Array], task: Recommendation, seed: int, most: int
) -> tuple[float, Json] | None:
    """The strength by which users without a history are ranked best, and the scores; None where there are no features,
    or where they are not ahead of popularity alone by `CLEARLY`.

    items: all items of each row [N]. most: rows that judge in a fold.
    """
    if not telling(rows) or len(rows) < 2 * FOLDS:
        return None
    judge = Recommendation(task.items)
    fold = np.random.default_rng([seed, 6]).permutation(len(rows)) % FOLDS
    found = []
    for number in range(FOLDS):
        rest, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)[:most]
        part, judged = rows.select(rest.tolist()), rows.select(out.tolist())
        counts = np.asarray(X[rest].sum(axis=0), np.float64).ravel()
        popular = np.tile((counts / max(float(counts.max(initial=0)), 1.0)).astype(np.float32), (len(out), 1))
        tried = [popular, *(popular + People.fit(part, X[rest], strength).told(judged) for strength in STRENGTHS)]
        wanted = [items[row] for row in out]
        found.append(np.stack([judge.statistics(judge.best(scores), wanted)[:, 0] for scores in tried]))
    each = np.concatenate(found, axis=1)  # [strengths,n]: NDCG@10 of each row; the first without features
    means = each.mean(axis=1)
    best = int(means.argmax())
    gain = each[best] - each[0]
    if best == 0 or gain.mean() <= CLEARLY * gain.std() / np.sqrt(len(gain)):
        return None
    return STRENGTHS[best - 1], {"popularity alone": float(means[0]), "with features": float(means[best])}


def chosen_half(score: Callable[[float], float]) -> float:
    """The h of the best score; of equals the smallest."""
    return max(HALVES, key=lambda half: (score(half), -half))
