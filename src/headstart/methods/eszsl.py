"""Classes that no row shows: a bilinear map from features to what classes are, learned on the classes that rows show.

Every class has a signature: the embedding of its description, or attributes given as numbers. With features X [N,D],
signatures S [z,a] of the z seen classes and Y [N,z] of 1 and -1,

    V = (X'X + gamma I)^-1 X' Y S (S'S + ridge I)^-1          score of class c: x V s_c

minimises |X V S' - Y|^2 + gamma |V S'|^2 + ridge |X V|^2 + gamma ridge |V|^2 in closed form: Romera-Paredes & Torr
2015, An embarrassingly simple approach to zero-shot learning (ESZSL), equation 4. A class of ``--labels`` that has no
row is scored by its signature alone. As such scores prefer the seen classes, a penalty is taken off theirs (Chao et
al. 2016, arXiv:1605.04253).

What it can do with unseen classes is measured on seen ones: classes are held out in turn, and the harmonic mean of the
mean accuracy by class on seen and on held-out classes, among all of them (generalised zero-shot learning, Xian et al.
2017, arXiv:1703.04394), chooses gamma, ridge and penalty. No label of a further class exists to test on, and the run
says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.network import NetworkFitted, layer_rows
from headstart.methods.zeroshot import embedded, opened
from headstart.nn import prompts
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.types import Modality

Array = np.ndarray

STEPS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Candidates of gamma and ridge, over the mean eigenvalue of what they regularise."""

PENALTIES = tuple(float(value) for value in np.linspace(0.0, 3.0, 25))
"""Candidates of the penalty, over the standard deviation of the scores."""

LEAST = 4  # seen classes under which none can be held out
TEMPLATE = "{}"


class Chosen(NamedTuple):
    """Regularisation over mean eigenvalues, penalty over the scores' deviation, and what they gave.

    seen, unseen: mean accuracy by class on classes in training and on classes held out of it.
    """

    gamma: float
    ridge: float
    penalty: float
    seen: float = float("nan")
    unseen: float = float("nan")

    @property
    def harmonic(self) -> float:
        """The harmonic mean of both accuracies."""
        return harmonic_mean(self.seen, self.unseen)


