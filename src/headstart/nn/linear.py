"""A linear head whose strength is chosen by cross-validation; probe, baseline, curves and estimators share it.

Features are scaled as a whole (one number, so that their geometry stays), centred and rotated once (`nn/solvers.py`);
each fold then walks from strong to weak regularisation, every fit starting from the one before. (Of many rows, one
part is fitted and the others judge: `SEARCH_ITEMS`.) The walk ends when the
score on the rows left out is past its best and the loss is rising. Among strengths, the task's own metric on the
out-of-fold outputs decides, averaged over neighbouring strengths; within a quarter of its standard error, the loss.

Of data that the search sees whole (`SEARCH_ITEMS`), a classifier is the mean of two heads: the logistic one, and one by
least squares on class indicators (`nn/squares.py`) scaled to the least loss out of fold. The logistic one stands alone
where the mean scores lower out of fold, or where the strength is given. A mean of linear heads is a linear head.

The many small products run on one BLAS thread: with a thread for each of two cores beside torch's own pool, the threads
wait for each other and the same fit takes ten times as long (14.9 s against 1.5 s, 1 000 rows of 1 152 features).

Measured, one thread: 2 000 rows of 384 features, 6 classes, 5 folds: 0.7 s;
20 000 rows of 1 280 features: 6.5 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.nn.solvers import LARGEST_SPARSE, Rotated, Start, rotate, workers
from headstart.nn.squares import LeftOut
from headstart.tasks.base import Targets, Task

Array: TypeAlias = np.ndarray

STRENGTHS = tuple(float(10**power) for power in np.arange(-3.0, 3.01, 0.5))
"""Inverse regularisation after scaling: features of mean square norm equal to 1."""

SEARCH_ITEMS = 4000
"""Up to this many rows or tokens (of wide X: the fewer that `rotate` takes) the strength is chosen by cross-validation.
Of more, about so many are fitted, and all the others judge; the head and the out-of-fold outputs use all.

