"""Leaves of boosted trees as features of a row.

Each of T trees puts a row into one leaf. Two tables over all L leaves make features of that: ``values`` [L,C], whose
rows add up to the outputs of the model, and ``places`` [L,D], which are near each other for leaves that hold the same
rows: the right singular vectors of the one-hot matrix of leaves [N,L]. The leaves of boosted trees as the input of
another model are from He et al. 2014, Practical lessons from predicting clicks on ads at Facebook, ADKDD.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from headstart.nn.boosting import Boosted, threads

Array: TypeAlias = np.ndarray


@lru_cache(maxsize=8)
def _opened(text: str) -> Any:
    import lightgbm

    return lightgbm.Booster(model_str=text)


def _sizes(trees: Boosted) -> list[list[int]]:
    """Leaves of each tree, model by model."""
    return [
        [int(tree["num_leaves"]) for tree in _opened(text).dump_model()["tree_info"]] if text else []
        for text in trees.texts
    ]


def leaves(trees: Boosted, X: Array, starts: Array) -> Array:
    """The leaf of each row in each tree, int64 [N,T], numbered through all trees. starts: `tables`."""
    found = [
        np.asarray(_opened(text).predict(X, pred_leaf=True, num_threads=threads())).reshape(len(X), -1)
        for text in trees.texts
        if text
    ]
    none = np.zeros((len(X), 0))
    return np.asarray(np.hstack([none, *found]).astype(np.int64) + starts)


def tables(trees: Boosted) -> tuple[Array, Array, Array]:
    """(starts [T]: the number of the first leaf of each tree, values [L,C], offset [C]).

    offset + the values of a row's leaves are the outputs of the model.
    """
    width = len(trees.constants) if trees.form != "classes" else max(len(trees.constants), _classes(trees))
    offset, rows, starts, total = np.zeros(width), [], [], 0
    for column, (text, sizes) in enumerate(zip(trees.texts, _sizes(trees), strict=True)):
        if not text:
            offset[column] = trees.constants[column]
        for tree, size in enumerate(sizes):
            value = np.zeros((size, width))
            at = tree % width if trees.form == "classes" else column
            value[:, at] = [_opened(text).get_leaf_output(tree, leaf) for leaf in range(size)]
            rows.append(value)
            starts.append(total)
            total += size
    values = np.concatenate(rows) if rows else np.zeros((0, width))
    if trees.form == "margin":
        values, offset = np.hstack([-values / 2, values / 2]), np.hstack([-offset / 2, offset / 2])
    return np.array(starts, dtype=np.int64), values, offset


def _classes(trees: Boosted) -> int:
    return int(_opened(trees.texts[0]).num_model_per_iteration()) if trees.texts[0] else 0


def places(found: Array, total: int, width: int, seed: int = 0) -> Array:
    """[L,D] float64 from the leaves [N,T] of some rows; D is ``width``, or less where there are few leaves."""
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    rows, trees = found.shape
    width = min(width, rows - 1, total - 1)
    if width < 1 or trees == 0:
        return np.zeros((total, 0))
    matrix = sparse.csr_matrix(
        (np.ones(found.size), found.ravel(), np.arange(0, found.size + 1, trees)), shape=(rows, total)
    )
    _, _, right = randomized_svd(matrix, width, random_state=seed)  # that of ARPACK differs from run to run
    return np.ascontiguousarray(right.T)