@dataclass(frozen=True)
class ESZSL(Method):
    """A bilinear map of features and descriptions, which names classes that no row shows as well."""

    name: ClassVar[str] = "eszsl"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    paper: ClassVar[str] = "Romera-Paredes & Torr 2015; Xian et al. 2017, arXiv:1703.04394"

    labels: str = hyper("", "what classes are, further ones included: names, or a file of label and text or numbers")
    template: str = hyper("", "sentences with {} for the label, separated by |; the description alone if empty")
    encoder: str = hyper("minilm", "text source that embeds the descriptions where the input is an image")
    gamma: float = hyper(0.0, "regularisation of the features' side; 0 = chosen on held-out classes", low=0.0, high=1e9)
    ridge: float = hyper(0.0, "regularisation of the signatures' side; 0 = chosen likewise", low=0.0, high=1e9)
    penalty: float = hyper(
        -1.0, "taken off the scores of seen classes; -1 = chosen likewise", low=-1.0, high=100.0,
        paper="Chao et al. 2016, arXiv:1605.04253",
    )  # fmt: skip

    def widened(self, task: Task) -> Task:
        """The task with the further classes that ``labels`` names behind those that rows show."""
        known = {str(label) for label in task.classes}
        further = [label for label in (prompts.parse(self.labels) if self.labels else {}) if label not in known]
        if not further:
            return task
        if not all(isinstance(label, str) for label in task.classes):
            raise MethodError(
                "HS-METHOD-003", f"eszsl: the classes are {type(task.classes[0]).__name__}, the further ones text.",
                "Name the column as text: --kind COLUMN=category with words in it.",
            )  # fmt: skip
        return type(task).from_json({**task.to_json(), "classes": [*task.classes, *further]})

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the labels and the template are checked as well."""
        super().admit(task, source, dataset, given)
        self._meanings(self.widened(task))
        prompts.templates(self.template or TEMPLATE)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Fit in closed form on the training rows."""
        if problem.source is None or problem.extractor is None:
            raise MethodError("HS-METHOD-003", "eszsl needs a source.", "Name one with --source.")
        task, source = problem.task, problem.source
        features = problem.extractor.matrix(problem.train.without("target")).astype(np.float64)
        targets = task.encode(problem.train.targets())
        centre = features.mean(axis=0)
        size = np.sqrt(max(((features - centre) ** 2).sum(axis=1).mean(), 1e-12))
        rows, signatures = (features - centre) / size, self._signatures(task, source, problem.train.modality)
        chosen = self._chosen(rows, targets, signatures, problem.seed)
        seen = np.unique(targets)
        weight = signatures @ bilinear(rows, targets, signatures[seen], seen, chosen.gamma, chosen.ridge).T
        scores = rows @ weight.T
        scale = sharpness(scores[:, seen], np.asarray(np.searchsorted(seen, targets)))
        shift = np.zeros(task.width)
        if len(seen) < task.width:
            shift[seen] = chosen.penalty * scores.std()
        head = nn.Linear(features.shape[1], task.width)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(scale * weight / size))
            head.bias.copy_(torch.from_numpy(-scale * (weight @ centre / size + shift)))
        layers = layer_rows(source, head, [])
        layers[-1] = type(layers[-1])("head", layers[-1].parameters, 1.0, None)
        return NetworkFitted(
            replace(self, gamma=chosen.gamma, ridge=chosen.ridge, penalty=chosen.penalty), task, source, head,
            ("pooled",), changed=False, extractor=problem.extractor, precision=problem.extractor.precision,
            history=[_told(problem, chosen, seen)], layers=layers,
        )  # fmt: skip

    # --- signatures ------------------------------------------------------------------------------------------------

    def _meanings(self, task: Task) -> list[list[str | float]]:
        found = prompts.described(self.labels, task.classes, self.name)
        numbers = [isinstance(meanings[0], float) for meanings in found]
        if any(numbers) and (not all(numbers) or len({len(meanings) for meanings in found}) > 1):
            raise MethodError(
                "HS-METHOD-002", "eszsl: attributes must be given for every class, as many for each.",
                "Give numbers for all labels, or texts for all.",
            )  # fmt: skip
        return found

    def _signatures(self, task: Task, source: Source, modality: Modality) -> Array:
        """[C,a] at unit length."""
        meanings = self._meanings(task)
        if isinstance(meanings[0][0], float):
            return prompts.unit(np.array(meanings, np.float64))
        encoder = source if modality == "text" else opened(self.encoder)
        texts, owner = prompts.filled(
            [[str(each) for each in one] for one in meanings], prompts.templates(self.template or TEMPLATE)
        )
        return prompts.mean_by_class(embedded(encoder, tuple(texts)), owner, task.width)

    # --- choosing --------------------------------------------------------------------------------------------------

    def _chosen(self, rows: Array, targets: Array, signatures: Array, seed: int) -> Chosen:
        """What the user gave, and for the rest the best harmonic mean on classes held out in turn."""
        given = Chosen(self.gamma or 1.0, self.ridge or 1.0, max(self.penalty, 0.0))
        if (self.gamma and self.ridge and self.penalty >= 0) or len(np.unique(targets)) < LEAST:
            return given
        gammas = (self.gamma,) if self.gamma else STEPS
        ridges = (self.ridge,) if self.ridge else STEPS
        penalties = (self.penalty,) if self.penalty >= 0 else PENALTIES
        pairs = list(product(gammas, ridges))
        found = np.zeros((2, len(pairs), len(penalties)))  # seen, unseen
        parts = held_out(targets, seed)
        for train, test, classes in parts:
            known = np.setdiff1d(np.unique(targets), classes)
            all_ = np.union1d(known, classes)
            seen = np.isin(all_, known)
            maps = bilinears(rows[train], targets[train], signatures[known], known, gammas, ridges)
            for number, V in enumerate(maps):
                scores = rows[test] @ V @ signatures[all_].T
                for place, penalty in enumerate(penalties):
                    said = all_[(scores - penalty * scores.std() * seen).argmax(axis=1)]
                    found[0, number, place] += accuracy_by_class(targets[test], said, known) / len(parts)
                    found[1, number, place] += accuracy_by_class(targets[test], said, classes) / len(parts)
        means = np.vectorize(harmonic_mean)(found[0], found[1])
        best, place = divmod(int(means.argmax()), len(penalties))
        return Chosen(*pairs[best], penalties[place], *found[:, best, place].tolist())