Measured with MiniLM, four targets of reviews, 3 900 test rows, against five folds of 4 000 rows: at 16 000 rows the
same score or up to 0.6 points more, at 4 500 to 6 000 the same but for five of 36 (up to 0.4 points less, or 0.3 more),
in half the time."""

SQUARES = tuple(float(10**power) for power in np.arange(-1.0, 3.01, 0.5))
"""Strengths of the head by least squares."""

LARGE = 200_000
"""Numbers in X from which folds are fitted on several cores at once."""


@dataclass(frozen=True)
class LinearFit:
    """A linear head for raw X: outputs = X weight' + bias.

    weight: [C,D]. bias: [C]. strength: the chosen one, relative to features of mean square norm 1. cv_score: headline
    metric of the out-of-fold outputs, NaN where there were too few rows to fold. cv_outputs: those outputs, [N,C] or a
    list of [T_i,C]; None where there were none, or where they were not wanted. path: (strength, score, loss) of every
    strength tried.
    """

    weight: Array
    bias: Array
    strength: float
    cv_score: float
    cv_outputs: Any
    path: tuple[tuple[float, float, float], ...] = ()
    squares: float | None = None


def fit_linear(
    task: Task,
    X: Any,
    y: Targets,
    *,
    groups: Array | None = None,
    seed: int = 0,
    strengths: Sequence[float] | None = None,
    folds: int = 5,
    owner: Array | None = None,
    weights: Array | None = None,
    outside: bool = True,
) -> LinearFit:
    """Fit a linear head on X [n,D], dense or sparse, with the strength chosen by cross-validation.

    y: encoded targets. groups: integers [N]; rows of a group share a fold. strengths: the ones to choose from (one
    value: taken as it is, and only scored). owner: for token tasks, [n] ascending row of each token; then y is int [n]
    or the list of N arrays, of which the first tokens of a row are those in X. weights: [N] of the rows in the training
    loss, mean 1; the scores that choose count every row once. outside: whether the out-of-fold outputs of all rows are
    wanted, which cost another fit a fold where the search fits a part of the rows; without them cv_score is that of
    the rows that judged.
    """
    with threadpool_limits(1):
        return _fit(_Data(task, X, y, owner, weights=weights), groups, seed, strengths, folds, outside)


def _fit(
    data: _Data, groups: Array | None, seed: int, strengths: Sequence[float] | None, folds: int, outside: bool = True
) -> LinearFit:
    task = data.task
    tries = sorted(float(value) for value in (STRENGTHS if strengths is None else strengths))
    rng = np.random.default_rng(seed)
    fold = assign_folds(strata_of(data.targets), groups, folds, rng)
    if fold.max(initial=0) < 1:
        strength = min(tries, key=lambda value: abs(np.log10(value)))
        weight, bias = data.unscaled(*task.linear(data.whole, data.flat, strength))
        return LinearFit(weight, bias, strength, float("nan"), None)
    every = np.arange(data.rows)
    path: list[tuple[float, float, float]] = []
    chosen, outputs, start = tries[0], None, None
    search: _Folds | _Apart | None = None
    if len(tries) > 1:
        searched = _search_rows(data)
        if searched == data.rows:
            search = _Folds(data, fold)
        else:
            parts = max(8, -(-data.rows // searched))
            fitted = min(6, max(1, parts * searched // data.rows))  # parts of them; some are left to judge
            search = _Apart(data, assign_folds(strata_of(data.targets), groups, parts, rng) < fitted)
        path, kept = _walk(search, tries)
        best = max(path, key=lambda step: step[1])[0]
        chosen = choose(path, _standard_error(search.judged, kept[best][0]) / 4)
        start = kept[chosen][1]
        outputs = kept[chosen][0] if search.judged is data else None
    scaled = task.linear(data.whole, data.flat, chosen, start)
    if outputs is None and path and not outside:
        score = next(score for strength, score, _ in path if strength == chosen)
        return LinearFit(*data.unscaled(*scaled), chosen, score, None, tuple(path))
    if outputs is None:
        outputs = _Folds(data, fold, data.whole.onto(scaled)).outputs(chosen)
    stacked = data.shape(outputs, every)
    score = float(task.score(stacked, data.targets))
    fit = LinearFit(*data.unscaled(*scaled), chosen, score, stacked, tuple(path))
    return _with_squares(data, fold, fit) if search is not None and search.judged is data else fit


def _with_squares(data: _Data, fold: Array, fit: LinearFit) -> LinearFit:
    """The mean of this head and of one by least squares, where out of fold it scores as high or higher."""
    numbers = data.task.indicators(data.flat)
    if numbers is None or not data.whole.is_diagonal:
        return fit
    squares = LeftOut(data.whole, numbers, fold)
    path: list[tuple[float, float, float]] = []
    kept: dict[float, Array] = {}
    for strength in SQUARES:
        kept[strength] = squares.outputs(strength)
        score = float(data.task.score(kept[strength], data.targets))
        path.append((strength, score, float(((kept[strength] - numbers) ** 2).mean())))
        if _is_downhill(path):
            break
    best = max(path, key=lambda step: step[1])[0]
    chosen = choose(path, _standard_error(data, kept[best]) / 4)
    factor = _factor(data, kept[chosen])
    outputs = (fit.cv_outputs + factor * kept[chosen]) / 2
    score = float(data.task.score(outputs, data.targets))
    if score < fit.cv_score:
        return fit
    weight, bias = data.unscaled(*squares.head(chosen))
    weight, bias = (fit.weight + factor * weight) / 2, (fit.bias + factor * bias) / 2
    return replace(fit, weight=weight, bias=bias, cv_score=score, cv_outputs=outputs, squares=chosen)


def _factor(data: _Data, outputs: Array) -> float:
    """What these outputs are to be multiplied by for the least loss of the task."""
    return best_factor(lambda factor: data.loss(factor * outputs))


def best_factor(loss: Callable[[float], float]) -> float:
    """The factor on outputs, from 0.05 to 1 100, of the least loss (temperature scaling, Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda power: loss(float(np.exp(power))), bounds=(-3, 7), method="bounded", options={"xatol": 1e-3}
    )
    return float(np.exp(found.x))


