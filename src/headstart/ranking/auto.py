"""The source of a fit that names none: ``fit --source auto``.

The shelf's sources for this kind of input are ranked on a sample of the training rows. Of those that cannot be told
from the best the cheapest wins, and all of them must get through the data in a third of the time limit. Where the
shelf has one source, or only one can be had, there is nothing to rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.datasets.base import Dataset
from headstart.errors import SourceError
from headstart.ranking.measure import AWAY, Report, open_for, why
from headstart.ranking.table import Ranking, Row, Skipped, ordinal
from headstart.ranking.verb import rank_sources
from headstart.sources import shelf
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.types import Json

DEFAULT_SOURCE = {"text": "minilm", "image": "mobilenet_v2", "audio": "whisper_tiny_en"}
CHEAP = 25_000_000
"""Bytes up to which a source is fetched only to be ranked."""

ROWS = 1000
SHARE = 3  # a third of the time limit


@dataclass(frozen=True)
class Choice:
    """The source, why it, and the ranking (None where there was nothing to rank)."""

    source: Source
    reason: str
    ranking: Ranking | None = None

    def to_json(self) -> Json | None:
        """What the record keeps: ranker, place, of, tied, reason, candidates and skipped; None without a ranking."""
        if self.ranking is None:
            return None
        row = next(row for row in self.ranking.candidates if row.source == self.source.card.name)
        keys = ("source", "place", "score", "low", "high", "chance", "tied", "seconds", "licence")
        return {
            "ranker": self.ranking.ranker,
            "sampled": self.ranking.sampled,
            "place": row.place,
            "of": len(self.ranking),
            "tied": row.place > 1,
            "reason": self.reason,
            "candidates": [{key: getattr(each, key) for key in keys} for each in self.ranking.candidates],
            "skipped": [vars(each) for each in self.ranking.skipped],
        }


def default(modality: str) -> str | None:
    """The source that needs no ranking: the usual one, or another of its kind that is here where that one is not."""
    usual = DEFAULT_SOURCE.get(modality)
    if usual is None or shelf.info(usual)["fetched"]:
        return usual
    return next((name for name in rivals(modality) if shelf.info(name)["fetched"]), usual)


def rivals(modality: str) -> list[str]:
    """The shelf's sources of this modality that are here or quickly fetched: the usual one first, then by size."""
    usual = DEFAULT_SOURCE.get(modality)
    known = {name: shelf.info(name) for name in shelf.reading(modality)}
    fitting = [
        name
        for name, info in known.items()
        if usual is not None and (name == usual or info["fetched"] or info["size"] <= CHEAP)
    ]
    return sorted(fitting, key=lambda name: (name != usual, known[name]["parameters"], name))


def choose(
    train: Dataset,
    task: Task,
    names: Sequence[str],
    *,
    total: int,
    seconds: float | None,
    seed: int = 0,
    precision: str = "auto",
    backend: str = "auto",
    also: Callable[[Any], Sequence[str]] | None = None,
    report: Report | None = None,
) -> Choice:
    """The source for a fit on these training rows.

    names: `rivals`, the usual source first. total: rows of the data. seconds: the time limit, or None. also: outputs of
    the source that the fit will read, so that one pass computes them all. Raises SourceError HS-SOURCE-003 where no
    source can be had.
    """
    here, away = reachable(names, report)
    if not here:
        raise SourceError("HS-SOURCE-003", f"no source can be had. {away[0].reason}", "Name one with --source.")
    if len(here) == 1:
        missing = f" ({', '.join(each.source for each in away)} cannot be had)" if away else ""
        return Choice(open_for(train, here[0]), f"{here[0]} is the only source for this input{missing}.")
    allowed = None if seconds is None else seconds / SHARE
    try:
        ranking = rank_sources(
            train, task, here, total=total, rows=ROWS, seed=seed, precision=precision, backend=backend,
            concatenate=False, allowed=allowed, also=also, report=report,
        )  # fmt: skip
    except SourceError as error:
        if error.code not in AWAY:
            raise
        return Choice(open_for(train, here[0]), f"{here[0]} is the usual source; none could be ranked in time.")
    ranking.skipped.extend(away)
    row = ranking.choice
    return Choice(open_for(train, row.source), reason(ranking, row), ranking)


def reachable(names: Sequence[str], report: Report | None) -> tuple[list[str], list[Skipped]]:
    """The sources that are here or can be fetched. After the first that cannot, the network is not asked again."""
    here: list[str] = []
    away: list[Skipped] = []
    for name in names:
        if shelf.info(name)["fetched"]:
            here.append(name)
        elif away:
            away.append(Skipped(name, f"Not fetched, as {away[0].source} could not be."))
        else:
            try:
                shelf.fetch(name, report)
                here.append(name)
            except SourceError as error:
                if error.code not in AWAY:
                    raise
                away.append(Skipped(name, why(error), error.code))
    return here, away


def reason(ranking: Ranking, row: Row) -> str:
    """Why this source, in one line."""
    best, on = ranking.best, f"{ranking.ranker} on {ranking.sampled:,} training rows"
    if row.place == 1:
        others = [each for each in ranking.candidates if each is not row]
        words = f"{row.source} suits the target best of {len(ranking)} sources"
        if others:
            words += f" ({row.score:.3f}; next {others[0].source}, {others[0].score:.3f})"
        return f"{words} by {on}" + (", but no better than chance." if row.is_chance else ".")
    return (
        f"{row.source} ranks {ordinal(row.place)} of {len(ranking)} ({row.score:.3f}) and cannot be told from "
        f"{best.source} ({best.score:.3f}) by {on}; it passes {_rows(ranking)} in {row.seconds:.0f} s, "
        f"{best.source} in {best.seconds:.0f} s."
    )


def _rows(ranking: Ranking) -> str:
    return f"the {ranking.total:,} rows"
