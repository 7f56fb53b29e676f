"""Gradient boosting by LightGBM for every pooled task, tuned by cross-validation, saved as text.

Settings of increasing capacity are tried; the number of rounds is where the loss on the rows left out, averaged over
the folds, is least. Outputs follow the Task contract: logits [N,C], or standardised values [N,1].
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from headstart.nn.linear import assign_folds, strata_of
from headstart.tasks.base import Task

Array: TypeAlias = np.ndarray

MOST_ROUNDS, PATIENCE = 400, 25
CAPACITIES = ({"num_leaves": 4}, {"num_leaves": 15}, {"num_leaves": 31})


@dataclass(frozen=True)
class Boosted:
    """Trees as LightGBM's model text: one text, or one a label; empty for a label that never changes.

    constants: the output where there are no trees. form: ``classes`` (logits), ``margin`` (two classes by one margin),
    ``labels`` (one margin a label) or ``value``. rounds, leaves: what cross-validation chose.
    """

    texts: tuple[str, ...]
    constants: tuple[float, ...]
    form: str
    rounds: int
    leaves: int

    def outputs(self, X: Array) -> Array:
        """X [N,D] to outputs [N,C]."""
        import lightgbm

        parts = []
        for text, constant in zip(self.texts, self.constants):
            if text:
                raw = lightgbm.Booster(model_str=text).predict(X, raw_score=True, num_threads=_threads())
                parts.append(np.asarray(raw, dtype=np.float64).reshape(len(X), -1))
            else:
                parts.append(np.full((len(X), 1), constant))
        return _shaped(np.hstack(parts), self.form)


def fit_boosting(
    task: Task,
    X: Array,
    y: Any,
    *,
    categorical: Sequence[int] = (),
    groups: Array | None = None,
    seed: int = 0,
    folds: int = 5,
    deadline: float | None = None,
    weights: Array | None = None,
) -> tuple[Boosted, Array]:
    """Boosted trees on X [N,D] (NaN where missing; ``categorical`` columns hold codes) and their out-of-fold outputs.

    y: encoded targets of a pooled task. Returns (model, outputs [N,C]). After ``deadline`` (``time.monotonic()``) no
    further capacity is tried. weights: [N] of the rows in the training loss.
    """
    form = _form(task, y)
    fold = assign_folds(strata_of(y), groups, folds, np.random.default_rng(seed))
    capacities = CAPACITIES if form != "labels" else CAPACITIES[1:2]
    best: tuple[float, int, list[int], Array] | None = None
    for capacity in capacities:
        leaves = capacity["num_leaves"]
        found = [
            _cross_validate(X, z, _settings(form, task.width, leaves, len(X), seed), categorical, fold, weights)
            for z in _columns(y, form)
        ]
        outputs = _shaped(np.hstack([raw for _, raw in found]), form)
        loss = _loss(task, outputs, y)
        if best is None or loss < best[0]:
            best = loss, leaves, [rounds for rounds, _ in found], outputs
        if deadline is not None and time.monotonic() > deadline:
            break
    assert best is not None
    _, leaves, rounds, outputs = best
    settings = _settings(form, task.width, leaves, len(X), seed)
    columns = _columns(y, form)
    texts = tuple(_train_text(X, z, settings, categorical, n, weights) for z, n in zip(columns, rounds))
    constants = tuple(_constant(z) for z in _columns(y, form))
    return Boosted(texts, constants, form, max(rounds), leaves), outputs


def _form(task: Task, y: Any) -> str:
    if not task.classes:
        return "value"
    if np.ndim(y) == 2:
        return "labels"
    return "margin" if task.width == 2 else "classes"


def _columns(y: Any, form: str) -> list[Array]:
    """One target vector for each model."""
    y = np.asarray(y)
    return [np.ascontiguousarray(y[:, column]) for column in range(y.shape[1])] if form in ("labels", "value") else [y]


def _shaped(raw: Array, form: str) -> Array:
    """Raw scores to outputs [N,C]; one margin m becomes the logits (-m/2, m/2)."""
    return np.hstack([-raw / 2, raw / 2]) if form == "margin" else raw


def _settings(form: str, width: int, leaves: int, rows: int, seed: int) -> dict[str, Any]:
    objective = {"classes": "multiclass", "margin": "binary", "labels": "binary", "value": "regression"}[form]
    return {
        "objective": objective, "num_leaves": leaves, "learning_rate": 0.1, "seed": seed, "verbosity": -1,
        "min_data_in_leaf": max(1, min(20, rows // 20)), "min_data_per_group": max(1, min(100, rows // 10)),
        "min_data_in_bin": 3 if rows >= 100 else 1, "lambda_l2": 1.0, "feature_fraction": 0.8, "bagging_fraction": 0.8,
        "bagging_freq": 1 if rows >= 200 else 0, "deterministic": True, "force_row_wise": True,
        "num_threads": _threads(), "feature_pre_filter": False,
    } | ({"num_class": width} if form == "classes" else {})  # fmt: skip


def _cross_validate(
    X: Array, y: Array, settings: dict[str, Any], categorical: Sequence[int], fold: Array, weights: Array | None
) -> tuple[int, Array]:
    """The best number of rounds, averaged over folds, and the raw out-of-fold scores [N,1 or C] with it."""
    import lightgbm

    width = settings.get("num_class", 1)
    raw = np.zeros((len(X), width))
    boosters = []
    for k in np.unique(fold):
        kept, left = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(kept) == 0 or (settings["objective"] == "binary" and len(np.unique(y[kept])) < 2):
            raw[left] = _constant(y[kept] if len(kept) else y)
            continue
        data = _data(X[kept], y[kept], categorical, None if weights is None else weights[kept])
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        watched = data.create_valid(X[left], label=y[left])
        booster = lightgbm.train(settings, data, MOST_ROUNDS, valid_sets=[watched], callbacks=[stop])
        boosters.append((booster, left))
    rounds = max(1, round(float(np.mean([booster.best_iteration for booster, _ in boosters])))) if boosters else 1
    for booster, left in boosters:
        found = booster.predict(X[left], raw_score=True, num_iteration=rounds)
        raw[left] = np.asarray(found).reshape(len(left), width)
    return rounds, raw


def _train_text(
    X: Array, y: Array, settings: dict[str, Any], categorical: Sequence[int], rounds: int, weights: Array | None
) -> str:
    import lightgbm

    if settings["objective"] == "binary" and len(np.unique(y)) < 2:
        return ""
    return str(lightgbm.train(settings, _data(X, y, categorical, weights), rounds).model_to_string())


def _data(X: Array, y: Array, categorical: Sequence[int], weights: Array | None) -> Any:
    import lightgbm

    return lightgbm.Dataset(X, label=y, weight=weights, categorical_feature=list(categorical), params={"verbosity": -1})


def _constant(y: Array) -> float:
    """The log-odds of a label that may never change, kept finite."""
    on = float(np.asarray(y).sum())
    return float(np.log((on + 0.5) / (len(y) - on + 0.5))) if 0 <= on <= len(y) else 0.0


def _loss(task: Task, outputs: Array, y: Any) -> float:
    import torch

    return float(task.loss(torch.as_tensor(outputs), task.collate(y))["loss"])


def _threads() -> int:
    import torch

    return min(torch.get_num_threads(), os.cpu_count() or 1)
