"""What a run leaves to be read: the record, made once, after everything is fixed.

Summary, `run.json`, card and report are views of it.
"""

from __future__ import annotations

import base64
import io
import os
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets.base import Dataset, Items, Reject
from headstart.evidence.entries import Evaluation
from headstart.evidence.splits import Split
from headstart.runtime import Extractor, device
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.tasks.several import Several
from headstart.types import Json, Mistake, Prediction, Record, TargetResult

if TYPE_CHECKING:
    from PIL.Image import Image

LIBRARIES = (
    "headstart",
    "torch",
    "transformers",
    "timm",
    "torchvision",
    "scikit-learn",
    "datasets",
    "accelerate",
    "numpy",
)
MISTAKES, SHOWN, POINTS = 24, 400, 2000
LAST = 5  # items of a history, of those that came next and of those recommended that a mistake shows
LANES = 6  # channels of a series that are drawn one below the other
FEWER = 6  # mistakes shown of each of several targets


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.begun = self._last = time.monotonic()

    def lap(self, stage: str, less: float = 0.0) -> None:
        """Book the time since the last lap, less what is booked elsewhere."""
        now = time.monotonic()
        self.seconds[stage] = max(0.0, now - self._last - less)
        self._last = now


def record(
    dataset: Dataset,
    task: Task,
    source: Source | None,
    parts: Split,
    outcome: Evaluation,
    extractor: Extractor | None,
    *,
    rejects: Sequence[Reject],
    notes: Sequence[str],
    seconds: dict[str, float],
    seed: int,
    folder: Path,
    command: str,
    key: str,
) -> Record:
    """The record of a finished evaluation."""
    prediction = task.predictions(outcome.outputs, outcome.rows)
    kept = outcome.shipped.fitted.keeps
    return Record(
        name=folder.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=command,
        data=data_facts(dataset, rejects, key)
        | {
            "splits": {
                "train": len(parts.train),
                "valid": len(parts.valid) if parts.valid is not None else 0,
                "test": len(parts.test),
            },
            "procedure": parts.procedure,
            "moved": parts.moved,
            "known": parts.known,
        },
        task=task_facts(task, ", ".join(column.name for column in dataset.with_role("target"))),
        source=source.card.to_json() if source is not None else {},
        candidates=[line for entry in outcome.entries for line in entry.candidates()],
        chosen_transfer=outcome.transfer.name if outcome.transfer else None,
        shipped=outcome.shipped.name,
        shipped_because=outcome.because,
        shipped_by=outcome.shipped_by,
        metrics=task.metrics(outcome.outputs, outcome.targets),
        verdict=outcome.verdict,
        head_start=outcome.head_start,
        comparisons=outcome.comparisons,
        matched=outcome.matched,
        trained=outcome.shipped.fitted.trained(),
        history=outcome.shipped.fitted.history if outcome.shipped.method.gradients else [],
        confusion=confusion(task, prediction, outcome.values),
        residuals=residuals(task, prediction, outcome.values),
        mistakes=[]
        if prediction.parts or not task.independent
        else mistakes(task, outcome.rows, prediction, outcome.values),
        forecasts=task.drawn(outcome.outputs, outcome.targets, outcome.rows),
        targets=_targets(task, outcome, prediction),
        affinity=next((found for entry in outcome.entries if (found := _affinity(entry.fitted.history))), None),
        rejects=[vars(reject) for reject in list(rejects)[:200]],
        notes=list(
            dict.fromkeys(
                [*parts.notes, *notes, *(extractor.notes if extractor else []), *([f"Rows: {kept}."] if kept else [])]
            )
        ),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        versions=versions(),
        machine=machine(extractor),
        seed=seed,
        folder=str(folder),
    )


def data_facts(dataset: Dataset, rejects: Sequence[Reject], digest: str) -> Json:
    """The rows as the record shows them: where they come from, how many, which columns."""
    return {
        "path": dataset.origin,
        "rows": len(dataset),
        "rejected": len(rejects),
        "columns": [vars(column) for column in dataset.columns],
        "digest": digest,
    }