def _search_rows(data: _Data) -> int:
    """How many rows the search uses."""
    most = min(SEARCH_ITEMS, LARGEST_SPARSE) if data.X.shape[1] > SEARCH_ITEMS else SEARCH_ITEMS
    return max(1, min(data.rows, most * data.rows // max(len(data.flat), 1)))


def _walk(
    search: _Folds | _Apart, tries: Sequence[float]
) -> tuple[list[tuple[float, float, float]], dict[float, tuple[Array, Start]]]:
    """(strength, score, loss) from strong to weak regularisation; of each the outputs left out and a solution."""
    data = search.judged
    path: list[tuple[float, float, float]] = []
    kept: dict[float, tuple[Array, Start]] = {}
    for strength in tries:
        outputs = search.outputs(strength)
        score = float(data.task.score(data.shape(outputs, np.arange(data.rows)), data.targets))
        path.append((strength, score, data.loss(outputs)))
        kept[strength] = outputs, search.solution
        if _is_downhill(path):
            break
    return path, kept


def _is_downhill(path: list[tuple[float, float, float]]) -> bool:
    """Whether the last two steps lost score and raised the loss, by 5 % in all or more."""
    best = max(score for _, score, _ in path)
    least = min(loss for _, _, loss in path)
    worse = all(score <= best and loss > least for _, score, loss in path[-2:])
    return len(path) > 3 and worse and path[-1][1] < best and path[-1][2] > 1.05 * least


def _standard_error(data: _Data, outputs: Array) -> float:
    return standard_error(data.task, data.shape(outputs, np.arange(data.rows)), data.targets)


def standard_error(task: Task, outputs: Any, targets: Targets) -> float:
    """Of the score of these outputs, by a seeded bootstrap over rows from the task's per-row statistics."""
    statistics = task.statistics(outputs, targets)
    rows = len(statistics)
    draws = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), size=100)
    return float(np.std(task.combine(draws @ statistics)))


def assign_folds(strata: Array, groups: Array | None, folds: int, rng: np.random.Generator) -> Array:
    """The fold of each row, [N]: as even as can be in each stratum; rows of a group together."""
    n, levels = len(strata), np.unique(strata, return_inverse=True)[1]
    if groups is None or len(np.unique(groups)) < 2:
        folds = max(1, min(folds, n))
        shuffled = rng.permutation(n)
        order = shuffled[np.argsort(levels[shuffled], kind="stable")]
        fold = np.empty(n, dtype=np.int64)
        fold[order] = np.arange(n) % folds
        return fold
    member = np.unique(groups, return_inverse=True)[1]
    folds = min(folds, int(member.max()) + 1)
    table = np.zeros((int(member.max()) + 1, int(levels.max()) + 1))
    np.add.at(table, (member, levels), 1)
    filled = np.zeros((folds, table.shape[1]))
    share = np.maximum(table.sum(axis=0), 1)
    place = np.empty(len(table), dtype=np.int64)
    shuffled = rng.permutation(len(table))
    for group in shuffled[np.argsort(-table[shuffled].sum(axis=1), kind="stable")]:
        cost = ((filled + table[group]) / share) ** 2 - (filled / share) ** 2
        place[group] = int(np.argmin(cost.sum(axis=1) + 1e-9 * filled.sum(axis=1)))
        filled[place[group]] += table[group]
    return np.asarray(np.unique(place, return_inverse=True)[1][member])


