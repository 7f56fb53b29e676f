"""What a run for another domain leaves to be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from headstart.adapting import reading
from headstart.evidence.adaptation import Judged
from headstart.methods.base import Fitted, Problem
from headstart.record import Clock, confusion, data_facts, machine, mistakes, residuals, task_facts, versions
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.types import Candidate, Json, Record


def recorded(
    two: reading.Two, task: Task, source: Source | None, models: Sequence[Fitted], judged: Judged, told: Json,
    problem: Problem, extractor: Extractor | None, clock: Clock, folder: Path, facts: str,
    ships: int = 0,
) -> Record:  # fmt: skip
    """The record; ``validation`` of a candidate is its out-of-fold score on the labelled domain.

    models: the first adapts, the last is the control. ships: the place of the one that ships.
    """
    rejects = two.labelled.rejects
    candidates = []
    for model in models:
        outside = getattr(model, "cv_outputs", None)
        inside = None if outside is None else task.score(outside, task.encode(two.labelled.targets()))
        method = model.method
        candidates.append(
            Candidate(
                method.name, method.role, model.description, inside, judged.scores.get(method.name),
                clock.seconds[method.name], method.hyperparameters(),
            )
        )  # fmt: skip
    known = [each.name for each in candidates]
    candidates += [each for each in models[0].tried if each.name not in known]
    labelled, adapting, shipped = judged.targets is not None, models[0], models[ships]
    prediction = task.decode(judged.outputs) if labelled else None
    return Record(
        name=folder.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command="",
        data=data_facts(two.labelled, rejects, facts)
        | {
            "splits": {**({} if two.run else {"labelled": len(two.labelled)}), "to adapt to": len(two.target)},
            "procedure": "domains",
            "moved": 0,
        },
        task=task_facts(task, next((c.name for c in two.columns if c.role == "target"), "")),
        source=source.card.to_json() if source is not None else {},
        candidates=candidates,
        chosen_transfer=adapting.method.name if adapting.method.role == "transfer" else None,
        shipped=shipped.method.name,
        shipped_because=told["because"] or f"{shipped.method.name} was asked for",
        metrics=task.metrics(judged.outputs, judged.targets) if labelled else {},
        verdict=judged.verdict,
        head_start=None,
        trained=shipped.trained(),
        history=[],
        confusion=confusion(task, prediction, judged.values) if prediction else None,
        residuals=residuals(task, prediction, judged.values) if prediction else None,
        mistakes=mistakes(task, judged.rows or two.target, prediction, judged.values) if prediction else [],
        rejects=[vars(reject) for reject in list(rejects)[:200]],
        notes=list(dict.fromkeys([*problem.notes, *(extractor.notes if extractor else [])])),
        seconds={stage: round(value, 2) for stage, value in clock.seconds.items()},
        versions=versions(),
        machine=machine(extractor),
        seed=problem.seed,
        folder=str(folder),
        adaptation=told,
    )
