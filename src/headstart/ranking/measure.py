"""One candidate source: open it, time it, and take its features of the sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from headstart.datasets.base import Column, Dataset
from headstart.errors import HeadstartError, SourceError
from headstart.runtime import Extractor
from headstart.sources import shelf
from headstart.sources.base import Source
from headstart.sources.concatenated import wordless
from headstart.sources.history_network import HistoryNetwork, items_of
from headstart.sources.items import Items, Reading, of_texts, unit_vectors
from headstart.sources.two_tower import TwoTowers
from headstart.tasks.base import Task
from headstart.tasks.several import Several

Array: TypeAlias = np.ndarray
Report: TypeAlias = Callable[[str, int, int], None]

WARM, TIMED = 32, 96
"""Rows that set a source up, and rows whose pass is timed before the rest of the sample runs."""

READER = "minilm"
"""What reads the texts of items where a source knows other items than the target."""

AWAY = frozenset({"HS-SOURCE-003", "HS-ENV-001"})
"""Codes of a source that cannot be had here: the others go on."""


class TooSlow(Exception):
    """A source would take longer than it may; says what it would take and what it may."""

    def __init__(self, seconds: float, allowed: float) -> None:
        super().__init__(f"It would take {seconds:.0f} s; {max(allowed, 0):.0f} s are allowed.")


@dataclass
class Sampled:
    """The features of one source. outputs: name of the output -> [N,D]. missing: share of the data's rows not stored.

    owner: [N] ascending, the row that each word belongs to; None where rows are scored. targets, groups: of the items.
    """

    source: Source
    outputs: dict[str, Array]
    targets: Array
    owner: Array | None
    rate: float | None
    notes: list[str] = field(default_factory=list)
    groups: Array | None = None

    def seconds(self, rows: int) -> float:
        """A frozen pass over ``rows`` rows; 0 where nothing had to be computed."""
        return 0.0 if self.rate is None else rows / self.rate

    @cached_property
    def probabilities(self) -> Array | None:
        """[N,Z]: what the source's own classifier says of the rows; None where it has none, and for words."""
        classifier = self.source.classifier
        if classifier is None or "pooled" not in self.outputs:
            return None
        from scipy.special import softmax

        weight, bias = (value.detach().cpu().double().numpy() for value in (classifier.weight, classifier.bias))
        return np.asarray(softmax(self.outputs["pooled"] @ weight.T + bias, axis=1))


def open_for(dataset: Dataset, source: str | Source, align: Mapping[str, str] | None = None) -> Source:
    """The source, ready for these rows. align: see `Source.settled`.

    Raises SourceError HS-SOURCE-005 where it does not fit the kind of input, and what `open_source` raises.
    """
    opened = shelf.open_source(source) if isinstance(source, str) else source
    _refuse(dataset, opened.card.name, opened.card.modality)
    if opened.provider == "concatenated":
        _refuse_words(dataset, opened.card.name)
    if opened.card.modality == "text" and dataset.modality == "interactions":
        return of_items(dataset, opened)
    return told_by_text(dataset, opened.settled(dataset, align))


def told_by_text(dataset: Dataset, source: Source) -> Source:
    """A source that knows items by their texts, or other items than those of the rows, with a reading of the texts
    (`TwoTowers.read`, `Items.foreign`).
    """
    here = dataset.items
    if here is None or not any(here.texts):
        return source
    try:
        if isinstance(source, TwoTowers):
            source = source.read(here.ids, item_vectors(source.sizes["text_source"], here.texts, dataset.origin))
        items = items_of(source)
        if items is None or not items.foreign(here):
            return source
        own, others = (item_vectors(READER, texts, dataset.origin) for texts in (items.texts, here.texts))
    except SourceError as error:
        if error.code not in AWAY:
            raise
        return source  # by their words alone
    read = items.read(Reading(READER, own, here.ids, others))
    return source.beside(read) if isinstance(source, HistoryNetwork | Items) and items is not source else read


def item_vectors(reader: str, texts: Sequence[str], origin: str) -> Array:
    """What a text source by name makes of the texts of items, [I,D]; see `unit_vectors`."""
    return unit_vectors(read_texts(shelf.open_source(reader), texts, origin), texts)


def read_texts(source: Source, texts: Sequence[str], origin: str) -> Array:
    """What a text source makes of texts, [I,D]."""
    import datasets

    table = datasets.Dataset.from_dict({"text": [text or " " for text in texts]})
    return Extractor(source).matrix(Dataset(table, [Column("text", "input", "text")], origin=origin))


def of_items(dataset: Dataset, source: Source) -> Source:
    """A text source, as it reads the texts of the items that the rows speak of."""
    assert dataset.items is not None
    ids, texts = dataset.items.ids, dataset.items.texts
    return of_texts(source, ids, texts, read_texts(source, texts, dataset.origin))


