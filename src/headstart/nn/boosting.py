"""Gradient boosting by LightGBM for every pooled task, tuned by cross-validation, saved as text.

Settings of increasing capacity are tried; the number of rounds is where the loss on the rows left out, averaged over
the folds, is least. Outputs follow the Task contract: logits [N,C], or standardised values [N,1]. Trees may go on from
outputs that another model gave (``base``), and rows of another table may train along in every fold (``always``).
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
CLEARLY = 2.0
"""Standard errors from which a difference of losses is one."""

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
                raw = lightgbm.Booster(model_str=text).predict(X, raw_score=True, num_threads=threads())
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
    base: Array | None = None,
    always: Array | None = None,
    leaves: int = 0,
) -> tuple[Boosted, Array]:
    """Boosted trees on X [N,D] (NaN where missing; ``categorical`` columns hold codes) and their out-of-fold outputs.

    y: encoded targets of a pooled task. Returns (model, outputs [N,C]). After ``deadline`` (``time.monotonic()``) no
    further capacity is tried. weights: [N] of the rows in the training loss. base: outputs [N,C] that the trees add to
    (out of fold, where another model was fitted on these rows); the outputs that are returned hold them, those of the
    model do not, and there are no trees where the loss does not fall clearly. always: bool [N], rows that train in
    every fold and are never left out; what is returned has the outputs of the others alone. leaves: 0 = chosen.
    """
    form = _form(task, y)
    kept = np.ones(len(X), bool) if always is None else ~always
    fold = np.full(len(X), -1)
    fold[kept] = assign_folds(
        strata_of(y[kept]), None if groups is None else groups[kept], folds, np.random.default_rng(seed)
    )
    capacities = [each["num_leaves"] for each in (CAPACITIES if form != "labels" else CAPACITIES[1:2])]
    capacities = [leaves] if leaves else capacities
    margins = [None] * len(_columns(y, form)) if base is None else _margins(base, form)
    best: tuple[float, int, list[int], Array] | None = None
    for size in capacities:
        found = [
            _cross_validate(X, z, _settings(form, task.width, size, len(X), seed), categorical, fold, weights, margin)
            for z, margin in zip(_columns(y, form), margins)
        ]
        outputs = _shaped(np.hstack([raw for _, raw in found]), form)[kept]
        loss = _loss(task, outputs, y[kept])
        if best is None or loss < best[0]:
            best = loss, size, [rounds for rounds, _ in found], outputs
        if deadline is not None and time.monotonic() > deadline:
            break
    assert best is not None
    _, leaves, rounds, outputs = best
    columns = _columns(y, form)
    if base is not None and not clearly_less(task, outputs, base[kept], y[kept]):
        count = 1 if form == "margin" else task.width
        return Boosted(("",) * count, (0.0,) * count, form, 0, leaves), base[kept]
    settings = _settings(form, task.width, leaves, len(X), seed)
    texts = tuple(_train_text(X, z, settings, categorical, n, weights, m) for z, n, m in zip(columns, rounds, margins))
    constants = tuple(_constant(z) if base is None else 0.0 for z in columns)
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


def _margins(base: Array, form: str) -> list[Array]:
    """Outputs [N,C] as the raw scores [N] or [N,C] that each model goes on from."""
    if form == "margin":
        return [base[:, 1] - base[:, 0]]
    return [base] if form == "classes" else [np.ascontiguousarray(column) for column in base.T]


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
        "num_threads": threads(), "feature_pre_filter": False,
    } | ({"num_class": width} if form == "classes" else {})  # fmt: skip


def _cross_validate(
    X: Array,
    y: Array,
    settings: dict[str, Any],
    categorical: Sequence[int],
    fold: Array,
    weights: Array | None,
    base: Array | None = None,
) -> tuple[int, Array]:
    """The best number of rounds, averaged over folds, and the raw out-of-fold scores [N,1 or C] with it.

    fold: [N], -1 for rows that always train. base: raw scores that the trees add to.
    """
    import lightgbm

    width = settings.get("num_class", 1)
    raw = np.zeros((len(X), width)) if base is None else base.reshape(len(X), width).copy()
    boosters = []
    for k in np.unique(fold[fold >= 0]):
        kept, left = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(kept) == 0 or (settings["objective"] == "binary" and len(np.unique(y[kept])) < 2):
            raw[left] = _constant(y[kept] if len(kept) else y) if base is None else raw[left]
            continue
        data = _data(X[kept], y[kept], categorical, _part(weights, kept), _part(base, kept))
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        watched = data.create_valid(X[left], label=y[left], init_score=_part(base, left))
        booster = lightgbm.train(settings, data, MOST_ROUNDS, valid_sets=[watched], callbacks=[stop])
        boosters.append((booster, left))
    rounds = max(1, round(float(np.mean([booster.best_iteration for booster, _ in boosters])))) if boosters else 1
    for booster, left in boosters:
        found = booster.predict(X[left], raw_score=True, num_iteration=rounds)
        raw[left] = np.asarray(found).reshape(len(left), width) + (0.0 if base is None else raw[left])
    return rounds, raw


def _train_text(
    X: Array,
    y: Array,
    settings: dict[str, Any],
    categorical: Sequence[int],
    rounds: int,
    weights: Array | None,
    base: Array | None = None,
) -> str:
    import lightgbm

    if settings["objective"] == "binary" and len(np.unique(y)) < 2:
        return ""
    return str(lightgbm.train(settings, _data(X, y, categorical, weights, base), rounds).model_to_string())


def _data(X: Array, y: Array, categorical: Sequence[int], weights: Array | None, base: Array | None) -> Any:
    import lightgbm

    return lightgbm.Dataset(
        X, label=y, weight=weights, init_score=base, categorical_feature=list(categorical), params={"verbosity": -1}
    )


def _part(values: Array | None, rows: Array) -> Array | None:
    return None if values is None else values[rows]


def _constant(y: Array) -> float:
    """The log-odds of a label that may never change, kept finite."""
    on = float(np.asarray(y).sum())
    return float(np.log((on + 0.5) / (len(y) - on + 0.5))) if 0 <= on <= len(y) else 0.0


def _loss(task: Task, outputs: Array, y: Any) -> float:
    import torch

    return float(task.loss(torch.as_tensor(outputs), task.collate(y))["loss"])


def clearly_less(task: Task, outputs: Array, others: Array, y: Any) -> bool:
    """Whether the loss of ``outputs`` is less than that of ``others`` by `CLEARLY` standard errors of the difference
    over the rows. All [N,C].
    """
    gain = row_losses(task, others, y) - row_losses(task, outputs, y)
    return bool(gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)))


def row_losses(task: Task, outputs: Array, y: Any) -> Array:
    """The task's loss of each row [N]: the gradient of the mean in the weights of the rows."""
    import torch

    weight = torch.ones(len(outputs), dtype=torch.float64, requires_grad=True)
    task.loss(torch.as_tensor(outputs), task.collate(y), weight)["loss"].backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    return np.asarray(weight.grad.numpy() * len(outputs))


def threads() -> int:
    """The threads that LightGBM may use: those of torch."""
    import torch

    return min(torch.get_num_threads(), os.cpu_count() or 1)
