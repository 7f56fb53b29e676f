"""What the methods have in common that train a network over histories (`headstart.nn.histories`): rows, loss, ranking.

Every item of a history but the first, and every item that came next, is told by those before it: cross-entropy over all
items of the network, none drawn as a negative. Of a history longer than the network sees another stretch is learned in
every epoch. The epoch is chosen by NDCG@10 on the validation rows, on rankings of all items, and then whether it or the
start is taken, or weights between both; without such rows a sixth of the training rows are taken for it.

The network speaks of the `MOST` most popular items; the others come behind them, by popularity. A user of whom no item
is known gets what is popular, with the user's features if there are any (`headstart.methods.people`).
"""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
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
from headstart.nn.histories import HistoryReader
from headstart.nn.item_weights import matrix
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.history_network import HistoryNetwork
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
    """Trains a network over histories: on from the source's weights, or as a control from fresh ones. Subclasses say
    which network it is.

    way: shares of the way from the start to the best epoch whose weights are judged on validation rows, the start
    first (Wortsman et al. 2022, arXiv:2109.01903). close: by so many standard errors a share may be behind the best
    one and be taken, if it is nearer to the middle. enough: validation rows from which the epoch is chosen by them;
    with fewer it is the last one.
    """

    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    modalities: ClassVar[tuple[Modality, ...]] = ("interactions",)
    ranks: ClassVar[bool] = True
    epochs: int = hyper(30, "passes over the training rows", low=1, high=1000)
    patience: int = hyper(6, "epochs without a better validation score before it stops", low=1, high=1000)
    learning_rate: float = hyper(2e-3, "highest learning rate", low=1e-8, high=1.0)

    way: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    close: ClassVar[float] = 0.0
    enough: ClassVar[int] = 1

    @classmethod
    @abstractmethod
    def trains(cls) -> type[HistoryNetwork]:
        """The kind of source that goes on learning."""

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Any] = ()) -> None:
        """See `Method.admit`; the source has to be one that reads histories."""
        super().admit(task, source, dataset, given)
        if not isinstance(source, self.trains()):
            raise MethodError(
                "HS-METHOD-003", f"{self.name} needs a source that reads histories ({self.trains().architecture}).",
                f"Make one with `headstart pretrain INTERACTIONS --objective {self.trains().provider}`.",
            )  # fmt: skip
        if lack := source.lacks(recommending(task).items):
            raise MethodError("HS-METHOD-003", f"{self.name} needs {lack[0]}.", lack[1])

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """None: the network trains."""
        return []

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The network for the items of the task, and no head: it scores items by their embeddings."""
        assert isinstance(problem.source, HistoryNetwork)
        task, counts = recommending(problem.task), self.popularity(problem)
        fresh = self.role == "control"
        told = problem.source.tells(task.items, fresh)
        order = np.sort(np.argsort(-counts, kind="stable")[:MOST])
        kept = [place for place in order if counts[place] > 0 or task.items[place] in told] or order.tolist()
        ids = [task.items[place] for place in kept]
        source = problem.source.for_items(ids, counts[kept], problem.seed, fresh)
        if len(task.parts):
            source.reader.unseen = torch.from_numpy(task.parts[kept] > 0)
        return source, nn.Identity(), ("pooled",)

    def popularity(self, problem: Problem) -> Array:
        """The popularity [I]: users in the training rows and, of a transfer, those that the source speaks for."""
        task, source = recommending(problem.task), problem.source
        counts = np.asarray(matrix(joined(*encoded(problem.train, task)), task.width).sum(axis=0), np.float32).ravel()
        if self.role == "transfer" and isinstance(source, HistoryNetwork) and source.items is not None:
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
        assert isinstance(source, HistoryNetwork)
        return Histories(problem.train, recommending(problem.task), source)

    def judge(self, problem: Problem, source: Source) -> Callable[[nn.Module, bool], float] | None:
        """NDCG@10 on the validation rows, where there are `enough`."""
        assert isinstance(source, HistoryNetwork)
        grade = self.grade(problem, source)
        if problem.valid is None or len(problem.valid) < self.enough:
            return None

        def score(network: nn.Module, bf16: bool) -> float:
            assert isinstance(network, Network) and isinstance(network.backbone, HistoryReader)
            return float(grade(network.backbone).mean())

        return score

    def grade(self, problem: Problem, source: HistoryNetwork) -> Callable[[HistoryReader], Array]:
        """NDCG@10 of each validation row [n], by a network for the items of ``source``."""
        task, popularity, rows = recommending(problem.task), self.popularity(problem), problem.valid
        if rows is None:
            return lambda network: np.zeros(0)
        some = np.sort(np.random.default_rng(problem.seed).permutation(len(rows))[: judged_rows(task)])
        rows = rows.select(some.tolist())
        wanted = task.encode(rows.targets())
        return lambda network: task.statistics(ranked(network, source, task, popularity, rows), wanted)[:, 0]

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """Cross-entropy over all items but new ones, the mean over the steps that have a next item."""
        reader = network.backbone
        assert isinstance(reader, HistoryReader)
        there = target >= 0  # [B,T]
        logits = reader.scores(reader(batch.inputs["items"])[there])
        if reader.unseen is not None:
            logits = logits.masked_fill(reader.unseen.to(logits.device), -torch.inf)
        return {"loss": functional.cross_entropy(logits.float(), target[there])}

    def fit(self, problem: Problem) -> Any:
        """Train; a `SequenceFitted` with the weights that were chosen on the `way` from the start to the best epoch."""
        if problem.valid is None and len(problem.train) >= FEWEST:
            problem = validation_part(problem)
        found = super().fit(problem)
        if isinstance(found, SequenceFitted):  # a learning rate was found first
            return found
        source, history = found.source, list(found.history)
        assert isinstance(source, HistoryNetwork)
        if problem.valid is not None:
            before = self.prepare(problem)[0]
            assert isinstance(before, HistoryNetwork)
            source, first, told = self.along(before, source, self.grade(problem, source))
            history = [{"epoch": 0, "validation": first}, *history[:-1], {**history[-1], **told}]
        return SequenceFitted(
            self, recommending(problem.task), source, self.popularity(problem), history, found.trained()[:-1],
            self.people(problem),
        )  # fmt: skip

    def along(
        self, before: HistoryNetwork, after: HistoryNetwork, grade: Callable[[HistoryReader], Array]
    ) -> tuple[HistoryNetwork, float, Json]:
        """The network with weights between two of the same items, the score of the first, and what was chosen."""
        start, end, network = before.network.state_dict(), after.network.state_dict(), copy.deepcopy(after.reader)
        grades = []
        for share in self.way:
            network.load_state_dict({name: torch.lerp(start[name], end[name], share) for name in start})
            grades.append(grade(network))
        every = np.stack(grades)  # [W,n]
        gaps = every[every.mean(axis=1).argmax()] - every
        near = np.flatnonzero(gaps.mean(axis=1) <= self.close * gaps.std(axis=1) / np.sqrt(gaps.shape[1]))
        place = min(near, key=lambda each: abs(self.way[each] - 0.5))
        share = self.way[place]
        network.load_state_dict({name: torch.lerp(start[name], end[name], share) for name in start})
        made = after.with_network(network)
        assert isinstance(made, HistoryNetwork)
        made.card = replace(after.card, digest=made.digest())
        return made, float(every[0].mean()), {"share": share, "chosen": float(every[place].mean())}

    def people(self, problem: Problem) -> People | None:
        """What the features of users say of items, where that ranks them better without a history."""
        task = recommending(problem.task)
        every = joined(*encoded(problem.train, task))
        X = matrix(every, task.width)
        found = chosen_strength(problem.train, X, every, task, problem.seed, judged_rows(task))
        return None if found is None else People.fit(problem.train, X, found[0])


class Histories:
    """The rows of a dataset as histories with what came next, for training: all that have two known items."""

    def __init__(self, dataset: Dataset, task: Recommendation, source: HistoryNetwork) -> None:
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
    network: HistoryReader, source: HistoryNetwork, task: Recommendation, popularity: Array, rows: Dataset,
    people: People | None = None,
) -> Outputs:  # fmt: skip
    """The best items of each row, [N,P,K,2] (see `headstart.tasks.recommendation`), in blocks of users.

    source: whose items the network speaks of. popularity: [I]. people: for users of whom no item is known.
    """
    places, share = task.encode([source.ids])[0], popularity / max(float(popularity.max(initial=0)), 1e-9)
    home, training = next(network.parameters()).device, network.training
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
    """A network over histories and the popularity of the items [I]; people: what features of users say, or None."""

    kind: ClassVar[str] = "methods.sequences"

    def __init__(
        self, method: Method, task: Recommendation, source: HistoryNetwork, popularity: Array, history: list[Json],
        layers: list[LayerRow], people: People | None = None,
    ) -> None:  # fmt: skip
        self.method, self.task, self.source, self.popularity = method, task, source, np.asarray(popularity, np.float32)
        self.history, self._layers, self.people = history, layers, people

    @property
    def description(self) -> str:
        """The kind of model, and where it started."""
        name = self.source.card.architecture
        return name if self.method.role == "transfer" else f"{name} from fresh weights"

    def outputs(self, dataset: Dataset) -> Outputs:
        """See `ranked`."""
        task = recommending(self.task)
        return ranked(self.source.reader, self.source, task, self.popularity, dataset, self.people)

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
        assert isinstance(method, SequenceMethod)
        source = method.trains().load(folder / "source")
        return cls(method, recommending(task), source, popularity, facts["history"], layers, people)
