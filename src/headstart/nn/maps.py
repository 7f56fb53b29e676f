"""Maps of feature vectors that are plain arrays, so that a chain of them can be saved, loaded and applied.

    x -> k(x) matrix + offset        k(x) = x, or the Gaussian kernel of x with landmarks [p,D]

A rotation into a subspace, a whitening, kernel components and a linear head are all of this form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from headstart.nn.kernels import gaussian

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Map:
    """matrix: [D or p, k]. offset: [k]. landmarks: [p,D] of a Gaussian kernel of width ``gamma``, or None."""

    matrix: Array
    offset: Array
    landmarks: Array | None = None
    gamma: float = 0.0

    def __call__(self, X: Array) -> Array:
        """X [n,D] to [n,k], float64."""
        inside = np.asarray(X, np.float64) if self.landmarks is None else gaussian(X, self.landmarks, self.gamma)
        return np.asarray(inside @ self.matrix + self.offset)

    @property
    def width(self) -> int:
        """D, the columns that it takes."""
        return int((self.matrix if self.landmarks is None else self.landmarks.T).shape[0])

    def arrays(self) -> dict[str, Array]:
        """What `restore` needs."""
        found = {"matrix": self.matrix, "offset": self.offset}
        if self.landmarks is not None:
            found |= {"landmarks": self.landmarks, "gamma": np.array([self.gamma])}
        return {name: np.ascontiguousarray(value, np.float64) for name, value in found.items()}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Map:
        """The map of these `arrays`. Raises KeyError or ValueError for missing or misshapen ones."""
        matrix, offset, points = arrays["matrix"], arrays["offset"], arrays.get("landmarks")
        if matrix.ndim != 2 or offset.shape != matrix.shape[1:] or (points is not None and len(points) != len(matrix)):
            raise ValueError("misshapen map")
        return cls(matrix, offset, points, float(arrays["gamma"][0]) if points is not None else 0.0)


def chain(maps: Sequence[Map], X: Array) -> Array:
    """One map after the other; X itself where there is none."""
    for each in maps:
        X = each(X)
    return X
