"""Pretrain: the source goes on learning without labels from the user's own rows, then another method follows.

The inputs of the training rows and of the unlabelled rows, never a label and never a validation or test row, train a
copy of the source's network by a self-supervised loss: masked language modelling, SimCSE or TSDAE for texts; SimSiam,
VICReg or a masked autoencoder for images; instance discrimination or forecasting for time series (one file each in
``headstart.nn``).
Continued pretraining in the domain of the target: Gururangan et al. 2020, arXiv:2004.10964. Whether it was worth it is
a question of its own: the same method on the source as it is stands beside it, with a verdict.

The defaults were chosen on development rows: minilm, 955 short reviews without their labels, then a probe of 255 labels
in 12 classes, accuracy on 448 rows, 0.560 without pretraining. After one pass at 5e-5: TSDAE 0.558, masked language
modelling 0.545, SimCSE 0.464 (0.531 at 5e-6), whose task minilm solves from the start. TSDAE in three passes: 0.563 at
2e-5, 0.507 at 1e-4. An encoder that was tuned for meaning is easily spoiled: hence the low rate and the few passes.

Such losses can make all features the same. The spread of the features of some training rows is looked at ten times on
the way; where it falls under a share of what it was, the pretraining is given up and the source used as it is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import nn

from headstart import catalog
from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.engine import Group, Schedule, Trainer, train_only
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.network import GradientMethod, NetworkFitted, layer_rows, shown
from headstart.nn.drift import Origin
from headstart.nn.forecast import Forecast
from headstart.nn.instances import Instances
from headstart.nn.mae import MaskedAutoencoder
from headstart.nn.mlm import MaskedLanguage
from headstart.nn.self_supervised import Objective, spread
from headstart.nn.simcse import SimCSE
from headstart.nn.simsiam import SimSiam
from headstart.nn.tsdae import TSDAE
from headstart.nn.vicreg import VICReg
from headstart.runtime import Extractor, device
from headstart.tasks.base import Task
from headstart.types import Batch, Json, LayerRow, Modality, Sample

if TYPE_CHECKING:
    from headstart.sources.base import Source

OBJECTIVES: dict[str, type[Objective]] = {
    each.name: each for each in (TSDAE, MaskedLanguage, SimCSE, VICReg, SimSiam, MaskedAutoencoder, Instances, Forecast)
}
"""By name; ``auto`` takes the first that the source can be trained with."""

SEEN = 15_000
"""Rows that a pretraining sees in all, where ``epochs`` is left open; few rows are passed `PASSES` times at most."""

PASSES = 3

WATCHED = 128
"""Training rows whose spread is looked at."""

LOOKS = 10

TIME = 0.6
"""The part of the time left that the pretraining may take."""


class Collapsed(Exception):
    """The features of all rows became nearly the same. share: of the spread, what was left."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.share = share