def choose(path: Sequence[tuple[float, float, float]], error: float) -> float:
    """The strength by score averaged over neighbours (1/4, 1/2, 1/4); within ``error`` of the best, by the lower loss.

    path: (strength, score, loss), ascending in strength; of equal losses the stronger regularisation wins.
    """
    scores = np.asarray([score for _, score, _ in path])
    padded = np.concatenate([scores[:1], scores, scores[-1:]])
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    near = np.flatnonzero(smooth >= smooth.max() - error)
    losses = np.asarray([loss for _, _, loss in path])
    return path[int(near[np.argmin(losses[near])])][0]


class _Data:
    """Scaled features with their targets; rows are folded, items (rows or tokens) are fitted."""

    def __init__(
        self,
        task: Task,
        X: Any,
        y: Targets,
        owner: Array | None,
        scale: float | None = None,
        weights: Array | None = None,
    ) -> None:
        self.task, self.X, self.weights = task, X, weights
        self.owner = None if owner is None else np.asarray(owner, dtype=np.int64)
        self.flat: Array
        self.targets: Targets
        if self.owner is None:
            self.flat = self.targets = np.asarray(y)
            self.rows = len(self.flat)
        else:
            self.rows = len(y) if isinstance(y, list) else int(self.owner.max(initial=-1)) + 1
            counts = np.bincount(self.owner, minlength=self.rows)
            if isinstance(y, list):
                self.flat, self.targets = np.concatenate([np.asarray(row)[:k] for row, k in zip(y, counts)]), list(y)
            else:
                self.flat = np.asarray(y)
                self.targets = np.split(self.flat, np.cumsum(counts)[:-1])
        self.scale = norm(X) if scale is None else scale

    @cached_property
    def whole(self) -> Rotated:
        """All items, scaled and rotated."""
        weights = self.weights if self.weights is None or self.owner is None else self.weights[self.owner]
        return replace(rotate(self.X * (1 / self.scale)), weight=weights)

    def part(self, rows: Array) -> _Data:
        """These rows alone, in the same scale."""
        items = self.items(rows)
        weights = None if self.weights is None else self.weights[rows]
        if self.owner is None:
            return _Data(self.task, self.X[items], self.flat[items], None, self.scale, weights)
        owner = np.searchsorted(rows, self.owner[items])
        return _Data(self.task, self.X[items], [self.targets[row] for row in rows], owner, self.scale, weights)

    def items(self, rows: Array) -> Array:
        """The items of these rows, ascending in row."""
        if self.owner is None:
            return rows
        chosen = np.zeros(self.rows, dtype=bool)
        chosen[rows] = True
        return np.flatnonzero(chosen[self.owner])

    def shape(self, outputs: Array, rows: Array) -> Any:
        """Outputs of the items of ``rows`` [m,C], as the task reads them: [N,C] or a list of [T_i,C]."""
        if self.owner is None:
            return outputs
        counts = np.bincount(self.owner, minlength=self.rows)[rows]
        return np.split(outputs, np.cumsum(counts)[:-1])

    def loss(self, outputs: Array) -> float:
        """The task's training loss of all items, which decides where the metric cannot."""
        import torch

        return float(self.task.loss(torch.as_tensor(outputs), torch.as_tensor(self.flat))["loss"])

    def unscaled(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """From scaled features back to X."""
        return weight / self.scale, bias


class _Fold:
    """One split into rows to fit and rows left out."""

    def __init__(self, data: _Data, kept: Array, left: Array, start: Start) -> None:
        inside, self.items = data.items(kept), data.items(left)
        self.basis, self.y = data.whole.rows(inside), data.flat[inside]
        self.Z = data.whole.Z[self.items]
        self.task = data.task
        self.start = start

    def outputs(self, strength: float) -> Array:
        """Outputs [m,C] of the items left out; the next strength starts from this solution."""
        weight, bias = self.task.linear(self.basis, self.y, strength, self.start)
        self.start = weight, bias
        return np.asarray(self.Z @ weight.T.astype(self.Z.dtype) + bias, dtype=np.float64)


class _Folds:
    """Every row is left out once; each fold goes from strength to strength by itself."""

    def __init__(self, data: _Data, fold: Array, start: Start = None) -> None:
        parts = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]
        self.judged, self.parts = data, [_Fold(data, kept, left, start) for kept, left in parts]
        self.order = np.argsort(np.concatenate([part.items for part in self.parts]))

    def outputs(self, strength: float) -> Array:
        """Of all items [n,C]; each product runs on one thread, so a fold to a core is fitted at a time."""
        cores = workers(len(self.parts))
        if cores < 2 or sum(part.Z.size for part in self.parts) < LARGE:
            found = [part.outputs(strength) for part in self.parts]
        else:
            with ThreadPoolExecutor(cores) as pool:
                found = list(pool.map(lambda part: part.outputs(strength), self.parts))
        return np.asarray(np.concatenate(found)[self.order])

    @property
    def solution(self) -> Start:
        """Of the first fold, for scaled X."""
        start = self.parts[0].start
        assert start is not None
        return self.judged.whole.back(*start)


