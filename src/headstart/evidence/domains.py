"""What unlabelled rows say of two domains: how far apart they are, what carries the difference, how it looks.

Distances are those of `headstart.nn.discrepancy`. Which kind of shift it is, as far as unlabelled rows can tell, is
what `headstart.methods.adapt` finds. All of it is plain JSON, for the record.
"""

from __future__ import annotations

import numpy as np

from headstart.methods.adaptation import Aligned, Domains, Reader
from headstart.nn.discrepancy import a_distance, mmd_test, sliced_wasserstein, tell_apart
from headstart.nn.kernels import landmarks
from headstart.nn.maps import chain
from headstart.nn.tables import TableFeatures
from headstart.tasks.base import Array
from headstart.types import Json

MOST = 2000  # rows of each domain that the distances read
DRAWN = 250  # points of each domain in the picture
CARRIERS = 8  # columns listed
TYPICAL = 3  # rows shown of each domain


def distances(X: Array, target: Array, seed: int = 0) -> Json:
    """Proxy A-distance (0 to 2), MMD² with its permutation p-value, sliced Wasserstein distance."""
    X, target = landmarks(X, MOST, seed), landmarks(target, MOST, seed + 1)
    test = mmd_test(X, target, seed=seed)
    return {
        "a_distance": a_distance(X, target, seed=seed),
        "mmd": test.value,
        "p": test.p,
        "sliced_wasserstein": sliced_wasserstein(X, target, seed=seed),
    }


def columns(reader: Reader, X: Array, target: Array) -> list[Json]:
    """The columns of a table that differ most: mean difference in standard deviations, the largest of their features.

    Empty for texts and images, whose features have no names.
    """
    if not isinstance(reader.features, TableFeatures):
        return []
    gap = (target.mean(axis=0) - X.mean(axis=0)) / np.maximum(np.sqrt((X.var(axis=0) + target.var(axis=0)) / 2), 1e-6)
    largest = {name: float(gap[at][np.abs(gap[at]).argmax()]) for name, at in reader.features.parts().items()}
    names = sorted(largest, key=lambda name: -abs(largest[name]))[:CARRIERS]
    return [{"column": name, "difference": largest[name]} for name in names]


def typical(X: Array, target: Array, seed: int = 0) -> tuple[list[int], list[int]]:
    """The rows of each domain that are least like the other: places in X and in target."""
    rng = np.random.default_rng(seed)
    rows, goals = (np.sort(rng.permutation(len(each))[:MOST]) for each in (X, target))
    score = tell_apart(X[rows], target[goals], seed=seed)
    first = rows[np.argsort(score[: len(rows)], kind="stable")[:TYPICAL]]
    second = goals[np.argsort(-score[len(rows) :], kind="stable")[:TYPICAL]]
    return first.tolist(), second.tolist()


def picture(domains: Domains, aligned: Aligned) -> Json:
    """Both domains before and after maps and weights; rows that were weighed are drawn as often as they count."""
    rng = np.random.default_rng(domains.seed)
    goals = _some(rng, domains.target)
    counts = None if aligned.weights is None else aligned.weights / aligned.weights.sum()
    some = np.sort(rng.choice(len(aligned.X), min(DRAWN, len(aligned.X)), replace=counts is not None, p=counts))
    before = domains.X[_some(rng, domains.X)], domains.target[goals]
    after = aligned.X[some], chain(aligned.onto, domains.target[goals])
    return side_by_side(before, after, before[0].shape[1] == after[0].shape[1])


def networks(before: tuple[Array, Array], after: tuple[Array, Array], seed: int = 0) -> Json:
    """Both domains in the features of the control and of the network that ships: labelled [n,D], target [m,D] each."""
    rng = np.random.default_rng(seed)
    rows, goals = _some(rng, before[0]), _some(rng, before[1])
    first, last = ((labelled[rows], target[goals]) for labelled, target in (before, after))
    return side_by_side(first, last, False)


def side_by_side(before: tuple[Array, Array], after: tuple[Array, Array], same: bool) -> Json:
    """Points in two principal components: {"before": {"labelled": [[x, y]], "target": ...}, "after": ...}.

    same: whether both are in one space, and are seen from one side.
    """
    plane = _plane(*before)
    return {"before": _drawn(*before, plane), "after": _drawn(*after, plane if same else _plane(*after))}


def _some(rng: np.random.Generator, X: Array) -> Array:
    return np.asarray(np.sort(rng.permutation(len(X))[:DRAWN]))


def _plane(X: Array, target: Array) -> tuple[Array, Array]:
    """Mean [D] and two principal axes [D,2] of both samples; of one column, the column and nothing."""
    both = np.concatenate([X, target]).astype(np.float64)
    mean = both.mean(axis=0)
    if both.shape[1] == 1:
        return mean, np.array([[1.0, 0.0]])
    return mean, np.linalg.svd(both - mean, full_matrices=False)[2][:2].T


def _drawn(X: Array, target: Array, plane: tuple[Array, Array]) -> Json:
    mean, axes = plane
    points = [(np.asarray(each, np.float64) - mean) @ axes for each in (X, target)]
    if axes.shape[0] == 1:  # one column: the domains lie above each other
        for height, each in zip((0.1, -0.1), points):
            each[:, 1] = height * max(float(np.abs(points[0][:, 0]).max()), 1e-12)
    size = max(max(float(np.abs(each).max()) for each in points), 1e-12)
    return {name: np.round(each / size, 4).tolist() for name, each in zip(("labelled", "target"), points)}
