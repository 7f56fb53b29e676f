"""In context: labelled rows stand beside each row that is asked about, and a pretrained network reads the answer off.

Nothing is trained: in p(y | x, D) the network, which saw millions of made-up tables, takes the place of fitting (a
prior-data fitted network, Müller et al. 2022, Transformers can do Bayesian inference, arXiv:2112.10510; of tables:
Hollmann et al. 2023, TabPFN, arXiv:2207.01848; Qu et al. 2025, TabICL, arXiv:2502.05564). So the model *is* the rows: a
run of this method keeps those that it reads, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.nn.tables import TableFeatures
from headstart.runtime import device
from headstart.sources.base import Context
from headstart.tasks.base import Array, Task
from headstart.types import Json, LayerRow, Modality, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Incontext(Method):
    """The labelled rows as the context of a network that was trained to predict from such."""

    name: ClassVar[str] = "incontext"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    modalities: ClassVar[tuple[Modality, ...]] = ("table",)
    paper: ClassVar[str] = "Hollmann et al. 2023, arXiv:2207.01848; Qu et al. 2025, arXiv:2502.05564"

    members: int = hyper(8, "views of the table, in other orders and scales, whose mean predicts", low=1, high=128)
    context: int = hyper(10_000, "labelled rows that are read at most; of more, so many drawn", low=2, high=1_000_000)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the source has to read tables in context, and all rows count alike."""
        super().admit(task, source, dataset, given)
        if source is not None and task.name not in source.in_context:
            does = f"does {' and '.join(source.in_context)} so" if source.in_context else "does not"
            raise MethodError(
                "HS-METHOD-003",
                f"incontext needs a source that does {task.name} in context; {source.card.name} {does}.",
                "Name one: --source tabicl or tabpfn (classes), tabicl:regressor or tabpfn:regressor (numbers).",
            )  # fmt: skip
        if dataset.with_role("weight"):
            raise MethodError(
                "HS-METHOD-003", "incontext cannot weigh rows.", "Leave --weight out, or choose another method."
            )

    def fit(self, problem: Problem) -> IncontextFitted:
        """The rows of ``problem.train``; ``problem.valid`` is not read."""
        train, task, source = problem.train, problem.task, problem.source
        if source is None:
            raise MethodError("HS-METHOD-003", "incontext needs a source.", "Name one with --source.")
        self.admit(task, source, train)
        reader, y = TableFeatures.fit(train), np.asarray(task.encode(train.targets()))
        rows = drawn(task.strata(train.targets()), self.context, problem.seed)
        return IncontextFitted(self, task, source, reader, reader.codes(train)[rows], y[rows], problem.seed)


def drawn(strata: Array | None, most: int, seed: int) -> Array:
    """Positions of the rows that are read, ascending: all, or ``most`` of them and at least one of each class [N]."""
    assert strata is not None
    n, order = len(strata), np.random.default_rng(seed).permutation(len(strata))
    if n <= most:
        return np.arange(n)
    first = np.unique(np.asarray(strata)[order], return_index=True)[1]
    ahead = order[first][:most]
    rest = order[~np.isin(order, ahead)]
    return np.sort(np.concatenate([ahead, rest[: most - len(ahead)]]))


class IncontextFitted(Fitted):
    """X: [n,D] codes of the rows that are read (`TableFeatures.codes`). y: their encoded targets, [n] or [n,1]."""

    kind: ClassVar[str] = "methods.incontext"

    def __init__(
        self, method: Incontext, task: Task, source: Source, reader: TableFeatures, X: Array, y: Array, seed: int
    ) -> None:
        self.method, self.task, self.source, self.reader = method, task, source, reader
        self.X, self.y, self.seed, self.members = X, y, seed, method.members
        self.history: list[Json] = [{"rows of context": len(X)}]
        self._model: Callable[[Array], Array] | None = None

    @property
    def description(self) -> str:
        """What predicts."""
        return f"{self.source.card.architecture} with {len(self.X):,} rows as its context"

    @property
    def keeps(self) -> str:
        """See `Fitted.keeps`."""
        size = (self.X.nbytes + self.y.nbytes) / 1024
        return f"the run keeps the {len(self.X):,} training rows that its model reads to predict ({size:,.0f} kB)"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]. Raises DataError for inputs that cannot be read."""
        if self._model is None:
            context = Context(self.task, self.X, self.y, self.reader.categorical)
            self._model = self.source.with_context(context, self.members, self.seed, str(device()))
        return self._model(self.reader.codes(dataset))

    def trained(self) -> list[LayerRow]:
        """Nothing of the network."""
        return [LayerRow(self.source.card.architecture, self.source.card.parameters, 0.0, None)]

    def save(self, folder: Path) -> None:
        """``source/``, ``incontext.json`` (columns) and ``context.safetensors`` (the rows)."""
        from safetensors.numpy import save_file

        self.source.with_network(self.source.network).save(folder / "source")
        state, arrays = self.reader.state("columns.")
        tensors = {"X": self.X, "y": self.y, **arrays}
        save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, folder / "context.safetensors")
        facts = {"columns": state, "seed": self.seed, "history": self.history}
        (folder / "incontext.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> IncontextFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where arrays are missing or misshapen."""
        from safetensors.numpy import load_file

        from headstart.sources.shelf import open_source

        facts = json.loads((folder / "incontext.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "context.safetensors")
        try:
            reader = TableFeatures.restore(facts["columns"], tensors, "columns.")
            X, y = tensors["X"], tensors["y"]
            if X.shape != (len(y), sum(plan.columns for plan in reader.plans)):
                raise ValueError(f"{list(X.shape)} values for {len(y)} rows")
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'context.safetensors'}: {error}.",
                "The file is not the one that was saved; copy it again.",
            ) from error  # fmt: skip
        assert isinstance(method, Incontext)
        return cls(method, task, open_source(str(folder / "source")), reader, X, y, facts["seed"])
