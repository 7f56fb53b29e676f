"""Gate: each series is forecast by what forecast its validation windows best, the network among the statistical
models.

A pretrained forecaster helps some series and harms others, and the windows of one series are too few to tell which
alone. So the members (every model of the control, the network as it is, the network fine-tuned; where columns are known
ahead, both networks also less their effect, `headstart.methods.adjusted`) are weighted for each series by the mean log
MASE l of its validation windows, drawn towards that of all series as if it were ``prior`` windows:

    l_m = (sum of its log MASE + prior * mean of all) / (windows + prior),    w_m proportional to exp(-sharpness * l_m)

that is, to MASE^-sharpness; the quantiles are averaged. The control weighs its models by the same rule
(`headstart.methods.statistical`), so what the gate gains over it is what the network brought. A series that was not
there at the fit gets the weights of all. No test window is looked at.

Measured on eighteen classic series, on which the two defaults were chosen (``benchmarks/forecasting.py``): geometric
mean of MASE 0.581, the best single model in hindsight 0.618; with three seasons of history 0.905 and 0.931.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from headstart import catalog
from headstart.datasets import windows
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.adjusted import AdjustedFitted
from headstart.methods.base import Fitted, Method, Need, Problem, hyper, load_part, save_part
from headstart.tasks.base import Task
from headstart.types import Candidate, Json, LayerRow, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source

PRIOR, SHARPNESS = 1.0, 5.0

SLIGHT = 0.05
"""Weight under which a member is left out of a series."""

LEAST = 5.0
"""Seconds that must be left to train the network."""

TRAINED = 256
"""Windows that the network is fine-tuned on, at most; evenly thinned where there are more."""


@dataclass(frozen=True)
class Gate(Method):
    """The network among the statistical models, weighted for each series by its validation windows."""

    name: ClassVar[str] = "gate"
    tasks: ClassVar[tuple[str, ...]] = ("forecasting",)
    paper: ClassVar[str] = "Bates & Granger 1969, The combination of forecasts; Efron & Morris 1975 (shrinkage)"

    effort: Literal["quick", "balanced", "thorough"] = hyper(
        "balanced", "how much to try: quick trains no network", choices=("quick", "balanced", "thorough")
    )
    prior: float = hyper(PRIOR, "windows that all series count for in the weights of one", low=0.0, high=1e6)
    sharpness: float = hyper(SHARPNESS, "power of 1 / MASE that a weight is proportional to", low=0.0, high=1e3)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the source must forecast."""
        super().admit(task, source, dataset, given)
        if source is not None and task.start(source.card.width) is None:
            raise MethodError(
                "HS-METHOD-003", f"gate needs a source that forecasts; {source.card.name} does not.",
                "Use fracast, TimesFM, Chronos-Bolt, or one that `headstart pretrain --objective forecast` made.",
            )  # fmt: skip

    def fit(self, problem: Problem) -> GateFitted:
        """Fine-tune the network on ``problem.train``; weigh on ``problem.valid``."""
        control: Any = catalog.find("methods", problem.task.control)()
        members: list[Fitted] = [*control.models(problem), catalog.find("methods", "zeroshot")().fit(problem)]
        models = len(members) - 1
        left = problem.seconds_left
        if self.effort != "quick" and problem.valid is not None and (left is None or left > LEAST):
            rows = np.unique(np.linspace(0, len(problem.train) - 1, min(TRAINED, len(problem.train))).astype(int))
            deadline = None if left is None or problem.deadline is None else problem.deadline - left / 2
            part = problem.replace(train=problem.train.select(rows.tolist()), deadline=deadline)
            members.append(_tuned(self.effort).fit(part))
        if problem.train.with_role("known"):
            members += [AdjustedFitted(network) for network in members[models:]]
        return weighed(self, problem, members, self.prior, self.sharpness)

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """What would train of the network: nothing in a hurry."""
        if self.effort != "quick":
            return _tuned(self.effort).table(source, task)
        return [replace(row, share=0.0, rate=None) for row in super().table(source, task)]

    def refitted(self, fitted: Fitted, problem: Problem) -> None:
        """Nothing: the network keeps its weights."""
        return None


def _tuned(effort: str) -> Method:
    found: Method = catalog.find("methods", "finetune")(
        epochs=3 if effort == "balanced" else 10, learning_rate=3e-4, layer_decay=1.0, head_rate=0.1, patience=3
    )
    return found


