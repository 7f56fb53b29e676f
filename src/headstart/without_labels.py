"""The verb without a single label: rows and the names of the labels in, a model that predicts out.

    headstart fit photos/ --labels "animal,vehicle,food"

There is nothing to test on, so there is no score, no control and no verdict, and the run says so. What can be said
without labels is said: how many rows get each label, how sure the model is, how often its sentences agree, the surest
rows of each label for a person to look at; and how many rows to label to know the accuracy.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import artefact, catalog, plan
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.datasets.base import Column, Dataset
from headstart.datasets.read import read
from headstart.errors import MethodError, UsageError
from headstart.methods.base import LACKS, Method, Problem, make
from headstart.nn import prompts
from headstart.plan import Wanted
from headstart.record import Clock, data_facts, machine, shown, task_facts, versions
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.trust import trusting
from headstart.tasks.base import Task
from headstart.transfer import choose_source, claim, finished, further, workspace
from headstart.types import Candidate, Json, Prediction, Record

COLUMN = "label"
"""The column in which `headstart evaluate` looks for true labels of such a run."""

EXAMPLES = 3
"""Surest rows of each label that the record shows."""

TO_LABEL = 100
"""Rows that are to be labelled by hand for an accuracy within 10 points, at 95 %."""


def applies(labels: Any, target: Any, method: str) -> bool:
    """Whether a fit is one without labels: the labels are named, no column is, and the method reads none."""
    if labels is None or target is not None:
        return False
    return method == "auto" or "labels" not in catalog.find("methods", method).needs


def fit(data: Any, labels: Any, unlabelled: Any, asked: Wanted) -> Any:
    """A model that tells the named labels apart. labels: as `headstart.nn.prompts.parse` reads them.

    Returns an `Artefact`, or a `Plan` with ``dry_run``. Raises UsageError HS-USAGE-001 for fewer than two labels,
    MethodError HS-METHOD-003 where the method or the source cannot do it, and what `read` raises.
    """
    clock = Clock()
    named = prompts.parse(labels)
    if len(named) < 2:
        raise UsageError("HS-USAGE-001", f"there is one label, {next(iter(named), '')!r}.", "Name two or more.")
    given = data if isinstance(data, Dataset) else read(
        data, input=asked.input, kinds=asked.kinds, limit=asked.limit, for_prediction=True
    )  # fmt: skip
    rows = given.without("target")
    task = catalog.find("tasks", "classification")(list(named))
    with trusting(asked.trust_remote_code):
        chosen = choose_source(rows, asked.source)
    extra = None if unlabelled is None else further(unlabelled, rows)
    how = make(
        catalog.find("methods", "zeroshot" if asked.method == "auto" else asked.method),
        {**(asked.settings or {}), "labels": prompts.canonical(labels)},
    )
    how.admit(task, chosen, rows, [] if extra is None else ["unlabelled"])
    clock.lap("reading")
    if asked.dry_run:
        return plan.dry_run(rows, task, chosen, [how], asked.seed)
    if chosen is None:
        what, hint = LACKS["source"]
        raise MethodError("HS-METHOD-003", f"{how.name} needs {what}.", hint)
    folder = claim(asked.out, given.origin)
    facts = _request(rows, extra, chosen, how, asked.seed, asked.precision)
    if not asked.fresh and (done := finished(folder, facts)) is not None:
        return done
    work = workspace(folder)
    extractor = Extractor(chosen, precision=asked.precision, backend=asked.backend, report=asked.report)
    problem = Problem(
        rows, None, task, chosen, extractor, seed=asked.seed, folder=work, report=asked.report,
        options={"precision": asked.precision}, unlabelled=extra,
    )  # fmt: skip
    fitted = how.fit(problem)
    clock.lap(how.name)
    prediction = fitted.predict(rows)
    clock.lap("prediction")
    details = {**how.hyperparameters(), **(fitted.history[-1] if fitted.history else {})}
    candidate = Candidate(how.name, "transfer", fitted.description, None, None, clock.seconds[how.name], details)
    written = _record(
        rows, task, chosen, candidate, prediction, folder, asked.seed, facts, extractor,
        rejects=given.rejects, seconds=clock.seconds, notes=[*problem.notes, *extractor.notes],
        command=asked.command([given], out=folder),
    )  # fmt: skip
    written.trained = fitted.trained()
    columns = [*(column for column in rows.columns if column.role == "input"), Column(COLUMN, "target", "category")]
    result = Artefact(fitted, written, columns, folder)
    artefact.save(result, given.rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


def labelling(rows: Dataset, task: Task, prediction: Prediction, details: Json) -> Json:
    """What a run without labels can say of itself; see `Record.labelling`."""
    sure = np.asarray(prediction.confidence)
    said = np.array([task.classes.index(value) for value in prediction.values])
    labels = []
    for number, label in enumerate(task.classes):
        mine = np.flatnonzero(said == number)
        surest = mine[np.argsort(-sure[mine], kind="stable")[:EXAMPLES]]
        examples = []
        for at in surest.tolist():
            text, picture = shown(rows.samples([at])[0])
            examples.append(
                {"row": rows.numbers[at], "text": text, "thumbnail": picture, "confidence": float(sure[at])}
            )
        labels.append(
            {
                "label": str(label),
                "share": len(mine) / len(rows),
                "confidence": float(sure[mine].mean()) if len(mine) else None,
                "examples": examples,
            }
        )
    return {
        "labels": labels,
        "confidence": float(sure.mean()),
        "unsure": float((sure < 0.5).mean()),
        "agreement": details.get("agreement"),
        "own": details.get("own classes"),
        "to_label": TO_LABEL,
        "column": COLUMN,
    }


def _record(
    rows: Dataset, task: Task, source: Source, candidate: Candidate, prediction: Prediction, folder: Path, seed: int,
    facts: str, extractor: Extractor, *, rejects: Sequence[Any], seconds: dict[str, float], notes: Sequence[str],
    command: str,
) -> Record:  # fmt: skip
    return Record(
        name=folder.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=command,
        data=data_facts(rows, rejects, facts) | {"splits": {}, "procedure": "none", "moved": 0},
        task=task_facts(task, COLUMN),
        source=source.card.to_json(),
        candidates=[candidate],
        chosen_transfer=candidate.name,
        shipped=candidate.name,
        shipped_because="there are no labels, so nothing else could be fitted or compared",
        metrics={},
        verdict=None,
        head_start=None,
        trained=[],
        history=[],
        confusion=None,
        residuals=None,
        mistakes=[],
        rejects=[vars(reject) for reject in list(rejects)[:200]],
        notes=list(dict.fromkeys(notes)),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        versions=versions(),
        machine=machine(extractor),
        seed=seed,
        folder=str(folder),
        labelling=labelling(rows, task, prediction, candidate.hyperparameters),
    )


def _request(rows: Dataset, extra: Dataset | None, source: Source, method: Method, seed: int, precision: str) -> str:
    """A digest of all that determines the result."""
    from headstart import __version__

    parts = {
        "rows": key({"rows": rows.fingerprints()}),
        "unlabelled": None if extra is None else key({"rows": extra.fingerprints()}),
        "source": [source.card.digest, source.settings()],
        "method": [method.name, method.hyperparameters()],
        "choices": [seed, precision],
        "version": __version__,
    }
    return key(parts)
