"""A source of one's own: ``headstart pretrain FOLDER`` trains a network on the inputs of related rows and saves it.

No label is read, unless a target is named (`headstart.supervised`). A folder may hold several datasets, of one kind of
input: all of them make one pool, and each channel of a time series is a row of its own. What is learned is an objective
of the method ``pretrain``, by the same training (`methods/pretrain.py`); what is saved is a folder that ``--source``
takes. A network that has learned nothing before (the encoder ``series``) trains at a higher rate and in more passes
than one that goes on learning. Interactions teach how items go together (`item_pretraining.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart import disk, item_pretraining
from headstart.datasets import interactions
from headstart.datasets.base import Dataset
from headstart.datasets.read import TABLES, read
from headstart.engine import Group, Schedule, train_only
from headstart.errors import DataError, MethodError, SourceError, UsageError, did_you_mean
from headstart.methods.pretrain import OBJECTIVES, WATCHED, Collapsed, learn, passes
from headstart.nn.self_supervised import Objective
from headstart.sources import weights
from headstart.sources.base import Source
from headstart.sources.shelf import open_source
from headstart.types import Json, Modality, Sample

START: dict[Modality, str] = {"series": "series", "text": "minilm", "image": "mobilenet_v2"}
"""What ``--source auto`` goes on from."""

FRESH_PASSES, FRESH_RATE, RATE, BATCH = 20, 2e-3, 2e-5, 64
MOST = 1000
HEAD_RATE, DECAY, WARMUP, CLIP, COLLAPSE = 1.0, 0.01, 0.1, 1.0, 0.2


@dataclass(frozen=True)
class Pretrained:
    """A source that was made. facts: objective, rows, steps, passes, losses, seconds; of items the score in place of
    losses.
    """

    source: Source
    folder: Path
    facts: Json
    notes: list[str]

    def to_json(self) -> Json:
        """Facts, card and folder as plain JSON."""
        return {**self.facts, "card": self.source.card.to_json(), "folder": str(self.folder), "notes": self.notes}

    def text(self) -> str:
        """What was learned from what, for reading."""
        facts = self.facts
        if "losses" not in facts:
            learned = (
                f"{facts['objective']} on {facts['interactions']:,} interactions of {facts['rows']:,} users with "
                f"{facts['items']:,} items in {facts['seconds']} s: NDCG@10 {facts['ndcg@10']:.3f} on users left out"
            )
        else:
            learned = (
                f"{facts['objective']} on {facts['rows']:,} rows of {facts['datasets']} datasets, {facts['passes']} "
                f"passes in {facts['seconds']} s: loss {facts['losses'][0]:.3f} -> {facts['losses'][-1]:.3f}"
            )
        if scores := facts.get("scores"):
            told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            learned = f"{facts['metric']} on {facts['judged']:,} rows left out: {told}\n{learned}"
        return "\n".join([*self.notes, learned, f"saved to {self.folder}: headstart fit DATA --source {self.folder}"])


def pretrain(
    data: Any,
    out: str | Path,
    *,
    source: str | Source = "auto",
    objective: str = "auto",
    epochs: int = 0,
    batch_size: int = 0,
    learning_rate: float = 0.0,
    budget: float | None = None,
    most: int = MOST,
    target: str | None = None,
    keep_rows: bool = False,
    input: str | Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    items: Any = None,
    seed: int = 0,
    precision: str = "auto",
    report: Callable[[str, int, int], None] | None = None,
) -> Pretrained:
    """Train a copy of a source on inputs alone and save it to ``out``, a folder that `open_source` reads.

    data: what `read` takes, a folder of such files, or a list of these. source: what it starts from; auto by the kind
    of input and the objective. objective: a file of nn/ (see `methods/pretrain.py`). epochs, learning_rate: 0 = by
    whether the source has learned anything. batch_size: 0 = 64. budget: seconds of training. most: rows taken of one
    dataset, drawn where it has more, so that none outweighs the others. input, roles, kinds, items: as for `read`.
    target: the column that a table's models learn to predict, and keep_rows: see `headstart.supervised.pretrain`;
    source, objective and most say nothing then.

    Raises UsageError HS-USAGE-001 and -002, DataError HS-DATA-002 and what `read` raises, SourceError HS-SOURCE-005,
    MethodError HS-METHOD-003 where the source cannot be trained so or its features became alike.
    """
    if target is not None:
        from headstart import supervised

        return supervised.pretrain(
            data[0] if isinstance(data, list) and len(data) == 1 else data, out, target, epochs=epochs,
            batch_size=batch_size, learning_rate=learning_rate, budget=budget, keep_rows=keep_rows, input=input,
            roles=roles, kinds=kinds, seed=seed, report=report,
        )  # fmt: skip
    place, begun = claimed(out), time.monotonic()
    if roles is not None and interactions.applies(roles):
        made, facts, notes = item_pretraining.learned(
            data, place.name, objective=objective, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            budget=budget, input=input, roles=roles, kinds=kinds, items=items, seed=seed, precision=precision,
            report=report,
        )  # fmt: skip
        _saved(made, place)
        return Pretrained(made, place, facts, notes)
    parts = pool(data, input=input, roles=roles, kinds=kinds)
    modality = parts[0].modality
    usual = OBJECTIVES[objective].usual if objective in OBJECTIVES else None
    start = open_source(usual or START.get(modality, "identity")) if source == "auto" else source
    start = open_source(start) if isinstance(start, str) else start
    if start.card.modality != modality:
        raise SourceError(
            "HS-SOURCE-005", f"{start.card.name} reads {start.card.modality}; the rows are {modality}.",
            "Name another --source.",
        )  # fmt: skip
    kind, rows, copy = _objective(objective, start), Pool(parts, most, seed), start.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trained = kind(copy)
    rate = learning_rate or (RATE if start.pretrained else FRESH_RATE)
    groups = [Group(each.name, list(each.module.parameters()), rate, DECAY) for each in copy.layers()]
    if heads := trained.heads():
        groups.append(Group("objective", heads, rate * HEAD_RATE, DECAY))
    train_only(trained, groups)
    epochs = epochs or (passes(len(rows)) if start.pretrained else FRESH_PASSES)
    at = np.linspace(0, len(rows) - 1, min(WATCHED, len(rows))).astype(int)
    try:
        facts, history, notes = learn(
            trained, groups, rows, rows.samples(at), Schedule(epochs, batch_size or BATCH, 1, WARMUP, CLIP, epochs),
            collapse=COLLAPSE, seed=seed, deadline=None if budget is None else begun + budget,
            report=report or (lambda stage, done, total: None), stage="pretrain",
            precision="fp32" if copy.exact else precision,
        )  # fmt: skip
    except Collapsed as error:
        raise MethodError(
            "HS-METHOD-003", f"pretrain: by {kind.name} the features of all rows became alike ({error.share:.0%} of "
            "their spread was left); nothing was saved.", "Give other --epochs, or another --objective.",
        ) from error  # fmt: skip
    copy.pretrained = True
    copy.card = replace(
        copy.card, name=place.name, digest=copy.digest(),
        origin=f"{start.card.name}, pretrained by {kind.name} on {len(rows):,} rows of {len(parts)} datasets",
        licence=start.card.licence if start.pretrained else "that of the rows it learned from",
        description=f"pretrained with headstart pretrain on {', '.join(_called(part) for part in parts)}"[:300],
    )  # fmt: skip
    _saved(copy, place)
    facts |= {
        "datasets": len(parts), "passes": len(history), "losses": [row["loss"] for row in history],
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    return Pretrained(copy, place, facts, [*notes, *(note for part in parts for note in part.notes)])


# --- the pool ----------------------------------------------------------------------------------------------------


class Pool:
    """The inputs of several datasets as one list of rows, at most ``most`` of each; a channel of a series is a row."""

    def __init__(self, parts: Sequence[Dataset], most: int = MOST, seed: int = 0) -> None:
        self._rows: list[Sample] = []
        for number, part in enumerate(parts):
            channels = len(part.inputs) if part.modality == "series" else 1
            order = np.random.default_rng([seed, number]).permutation(channels * len(part))
            drawn = np.sort(order[:most])
            rows = np.unique(drawn // channels)
            samples = dict(zip(rows.tolist(), part.samples(rows.tolist())))
            if part.modality == "series":
                self._rows += [samples[row // channels][row % channels, None] for row in drawn.tolist()]
            else:
                self._rows += [samples[row] for row in drawn.tolist()]

    def __len__(self) -> int:
        return len(self._rows)

    def samples(self, rows: np.ndarray) -> list[Sample]:
        """Some of the inputs."""
        return [self._rows[row] for row in rows]

    def costs(self, source: Source) -> np.ndarray:
        """A rough cost of each [N]."""
        return np.array([source.cost(sample) for sample in self._rows], dtype=np.int64)


def pool(data: Any, **columns: Any) -> list[Dataset]:
    """The datasets of a path, an object, or a list of these; of a folder of tables or series every file is one.

    columns: as for `read`. Raises DataError HS-DATA-002 where there is none or their inputs differ in kind, and what
    `read` raises.
    """
    given = list(data) if isinstance(data, list | tuple) else [data]
    parts: list[Dataset] = []
    for each in given:
        for path in _files(Path(each).expanduser()) if isinstance(each, str | os.PathLike) else [each]:
            parts.append(read(path, for_prediction=True, **columns).without("target"))
    kinds = {part.modality: part for part in parts}
    if len(kinds) > 1:
        told = ", ".join(f"{_called(part)} is {kind}" for kind, part in kinds.items())
        raise DataError(
            "HS-DATA-002", f"the rows to learn from are of several kinds: {told}.", "Give rows of one kind."
        )
    if not parts:
        raise DataError("HS-DATA-002", f"{data}: there is nothing to learn from.", "Give a table, a folder or series.")
    return parts


def _files(path: Path) -> list[Path]:
    """The tables and series below a folder, or the path itself."""
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.is_file() and each.name.lower().endswith((".ts", *TABLES)))
    return found or [path]


def _called(part: Dataset) -> str:
    return Path(part.origin).stem or "rows in memory"


def _objective(name: str, source: Source) -> type[Objective]:
    """The objective of a name, or the first that the source can be trained with. Raises UsageError, MethodError."""
    if name != "auto" and name not in OBJECTIVES:
        raise UsageError("HS-USAGE-001", f'there is no objective "{name}".', did_you_mean(name, OBJECTIVES))
    fitting = [each for each in OBJECTIVES.values() if each.modality == source.card.modality]
    tried = fitting if name == "auto" else [OBJECTIVES[name]]
    whys = {}
    for each in tried:
        whys[each.name] = each.lacks(source) if each in fitting else f"input of the kind {each.modality}"
        if whys[each.name] is None:
            return each
    told = "; ".join(f"{each}: it lacks {why}" for each, why in whys.items()) or "there is no objective for its input"
    raise MethodError("HS-METHOD-003", f"{source.card.name} cannot be pretrained ({told}).", "Name another --source.")


# --- the folder --------------------------------------------------------------------------------------------------


def claimed(out: str | Path) -> Path:
    """The folder of the source. Raises UsageError HS-USAGE-002 where something else lies there."""
    place = Path(out)
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / weights.DESCRIPTION).is_file()):
        raise UsageError("HS-USAGE-002", f"{place} holds something else.", "Name an empty folder with --out.")
    return place


def _saved(source: Source, place: Path) -> None:
    with disk.workspace(place) as work:
        source.save(work / "source")
        settle(work / "source", place)


def settle(made: Path, place: Path) -> None:
    """Put the new source in the place of an old one, or of nothing."""
    if not place.exists():
        disk.settle(made, place)
        return
    old = made.with_name("old")
    place.replace(old)
    made.replace(place)