@dataclass(frozen=True)
class Pretrain(GradientMethod):
    """The source goes on learning without labels from the rows' inputs, then another method follows."""

    name: ClassVar[str] = "pretrain"
    uses: ClassVar[tuple[Need, ...]] = ("unlabelled",)
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image", "series")
    paper: ClassVar[str] = "Gururangan et al. 2020, arXiv:2004.10964"

    objective: Literal["auto", "mlm", "simcse", "tsdae", "simsiam", "vicreg", "mae", "instances"] = hyper(
        "auto",
        "what is learned: of texts mlm, simcse, tsdae, of images simsiam, vicreg, mae, of series instances; auto = by "
        "the source",
        choices=("auto", "mlm", "simcse", "tsdae", "simsiam", "vicreg", "mae", "instances", "forecast"),
    )  # fmt: skip
    then: str = hyper("probe", "the method that follows: probe, finetune, lora, ...")
    epochs: int = hyper(0, "passes over the rows; 0 = by their number", low=0, high=1000)
    learning_rate: float = hyper(2e-5, "highest learning rate of the network", low=1e-8, high=1.0)
    head_rate: float = hyper(10.0, "factor on the rate of what only the loss needs", low=0.0, high=1000.0)
    collapse: float = hyper(0.2, "share of the features' spread under which it is given up", low=0.0, high=1.0)

    # --- what may be done ----------------------------------------------------------------------------------------

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what the source, the objective or the method that follows cannot do."""
        super().admit(task, source, dataset, given)
        assert source is not None
        follows = self.following()
        try:
            follows.admit(task, source, dataset, given)
        except MethodError as error:
            raise MethodError("HS-METHOD-003", f"pretrain, then {error.message}", error.hint) from error
        self.chosen(source, task, dataset.modality)

    def following(self) -> Method:
        """The method that follows. Raises MethodError HS-METHOD-001 for an unknown one, -003 for one that cannot."""
        found = catalog.find("methods", self.then)
        searches = self.then in (self.name, "auto")
        if found.role == "control" or found.shares or "source" not in found.needs or searches:
            raise MethodError(
                "HS-METHOD-003", f"pretrain: {self.then} cannot follow.", "Give probe, finetune or lora by --then."
            )
        method: Method = found()
        return method

    def chosen(self, source: Source, task: Task, modality: Modality) -> type[Objective]:
        """The objective. Raises MethodError HS-METHOD-003 that says what the source or the input lacks."""
        names = list(OBJECTIVES) if self.objective == "auto" else [self.objective]
        whys = {}
        for name in names:
            kind = OBJECTIVES[name]
            if kind.modality == modality:
                why = "a network of its own" if source.provider == "concatenated" else kind.lacks(source)
                whys[name] = f"{source.card.name} lacks {why}" if why else self._unfit(name, task)
            else:
                whys[name] = f"it reads {kind.modality}, the input is {modality}"
            if not whys[name]:
                return kind
        told = "; ".join(
            f"{name}: {why}" for name, why in whys.items() if len(names) == 1 or OBJECTIVES[name].modality == modality
        )
        raise MethodError("HS-METHOD-003", f"pretrain cannot train by {told}.", "Name another --objective or --source.")

    @staticmethod
    def _unfit(name: str, task: Task) -> str:
        whole = task.needs == "tokens" and name != "mlm"
        return "it trains the features of whole texts, the task those of words" if whole else ""

    def ablation(self) -> Method | None:
        """What follows, on the source as it is."""
        return self.following()

    def rows_trained(self, rows: int) -> float:
        """Every pass costs about twice as much as one of a supervised training."""
        return 2.0 * (self.epochs or passes(rows)) * rows + self.following().rows_trained(rows)

    # --- training ------------------------------------------------------------------------------------------------

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A copy of the source; its pooled features are what is kept."""
        assert problem.source is not None
        return problem.source.clone(), nn.Identity(), ("pooled",)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """All layers at one rate, then what only the loss needs."""
        layers = [(layer.name, list(layer.module.parameters())) for layer in source.layers()]
        groups = [Group(name, own, self.learning_rate, self.weight_decay) for name, own in layers if own]
        heads = head.heads() if isinstance(head, Objective) else []
        if heads:
            groups.append(Group("objective", heads, self.learning_rate * self.head_rate, self.weight_decay))
        return groups

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """All layers, and the head of what follows."""
        rows = super().table(source, task)
        return [*rows[:-1], replace(rows[-1], share=1.0)]

    def fit(self, problem: Problem) -> Any:
        """Pretrain, then fit what follows on the source that came out: a `Fitted` of the kind that this makes."""
        if problem.source is None or problem.extractor is None:
            raise MethodError("HS-METHOD-003", "pretrain needs a source.", "Name one with --source.")
        kind = self.chosen(problem.source, problem.task, problem.train.modality)
        source, _, _ = self.prepare(problem)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            objective = kind(source)
        groups = self.groups(source, objective)
        train_only(objective, groups)
        origin = Origin(source, nn.Identity(), shown(problem), device())
        rows = Inputs(problem)
        try:
            history = self._train(problem, objective, groups, rows)
        except Collapsed as error:
            problem.notes.append(
                f"pretrain: by {kind.name} the features of all rows became alike ({error.share:.0%} of their spread "
                f"was left); given up, {self.then} has the source as it is."
            )
            return self._finish(problem, problem.source, [{"objective": kind.name, "collapsed": error.share}], [])
        moved = origin.moved(layer_rows(source, nn.Identity(), groups))
        source.card = replace(source.card, digest=source.digest())
        return self._finish(problem, source, history, moved[:-1])

    def _train(self, problem: Problem, objective: Objective, groups: list[Group], rows: Inputs) -> list[Json]:
        """Train the objective; the rows of its history. Raises Collapsed."""
        epochs, left = self.epochs or passes(len(rows)), problem.seconds_left
        at = np.linspace(0, len(problem.train) - 1, min(WATCHED, len(problem.train))).astype(int)
        facts, history, notes = learn(
            objective, groups, rows, problem.train.samples(at.tolist()),
            Schedule(epochs, self.batch_size, self.accumulate, self.warmup, self.clip, epochs, self.ema),
            collapse=self.collapse,
            seed=problem.seed,
            key=self._identity(problem),
            folder=problem.folder,
            deadline=None if left is None else time.monotonic() + max(1.0, TIME * left),
            report=problem.report,
            stage=self.name,
            precision=problem.precision,
        )  # fmt: skip
        problem.notes += notes
        count = "pass" if self.following().gradients else "epoch"  # epochs are those of what trains last
        return [facts, *({count: row["epoch"], "pretraining loss": row["loss"]} for row in history)]

    def _identity(self, problem: Problem) -> str:
        """A digest of all that determines what is pretrained: labels and what follows do not."""
        assert problem.source is not None
        parts = [problem.train, problem.unlabelled]
        return key(
            {
                **self.hyperparameters(),
                "then": None,
                "rows": [None if part is None else part.fingerprints() for part in parts],
                "seed": problem.seed,
                "source": problem.source.card.digest,
                "precision": problem.precision,
            }
        )

    # --- what follows --------------------------------------------------------------------------------------------

    def _finish(self, problem: Problem, source: Source, history: list[Json], moved: list[LayerRow]) -> Fitted:
        """What follows, fitted on this source. moved: the layers that were pretrained; none: the source as it was."""
        assert problem.extractor is not None
        extractor, folder = problem.extractor, problem.folder
        if moved:
            extractor = Extractor(
                source, precision=extractor.precision, backend=extractor.backend, cache=False, report=extractor.report
            )
        inner = problem.replace(source=source, extractor=extractor, folder=None if folder is None else folder / "then")
        fitted = self.following().fit(inner)
        return self._own(fitted, history, moved)

    def _own(self, fitted: Fitted, history: list[Json], moved: list[LayerRow]) -> Fitted:
        """The fit of what follows as this method's. A plain network is told that its layers moved before."""
        if type(fitted) is not NetworkFitted:
            fitted.method, fitted.history = self, [*history, *fitted.history]
            return fitted
        rows = fitted.trained()
        if moved and all(row.share == 0 for row in rows[:-1]):  # what follows trained the head alone
            rows = [*moved, rows[-1]]
        return NetworkFitted(
            self, fitted.task, fitted.source, fitted.head, fitted.outputs_used,
            changed=fitted.changed or bool(moved), precision=fitted.precision, extractor=fitted.extractor,
            history=[*history, *fitted.history], layers=rows,
        )  # fmt: skip

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """What follows, once more on these rows, where it trains no network; the pretrained source stays."""
        old: Any = fitted  # of a frozen source: it has one, and its extractor
        follows = self.following()
        if follows.gradients:
            return None
        again = follows.fit(problem.replace(source=old.source, extractor=old.extractor))
        own = [row for row in fitted.history if "objective" in row or "pretraining loss" in row]
        return self._own(again, own, fitted.trained()[:-1] if old.changed else [])


