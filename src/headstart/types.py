"""The small values that flow through Headstart.

Axis letters, used in every shape comment of the project: B batch, N rows, D feature width, T tokens, C classes or
channels, H W map height and width, L layers, S statistics, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch

Modality: TypeAlias = Literal["text", "image", "audio", "series", "table", "interactions"]
"""What the input of a row is. Pre-split words are ``text``; a numeric vector is a ``table`` row; the items that a
user dealt with are ``interactions``."""

Sample: TypeAlias = Any
"""One input value: ``str``, ``list[str]`` (words), an image (path, bytes, PIL image, array), a sound (path, part of a
file, bytes, array with its rate), a time series (float32 array [C,T]) or ``dict`` (table row; of
interactions the items, and the user)."""

Json: TypeAlias = dict[str, Any]

Outputs: TypeAlias = Any
"""Raw network or model outputs as NumPy: [N,C] float array, or a list of N arrays [T_i,C] for token tasks; of a ranking
of items the best of them (`headstart.tasks.recommendation`)."""


@dataclass
class Batch:
    """What a source's network takes: named tensors, first axis B.

    weight: [B] of the rows in the loss, or None. beside: other rows that go along without labels, each a batch.
    """

    inputs: dict[str, torch.Tensor]
    weight: torch.Tensor | None = None
    beside: list[Batch] = field(default_factory=list)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        weight = None if self.weight is None else self.weight.to(device)
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(inputs, weight, [each.to(device) for each in self.beside])

    def __len__(self) -> int:
        return int(next(iter(self.inputs.values())).shape[0])


@dataclass
class Features:
    """What a source makes of a batch; it fills what it has.

    pooled: [B,D]. tokens: [B,T,D] with mask [B,T] (bool, True where valid). maps: list of [B,C,H,W].
    cuts: pooled outputs [B,D_l] of earlier layers by layer name, where they were asked for.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    maps: list[torch.Tensor] = field(default_factory=list)
    cuts: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Prediction:
    """Decoded predictions in the user's own labels.

    values: N labels, numbers, lists of labels, or lists of tags. probabilities: [N,C] or None.
    confidence: [N] in 0..1 or None. classes: the C labels in column order, or empty. parts: of several target columns
    the prediction of each; then ``values`` are dicts column -> value. lines: column -> values of the table to write,
    where a row is answered by several lines (the steps of a series).
    """

    values: list[Any]
    probabilities: np.ndarray | None = None
    confidence: np.ndarray | None = None
    classes: list[Any] = field(default_factory=list)
    parts: dict[str, Prediction] = field(default_factory=dict)
    lines: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval (``low`` <= ``value`` <= ``high``, in the units of the metric)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """Positive, neutral or negative transfer.

    difference: transfer minus best control in metric units (0.041 is 4.1 points). procedure: ``paired bootstrap`` or
    ``corrected repeated k-fold``. rows: test rows (or rows cross-validated).
    """

    label: Literal["positive", "neutral", "negative"]
    difference: Interval
    control: str
    procedure: str
    rows: int


@dataclass(frozen=True)
class Comparison:
    """A verdict besides the main one: ``method`` against ``against`` (itself without its own idea, one task alone).

    on: the target column it speaks of, or empty where there is one.
    """

    method: str
    against: str
    verdict: Verdict
    on: str = ""


@dataclass(frozen=True)
class Curve:
    """A learning curve. scores[i][s] is the test score with sizes[i] labels and seed s; fitted is isotonic [sizes]."""

    name: str
    sizes: list[int]
    scores: list[list[float]]
    fitted: list[float]


@dataclass(frozen=True)
class HeadStart:
    """The label multiplier.

    multiplier: control labels / transfer labels at score ``level``. bound: ``exact``, ``more than`` (the transfer's
    smallest size already reaches the control's best) or ``less than``. interval None where it cannot be bootstrapped.
    open: which ends of the interval are bounds only ("more than" at the upper end, "less than" at the lower).
    """

    multiplier: float
    bound: Literal["exact", "more than", "less than"]
    interval: tuple[float, float] | None
    level: float
    transfer_labels: float
    control_labels: float
    transfer: Curve
    control: Curve
    open: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Candidate:
    """One model that was fitted and could have shipped.

    role: ``transfer`` or ``control``. validation and test are headline metrics; test None until opened.
    """

    name: str
    role: Literal["transfer", "control"]
    description: str
    validation: float | None
    test: float | None
    seconds: float
    hyperparameters: Json = field(default_factory=dict)


@dataclass(frozen=True)
class LayerRow:
    """One line of the "what trained" table. share: part of the parameters that train; rate: learning rate or None.

    change: norm of the weights' change over their norm before; drift: 1 - linear CKA of the layer's pooled output
    before and after, on up to 256 validation rows (training rows where there are none); None where not measured.
    """

    layer: str
    parameters: int
    share: float
    rate: float | None
    change: float | None = None
    drift: float | None = None


@dataclass(frozen=True)
class Mistake:
    """A confident mistake. thumbnail: PNG as a data URI, or None. text: the input for reading, shortened."""

    row: int
    truth: str
    prediction: str
    confidence: float | None
    text: str
    thumbnail: str | None = None


