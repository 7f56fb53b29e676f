"""Cutting rows: one part of a given size, or repeated folds. Stratified, by whole groups, or by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


def cut(
    rows: Array,
    size: int,
    rng: np.random.Generator,
    *,
    strata: Array | None = None,
    groups: Array | None = None,
    order: Array | None = None,
    least: int = 0,
) -> Array:
    """About ``size`` of the rows (indices, sorted). strata, groups, order: [N] over all rows, or None.

    order: the latest rows, cut between two times. groups: whole groups. Else stratified: exactly ``size`` rows where
    every class can leave one row behind, and at least ``least`` rows of each class that has more. Rows that cannot be
    cut without breaking a rule give an empty part.
    """
    if size <= 0 or len(rows) < 2:
        return rows[:0]
    if order is not None:
        return _latest(rows, size, order)
    classes = np.zeros(len(rows), dtype=int) if strata is None else np.unique(strata[rows], return_inverse=True)[1]
    if groups is not None:
        return _whole_groups(rows, size, np.unique(groups[rows], return_inverse=True)[1], classes, rng)
    return _stratified(rows, size, classes, least, rng)


def repeated_folds(
    n: int,
    strata: Sequence[int] | Array | None = None,
    groups: Sequence[Any] | Array | None = None,
    *,
    time: Array | None = None,
    folds: int = 5,
    repeats: int = 4,
    seed: int = 0,
) -> list[tuple[Array, Array]]:
    """(train, test) row indices of each fold of each repeat.

    strata [N]: classes are spread evenly; the one row of a class with one row always trains. groups [N]: groups stay
    whole; a group that holds all rows of a class always trains where enough others remain. time [N] ranks: forward
    chaining, every fold tests on later rows than it trains on; repeating would change nothing, so there are ``folds``
    pairs. Raises ValueError where n or the groups are too few for two folds.
    """
    classes = np.zeros(n, dtype=int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    if time is not None and len(np.unique(time)) > folds:
        return _chain(np.asarray(time), None if groups is None else np.asarray(groups), folds)
    rng = np.random.default_rng(seed)
    units = None if groups is None else np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].ravel()
    count = min(folds, n if units is None else int(units.max(initial=-1)) + 1)
    if count < 2:
        raise ValueError(f"{n} rows in {count} groups cannot make two folds")
    pairs = []
    for _ in range(repeats):
        fold = _deal(classes, count, rng) if units is None else _deal_groups(classes, units, count, rng)
        for k in range(count):
            test = np.flatnonzero(fold == k)
            if len(test):
                pairs.append((np.flatnonzero(fold != k), test))
    return pairs


def _latest(rows: Array, size: int, order: Array) -> Array:
    """The rows after the edge between two times that comes nearest to ``size`` rows."""
    times, counts = np.unique(order[rows], return_counts=True)
    if len(times) < 2:
        return rows[:0]
    after = counts[::-1].cumsum()[::-1][1:]  # after[i]: rows at times[i + 1] or later
    edge = times[1:][np.abs(after - size).argmin()]
    return np.sort(rows[order[rows] >= edge])


def _stratified(rows: Array, size: int, classes: Array, least: int, rng: np.random.Generator) -> Array:
    counts = np.bincount(classes)
    ideal = size * counts / len(rows)
    quota = np.floor(ideal).astype(int)
    most = np.argsort(-(ideal - quota + 1e-9 * rng.random(len(quota))))  # largest remainder, ties by chance
    quota[most[: size - quota.sum()]] += 1
    quota = np.minimum(np.maximum(quota, least), counts - 1)  # one row of every class stays
    while quota.sum() > size and quota.max() > least:
        quota[quota.argmax()] -= 1
    spare = np.repeat(np.arange(len(counts)), counts - 1 - quota)
    short = min(size - int(quota.sum()), len(spare))
    if short > 0:
        quota += np.bincount(rng.choice(spare, short, replace=False), minlength=len(counts))
    shuffled = rng.permutation(len(rows))
    ranked = shuffled[np.argsort(classes[shuffled], kind="stable")]  # class by class, each in random order
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(rows[ranked[place < quota[classes[ranked]]]])


def _whole_groups(rows: Array, size: int, units: Array, classes: Array, rng: np.random.Generator) -> Array:
    """Groups in random order while they fit, and one more where it comes nearer; no class loses its last row."""
    table = np.zeros((units.max() + 1, classes.max() + 1), dtype=int)  # [groups, classes]
    np.add.at(table, (units, classes), 1)
    rest, taken, chosen = table.sum(axis=0), 0, []
    waiting = rng.permutation(len(table)).tolist()
    for fits in (True, False):
        if not fits:  # what did not fit, the nearest first
            waiting.sort(key=lambda unit: abs(taken + table[unit].sum() - size))
        later = []
        for unit in waiting:
            total = int(table[unit].sum())
            allowed = ((rest - table[unit] > 0) | (rest == 0) | (table[unit] == 0)).all()
            wanted = taken + total <= size if fits else abs(taken + total - size) < abs(taken - size)
            if allowed and wanted:
                chosen.append(unit)
                taken, rest = taken + total, rest - table[unit]
            elif allowed:
                later.append(unit)
        waiting = later
    return np.sort(rows[np.isin(units, chosen)])


def _deal(classes: Array, folds: int, rng: np.random.Generator) -> Array:
    """The fold of each row: every class is dealt out in turn, going on where the last one stopped. -1: never tests."""
    shuffled = rng.permutation(len(classes))
    ranked = shuffled[np.argsort(classes[shuffled], kind="stable")]
    fold = np.empty(len(classes), dtype=int)
    fold[ranked] = (np.arange(len(classes)) + rng.integers(folds)) % folds
    single = np.bincount(classes)[classes] == 1
    fold[single & (len(classes) - single.sum() >= folds)] = -1
    return fold


def _deal_groups(classes: Array, units: Array, folds: int, rng: np.random.Generator) -> Array:
    """The fold of each row: groups from large to small, each to the fold that has least of its classes. -1: trains."""
    table = np.zeros((units.max() + 1, classes.max() + 1))
    np.add.at(table, (units, classes), 1)
    sole = (table == table.sum(axis=0)).any(axis=1)  # holds every row of some class
    if len(table) - sole.sum() < folds:
        sole[:] = False
    held = np.zeros((folds, table.shape[1]))
    place = np.full(len(table), -1)
    shuffled = rng.permutation(len(table))
    for unit in shuffled[np.argsort(-table[shuffled].sum(axis=1), kind="stable")]:
        if not sole[unit]:
            after = (held + table[unit]) / table.sum(axis=0)
            growth = (after**2).sum(axis=1) - ((held / table.sum(axis=0)) ** 2).sum(axis=1)
            place[unit] = rng.choice(np.flatnonzero(growth <= growth.min() + 1e-12))
            held[place[unit]] += table[unit]
    return np.asarray(place[units])


def _chain(time: Array, groups: Array | None, folds: int) -> list[tuple[Array, Array]]:
    """Forward chaining over folds + 1 stretches of time; equal times share a stretch, train rows of test groups go."""
    times, counts = np.unique(time, return_counts=True)
    middle = counts.cumsum() - counts / 2
    stretch = np.floor(middle / len(time) * (folds + 1)).astype(int).clip(0, folds)[np.searchsorted(times, time)]
    pairs = []
    for k in range(1, folds + 1):
        train, test = np.flatnonzero(stretch < k), np.flatnonzero(stretch == k)
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
        if len(train) and len(test):
            pairs.append((train, test))
    return pairs
