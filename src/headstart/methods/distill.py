"""Distill: a small network learns from what a large model says, on the labelled rows and on unlabelled ones.

The teacher is any fitted model: the better of a probe and a fine-tuned source, another method fitted here, or a saved
run (a network, boosted trees, several sources side by side). It runs over the rows once; from then on it is not
needed. The student, of any architecture, minimises over the rows i

    mean of  (1 - a l_i) soft_i + a l_i hard_i   +  h hint  +  r relations

with l_i = 1 for labelled rows and 0 for others. Of classes soft is T² KL(softmax(t / T), softmax(s / T)) with the
logits t of the teacher and s of the student (Hinton et al. 2015, section 2: T² keeps the size of its gradient); of
several labels the same with a sigmoid for each; of numbers the squared error. hard is the loss of the task. The hint
is the squared error of a learned linear projection of the student's features against the teacher's (Romero et al.
2015, equation 3), relations the distances and angles among the rows of a batch (Park et al. 2019, equations 4 to 8).

A linear student is solved instead (`headstart.nn.imitation`): least squares on the chances that the teacher gives,
those of a labelled row mixed with its label by a; steps, learning rate and T do not count there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart import catalog
from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper, make
from headstart.methods.network import NetworkFitted
from headstart.methods.remember import once
from headstart.methods.saved import Saved, open_model
from headstart.methods.student import Lesson, SmallMethod, Student, StudentFitted
from headstart.nn.imitation import certain, chances, imitate
from headstart.nn.students import EncodedFeatures, StudentNetwork
from headstart.tasks.base import Array, Task, weighted
from headstart.types import Batch

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source

RELATED = 64  # rows of a batch whose relations are compared; angles are of every three of them
ANGLES = 2.0  # weight of the angles against the distances, as in Park et al. 2019, section 4
CHOSEN = ("probe", "finetune")  # of which the better one is the teacher, where none is named


@dataclass(frozen=True)
class Distill(SmallMethod):
    """A small network taught by a large model, on unlabelled rows too."""

    name: ClassVar[str] = "distill"
    uses: ClassVar[tuple[Need, ...]] = ("unlabelled",)
    paper: ClassVar[str] = "Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2015; Park et al. 2019"

    teacher: str = hyper("", "folder of a run, or a method to fit here; empty: the better of probe and finetune")
    temperature: float = hyper(2.0, "T, by which logits are divided", low=0.1, high=100.0, paper="Hinton et al. 2015")
    alpha: float = hyper(0.3, "weight of the label of a labelled row against the teacher (a)", low=0.0, high=1.0)
    hidden: float = hyper(0.0, "weight of the teacher's features (h)", low=0.0, high=1e6, paper="Romero et al. 2015")
    relations: float = hyper(0.0, "weight of distances and angles (r)", low=0.0, high=1e6, paper="Park et al. 2019")

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse also where there is no teacher. Raises MethodError HS-METHOD-003; what opening a run raises."""
        super().admit(task, source, dataset, given)
        if not self._method_named() and self.teacher:
            saved = open_model(self.teacher)
            saved.check_columns(dataset)
            translation(saved.fitted.task, task, self.teacher)
        elif source is None and self.teacher == "" and dataset.modality != "table":
            raise MethodError(
                "HS-METHOD-003", "distill needs a teacher: a source, or a run.",
                "Name one with --source, or the folder of a run with --teacher.",
            )  # fmt: skip

    def ablation(self) -> Method | None:
        """The same network, trained as long, on the labels alone."""
        return Student(**{item.name: getattr(self, item.name) for item in fields(Student)})

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What a teacher fitted here reads, and the features that the student is to match."""
        found = ["pooled"] if self.hidden or self.relations else []
        name = self._method_named() or ("" if self.teacher else CHOSEN[0])
        if name:
            found += catalog.find("methods", name)().outputs_read(extractor, task)
        return list(dict.fromkeys(found))

    def _method_named(self) -> str:
        """The method that ``teacher`` names, or nothing."""
        return self.teacher if self.teacher in catalog.names("methods") else ""

    def fit(self, problem: Problem) -> StudentFitted:
        """Fit or open the teacher, let it speak once, and train the student on what it says."""
        task, train, rest = problem.task, problem.train, problem.unlabelled
        seen = [train.without("target"), *([rest] if rest is not None else [])]
        teacher = self.find_teacher(problem)
        logits = np.concatenate([teacher.outputs(part) for part in seen]).astype(np.float32)
        pupil = self.begin(problem, seen)
        count = len(train)
        targets = task.encode(train.targets())
        targets = np.concatenate([targets, np.repeat(targets[:1], len(logits) - count, axis=0)])
        weights = train.weights()
        facts = {"teacher": teacher.name, "rows": len(logits), "labelled": count}
        problem.notes += teacher.notes
        encoded = pupil.reader.encode(*seen)
        if isinstance(encoded, EncodedFeatures) and pupil.is_linear and not (self.hidden or self.relations):
            counted = None if weights is None else np.concatenate([weights, np.ones(len(logits) - count)])
            said = chances(task, logits)
            said[:count] += self.alpha * (certain(task, targets[:count]) - said[:count])
            found = imitate(task, encoded.matrix, said, weights=counted, seed=problem.seed)
            return self.solved(problem, pupil, found.weight, found.bias, {"strength": found.strength, **facts})
        extras: dict[str, Array] = {"teacher": logits, "labelled": (np.arange(len(logits)) < count).astype(np.float32)}
        learning = self._learning(problem, teacher, seen, pupil.network, extras)
        lesson = Lesson(
            pupil.reader.encode(*seen), task, targets,
            lambda network, batch, target: self.loss(network, batch, target, task),  # type: ignore[arg-type]
            None if weights is None else np.concatenate([weights, np.ones(len(logits) - count)]),
            extras, learning, {"unlabelled": [] if rest is None else rest.fingerprints(), "teacher": teacher.name},
        )  # fmt: skip
        fitted = self.train(problem, pupil, lesson)
        fitted.history[-1] |= facts
        return fitted

    def _learning(
        self, problem: Problem, teacher: Teacher, seen: Sequence[Dataset], network: StudentNetwork,
        extras: dict[str, Array],
    ) -> Learning:  # fmt: skip
        """The student with what it needs besides while it learns; the teacher's features go into ``extras``."""
        features = None
        if self.hidden or self.relations:
            features = teacher.features(seen)
            if features is None:
                problem.notes.append(f"distill: {teacher.name} has no features; its outputs stand for them.")
                features = extras["teacher"]
            centred = features - features.mean(axis=0)
            extras["taught"] = (centred / max(float(centred.std()), 1e-12)).astype(np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed + 1)
            return Learning(network, extras["taught"].shape[1] if features is not None and self.hidden else 0)

    def loss(self, learning: Learning, batch: Batch, target: torch.Tensor, task: Task) -> dict[str, torch.Tensor]:
        """The loss of the module's docstring and its parts."""
        features = learning.student.features(batch)
        output = learning.student.read(features)
        given, labelled = batch.inputs["teacher"], batch.inputs["labelled"]
        weight = torch.ones_like(labelled) if batch.weight is None else batch.weight
        soft = soft_loss(task, output, given, self.temperature, weight * (1 - self.alpha * labelled))
        losses = {"soft": soft}
        total = soft
        if self.alpha:
            losses["hard"] = task.loss(output, target, weight * labelled)["loss"]
            total = total + self.alpha * losses["hard"]
        if self.hidden and learning.projection is not None:
            losses["hint"] = functional.mse_loss(learning.projection(features), batch.inputs["taught"])
            total = total + self.hidden * losses["hint"]
        if self.relations and len(features) > 1:
            mine, theirs = features[:RELATED], batch.inputs["taught"][:RELATED]
            losses["relations"] = rkd_distance(mine, theirs) + ANGLES * rkd_angle(mine, theirs)
            total = total + self.relations * losses["relations"]
        return {"loss": total, **{name: value.detach() for name, value in losses.items()}}

    # --- the teacher -------------------------------------------------------------------------------------------

    def find_teacher(self, problem: Problem) -> Teacher:
        """The teacher: opened, or fitted on the training rows alone."""
        if self.teacher and not self._method_named():
            saved = open_model(self.teacher)
            saved.check_columns(problem.train)
            translate = translation(saved.fitted.task, problem.task, self.teacher)
            note = "distill: the teacher was fitted elsewhere; the verdict holds only if it did not see the test rows."
            return Teacher(Path(self.teacher).name, saved.fitted, translate, saved, [note])
        if name := self._method_named():
            fitted = self._fitted(name, problem)
        elif problem.source is None:
            fitted = self._fitted("baseline", problem)
        else:
            fitted = self._better(problem)
        return Teacher(fitted.method.name, fitted)

    def _fitted(self, name: str, problem: Problem, share: float = 0.5) -> Fitted:
        """A method, fitted in its share of the time that is left."""
        method = make(catalog.find("methods", name), {})
        method.admit(problem.task, problem.source, problem.train, problem.given)
        left = problem.seconds_left
        limited = problem if left is None else problem.replace(deadline=problem.deadline - (1 - share) * left)  # type: ignore[operator]
        return method.fit(limited)

    def _better(self, problem: Problem) -> Fitted:
        """The probe, or the fine-tuned source where it is better on the validation rows; without such the probe."""
        probe = self._fitted(CHOSEN[0], problem)
        trains = problem.source is not None and any(True for _ in problem.source.network.parameters())
        if problem.valid is None or not trains:
            return probe
        facts = key({"rows": problem.train.fingerprints(), "seed": problem.seed, "deadline": problem.deadline is None})
        rows, targets = problem.valid.without("target"), problem.task.encode(problem.valid.targets())
        tuned = self._fitted(CHOSEN[1], problem)
        scores = {each.method.name: problem.task.score(each.outputs(rows), targets) for each in (probe, tuned)}
        best = once(problem.folder, "distill-teacher", facts, lambda: {"name": max(CHOSEN, key=lambda n: scores[n])})
        return probe if best["name"] == CHOSEN[0] else tuned


