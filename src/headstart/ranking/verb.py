"""The verb ``rank``: which source suits a target, before anything is trained.

A sample of the training rows goes through every candidate once; a ranker scores the frozen features; half samples say
how sure that is, shuffled targets what the score would be by chance, and the timed pass what a fit would cost. Rows
that a fit with the same seed would test on are left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.errors import HeadstartError, MethodError, SourceError, UsageError, raise_all
from headstart.evidence.folds import cut
from headstart.evidence.splits import split
from headstart.nn.linear import strata_of
from headstart.rankers.base import Ranker
from headstart.ranking.concatenation import concatenation
from headstart.ranking.measure import AWAY, Report, Sampled, TooSlow, open_for, refuse_unfit, sample_features, why
from headstart.ranking.resample import RESAMPLES, SHUFFLES, Calibrated, calibrate, leading, ties
from headstart.ranking.table import Ranking, Row, Skipped
from headstart.sources import shelf
from headstart.sources.base import Source
from headstart.tasks.base import Array, Task, check_independent, infer_task

DEFAULT = "probe_cv"
UNCLASSIFIED = "It has no classifier of its own"
ROWS = 2000
OF_FORECASTS = (
    "rankers score heads on frozen features, and a forecaster is the prediction already",
    "Fit once with each --source: every run shows its score as it is on the same validation windows.",
)
"""Why such sources are not ranked, and what does it."""

SENTENCE = 8  # of token tasks this share of the rows is enough: each has several words


def rank(
    data: Any,
    target: str | None = None,
    *,
    sources: str | Sequence[str | Source] = "all",
    ranker: str = DEFAULT,
    layers: bool = False,
    rows: int = ROWS,
    input: str | Sequence[str] | None = None,
    task: str | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    backend: str = "auto",
    concatenate: bool = True,
    report: Report | None = None,
) -> Ranking:
    """Rank sources by how well their frozen features suit a target.

    data, target, input, task, roles, kinds, limit: as in `fit`. sources: ``all`` (the shelf, for this kind of input),
    or names: of the shelf, ``hf:``, ``timm:``, ``torchvision:``, folders, `Source` objects. ranker: a file of rankers/,
    or ``all`` for a column of each. layers: a row for every layer, which says at what depth to cut. rows: how many are
    scored. concatenate: try the best sources side by side.

    Raises what `read` and `infer_task` raise; MethodError HS-METHOD-001 for an unknown ranker and HS-METHOD-003 for one
    that does not read the target, or where no source has the classifier that it reads; SourceError HS-SOURCE-001 for an
    unknown source, HS-SOURCE-005 for one of another modality, HS-SOURCE-003 where none can be had; TaskError
    HS-TASK-002 for forecasts; UsageError HS-USAGE-001.
    """
    if rows < 20:
        raise UsageError("HS-USAGE-001", f"{rows} rows are too few to rank on.", "Expected 20 or more.")
    check_independent(task, *OF_FORECASTS)
    given = data if isinstance(data, Dataset) else read(
        data, target=target, input=input, roles=roles, kinds=kinds, limit=limit
    )  # fmt: skip
    dataset = given if target is None else given.assign(target=target)
    learned = infer_task(dataset, task)
    check_independent(learned, *OF_FORECASTS)
    if learned.needs == "items":
        raise MethodError(
            "HS-METHOD-003",
            f"rankers score features of rows, and a {learned.name} reads none.",
            "Name a --source to fit.",
        )
    train = split(dataset, learned.strata(dataset.targets()), seed=seed).labelled()
    names = candidates(dataset, sources)
    return rank_sources(
        train, learned, names, total=len(dataset), ranker=ranker, layers=layers, rows=rows, seed=seed,
        precision=precision, backend=backend, concatenate=concatenate, report=report,
    )  # fmt: skip


def candidates(dataset: Dataset, sources: str | Sequence[str | Source]) -> list[str | Source]:
    """The sources to rank.

    Raises UsageError HS-USAGE-001 for none; SourceError HS-SOURCE-001 and -005, of all names at once, before any work.
    """
    if sources == "all":
        return [*shelf.reading(dataset.modality)]
    names = [name.strip() for name in sources.split(",")] if isinstance(sources, str) else list(sources)
    found = list(dict.fromkeys(name for name in names if name))
    if not found:
        raise UsageError("HS-USAGE-001", "no source is named.", "Give all, or names with commas.")
    problems: list[HeadstartError] = []
    for name in found:
        try:
            refuse_unfit(dataset, name)
        except SourceError as error:
            problems.append(error)
    raise_all(problems)
    return found


@dataclass(frozen=True)
class _Scored:
    """One output of one source, calibrated."""

    sampled: Sampled
    output: str
    result: Calibrated
    scores: dict[str, float | None]


def rank_sources(
    train: Dataset,
    task: Task,
    names: Sequence[str | Source],
    *,
    total: int,
    ranker: str = DEFAULT,
    layers: bool = False,
    rows: int = ROWS,
    seed: int = 0,
    precision: str = "auto",
    backend: str = "auto",
    concatenate: bool = True,
    allowed: float | None = None,
    also: Any = None,
    report: Report | None = None,
) -> Ranking:
    """`rank` on labelled rows of which none is a test row; total: rows that a full fit would pass.

    allowed: seconds in which a source must get through the sample and all rows, and for all samples together; what
    does not fit is left out.
    """
    report = report or (lambda stage, done, total: None)
    main, others, notes = _rankers(ranker, task)
    if layers and task.needs == "tokens":
        raise MethodError("HS-METHOD-003", "token labels are read off the last layer alone.", "Leave --layers out.")
    if layers and main.needs == "probabilities":
        raise MethodError("HS-METHOD-003", f"{main.name} reads the last layer alone.", "Leave --layers out.")
    chosen = _sample(train, task, rows, seed)
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    sample, outside = train.select(chosen.tolist()), train.select(rest.tolist()) if len(rest) else None
    begun = time.monotonic()
    scored: list[_Scored] = []
    skipped: list[Skipped] = []
    problems: list[HeadstartError] = []
    for name in names:
        called = name if isinstance(name, str) else name.card.name
        left = None if allowed is None else allowed - (time.monotonic() - begun)
        if left is not None and left <= 0:
            skipped.append(Skipped(called, f"The {allowed:.0f} s for ranking were spent."))
            continue
        try:
            source = open_for(train, name)
            if main.needs == "probabilities" and source.classifier is None:
                skipped.append(Skipped(called, f"{UNCLASSIFIED}, whose probabilities {main.name} reads."))
                continue
            sampled = sample_features(
                source, sample, outside, task, layers=layers, precision=precision, backend=backend, also=also,
                allowed=allowed, left=left, rows=total, report=report,
            )  # fmt: skip
        except HeadstartError as error:
            if error.code not in AWAY:
                problems.append(error)
            skipped.append(Skipped(called, why(error), error.code))
            continue
        except TooSlow as slow:
            skipped.append(Skipped(called, str(slow)))
            continue
        scored += _score(sampled, main, others, seed, report)
        notes += [note for note in sampled.notes if note not in notes]
    raise_all(problems)
    if not scored:
        raise _nothing(main, skipped)
    scored.sort(key=lambda each: -each.result.score)
    notes += _unread(scored, others)
    blind = [each.name for each in (main, *others) if not each.grouped]
    if blind and scored[0].sampled.groups is not None:
        notes.append(f"Rows of a group may tell on each other: {', '.join(blind)} cannot leave whole groups out.")
    table = _rows(scored, total, layers)
    notes = [*notes, *_advice(scored, table, task, seed, concatenate, layers)]
    counted = len(sample)
    return Ranking(table, skipped, main.name, task.describe(), counted, total, RESAMPLES, SHUFFLES, seed, notes)


def _nothing(main: Ranker, skipped: Sequence[Skipped]) -> HeadstartError:
    """The error where no source can be scored."""
    if any(each.reason.startswith(UNCLASSIFIED) for each in skipped):
        names = ", ".join(each.source for each in skipped)
        return MethodError(
            "HS-METHOD-003",
            f"{main.name} reads the probabilities of a source's own classifier, and none has one: {names}.",
            f"Use --ranker {DEFAULT}, or name a source that was pretrained to classify.",
        )
    reasons = " ".join(f"{each.source}: {each.reason}" for each in skipped)
    return SourceError("HS-SOURCE-003", f"none of the sources can be ranked. {reasons}", "Name others.")


def _rankers(name: str, task: Task) -> tuple[Ranker, list[Ranker], list[str]]:
    """The ranker that sorts, the others of ``all``, and a note on those that cannot read the target."""
    kind = {"multilabel": "labels", "regression": "values", "several": "values"}.get(task.name, "classes")
    main: Ranker = catalog.find("rankers", DEFAULT if name == "all" else name)()
    if kind not in main.reads or (main.needs == "probabilities" and task.needs == "tokens"):
        raise MethodError(
            "HS-METHOD-003", f"{main.name} is not defined for {task.describe()}.", f"Use --ranker {DEFAULT}."
        )
    if name != "all":
        return main, [], []
    every = [catalog.find("rankers", other)() for other in catalog.names("rankers") if other != main.name]
    of_rows = task.needs == "pooled"
    able = [other for other in every if kind in other.reads and (of_rows or other.needs == "features")]
    left = [other.name for other in every if other not in able]
    return main, able, [f"Not defined here: {', '.join(left)}."] if left else []


def _sample(train: Dataset, task: Task, rows: int, seed: int) -> Array:
    """Positions of the rows to score, classes in proportion and at least two rows of each."""
    wanted = max(20, rows // SENTENCE) if task.needs == "tokens" else rows
    every = np.arange(len(train))
    if len(every) <= wanted:
        return every
    strata = task.strata(train.targets())
    return cut(every, wanted, np.random.default_rng([seed, 2]), strata=strata, least=2)


def _score(sampled: Sampled, main: Ranker, others: Sequence[Ranker], seed: int, report: Report) -> list[_Scored]:
    """Every output of a source, scored and calibrated."""
    found = []
    called = f"{sampled.source.card.name}: {main.name}"
    for number, (output, features) in enumerate(sampled.outputs.items()):
        report(called, number, len(sampled.outputs))
        short, targets = leading(features), sampled.targets
        read = _read(main, sampled, output, short)
        assert read is not None, "sources without a classifier and layers were refused"
        result = calibrate(
            main.score, read, targets, strata_of(targets), owner=sampled.owner, groups=sampled.groups, seed=seed
        )
        given = {other.name: (other, _read(other, sampled, output, short)) for other in others}
        scores = {
            name: None if X is None else other.score(X, targets, sampled.groups) for name, (other, X) in given.items()
        }
        found.append(_Scored(sampled, output, result, scores))
    report(called, len(sampled.outputs), len(sampled.outputs))
    return found


def _read(ranker: Ranker, sampled: Sampled, output: str, features: Array) -> Array | None:
    """What a ranker reads of an output: its features, or the probabilities that the source's classifier makes of it."""
    if ranker.needs == "features":
        return features
    return sampled.probabilities if output == "pooled" else None


