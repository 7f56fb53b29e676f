"""What the methods have in common that train a transformer over histories (`headstart.nn.sasrec`): rows, loss, ranking.

Every item of a history but the first, and every item that came next, is told by those before it: cross-entropy over all
items of the network, none drawn as a negative. Of a history longer than the network sees another stretch is learned in
every epoch. The epoch is chosen by NDCG@10 on the validation rows, the start itself among them, on rankings of all
items; without such rows a sixth of the training rows are taken for it.

The network speaks of the `MOST` most popular items; the others come behind them, by popularity. A user of whom no item
is known gets what is popular, with the user's features if there are any (`headstart.methods.people`).
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.engine import Group
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Problem, hyper
from headstart.methods.items import encoded, joined, judged_rows, recommending
from headstart.methods.network import GradientMethod, Network
from headstart.methods.people import People, chosen_strength
from headstart.methods.selection import validation_part
from headstart.nn.item_weights import matrix
from headstart.nn.sasrec import SASRec
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.sasrec import Sequences
from headstart.tasks.base import Task
from headstart.tasks.recommendation import Recommendation
from headstart.types import Batch, Json, LayerRow, Modality, Outputs

Array = np.ndarray

MOST = 10_000
"""Items that a network speaks of."""

BLOCK = 128
"""Users scored at once."""

PRIOR = 100.0
"""Users of the target for which the source's popularity counts."""

FEWEST = 12
"""Training rows from which a sixth may be taken to choose the epoch."""


