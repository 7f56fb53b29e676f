"""What detectors of anomalies share: nothing is learned from labels; a threshold by a stated rule; a model to save.

A detector scores every step of a series, given what it remembers of the series that it was fitted on. Every series is
first brought to median 0 and interquartile range 1, channel by channel, so that series in other units stand beside each
other. A step is flagged where its score is over

    Q3 + 3 (Q3 - Q1),  quartiles of the scores of all steps at the fit

(Tukey 1977, Exploratory Data Analysis: "far out"). Outputs are scores over this threshold.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError
from headstart.methods.base import Fitted, Method, Need, Problem, frozen
from headstart.nn.subsequences import SHORTEST, period_of, robust
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.types import Json, LayerRow, Modality, Outputs

Array: TypeAlias = np.ndarray

FAR_OUT = 3.0
RULE = "over the upper quartile of all scores at the fit by more than three interquartile ranges"
LEAST = 4 * SHORTEST
"""Steps of a series that can be scored."""


@dataclass(frozen=True)
class Detector(Method):
    """A score for every step of a series. Subclasses say what they remember and how they score."""

    kind: ClassVar[Literal["inductive", "transductive", "unsupervised"]] = "unsupervised"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = ("anomalies",)
    modalities: ClassVar[tuple[Modality, ...]] = ("series",)

    def fit(self, problem: Problem) -> DetectorFitted:
        """Fit on the series of ``problem.train``; a target column in it is not read.

        Raises DataError HS-DATA-012 where a series is too short.
        """
        rows, digests = problem.train, problem.train.fingerprints()
        series = prepared(rows)
        periods = [period_of(each) for each in series]
        fitted = DetectorFitted(self, problem.task, dict(zip(digests, periods)), seed=problem.seed)
        self.remember(fitted, series, periods, problem)
        scores: dict[str, Array] = {}
        for place, (each, digest) in enumerate(zip(series, digests)):
            if digest not in scores:
                scores[digest] = self.score(fitted, each, fitted.period(digest), digest)
            problem.report(self.name, place + 1, len(series))
        fitted.kept["scores"] = scores
        low, high = np.quantile(np.concatenate([scores[digest] for digest in digests]), [0.25, 0.75])
        fitted.threshold = float(max(high + FAR_OUT * (high - low), 1e-9))
        fitted.history = [{"threshold": fitted.threshold, "period": fitted.usual}]
        return fitted

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """Put into ``fitted.memory`` what scoring needs of the series at the fit; nothing by default."""
        return None

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """Nothing trains."""
        return frozen(source)

    @abstractmethod
    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """The score of every step [T] of a series [C,T] in interquartile ranges, higher where it is stranger.

        period: its steps. digest: of its content, by which a series that was there at the fit is known.
        """


class DetectorFitted(Fitted):
    """A detector with its threshold. periods: digest of each series of the fit -> steps of its period.

    memory: arrays by name. source: the network that embeds windows, or None. kept: what need not be computed twice (the
    scores of the series of the fit); not saved.
    """

    kind: ClassVar[str] = "methods.detection"

    def __init__(
        self, method: Method, task: Task, periods: dict[str, int], *, seed: int = 0, threshold: float = 1.0,
        memory: dict[str, Array] | None = None, source: Source | None = None, precision: str = "auto",
    ) -> None:  # fmt: skip
        self.method, self.task, self.periods, self.seed = method, task, periods, seed
        self.threshold, self.memory = threshold, memory or {}
        self.source, self.precision = source, precision
        self.history: list[Json] = []
        self.kept: dict[str, Any] = {}

    @property
    def usual(self) -> int:
        """Steps of a period of a series that was not there at the fit: the median."""
        return int(np.median(list(self.periods.values())))

    def period(self, digest: str) -> int:
        """Steps of a period of the series with this digest."""
        return self.periods.get(digest, self.usual)

    def outputs(self, dataset: Dataset) -> Outputs:
        """Scores over the threshold, a list of [T_i,1]."""
        method: Any = self.method
        known, found = self.kept.get("scores", {}), []
        for series, digest in zip(prepared(dataset), dataset.fingerprints()):
            period = min(self.period(digest), series.shape[1] // 4)
            scores = known[digest] if digest in known else method.score(self, series, period, digest)
            found.append(scores[:, None] / self.threshold)
        return found

    def take(self, source: Source, problem: Problem) -> None:
        """Read series through this source from now on."""
        self.source, self.precision = source, str(problem.options.get("precision", "auto"))
        backend = str(problem.options.get("backend", "auto"))
        self.kept["extractor"] = Extractor(source, precision=self.precision, backend=backend, cache=False)

    def features(self, samples: Sequence[Array]) -> Array:
        """The features [S,D] of series [C,T_i] by the source."""
        if "extractor" not in self.kept:
            assert self.source is not None
            self.kept["extractor"] = Extractor(self.source, precision=self.precision, cache=False)
        return np.asarray(self.kept["extractor"].matrix(as_rows(samples)))

    def trained(self) -> list[LayerRow]:
        """The network, none of which trains."""
        return [] if self.source is None else frozen(self.source)

    def save(self, folder: Path) -> None:
        """``detector.json``, ``memory.safetensors`` and, with a source, ``source/``."""
        from safetensors.numpy import save_file

        facts = {
            "periods": self.periods, "seed": self.seed, "threshold": self.threshold, "precision": self.precision,
            "history": self.history, "source": self.source is not None,
        }  # fmt: skip
        (folder / "detector.json").write_text(json.dumps(facts), encoding="utf-8")
        save_file({name: np.ascontiguousarray(part) for name, part in self.memory.items()},
                  folder / "memory.safetensors")  # fmt: skip
        if self.source is not None:
            self.source.save(folder / "source")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> DetectorFitted:
        """What `save` wrote."""
        from safetensors.numpy import load_file

        from headstart.sources.shelf import open_source

        facts = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        fitted = cls(
            method, task, facts["periods"], seed=facts["seed"], threshold=facts["threshold"],
            memory=load_file(folder / "memory.safetensors"), precision=facts["precision"],
            source=open_source(str(folder / "source")) if facts["source"] else None,
        )  # fmt: skip
        fitted.history = facts["history"]
        return fitted


def as_rows(samples: Sequence[Array]) -> Dataset:
    """Series [C,T_i] as a dataset."""
    import uuid

    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    names = [f"channel {place + 1}" for place in range(len(samples[0]))]
    columns = {
        name: pa.array([np.asarray(sample[place], np.float64) for sample in samples], pa.list_(pa.float64()))
        for place, name in enumerate(names)
    }
    table = datasets.Dataset(InMemoryTable(pa.table(columns)), fingerprint=uuid.uuid4().hex[:16])
    return Dataset(table, [Column(name, "input", "series") for name in names])


def prepared(rows: Dataset) -> list[Array]:
    """The series [C,T] of the rows by `robust`. Raises DataError HS-DATA-012 for one with under `LEAST` steps."""
    found = []
    for place, sample in enumerate(rows.samples()):
        if sample.shape[1] < LEAST:
            owner = next((rows.values(column.name)[place] for column in rows.with_role("series")), place + 1)
            raise DataError(
                "HS-DATA-012", f'{rows.origin}: the series "{owner}" has {sample.shape[1]} steps; expected {LEAST} or '
                "more.", "Leave it out.",
            )  # fmt: skip
        found.append(robust(sample))
    return found
