"""Several targets in the summary and the report: each as a record of its own, and what they do for each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headstart.report import wording
from headstart.types import Json, Record

_WORDS = {"positive": "better", "neutral": "no clear difference", "negative": "worse"}


def views(record: Record) -> list[Record]:
    """A record for each of several targets, so that everything made for one target shows it; empty for one target."""
    return [
        replace(
            record, name=each.name, task=each.task, candidates=each.candidates, chosen_transfer=each.chosen_transfer,
            shipped=each.shipped, shipped_because=each.shipped_because, shipped_by=each.shipped_by,
            metrics=each.metrics, verdict=each.verdict, head_start=None, confusion=each.confusion,
            residuals=each.residuals, mistakes=each.mistakes, trained=[], history=[], targets=[], affinity=None,
            comparisons=[other for other in record.comparisons if other.on == each.name],
        )
        for each in record.targets
    ]  # fmt: skip


def lines(record: Record) -> list[tuple[str, str]]:
    """The lines of the summary: for each target what ships, its verdicts, and which targets should learn together."""
    found = []
    for view in views(record):
        headline = next(iter(view.metrics.items()), None)
        metric = wording.metric_name(str(view.task.get("metric", "score")))
        score = "" if headline is None else f"{metric} {wording.score(headline[1])}, "
        found.append(("target", f"{view.name}: {score}ships {view.shipped}: {view.shipped_because}"))
        found += [("", text) for text in verdicts(view)]
    if text := together(record.affinity):
        found.append(("affinity", text))
    return found


def verdicts(view: Record) -> list[str]:
    """Of one target: the verdict against the best control, and those against the model of this target alone."""
    from headstart.evidence.verdict import verdict_sentence

    metric = wording.metric_name(str(view.task.get("metric", "score")))
    pairs = [(view.chosen_transfer, view.verdict, "")] if view.verdict is not None else []
    pairs += [(each.method, each.verdict, _WORDS[each.verdict.label]) for each in view.comparisons]
    found = []
    for name, verdict, word in pairs:
        sentence = verdict_sentence(verdict, metric).removeprefix("VERDICT: ")
        found.append(f"{name}: {sentence.replace(f'{verdict.label} transfer', word) if word else sentence}")
    return found


def together(affinity: Json | None) -> str:
    """Which targets the table advises to train together; empty where it says nothing."""
    if not affinity or not affinity["together"]:
        return ""
    groups = [" + ".join(group) + " together" for group in affinity["together"] if len(group) > 1]
    alone = [group[0] for group in affinity["together"] if len(group) == 1]
    parts = [*groups, *([", ".join(alone) + (" alone" if groups else ", each alone")] if alone else [])]
    return f"learn {', '.join(parts)} (measured {affinity['measured']} times while training)"


def affinity_rows(affinity: Json) -> list[Json]:
    """The table: a row for each target whose steps are looked at, with a cell for each whose loss they change."""
    names = affinity["targets"]
    return [{"name": name, "cells": [_cell(affinity, i, j) for j in range(len(names))]} for i, name in enumerate(names)]


def _cell(affinity: Json, i: int, j: int) -> Json:
    share, error = affinity["share"][i][j], affinity["error"][i][j]
    if i == j:
        return {"text": "own", "tone": "own"}
    if share is None:
        return {"text": "–", "tone": "none"}
    certain = error is not None and abs(share) > 2 * error
    tone = ("helps" if share > 0 else "harms") if certain else "none"
    return {"text": f"{_percent(share)} %", "tone": tone, "error": _percent(error).lstrip("+")}


def _percent(value: Any) -> str:
    return "–" if value is None else f"{100 * value:+.0f}".replace("-", "−")
