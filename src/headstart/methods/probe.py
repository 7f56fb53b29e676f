"""Probe: a linear head on frozen features.

The source runs over the rows once; a regularised linear head is fitted on the stored features in closed form (ridge)
or to the optimum (logistic). Cross-validation on the training rows chooses the strength of the regularisation and
whether the last features alone are read or the layers before them as well, which helps when the target is unlike what
the source was trained for, or what the source has besides its layers (`Source.besides`; left out only where worse).
Alain & Bengio 2016, Understanding intermediate layers using linear classifier probes.

Of a source whose best layer differs from task to task (`Source.depths`: sounds) every layer is ranked by the ranker
`probe_cv`, which costs one decomposition a layer, and the best one is a third choice. Where rows have a group, both the
ranking and the choice leave whole groups out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart import augmented
from headstart.errors import MethodError
from headstart.methods.base import Method, Problem, hyper
from headstart.methods.network import NetworkFitted, layer_rows
from headstart.nn.linear import STRENGTHS, LinearFit, balance, fit_linear, standard_error
from headstart.rankers.base import LEAST_ROWS
from headstart.rankers.probe_cv import ProbeCV
from headstart.runtime import Extractor
from headstart.tasks.base import Task
from headstart.types import Json

RANKED = 1000
"""Rows on which the layers are ranked."""


@dataclass(frozen=True)
class Probe(Method):
    """A linear head on frozen features, its strength and its layers chosen by cross-validation."""

    name: ClassVar[str] = "probe"
    paper: ClassVar[str] = "Alain & Bengio 2016, arXiv:1610.01644"

    layers: str = hyper("auto", "last, auto (last, last three, best depth, what stands besides), or names with commas")
    strength: float = hyper(0.0, "inverse regularisation; 0 = chosen by cross-validation", low=0.0, high=1e9)
    folds: int = hyper(5, "folds of the cross-validation", low=2, high=50)
    augment: int = hyper(0, "augmented copies of each training row besides (sounds, images)", low=0, high=100)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Fit on the training rows alone; ``problem.valid`` is not read."""
        if problem.source is None or problem.extractor is None:
            raise MethodError("HS-METHOD-003", "probe needs a source.", "Name one with --source.")
        choices = self._choices(problem.extractor, problem.task)
        targets = problem.task.encode(problem.train.targets())
        best: tuple[float, tuple[str, ...], LinearFit] | None = None
        problem.extractor.ensure(problem.train, self.outputs_read(problem.extractor, problem.task))
        depths = self._depths(problem, targets)
        if depths and (top := max(depths, key=lambda name: depths[name])) != "pooled":
            choices.append((top,))
        outside = bool(problem.options.get("out_of_fold", True))  # else the rows that the search left out compare
        for outputs in choices:
            near = best[2].strength if best is not None and "pooled" in outputs else None
            fit = self._linear(problem, outputs, targets, near, outside)
            if best is None or fit.cv_score > best[0] + self._due(problem, outputs, targets, fit):
                best = (fit.cv_score, outputs, fit)
        assert best is not None
        score, outputs, fit = best
        head = nn.Linear(fit.weight.shape[1], fit.weight.shape[0])
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(fit.weight))
            head.bias.copy_(torch.from_numpy(fit.bias))
        rows = layer_rows(problem.source, head, [])
        rows[-1] = type(rows[-1])("head", rows[-1].parameters, 1.0, None)
        settled = self if outputs == ("tokens",) else replace(self, layers=",".join(outputs))
        chosen: Json = {"outputs": list(outputs), "strength": fit.strength, "cross-validation": score}
        if depths:
            chosen["depths"] = depths
        if fit.squares is not None:
            chosen["strength by least squares"] = fit.squares
        fitted = NetworkFitted(
            settled, problem.task, problem.source, head, outputs, changed=False,
            extractor=problem.extractor, precision=problem.extractor.precision, history=[chosen], layers=rows,
        )  # fmt: skip
        fitted.cv_outputs = fit.cv_outputs
        return fitted

    def _due(self, problem: Problem, outputs: tuple[str, ...], targets: Any, fit: LinearFit) -> float:
        """By how much a wider head has to be better: earlier layers must earn their width; what the source has besides
        is left out only where it is worse by more than a standard error.

        Of nine sets of series (five labels a class, four draws; none of those of docs/applications/time-series.md) the
        accuracy was 0.792 without it, 0.801 where it had to be better, 0.809 always with it.
        """
        assert problem.source is not None
        known = set(problem.source.besides) & set(outputs)
        if not known or fit.cv_outputs is None:
            return 1e-3
        return -standard_error(problem.task, fit.cv_outputs, targets) - 1e-9  # of equals the wider one

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """All that the choice of layers looks at."""
        read = [output for outputs in self._choices(extractor, task) for output in outputs]
        return list(dict.fromkeys([*read, *self._ranked(extractor, task)]))

    def _ranked(self, extractor: Extractor, task: Task) -> list[str]:
        """The outputs to rank, the last first: none, or every one from which the network's last can be reached."""
        source = extractor.source
        if self.layers != "auto" or task.needs != "pooled" or not source.depths:
            return []
        return ["pooled", *(layer.name for layer in reversed(source.layers()[:-1]))]

    def _depths(self, problem: Problem, targets: Any) -> dict[str, float]:
        """The score of each output that is ranked, by `probe_cv` on up to `RANKED` rows, the last first."""
        extractor, train = problem.extractor, problem.train
        assert extractor is not None
        names = self._ranked(extractor, problem.task)
        if not names or len(train) < LEAST_ROWS:
            return {}
        rows = np.sort(np.random.default_rng([problem.seed, 4]).permutation(len(train))[:RANKED])
        targets = np.asarray(targets)[rows]
        if (targets == targets[:1]).all():
            return {}
        groups, part, ranker = train.groups(), train.select(rows.tolist()), ProbeCV()
        kept = None if groups is None else groups[rows]
        return {name: ranker.score(extractor.matrix(part, [name]), targets, kept) for name in names}

    def _choices(self, extractor: Extractor, task: Task) -> list[tuple[str, ...]]:
        if task.needs == "tokens":
            return [("tokens",)]
        if self.layers == "last":
            return [("pooled",)]
        if self.layers == "auto":
            wider = [tuple(extractor.cuts(2)), extractor.source.besides]
            return [("pooled",), *(("pooled", *more) for more in wider if more)]
        names = [name.strip() for name in self.layers.split(",")]
        known = ["pooled", *(layer.name for layer in extractor.source.layers()), *extractor.source.besides]
        for name in names:
            if name not in known:
                raise MethodError("HS-METHOD-002", f'probe: there is no layer "{name}".', f"Known: {', '.join(known)}")
        return [tuple(names)]

    def _linear(
        self, problem: Problem, outputs: tuple[str, ...], targets: Any, near: float | None, outside: bool
    ) -> LinearFit:
        """near: the strength that fewer layers settled on; balanced as they are, more of them want one beside it.

        outside: whether anyone reads the out-of-fold outputs of all rows.
        """
        extractor = problem.extractor
        assert extractor is not None
        strengths = None if self.strength == 0 else [self.strength]
        if strengths is None and near is not None:
            strengths = [value for value in STRENGTHS if near / 4 < value < near * 4]
        groups, weights = problem.train.groups(), problem.train.weights()
        if outputs == ("tokens",):
            if self.augment:
                raise MethodError("HS-METHOD-003", "probe: words have no augmented copies.", "Leave --augment out.")
            rows = extractor.tokens(problem.train)
            X = np.concatenate(rows)
            y = np.concatenate([target[: len(row)] for row, target in zip(rows, targets)])
            owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
            return fit_linear(
                problem.task, X, y, groups=groups, seed=problem.seed, strengths=strengths, folds=self.folds,
                owner=owner, weights=weights, outside=outside,
            )  # fmt: skip
        blocks, count = extractor.blocks(problem.train, outputs), len(problem.train)
        if self.augment:
            more = augmented.copies(extractor, problem.train, outputs, self.augment)
            blocks = [np.concatenate(pair) for pair in zip(blocks, more)]
            groups = np.arange(count) if groups is None else groups  # a row and its copies share a fold
            targets, groups, weights = (augmented.repeated(each, self.augment) for each in (targets, groups, weights))
        factors = balance(blocks)
        fit = fit_linear(
            problem.task, np.concatenate(blocks, axis=1) * factors, targets, groups=groups, seed=problem.seed,
            strengths=strengths, folds=self.folds, weights=weights, outside=outside,
        )  # fmt: skip
        of_rows = None if fit.cv_outputs is None else fit.cv_outputs[:count]
        return replace(fit, weight=fit.weight * factors, cv_outputs=of_rows)
