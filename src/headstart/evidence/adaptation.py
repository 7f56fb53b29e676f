"""What an adaptation was worth: against the labelled domain's head as it is, on labels that are read once.

- Where the target domain has labels: scores, and the verdict of the adaptation against source-only on the same rows.
- With several labelled domains, each in turn is the target of the others, whose labels are known: an estimate without
  a single label of the target domain.
- The oracle gap: what a head that knows the labels of the target domain reaches, out of fold, on the same features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.datasets.base import Dataset
from headstart.evidence.splits import Sealed
from headstart.evidence.verdict import BOOTSTRAP, decide, paired_bootstrap
from headstart.methods.adaptation import AdaptedFitted, codes, inputs, own_rows
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.ensemble import EnsembleFitted
from headstart.methods.network import NetworkFitted
from headstart.nn.heads import choose
from headstart.tasks.base import Array, Targets, Task
from headstart.types import Json, Verdict

LEAST = 20  # labelled rows of a domain that is left out
MOST_DOMAINS = 8  # domains that are left out in turn


@dataclass
class Judged:
    """scores: headline metric by model. rows: that judge. values: their labels themselves, outputs: of what ships,
    targets: encoded.
    """

    scores: dict[str, float] = field(default_factory=dict)
    verdict: Verdict | None = None
    outputs: Any = None
    targets: Targets | None = None
    values: list[Any] = field(default_factory=list)
    rows: Dataset | None = None


def judge(
    task: Task, models: Sequence[Fitted], rows: Dataset, sealed: Sealed | None, seed: int = 0, ships: int = 0
) -> Judged:
    """Score the models, of which the first adapts and the last is the control; all are fixed by now.

    ships: the place of the one that ships.

    Raises TaskError HS-TASK-002 for a label of the target domain that the labelled domain does not have.
    """
    if sealed is None:
        return Judged()
    outputs = [model.outputs(rows) for model in models]
    values = sealed.open([model.method.name for model in models])
    targets = task.encode(values)
    found = Judged(outputs=outputs[ships], targets=targets, values=values, rows=rows)
    found.scores = {model.method.name: task.score(each, targets) for model, each in zip(models, outputs)}
    if len(models) > 1:
        one, other = (task.statistics(each, targets) for each in (outputs[0], outputs[-1]))
        gap = paired_bootstrap(one, other, task.combine, seed=seed)
        found.verdict = decide(gap, models[-1].method.name, BOOTSTRAP, len(rows))
    return found


def oracle(task: Task, model: Fitted, rows: Dataset, targets: Targets, seed: int = 0) -> float | None:
    """The out-of-fold score of a head on the target rows' own labels, on the features that the model reads."""
    X = features(model, rows)
    if X is None:
        return None
    head = choose(task, X, targets, seed=seed).fit(task, X, targets, seed=seed)
    return None if head.outside is None else task.score(head.outside, targets)


def features(model: Fitted, rows: Dataset) -> Array | None:
    """What feeds the head of a model, [N,D]; of a mean of models the first one's. None where there is no such thing."""
    if isinstance(model, EnsembleFitted):
        return features(model.models[0], rows)
    if isinstance(model, NetworkFitted):
        return model.extractor.matrix(rows, model.outputs_used)
    return model.reader.matrix(rows) if isinstance(model, AdaptedFitted) else None


def left_out(method: Method, control: Method, problem: Problem, report: Callable[[str, int, int], None]) -> list[Json]:
    """Each labelled domain as the target of the others: {"domain", "rows", name of the method, name of the control}.

    A few labelled rows of the target domain take no part, and a method that needs such rows is not judged so.
    """
    if "few" in method.needs:
        return []
    if problem.own is not None:
        others = np.flatnonzero(~own_rows(problem.train, problem.own))
        problem = problem.replace(train=problem.train.select(others.tolist()), own=None)
    domain, found = codes(problem.train), []
    if domain is None:
        return []
    columns = problem.train.with_role("domain")
    values = problem.train.values(columns[0].name)
    numbers, sizes = np.unique(domain, return_counts=True)
    numbers = numbers[np.argsort(-sizes, kind="stable")][:MOST_DOMAINS]
    for done, number in enumerate(numbers):
        report("other domains", done, len(numbers))
        theirs, ours = np.flatnonzero(domain == number), np.flatnonzero(domain != number)
        if min(len(theirs), len(ours)) < LEAST:
            continue
        rows, rest = problem.train.select(theirs.tolist()), problem.train.select(ours.tolist())
        task = problem.task
        goal = inputs(rows)
        part = problem.replace(train=rest, domain=goal, notes=[], report=lambda stage, done, total: None)
        line: Json = {"domain": str(values[int(theirs[0])]), "rows": len(rows)}
        for each in (method, control):
            line[each.name] = task.score(each.fit(part).outputs(goal), task.encode(rows.targets()))
        found.append(line)
    return found