@dataclass(frozen=True)
class SequenceMethod(GradientMethod):
    """Trains a transformer over histories. Subclasses say where it starts."""

    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    modalities: ClassVar[tuple[Modality, ...]] = ("interactions",)
    ranks: ClassVar[bool] = True
    paper: ClassVar[str] = "Kang & McAuley 2018, arXiv:1808.09781; Klenitskiy & Vasilev 2023, arXiv:2309.07602"

    epochs: int = hyper(30, "passes over the training rows", low=1, high=1000)
    patience: int = hyper(6, "epochs without a better validation score before it stops", low=1, high=1000)
    learning_rate: float = hyper(2e-3, "highest learning rate", low=1e-8, high=1.0)

    @abstractmethod
    def start(self, source: Sequences, ids: Sequence[str], seed: int) -> Sequences:
        """The network for these items before the first step."""

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Any] = ()) -> None:
        """See `Method.admit`; the source has to be one that reads histories."""
        super().admit(task, source, dataset, given)
        if not isinstance(source, Sequences):
            raise MethodError(
                "HS-METHOD-003", f"{self.name} needs a source that reads histories.",
                "Make one with `headstart pretrain INTERACTIONS --objective sasrec`.",
            )  # fmt: skip

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """None: the network trains."""
        return []

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The network for the items of the task, and no head: it scores items by their embeddings."""
        assert isinstance(problem.source, Sequences)
        ids = self.spoken_of(problem, problem.source)
        return self.start(problem.source, ids, problem.seed), nn.Identity(), ("pooled",)

    def spoken_of(self, problem: Problem, source: Sequences) -> list[str]:
        """The items of the task that the network is to speak of, in the order of the task."""
        task, weight = recommending(problem.task), self.popularity(problem)
        known = set(source.ids) if self.role == "transfer" else set()
        order = np.sort(np.argsort(-weight, kind="stable")[:MOST])
        kept = [task.items[place] for place in order if weight[place] > 0 or task.items[place] in known]
        return kept or task.items[:MOST]

    def popularity(self, problem: Problem) -> Array:
        """The popularity [I]: users in the training rows and, of a transfer, those that the source speaks for."""
        task, source = recommending(problem.task), problem.source
        counts = np.asarray(matrix(joined(*encoded(problem.train, task)), task.width).sum(axis=0), np.float32).ravel()
        if self.role == "transfer" and isinstance(source, Sequences) and source.items is not None:
            places, rows = source.items.known(task.items)
            counts[places] += PRIOR * source.items.table.popularity.numpy()[rows]
        return counts

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Everything trains, at one rate."""
        return [
            Group(layer.name, list(layer.module.parameters()), self.learning_rate, self.weight_decay)
            for layer in source.layers()
        ]

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """See `GradientMethod.table`; there is no head."""
        return super().table(source, task)[:-1]

    def rows(self, problem: Problem, source: Source) -> Any:
        """Whole histories, next items included."""
        assert isinstance(source, Sequences)
        return Histories(problem.train, recommending(problem.task), source)

    def judge(self, problem: Problem, source: Source) -> Callable[[nn.Module, bool], float] | None:
        """NDCG@10 on the validation rows."""
        if problem.valid is None:
            return None
        assert isinstance(source, Sequences)
        task, popularity = recommending(problem.task), self.popularity(problem)
        some = np.sort(np.random.default_rng(problem.seed).permutation(len(problem.valid))[: judged_rows(task)])
        rows = problem.valid.select(some.tolist())
        wanted = task.encode(rows.targets())

        def score(network: nn.Module, bf16: bool) -> float:
            assert isinstance(network, Network) and isinstance(network.backbone, SASRec)
            return task.score(ranked(network.backbone, source, task, popularity, rows), wanted)

        return score

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """Cross-entropy over all items of the network, the mean over the steps that have a next item."""
        transformer = network.backbone
        assert isinstance(transformer, SASRec)
        there = target >= 0  # [B,T]
        logits = transformer.scores(transformer(batch.inputs["items"])[there])
        return {"loss": functional.cross_entropy(logits.float(), target[there])}

    def fit(self, problem: Problem) -> Any:
        """Train; a `SequenceFitted` with the weights of the best epoch, or those that it started from."""
        if problem.valid is None and len(problem.train) >= FEWEST:
            problem = validation_part(problem)
        found = super().fit(problem)
        if isinstance(found, SequenceFitted):  # a learning rate was found first
            return found
        source, history = found.source, list(found.history)
        assert isinstance(source, Sequences)
        before, head, outputs = self.prepare(problem)
        if (judge := self.judge(problem, before)) is not None:
            first = judge(Network(before, head, outputs), False)
            history.insert(0, {"epoch": 0, "validation": first})
            if first >= max(row["validation"] for row in history if "validation" in row):
                assert isinstance(before, Sequences)
                source = before
        return SequenceFitted(
            self, recommending(problem.task), source, self.popularity(problem), history, found.trained()[:-1],
            self.people(problem),
        )  # fmt: skip

    def people(self, problem: Problem) -> People | None:
        """What the features of users say of items, where that ranks them better without a history."""
        task = recommending(problem.task)
        every = joined(*encoded(problem.train, task))
        X = matrix(every, task.width)
        found = chosen_strength(problem.train, X, every, task, problem.seed, judged_rows(task))
        return None if found is None else People.fit(problem.train, X, found[0])


class Histories:
    """The rows of a dataset as histories with what came next, for training: all that have two known items."""

    def __init__(self, dataset: Dataset, task: Recommendation, source: Sequences) -> None:
        past, later = histories(dataset), dataset.targets()
        every = [source.codes([*before, *after]) for before, after in zip(past, later)]
        self.rows = [np.array(row, np.int64) for row in every if len(row) > 1]
        if not self.rows:
            raise MethodError("HS-METHOD-003", "no training row has two items.", "Add interactions.")
        self.length = int(source.sizes["length"])
        self.costs = np.array([min(len(row), self.length + 1) for row in self.rows], np.int64)

    def batch(self, rows: Array, train: bool) -> tuple[Batch, torch.Tensor]:
        """``items`` [B,T], and the next item of each step [B,T], -100 where there is none."""
        span, cuts = self.length + 1, []
        for row in (self.rows[at] for at in rows):
            spare = len(row) - span
            start = int(torch.randint(spare + 1, ())) if train and spare > 0 else max(spare, 0)
            cuts.append(row[start : start + span])
        longest = max(len(cut) for cut in cuts) - 1
        items = torch.zeros(len(cuts), longest, dtype=torch.int64)
        target = torch.full((len(cuts), longest), -100)
        mask = torch.zeros(len(cuts), longest, dtype=torch.int64)
        for place, cut in enumerate(cuts):
            items[place, : len(cut) - 1] = torch.from_numpy(cut[:-1])
            target[place, : len(cut) - 1] = torch.from_numpy(cut[1:])
            mask[place, : len(cut) - 1] = 1
        return Batch({"items": items, "attention_mask": mask}), target


