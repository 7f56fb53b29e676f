"""The contest for several targets: one round of fits, then a contest of its own for every target.

Methods that share (multitask) are fitted once, the others once for each target, and every network gets an equal share
of the time. For each target the best transfer meets the best control, and the shared network meets the same network
trained for this target alone: learning together can harm. Which model ships is decided for each target on validation;
where the test then says that it is worse than the single network, that one ships, and the record says that the test
took part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.datasets.base import Dataset
from headstart.evidence import evaluation
from headstart.evidence.allowance import affordable, late, of_networks
from headstart.evidence.entries import Entry, Evaluation, TargetOutcome
from headstart.evidence.folds import repeated_folds
from headstart.evidence.learners import take
from headstart.evidence.separately import Separately, model_of, separately
from headstart.evidence.splits import Split, group_ids, time_order
from headstart.evidence.twins import together
from headstart.evidence.verdict import BOOTSTRAP, KFOLD, corrected_kfold, decide, paired_bootstrap
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.bundle import Bundle
from headstart.tasks.several import Several
from headstart.types import Candidate, Comparison, Interval, Outputs, Verdict, metric_name

MIXED = "mixed"
"""Name of what ships where the targets ship different models."""


@dataclass
class Rival:
    """One method in the contest. validation, test: scores by column. folds: [J,K] scores of each fold, or None."""

    entry: Entry
    validation: dict[str, float]
    test: dict[str, float]
    folds: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The method's name."""
        return self.entry.name


@dataclass
class Mixed(Entry):
    """What ships where the targets ship different models. names: column -> the rival that ships."""

    names: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Not a method's."""
        return MIXED

    def candidate(self) -> Candidate:
        """The line of the record."""
        description = ", ".join(f"{column}: {name}" for column, name in self.names)
        return Candidate(MIXED, self.method.role, description, self.validation, self.test, self.seconds)


