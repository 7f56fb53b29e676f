"""Out-of-fold outputs of any method: how candidates are compared where there are too few labels to set some aside."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import numpy as np

from headstart.methods.base import Method, Problem
from headstart.nn.linear import assign_folds, strata_of
from headstart.types import Outputs

Array: TypeAlias = np.ndarray

FEW = 400
"""Labelled rows under which a validation part would decide nothing, and cross-validation is used in its place."""


def out_of_fold(method: Method, problem: Problem, folds: int = 5) -> Outputs:
    """Outputs of every training row by fits on the folds without it: [N,C], or a list of [T_i,C].

    ``problem.valid`` is not read. Every fold gets an equal share of the time that is left until the deadline, and the
    fit on all rows that is to come one more. A class with one row is left out of training in its own fold.
    """
    rows, seconds = problem.train, problem.seconds_left
    targets = problem.task.encode(rows.targets())
    strata = strata_of(targets)
    fold = assign_folds(strata, rows.groups(), even_folds(strata, folds), np.random.default_rng([problem.seed, 1]))
    outputs: list[Any] = [None] * len(rows)
    used = np.unique(fold)
    for number in used:
        left_out = np.flatnonzero(fold == number)
        deadline = None if seconds is None else time.monotonic() + max(1.0, seconds / (len(used) + 1))
        part = problem.replace(
            train=rows.select(np.flatnonzero(fold != number).tolist()), valid=None, folder=None, deadline=deadline,
            report=lambda stage, done, total: None, notes=[], options={**problem.options, "drift": False},
        )  # fmt: skip
        found = method.fit(part).outputs(rows.select(left_out.tolist()).without("target"))
        for at, value in zip(left_out, found):
            outputs[at] = value
    return outputs if isinstance(targets, list) else np.stack(outputs)


def even_folds(y: Array, folds: int) -> int:
    """At most ``folds``, and no more than the middle one of the classes of y [N] has rows (2 at least).

    With more, the class of a left-out row is the rarest among the rows fitted, and a head with a free intercept, which
    goes by that, looks worse than it is: a probe of 2 digits a class that is right for 0.49 of new rows scored 0.29.
    """
    counts = np.bincount(y)
    return max(2, min(folds, int(np.median(counts[counts > 0]))))


def validation_part(problem: Problem, share: float = 1 / 6) -> Problem:
    """The problem with a validation part: its own, or one cut from its training rows by class and by whole groups."""
    if problem.valid is not None:
        return problem
    rows = problem.train
    strata = strata_of(problem.task.encode(rows.targets()))
    fold = assign_folds(strata, rows.groups(), round(1 / share), np.random.default_rng([problem.seed, 2]))
    train, valid = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    if not len(train):
        return problem
    return problem.replace(train=rows.select(train.tolist()), valid=rows.select(valid.tolist()))
