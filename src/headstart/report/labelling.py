"""What is said of a run without labels: shares, confidence, agreement, and how to learn the accuracy."""

from __future__ import annotations

import math

from headstart.report import wording
from headstart.types import Json, Record

SHOWN = 8  # labels named in a line


def lines(record: Record) -> list[tuple[str, str]]:
    """The lines of the summary as (label, text); none for a run with labels."""
    found = record.labelling
    if found is None:
        return []
    told = [("labels", shares(found)), ("how sure", sure(found))]
    return [*told, ("score", f"{unknown(found)} {advice(record)}")]


def shares(found: Json) -> str:
    """The labels with the share of the rows that each was given, most first."""
    ordered = sorted(found["labels"], key=lambda each: -each["share"])
    text = ", ".join(f"{each['label']} {100 * each['share']:.0f} %" for each in ordered[:SHOWN])
    return text + (f", and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else "")


def sure(found: Json) -> str:
    """Confidence and agreement in a sentence."""
    text = f"mean confidence {found['confidence']:.2f}, which nothing checked; "
    text += f"{100 * found['unsure']:.0f} % of the rows under 0.5"
    if found.get("agreement") is not None:
        text += f"; wordings of the labels agree on {100 * found['agreement']:.0f} %"
    if found.get("own") is not None:
        text += f"; the image network is sure of its own classes at {found['own']:.2f}"
    return text


def unknown(found: Json) -> str:
    """Why there is no score."""
    return "no label was given, so there is no score and no verdict."


def advice(record: Record) -> str:
    """How many rows to label, and what that tells: half the width of a 95 % interval of a share of one half."""
    assert record.labelling is not None
    rows, column = int(record.labelling["to_label"]), record.labelling["column"]
    points = 100 * 1.96 * math.sqrt(0.25 / rows)
    return (
        f"{wording.count(rows)} rows drawn at random and labelled by hand (column {column}) tell the accuracy within "
        f"{points:.0f} points: headstart evaluate {record.folder or 'RUN'} LABELLED.csv"
    )