def _told(problem: Problem, chosen: Chosen, seen: Array) -> dict[str, object]:
    """What was settled, what it gave on held-out classes, and which classes nothing tested."""
    facts: dict[str, object] = {"gamma": chosen.gamma, "ridge": chosen.ridge, "penalty": chosen.penalty}
    further = [str(label) for at, label in enumerate(problem.task.classes) if at not in set(seen.tolist())]
    if further:
        facts["further classes"] = further
    if np.isfinite(chosen.harmonic):
        facts |= {
            "accuracy on held-out classes": round(chosen.unseen, 4),
            "beside them on seen ones": round(chosen.seen, 4), "harmonic mean": round(chosen.harmonic, 4),
        }  # fmt: skip
    if further:
        problem.notes.append(f"eszsl: no row shows {', '.join(further)}; what it says of them was not tested.")
    return facts


def bilinear(rows: Array, targets: Array, signatures: Array, classes: Array, gamma: float, ridge: float) -> Array:
    """V [D,a], equation 4 of the paper. rows [N,D]; signatures [z,a] of ``classes`` [z], which the targets [N] are of.

    gamma and ridge are in units of the mean eigenvalue of X'X and S'S.
    """
    return next(bilinears(rows, targets, signatures, classes, (gamma,), (ridge,)))


def bilinears(
    rows: Array, targets: Array, signatures: Array, classes: Array, gammas: Sequence[float], ridges: Sequence[float]
) -> Iterator[Array]:
    """`bilinear` for every gamma and ridge, ridges fastest."""
    signs = np.where(targets[:, None] == classes[None, :], 1.0, -1.0)
    left, right, middle = rows.T @ rows, signatures.T @ signatures, rows.T @ signs @ signatures
    for gamma in gammas:
        half = np.linalg.solve(_regularised(left, gamma), middle)
        for ridge in ridges:
            yield np.linalg.solve(_regularised(right, ridge), half.T).T


def _regularised(gram: Array, part: float) -> Array:
    return np.asarray(gram + part * max(float(np.trace(gram)) / len(gram), 1e-12) * np.eye(len(gram)))


def held_out(targets: Array, seed: int) -> list[tuple[Array, Array, Array]]:
    """Three parts of the classes, each held out once: training rows, test rows, the classes held out.

    Of the classes that stay a fifth of the rows is for the test, so that seen and unseen meet there.
    """
    generator = np.random.default_rng([seed, 11])
    classes = generator.permutation(np.unique(targets))
    order = generator.permutation(len(targets))
    found = []
    for part in np.array_split(classes, min(3, len(classes) // 2)):
        away = np.isin(targets, part)
        later = np.zeros(len(targets), bool)
        later[order[: len(order) // 5]] = True
        found.append((np.flatnonzero(~away & ~later), np.flatnonzero(away | later), np.sort(part)))
    return found


def accuracy_by_class(targets: Array, said: Array, classes: Sequence[int] | Array) -> float:
    """The mean over ``classes`` that occur of the part of their rows that is right (Xian et al. 2017, section 5)."""
    parts = [float((said[targets == each] == each).mean()) for each in classes if (targets == each).any()]
    return float(np.mean(parts)) if parts else 0.0


def harmonic_mean(seen: float, unseen: float) -> float:
    """2 s u / (s + u); 0 where both are 0 (Xian et al. 2017, equation 7)."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen != 0 else 0.0


def sharpness(scores: Array, targets: Array) -> float:
    """The factor of the scores [N,z] at which their softmax has the smallest cross-entropy with the targets [N]."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_factor: float) -> float:
        chances = log_softmax(np.exp(log_factor) * scores, axis=1)
        return float(-chances[np.arange(len(targets)), targets].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 5.0), method="bounded").x))