class Contest:
    """All rivals on the rows that took no part in their fits.

    rows, targets: those rows. procedure: of the verdicts. test_rows, train_rows: of one fold.
    """

    def __init__(
        self, problem: Problem, rivals: Sequence[Rival], rows: Dataset, values: list[Any], procedure: str,
        test_rows: float = 0.0, train_rows: float = 0.0,
    ) -> None:  # fmt: skip
        assert isinstance(problem.task, Several)
        self.task, self.seed, self.rivals = problem.task, problem.seed, list(rivals)
        self.rows, self.values, self.targets = rows, values, problem.task.encode(values)
        self.procedure, self.test_rows, self.train_rows = procedure, test_rows, train_rows
        self.groups = group_ids(rows)

    def verdict(self, one: Rival, other: Rival, column: str | None) -> Verdict:
        """The first rival against the second on one target, or on the mean of all."""
        return decide(self._between(one, other, column), other.name, self.procedure, len(self.values))

    def _between(self, one: Rival, other: Rival, column: str | None) -> Interval:
        if one.folds is not None and other.folds is not None:
            at = None if column is None else list(self.task.parts).index(column)
            gap = one.folds - other.folds
            return corrected_kfold(gap.mean(axis=1) if at is None else gap[:, at], self.test_rows, self.train_rows)
        a, b = (self._statistics(rival.entry.outputs, column) for rival in (one, other))
        combine = self.task.combine if column is None else self.task.parts[column].combine
        return paired_bootstrap(a, b, combine, groups=self.groups, seed=self.seed)

    def _statistics(self, outputs: Outputs, column: str | None) -> np.ndarray:
        if column is None:
            return self.task.statistics(outputs, self.targets)
        own = self.task.outputs_for(column, outputs), self.task.targets_for(column, self.targets)
        return self.task.parts[column].statistics(*own)

    # --- one target --------------------------------------------------------------------------------------------

    def target(self, column: str) -> tuple[TargetOutcome, Rival, list[Comparison]]:
        """What came out for a target, the rival that ships for it, and the verdicts against the single-task models."""
        transfer, control = self._best(column, "transfer"), self._best(column, "control")
        verdict = self.verdict(transfer, control, column) if transfer and control else None
        comparisons = [
            Comparison(rival.name, single.name, self.verdict(rival, single, column), column)
            for rival in self.rivals
            if (single := self._single(rival)) is not None
        ]
        shipped = self._best(column, None)
        assert shipped is not None
        looked = "in cross-validation" if self.procedure == KFOLD else "on validation"
        because, by = f"best {metric_name(self.task.parts[column].metric)} {looked}", "validation"
        overruled = "test" if self.procedure == BOOTSTRAP else "validation"
        words = "; the test rows took part in this choice" if overruled == "test" else ""
        if control and verdict and verdict.label == "negative" and shipped.entry.method.role == "transfer":
            shipped, because, by = control, f"the verdict is negative{words}", overruled
        single = next((found for rival in self.rivals if (found := self._single(rival)) is not None), None)
        if single is not None and shipped is not single:
            against = next((each.verdict for each in comparisons if each.method == shipped.name), None)
            if against is None:  # a closed form or a control: it too must not be worse than the single network
                against = self.verdict(shipped, single, column)
                comparisons.append(Comparison(shipped.name, single.name, against, column))
            if against.label == "negative":
                together = "learning this target together with the others harmed it"
                what = together if shipped.entry.method.shares else f"{shipped.name} did worse"
                shipped, because, by = single, f"{what}{words}", overruled
        lines = [
            replace(rival.entry.candidate(), validation=rival.validation.get(column), test=rival.test.get(column))
            for rival in self.rivals
        ]
        chosen = None if transfer is None else transfer.name
        return TargetOutcome(column, lines, chosen, shipped.name, because, by, verdict), shipped, comparisons

    def _best(self, column: str, role: str | None) -> Rival | None:
        """The best validation score of a role on this target; the first of equals."""
        known = [rival for rival in self.rivals if role is None or rival.entry.method.role == role]
        return max(known, key=lambda rival: rival.validation.get(column, -np.inf)) if known else None

    def _single(self, rival: Rival) -> Rival | None:
        """The same training for each target alone, of a rival that shares."""
        other = rival.entry.method.ablation()
        return None if other is None else next((each for each in self.rivals if each.name == other.name), None)

    # --- all of them -------------------------------------------------------------------------------------------

    def outcome(self, others: Sequence[Entry] = ()) -> Evaluation:
        """Every target decided, and the model that serves them all."""
        found = {column: self.target(column) for column in self.task.parts}
        ships = {column: rival for column, (_, rival, _) in found.items()}
        shipped = self._shipped(ships)
        entries = [rival.entry for rival in self.rivals] + ([shipped] if isinstance(shipped, Mixed) else [])
        ranked = {role: _best_mean(self.rivals, role) for role in ("transfer", "control")}
        transfer, control = ranked["transfer"], ranked["control"]
        results = [result for result, _, _ in found.values()]
        by = "test" if any(result.shipped_by == "test" for result in results) else "validation"
        return Evaluation(
            [*entries, *others], transfer.entry if transfer else None, control.entry if control else None, shipped,
            "; ".join(f"{each.column}: {each.shipped}, {each.because}" for each in results),
            self.verdict(transfer, control, None) if transfer and control else None,
            None, self.rows, shipped.outputs, self.targets, self.values, shipped_by=by,
            comparisons=[each for _, _, comparisons in found.values() for each in comparisons], by_target=results,
        )  # fmt: skip

    def _shipped(self, ships: dict[str, Rival]) -> Entry:
        distinct = {id(rival): rival for rival in ships.values()}
        if len(distinct) == 1:
            return next(iter(ships.values())).entry
        models = {column: model_of(rival.entry.fitted, column) for column, rival in ships.items()}
        first = next((r for r in distinct.values() if r.entry.method.role == "transfer"), next(iter(distinct.values())))
        bundle = Bundle(first.entry.method, self.task, models)
        outputs = np.concatenate(
            [self.task.outputs_for(column, rival.entry.outputs) for column, rival in ships.items()], axis=1
        )
        validation = [rival.validation[column] for column, rival in ships.items() if column in rival.validation]
        entry = Mixed(
            first.entry.method, bundle, float(np.mean(validation)) if validation else None, 0.0, outputs=outputs,
            names=tuple((column, rival.name) for column, rival in ships.items()),
        )  # fmt: skip
        if self.procedure == BOOTSTRAP:
            entry.test = self.task.score(outputs, self.targets)
        return entry


def evaluate(problem: Problem, parts: Split, methods: Sequence[Method]) -> Evaluation:
    """Run the contest. methods: as for one target; those that do not share are fitted for each target by itself."""
    assert isinstance(problem.task, Several)
    singles = [other for method in methods if (other := method.ablation()) is not None]
    if not any(method.shares and method.role == "transfer" for method in methods):
        problem.notes.append("Each target has a model of its own; --method multitask learns them together as well.")
    known = {method.name for method in methods}
    ordered = [*(single for single in singles if single.name not in known), *methods]  # single networks first
    lifted = [separately(method, problem.task) for method in ordered]
    problem = problem.replace(options={**problem.options, "out_of_fold": False})  # only learning curves read these
    return _by_holdout(problem, parts, lifted) if parts.procedure == "holdout" else _by_folds(problem, parts, lifted)