def machine(extractor: Extractor | None) -> Json:
    """What the run was computed on, and in which arithmetic."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": str(device()),
        "precision": extractor.description if extractor else "",
    }


def task_facts(task: Task, target: str) -> Json:
    """The task as the record shows it. target: the column, or several with commas."""
    return {
        "name": task.name,
        "target": target,
        "metric": task.metric,
        "classes": [str(label) for label in task.classes],
        "description": task.describe(),
    }


def _targets(task: Task, outcome: Evaluation, prediction: Prediction) -> list[TargetResult]:
    """The result of each of several targets."""
    if not isinstance(task, Several):
        return []
    results = []
    for place, each in enumerate(outcome.by_target):
        part, guess = task.parts[each.column], prediction.parts[each.column]
        values = [row[place] for row in outcome.values]
        own = task.outputs_for(each.column, outcome.outputs), task.targets_for(each.column, outcome.targets)
        results.append(
            TargetResult(
                each.column, task_facts(part, each.column), each.candidates, each.transfer, each.shipped, each.because,
                each.shipped_by, part.metrics(*own), each.verdict, confusion(part, guess, values),
                residuals(part, guess, values), mistakes(part, outcome.rows, guess, values)[:FEWER],
            )
        )  # fmt: skip
    return results


def _affinity(history: Sequence[Json]) -> Json | None:
    """What the last line of a history says of how the targets help each other."""
    return history[-1].get("affinity") if history else None


def versions() -> dict[str, str]:
    """Python and the libraries that a result depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def confusion(task: Task, prediction: Prediction, values: Sequence[Any]) -> Json | None:
    """Counts of true and predicted classes; None where there are none. values: true labels."""
    if task.name != "classification":
        return None
    place = {label: number for number, label in enumerate(task.classes)}
    counts = np.zeros((len(place), len(place)), dtype=int)
    for truth, guess in zip(values, prediction.values):
        counts[place[truth], place[guess]] += 1
    return {"labels": [str(label) for label in task.classes], "counts": counts.tolist()}


