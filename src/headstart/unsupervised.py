"""The verb for what is not learned from labels, which only tell, where there are any, what it was worth.

    headstart fit machines.csv --task anomalies --series machine --step time --target is_anomaly

The source, through its method, and the controls are fitted on the inputs of all rows. Where a target was named its
values are sealed until all models are fixed, and tell once how good each of them is: the metric of the transfer against
that of every control, the interval by a bootstrap over rows (whole series). The verdict is on the transfer against the
control that these labels show to be the best, which favours the control. Without labels there is no score and no
verdict, and the transfer ships; a control ships only where labels showed it to be better, and the record says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import artefact, catalog, plan
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.datasets import points
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.errors import UsageError
from headstart.evidence.controls import detectors
from headstart.evidence.splits import Sealed
from headstart.evidence.verdict import BOOTSTRAP, decide, paired_bootstrap
from headstart.methods.base import Fitted, Method, Problem, admits, make
from headstart.methods.detection import RULE
from headstart.nn.range_metrics import events
from headstart.plan import Wanted
from headstart.record import Clock, data_facts, drawn_series, machine, task_facts, told_series, versions
from headstart.sources.base import Source
from headstart.sources.trust import trusting
from headstart.tasks.base import Task
from headstart.transfer import choose_source, claim, finished, workspace
from headstart.types import Candidate, Comparison, Json, Outputs, Record, Verdict

USUAL = ("forecast_residuals", "nearest")
"""What ``--method auto`` stands for with a source: the first that it can do, so residuals where it forecasts."""

LEAST = 6
"""Labelled series with an anomaly from which an interval says something."""

SHOWN, STRANGEST = 24, 3
"""Series that the record shows, and stretches of each."""


def refuse(task: str, **options: Any) -> None:
    """Raise UsageError HS-USAGE-001 where options that say nothing to such a task are given."""
    if said := [f"--{name}" for name, value in options.items() if value is not None]:
        raise UsageError("HS-USAGE-001", f"{', '.join(said)} says nothing to the task {task}.", "Leave it out.")


def fit(data: Any, task: str, target: str | Sequence[str] | None, asked: Wanted) -> Any:
    """A model that scores every step of a series.

    Returns an `Artefact`, or a `Plan` with ``dry_run``. Raises MethodError HS-METHOD-003 where the method cannot do it,
    TaskError HS-TASK-002 where labels do not fit the series, and what `read` raises.
    """
    clock = Clock()
    seconds = plan.budget_seconds(asked.budget, asked.effort)
    kind = catalog.find("tasks", task)
    named = [target] if isinstance(target, str) else list(target or ())
    given = data if isinstance(data, Dataset) else read(
        data, target=named, input=asked.input, roles=asked.roles, kinds=asked.kinds, limit=asked.limit,
        for_prediction=not named, **kind().reading,
    )  # fmt: skip
    learned: Task = kind.learn(given)
    rows = given.without("target")
    with trusting(asked.trust_remote_code):
        chosen, method = choose_source(rows, asked.source), asked.method
    if method == "auto" and chosen is not None:
        able = [name for name in USUAL if admits(catalog.find("methods", name)(), learned, chosen, rows)]
        method = able[0] if able else method
    methods = _methods(chosen, method, dict(asked.settings or {}), asked.control)
    for each in methods:
        each.admit(learned, chosen, rows)
    clock.lap("reading")
    if asked.dry_run:
        return plan.dry_run(rows, learned, chosen, methods[:1], asked.seed)
    folder = claim(asked.out, given.origin)
    choices = [task, asked.seed, asked.precision, asked.backend, asked.control, asked.budget, asked.effort]
    facts = _request(given, chosen, methods, choices)
    if not asked.fresh and (done := finished(folder, facts)) is not None:
        return done
    work, sealed = workspace(folder), Sealed(given) if given.target is not None else None
    problem = Problem(
        rows, None, learned, chosen, None, seed=asked.seed, folder=work, report=asked.report,
        options={"precision": asked.precision, "backend": asked.backend},
        deadline=None if seconds is None else clock.begun + seconds,
    )  # fmt: skip
    if chosen is None:
        problem.notes.append(
            f"There is no pretrained source for {rows.modality} on the shelf: a control is all there is."
        )
    fitted: dict[str, Fitted] = {}
    for each in methods:
        left = problem.seconds_left
        if fitted and left is not None and left < 0:
            problem.notes.append(f"{each.name} was left out: the budget was spent.")
            continue
        fitted[each.name] = each.fit(problem)
        clock.lap(each.name)
    outputs = {name: model.outputs(rows) for name, model in fitted.items()}
    clock.lap("scores")
    usual = f"it is the usual one {'without a' if chosen is None else 'with such a'} source"
    why = usual if asked.method == "auto" else "it was asked for"
    found = judged(learned, methods, outputs, sealed, asked.seed, why)
    written = _record(
        given, learned, chosen, methods, fitted, outputs, found, folder, asked.seed, facts, clock.seconds,
        [*given.notes, *problem.notes, *found.notes], command=asked.command([given], out=folder),
    )  # fmt: skip
    result = Artefact(fitted[found.shipped], written, [c for c in given.columns if c.role != "unused"], folder)
    artefact.save(result, given.rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


def _methods(source: Source | None, method: str, settings: Json, control: bool) -> list[Method]:
    """The one that is asked for first, then the controls. Raises MethodError HS-METHOD-001 and -002."""
    if method == "auto":
        return detectors(None)
    first: Method = make(catalog.find("methods", method), settings)
    return [first, *(each for each in detectors(source, first) if control and each.name != first.name)]


# --- what labels tell ------------------------------------------------------------------------------------------------


class Judged:
    """What the labels said. scores: of every model, or nothing. metrics: of what ships."""

    def __init__(self, shipped: str, because: str) -> None:
        self.shipped, self.because, self.by = shipped, because, "validation"
        self.scores: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.verdict: Verdict | None = None
        self.comparisons: list[Comparison] = []
        self.notes: list[str] = []
        self.targets: list[np.ndarray] | None = None


def judged(
    task: Task, methods: Sequence[Method], outputs: Mapping[str, Outputs], sealed: Sealed | None, seed: int, why: str
) -> Judged:
    """Open the labels once and compare the first method with every control. why: it is the first."""
    roles = {method.name: method.role for method in methods}
    first = next(iter(outputs))
    found = Judged(first, f"{why}; nothing is chosen by labels")
    if sealed is None:
        found.because = f"{why}; there are no labels, so nothing could be compared"
        return found
    found.targets = task.encode(sealed.open(list(outputs)))
    statistics = {name: task.statistics(each, found.targets) for name, each in outputs.items()}
    labelled = int(statistics[first][:, 0].sum())
    if labelled:
        found.scores = {name: float(task.combine(each.sum(axis=0))) for name, each in statistics.items()}
    controls = [name for name in outputs if roles[name] == "control"]
    if roles[first] == "transfer" and controls and labelled >= LEAST:
        rows = statistics[first][:, 0] > 0
        for name in sorted(controls, key=lambda name: -found.scores[name]):
            interval = paired_bootstrap(statistics[first][rows], statistics[name][rows], task.combine, seed=seed)
            found.comparisons.append(Comparison(first, name, decide(interval, name, BOOTSTRAP, labelled)))
        found.verdict = found.comparisons.pop(0).verdict
        if found.verdict.label == "negative":
            found.shipped, found.by = found.verdict.control, "test"
            found.because = "the verdict is negative; the labels took part in this choice"
    elif roles[first] == "transfer" and controls:
        found.notes.append(
            f"{labelled} series with a labelled anomaly: under {LEAST} there is no interval, and so no verdict."
        )
    found.metrics = task.metrics(outputs[found.shipped], found.targets) if labelled else {}
    return found


# --- the record ------------------------------------------------------------------------------------------------------


def _record(
    rows: Dataset, task: Task, source: Source | None, methods: Sequence[Method], fitted: Mapping[str, Fitted],
    outputs: Mapping[str, Outputs], found: Judged, folder: Path, seed: int, facts: str, seconds: Mapping[str, float],
    notes: Sequence[str], *, command: str,
) -> Record:  # fmt: skip
    model = fitted[found.shipped]
    candidates = [
        Candidate(
            each.name, each.role, fitted[each.name].description, None, found.scores.get(each.name),
            seconds.get(each.name, 0.0), {**each.hyperparameters(), **fitted[each.name].history[-1]},
        )
        for each in methods if each.name in fitted
    ]  # fmt: skip
    transfer = next((each.name for each in candidates if each.role == "transfer"), None)
    return Record(
        name=folder.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=command,
        data=data_facts(rows, rows.rejects, facts) | {"splits": {}, "procedure": "none", "moved": 0},
        task=task_facts(task, rows.target.name if rows.target is not None else ""),
        source=source.card.to_json() if source is not None else {},
        candidates=candidates,
        chosen_transfer=transfer,
        shipped=found.shipped,
        shipped_because=found.because,
        shipped_by=found.by,
        metrics=found.metrics,
        verdict=found.verdict,
        head_start=None,
        comparisons=found.comparisons,
        trained=model.trained(),
        history=[],
        confusion=None,
        residuals=None,
        mistakes=[],
        rejects=[vars(reject) for reject in list(rows.rejects)[:200]],
        notes=list(dict.fromkeys(notes)),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        versions=versions(),
        machine=machine(None),
        seed=seed,
        folder=str(folder),
        anomalies=flagged(rows, outputs[found.shipped], found.targets),
    )


def flagged(rows: Dataset, outputs: Outputs, targets: Sequence[np.ndarray] | None) -> Json:
    """What the model says of the series of the fit: the rule, the share of steps flagged, the strangest stretches."""
    scores = [np.ravel(each) for each in outputs]
    order = sorted(range(len(scores)), key=lambda row: -float(scores[row].max()))[:SHOWN]
    samples = dict(zip(order, rows.samples(order)))
    found, steps = points.named(rows), points.stamped(rows)
    names = found[1] if found is not None else [str(row) for row in rows.numbers] if len(rows) > 1 else [""]
    stamps = None if steps is None else steps[1]
    shown = []
    for row in order:
        stretches = sorted(events(scores[row] > 1), key=lambda ends: -float(scores[row][slice(*ends)].max()))
        at = stamps[row] if stamps is not None else [str(step + 1) for step in range(len(scores[row]))]
        shown.append({
            "name": str(names[row]), "text": told_series(samples[row]),
            "picture": drawn_series(samples[row], scores[row] > 1, None if targets is None else targets[row]),
            "flagged": int((scores[row] > 1).sum()), "steps": len(scores[row]), "stretches": len(stretches),
            "strangest": [
                {"first": at[first], "last": at[after - 1], "score": float(scores[row][first:after].max())}
                for first, after in stretches[:STRANGEST]
            ],
        })  # fmt: skip
    every = np.concatenate(scores)
    return {
        "rule": RULE, "steps": len(every), "flagged": int((every > 1).sum()), "series": shown, "count": len(scores),
        "labelled": None if targets is None else sum(bool(each.any()) for each in targets),
    }  # fmt: skip


def _request(rows: Dataset, source: Source | None, methods: Sequence[Method], choices: Sequence[Any]) -> str:
    """A digest of all that determines the result."""
    from headstart import __version__

    targets = [str(value) for value in rows.targets()] if rows.target is not None else None
    parts = {
        "rows": key({"rows": rows.fingerprints(), "targets": targets}),
        "columns": [vars(column) for column in rows.columns],
        "source": None if source is None else [source.card.digest, source.settings()],
        "methods": [[method.name, method.hyperparameters()] for method in methods],
        "choices": [str(choice) for choice in choices],
        "version": __version__,
    }
    return key(parts)
