"""Factors of items, and users folded in: implicit alternating least squares, alone or towards factors known before.

    min over x_u, y_i of  sum_ui c_ui (p_ui - x_u y_i)^2 + r sum_u |x_u|^2 + sum_i s_i |y_i - m_i|^2

p [N,I] is 1 for an interaction and 0 else, c is a for an interaction and 1 else. With m = 0 and s = r this is Hu, Koren
& Volinsky 2008, Collaborative filtering for implicit feedback datasets, eq. 3. Factors m that others' interactions
taught are where knowledge comes in: the larger s_i, the nearer y_i stays to m_i. Given one side, each row of the other
has a closed form (eq. 4 and 5 with s m on the right), so that a new user is folded in from the history alone. What a
history says of the items has rank D, and no matrix [I,I] is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray

ENTRIES = 50_000
"""Interactions worked on at once: their factors stay in the cache of the processor."""

CLOSE = 1e-5
"""Part of the right side that a solution may miss."""


@dataclass(frozen=True)
class ItemFactors:
    """table: y [I,D]. alpha: the weight of an interaction, a. ridge: of a user, r."""

    table: Array
    alpha: float
    ridge: float

    @property
    def shape(self) -> tuple[int, int]:
        """[I,I], as weights between items."""
        return len(self.table), len(self.table)

    @property
    def size(self) -> int:
        """Numbers in the table."""
        return int(self.table.size)

    def told(self, X: Any) -> Array:
        """What histories X [N,I] (0/1, sparse) say of the items, x y' [N,I]."""
        return np.asarray(rows_given(self.table, X, self.alpha, self.ridge) @ self.table.T)


def drawn(
    X: Any, prior: Array, strength: Array, alpha: float, ridge: float, sweeps: int, start: Array | None = None
) -> Array:
    """y [I,D] from X [N,I] (0/1, sparse): ``sweeps`` times users, then items, from ``start`` or else from the prior.

    prior: m [I,D]. strength: s [I]; where it is infinite the prior stays as it is.
    """
    X = X.astype(np.float32).tocsr()
    table = np.array(prior if start is None else start, np.float32)
    free = np.flatnonzero(np.isfinite(strength))
    if not len(free):
        return table
    columns = X.T.tocsr()[free]
    for _ in range(sweeps):
        people = rows_given(table, X, alpha, ridge)
        table[free] = rows_given(people, columns, alpha, strength[free], prior[free])
    return table


def rows_given(other: Array, X: Any, alpha: float, ridge: float | Array, towards: Array | None = None) -> Array:
    """The factors [N,D] of the rows of X [N,M] (0/1, sparse), given those of its columns, ``other`` [M,D].

    ridge: of each row [N], or of all. towards: [N,D], in place of zero. Solved by conjugate gradients in the basis in
    which the part that all rows share, other'other, is diagonal; with it as a preconditioner, what is left of a row
    with n interactions takes at most n + 1 steps, and none more with alpha 1.
    """
    other = np.asarray(other, np.float32)
    values, basis = np.linalg.eigh((other.T @ other).astype(np.float64))
    basis = basis.astype(np.float32)
    turned = other @ basis
    pull = np.broadcast_to(np.asarray(ridge, np.float32), X.shape[:1])[:, None]  # [N,1]
    shared = np.maximum(values, 0).astype(np.float32) + pull  # [N,D]
    start = np.zeros(shared.shape, np.float32) if towards is None else towards.astype(np.float32) @ basis
    X = X.astype(np.float32).tocsr()
    found = np.zeros_like(shared)
    for part in _parts(X.indptr):
        right = np.float32(alpha) * (X[part] @ turned) + pull[part] * start[part]
        found[part] = _solved(X[part], turned, alpha, shared[part], right, start[part])
    return np.asarray(found @ basis.T)


def _solved(X: Any, turned: Array, alpha: float, shared: Array, right: Array, start: Array) -> Array:
    """Rows z [n,D] with shared z + (alpha - 1) sum_i y_i (y_i z) = right, the sum over the columns of the row."""
    chosen = turned[X.indices]  # [E,D]
    owner = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))

    def times(z: Array) -> Array:
        out = shared * z
        if alpha != 1:
            S = X.copy()
            S.data = np.float32(alpha - 1) * np.einsum("ed,ed->e", chosen, z[owner])
            out += S @ turned
        return np.asarray(out)

    z = start.copy()
    rest = right - times(z)
    steered = rest / shared
    along, height = steered.copy(), (rest * steered).sum(axis=1)
    enough = np.float32(CLOSE**2) * np.maximum((right * right / shared).sum(axis=1), 1e-30)
    for _ in range(2 * turned.shape[1]):
        going = height > enough
        if not going.any():
            break
        across = times(along)
        step = np.where(going, height / np.maximum((along * across).sum(axis=1), 1e-30), 0)[:, None].astype(np.float32)
        z += step * along
        rest -= step * across
        steered = rest / shared
        new = (rest * steered).sum(axis=1)
        along = steered + np.where(going, new / np.maximum(height, 1e-30), 0)[:, None].astype(np.float32) * along
        height = np.where(going, new, height)
    return z


def _parts(ends: Array) -> list[slice]:
    """Rows that have about `ENTRIES` interactions together, one at least."""
    found, at = [], 0
    while at < len(ends) - 1:
        end = max(at + 1, int(np.searchsorted(ends, ends[at] + ENTRIES, side="right")) - 1)
        end = min(end, at + ENTRIES)
        found.append(slice(at, end))
        at = end
    return found