@dataclass(frozen=True)
class TargetResult:
    """What came out for one of several target columns; the fields mean what they mean in `Record`.

    candidates: the same models as in the record, scored on this target.
    """

    name: str
    task: Json
    candidates: list[Candidate]
    chosen_transfer: str | None
    shipped: str
    shipped_because: str
    shipped_by: str
    metrics: dict[str, float]
    verdict: Verdict | None
    confusion: Json | None
    residuals: Json | None
    mistakes: list[Mistake]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TargetResult:
        """What ``dataclasses.asdict`` made of it."""
        fields = dict(data)
        fields["candidates"] = [Candidate(**row) for row in fields["candidates"]]
        fields["mistakes"] = [Mistake(**row) for row in fields["mistakes"]]
        if fields["verdict"] is not None:
            fields["verdict"] = _verdict(fields["verdict"])
        return cls(**fields)


@dataclass
class Record:
    """Everything a run leaves to be read: summary, card and report are made from this alone. Plain JSON.

    metrics: test metrics of what ships by name. shipped: name of the candidate that ships and ``shipped_because``.
    shipped_by: ``validation``, or ``test`` where the test verdict overruled that choice.
    confusion: {"labels": [...], "counts": [[...]]} rows true, columns predicted, or None.
    residuals: {"truth": [...], "prediction": [...]} or None. seconds: cost by stage.
    targets: of several target columns the result of each; then ``shipped`` names the one model of all of them, or the
    bundle. affinity: which of them help each other: {"targets", "share" [K][K] (row: whose step, column: on whose
    loss), "lookahead" [K][K], "error" [K][K], "measured", "together"}, or None.
    versions: library -> version. machine: {"cpu", "cores", "device", "precision"}.
    """

    name: str
    created: str
    command: str
    data: Json  # path, rows, rejected, columns [{name, role, kind}], digest, splits {train, valid, test}, moved
    task: Json  # name, target, metric, classes, description
    source: Json  # name, card fields
    candidates: list[Candidate]
    chosen_transfer: str | None
    shipped: str
    shipped_because: str
    metrics: dict[str, float]
    verdict: Verdict | None
    head_start: HeadStart | None
    trained: list[LayerRow]
    history: list[Json]
    confusion: Json | None
    residuals: Json | None
    mistakes: list[Mistake]
    rejects: list[Json]
    notes: list[str]
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: Json
    seed: int
    folder: str
    schema: int = 1
    shipped_by: str = "validation"
    ranking: Json | None = None  # why this source: ranker, place, of, reason, candidates; None where it was named
    comparisons: list[Comparison] = field(default_factory=list)
    matched: Json | None = None  # of a transfer that reads no label: how many a probe needs (evidence/matching.py)
    labelling: Json | None = None  # of a run without labels: each label's share, confidence and surest rows
    targets: list[TargetResult] = field(default_factory=list)
    affinity: Json | None = None
    anomalies: Json | None = None  # of a run that judges every step: the rule, and each series (unsupervised.py)
    forecasts: list[Json] | None = None  # some test windows: series, first, history, truth, median, low, high, mase
    adaptation: Json | None = None  # of a run for another domain: distances, explanations, picture (adaptation.py)

    def to_json(self) -> Json:
        """The record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """The record that ``to_json`` wrote. Raises KeyError or TypeError where fields are missing or unknown."""
        fields = dict(data)
        fields["candidates"] = [Candidate(**row) for row in fields["candidates"]]
        fields["trained"] = [LayerRow(**row) for row in fields["trained"]]
        fields["mistakes"] = [Mistake(**row) for row in fields["mistakes"]]
        if fields["verdict"] is not None:
            fields["verdict"] = _verdict(fields["verdict"])
        fields["comparisons"] = [
            Comparison(**{**row, "verdict": _verdict(row["verdict"])}) for row in fields.get("comparisons", [])
        ]
        fields["targets"] = [TargetResult.from_json(row) for row in fields.get("targets", [])]
        if fields["head_start"] is not None:
            start = dict(fields["head_start"])
            start["transfer"], start["control"] = Curve(**start["transfer"]), Curve(**start["control"])
            start["interval"] = tuple(start["interval"]) if start["interval"] else None
            start["open"] = tuple(start.get("open", (False, False)))
            fields["head_start"] = HeadStart(**start)
        if "shipped_by" not in fields and "test rows took part" in fields["shipped_because"]:
            fields["shipped_by"] = "test"  # a run of an older version says so in words alone
        return cls(**fields)


def _verdict(data: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**data, "difference": Interval(**data["difference"])})


_METRICS = {"vus_pr": "VUS-PR", "ndcg@10": "NDCG@10", "coverage_of_80": "coverage of the middle 80 %"}
_WORDS = {"r2": "R²", "f1": "F1", "auc": "AUC", "mae": "MAE", "rmse": "RMSE", "mse": "MSE", "ece": "ECE",
          "mase": "MASE", "wql": "wQL", "neg": "minus"}  # fmt: skip


def metric_name(name: str) -> str:
    """A metric as a person writes it: ``entity_f1`` -> ``entity F1``, ``r2`` -> ``R²``."""
    words = name.replace("-", "_").split("_")
    return _METRICS.get(name) or " ".join(_WORDS.get(word.lower(), word) for word in words)


def cache_home() -> Path:
    """Where sources, data and features live: ``HEADSTART_HOME``, or the user's cache folder."""
    import os

    if home := os.environ.get("HEADSTART_HOME"):
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_cache_dir("headstart"))
