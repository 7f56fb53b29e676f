"""What a ranking says: one row a source (or a layer of it), best first, and the same as text, JSON and HTML."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, field
from typing import Any

from headstart.types import Json


@dataclass(frozen=True)
class Row:
    """One candidate.

    layer: where the network is cut, or None for its own output. low, high: 95 % interval of the score. chance: mean
    score on shuffled targets; chance_high: what chance reaches in one of 20. share: how far from chance (0) to the best
    candidate (1). tied: cannot be told from the best. seconds: a frozen pass over all rows of the data that are not
    stored yet. rate: rows a second, None where nothing was computed. scores: by the other rankers that were asked; None
    where one cannot score it.
    """

    source: str
    layer: str | None
    place: int
    score: float
    low: float
    high: float
    chance: float
    chance_high: float
    share: float
    tied: bool
    seconds: float
    rate: float | None
    width: int
    licence: str
    scores: dict[str, float | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The source, and the layer where it is cut."""
        return self.source if self.layer is None else f"{self.source} @ {self.layer}"

    @property
    def is_chance(self) -> bool:
        """Whether shuffled targets score as high in one of 20 draws."""
        return self.score <= self.chance_high

    @property
    def word(self) -> str:
        """The answer to "is this score good?"."""
        return "no better than chance" if self.is_chance else f"{self.share:.0%} of the way"


@dataclass(frozen=True)
class Skipped:
    """A candidate that could not be ranked, and why. code: of the error, or empty."""

    source: str
    reason: str
    code: str = ""


@dataclass(frozen=True)
class Ranking:
    """One candidate or more, best first. sampled: rows that were scored, of ``total``. ``ranking[0]`` is the best."""

    candidates: list[Row]
    skipped: list[Skipped]
    ranker: str
    task: str
    sampled: int
    total: int
    resamples: int
    shuffles: int
    seed: int
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Row:
        """The row with the highest score."""
        return self.candidates[0]

    @property
    def choice(self) -> Row:
        """What to take: of the sources that cannot be told from the best the cheapest."""
        return min((row for row in self.candidates if row.tied), key=lambda row: (round(row.seconds, 1), row.place))

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, place: int) -> Row:
        return self.candidates[place]

    # --- showing -----------------------------------------------------------------------------------------------

    def headings(self) -> list[str]:
        """The heads of the table's columns."""
        layer = ["layer"] if any(row.layer for row in self.candidates) else []
        more = list(self.best.scores)
        return [
            "", "source", *layer, self.ranker, "95 % interval", "chance", "from chance to best", *more,
            "width", "full pass", "licence",
        ]  # fmt: skip

    def cells(self) -> list[list[str]]:
        """The table, one list of texts a row; ``=`` marks what cannot be told from the best."""
        layers = any(row.layer for row in self.candidates)
        return [
            [
                f"{row.place}{' =' if row.tied and row.place > 1 else ''}",
                row.source,
                *([row.layer or "(output)"] if layers else []),
                f"{row.score:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                f"{row.chance:.3f}",
                "no better than chance" if row.is_chance else f"{row.share:.0%}",
                *("-" if score is None else f"{score:.3f}" for score in row.scores.values()),
                f"{row.width:,}",
                _seconds(row.seconds),
                row.licence,
            ]
            for row in self.candidates
        ]

    def lines(self) -> list[str]:
        """What stands below the table."""
        found = [f"{each.source}: not ranked. {each.reason}" for each in self.skipped]
        found += self.notes
        return [
            *found,
            f"{self.ranker} on {self.sampled:,} of {self.total:,} rows, {self.task}. Intervals: {self.resamples} half "
            f"samples. Chance: {self.shuffles} shuffles of the target. =: not to be told from the best.",
        ]

    def text(self) -> str:
        """The table and what stands below it, as plain text."""
        table = [self.headings(), *self.cells()]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
        return "\n".join([*lines, "", *self.lines()])

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        cells = [[html.escape(cell) for cell in row] for row in self.cells()]
        head = "".join(f"<th>{html.escape(heading)}</th>" for heading in self.headings())
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
        below = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"

    def to_json(self) -> Json:
        """Everything as plain JSON values."""
        data: dict[str, Any] = asdict(self)
        data["candidates"] = [{"name": row.name, "word": row.word, **asdict(row)} for row in self.candidates]
        data["choice"] = self.choice.name
        return data


def ordinal(place: int) -> str:
    """1 -> ``1st``."""
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _seconds(value: float) -> str:
    if value < 0.5:
        return "stored"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"
