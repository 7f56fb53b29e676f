"""The few lines that a fit prints at its end, and the same as a fragment for notebooks.

Task and rows, source and method, the scores side by side, the verdict, the head start, and where everything lies.
"""

from __future__ import annotations

import textwrap

from headstart.report import anomalies, domains, labelling, targets, wording
from headstart.types import Candidate, Json, Record

_LABELS = 12  # width of the column of labels

SCRATCH = ("scratch", "sasrec_scratch", "two_tower_scratch")
"""Controls that are the source's network from fresh weights; the last one beside `TOWERS` alone."""

TOWERS = "two towers"
"""The architecture of a source; beside others the towers read the words of the items."""


def summary(record: Record, *, width: int | None = None) -> str:
    """The plain-text summary of a run, without a newline at its end. ``width`` wraps the lines to that many columns."""
    lines = []
    for label, text in ((label, wording.one_line(text)) for label, text in rows(record)):
        first = f"{label:<{_LABELS}}"
        if width is None:
            lines.append(first + text)
        else:
            hanging = " " * _LABELS
            lines += textwrap.wrap(
                text,
                max(width, _LABELS + 20),
                initial_indent=first,
                subsequent_indent=hanging,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def rows(record: Record) -> list[tuple[str, str]]:
    """The lines of the summary as (label, text)."""
    lines = [("task", _task(record)), ("source", _source(record))]
    for label in ("Columns", "Rows"):
        notes = [note for note in record.notes if note.startswith(f"{label}: ")]
        lines += [(label.lower(), note.removeprefix(f"{label}: ")) for note in notes]
    lines += [*labelling.lines(record), *anomalies.lines(record), *domains.lines(record)]
    unseen = (record.adaptation is not None or record.anomalies is not None) and not record.metrics
    if text := "" if record.labelling or unseen else scores(record):
        lines.append((score_label(record), text))
    if text := verdict(record):
        lines.append(("VERDICT", text))
    if text := head_start(record):
        lines.append(("HEAD START", text))
    if record.matched is not None:
        lines.append(("HEAD START", matched(record.matched)))
    lines += comparisons(record)
    lines += targets.lines(record)
    lines += [("tried", note.removeprefix("Tried, ")) for note in record.notes if note.startswith("Tried, ")]
    if not record.targets and record.adaptation is None and record.shipped != record.chosen_transfer:
        lines.append(("ships", f"{shipped_title(record)}: {record.shipped_because}"))
    if record.folder:
        lines.append(("saved to", f"{record.folder}   (model, card, report.html)"))
    return lines


def _task(record: Record) -> str:
    parts = [str(record.task.get("description") or record.task.get("name", ""))]
    parts.append(
        f"{wording.count(record.data.get('rows', 0))} {wording.rows(record)}"
        + " without a label" * (record.labelling is not None)
    )
    if rejected := rejected_rows(record):
        parts.append(f"{wording.count(rejected)} rejected: see rejected.csv")
    return ", ".join(parts)


def rejected_rows(record: Record) -> int:
    """How many rows could not be read."""
    return int(record.data.get("rejected") or len(record.rejects))


def _source(record: Record) -> str:
    name = record.source.get("name") or "none"
    return f"{name}{wording.ranked(record)}   method: {record.chosen_transfer or record.shipped}"


def cross_validated(record: Record) -> bool:
    """Whether no test split was opened, so that the scores are of cross-validation."""
    return all(item.test is None for item in record.candidates)


def score_label(record: Record) -> str:
    """``test``, ``cross-val.`` where the data were too few for a test split, ``score`` where nothing was learned from
    labels.
    """
    if record.anomalies is not None:
        return "score"
    if not cross_validated(record):
        return "test"
    corrected = record.verdict is not None and "k-fold" in record.verdict.procedure
    return "cross-val." if corrected else "validation"


def scored(record: Record) -> str:
    """The headline metric with what it was measured on: ``test accuracy``, ``cross-validated R²``, ``VUS-PR``."""
    where = {"score": "", "cross-val.": "cross-validated "}.get(score_label(record), f"{score_label(record)} ")
    return where + wording.metric_name(str(record.task.get("metric", "score")))


def shown_score(record: Record, item: Candidate) -> float | None:
    """The score by which candidates are compared in public: test where it was opened, else validation."""
    return item.validation if cross_validated(record) else item.test


def best_control(record: Record) -> Candidate | None:
    """The control that the verdict names, else the one with the highest validation score (None last); where nothing
    was learned from labels, with the highest score by them.
    """
    if record.verdict is not None:
        named = wording.candidate(record, record.verdict.control)
        if named is not None:
            return named
    controls = [item for item in record.candidates if item.role == "control"]
    read = "validation" if record.anomalies is None else "test"
    known = [item for item in controls if getattr(item, read) is not None]
    return max(known, key=lambda item: getattr(item, read)) if known else (controls[0] if controls else None)


def scores(record: Record) -> str:
    """The transfer, the best control and the same network from scratch, side by side."""
    metric = wording.metric_name(str(record.task.get("metric", "score")))
    main = wording.candidate(record, record.chosen_transfer) or wording.candidate(record, record.shipped)
    if main is None:
        return ""
    parts = [f"{metric} {wording.score(shown_score(record, main))}"]
    best = best_control(record)
    same = SCRATCH if record.source.get("architecture") == TOWERS else SCRATCH[:-1]
    scratch = next((item for item in record.candidates if item.name in same), None)
    if best is not None and best is not main and best is not scratch:
        parts.append(f"best control ({wording.title(best)}) {wording.score(shown_score(record, best))}")
    if scratch is not None and scratch is not main:
        words = "same net from scratch" + (" (best control)" if best is scratch else "")
        parts.append(f"{words} {wording.score(shown_score(record, scratch))}")
    return "  |  ".join(parts)


def verdict(record: Record) -> str:
    """The verdict in one line; empty where no control was fitted."""
    if record.verdict is None:
        return ""
    from headstart.evidence.verdict import verdict_sentence

    metric = wording.metric_name(str(record.task.get("metric", "score")))
    return verdict_sentence(record.verdict, metric).removeprefix("VERDICT: ")


def comparisons(record: Record) -> list[tuple[str, str]]:
    """A line for each further verdict, of a method against itself without its own idea; several targets: `targets`."""
    from headstart.evidence.verdict import verdict_sentence

    metric = wording.metric_name(str(record.task.get("metric", "score")))
    lines = []
    for each in record.comparisons if not record.targets else []:
        sentence = verdict_sentence(each.verdict, metric).removeprefix("VERDICT: ")
        lines.append((each.on or "compared", f"{each.method}: {sentence}"))
    return lines


def head_start(record: Record) -> str:
    """The head start in one line; empty where there is none."""
    if record.head_start is None:
        return ""
    from headstart.evidence.curves import head_start_sentence

    return head_start_sentence(record.head_start, wording.labels(record)).removeprefix("HEAD START: ")


def matched(found: Json) -> str:
    """What a transfer that reads no label is worth in labels, in one line."""
    from headstart.evidence.matching import sentence

    return sentence(found)


def shipped_title(record: Record) -> str:
    """The shipped candidate's name and what it is."""
    item = wording.candidate(record, record.shipped)
    if item is None or item.role == "transfer" or not item.description:
        return record.shipped
    return f"{item.name} ({item.description})"


def html_summary(record: Record) -> str:
    """The summary as a self-contained HTML fragment, for ``_repr_html_``; all text escaped, no script, no request."""
    from headstart.report.html import environment

    template = environment().get_template("notebook.html.j2")
    return template.render(
        record=record,
        lines=rows(record),
        hue={"positive": "#0a7a57", "negative": "#c0392b", "neutral": "#6b7680"},
    )