def _unread(scored: Sequence[_Scored], others: Sequence[Ranker]) -> list[str]:
    """Who lacks which of the other rankers' scores; a column that nobody has goes."""
    names = dict.fromkeys(each.sampled.source.card.name for each in scored if each.sampled.source.classifier is None)
    notes = []
    for other in others:
        if other.needs == "probabilities" and names:
            notes.append(f"{other.name} does not score {', '.join(names)}: no classifier of its own.")
        if all(each.scores[other.name] is None for each in scored):
            for each in scored:
                del each.scores[other.name]
    return notes


def _rows(scored: Sequence[_Scored], total: int, layers: bool) -> list[Row]:
    best = scored[0].result
    span = best.score - best.chance
    table = []
    for place, (each, tied) in enumerate(zip(scored, ties([each.result for each in scored])), start=1):
        result, card = each.result, each.sampled.source.card
        low, high = result.interval
        reach = (result.score - result.chance) / span if span > 0 else 0.0
        layer = each.output if layers and each.output != "pooled" else None
        width = each.sampled.outputs[each.output].shape[1]
        table.append(
            Row(
                card.name,
                layer,
                place,
                result.score,
                low,
                high,
                result.chance,
                result.chance_high,
                min(max(reach, 0.0), 1.0),
                tied,
                each.sampled.seconds(total),
                each.sampled.rate,
                width,
                card.licence,
                each.scores,
            )
        )
    return table


def _advice(
    scored: Sequence[_Scored], table: Sequence[Row], task: Task, seed: int, concatenate: bool, layers: bool
) -> list[str]:
    """Lines below the table: chance, the depth to cut at, features side by side."""
    notes = []
    if table[0].is_chance:
        notes.append("Not even the best is better than chance: do not expect these sources to help.")
    if layers and table[0].layer is not None:
        notes.append(f"Best depth: --source {table[0].source} --method probe --layers {table[0].layer}")
    alone = {each.sampled.source.card.name: each.sampled for each in scored if not _joined(each.sampled)}
    if concatenate and len(alone) > 1 and task.needs == "pooled":
        pairs = [(name, sampled.outputs["pooled"]) for name, sampled in alone.items()]
        first = scored[0].sampled
        found = concatenation(task, pairs, first.targets, groups=first.groups, seed=seed)
        notes += [found.sentence(task.metric.replace("_", " "))] if found is not None else []
    return notes


def _joined(sampled: Sampled) -> bool:
    """Whether the source is several side by side already."""
    return sampled.source.provider == "concatenated"
