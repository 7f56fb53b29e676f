"""The verb for two domains: labels in one, none in the other, a model for the other.

    headstart adapt dresses.csv trousers.csv --target recommended
    headstart adapt reviews.csv --domain department --to trousers --target recommended
    headstart adapt runs/dresses trousers.csv        # no labelled row at all: `headstart.adapting.from_run`

Reading -> features -> the method and its control, source-only -> what unlabelled rows say -> scores -> artefact. What
ships is fixed before a label of the target domain is read; a test tries to reach them. Where the evidence for a shift
is thin, ``auto`` ships source-only and says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import artefact, catalog, plan
from headstart.adapting import from_run, reading
from headstart.adapting.recording import recorded
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.errors import UsageError
from headstart.evidence import domains as seen
from headstart.evidence.adaptation import features, judge, left_out, oracle
from headstart.evidence.contamination import copies
from headstart.methods.adaptation import AdaptedFitted, own_rows
from headstart.methods.base import Fitted, Method, Need, Problem, make
from headstart.record import Clock, shown
from headstart.reproduce import command_line
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.image import decode
from headstart.sources.trust import trusting
from headstart.tasks.base import Array, Task, check_independent, infer_task
from headstart.transfer import choose_source, claim, finished, workspace
from headstart.types import Json

CONTROL, TARGET_ONLY, GLYPH = "sourceonly", "targetonly", "glyph"

SMALL, LOOKED_AT = 48, 20
"""Pixels of an edge up to which a picture is small, and how many pictures of each domain are looked at."""


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
    align: Mapping[str, str] | None = None,
    dry_run: bool = False,
    trust_remote_code: str | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> Any:
    """A model for the rows of ``to``, which need no labels, from the labelled rows of ``data``, or from a run.

    data: as `headstart.fit` reads it, or the folder of a run, whose model goes on to ``to`` while no other row is read
    (`headstart.adapting.from_run`; the run says what is predicted from which columns). to: the rows of the target
    domain, with the same input columns; or None, and ``domain`` names a column of ``data`` and ``value`` the domain in
    it that counts as the target. Other values of that column are labelled domains of their own. method: one that adapts
    (see ``headstart methods``), or ``auto``, which decides by unlabelled rows alone (`headstart.methods.adapt`; of a
    run it is ``shot``). score_labels: where the target domain has labels, also what a head that knew them would reach
    (the oracle gap). use_labels: rows of the target domain that have a label, while others have none, join the labelled
    rows, for every method; `tradaboost` tells them from the others. align: of two tables, column of ``data`` -> that of
    ``to``, or empty for none, over what is found (`headstart.adapting.aligning`); the model reads the names of ``to``.
    The rest as in `headstart.fit`.

    Labels of the target domain, where there are any, are read once, after all models are fixed, for the score; with
    ``use_labels`` there is none. Rows of the target domain that stand among the labelled rows as well are adapted to,
    and judge nothing (`headstart.evidence.contamination.copies`).

    Returns an `Artefact`, or a `Plan` with ``dry_run``. Raises UsageError HS-USAGE-001 where it is not said what to
    adapt to or the method does not adapt, TaskError HS-TASK-002 for forecasts, MethodError HS-METHOD-003 for a task or
    source that it cannot do, and what `headstart.fit` raises.
    """
    report = report or (lambda stage, done, total: None)
    if reading.is_run(data):
        return from_run.adapt(
            data, to, method=method, seed=seed, out=out, settings=settings, limit=limit, precision=precision,
            fresh=fresh, report=report, fixed={
                "target": target, "domain": domain, "value": value, "input": input, "task": task, "roles": roles,
                "kinds": kinds, "source": source != "auto", "backend": backend != "auto", "score_labels": score_labels,
                "align": align, "dry_run": dry_run,
            },
        )  # fmt: skip
    from_run.refuse_labels(method, data)
    clock = Clock()
    _adapts(method)
    check_independent(task, *reading.OF_FORECASTS)
    two = reading.two(
        data, to, target=target, domain=domain, value=value, input=input, roles=roles, kinds=kinds, limit=limit,
        use_labels=use_labels, align=align,
    )  # fmt: skip
    learned = infer_task(two.labelled, task)
    check_independent(learned, *reading.OF_FORECASTS)
    with trusting(trust_remote_code):
        wanted = GLYPH if source == "auto" and signs(two) else source
        chosen = choose_source(two.labelled, wanted, align if to is None else None)
    how = _named(method, settings or {}, chosen)
    given: list[Need] = ["domain", "unlabelled"]
    how.admit(learned, chosen, two.labelled, given if two.own is None else [*given, "few"])
    clock.lap("reading")
    controls = [_control(how)] if how.role != "control" else []
    if two.own is not None and how.name != TARGET_ONLY:
        controls.insert(0, _control(how, TARGET_ONLY))
    if dry_run:
        return plan.dry_run(two.labelled, learned, chosen, [how, *controls], seed)
    folder = claim(out, two.labelled.origin)
    facts = _request(two, learned, chosen, how, seed, precision, score_labels)
    if not fresh and (done := finished(folder, facts)) is not None:
        return done
    work = workspace(folder)
    extractor = None if chosen is None else Extractor(chosen, precision=precision, backend=backend, report=report)
    problem = Problem(
        two.labelled, None, learned, chosen, extractor, seed=seed, folder=work, report=report, domain=two.target,
        unlabelled=two.target,
        options={"precision": precision}, own=two.own, notes=list(two.labelled.notes),
    )  # fmt: skip
    if extractor is not None and (read := how.outputs_read(extractor, learned)):
        for rows in (two.labelled, two.target):
            extractor.ensure(rows.without("target"), read)
        clock.lap("features")
    models: list[Fitted] = []
    for each in [how, *controls]:
        beside = models[0].control if models and each is controls[-1] else None
        models.append(beside or each.fit(problem))
        clock.lap(each.name)
    told = _told(problem, models, report)
    told["several"] = left_out(how, _control(how), problem, report) if how.role != "control" else []
    clock.lap("evidence")
    rows, sealed = two.target, two.sealed
    if sealed is not None:
        known, notes = copies(two.labelled.without("target"), two.target)
        problem.notes += notes
        if known.any():
            rows, sealed = rows.select(np.flatnonzero(~known).tolist()), sealed.release(known)[1]
    judged = judge(learned, models, rows, sealed, seed)
    if score_labels and judged.targets is not None:
        told["oracle"] = oracle(learned, models[0], rows, judged.targets, seed)
    clock.lap("scores")
    written = recorded(two, learned, chosen, models, judged, told, problem, extractor, clock, folder, facts)
    written.command = command_line(
        "adapt", [two.labelled, to], target=target or written.task["target"], domain=domain, value=value, input=input,
        roles=roles, kinds=kinds, task=task, source=source, method=how.name, settings=settings, align=align,
        use_labels=use_labels, score_labels=score_labels, limit=limit, precision=precision, backend=backend,
        trust_remote_code=trust_remote_code, seed=seed, out=folder,
    )  # fmt: skip
    columns = [column for column in two.labelled.columns if column.role in ("input", "target")]
    result = Artefact(models[0], written, columns, folder)
    artefact.save(result, two.labelled.rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


def signs(two: reading.Two) -> bool:
    """Whether the pictures of both domains are small and grey: digits, letters. Judged by the first `LOOKED_AT`."""
    if two.labelled.modality != "image":
        return False
    pictures = [
        decode(each) for rows in (two.labelled, two.target) for each in rows.samples(range(LOOKED_AT)[: len(rows)])
    ]
    small = max(max(each.size) for each in pictures) <= SMALL
    return small and all(np.ptp(np.asarray(each, np.int16), axis=2).max() == 0 for each in pictures)


def _named(method: str, settings: Mapping[str, Any], source: Source | None) -> Method:
    """The method by its name; ``auto`` chooses among features, or where they mean nothing yet among networks."""
    by_itself = "adapt" if source is None or source.pretrained else "deepadapt"
    return make(catalog.find("methods", by_itself if method == "auto" else method), dict(settings))


def _adapts(method: str) -> None:
    """Raise UsageError HS-USAGE-001 for a method that does not adapt to a domain."""
    if method != "auto" and not _looks(method):
        known = [name for name in catalog.names("methods") if _looks(name)]
        raise UsageError(
            "HS-USAGE-001", f"{method} does not adapt to another domain.", f"Those that do: {', '.join(known)}."
        )


def _looks(name: str) -> bool:
    """Whether a method looks at the rows of the target domain, as such or as rows without labels."""
    found = catalog.find("methods", name)
    given = {*found.needs, *found.uses} & {"domain", "unlabelled"}
    return bool(given) and name != "auto" and "labels" in found.needs


def _control(how: Method, name: str = "") -> Method:
    """The method without its own idea, or a control by name with the kind of head that the method has."""
    if not name and (plain := how.ablation()) is not None:
        return plain
    head = how.hyperparameters().get("head")
    return make(catalog.find("methods", name or CONTROL), {} if head is None else {"head": head})


def _told(problem: Problem, models: Sequence[Fitted], report: Callable[[str, int, int], None]) -> Json:
    """What the record says of the domains; see `Record.adaptation`."""
    assert problem.domain is not None
    model = models[0]
    last = model.history[-1] if model.history else {}
    found: Json = {
        "rows": _sizes(problem),
        "because": last.get("because", ""),
        "chosen": last.get("chosen", model.method.name),
        "explanations": last.get("explanations", []),
        "compared": last.get("compared", []),
        "shares": last.get("shares"),
    }
    report("distances", 0, 1)
    if isinstance(model, AdaptedFitted) and model.domains is not None and model.aligned is not None:
        X, target = model.domains.X, model.domains.target
        found["columns"] = seen.columns(model.reader, X, target)
        found["picture"] = seen.picture(model.domains, model.aligned)
    else:
        before, after = (_features(each, problem) for each in (models[-1], model))
        if before is None or after is None:
            return found
        X, target = before
        found["picture"] = seen.networks(before, after, problem.seed)
    found["distances"] = seen.distances(X, target, problem.seed)
    ours, theirs = seen.typical(X, target, problem.seed)
    found["typical"] = {"labelled": _shown(problem.train, ours), "target": _shown(problem.domain, theirs)}
    report("distances", 1, 1)
    return found


def _features(model: Fitted, problem: Problem) -> tuple[Array, Array] | None:
    """What feeds the head of a network, of labelled and target rows; None where the model has no such features."""
    assert problem.domain is not None
    ours, theirs = (features(model, rows) for rows in (problem.train.without("target"), problem.domain))
    return None if ours is None or theirs is None else (ours, theirs)


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
