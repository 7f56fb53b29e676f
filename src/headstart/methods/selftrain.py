"""Self-training: unlabelled rows get the labels of the labelled rows that they lie near, as far as that is of use.

Labels spread over a graph in which every row is tied to its nearest neighbours (Zhou et al. 2003; the weights and the
certainties are those of Iscen et al. 2019):

    A = max(cosine, 0)^3 among neighbours [n,n],  S = D^-1/2 A D^-1/2,  F = (1 - a) (I - a S)^-1 Y  [n,C]

with Y one in the class of a labelled row over the number of rows of that class. An unlabelled row takes its largest
class of F and counts 1 - entropy / log C in the training of a linear head on frozen features. How many of the rows take
part, the surest first, and how much they count against the labelled ones, is decided by cross-validation on the
labelled rows; not to use them at all is one of the choices and wins unless another one scores at least as high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from headstart.errors import MethodError
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.network import NetworkFitted, layer_rows
from headstart.methods.probe import Probe
from headstart.methods.prototypes import calibrate
from headstart.methods.selection import even_folds
from headstart.nn.linear import LinearFit, assign_folds, fit_linear
from headstart.nn.solvers import Rotated, rotate
from headstart.tasks.base import Array, Task

ROUNDS = 50  # steps in which labels spread; what is left out is a^50
POWER = 3


class Rule(NamedTuple):
    """share: of the unlabelled rows, the surest. mass: what they count in all, in labelled rows; 0 = as they are.
    strength: inverse regularisation of the head."""

    share: float
    mass: float
    strength: float


RULES = (
    Rule(1.0, 0.0, 1.0),
    Rule(1.0, 0.0, 0.1),
    Rule(0.3, 0.0, 1.0),
    Rule(1.0, 1.0, 1.0),
    Rule(0.3, 1.0, 1.0),
    Rule(1.0, 0.0, 10.0),
)
"""In order of preference: few labels cannot tell rules apart that score within half a standard error of each other."""


@dataclass(frozen=True)
class Selftrain(Method):
    """A linear head on frozen features; unlabelled rows near the labelled ones help to train it."""

    name: ClassVar[str] = "selftrain"
    needs: ClassVar[tuple[Need, ...]] = ("labels", "source", "unlabelled")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Zhou et al. 2003; Iscen et al. 2019, arXiv:1904.04717"

    neighbours: int = hyper(15, "nearest rows that each row is tied to", low=1, high=1000)
    spread: float = hyper(0.9, "how far labels spread (a)", low=0.0, high=0.999)
    share: float = hyper(-1.0, "share of the unlabelled rows used, surest first; -1 = cross-validation", low=-1, high=1)
    most: int = hyper(10_000, "unlabelled rows looked at, at most", low=1, high=1_000_000)
    folds: int = hyper(5, "folds of the cross-validation", low=2, high=50)

    def ablation(self) -> Method | None:
        """The same head from the labelled rows alone."""
        return Probe(layers="last")

    def fit(self, problem: Problem) -> NetworkFitted:
        """Fit on ``problem.train`` and ``problem.unlabelled``; ``problem.valid`` is not read."""
        if problem.source is None or problem.extractor is None or problem.unlabelled is None:
            self.admit(problem.task, problem.source, problem.train, problem.given)
            raise MethodError("HS-METHOD-003", "selftrain needs features.", "Name a source with --source.")
        train, task, extractor = problem.train, problem.task, problem.extractor
        rng = np.random.default_rng(problem.seed)
        chosen = np.sort(rng.permutation(len(problem.unlabelled))[: self.most])
        X, U = extractor.matrix(train), extractor.matrix(problem.unlabelled.select(chosen.tolist()))
        y, groups, weights = task.encode(train.targets()), train.groups(), train.weights()
        folds = even_folds(y, self.folds)
        base = fit_linear(task, X, y, groups=groups, seed=problem.seed, folds=folds, weights=weights)
        pool = Pool(task, X, U, y, weights, self.neighbours, self.spread)
        fold = assign_folds(y, groups, folds, np.random.default_rng(problem.seed))  # the folds of the base
        rules = [rule for rule in RULES if self.share < 0] or [
            rule._replace(share=self.share) for rule in RULES if rule.share == 1 and self.share > 0
        ]
        rule, facts = select(task, pool, y, fold, base, rules)
        weight, bias = (base.weight, base.bias) if rule is None else pool.heads(np.arange(len(X)), [rule])[0]
        head = nn.Linear(X.shape[1], task.width)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))
        rows = layer_rows(problem.source, head, [])
        rows[-1] = type(rows[-1])("head", rows[-1].parameters, 1.0, None)
        fitted = NetworkFitted(
            self, task, problem.source, head, ("pooled",), changed=False, extractor=extractor,
            precision=extractor.precision, history=[{"outputs": ["pooled"], **facts}], layers=rows,
        )  # fmt: skip
        return fitted


def select(
    task: Task, pool: Pool, y: Array, fold: Array, base: LinearFit, rules: Sequence[Rule]
) -> tuple[Rule | None, dict[str, Any]]:
    """The rule for these labels, or None for no unlabelled rows; and what the history says of it.

    fold: [N] of the labelled rows. The first rule counts whose out-of-fold score is within half a standard error of the
    best; it has to be at least that of the base, and higher or with less loss.
    """
    facts: dict[str, Any] = {"share": 0.0, "cross-validation": base.cv_score}
    if base.cv_outputs is None or not rules:
        return None, facts
    outputs = np.zeros((len(rules), len(y), task.width))
    for part in np.unique(fold):
        left = np.flatnonzero(fold == part)
        for place, (weight, bias) in enumerate(pool.heads(np.flatnonzero(fold != part), rules)):
            outputs[place, left] = pool.labelled[left] @ weight.T + bias
    none = np.zeros_like(outputs[0])
    scores = [float(task.score(found, y)) for found in outputs]
    losses = [calibrate(task, found, none, y)[1] for found in outputs]
    loss = calibrate(task, base.cv_outputs, none, y)[1]
    facts["without unlabelled rows"] = base.cv_score
    fit = [
        place
        for place in range(len(rules))
        if scores[place] > base.cv_score or (scores[place] == base.cv_score and losses[place] < loss)
    ]
    if not fit:
        return None, facts
    best = max(scores)
    error = float(np.sqrt(max(best * (1 - best), 0.0) / len(y)))
    at = next(place for place in fit if scores[place] >= best - error / 2)
    return rules[at], {**facts, **rules[at]._asdict(), "cross-validation": scores[at]}


class Pool:
    """Labelled rows X [N,D] and unlabelled rows U [M,D], their graph, and the heads that follow from some labels."""

    def __init__(
        self, task: Task, X: Array, U: Array, y: Array, weights: Array | None, neighbours: int, spread: float
    ) -> None:
        self.task, self.labelled, self.y, self.spread = task, X, y, spread
        both = np.concatenate([X, U])
        self.weights = np.ones(len(X)) if weights is None else weights
        self.graph = graph(both, neighbours)
        self.scale = float(np.sqrt(both.var(axis=0).sum())) or 1.0
        self.rotated: Rotated = rotate(both / self.scale)

    def heads(self, rows: Array, rules: Sequence[Rule]) -> list[tuple[Array, Array]]:
        """For each rule the weight [C,D] and bias [C] from the labels of ``rows`` alone.

        Labelled rows that are not among them take no part, not even without their labels: neither would a row that
        is predicted later.
        """
        label, sure = self.pseudo(rows)
        order = np.argsort(-sure, kind="stable")
        N, found = len(self.labelled), []
        for rule in rules:
            taken = order[: int(np.ceil(rule.share * len(sure)))]
            counts = sure[taken]
            if rule.mass:
                counts = counts * (rule.mass * self.weights[rows].sum() / max(float(counts.sum()), 1e-12))
            at, target = np.concatenate([rows, N + taken]), np.concatenate([self.y[rows], label[taken]])
            basis = replace(self.rotated.rows(at), weight=np.concatenate([self.weights[rows], counts]))
            weight, bias = self.task.linear(basis, target, rule.strength)
            weight, bias = self.rotated.back(weight, bias)
            found.append((weight / self.scale, bias))
        return found

    def pseudo(self, rows: Array) -> tuple[Array, Array]:
        """The class int [M] of every unlabelled row and how sure it is [M] in 0..1, from the labels of ``rows``."""
        N, total = len(self.labelled), self.graph.shape[0]
        there = np.ones(total)
        there[:N] = 0
        there[rows] = 1
        share = np.bincount(self.y[rows], weights=self.weights[rows], minlength=self.task.width)
        Y = np.zeros((total, self.task.width))
        Y[rows, self.y[rows]] = self.weights[rows] / np.maximum(share[self.y[rows]], 1e-12)
        F = spread_labels(self.graph, Y, self.spread, there)[N:]
        F = F / np.maximum(F.sum(axis=0), 1e-300)  # every class has as much to give
        P = F / np.maximum(F.sum(axis=1, keepdims=True), 1e-300)
        entropy = -(P * np.log(np.maximum(P, 1e-300))).sum(axis=1)
        reached = F.sum(axis=1) > 0
        return P.argmax(axis=1), np.where(reached, np.clip(1 - entropy / np.log(self.task.width), 0, 1), 0.0)


def graph(X: Array, neighbours: int) -> Any:
    """The graph of the rows of X [n,D] as a sparse matrix S [n,n]: symmetric, scaled by the degrees."""
    from scipy import sparse
    from sklearn.neighbors import NearestNeighbors

    Z = X - X.mean(axis=0)
    Z = Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-12)
    count = min(neighbours, len(Z) - 1)
    distance, index = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(Z).kneighbors()
    near = np.maximum(1 - distance, 0) ** POWER
    A = sparse.csr_matrix((near.ravel(), (np.repeat(np.arange(len(Z)), count), index.ravel())), shape=(len(Z), len(Z)))
    A = A + A.T
    scale = sparse.diags(1 / np.sqrt(np.maximum(np.asarray(A.sum(axis=1)).ravel(), 1e-12)))
    return (scale @ A @ scale).tocsr()


def spread_labels(S: Any, Y: Array, spread: float, there: Array | None = None) -> Array:
    """F = (1 - a) (I - a S)^-1 Y [n,C] by F <- a S F + (1 - a) Y. there: [n], 0 for rows that take no part."""
    kept = np.ones(len(Y)) if there is None else there
    F = Y
    for _ in range(ROUNDS):
        F = kept[:, None] * (spread * (S @ F)) + (1 - spread) * Y
    return F