# --- the model ---------------------------------------------------------------------------------------------------


def ranked(
    network: SASRec, source: Sequences, task: Recommendation, popularity: Array, rows: Dataset,
    people: People | None = None,
) -> Outputs:  # fmt: skip
    """The best items of each row, [N,P,K,2] (see `headstart.tasks.recommendation`), in blocks of users.

    source: whose items the network speaks of. popularity: [I]. people: for users of whom no item is known.
    """
    places, share = task.encode([source.ids])[0], popularity / max(float(popularity.max(initial=0)), 1e-9)
    home, training = network.bias.device, network.training
    network.eval()
    past = histories(rows)
    found = []
    for at in range(0, len(past), BLOCK):
        block = past[at : at + BLOCK]
        batch = source.preprocess(block).to(home)
        mask = batch.inputs["attention_mask"]
        with torch.no_grad():
            hidden = network(batch.inputs["items"])[torch.arange(len(block)), (mask.sum(dim=1) - 1).clamp(min=0)]
            logits = network.scores(hidden).float().cpu().numpy()  # [b,K]
        scores = logits.min(axis=1, keepdims=True) - 1 + share[None]  # of items that the network does not know
        scores[:, places] = logits
        nobody = np.flatnonzero(~mask.bool().any(dim=1).cpu().numpy())
        scores[nobody] = share
        if people is not None and len(nobody):
            scores[nobody] += people.told(rows.select((at + nobody).tolist()))
        scores[matrix(task.encode(block), task.width).nonzero()] = -np.inf
        found.append(task.best(scores))
    network.train(training)
    return np.concatenate(found) if found else task.best(np.zeros((0, task.width), np.float32))


class SequenceFitted(Fitted):
    """A transformer over histories and the popularity of the items [I]; people: what features of users say, or None."""

    kind: ClassVar[str] = "methods.sequences"

    def __init__(
        self, method: Method, task: Recommendation, source: Sequences, popularity: Array, history: list[Json],
        layers: list[LayerRow], people: People | None = None,
    ) -> None:  # fmt: skip
        self.method, self.task, self.source, self.popularity = method, task, source, np.asarray(popularity, np.float32)
        self.history, self._layers, self.people = history, layers, people

    @property
    def description(self) -> str:
        """The kind of model, and where it started."""
        return "SASRec" if self.method.role == "transfer" else "SASRec from fresh weights"

    def outputs(self, dataset: Dataset) -> Outputs:
        """See `ranked`."""
        task = recommending(self.task)
        return ranked(self.source.transformer, self.source, task, self.popularity, dataset, self.people)

    def trained(self) -> list[LayerRow]:
        """Layer by layer: parameters, share that trained, learning rate."""
        return self._layers

    def save(self, folder: Path) -> None:
        """``source/``, ``popularity.safetensors`` and ``sequences.json``."""
        from safetensors.numpy import save_file

        self.source.save(folder / "source")
        told, more = (None, {}) if self.people is None else self.people.state()
        save_file({"popularity": np.ascontiguousarray(self.popularity), **more}, folder / "popularity.safetensors")
        facts = {"history": self.history, "layers": [vars(row) for row in self._layers], "people": told}
        (folder / "sequences.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> SequenceFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where the popularity is that of other items."""
        from safetensors.numpy import load_file

        facts = json.loads((folder / "sequences.json").read_text(encoding="utf-8"))
        arrays, width = load_file(folder / "popularity.safetensors"), recommending(task).width
        try:
            popularity, told = arrays["popularity"], facts["people"]
            if popularity.shape != (width,):
                raise ValueError(f"misshapen popularity {list(popularity.shape)}")
            people = None if told is None else People.restore(told, arrays, width)
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'popularity.safetensors'}: {error}.", "Copy the run again."
            ) from error
        layers = [LayerRow(**row) for row in facts["layers"]]
        source = Sequences.load(folder / "source")
        return cls(method, recommending(task), source, popularity, facts["history"], layers, people)