def refuse_unfit(dataset: Dataset, source: str | Source) -> None:
    """Raise what is certain before anything is fetched: SourceError HS-SOURCE-001 (unknown), -005 (other modality)."""
    if isinstance(source, Source):
        _refuse(dataset, source.card.name, source.card.modality)
    elif len(parts := shelf.parts(source)) > 1:
        _refuse_words(dataset, source)
        for part in parts:
            refuse_unfit(dataset, part)
    elif source.partition(":")[0] not in shelf.HUBS and not (source not in shelf.names() and Path(source).is_dir()):
        _refuse(dataset, source, str(shelf.info(source)["modality"]))


def _refuse(dataset: Dataset, name: str, modality: str) -> None:
    if modality not in (dataset.modality, dataset.reads):
        fitting = shelf.reading(dataset.modality)
        hint = f"Use --source {fitting[0] if fitting else 'identity'}, or name other columns with --input."
        if modality == "series" and (lists := [each.name for each in dataset.inputs if each.kind == "array"]):
            told = " ".join(f"--kind {name}=series" for name in lists)
            hint = f"If a list is the steps of a series, say so: {told}."
        raise SourceError(
            "HS-SOURCE-005",
            f"{name} reads {modality}; the input of {dataset.origin} is {dataset.modality}.",
            hint,
        )


def _refuse_words(dataset: Dataset, name: str) -> None:
    """Raise SourceError HS-SOURCE-005 where the target of the rows is one of words, for sources side by side."""
    if any(column.role == "target" and column.kind == "tags" for column in dataset.columns):
        raise wordless(name)


def sample_features(
    source: Source,
    sample: Dataset,
    rest: Dataset | None,
    task: Task,
    *,
    layers: bool = False,
    precision: str = "auto",
    backend: str = "auto",
    also: Callable[[Extractor], Sequence[str]] | None = None,
    allowed: float | None = None,
    left: float | None = None,
    rows: int = 0,
    report: Report | None = None,
) -> Sampled:
    """The features of the sample, and how fast they came.

    rest: rows outside the sample, on which the pass is timed where the sample is stored already. layers: every layer
    before the last too. also: other outputs to compute in the same pass, for later. allowed: seconds that the sample
    and ``rows`` rows may take, of which the sample may take those ``left``; raises `TooSlow` once the timing says that
    it takes longer.
    """
    name = source.card.name
    extractor = Extractor(
        source, precision=precision, backend=backend, cache=source.provider != "identity",
        report=lambda stage, done, total: (report or _quiet)(f"{name}: {stage}", done, total),
    )  # fmt: skip
    wanted: list[str] = [task.needs]
    if layers and task.needs == "pooled":
        wanted += [layer.name for layer in source.layers()][:-1]
    compute = list(dict.fromkeys([*wanted, *(also(extractor) if also is not None else [])]))
    inputs = sample.without("target")
    rate = _rate(extractor, inputs, rest.without("target") if rest is not None else None, compute)
    for limit, passed in ((allowed, len(inputs) + rows), (left, len(inputs))):
        if limit is not None and rate is not None and passed / rate > limit:
            raise TooSlow(passed / rate, limit)
    targets, groups = task.encode(sample.targets()), sample.groups()
    if task.needs == "tokens":
        words = extractor.tokens(inputs)
        owner = np.repeat(np.arange(len(words)), [len(word) for word in words])
        tags = np.concatenate([np.asarray(tag)[: len(word)] for word, tag in zip(words, targets)])
        groups = None if groups is None else groups[owner]
        return Sampled(source, {"tokens": np.concatenate(words)}, tags, owner, rate, extractor.notes, groups)
    extractor.ensure(inputs, compute)
    outputs = {output: extractor.matrix(inputs, [output]) for output in wanted}
    read = task.columns(targets) if isinstance(task, Several) else np.asarray(targets)
    return Sampled(source, outputs, read, None, rate, extractor.notes, groups)


def _rate(extractor: Extractor, sample: Dataset, rest: Dataset | None, outputs: Sequence[str]) -> float | None:
    """Rows a second, after a few rows that set everything up; None where all features are stored."""
    for rows in (sample, rest):
        if rows is None:
            continue
        order = np.random.default_rng(0).permutation(len(rows)).tolist()
        for part in (order[:WARM], order[WARM : WARM + TIMED]):
            before, begun = extractor.forward_rows, time.perf_counter()
            if part:
                extractor.ensure(rows.select(part), outputs)
            passed, seconds = extractor.forward_rows - before, time.perf_counter() - begun
        if passed >= min(TIMED, len(rows)) // 2 and passed > 0:
            return passed / seconds
    return None


def why(error: HeadstartError) -> str:
    """The reason of an error in one line."""
    return " ".join(f"{error.message} {error.hint}".split())


def _quiet(stage: str, done: int, total: int) -> None:
    return None
