"""A network adapted to a task: backbone and head, how it predicts, and the base of the methods that train it."""

from __future__ import annotations

import copy
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.engine import Group, Schedule, Trainer, batches, train_only, training_mode
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.remember import once
from headstart.nn import learning_rate
from headstart.nn.drift import ROWS as COMPARED
from headstart.nn.drift import Origin
from headstart.runtime import Extractor, bf16_is_native, device
from headstart.sources.weights import digest
from headstart.tasks.base import Task
from headstart.types import Batch, Json, LayerRow, Outputs, Sample

if TYPE_CHECKING:
    from headstart.sources.base import Source


class Network(nn.Module):
    """Backbone and head. outputs: which features feed the head: ``pooled``, ``tokens``, or names of layers."""

    def __init__(self, source: Source, head: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.backbone = source.network
        self.head = head
        self.companion: Companion | None = None
        self.outputs = tuple(outputs)
        self._source = [source]  # in a list: its network is registered once, as the backbone

    @property
    def last_layer(self) -> nn.Module:
        """The backbone's layer nearest the head."""
        return self._source[0].layers()[-1].module

    def features(self, batch: Batch) -> torch.Tensor:
        """What feeds the head: [B,D], or [B,T,D] of word-aligned tokens."""
        source = self._source[0]
        cuts = [output for output in self.outputs if output not in ("pooled", "tokens")]
        features = source.features(batch, cuts)
        if self.outputs == ("tokens",):
            assert features.tokens is not None
            return features.tokens
        parts = [features.pooled if output == "pooled" else features.cuts[output] for output in self.outputs]
        return torch.cat(parts, dim=-1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Outputs [B,C], or [B,T,C] from word-aligned tokens."""
        return self.head(self.features(batch))  # type: ignore[no-any-return]


class Companion(nn.Module):
    """What goes along with a network while it trains and is no part of what predicts, such as weights of losses.

    Its parameters and buffers are in the checkpoint and not in the artefact.
    """

    def groups(self) -> list[Group]:
        """What of it trains."""
        return []

    def backward(
        self, network: Network, batch: Batch, target: torch.Tensor, losses: dict[str, torch.Tensor], last: bool
    ) -> None:
        """Put the gradients of one piece of a step into the parameters. last: of the pieces of this step."""
        losses["loss"].backward()  # type: ignore[no-untyped-call]

    def facts(self) -> Json:
        """What it learned, for the last line of the history."""
        return {}


class NetworkFitted(Fitted):
    """A source, tuned or frozen, with a linear head [C,D] on some of its outputs.

    precision: in which the backbone runs for predictions. changed: whether the backbone differs from the source's.
    """

    kind: ClassVar[str] = "methods.network"

    def __init__(
        self,
        method: Method,
        task: Task,
        source: Source,
        head: nn.Module,
        outputs: Sequence[str],
        *,
        changed: bool,
        precision: str = "auto",
        extractor: Extractor | None = None,
        history: list[Json] | None = None,
        layers: list[LayerRow] | None = None,
    ) -> None:
        self.method, self.task, self.source = method, task, source
        self.head, self.outputs_used = head.eval(), tuple(outputs)
        self.changed, self.precision = changed, precision
        self.history = history or []
        self._layers = layers or []
        self.cv_outputs: Any = None  # out-of-fold outputs of a closed-form head; not saved
        self._extractor = extractor

    @property
    def extractor(self) -> Extractor:
        """The frozen passes of predictions: cached on disk for an unchanged source, in memory for a tuned one."""
        if self._extractor is None:
            self._extractor = Extractor(self.source, precision=self.precision, cache=not self.changed)
        return self._extractor

    def outputs(self, dataset: Dataset) -> Outputs:
        """Raw outputs: [N,C], or a list of N arrays [T_i,C]."""
        with torch.inference_mode():
            if self.outputs_used == ("tokens",):
                rows = self.extractor.tokens(dataset)
                return [self.head(torch.from_numpy(row)).numpy() for row in rows]
            matrix = self.extractor.matrix(dataset, self.outputs_used)
            return self.head(torch.from_numpy(matrix)).numpy()

    def trained(self) -> list[LayerRow]:
        """Layer by layer: parameters, share that trained, learning rate."""
        return self._layers

    def save(self, folder: Path) -> None:
        """``source/``, ``head.safetensors`` and ``network.json``."""
        self.source.with_network(self.source.network).save(folder / "source")  # without its classifier
        save_file(
            {name: value.contiguous() for name, value in self.head.state_dict().items()}, folder / "head.safetensors"
        )
        facts = {
            "outputs": list(self.outputs_used),
            "changed": self.changed,
            "precision": self.precision,
            "width": int(next(p for p in self.head.parameters()).shape[1]),
            "history": self.history,
            "layers": [vars(row) for row in self._layers],
        }
        (folder / "network.json").write_text(json.dumps(facts, indent=1))

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> NetworkFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor of the head matches."""
        from headstart.sources.shelf import open_source

        facts = json.loads((folder / "network.json").read_text())
        head = task.head(facts["width"])
        load_exactly(head, load_file(folder / "head.safetensors"), folder / "head.safetensors")
        return cls(
            method,
            task,
            open_source(str(folder / "source")),
            head,
            facts["outputs"],
            changed=facts["changed"],
            precision=facts["precision"],
            history=facts["history"],
            layers=[LayerRow(**row) for row in facts["layers"]],
        )


def load_exactly(module: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Load every tensor or none. Raises ArtefactError HS-ARTEFACT-003 that lists what does not fit."""
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} {list(tensors[name].shape)} instead of {list(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    if missing or unexpected or shapes:
        parts = [f"missing {missing}" * bool(missing), f"unexpected {unexpected}" * bool(unexpected)]
        text = "; ".join([*filter(None, parts), *(f"misshapen {shape}" for shape in shapes)])
        raise ArtefactError(
            "HS-ARTEFACT-003", f"{path}: {text}.", "The file is not the one that was saved; copy it again."
        )
    module.load_state_dict(tensors)


@dataclass(frozen=True)
class GradientMethod(Method):
    """Trains a network by the engine. Subclasses say what trains (`prepare`), and may change the loss."""

    gradients: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("labels", "source", "network")

    epochs: int = hyper(3, "passes over the training rows", low=1, high=1000)
    batch_size: int = hyper(32, "rows a step sees", low=1, high=4096)
    accumulate: int = hyper(1, "pieces a step is computed in, to save memory", low=1, high=256)
    learning_rate: float = hyper(1e-4, "highest learning rate of the last layer", low=1e-8, high=1.0)
    weight_decay: float = hyper(0.01, "decoupled weight decay", low=0.0, high=10.0, paper="Loshchilov & Hutter 2019")
    warmup: float = hyper(0.1, "share of the steps with rising learning rate", low=0.0, high=1.0)
    clip: float = hyper(1.0, "largest norm of the gradient", low=1e-6, high=1e6)
    patience: int = hyper(2, "epochs without a better validation score before it stops", low=1, high=1000)
    ema: float = hyper(0.0, "decay of averaged weights, 0 = off", low=0.0, high=0.99999, paper="Polyak & Juditsky 1992")

    def rows_trained(self, rows: int) -> float:
        """Every epoch sees every row once."""
        return float(self.epochs * rows)

    @abstractmethod
    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A source of its own to train, its head, and which outputs feed the head."""

    @abstractmethod
    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """What trains at which rate, from input to output; the head last."""

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """What would train of a source that is left as it is."""
        head = task.head(source.card.width)
        return layer_rows(source, head, self.thawed(self.groups(source, head)))

    def thawed(self, groups: list[Group]) -> list[Group]:
        """Those that train before the last epoch is over."""
        return [group for group in groups if group.start < max(self.epochs, 1)]

    def companion(self, problem: Problem, head: nn.Module) -> Companion | None:
        """What is to go along with the network while it trains; nothing by default."""
        return None

    def rows(self, problem: Problem, source: Source) -> Rows:
        """The rows that are trained on."""
        return Rows(problem.train, problem.task, source)

    def judge(self, problem: Problem, source: Source) -> Callable[[nn.Module, bool], float] | None:
        """What scores the network after each epoch, in bf16 or not; the best weights are kept. None: the last ones."""
        return None if problem.valid is None else Rows(problem.valid, problem.task, source).score

    def epochs_of(self, rows: int) -> int:
        """Passes over so many training rows."""
        return self.epochs

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """The training loss under the key ``loss``; the task's own unless overridden."""
        output = network(batch).float()
        if batch.weight is None:
            return problem.task.loss(output, target)
        return problem.task.loss(output, target, batch.weight)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train on ``problem.train``; the best epoch is chosen on ``problem.valid`` where there is one.

        A learning rate of 0 is found first (`found_rate`). What moved is measured on the validation rows.
        """
        if problem.source is None:
            raise MethodError("HS-METHOD-003", f"{self.name} needs a source.", "Name one with --source.")
        if self.learning_rate == 0:
            return self._with_found_rate(problem)
        task = problem.task
        source, head, outputs = self.prepare(problem)
        groups = self.groups(source, head)
        network = Network(source, head, outputs)
        network.companion = companion = self.companion(problem, head)
        groups += [] if companion is None else companion.groups()
        train_only(network, groups)
        rows = self.rows(problem, source)
        origin = Origin(source, head, shown(problem), device())
        trainer = Trainer(
            network,
            groups,
            Schedule(
                self.epochs_of(len(rows.costs)),
                self.batch_size,
                self.accumulate,
                self.warmup,
                self.clip,
                self.patience,
                self.ema,
                bucket=bool(problem.options.get("bucket", True)),
            ),
            costs=rows.costs,
            loss=lambda model, batch, target: self.loss(model, batch, target, problem),  # type: ignore[arg-type]
            prepare=rows.batch,
            validate=self.judge(problem, source),
            seed=problem.seed,
            key=identity(self, problem),
            folder=problem.folder,
            deadline=problem.deadline,
            report=problem.report,
            stage=self.name,
            precision=problem.precision,
            backward=None if companion is None else companion.backward,  # type: ignore[arg-type]
        )
        history = trainer.run()
        if companion is not None and history:
            history[-1] |= companion.facts()
        problem.notes += trainer.notes
        layers = origin.moved(layer_rows(source, head, self.thawed(groups)))
        source.card, source.pretrained = replace(source.card, digest=source.digest()), True
        return NetworkFitted(
            self, task, source, head, outputs, changed=True, precision="bf16" if trainer.bf16 else "fp32",
            history=history, layers=layers,
        )  # fmt: skip

    def _with_found_rate(self, problem: Problem) -> NetworkFitted:
        """Find the learning rate, once, and train at it; the history begins with the sweep."""
        found = once(problem.folder, f"{self.name}-rate", identity(self, problem), lambda: found_rate(self, problem))
        problem.notes.append(
            f"{self.name}: a sweep of {found['steps']} steps found the rate {found['found rate']:.1e}."
        )
        fitted = replace(self, learning_rate=found["found rate"]).fit(problem)
        fitted.history.insert(0, found)
        return fitted


def identity(method: Method, problem: Problem) -> str:
    """A digest of all that determines what is trained: a checkpoint of another one is of no use."""
    train, valid, source, weights = problem.train, problem.valid, problem.source, problem.train.weights()
    domain, model = problem.domain, problem.model
    return key(
        {
            "method": method.name,
            **method.hyperparameters(),
            "rows": train.fingerprints(),
            "seed": problem.seed,
            "targets": [str(value) for value in train.targets()] if train.target is not None else None,
            "source": None if source is None else source.card.digest,
            "precision": problem.precision,
            "weights": None if weights is None else weights.tolist(),
            "valid": None if valid is None else [valid.fingerprints(), str(valid.targets())],
            "domain": None if domain is None else domain.fingerprints(),
            "head": digest(model.head.state_dict()) if isinstance(model, NetworkFitted) else None,
        }
    )


def shown(problem: Problem) -> list[Sample]:
    """The rows whose features are compared before and after: of the validation part, else of the training rows."""
    if not problem.options.get("drift", True):
        return []
    rows = problem.valid if problem.valid is not None else problem.train
    order = np.random.default_rng(problem.seed).permutation(len(rows))[:COMPARED]
    return rows.samples(np.sort(order).tolist())


def found_rate(method: GradientMethod, problem: Problem) -> Json:
    """The learning rate by a sweep on a copy of the network (`headstart.nn.learning_rate`), for the history.

    Every group keeps its ratio to the last layer. Where time is short the sweep takes a quarter of what is left.
    """
    unit = replace(method, learning_rate=1.0)
    source, head, outputs = unit.prepare(problem)
    groups, where = unit.groups(source, head), device()
    network = Network(source, head, outputs).to(where)
    train_only(network, groups)
    start = copy.deepcopy(network)  # whose loss each step is compared with
    for each in (network, start):
        training_mode(each)
    rows = method.rows(problem, source)
    per_epoch = math.ceil(len(rows.costs) / method.batch_size)
    count = learning_rate.steps(method.epochs * per_epoch)
    epochs = range(math.ceil(count / per_epoch))
    order = [at for epoch in epochs for at in batches(rows.costs, method.batch_size, problem.seed, epoch)]
    bf16 = problem.precision != "fp32" and bf16_is_native()
    optimiser = torch.optim.AdamW([{"params": group.parameters, "weight_decay": group.decay} for group in groups])

    def loss(net: Network, number: int, batch: Batch, target: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(number)  # the same dropout in both
        with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
            return method.loss(net, batch, target, problem)["loss"]

    def step(number: int, rate: float) -> tuple[float, float]:
        batch, target = rows.batch(order[number], True)
        batch, target = batch.to(where), target.to(where)
        with torch.no_grad():
            before = float(loss(start, number, batch, target))
        now = loss(network, number, batch, target)
        now.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], method.clip)
        for group, settings in zip(groups, optimiser.param_groups):
            settings["lr"] = rate * group.rate
        optimiser.step()
        optimiser.zero_grad()
        return float(now.detach()), before

    left = problem.seconds_left
    with torch.random.fork_rng(devices=[]):
        found = learning_rate.sweep(step, count, None if left is None else left / 4)
    return found.to_json()


class Rows:
    """The labelled rows of a dataset as training batches."""

    def __init__(self, dataset: Dataset, task: Task, source: Source) -> None:
        self.task, self.source = task, source
        self.dataset = dataset
        self.targets = task.encode(dataset.targets())
        self.weights = dataset.weights()
        self.costs = np.array([source.cost(sample) for sample in dataset.samples()], dtype=np.int64)

    def batch(self, rows: np.ndarray, train: bool) -> tuple[Batch, torch.Tensor]:
        """The rows as a batch and their target tensor."""
        batch = self.source.preprocess(self.dataset.samples(rows.tolist()), train)
        chosen = [self.targets[i] for i in rows] if isinstance(self.targets, list) else self.targets[rows]
        words = batch.inputs.get("word_index")
        target = self.task.collate(chosen, None if words is None else int(words.shape[1]))
        if words is not None:
            target = target.masked_fill(words < 0, -100)
        if self.weights is not None:
            batch.weight = torch.from_numpy(self.weights[rows]).float()
        return batch, target

    def score(self, network: nn.Module, bf16: bool) -> float:
        """The headline metric of the network on these rows."""
        order = np.argsort(-self.costs, kind="stable")
        outputs: list[Any] = [None] * len(order)
        where = next(network.parameters()).device
        with torch.no_grad(), torch.autocast(where.type, torch.bfloat16, enabled=bf16):
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                batch = self.source.preprocess(self.dataset.samples(rows.tolist()))
                words = batch.inputs.get("word_index")
                for at, value in zip(rows, network(batch.to(where)).float().cpu().numpy()):
                    outputs[at] = value
                if words is not None:
                    for at, index in zip(rows, words.numpy()):
                        outputs[at] = outputs[at][index >= 0]
        return self.task.score(outputs if isinstance(self.targets, list) else np.stack(outputs), self.targets)


def layer_rows(source: Source, head: nn.Module, groups: list[Group]) -> list[LayerRow]:
    """The "what trained" table: every layer from input to output, then the head."""
    rates = {id(p): group.rate for group in groups for p in group.parameters}
    rows = []
    for name, module in [*((layer.name, layer.module) for layer in source.layers()), ("head", head)]:
        sizes = [(p.numel(), rates.get(id(p))) for p in module.parameters()]
        total = sum(size for size, _ in sizes)
        moving = [(size, rate) for size, rate in sizes if rate is not None]
        share = sum(size for size, _ in moving) / total if total else 0.0
        rows.append(LayerRow(name, total, share, max((rate for _, rate in moving), default=None)))
    return rows
