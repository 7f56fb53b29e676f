"""Student: a small network that learns from the labels alone.

An LSTM for text, a small convolutional network for images, a layer on classical features for tables and sounds, or a
linear model: what a distilled student is compared with (`headstart.methods.distill`), and a control of its own, without
any source. A linear model is solved (`headstart.nn.linear`); the others train for a number of steps, however many rows
there are. Where there are `LEAST` validation rows or more, it looks at them twenty times and keeps the weights that
were best; fewer would choose by chance, and the last weights are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.engine import Group, Schedule, Trainer, batches
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.network import identity, load_exactly
from headstart.nn.linear import fit_linear
from headstart.nn.students import Bag, Encoded, EncodedFeatures, Reader, Shape, StudentNetwork, restored
from headstart.runtime import prefetch
from headstart.tasks.base import Array, Targets, Task
from headstart.types import Batch, Json, LayerRow, Modality, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source

KINDS: dict[Modality, tuple[str, ...]] = {
    "text": ("lstm", "mlp", "linear"),
    "image": ("cnn", "mlp", "linear"),
    "audio": ("mlp", "linear"),
    "table": ("mlp", "linear"),
    "series": ("mlp", "linear"),
}
"""Architectures for each kind of input; the first is the one of ``auto``."""

WORDS = {"lstm": "LSTM", "cnn": "small convolutional network", "mlp": "small network", "linear": "linear model"}

LEAST = 200  # validation rows from which they choose among the weights of a training
LOOKS = 20  # rounds of a training, after each of which the validation rows are looked at
AT_ONCE = 256  # rows of a batch that is predicted

Loss = Callable[[nn.Module, Batch, torch.Tensor], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class SmallMethod(Method):
    """What methods that train a small network share: its shape, and how long and how hard it trains."""

    gradients: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("labels",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multilabel", "regression")

    architecture: str = hyper(
        "auto", "the small network; auto: lstm for text, cnn for images, mlp for tables and sounds",
        choices=("auto", "lstm", "cnn", "mlp", "linear"),
    )  # fmt: skip
    width: int = hyper(128, "width of the network", low=1, high=4096)
    size: int = hyper(32, "pixels to which a convolutional network's pictures are shrunk", low=8, high=512)
    dropout: float = hyper(0.3, "share of the inputs and features that is left out in training", low=0.0, high=0.95)
    steps: int = hyper(1500, "training steps", low=1, high=1_000_000)
    batch_size: int = hyper(64, "rows a step sees", low=1, high=4096)
    learning_rate: float = hyper(2e-3, "highest learning rate", low=1e-8, high=1.0)
    weight_decay: float = hyper(0.01, "decoupled weight decay", low=0.0, high=10.0, paper="Loshchilov & Hutter 2019")

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse also an architecture that does not read this kind of input. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, given)
        self.shape(dataset)

    def rows_trained(self, rows: int) -> float:
        """Rows of a small network, which cost next to nothing beside those of a source."""
        return 0.0

    def shape(self, dataset: Dataset) -> Shape:
        """The network for these rows. Raises MethodError HS-METHOD-003 where the architecture does not read them."""
        known = KINDS[dataset.modality]
        kind = known[0] if self.architecture == "auto" else self.architecture
        if kind not in known:
            raise MethodError(
                "HS-METHOD-003", f"{self.name}: a student of the architecture {kind} does not read {dataset.modality}.",
                f"Set --architecture to {' or '.join(known)}.",
            )  # fmt: skip
        return Shape(kind, self.width, self.size, self.dropout)

    def begin(self, problem: Problem, parts: Sequence[Dataset]) -> Pupil:
        """The reader, learned on the inputs of ``parts``, and a fresh network."""
        shape = self.shape(problem.train)
        reader = shape.reader(parts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            network = shape.network(reader, problem.task.width)
        return Pupil(reader, network)

    def train(self, problem: Problem, pupil: Pupil, lesson: Lesson) -> StudentFitted:
        """Train by the engine; of the weights those best on ``problem.valid``, or the last (see the module)."""
        rounds = min(LOOKS, self.steps)
        each = math.ceil(self.steps / rounds)
        draw = Draw(lesson.encoded.costs, self.batch_size, problem.seed)
        network = pupil.network if lesson.around is None else lesson.around
        trainer = Trainer(
            network,
            [Group("student", list(network.parameters()), self.learning_rate, self.weight_decay)],
            Schedule(rounds, 1, patience=rounds, bucket=False),
            costs=np.ones(each),  # what the engine orders are not rows but numbers of batches
            loss=lesson.loss,
            prepare=lambda numbers, training: lesson.batch(draw(trainer.epoch * each + int(numbers[0])), training),
            validate=_scorer(pupil, problem.task, problem.valid),
            seed=problem.seed,
            key=key({"fit": identity(self, problem), **lesson.facts}),
            folder=problem.folder,
            deadline=problem.deadline,
            report=problem.report,
            stage=self.name,
            precision="fp32",
        )
        history = trainer.run()
        problem.notes += trainer.notes
        return StudentFitted(self, problem.task, pupil, self.shape(problem.train), history, _rows(pupil.network, self))

    def solved(self, problem: Problem, pupil: Pupil, weight: Array, bias: Array, facts: Json) -> StudentFitted:
        """A linear student with this head [C,D] and [C], the optimum, which no step needs to look for."""
        body = pupil.network.body
        assert isinstance(body, Bag)
        with torch.no_grad():
            body.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
            body.bias.copy_(torch.from_numpy(bias))
        rows = [replace(row, rate=None) for row in _rows(pupil.network, self)]
        return StudentFitted(self, problem.task, pupil, self.shape(problem.train), [facts], rows)


@dataclass(frozen=True)
class Student(SmallMethod):
    """A small network that learns from the labels alone."""

    name: ClassVar[str] = "student"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    paper: ClassVar[str] = "Hochreiter & Schmidhuber 1997; Conneau et al. 2017, arXiv:1705.02364"

    def fit(self, problem: Problem) -> StudentFitted:
        """Train on ``problem.train``."""
        task, train = problem.task, problem.train
        pupil = self.begin(problem, [train])
        weights, encoded, targets = train.weights(), pupil.reader.encode(train), task.encode(train.targets())
        if isinstance(encoded, EncodedFeatures) and pupil.is_linear:
            head = fit_linear(
                task, encoded.matrix, targets, groups=train.groups(), seed=problem.seed, weights=weights, outside=False
            )
            return self.solved(problem, pupil, head.weight, head.bias, {"strength": head.strength})
        lesson = Lesson(
            encoded, task, targets,
            lambda network, batch, target: task.loss(network(batch), target, batch.weight), weights,
        )  # fmt: skip
        return self.train(problem, pupil, lesson)


@dataclass(frozen=True)
class Pupil:
    """A small network and what turns rows into its input."""

    reader: Reader
    network: StudentNetwork

    @property
    def is_linear(self) -> bool:
        """Whether it is one matrix on classical features."""
        return isinstance(self.network.body, Bag) and not self.network.body.hidden

    def outputs(self, dataset: Dataset) -> Array:
        """Outputs [N,C]; rows of like length share a batch."""
        encoded = self.reader.encode(dataset)
        order = np.argsort(-encoded.costs, kind="stable")
        pieces = [order[start : start + AT_ONCE] for start in range(0, len(order), AT_ONCE)]
        where = next(self.network.parameters()).device
        found = np.zeros((len(order), 0), dtype=np.float32)
        self.network.eval()
        with torch.inference_mode():
            for rows, inputs in zip(pieces, prefetch(lambda rows: encoded.batch(rows, False), pieces)):
                values = self.network(Batch(inputs).to(where)).float().cpu().numpy()
                if not found.shape[1]:
                    found = np.zeros((len(order), values.shape[1]), dtype=np.float32)
                found[rows] = values
        return found


@dataclass
class Lesson:
    """What a student is to learn. targets: encoded, of the N rows of ``encoded``. weights: [N] of the rows, or None.

    extras: further tensors, [N,...], that go along in the inputs of a batch. around: a module around the student that
    trains in its place, or None. facts: what besides method and problem determines the result.
    """

    encoded: Encoded
    task: Task
    targets: Targets
    loss: Loss
    weights: Array | None = None
    extras: dict[str, Array] = field(default_factory=dict)
    around: nn.Module | None = None
    facts: Json = field(default_factory=dict)

    def batch(self, rows: Array, train: bool) -> tuple[Batch, torch.Tensor]:
        """The rows as a batch and their target tensor."""
        inputs = self.encoded.batch(rows, train)
        inputs |= {name: torch.from_numpy(values[rows]) for name, values in self.extras.items()}
        weight = None if self.weights is None else torch.from_numpy(self.weights[rows]).float()
        return Batch(inputs, weight), self.task.collate(self.targets[rows])


class Draw:
    """Batches of row numbers: ``draw(number)``. Every row comes once before any comes again; costs: [N]."""

    def __init__(self, costs: Array, size: int, seed: int) -> None:
        self.each = math.ceil(len(costs) / size)
        self._pass = lru_cache(64)(lambda number: batches(costs, size, seed, number))

    def __call__(self, number: int) -> Array:
        """Rows [b] of the batch of this number."""
        cycle, place = divmod(number, self.each)
        return self._pass(cycle)[place]


def _scorer(pupil: Pupil, task: Task, valid: Dataset | None) -> Callable[[nn.Module, bool], float] | None:
    """The headline metric of the student on the validation rows; None where there are too few to choose by."""
    if valid is None or len(valid) < LEAST:
        return None
    targets, rows = task.encode(valid.targets()), valid.without("target")
    return lambda network, bf16: task.score(pupil.outputs(rows), targets)


def _rows(network: StudentNetwork, method: SmallMethod) -> list[LayerRow]:
    """What trained: every part of the body, then the head."""
    parts = dict(network.body.named_children()) | {"head": network.head}
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    rest = sum(p.numel() for p in network.parameters()) - sum(sizes.values())
    sizes = ({"weights": rest} if rest else {}) | {name: size for name, size in sizes.items() if size}
    return [LayerRow(name, size, 1.0, method.learning_rate) for name, size in sizes.items()]


class StudentFitted(Fitted):
    """A small network that predicts by itself: without a source, and without the teacher that it may have had."""

    kind: ClassVar[str] = "methods.student"

    def __init__(
        self, method: Method, task: Task, pupil: Pupil, shape: Shape, history: list[Json], layers: list[LayerRow]
    ) -> None:
        self.method, self.task, self.pupil, self.shape = method, task, pupil, shape
        self.history, self._layers = history, layers

    @property
    def description(self) -> str:
        """What was fitted, in a few words."""
        words = {
            "lstm": "an LSTM",
            "cnn": "a small convolutional network",
            "mlp": "a small network",
            "linear": "linear",
        }
        of = {"student": "from the labels alone"}.get(self.method.name, "distilled")
        return f"{words[self.shape.kind]}, {of}"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]. Raises DataError for inputs that cannot be read."""
        return self.pupil.outputs(dataset)

    def trained(self) -> list[LayerRow]:
        """Every part of the network."""
        return self._layers

    def save(self, folder: Path) -> None:
        """``student.json`` (shape, vocabulary) and ``student.safetensors`` (weights)."""
        state, arrays = self.pupil.reader.state()
        tensors = {f"network.{name}": value.contiguous() for name, value in self.pupil.network.state_dict().items()}
        tensors |= {f"reader.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        save_file(tensors, folder / "student.safetensors")
        facts = {
            "shape": asdict(self.shape),
            "reader": {"kind": self.pupil.reader.kind, "state": state},
            "history": self.history,
            "layers": [vars(row) for row in self._layers],
        }
        (folder / "student.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> StudentFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor matches."""
        facts = json.loads((folder / "student.json").read_text(encoding="utf-8"))
        path = folder / "student.safetensors"
        tensors, shape = load_file(path), Shape(**facts["shape"])
        arrays = {name.removeprefix("reader."): v.numpy() for name, v in tensors.items() if name.startswith("reader.")}
        try:
            reader = restored(facts["reader"]["kind"], facts["reader"]["state"], arrays)
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{path}: the reader does not fit ({error}).",
                "The file is not the one that was saved; copy it again.",
            ) from error  # fmt: skip
        network = shape.network(reader, task.width)
        own = {name.removeprefix("network."): v for name, v in tensors.items() if not name.startswith("reader.")}
        load_exactly(network, own, path)
        layers = [LayerRow(**row) for row in facts["layers"]]
        return cls(method, task, Pupil(reader, network.eval()), shape, facts["history"], layers)