def weighed(
    method: Method, problem: Problem, members: Sequence[Fitted], prior: float = PRIOR, sharpness: float = SHARPNESS
) -> GateFitted:
    """The members with weights for each series from ``problem.valid`` (the training windows where there is none)."""
    task, rows = problem.task, problem.valid if problem.valid is not None else problem.train
    targets, blind = task.encode(rows.targets()), rows.without("target")
    names = np.array([str(name) for name in windows.names(rows)])
    outputs = [member.outputs(blind) for member in members]
    lost = np.stack([task.statistics(each, targets)[:, :2] for each in outputs])  # [M,n,2]: 1, log MASE
    overall = lost[:, :, 1].sum(axis=1) / np.maximum(lost[:, :, 0].sum(axis=1), 1)
    weights = {}
    for series in dict.fromkeys(names.tolist()):
        own = lost[:, names == series].sum(axis=1)
        mean = (own[:, 1] + prior * overall) / np.maximum(own[:, 0] + prior, 1e-9)
        weights[series] = shares(mean, sharpness)
    fitted = GateFitted(method, task, members, weights, shares(overall, sharpness))
    scores = [float(-value) for value in overall]
    fitted.tried = [
        Candidate(_named(each), each.method.role, _told(each), score, None, 0.0, {})
        for each, score in zip(members, scores, strict=True)
        if each.method.role == method.role  # the control lists its own
    ]
    mean_share = np.mean(list(weights.values()), axis=0)
    fitted.history = [{
        "weights": {_named(each): round(float(share), 3) for each, share in zip(members, mean_share, strict=True)},
        "validation": {_named(each): round(score, 4) for each, score in zip(members, scores, strict=True)},
    }]  # fmt: skip
    return fitted


def shares(lost: np.ndarray, sharpness: float) -> np.ndarray:
    """Weights [M] of mean log MASE [M], those under `SLIGHT` left out."""
    weight = np.exp(-sharpness * (lost - lost.min()))
    weight /= weight.sum()
    weight = np.where(weight < min(SLIGHT, weight.max()), 0.0, weight)
    return np.asarray(weight / weight.sum())


def _named(member: Fitted) -> str:
    return str(getattr(member, "model", "")) or member.method.name


NETWORKS = {
    "zeroshot": "the network as it is", "finetune": "the network, fine-tuned",
    "zeroshot_known": "the network as it is, less the effect of what is known ahead",
    "finetune_known": "the network, fine-tuned, less the effect of what is known ahead",
}  # fmt: skip


def _told(member: Fitted) -> str:
    return NETWORKS.get(_named(member), member.description)


class GateFitted(Fitted):
    """Members, and the weights [M] of each series. otherwise: of a series that was not there."""

    kind: ClassVar[str] = "methods.gate"

    def __init__(
        self, method: Method, task: Task, members: Sequence[Fitted], weights: dict[str, np.ndarray],
        otherwise: np.ndarray,
    ) -> None:  # fmt: skip
        self.method, self.task, self.members = method, task, list(members)
        self.weights, self.otherwise = weights, otherwise
        self.history: list[Json] = []

    @property
    def description(self) -> str:
        """The members by their mean weight."""
        mean = np.mean([*self.weights.values()] or [self.otherwise], axis=0)
        parts = [f"{_told(self.members[at])} {mean[at]:.2f}" for at in np.argsort(-mean) if mean[at] > 0]
        return f"weighted by series: {', '.join(parts)}"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,H Q], in units of the range of each history."""
        task: Any = self.task
        weights = np.stack([self.weights.get(str(name), self.otherwise) for name in windows.names(dataset)])  # [N,M]
        found = np.zeros((len(dataset), self.task.width))
        for member, weight in zip(self.members, weights.T, strict=True):
            rows = np.flatnonzero(weight)
            if len(rows):
                quantiles = task.quantiles(member.outputs(dataset.select(rows.tolist())))
                found[rows] += weight[rows, None] * quantiles.reshape(len(rows), -1)
        return found

    def trained(self) -> list[LayerRow]:
        """The table of the last network that has a weight; nothing where none has."""
        every = np.asarray(np.stack([*self.weights.values(), self.otherwise]).any(axis=0)).tolist()
        tables = [member.trained() for member, used in zip(self.members, every, strict=True) if used]
        return next((table for table in reversed(tables) if table), [])

    def save(self, folder: Path) -> None:
        """``gate.json``, and a folder for each member that has a weight anywhere; a network is not saved twice."""
        every = np.stack([*self.weights.values(), self.otherwise])
        kept = np.flatnonzero(every.any(axis=0)).tolist()
        homes = {id(self.members[at]): f"member-{at}" for at in kept}
        parts: Json = {}
        for at in kept:
            home = homes.get(id(getattr(self.members[at], "inner", None)))
            parts[f"member-{at}"] = {"adjusts": home} if home else save_part(self.members[at], folder / f"member-{at}")
        facts = {
            "members": parts, "weights": {name: own[kept].tolist() for name, own in self.weights.items()},
            "otherwise": self.otherwise[kept].tolist(), "history": self.history,
        }  # fmt: skip
        (folder / "gate.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> GateFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 and -004."""
        facts = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
        parts = facts["members"]
        found = {name: load_part(part, folder / name, task) for name, part in parts.items() if "adjusts" not in part}
        members = [found[name] if name in found else AdjustedFitted(found[parts[name]["adjusts"]]) for name in parts]
        weights = {name: np.array(own) for name, own in facts["weights"].items()}
        fitted = cls(method, task, members, weights, np.array(facts["otherwise"]))
        fitted.history = facts["history"]
        return fitted
