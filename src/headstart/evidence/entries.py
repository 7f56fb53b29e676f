"""The entries of a contest and its outcome: what evaluation fills and the record reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method
from headstart.tasks.base import Targets
from headstart.types import Candidate, Comparison, HeadStart, Json, Outputs, Verdict


@dataclass
class Entry:
    """One method in the contest. outputs: on the test rows, or out of fold on all rows."""

    method: Method
    fitted: Fitted
    validation: float | None
    seconds: float
    test: float | None = None
    outputs: Outputs = None

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def candidates(self) -> list[Candidate]:
        """The entry as a line of the record, and what else was tried in its place."""
        rest = [other for other in self.fitted.tried if other.name != self.name]
        return [*rest, self.candidate()]

    def candidate(self) -> Candidate:
        """The entry as a line of the record."""
        details = self.fitted.method.hyperparameters()
        if not self.method.gradients and self.fitted.history:
            details = {**details, **self.fitted.history[-1]}
        description = self.fitted.description
        return Candidate(self.name, self.method.role, description, self.validation, self.test, self.seconds, details)


@dataclass(frozen=True)
class TargetOutcome:
    """Of one of several targets: the candidates' scores on it, what ships for it and why, and the verdict."""

    column: str
    candidates: list[Candidate]
    transfer: str | None
    shipped: str
    because: str
    shipped_by: str
    verdict: Verdict | None


@dataclass
class Evaluation:
    """The outcome: entries, what ships and why, verdict, head start, and the rows they were read on."""

    entries: list[Entry]
    transfer: Entry | None
    control: Entry | None
    shipped: Entry
    because: str
    verdict: Verdict | None
    head_start: HeadStart | None
    rows: Dataset
    outputs: Outputs
    targets: Targets
    values: list[Any]
    notes: list[str] = field(default_factory=list)
    curve_seconds: float = 0.0
    shipped_by: str = "validation"
    comparisons: list[Comparison] = field(default_factory=list)
    by_target: list[TargetOutcome] = field(default_factory=list)
    matched: Json | None = None  # of a transfer that reads no label: labels that a probe needs
