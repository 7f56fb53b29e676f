"""The verb: read, split, fit, verdict, save. Read this and you know the program.

    path -> Dataset -> Task -> Source -> Split -> candidates (transfers and controls) -> Evaluation -> Artefact

Everything before the evaluation looks at inputs and training targets only; the test targets are sealed until every
model is fixed (evidence/splits.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from headstart import artefact, catalog, plan
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.disk import write_error
from headstart.errors import ArtefactError, DataError, UsageError
from headstart.evidence.contamination import uncontaminated
from headstart.evidence.controls import controls
from headstart.evidence.evaluation import evaluate
from headstart.evidence.splits import split
from headstart.evidence.twins import without_twins
from headstart.methods.base import Method, Need, Problem
from headstart.nn.prompts import canonical
from headstart.plan import Effort, Wanted
from headstart.ranking import auto
from headstart.ranking.measure import open_for
from headstart.record import Clock, record
from headstart.reproduce import command_line, spelled
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.trust import trusting
from headstart.tasks.base import Task, check_options, infer_task

SAME_ROWS = "All rows are cross-validated, those that ranked the sources too; name a source to keep the two apart."

ROLES = ("domain", "group", "time", "split", "weight", "known", "feature")
"""Columns besides input and target whose values a result depends on."""

Report = Callable[[str, int, int], None]


def fit(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    source: str | Source = "auto",
    method: str = "auto",
    input: str | Sequence[str] | None = None,
    task: str | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    horizon: int | None = None,
    season: int | None = None,
    budget: str | float | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    out: str | Path | None = None,
    control: bool = True,
    dry_run: bool = False,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    fresh: bool = False,
    trust_remote_code: str | None = None,
    unlabelled: Any = None,
    labels: Any = None,
    items: Any = None,
    users: Any = None,
    align: Mapping[str, str] | None = None,
    report: Report | None = None,
) -> Any:
    """Adapt a pretrained source to labelled data, and measure what the transfer was worth.

    data: a file, a folder, a DataFrame, a dict of lists or a `Dataset`. target, input, roles, kinds, horizon, season,
    limit: see `headstart.read`; several targets are learned together where that helps. source: a shelf name, ``hf:``,
    ``timm:``, ``torchvision:``, a folder, a `Source`. method: the name of a file in methods/, or ``auto``. budget:
    seconds, or ``90s``, ``10m``, ``2h``. settings: hyperparameters of the method. backend: what runs the frozen
    network, a file of backends/. out: the folder of the run, ``runs/<name>`` by default; the same fit again returns
    what is there, unless ``fresh``. trust_remote_code: the one ``hf:`` repository whose own Python code may run.
    unlabelled: further rows with the same input columns, for the methods that use such (see ``headstart methods``);
    a target column in them is not read, and rows that are among the labelled ones are left out. labels: what the labels
    mean, for methods that read words (names, or label -> description, or a file of them); without a target the rows are
    told apart by these alone (`headstart.without_labels`). task: the name of a file in tasks/; one that learns nothing
    from labels needs no target (`headstart.unsupervised`). items, users: of interactions (roles ``user`` and ``item``)
    tables of what is known of each item and of each user. align: of a source that knows columns by name, its column ->
    the one here, or empty for none, over what is found (`headstart.sources.schema_matching`).

    Returns an `Artefact`, or a `Plan` with ``dry_run``. Raises `HeadstartError` for all that the user can mend.
    """
    report = report or (lambda stage, done, total: None)
    again = partial(
        command_line, "fit", target=target, labels=labels, input=input, roles=roles, kinds=kinds, items=items,
        users=users, task=task, source=source, method=method, settings=settings, unlabelled=unlabelled, effort=effort,
        budget=budget, control=control, limit=limit, precision=precision, backend=backend,
        trust_remote_code=trust_remote_code, align=align, horizon=horizon, season=season, seed=seed,
    )  # fmt: skip
    asked = Wanted(
        source, method, input, roles, kinds, budget, effort, seed, out, control, dry_run, settings, limit, precision,
        backend, fresh, trust_remote_code, report, again,
    )  # fmt: skip
    if task is not None and catalog.find("tasks", task).unsupervised:
        from headstart import unsupervised

        unsupervised.refuse(
            task, horizon=horizon, season=season, unlabelled=unlabelled, labels=labels, items=items, users=users
        )
        return unsupervised.fit(data, task, target, asked)
    if labels is not None:
        from headstart import without_labels

        if without_labels.applies(labels, target, method):
            return without_labels.fit(data, labels, unlabelled, asked)
        settings = {**(settings or {}), "labels": canonical(labels)}
    clock = Clock()
    seconds = plan.budget_seconds(budget, effort)
    if backend != "auto":
        catalog.find("backends", backend)
    check_options(task, horizon=horizon if not isinstance(data, Dataset) else 0)
    given = data if isinstance(data, Dataset) else read(
        data, target=target, input=input, roles=roles, kinds=kinds, limit=limit, horizon=horizon, season=season,
        items=items, users=users,
    )  # fmt: skip
    rejects = given.rejects
    dataset = given if target is None or given.windows else given.aim(target)
    learned = infer_task(dataset, task)
    dataset.weights()  # bad ones are refused now, not after the features
    extra = None if unlabelled is None else further(unlabelled, dataset)
    with trusting(trust_remote_code):
        usual = learned.source if source == "auto" else None
        chosen = choose_source(dataset, usual or source, align)
    ranked_ones = source == "auto" and usual is None and learned.needs != "items"
    rivals = auto.rivals(dataset.reads) if ranked_ones else []
    there: list[Need] = [] if extra is None else ["unlabelled"]
    transfers = plan.transfers(dataset, learned, chosen, method, effort, dict(settings or {}), there)
    for each in transfers:
        learned = each.widened(learned)
    notes = list(given.notes)
    if chosen is None:
        notes.append(f"There is no pretrained source for {dataset.modality} on the shelf: the control is all there is.")
    if len(rivals) == 1:
        notes.append(f"Source: {rivals[0]} is the only one on the shelf for {dataset.reads}; nothing was ranked.")
    clock.lap("reading")
    folder = claim(out, given.origin)
    facts = request(given, learned, chosen, transfers, seed, control, effort, budget, precision, *rivals)
    if extra is not None:
        facts = key({"labelled": facts, "unlabelled": extra.fingerprints()})
    if dry_run:
        return plan.dry_run(dataset, learned, chosen, transfers, seed)
    if not fresh and (done := finished(folder, facts)) is not None:
        return done
    work = workspace(folder)

    parts = split(dataset, learned.strata(dataset.targets()), seed=seed)
    ranked = None
    if len(rivals) > 1 and any(each.role == "transfer" for each in transfers):
        found = auto.choose(
            parts.labelled(), learned, rivals, total=len(dataset), seconds=seconds, seed=seed, precision=precision,
            backend=backend, also=lambda each: outputs_read(transfers, each, learned), report=report,
        )  # fmt: skip
        chosen, ranked = found.source, found.to_json()
        notes += [f"Source: {found.reason}", *([SAME_ROWS] if ranked and parts.procedure != "holdout" else [])]
        clock.lap("ranking")
    extractor = None
    if chosen is not None:
        cached = chosen.provider != "identity"
        extractor = Extractor(chosen, precision=precision, backend=backend, cache=cached, report=report)
        if learned.independent:  # of windows few are ever passed through a frozen source
            extractor.ensure(dataset.without("target"), outputs_read(transfers, extractor, learned))
    parts = uncontaminated(without_twins(parts, extractor, learned), chosen, control)
    learned = learned.relearned(parts.labelled())
    clock.lap("features")
    problem = Problem(
        parts.train, parts.valid, learned, chosen, extractor, seed=seed, folder=work, report=report, notes=notes,
        deadline=None if seconds is None else clock.begun + seconds, options={"precision": precision},
        unlabelled=extra,
    )  # fmt: skip
    against = controls(chosen, effort, learned, dataset) if control or chosen is None else []
    outcome = evaluate(problem, parts, [*transfers, *against], effort, spent=sum(clock.seconds.values()))
    for entry in outcome.entries:
        clock.seconds[entry.name] = entry.seconds
    if outcome.curve_seconds:
        clock.seconds["learning curves"] = outcome.curve_seconds
    clock.lap("evidence", less=sum(entry.seconds for entry in outcome.entries) + outcome.curve_seconds)
    written = record(
        dataset, learned, chosen, parts, outcome, extractor, rejects=rejects, notes=notes, seconds=clock.seconds,
        seed=seed, folder=folder, command=again([given], out=folder), key=facts,
    )  # fmt: skip
    written.ranking = ranked
    if users is not None:
        written.data["users"] = spelled(users)
    result = Artefact(outcome.shipped.fitted, written, [c for c in dataset.columns if c.role != "unused"], folder)
    artefact.save(result, rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


# --- choosing --------------------------------------------------------------------------------------------------


def choose_source(dataset: Dataset, source: str | Source, align: Mapping[str, str] | None = None) -> Source | None:
    """The source for the rows. align: see `Source.settled`. Raises SourceError HS-SOURCE-005 for another modality."""
    if isinstance(source, str) and source == "auto":
        source = auto.default(dataset.reads) or ""
    if source == "" and align:
        raise UsageError("HS-USAGE-001", "--align is for the columns of a source, and none is named.", "Add --source.")
    return open_for(dataset, source, align) if source else None


def further(data: Any, dataset: Dataset) -> Dataset:
    """Unlabelled rows with the inputs of ``dataset``, without those that are in it (a test row could be among them).

    Raises DataError HS-DATA-003 where an input column is missing, HS-DATA-012 where no row is left.
    """
    inputs = [column.name for column in dataset.inputs]
    kinds = {column.name: column.kind for column in dataset.inputs}
    rows = data if isinstance(data, Dataset) else read(data, input=inputs, kinds=kinds, for_prediction=True)
    rows = rows.without("target")
    known = set(dataset.fingerprints())
    fresh = [row for row, digest in enumerate(rows.fingerprints()) if digest not in known]
    if not fresh:
        raise DataError(
            "HS-DATA-012", f"{rows.origin}: all {len(rows):,} unlabelled rows are among the labelled ones.",
            "Give other rows with --unlabelled.",
        )  # fmt: skip
    return rows.select(fresh)


def outputs_read(methods: Sequence[Method], extractor: Extractor, task: Task) -> list[str]:
    """Every output of the source that the methods and the search for twins read, so that one pass computes them all."""
    found = ["pooled"] if task.needs == "pooled" else []
    for method in methods:
        found += method.outputs_read(extractor, task)
    return list(dict.fromkeys(found or (["tokens"] if task.needs == "tokens" else [])))


# --- the folder ------------------------------------------------------------------------------------------------


def claim(out: str | Path | None, origin: str) -> Path:
    """The folder of the run, not yet made. Raises UsageError HS-USAGE-002 where something else lies there."""
    folder = Path(out) if out is not None else Path("runs") / (Path(origin).stem or "run")
    if folder.is_file():
        raise UsageError("HS-USAGE-002", f"{folder} is a file.", "Name a folder with --out.")
    mine = not folder.is_dir() or (folder / "model.json").is_file()
    if others := [] if mine else [path.name for path in folder.iterdir() if path.name != ".work"]:
        raise UsageError(
            "HS-USAGE-002", f"{folder} holds other things ({others[0]}).", "Name an empty folder with --out."
        )
    return folder


def workspace(folder: Path) -> Path:
    """The folder for checkpoints beside the run. Raises EnvironmentProblem HS-ENV-002/003 where it cannot be made."""
    work = folder.with_name(f".{folder.name}.work")
    try:
        work.mkdir(parents=True, exist_ok=True)
        probe = work / "writable"
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        raise write_error(error, work) from error
    return work


def finished(folder: Path, facts: str) -> Artefact | None:
    """The artefact of the very same fit, where it is there and whole."""
    if not (folder / "model.json").is_file():
        return None
    try:
        found = artefact.load(folder)
    except ArtefactError:
        return None
    return found if found.record.data.get("digest") == facts else None


def request(dataset: Dataset, task: Task, source: Source | None, methods: Sequence[Method], *choices: Any) -> str:
    """A digest of all that determines the result: rows, targets, columns, source, methods, choices."""
    from headstart import __version__

    parts = {
        "rows": key({"rows": dataset.fingerprints(), "targets": [str(value) for value in dataset.targets()]}),
        "columns": [vars(column) for column in dataset.columns],
        "roles": [str(dataset.values(column.name)) for column in dataset.columns if column.role in ROLES],
        "task": task.to_json(),
        "source": [source.card.digest, source.settings()] if source is not None else None,
        "methods": [[method.name, method.hyperparameters()] for method in methods],
        "choices": [str(choice) for choice in choices],
        "version": __version__,
    }
    if dataset.items is not None:
        parts["items"] = key({"ids": dataset.items.ids, "texts": dataset.items.texts})
    return key(parts)
