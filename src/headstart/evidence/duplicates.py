"""Test rows that the training rows already contain, exactly or nearly.

A test row with a twin in train measures memory, not transfer. Exact twins have equal content digests. Near twins are
found by features: their cosine distance to the nearest training row is tiny *and* far smaller than is usual in these
features. The second half matters: where a network maps everything close together, a bare threshold would call
distinct rows duplicates by the hundred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

THRESHOLD = 1 - 1e-3  # cosine of centred features from which on two rows may be the same thing
_USUAL = 0.01  # a twin is 100 times nearer than the nearest neighbour usually is,
_LOCAL = 0.001  # or 1 000 times nearer than its own 10th neighbour (d goes with the square of the angle)
_NEIGHBOURS = 10
_NARROW = 16  # under this width neighbours lie close by chance, and only exact twins are told
_CELLS = 16_000_000  # similarities held at once: 64 MB


COMMON = 3
"""Rows of a table from which on equal ones are a value that comes again and again, not one row that stands twice."""


def common(known: Sequence[str], rows: Sequence[str]) -> Array:
    """Which rows [m] are equal to `COMMON` or more of those known, by their digests: of a table of few columns with few
    values nearly all, and new rows will be so as well. bool [m]."""
    counts = Counter(known)
    return np.fromiter((counts[digest] >= COMMON for digest in rows), dtype=bool, count=len(rows))


def exact_straddlers(train: Sequence[str], test: Sequence[str]) -> Array:
    """Which test rows have the content digest of a training row. Digests from `Dataset.fingerprints`; bool [m]."""
    known = set(train)
    return np.fromiter((digest in known for digest in test), dtype=bool, count=len(test))


def near_straddlers(train: Array, test: Array, *, threshold: float = THRESHOLD) -> Array:
    """Which test rows nearly equal a training row. Features train [n,D], test [m,D]; returns bool [m].

    With d = 1 - cosine of features centred on the training mean, a row is flagged if d to its nearest training row is
    at most 1 - threshold and far under what is usual: a hundredth of the median over the test rows, or, where twins
    are so many that this median is theirs, a thousandth of the row's own distance to its 10th neighbour. Features
    narrower than 16 flag nothing.
    """
    n, m = len(train), len(test)
    flagged = np.zeros(m, dtype=bool)
    if n <= 1 or m == 0 or train.shape[1] < _NARROW:
        return flagged
    mean = np.asarray(train, dtype=np.float32).mean(axis=0)
    X, Z = _directions(train, mean), _directions(test, mean)
    step = max(1, _CELLS // n)
    nearest = np.empty(m, dtype=np.float32)
    for start in range(0, m, step):
        nearest[start : start + step] = 1 - (Z[start : start + step] @ X.T).max(axis=1)
    nearest = np.maximum(nearest, 0)
    suspects = np.flatnonzero(nearest <= 1 - threshold)
    usual = float(np.median(nearest))
    k = min(_NEIGHBOURS, n) - 1
    for start in range(0, len(suspects), step):
        rows = suspects[start : start + step]
        distances = 1 - Z[rows] @ X.T  # [b,n]
        local = np.partition(distances, k, axis=1)[:, k]
        flagged[rows] = nearest[rows] <= np.maximum(_LOCAL * local, _USUAL * usual)
    return flagged


def merge_groups(*labellings: Sequence[Any] | Array | None) -> Array | None:
    """Groups joined wherever any of the labellings joins two rows; codes [N], or None where all are None.

    So `repeated_folds` keeps a user's groups together and twins (their digests) as well.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    given = [np.unique(np.asarray(ids).astype(str), return_inverse=True)[1] for ids in labellings if ids is not None]
    if not given:
        return None
    rows, offset, edges = len(given[0]), len(given[0]), []
    for codes in given:  # a graph of rows and groups: an edge says that the row belongs to the group
        edges.append(codes.ravel() + offset)
        offset += int(codes.max(initial=-1)) + 1
    ends = np.concatenate(edges)
    starts = np.tile(np.arange(rows), len(given))
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (starts, ends)), shape=(offset, offset))
    return np.asarray(connected_components(graph, directed=False)[1][:rows])


def _directions(features: Array, mean: Array) -> Array:
    """Centred rows of length one, float32; a row at the mean stays 0."""
    centred = np.asarray(features, dtype=np.float32) - mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norms > 0, norms, 1))