class Rows(Protocol):
    """Inputs that an objective trains on."""

    def __len__(self) -> int:
        """How many."""

    def samples(self, rows: np.ndarray) -> list[Sample]:
        """Some of them."""

    def costs(self, source: Source) -> np.ndarray:
        """A rough cost of each [N]."""


def learn(
    objective: Objective, groups: list[Group], rows: Rows, watched: Sequence[Sample], schedule: Schedule, *,
    collapse: float, **more: Any,
) -> tuple[Json, list[Json], list[str]]:  # fmt: skip
    """Train an objective; what came out, the engine's history and its notes. Raises Collapsed.

    watched: inputs whose features must keep the share ``collapse`` of their spread. more: what the `Trainer` takes.
    """
    steps = schedule.epochs * -(-len(rows) // schedule.batch_size)
    first, every = spread(objective.source, watched), max(1, steps // LOOKS)

    def share() -> float:
        found = spread(objective.source, watched) / max(first, 1e-12)
        if objective.collapses and not found >= collapse:
            raise Collapsed(found if np.isfinite(found) else 0.0)
        return found

    def loss(network: nn.Module, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        if trainer.step and trainer.step % every == 0:
            share()
        return objective.loss(batch, target)

    trainer = Trainer(
        objective, groups, schedule, costs=rows.costs(objective.source), loss=loss,
        prepare=lambda at, training: objective.prepare(rows.samples(at)), validate=None, **more,
    )  # fmt: skip
    history = trainer.run()
    facts = {"objective": objective.name, "rows": len(rows), "steps": trainer.step, "spread left": share()}
    return facts, history, trainer.notes


class Inputs:
    """The inputs of the training rows and of the unlabelled rows, one after the other; no labels."""

    def __init__(self, problem: Problem) -> None:
        self.parts = [problem.train.without("target")]
        if problem.unlabelled is not None:
            self.parts.append(problem.unlabelled)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def samples(self, rows: np.ndarray) -> list[Sample]:
        """The inputs of some rows; those of the training rows first."""
        first = len(self.parts[0])
        found = self.parts[0].samples(rows[rows < first].tolist())
        rest = rows[rows >= first] - first
        return found + self.parts[1].samples(rest.tolist()) if len(rest) else found

    def costs(self, source: Source) -> np.ndarray:
        """A rough cost of each row [N]."""
        return np.array([source.cost(sample) for part in self.parts for sample in part.samples()], dtype=np.int64)


def passes(rows: int) -> int:
    """Passes over the rows by their number."""
    return int(np.clip(round(SEEN / max(1, rows)), 1, PASSES))