@dataclass(frozen=True)
class Teacher:
    """A fitted model that speaks in the outputs of the student's task. matrix: [C,Z], shift [C]: from its own Z."""

    name: str
    fitted: Fitted
    translate: Translation | None = None
    saved: Saved | None = None
    notes: list[str] = field(default_factory=list)

    def outputs(self, dataset: Dataset) -> Array:
        """[N,C]."""
        found = np.asarray(self.fitted.outputs(dataset if self.saved is None else self.saved.arranged(dataset)))
        return found if self.translate is None else self.translate(found)

    def features(self, parts: Sequence[Dataset]) -> Array | None:
        """Its pooled features [N,D], where it is a network."""
        if not isinstance(self.fitted, NetworkFitted):
            return None
        arranged = [part if self.saved is None else self.saved.arranged(part) for part in parts]
        return np.concatenate([self.fitted.extractor.matrix(part) for part in arranged])


@dataclass(frozen=True)
class Translation:
    """Outputs of one task as those of another: columns taken, then scaled and shifted."""

    columns: list[int]
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, outputs: Array) -> Array:
        """[N,Z] -> [N,C]."""
        return outputs[:, self.columns] * self.scale + self.shift


def translation(given: Task, wanted: Task, teacher: str) -> Translation:
    """How outputs of the task ``given`` become those of ``wanted``: its classes by name, its scale.

    Raises MethodError HS-METHOD-003 where the tasks differ or the teacher does not know a class.
    """
    if given.name != wanted.name:
        raise MethodError(
            "HS-METHOD-003", f"distill: the teacher {teacher} does {given.name}; the target asks for {wanted.name}.",
            "Name a teacher of the same task.",
        )  # fmt: skip
    if given.name == "regression":
        scale, mean = given.to_json()["scale"], given.to_json()["mean"]
        own = wanted.to_json()
        return Translation([0], scale / own["scale"], (mean - own["mean"]) / own["scale"])
    known = {(type(label) is str, label): place for place, label in enumerate(given.classes)}
    places = [known.get((type(label) is str, label)) for label in wanted.classes]
    if None in places:
        raise MethodError(
            "HS-METHOD-003",
            f"distill: the teacher {teacher} does not know the class {wanted.classes[places.index(None)]!r}.",
            f"It knows {', '.join(map(repr, given.classes[:10]))}.",
        )
    return Translation([place for place in places if place is not None])


