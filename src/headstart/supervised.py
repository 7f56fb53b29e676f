"""A source of one's own from a labelled table: ``headstart pretrain TABLE --target y``.

Two models learn to predict the target from the columns: boosted trees, tuned by cross-validation, and a network
(`headstart.nn.tabular`). Both learn to do without a column: the trees see every row once more with some of its cells
empty, the network rows with empty cells. What is saved (`headstart.sources.table`) is a source for other tables whose
columns are partly the same; its classifier is the mixture of both models that predicts the rows best that neither was
fitted on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart import disk
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.engine import Group
from headstart.errors import SourceError, TaskError
from headstart.methods.base import Problem
from headstart.methods.network import GradientMethod, NetworkFitted, Rows
from headstart.nn.boosting import Boosted, fit_boosting
from headstart.nn.leaves import leaves, places, tables
from headstart.nn.linear import assign_folds, strata_of
from headstart.nn.row_hashes import cells
from headstart.nn.row_hashes import rows as row_hashes
from headstart.nn.tables import TableFeatures, coded
from headstart.nn.tabular import HIDDEN, Sizes, Tabular
from headstart.pretraining import Pretrained, claimed, settle
from headstart.sources import weights
from headstart.sources.base import Card
from headstart.sources.schema_matching import Profile
from headstart.sources.table import ROWS, Table
from headstart.tasks.base import Task, infer_task
from headstart.types import Batch, Json

if TYPE_CHECKING:
    from headstart.sources.base import Source

Array: TypeAlias = np.ndarray

TASKS = ("classification", "multilabel", "regression")
RATE, PATIENCE, FOLDS = 1e-3, 4, 3
SEEN = 400_000
"""Rows that the network is shown in all, 8 to 60 passes of them."""

JUDGED = 5000
"""Most rows that judge the network, a tenth of them all at most; and rows that bring the blocks to one size."""

BATCHES = 50
"""Batches of a pass, where they are of 16 to 256 rows."""

EMPTY, COPIES = 0.5, 10_000
"""A copied row has up to this share of its cells empty; and most rows that are copied."""

EDGES, PLACES = 25, 32


@dataclass(frozen=True)
class Supervised(GradientMethod):
    """The network alone, from fresh weights; the head reads its last layer."""

    name: ClassVar[str] = "supervised"

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A copy of the source, and a head of its own."""
        assert problem.source is not None
        source = problem.source.clone()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            head = problem.task.head(HIDDEN)
        return source, head, (source.layers()[-1].name,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Everything trains, at one rate."""
        parts = [*((layer.name, layer.module) for layer in source.layers()), ("head", head)]
        return [Group(name, list(part.parameters()), self.learning_rate, self.weight_decay) for name, part in parts]

    def rows(self, problem: Problem, source: Source) -> Rows:
        """The rows, coded once."""
        return Coded(problem.train, problem.task, source)


class Coded(Rows):
    """Rows of a table that are turned into numbers once, not anew for every batch."""

    def __init__(self, dataset: Dataset, task: Task, source: Source) -> None:
        super().__init__(dataset, task, source)
        assert isinstance(source, Table)
        self.table, self.blocks = source, blocks_of(source.reader, dataset)

    def batch(self, rows: np.ndarray, train: bool) -> tuple[Batch, torch.Tensor]:
        """See `Rows.batch`."""
        batch = self.table.batch([block[rows] for block in self.blocks], train)
        if self.weights is not None:
            batch.weight = torch.from_numpy(self.weights[rows]).float()
        return batch, self.task.collate(self.targets[rows])


def pretrain(
    data: Any,
    out: str | Path,
    target: str,
    *,
    epochs: int = 0,
    batch_size: int = 0,
    learning_rate: float = 0.0,
    budget: float | None = None,
    keep_rows: bool = False,
    input: str | Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    report: Callable[[str, int, int], None] | None = None,
) -> Pretrained:
    """Train trees and a network on a labelled table and save them to ``out`` as a source.

    epochs, batch_size, learning_rate: of the network; 0 = by the number of rows. budget: seconds of training.
    keep_rows: whether the rows are saved beside it, for the control that pools them with those of a target. The rest as
    for `read`.

    Raises SourceError HS-SOURCE-005 for rows that are no table, TaskError HS-TASK-002 for several targets or tags, and
    what `read` raises.
    """
    place, begun = claimed(out), time.monotonic()
    report = report or (lambda stage, done, total: None)
    rows = read(data, target=target, input=input, roles=roles, kinds=kinds)
    if rows.modality != "table":
        raise SourceError(
            "HS-SOURCE-005", f"{rows.origin}: the input is {rows.modality}; from labels only tables are learned.",
            "Leave --target out to learn without labels, or name the columns of the table with --input.",
        )  # fmt: skip
    task = infer_task(rows)
    if task.name not in TASKS:
        raise TaskError("HS-TASK-002", f"{rows.origin}: no source can be made for {task.name}.", "Name one target.")
    deadline = None if budget is None else begun + budget
    features, y, groups = TableFeatures.fit(rows), task.encode(rows.targets()), rows.groups()
    blocks = blocks_of(features, rows)
    judging = _judging(y, groups, seed)
    report("trees", 0, 1)
    trees, outside = _trees(task, features, blocks, y, rows, seed, deadline)
    report("trees", 1, 1)
    fresh = _fresh(rows, task, features, blocks, target, seed)
    method = Supervised(
        epochs=epochs or int(np.clip(SEEN // len(rows), 8, 60)),
        batch_size=batch_size or int(np.clip(len(rows) // BATCHES, 16, 256)),
        learning_rate=learning_rate or RATE, patience=PATIENCE,
    )  # fmt: skip
    parts = [rows.select(np.flatnonzero(judging == held).tolist()) for held in (False, True)]
    trained = method.fit(
        Problem(parts[0], parts[1], task, fresh, None, seed=seed, deadline=deadline, report=report,
                options={"precision": "fp32", "drift": False})
    )  # fmt: skip
    source = _assembled(fresh, trained, trees, blocks, seed)
    scores = _classify(source, task, outside[judging], [block[judging] for block in blocks], y[judging])
    source.card = replace(
        source.card, name=place.name, digest=source.digest(), licence="that of the rows it learned from",
        origin=f"trained by headstart pretrain to predict {target} from {len(rows):,} rows",
        description=f"{target} from {len(rows.inputs)} columns of {Path(rows.origin).name or 'rows in memory'}"[:300],
    )  # fmt: skip
    source.hashes = np.sort(row_hashes([cells(each.name, each.kind, rows.values(each.name)) for each in rows.inputs]))
    with disk.workspace(place) as work:
        source.save(work / "source")
        if keep_rows:
            _keep(rows, work / "source" / ROWS)
        settle(work / "source", place)
    source.rows_at = place / ROWS if keep_rows else None
    facts: Json = {
        "objective": f"{target}, from labels", "rows": len(rows), "datasets": 1, "passes": len(trained.history),
        "losses": [row["loss"] for row in trained.history], "task": task.to_json(), "metric": task.metric,
        "judged": int(judging.sum()), "scores": scores, "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    return Pretrained(source, place, facts, list(rows.notes))


def blocks_of(features: TableFeatures, rows: Dataset) -> list[Array]:
    """The columns of the rows as numbers, one matrix each."""
    return [coded(plan, rows.values(plan.name), rows.origin, rows.numbers) for plan in features.plans]


def _judging(y: Any, groups: Array | None, seed: int) -> Array:
    """Which rows judge the network: bool [N]."""
    fold = assign_folds(strata_of(y), groups, max(10, -(-len(y) // JUDGED)), np.random.default_rng([seed, 1]))
    return np.asarray(fold == 0)


def _trees(
    task: Task, features: TableFeatures, blocks: Sequence[Array], y: Any, rows: Dataset, seed: int,
    deadline: float | None,
) -> tuple[Boosted, Array]:  # fmt: skip
    """Trees on the rows and on copies with empty cells, and their out-of-fold outputs of the rows [N,C]."""
    n, generator = len(rows), np.random.default_rng([seed, 2])
    copied = np.sort(generator.permutation(n)[:COPIES])
    share = generator.uniform(0, EMPTY, len(copied))
    lost = [generator.random(len(copied)) < share for _ in blocks]
    copies = [np.where(gone[:, None], np.nan, block[copied]) for gone, block in zip(lost, blocks)]
    whole, counts = rows.groups(), rows.weights()
    own = np.arange(n) if whole is None else whole
    trees, outputs = fit_boosting(
        task, np.vstack([np.hstack(blocks), np.hstack(copies)]), np.concatenate([y, y[copied]]),
        categorical=features.categorical, groups=np.concatenate([own, own[copied]]), seed=seed, folds=FOLDS,
        deadline=deadline, weights=None if counts is None else np.concatenate([counts, counts[copied]]),
    )  # fmt: skip
    return trees, outputs[:n]


def _fresh(
    rows: Dataset, task: Task, features: TableFeatures, blocks: Sequence[Array], target: str, seed: int
) -> Table:
    """A source with a network of fresh weights and without trees."""
    profiles = [Profile.of(rows, column) for column in rows.inputs]
    numbers = [(plan, block) for plan, block in zip(features.plans, blocks) if plan.kind != "category"]
    parts = features.parts()
    edges = []
    for plan, block in numbers:
        at = slice(parts[plan.name].start, parts[plan.name].stop - 1)
        edges += [_edges(column) for column in ((block - features.mean[at]) / features.spread[at]).T]
    levels = tuple(len(plan.levels) for plan in features.plans if plan.kind == "category")
    sizes = Sizes(tuple(edges), levels, features.width, task.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Tabular(sizes)
    return _table(network, sizes, profiles, features, nothing(task), target)


def nothing(task: Task) -> Boosted:
    """Trees that there are none of."""
    return Boosted(("",) * task.width, (0.0,) * task.width, "value", 0, 0)


def _table(
    network: nn.Module, sizes: Sizes, profiles: Sequence[Profile], features: TableFeatures, trees: Boosted, target: str
) -> Table:
    card = Card(
        name="table", modality="table", architecture="MLP with piecewise-linear embeddings, boosted trees",
        width=sum(sizes.parts), parameters=sum(p.numel() for p in network.parameters()), origin="", licence="",
        digest=weights.digest(weights.state(network)),
    )  # fmt: skip
    return Table(network, card, sizes, profiles, features, trees, target)


def _edges(column: Array) -> tuple[float, ...]:
    """Edges of the bins of a standardised column: quantiles of what is known, those apart that can be told apart."""
    known = column[np.isfinite(column)]
    found = np.quantile(known, np.linspace(0, 1, EDGES)) if len(known) else np.zeros(1)
    kept = [float(found[0])]
    for edge in found[1:]:
        if edge - kept[-1] > 1e-3:
            kept.append(float(edge))
    return tuple(kept) if len(kept) > 2 else (kept[0] - 1, kept[0], kept[-1] + 1)


def _assembled(fresh: Table, trained: NetworkFitted, trees: Boosted, blocks: Sequence[Array], seed: int) -> Table:
    """The trained network with the tables of the trees, its own classifier, and blocks of one size."""
    starts, values, offset = tables(trees)
    sample = np.random.default_rng([seed, 3]).permutation(len(blocks[0]))[:JUDGED]
    part = [block[sample] for block in blocks]
    near = places(leaves(trees, np.hstack(part), starts), len(values), PLACES, seed)
    sizes = replace(fresh.sizes, trees=len(starts), leaves=len(values), places=near.shape[1])
    network = Tabular(sizes)
    state = {**network.state_dict(), **_learned(trained.source.network)}
    head = trained.head.state_dict()
    state |= {
        "leaf_values": torch.from_numpy(values).float(), "leaf_offset": torch.from_numpy(offset).float(),
        "leaf_places": torch.from_numpy(near).float(), "own_weight": head["weight"], "own_bias": head["bias"],
    }  # fmt: skip
    network.load_state_dict(state)
    source = _table(network, sizes, fresh.profiles, fresh.reader, trees, fresh.target)
    with torch.inference_mode():
        pooled = source.forward(source.batch(part)).pooled.double()
    blocks_found = np.split(pooled.numpy(), np.cumsum(sizes.parts)[:-1], axis=1)
    spread = [float(np.sqrt(block.var(axis=0).sum())) for block in blocks_found]
    factors = [1 / size if size > 1e-6 else 1.0 for size in spread]
    network.get_buffer("scale").copy_(torch.tensor(factors))
    return source


def _learned(network: nn.Module) -> dict[str, torch.Tensor]:
    """What training changed, and the bins: all but the tables that were empty."""
    empty = ("leaf_values", "leaf_places", "leaf_offset", "own_weight", "own_bias", "scale")
    return {name: value for name, value in network.state_dict().items() if name not in empty}


def _classify(source: Table, task: Task, outside: Array, blocks: Sequence[Array], y: Any) -> Json:
    """Give the source the classifier that mixes both models, as they predict rows that they were not fitted on.

    outside: what the trees say of those rows out of fold [n,C]. Returns the scores of each model and of the mixture.
    """
    width = task.width
    with torch.inference_mode():
        pooled = source.forward(source.batch(blocks)).pooled
    factor = float(source.network.get_buffer("scale")[0])
    own = pooled[:, width : 2 * width].double().numpy() / factor
    shares = np.linspace(0, 1, 11)
    losses = [
        float(task.loss(torch.from_numpy((1 - share) * outside + share * own), task.collate(y))["loss"])
        for share in shares
    ]
    share = float(shares[int(np.argmin(losses))])
    linear = nn.Linear(source.card.width, width).requires_grad_(False)
    linear.weight.zero_()
    linear.bias.zero_()
    linear.weight[:, :width] = (1 - share) / factor * torch.eye(width)
    linear.weight[:, width : 2 * width] = share / factor * torch.eye(width)
    source.classifier, source.classes = linear.eval(), tuple(str(label) for label in task.classes)
    mixed = (1 - share) * outside + share * own
    found = {"trees": outside, "network": own, "both": mixed}
    return {name: task.score(outputs, y) for name, outputs in found.items()} | {"share of the network": share}


def _keep(rows: Dataset, place: Path) -> None:
    """The inputs and the target as a Parquet file."""
    import pyarrow.parquet as pq

    names = [column.name for column in (*rows.inputs, *rows.with_role("target"))]
    with disk.guard(place):
        pq.write_table(rows.table.select_columns(names).with_format("arrow")[:], place)
