"""How numbers and names are written for a person, the same in the summary, the card and the report.

Every function takes plain values and returns text; none of it is escaped, that is the templates' work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from headstart.types import Candidate, Record
from headstart.types import metric_name as metric_name


def rows(record: Record) -> str:
    """What a row of this run is called: ``rows``, ``series``, ``users`` or ``windows``."""
    if record.anomalies is not None:
        return "series"
    if record.forecasts is not None:
        return "windows"
    return "users" if record.task.get("name") == "recommendation" else "rows"


def labels(record: Record) -> str:
    """What a head start is counted in: ``labels``, or ``users`` where a row is what a user did."""
    return "users" if rows(record) == "users" else "labels"


POOLED = "pooled"
"""The control that has the rows which the source learned from."""


def lacking(record: Record) -> str:
    """What the controls of a run do without."""
    if record.adaptation is not None:
        return "adaptation"
    pooled = any(each.name == POOLED for each in record.candidates)
    return "the source's knowledge" + (f"; {POOLED} has the rows that the source learned from" if pooled else "")


def score(value: float | None) -> str:
    """A metric with three digits; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}".replace("-", "−")


def points(value: float) -> str:
    """A signed difference of metrics in points: 0.041 -> ``+4.1``."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def part(share: float) -> str:
    """A share of a whole in percent, with the digits that a small one needs: ``100``, ``25``, ``1.5``, ``0.12``."""
    percent = 100 * share
    return f"{percent:.0f}" if percent == 0 or percent >= 9.95 else f"{percent:.2g}"


def times(value: float) -> str:
    """A multiplier: ``9.6x``, ``14x``, ``0.42x``; written as in `headstart.evidence.curves`."""
    return f"{value:.2g}x" if value < 10 else f"{count(value)}x"


def count(value: float) -> str:
    """A whole number with a space between thousands: ``4 812``."""
    return f"{round(value):,}".replace(",", " ")


def large(value: float) -> str:
    """A count of parameters: ``22.7 M``, ``384 k``, ``512``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Seconds for a person: ``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plain(value: Any) -> str:
    """A JSON value in a table cell: numbers short, lists joined, mappings as ``key: value``."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return count(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def one_line(text: object) -> str:
    """The text on one line and without control characters, so that no label can steer a terminal or break a table."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", " ", str(text)
    )


def title(candidate: Candidate) -> str:
    """What a candidate is called in a sentence: its description, or its name where it has none."""
    return candidate.description or candidate.name


def sentence(text: str) -> str:
    """The text with a capital at its start and one full stop at its end."""
    return text[:1].upper() + text[1:].rstrip(". ") + "."


def ends(interval: tuple[float, float] | None, open_ends: tuple[bool, bool]) -> str:
    """The interval of a multiplier: ``6.1x to 14x at 95 %``; an end that is only a bound has its sign."""
    if interval is None:
        return "no interval"
    return f"{'<' * open_ends[0]}{times(interval[0])} to {'>' * open_ends[1]}{times(interval[1])} at 95 %"


def candidate(record: Record, name: str | None) -> Candidate | None:
    """The candidate called ``name``, or None."""
    return next((item for item in record.candidates if item.name == name), None)


def modality(record: Record) -> str:
    """``text``, ``image``, ``audio``, ``series`` or ``table``: the source's, else that of the input columns."""
    if known := record.source.get("modality"):
        return str(known)
    kinds = {column.get("kind") for column in record.data.get("columns", []) if column.get("role") == "input"}
    if found := kinds & {"image", "audio", "series"}:
        return str(found.pop())
    return "text" if kinds & {"text", "tokens"} else "table"


def ranked(record: Record) -> str:
    """`` (ranked 1st of 4)`` where the source was chosen by ranking, else nothing."""
    if not record.ranking:
        return ""
    place, of = int(record.ranking["place"]), record.ranking["of"]
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f" (ranked {place}{ending} of {of}{', level with the 1st but cheaper' if record.ranking['tied'] else ''})"