class Learning(nn.Module):
    """The student while it learns: with the projection [width of the teacher's features] of its own ones."""

    def __init__(self, student: StudentNetwork, width: int) -> None:
        super().__init__()
        self.student = student
        self.projection = nn.Linear(student.width, width) if width else None

    def forward(self, batch: Batch) -> torch.Tensor:
        """The student's outputs [B,C]."""
        return self.student(batch)  # type: ignore[no-any-return]


# --- losses ----------------------------------------------------------------------------------------------------


def soft_loss(
    task: Task, output: torch.Tensor, teacher: torch.Tensor, temperature: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """The student's outputs [B,C] against the teacher's [B,C]; see the module's docstring. weight: [B]."""
    output, T = output.float(), temperature
    if task.name == "classification":
        losses = functional.kl_div(
            functional.log_softmax(output / T, 1),
            functional.log_softmax(teacher / T, 1),
            reduction="none",
            log_target=True,
        )
        return weighted(losses.sum(dim=1), weight) * T**2
    if task.name == "multilabel":
        chance = torch.sigmoid(teacher / T)
        losses = functional.binary_cross_entropy_with_logits(output / T, chance, reduction="none")
        entropy = functional.binary_cross_entropy_with_logits(teacher / T, chance, reduction="none")
        return weighted(losses - entropy, weight) * T**2
    return weighted(functional.mse_loss(output, teacher, reduction="none"), weight)


def rkd_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Huber loss of the distances among rows, each over the mean distance of its own space (Park et al. 2019, eq. 6).

    student: [B,D], teacher: [B,Z].
    """
    mine, theirs = (_distances(rows) for rows in (student.float(), teacher.float()))
    return functional.smooth_l1_loss(mine, theirs)


def rkd_angle(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Huber loss of the cosines of the angles at each row between every two others (Park et al. 2019, eq. 8)."""
    mine, theirs = (_cosines(rows) for rows in (student.float(), teacher.float()))
    return functional.smooth_l1_loss(mine, theirs)


def _distances(rows: torch.Tensor) -> torch.Tensor:
    """[B,B] over the mean of those that are not 0; written so that its gradient is finite where rows are equal."""
    squared = (rows[:, None] - rows[None]).square().sum(dim=2)
    found = torch.where(squared > 0, squared.clamp(min=1e-12).sqrt(), torch.zeros_like(squared))
    apart = found > 0
    return found / (found.sum() / apart.sum().clamp(min=1)).clamp(min=1e-12)


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    """[B,B,B]: at row j between i and k."""
    between = functional.normalize(rows[None] - rows[:, None], dim=2, eps=1e-6)  # [j,i,D]: from j to i
    return torch.bmm(between, between.transpose(1, 2))
