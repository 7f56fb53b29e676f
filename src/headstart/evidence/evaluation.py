"""Fit the candidates, choose on validation, and compare on rows that took no part in any choice.

Two procedures, one result. *Holdout*: methods are fitted on train and scored on validation; the best transfer and the
best control meet on the sealed test rows, opened once. *Cross-validation*, for small data: the same contest on every
fold of repeated K-fold, and the interval of Nadeau and Bengio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from headstart.datasets.base import Dataset
from headstart.evidence import curves
from headstart.evidence.allowance import affordable, before_folds, late, limited, of_fold, takes_time
from headstart.evidence.entries import Entry, Evaluation
from headstart.evidence.folds import repeated_folds
from headstart.evidence.learners import Pool, learner_of, take
from headstart.evidence.learning import LEAST, SHARE, Curves, Track, Way
from headstart.evidence.matching import Matching
from headstart.evidence.splits import Split, group_ids, time_order
from headstart.evidence.twins import together
from headstart.evidence.verdict import BOOTSTRAP, KFOLD, corrected_kfold, decide, paired_bootstrap
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.selection import FEW, out_of_fold
from headstart.tasks.base import SEVERAL, Targets, Task
from headstart.types import Comparison, Interval, Outputs, metric_name


def evaluate(problem: Problem, parts: Split, methods: Sequence[Method], effort: str, spent: float = 0.0) -> Evaluation:
    """Run the contest. ``problem`` has train and validation rows of ``parts``; ``methods`` transfers and controls.

    spent: seconds that this fit took until here (its features), of which the learning curves may cost a share.
    """
    if problem.task.name == SEVERAL:
        from headstart.evidence import several

        return several.evaluate(problem, parts, methods)
    run = _by_holdout if parts.procedure == "holdout" else _by_folds
    return run(problem, parts, with_ablations(methods), effort, spent)


def with_ablations(methods: Sequence[Method]) -> list[Method]:
    """The methods, and what each of them is compared with besides the controls."""
    known = {method.name for method in methods}
    rest = {other.name: other for method in methods if (other := method.ablation()) is not None}
    return [*methods, *(other for name, other in rest.items() if name not in known)]


def _comparisons(
    entries: Sequence[Entry], between: Callable[[str, str], Interval], procedure: str, rows: int,
    pair: tuple[Entry | None, Entry | None],
) -> list[Comparison]:  # fmt: skip
    """The verdict on each method against its ablation, but for the pair of the main verdict. between: the interval of
    the difference of two entries.
    """
    said = [entry.name for entry in pair if entry is not None]
    names = {entry.name for entry in entries}
    found = []
    for entry in entries:
        other = entry.method.ablation()
        if other is not None and other.name in names and [entry.name, other.name] != said:
            verdict = decide(between(entry.name, other.name), other.name, procedure, rows)
            found.append(Comparison(entry.name, other.name, verdict))
    return found


# --- holdout ---------------------------------------------------------------------------------------------------


def _by_holdout(problem: Problem, parts: Split, methods: Sequence[Method], effort: str, spent: float) -> Evaluation:
    task, seconds = problem.task, 0.0
    labelled = parts.labelled()
    searches = any(method.name == "auto" for method in methods) or task.needs == "items"
    alone = len(methods) == 1 and not methods[0].gradients
    few = len(labelled) < FEW if searches else alone
    if few and task.independent:  # chosen by cross-validation, or nothing to choose: all are labels
        problem = problem.replace(train=labelled, valid=None)
    if not any(method.role == "control" for method in methods):  # no learning curves, which alone read these
        problem = problem.replace(options={**problem.options, "out_of_fold": False})
    entries = _fit_all(problem, methods, effort)
    for entry in entries:
        if problem.valid is not None and not late(problem):  # cheap on all labels
            entry.fitted, again = _timed(partial(_on_all, entry.method, entry.fitted, problem, labelled))
            entry.seconds += again
        entry.outputs = entry.fitted.outputs(parts.test)
    transfer, control = _best(entries, "transfer"), _best(entries, "control")
    measured = None
    if transfer and control and task.independent:
        known, unseen = np.arange(len(labelled)), len(labelled) + np.arange(len(parts.test))
        pool = Pool(labelled, parts.test, task.encode(labelled.targets()))
        full = [transfer.outputs], [control.outputs]
        measured, seconds = _measure(problem, entries, (transfer, control), pool, [(known, unseen)], full, spent)

    values = parts.sealed.open([entry.name for entry in entries])
    targets = task.encode(values)
    statistics = {entry.name: task.statistics(entry.outputs, targets) for entry in entries}
    for entry in entries:
        entry.test = float(task.combine(statistics[entry.name].sum(axis=0)))
    verdict = start = matched = None
    groups = group_ids(parts.test)
    if transfer and control:
        a, b = statistics[transfer.name], statistics[control.name]
        interval = paired_bootstrap(a, b, task.combine, groups=groups, seed=problem.seed)
        verdict = decide(interval, control.name, BOOTSTRAP, len(targets))
    if measured is not None:
        start = measured.head_start([targets], [np.arange(len(targets))], len(targets), groups)
        matched = measured.matched
    comparisons = _comparisons(
        entries,
        lambda one, other: paired_bootstrap(
            statistics[one], statistics[other], task.combine, groups=groups, seed=problem.seed
        ),
        BOOTSTRAP, len(targets), (transfer, control),
    )  # fmt: skip
    shipped = _best(entries, None)
    assert shipped is not None
    because, by = f"best {metric_name(task.metric)} on validation", "validation"
    if len(entries) == 1:
        because = "the only candidate"
    if verdict and control and shipped.method.role == "transfer" and verdict.label == "negative":
        shipped, because, by = control, "the test verdict is negative; the test rows took part in this choice", "test"
    return Evaluation(
        entries, transfer, control, shipped, because, verdict, start, parts.test, shipped.outputs, targets, values,
        curve_seconds=seconds, shipped_by=by, comparisons=comparisons, matched=matched,
    )  # fmt: skip


def _fit_all(problem: Problem, methods: Sequence[Method], effort: str) -> list[Entry]:
    """Fit every method on train and score it on validation; scratch gets at least the time of the transfers."""
    entries: list[Entry] = []
    valid = problem.valid
    targets = problem.task.encode(valid.targets()) if valid is not None else None
    for method in methods:
        if not affordable(problem, method, methods):
            continue
        spent = sum(entry.seconds for entry in entries if entry.method.role == "transfer")
        fitted, seconds = _timed(partial(method.fit, limited(problem, method, spent, effort)))
        if valid is not None:
            score: float | None = problem.task.score(fitted.outputs(valid), targets)
        else:
            score = _cross_validated(problem, method, fitted, effort) if len(methods) > 1 else None
        entries.append(Entry(fitted.method if fitted.tried else method, fitted, score, seconds))
    return entries


def _cross_validated(problem: Problem, method: Method, fitted: Fitted, effort: str) -> float:
    """The score out of fold on the training rows, where there is no validation part."""
    if fitted.tried:
        own = [each.validation for each in fitted.tried if each.name == fitted.method.name]
        return max(score for score in own if score is not None)
    outputs = out_of_fold(method, limited(problem, method, 0.0, effort), 3 if method.gradients else 5)
    return problem.task.score(outputs, problem.task.encode(problem.train.targets()))


def _on_all(method: Method, fitted: Fitted, problem: Problem, rows: Dataset) -> Fitted:
    """The fit once more on all labelled rows, where that trains no network; else the one there is."""
    again = method.refitted(fitted, problem.replace(train=rows, valid=None))
    if again is None:
        return fitted
    again.tried = fitted.tried
    return again


def _best(entries: Sequence[Entry], role: str | None) -> Entry | None:
    """The best validation score of a role; the first of equals."""
    chosen = [entry for entry in entries if role is None or entry.method.role == role]
    return max(chosen, key=lambda e: -np.inf if e.validation is None else e.validation) if chosen else None


# --- cross-validation ------------------------------------------------------------------------------------------


def _by_folds(problem: Problem, parts: Split, methods: Sequence[Method], effort: str, spent: float) -> Evaluation:
    task, rows, seconds = problem.task, parts.labelled(), 0.0
    values = rows.targets()
    targets = task.encode(values)
    groups = together(rows)
    methods = [method for method in methods if affordable(problem, method, methods)]
    final = {
        method.name: _timed(
            partial(method.fit, before_folds(limited(_whole(problem, method, rows), method, 0.0, effort), method))
        )
        for method in methods
    }
    gradient = any(final[method.name][0].method.gradients for method in methods if method.role == "transfer")
    pairs = repeated_folds(
        len(rows), task.strata(values), groups, time=time_order(rows), folds=5, repeats=1 if gradient else 4,
        seed=problem.seed,
    )  # fmt: skip
    pairs = parts.judging(pairs)
    entries, scores, others = [], {}, []
    folded = worth_folding(problem, methods, final, task)
    for number, method in enumerate(folded):
        fitted, fit_seconds = final[method.name]
        shown = fitted.method if fitted.tried else method
        settled = method.settled(fitted)
        later = len(pairs) * sum(map(takes_time, folded[number + 1 :]))
        outputs, per_fold, fold_seconds = _fold(problem, settled, rows, targets, pairs, effort, later)
        if method.gradients:
            fitted = _on_all(method, fitted, problem, rows)
        entries.append(Entry(shown, fitted, float(np.mean(per_fold)), fit_seconds + fold_seconds, outputs=outputs))
        scores[shown.name] = np.array(per_fold)
    for method in methods:
        fitted, fit_seconds = final[method.name]
        if (fitted.method if fitted.tried else method).name not in scores:
            others.append(Entry(method, fitted, on_validation(problem, fitted), fit_seconds))
    transfer, control = _best(entries, "transfer"), _best(entries, "control")
    verdict = start = matched = None
    test_rows = float(np.mean([len(test) for _, test in pairs]))
    if transfer and control:
        interval = corrected_kfold(scores[transfer.name] - scores[control.name], test_rows, len(rows) - test_rows)
        verdict = decide(interval, control.name, KFOLD, len(rows))
        first = pairs[: max(1, len(pairs) // (1 if gradient else 4))]
        full = _tested(transfer.outputs, first), _tested(control.outputs, first)
        pool = Pool(rows, None, targets)
        measured, seconds = _measure(problem, entries, (transfer, control), pool, first, full, spent)
        tested = [test for _, test in first]
        start = measured.head_start([take(targets, test) for test in tested], tested, len(rows), groups)
        matched = measured.matched
    comparisons = _comparisons(
        entries, lambda one, other: corrected_kfold(scores[one] - scores[other], test_rows, len(rows) - test_rows),
        KFOLD, len(rows), (transfer, control),
    )  # fmt: skip
    shipped = _best(entries, None)
    assert shipped is not None
    because = f"best {metric_name(task.metric)} in cross-validation"
    if verdict and control and verdict.label == "negative":
        shipped, because = control, "the verdict is negative"
    everything = np.unique(np.concatenate([test for _, test in pairs]))
    return Evaluation(
        [*entries, *others], transfer, control, shipped, because, verdict, start, rows.select(everything.tolist()),
        take(shipped.outputs, everything), take(targets, everything), [values[i] for i in everything],
        curve_seconds=seconds, comparisons=comparisons, matched=matched,
    )  # fmt: skip


def _whole(problem: Problem, method: Method, rows: Dataset) -> Problem:
    return problem if method.gradients else problem.replace(train=rows, valid=None)


def worth_folding(problem: Problem, methods: Sequence[Method], final: dict[str, Any], task: Task) -> list[Method]:
    """Every method but scratch, which is folded as well only where it beats the baseline on the validation rows.

    What another method is compared with (`Method.ablation`) is folded with it.
    """
    compared = {other.name for method in methods if (other := method.ablation()) is not None}
    kept = [m for m in methods if not (m.gradients and m.role == "control") or m.name in compared]
    rest = [method for method in methods if method not in kept]
    for method in rest:
        baseline = next((m for m in kept if m.role == "control"), None)
        if baseline is None or problem.valid is None:
            kept.append(method)
            continue
        score = on_validation(problem, final[method.name][0])
        rival = on_validation(problem, baseline.fit(problem))
        if score is not None and rival is not None and score > rival:
            kept.append(method)
        else:
            problem.notes.append(f"{method.name} was no better than {baseline.name} on validation, and was not folded.")
    return kept


def on_validation(problem: Problem, fitted: Fitted) -> float | None:
    """The headline metric on the validation part, or None without one."""
    if problem.valid is None:
        return None
    return problem.task.score(fitted.outputs(problem.valid), problem.task.encode(problem.valid.targets()))


def fold_part(problem: Problem, method: Method, rows: Dataset, train: np.ndarray, number: int) -> Problem:
    """The problem of one fold; what trains by gradient gets a seventh of its rows to stop by."""
    inner, valid = train, None
    if method.gradients:
        order = np.random.default_rng([problem.seed, number]).permutation(train)
        inner, valid = order[len(order) // 7 :], rows.select(order[: len(order) // 7].tolist())
    return problem.replace(
        train=rows.select(inner.tolist()), valid=valid, folder=None, report=lambda stage, done, total: None,
        options={**problem.options, "drift": False}, notes=[],
    )  # fmt: skip


def _fold(
    problem: Problem,
    method: Method,
    rows: Dataset,
    targets: Targets,
    pairs: Sequence[tuple[Any, Any]],
    effort: str,
    later: int,
) -> tuple[Outputs, list[float], float]:
    """Out-of-fold outputs of all rows (of the first repeat), the score on each fold, and the seconds.

    later: how many fits that take time other methods are still to make.
    """
    started = time.monotonic()
    outputs: list[Any] = [None] * len(rows)
    scores = []
    for number, (train, test) in enumerate(pairs):
        part = fold_part(problem, method, rows, train, number)
        fitted = method.fit(of_fold(part, method, len(pairs) - number + later, effort))
        if method.gradients:  # a head without gradients has no use for a validation part
            fitted = _on_all(method, fitted, part, rows.select(train.tolist()))
        got = fitted.outputs(rows.select(test.tolist()).without("target"))
        scores.append(problem.task.score(got, take(targets, test)))
        for at, value in zip(test, got):
            if outputs[at] is None:
                outputs[at] = value
        problem.report(f"cross-validation of {method.name}", number + 1, len(pairs))
    shape = next(value for value in outputs if value is not None)
    filled = [np.zeros_like(shape) if value is None else value for value in outputs]
    whole = filled if isinstance(targets, list) else np.stack(filled)
    return whole, scores, time.monotonic() - started


# --- learning curves -------------------------------------------------------------------------------------------


def _measure(
    problem: Problem,
    entries: Sequence[Entry],
    pair: tuple[Entry, Entry],
    pool: Pool,
    ways: Sequence[Way],
    full: Any,
    spent: float,
) -> tuple[Curves | Matching, float]:
    """Measure the learning curves of the transfer and the control, and the seconds that took.

    A transfer that reads no label is measured by `Matching` instead.
    full: outputs with all labels on the test rows of each way, of both. spent: seconds of the fit before the contest.
    A fine-tuned transfer is stood for by the probe at the smaller sizes, where the plan would have probed: the head
    start is then a lower bound on what fine-tuning at every size would show.
    """
    started = time.monotonic()
    spent += sum(entry.seconds for entry in pair)
    if "labels" not in pair[0].method.needs:
        probe = learner_of(problem, pool, _probe(problem, entries, pool.labelled))
        inside = pair[0].fitted.outputs(pool.labelled.without("target"))
        matching = Matching(problem, pool, ways, full[0], inside, probe, pair[0].name, max(LEAST, SHARE * spent))
        matching.run()
        return matching, time.monotonic() - started
    tracks = []
    for entry, outputs in zip(pair, full, strict=True):
        name, fitted = entry.name, entry.fitted
        trains = entry.method.gradients and entry.method.role == "transfer"
        if trains and problem.source is not None and problem.task.needs != "items":
            name, fitted = f"probe, {name} at the last size", _probe(problem, entries, pool.labelled)
        limit, sizes = None, None
        if fitted.method.gradients:  # trained anew at every size, as long as the full fit took for as many rows
            limit = partial(_share, entry.seconds / max(1, len(ways)), len(pool.labelled), problem.deadline)
            sizes = curves.sizes(min(len(train) for train, _ in ways))[:-1:2]
        inside = getattr(fitted, "cv_outputs", None)
        if inside is not None and len(inside) != len(pool.labelled):
            inside = None
        tracks.append(Track(name, learner_of(problem, pool, fitted, limit), outputs, inside, sizes))
    found = Curves(
        problem.task, pool, ways, (tracks[0], tracks[1]), seed=problem.seed, seconds=spent, deadline=problem.deadline,
        begun=started,
        report=problem.report,
    )  # fmt: skip
    found.run()
    return found, time.monotonic() - started


def _probe(problem: Problem, entries: Sequence[Entry], labelled: Dataset) -> Fitted:
    """The probe of the contest, or one fitted now where there is none."""
    from headstart import catalog

    known = next((entry.fitted for entry in entries if entry.name == "probe"), None)
    return known or catalog.find("methods", "probe")().fit(problem.replace(train=labelled, valid=None))


def _share(seconds: float, rows: int, deadline: float | None, part: int) -> float:
    """The seconds that ``part`` rows may train: their share of what all rows took, and a second at least."""
    left = np.inf if deadline is None else deadline - time.monotonic()
    return float(max(1.0, min(seconds * part / rows, left)))


# --- small things ----------------------------------------------------------------------------------------------


def _tested(outputs: Outputs, pairs: Sequence[tuple[Any, Any]]) -> list[Outputs]:
    return [take(outputs, test) for _, test in pairs]


def _timed(run: Callable[[], Fitted]) -> tuple[Fitted, float]:
    started = time.monotonic()
    return run(), time.monotonic() - started