def residuals(task: Task, prediction: Prediction, values: Sequence[Any]) -> Json | None:
    """True and predicted numbers; None for other tasks."""
    if task.name != "regression":
        return None
    step = max(1, len(values) // POINTS)
    truth = [float(value) for value in values[::step]]
    return {"truth": truth, "prediction": [float(value) for value in prediction.values[::step]]}


def mistakes(task: Task, rows: Dataset, prediction: Prediction, values: Sequence[Any]) -> list[Mistake]:
    """The wrong rows of which the model was surest; for regression the largest errors."""
    if task.name == "regression":
        errors = np.abs(np.array(values, float) - np.array(prediction.values, float))
        order = np.argsort(-errors)[:MISTAKES].tolist()
    else:
        wrong = np.array([_differs(task, t, p) for t, p in zip(values, prediction.values)])
        sure = prediction.confidence if prediction.confidence is not None else np.zeros(len(wrong))
        order = [i for i in np.argsort(-np.where(wrong, sure, -1.0), kind="stable")[:MISTAKES] if wrong[i]]
    listed: list[Mistake] = []
    for at in order:
        sample = rows.samples([int(at)])[0]
        text, picture = shown(sample)
        if rows.items is not None:  # names say more than identifiers
            history = next(value for value in sample.values() if isinstance(value, list))
            text = f"{len(history)} items, the last: {_label(_told(rows.items, history[-LAST:][::-1]))}"
            given, found = (_told(rows.items, row[at][:LAST]) for row in (values, prediction.values))
            listed.append(Mistake(rows.numbers[at], _label(given), _label(found), None, text))
            continue
        sure_of = None if prediction.confidence is None else float(prediction.confidence[at])
        listed.append(
            Mistake(rows.numbers[at], _label(values[at]), _label(prediction.values[at]), sure_of, text, picture)
        )
    return listed


def _told(items: Items, ids: Sequence[str]) -> list[str]:
    """What is known of each item up to its first full stop, else its identifier."""
    known = dict(zip(items.ids, items.texts))
    return [(known.get(item) or item).split(". ")[0] for item in ids]


def _differs(task: Task, truth: Any, guess: Any) -> bool:
    if task.name == "multilabel":
        return set(truth) != set(guess)
    if task.name == "recommendation":
        return not set(truth) & set(guess)
    return list(truth) != list(guess) if isinstance(truth, list | tuple) else bool(truth != guess)


def _label(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text[:SHOWN]


def shown(sample: Any) -> tuple[str, str | None]:
    """A sample for reading: shortened text; the name of a picture or a sound and a small PNG; a series as a line."""
    from headstart.datasets import clip

    if clip.is_sound_path(sample) if isinstance(sample, str) else isinstance(sample, bytes) and clip.is_sound(sample):
        from headstart.sources.audio import picture

        return Path(sample).name if isinstance(sample, str) else "sound", _thumbnail(picture(sample))
    if isinstance(sample, dict):
        return ", ".join(f"{name}: {value}" for name, value in sample.items())[:SHOWN], None
    if isinstance(sample, list):
        return " ".join(map(str, sample))[:SHOWN], None
    if isinstance(sample, np.ndarray) and sample.dtype.kind == "f":
        return told_series(sample), drawn_series(sample)
    from headstart.datasets.base import is_image_path

    if isinstance(sample, str) and not is_image_path(sample):
        return sample[:SHOWN], None
    from headstart.sources.image import decode

    image = decode(sample)
    image.thumbnail((96, 96))
    return Path(sample).name if isinstance(sample, str) else "image", _thumbnail(image)


def _thumbnail(image: Image) -> str:
    """A PNG as a data URI."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def told_series(series: np.ndarray) -> str:
    """A series [C,T] in words."""
    channels, steps = series.shape
    several = f"{channels} channels, " if channels > 1 else ""
    return f"{several}{steps} steps, {float(series.min()):.4g} to {float(series.max()):.4g}"


COLOURS = ("#1f5fa8", "#c2571a", "#2c7a3f")


def drawn_series(series: np.ndarray, flags: np.ndarray | None = None, marks: np.ndarray | None = None) -> str:
    """A series [C,T] as a line for each channel on one scale, a small PNG as a data URI. With flags [T] a wide one with
    a lane for each of the first `LANES` channels: flagged steps have a red ground, steps with marks [T] a black line
    below them.
    """
    from PIL import Image, ImageDraw

    wide = flags is not None
    lanes, width = (series[:LANES, None] if wide else series[None]), 640 if wide else 96
    tall = max(18, 60 // len(lanes)) if wide else 48
    floor = tall * len(lanes) + (5 if marks is not None else 0)
    image = Image.new("RGB", (width, floor), "white")
    pen = ImageDraw.Draw(image)

    def ends(steps: np.ndarray | None) -> Iterator[tuple[float, float]]:
        for step in np.flatnonzero(steps) if steps is not None else ():
            left, right = (2 + (width - 5) * at / max(series.shape[1] - 1, 1) for at in (step - 0.5, step + 0.5))
            yield left, max(right, left + 1)

    for left, right in ends(flags):
        pen.rectangle((left, 0, right, tall * len(lanes)), fill="#f2b8b5")
    for left, right in ends(marks):
        pen.rectangle((left, floor - 4, right, floor - 1), fill="black")
    for place, lane in enumerate(lanes):
        low, high = float(lane.min()), float(lane.max())
        for number, channel in enumerate(lane):
            across = np.linspace(2, width - 3, len(channel))
            up = (place + 1) * tall - 3 - (channel - low) / max(high - low, 1e-12) * (tall - 6)
            pen.line(list(zip(across.tolist(), up.tolist())), fill=COLOURS[(place + number) % 3])
    return _thumbnail(image)
