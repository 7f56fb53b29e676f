"""What is said of a run that judges every step of series: how much it flags, by which rule, and where."""

from __future__ import annotations

from headstart.report import wording
from headstart.types import Json, Record

SHOWN = 4  # stretches named in a line


def lines(record: Record) -> list[tuple[str, str]]:
    """The lines of the summary as (label, text); none for other runs."""
    found = record.anomalies
    if found is None:
        return []
    told = [("flags", f"{share(found)}: {found['rule']}")]
    if stretches := strangest(found):
        told.append(("strangest", stretches))
    if not record.metrics:
        told.append(("score", unmeasured(record)))
    return told


def share(found: Json) -> str:
    """``120 of 5 000 steps of 3 series (2.4 %)``."""
    flagged, steps = found["flagged"], found["steps"]
    part = wording.part(flagged / max(steps, 1))
    return f"{wording.count(flagged)} of {wording.count(steps)} steps of {found['count']} series ({part} %)"


def strangest(found: Json) -> str:
    """The stretches with the highest scores, series and steps."""
    every = [(each["score"], series["name"], each) for series in found["series"] for each in series["strangest"]]
    best = sorted(every, key=lambda item: -item[0])[:SHOWN]
    return ", ".join(f"{name} {span(each)} ({score:.2g})".strip() for score, name, each in best)


def span(stretch: Json) -> str:
    """``17 to 25``, or ``17``."""
    first, last = stretch["first"], stretch["last"]
    return str(first) if first == last else f"{first} to {last}"


def unmeasured(record: Record) -> str:
    """Why there is no score."""
    found = record.anomalies or {}
    if found.get("labelled") is None:
        return "no label was given, so there is no score and no verdict"
    return "the labels name no anomaly, so there is no score and no verdict"
