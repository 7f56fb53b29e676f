"""Small fits: one model of the contest, fitted again and again on parts of its rows.

Transfer and control are treated alike. Both keep what their full fit settled (layers, featurizer, kind of model) and
choose their strength anew on every part by cross-validation, among `WINDOW` of what the full fit chose. The objective
is strength * sum of losses + |W|²/2: the weight of the penalty against *one* row does not depend on the number of
rows, so the window stays where it is. (Measured with all 13 strengths on 15 parts of 62 to 1 000 reviews: the probe
chose within the window in 13, TF-IDF in 14.)

A model that is not linear on known features is fitted by its own method each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.evidence.designs import Design, design_of
from headstart.methods.base import Fitted, Method, Problem
from headstart.nn.linear import fit_linear
from headstart.tasks.base import Targets, Task
from headstart.types import Outputs

Array: TypeAlias = np.ndarray

WINDOW = tuple(float(10 ** (half / 2)) for half in (-2, -1, 0, 1))
"""Strengths of a small fit over the strength of the full fit."""

FOLDS = 3


@dataclass(frozen=True)
class Pool:
    """The rows of a curve, by position: the labelled rows, then unlabelled ones to predict. targets: of the former."""

    labelled: Dataset
    rest: Dataset | None
    targets: Targets

    @property
    def parts(self) -> list[Dataset]:
        """The datasets, in order."""
        return [self.labelled, *([self.rest] if self.rest is not None else [])]

    def outputs(self, fitted: Fitted, rows: Array) -> Outputs:
        """A model's outputs of these rows, the labelled ones first; it sees no target."""
        known = len(self.labelled)
        ours, theirs = rows[rows < known], rows[rows >= known] - known
        found = [fitted.outputs(self.labelled.select(ours.tolist()).without("target"))] if len(ours) else []
        if self.rest is not None and len(theirs):
            found.append(fitted.outputs(self.rest.select(theirs.tolist())))
        if len(found) < 2:
            return found[0]
        return [*found[0], *found[1]] if isinstance(found[0], list) else np.concatenate(found)


@dataclass(frozen=True)
class Small:
    """A small fit. inside: out-of-fold outputs of the rows it was fitted on, or None. outputs: of the other rows."""

    inside: Outputs | None
    outputs: Outputs


class Learner(Protocol):
    """Fits parts of a pool. light: whether it predicts many rows at next to no cost."""

    light: bool

    def fit(self, train: Array, others: Array, seed: int) -> Small:
        """Fit on the rows ``train`` (ascending positions), predict the rows ``others``."""


class LinearLearner:
    """A linear head on a design, its strength chosen again on each part."""

    light = True

    def __init__(self, task: Task, pool: Pool, design: Design, strengths: Sequence[float]) -> None:
        self.task, self.pool, self.design, self.strengths = task, pool, design, list(strengths)
        self.groups, self.weights = pool.labelled.groups(), pool.labelled.weights()

    def fit(self, train: Array, others: Array, seed: int) -> Small:
        """`fit_linear` on the part."""
        view = self.design.cut(train)
        owner = self.design.owner(train)
        targets = take(self.pool.targets, train)
        groups = None if self.groups is None else self.groups[train]
        weights = None if self.weights is None else self.weights[train]
        found = fit_linear(
            self.task, view.X, targets, groups=groups, seed=seed, strengths=self.strengths, folds=FOLDS, owner=owner,
            weights=weights,
        )  # fmt: skip
        return Small(found.cv_outputs, view.outputs(found.weight, found.bias, others))


class MethodLearner:
    """A method fitted as a whole on each part. limit: seconds that a fit of n rows may take, by n, or None."""

    def __init__(
        self, problem: Problem, pool: Pool, method: Method, limit: Callable[[int], float] | None = None
    ) -> None:
        self.problem, self.pool, self.method, self.limit = problem, pool, method, limit
        self.light = not method.gradients

    def fit(self, train: Array, others: Array, seed: int) -> Small:
        """``method.fit``; a method that trains by gradient does so until its limit, without a validation part."""
        deadline = None if self.limit is None else time.monotonic() + self.limit(len(train))
        part = self.problem.replace(
            train=self.pool.labelled.select(train.tolist()), valid=None, seed=self.problem.seed + seed, folder=None,
            report=lambda stage, done, total: None, deadline=deadline,
        )  # fmt: skip
        fitted = self.method.fit(part)
        inside = getattr(fitted, "cv_outputs", None)
        if inside is not None and len(inside) != len(train):
            inside = None
        return Small(inside, self.pool.outputs(fitted, others) if len(others) else [])


def learner_of(
    problem: Problem, pool: Pool, fitted: Fitted, limit: Callable[[int], float] | None = None
) -> LinearLearner | MethodLearner:
    """The learner that repeats a full fit on parts of the rows."""
    strength = fitted.history[-1].get("strength") if fitted.history else None
    plain = strength is not None and not getattr(fitted.method, "augment", 0)  # copies are made by the method itself
    design = design_of(fitted, pool.parts) if plain else None
    if design is None or strength is None:
        return MethodLearner(problem, pool, fitted.method, limit)
    given = getattr(fitted.method, "strength", None)  # the user's own
    strengths = [float(given)] if given else [float(strength) * step for step in WINDOW]
    return LinearLearner(problem.task, pool, design, strengths)


def take(values: Any, rows: Array) -> Any:
    """These rows of an array or a list."""
    return [values[i] for i in rows] if isinstance(values, list) else values[rows]
