"""The verb for two domains: labels in one, none in the other, a model for the other.

    headstart adapt dresses.csv trousers.csv --target recommended
    headstart adapt reviews.csv --domain department --to trousers --target recommended

Reading -> features -> the method and its control, source-only -> what unlabelled rows say -> scores -> artefact. What
ships is fixed before a label of the target domain is read; a test tries to reach them. Where the evidence for a shift
is thin, ``auto`` ships source-only and says so.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart import artefact, catalog
from headstart.adapting import reading
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.errors import UsageError
from headstart.evidence import domains as seen
from headstart.evidence.adaptation import Judged, judge, left_out, oracle
from headstart.methods.adaptation import AdaptedFitted, own_rows
from headstart.methods.base import Fitted, Method, Problem, make
from headstart.record import Clock, confusion, data_facts, machine, mistakes, residuals, shown, task_facts, versions
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.trust import trusting
from headstart.tasks.base import Task, infer_task
from headstart.transfer import choose_source, claim, finished, workspace
from headstart.types import Candidate, Json, Record

CONTROL, TARGET_ONLY = "sourceonly", "targetonly"


def adapt(
    data: Any,
    to: Any = None,
    *,
    target: str | None = None,
    domain: str | None = None,
    value: str | None = None,
    source: str | Source = "auto",
    method: str = "auto",
    input: str | Sequence[str] | None = None,
    task: str | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    fresh: bool = False,
    score_labels: bool = False,
    use_labels: bool = False,
    trust_remote_code: str | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> Artefact:
    """A model for the rows of ``to``, which need no labels, from the labelled rows of ``data``.

    data: as `headstart.fit` reads it. to: the rows of the target domain, with the same input columns; or None, and
    ``domain`` names a column of ``data`` and ``value`` the domain in it that counts as the target. Other values of
    that column are labelled domains of their own. method: one that adapts (see ``headstart methods``), or ``auto``,
    which decides by unlabelled rows alone (`headstart.methods.adapt`). score_labels: where the target domain has
    labels, also what a head that knew them would reach (the oracle gap). use_labels: rows of the target domain that
    have a label, while others have none, join the labelled rows, for every method; `tradaboost` tells them from the
    others. The rest as in `headstart.fit`.

    Labels of the target domain, where there are any, are read once, after all models are fixed, for the score; with
    ``use_labels`` there is none.

    Returns an `Artefact`. Raises UsageError HS-USAGE-001 where it is not said what to adapt to or the method does not
    adapt, MethodError HS-METHOD-003 for a task or source that it cannot do, and what `headstart.fit` raises.
    """
    report = report or (lambda stage, done, total: None)
    clock, how = Clock(), _named(method, settings or {})
    two = reading.two(
        data, to, target=target, domain=domain, value=value, input=input, roles=roles, kinds=kinds, limit=limit,
        use_labels=use_labels,
    )  # fmt: skip
    learned = infer_task(two.labelled, task)
    with trusting(trust_remote_code):
        chosen = choose_source(two.labelled, source)
    how.admit(learned, chosen, two.labelled, ["domain"] if two.own is None else ["domain", "few"])
    clock.lap("reading")
    folder = claim(out, two.labelled.origin)
    facts = _request(two, learned, chosen, how, seed, precision, score_labels)
    if not fresh and (done := finished(folder, facts)) is not None:
        return done
    work = workspace(folder)
    extractor = None if chosen is None else Extractor(chosen, precision=precision, backend=backend, report=report)
    problem = Problem(
        two.labelled, None, learned, chosen, extractor, seed=seed, folder=work, report=report, domain=two.target,
        options={"precision": precision}, own=two.own,
    )  # fmt: skip
    if extractor is not None:
        for rows in (two.labelled, two.target):
            extractor.ensure(rows.without("target"), how.outputs_read(extractor, learned))
        clock.lap("features")
    models: list[Fitted] = []
    controls = [_control(how, name) for name in ([CONTROL] if two.own is None else [TARGET_ONLY, CONTROL])]
    for each in [how, *(control for control in controls if control.name != how.name)]:
        models.append(each.fit(problem))
        clock.lap(each.name)
    told = _told(problem, models[0], report)
    told["several"] = left_out(how, _control(how), problem, report) if how.name != CONTROL else []
    clock.lap("evidence")
    judged = judge(learned, models, two.target, two.sealed, seed)
    if score_labels and judged.targets is not None:
        told["oracle"] = oracle(learned, models[0], judged.targets, seed)
    clock.lap("scores")
    written = _record(two, learned, chosen, models, judged, told, problem, extractor, clock, folder, facts)
    named = [input] if isinstance(input, str) else list(input or ())
    written.command = _command(two, to, domain, value, named, written, how, seed)
    columns = [column for column in two.labelled.columns if column.role in ("input", "target")]
    result = Artefact(models[0], written, columns, folder)
    artefact.save(result, two.labelled.rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


def _named(method: str, settings: Mapping[str, Any]) -> Method:
    """The method by its name. Raises UsageError HS-USAGE-001 for one that does not adapt to a domain."""
    found = catalog.find("methods", "adapt" if method == "auto" else method)
    if "domain" not in found.needs:
        known = [name for name in catalog.names("methods") if "domain" in catalog.find("methods", name).needs]
        raise UsageError(
            "HS-USAGE-001", f"{method} does not adapt to another domain.", f"Those that do: {', '.join(known)}."
        )
    return make(found, dict(settings))


def _control(how: Method, name: str = CONTROL) -> Method:
    """The control with the kind of head that the method has."""
    head = how.hyperparameters().get("head")
    return make(catalog.find("methods", name), {} if head is None else {"head": head})


def _told(problem: Problem, model: Fitted, report: Callable[[str, int, int], None]) -> Json:
    """What the record says of the domains; see `Record.adaptation`."""
    assert problem.domain is not None
    last = model.history[-1] if model.history else {}
    found: Json = {
        "rows": _sizes(problem),
        "because": last.get("because", ""),
        "chosen": last.get("chosen", model.method.name),
        "explanations": last.get("explanations", []),
        "shares": last.get("shares"),
    }
    if not isinstance(model, AdaptedFitted) or model.domains is None or model.aligned is None:
        return found
    report("distances", 0, 1)
    X, target = model.domains.X, model.domains.target
    found["distances"] = seen.distances(X, target, problem.seed)
    found["columns"] = seen.columns(model.reader, X, target)
    found["picture"] = seen.picture(model.domains, model.aligned)
    ours, theirs = seen.typical(X, target, problem.seed)
    found["typical"] = {"labelled": _shown(problem.train, ours), "target": _shown(problem.domain, theirs)}
    report("distances", 1, 1)
    return found


def _sizes(problem: Problem) -> Json:
    """Rows of each kind; ``few`` of the labelled ones are of the target domain."""
    assert problem.domain is not None
    found = {"labelled": len(problem.train), "target": len(problem.domain)}
    return found if problem.own is None else found | {"few": int(own_rows(problem.train, problem.own).sum())}


def _shown(rows: Dataset, places: Sequence[int]) -> list[Json]:
    found = []
    for place, sample in zip(places, rows.samples(list(places))):
        text, picture = shown(sample)
        found.append({"row": rows.numbers[place], "text": text, "thumbnail": picture})
    return found


def _record(
    two: reading.Two, task: Task, source: Source | None, models: Sequence[Fitted], judged: Judged, told: Json,
    problem: Problem, extractor: Extractor | None, clock: Clock, folder: Path, facts: str,
) -> Record:  # fmt: skip
    """The record; ``validation`` of a candidate is its out-of-fold score on the labelled domain."""
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
    labelled, shipped = judged.targets is not None, models[0]
    prediction = task.decode(judged.outputs) if labelled else None
    return Record(
        name=folder.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command="",
        data=data_facts(two.labelled, rejects, facts)
        | {
            "splits": {"labelled": len(two.labelled), "to adapt to": len(two.target)},
            "procedure": "domains",
            "moved": 0,
        },
        task=task_facts(task, two.labelled.target.name if two.labelled.target else ""),
        source=source.card.to_json() if source is not None else {},
        candidates=candidates,
        chosen_transfer=shipped.method.name if shipped.method.role == "transfer" else None,
        shipped=shipped.method.name,
        shipped_because=told["because"] or f"{shipped.method.name} was asked for",
        metrics=task.metrics(judged.outputs, judged.targets) if labelled else {},
        verdict=judged.verdict,
        head_start=None,
        trained=shipped.trained(),
        history=[],
        confusion=confusion(task, prediction, judged.values) if prediction else None,
        residuals=residuals(task, prediction, judged.values) if prediction else None,
        mistakes=mistakes(task, two.target, prediction, judged.values) if prediction else [],
        rejects=[vars(reject) for reject in list(rejects)[:200]],
        notes=list(dict.fromkeys([*problem.notes, *(extractor.notes if extractor else [])])),
        seconds={stage: round(value, 2) for stage, value in clock.seconds.items()},
        versions=versions(),
        machine=machine(extractor),
        seed=problem.seed,
        folder=str(folder),
        adaptation=told,
    )


def _request(two: reading.Two, task: Task, source: Source | None, method: Method, *choices: Any) -> str:
    """A digest of all that determines the result; the labels of the target domain are no part of it."""
    from headstart import __version__

    labelled = two.labelled
    return key(
        {
            "rows": key({"rows": labelled.fingerprints(), "targets": [str(value) for value in labelled.targets()]}),
            "target": key({"rows": two.target.fingerprints(), "sealed": two.sealed is not None}),
            "roles": [
                str(labelled.values(c.name)) for c in labelled.columns if c.role in ("domain", "group", "weight")
            ],
            "task": task.to_json(),
            "source": [source.card.digest, source.settings()] if source is not None else None,
            "method": [method.name, method.hyperparameters()],
            "choices": [str(choice) for choice in choices],
            "own": two.own,
            "version": __version__,
        }
    )


def _command(
    two: reading.Two,
    to: Any,
    domain: str | None,
    value: str | None,
    inputs: Sequence[str],
    record: Record,
    how: Method,
    seed: int,
) -> str:
    """A command line that does this again."""
    parts = ["headstart", "adapt", two.labelled.origin or "DATA"]
    parts += [str(getattr(to, "origin", to)) or "TARGET"] if to is not None else []
    parts += ["--domain", domain] if domain else []
    parts += ["--to", value] if value else []
    parts += ["--use-labels"] if two.own is not None else []
    parts += [word for name in inputs for word in ("--input", name)]
    parts += ["--target", record.task["target"], "--method", how.name, "--seed", str(seed), "--out", record.folder]
    return shlex.join(parts)