def _by_holdout(problem: Problem, parts: Split, methods: Sequence[Method]) -> Evaluation:
    task, valid, labelled = problem.task, problem.valid, parts.labelled()
    assert isinstance(task, Several)
    rivals: list[Rival] = []
    left = _networks(methods, task)
    for method in methods:
        if not affordable(problem, method, methods):
            continue
        started, count = time.monotonic(), _networks([method], task)
        fitted = method.fit(of_networks(problem, count, left))
        left -= count
        scores = {}
        if valid is not None:
            scores = task.scores(fitted.outputs(valid.without("target")), task.encode(valid.targets()))
        if valid is not None and not late(problem):
            fitted = method.refitted(fitted, problem.replace(train=labelled, valid=None)) or fitted
        outputs = fitted.outputs(parts.test)
        mean = float(np.mean(list(scores.values()))) if scores else None
        entry = Entry(method, fitted, mean, time.monotonic() - started, outputs=outputs)
        rivals.append(Rival(entry, scores, {}))
    contest = Contest(problem, rivals, parts.test, parts.sealed.open([rival.name for rival in rivals]), BOOTSTRAP)
    for rival in rivals:
        rival.test = task.scores(rival.entry.outputs, contest.targets)
        rival.entry.test = float(np.mean(list(rival.test.values())))
    return contest.outcome()


def _by_folds(problem: Problem, parts: Split, methods: Sequence[Method]) -> Evaluation:
    task, rows = problem.task, parts.labelled()
    assert isinstance(task, Several)
    methods = [method for method in methods if affordable(problem, method, methods)]
    gradient = any(method.gradients and method.role == "transfer" for method in methods)
    values = rows.targets()
    pairs = repeated_folds(
        len(rows), task.strata(values), together(rows), time=time_order(rows), folds=5,
        repeats=1 if gradient else 4, seed=problem.seed,
    )  # fmt: skip
    pairs = parts.judging(pairs)
    left, final = _networks(methods, task) * (len(pairs) + 1), {}
    for method in methods:
        count = _networks([method], task)
        whole = problem if method.gradients else problem.replace(train=rows, valid=None)
        started = time.monotonic()
        fitted = method.fit(of_networks(whole, count, left))
        final[method.name] = fitted, time.monotonic() - started
        left -= count
    folded = evaluation.worth_folding(problem, methods, final, task)
    left = _networks(folded, task) * len(pairs)
    rivals = []
    for method in folded:
        fitted, seconds = final[method.name]
        started = time.monotonic()
        outputs, scores = _fold(problem, method, rows, pairs, left)
        left -= _networks([method], task) * len(pairs)
        entry = Entry(method, fitted, float(scores.mean()), seconds + time.monotonic() - started, outputs=outputs)
        rivals.append(Rival(entry, dict(zip(task.parts, scores.mean(axis=0).tolist())), {}, scores))
    tested = np.unique(np.concatenate([test for _, test in pairs]))
    for rival in rivals:
        rival.entry.outputs = take(rival.entry.outputs, tested)
    test_rows = float(np.mean([len(test) for _, test in pairs]))
    contest = Contest(
        problem, rivals, rows.select(tested.tolist()), [values[row] for row in tested], KFOLD, test_rows,
        len(rows) - test_rows,
    )  # fmt: skip
    others = [_unfolded(problem, method, *final[method.name]) for method in methods if method not in folded]
    return contest.outcome(others)


def _unfolded(problem: Problem, method: Method, fitted: Fitted, seconds: float) -> Entry:
    """A control that was not folded, with its score on the validation part."""
    return Entry(method, fitted, evaluation.on_validation(problem, fitted), seconds)


def _fold(
    problem: Problem, method: Method, rows: Dataset, pairs: Sequence[tuple[Any, Any]], left: int
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold outputs [N,C] of all rows (of the first repeat), and the scores [J,K] of each fold and target."""
    task = problem.task
    assert isinstance(task, Several)
    outputs = np.full((len(rows), task.width), np.nan)
    targets, scores, count = task.encode(rows.targets()), [], _networks([method], task)
    for number, (train, test) in enumerate(pairs):
        part = evaluation.fold_part(problem, method, rows, train, number)
        found = method.fit(of_networks(part, count, left - number * count)).outputs(
            rows.select(test.tolist()).without("target")
        )
        scores.append(list(task.scores(found, targets[test]).values()))
        fresh = np.isnan(outputs[test, 0])
        outputs[test[fresh]] = found[fresh]
        problem.report(f"cross-validation of {method.name}", number + 1, len(pairs))
    return np.nan_to_num(outputs), np.asarray(scores)


# --- time and scores -----------------------------------------------------------------------------------------------


def _networks(methods: Sequence[Method], task: Several) -> int:
    """How many networks these methods train: one, or one for each target."""
    trained = [method for method in methods if method.gradients]
    return sum(len(task.parts) if isinstance(method, Separately) else 1 for method in trained)


def _best_mean(rivals: Sequence[Rival], role: str) -> Rival | None:
    """The rival of this role with the best mean validation score; the first of equals."""
    known = [rival for rival in rivals if rival.entry.method.role == role]
    return max(known, key=lambda rival: np.mean(list(rival.validation.values()) or [-np.inf])) if known else None