class _Apart:
    """Heads are fitted on some rows and judged on all the others."""

    def __init__(self, data: _Data, fitted: Array) -> None:
        self.data, self.judged = data.part(np.flatnonzero(fitted)), data.part(np.flatnonzero(~fitted))
        self.solution: Start = None

    def outputs(self, strength: float) -> Array:
        """Outputs [m,C] of the items that judge; the next strength starts from this solution."""
        data = self.data
        self.solution = data.task.linear(data.whole, data.flat, strength, self.solution)
        weight, bias = data.unscaled(*self.solution)
        return np.asarray(self.judged.X @ weight.T.astype(data.X.dtype) + bias, dtype=np.float64)


def balance(blocks: Sequence[Array]) -> Array:
    """Factors [sum of D_b] for blocks of features [N,D_b] side by side: the first gets a mean square norm of 1, every
    other one of 1/4, so that an earlier layer of large values does not drown the last; of a single block: ones.

    Measured with MiniLM on reviews, 5 x 6 000 test rows: the last layer alone 0.8358, with two layers before it as they
    are 0.813, of equal norm 0.8348, at 1/4: 0.8373.
    """
    if len(blocks) == 1:
        return np.ones(blocks[0].shape[1], dtype=np.float32)
    scales = [(1.0 if place == 0 else 0.5) / norm(block) for place, block in enumerate(blocks)]
    return np.repeat(np.asarray(scales, dtype=np.float32), [block.shape[1] for block in blocks])


def norm(X: Any) -> float:
    """Root mean square norm of the centred rows; 1 where they do not differ."""
    from scipy import sparse

    if X.shape[0] == 0 or X.shape[1] == 0:
        return 1.0
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    if sparse.issparse(X):
        squares = float(X.multiply(X).sum()) / X.shape[0] - float(mean @ mean)
    else:
        squares = float(np.asarray(X.var(axis=0, dtype=np.float64)).sum())
    return float(np.sqrt(squares)) if squares > 1e-24 else 1.0


def strata_of(targets: Targets) -> Array:
    """Integers [N] to fold by: the class, the rarest label or tag of the row, or the tenth of the sorted values."""
    if isinstance(targets, list):
        counts = np.bincount(np.concatenate(targets)) if targets else np.zeros(1)
        return np.asarray([row[counts[row].argmin()] if len(row) else len(counts) for row in targets], dtype=np.int64)
    if targets.ndim == 1:
        return np.asarray(targets, dtype=np.int64)
    if targets.shape[1] > 1:
        rarest = np.where(targets > 0.5, targets.sum(axis=0), np.inf).argmin(axis=1)
        return np.asarray(np.where(targets.sum(axis=1) > 0, rarest, targets.shape[1]))
    ranks = targets.ravel().argsort(kind="stable").argsort(kind="stable")
    return np.asarray(ranks * max(1, min(10, len(targets) // 10)) // max(len(targets), 1), dtype=np.int64)
