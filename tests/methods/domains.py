"""Two domains of two classes, for tests of adaptation."""

from __future__ import annotations

import numpy as np

from headstart.methods.adaptation import Domains
from headstart.nn.heads import Recipe
from headstart.nn.maps import chain
from headstart.tasks.classification import Classification


def moved(n=120, m=100, width=5, seed=0):
    """(X [n,D], classes int [n], target [m,D], its classes): the target is stretched, turned a little and moved."""
    rng = np.random.default_rng(seed)
    y, truth = np.arange(n) % 2, np.arange(m) % 2
    X, target = rng.normal(size=(n, width)), rng.normal(size=(m, width))
    X[:, 0] += 4 * y
    target[:, 0] += 4 * truth
    turn = np.eye(width) + 0.15 * rng.normal(size=(width, width))
    return X, y, target @ turn * 1.5 + np.array([2.0, -1.0] + [0.5] * (width - 2)), truth


def domains(X, y, target, **more):
    return Domains(Classification(sorted(set(y.tolist()))), X, y, target, more.pop("recipe", Recipe(0.0, 1.0)), **more)


def adapted(method, X, y, target, outputs=False, **more):
    """What `align` gives, or the outputs [m,C] of the target rows."""
    given = domains(X, y, target, **more)
    if not outputs:
        return method.align(given)
    return chain(method.adapt(given)[0], target)
