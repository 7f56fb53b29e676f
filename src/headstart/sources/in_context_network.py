"""What networks share that read labelled rows of a table as their context (`headstart.methods.incontext`).

Nothing of them moves, and without labelled rows they have no features. So the features of a row are its columns,
standardised, and the weights lie in buffers, which no method trains. A library answers for each of them; it reads the
weights from a file, which is written for it and taken away again.
"""

from __future__ import annotations

import copy
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from headstart.errors import DataError, MethodError, SourceError
from headstart.nn.tables import TableFeatures, coded
from headstart.sources import weights
from headstart.sources.base import Card, Context, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

State = Mapping[str, torch.Tensor]

LEAST = 1e-9
"""Probability of a class that no row of the context has."""


class Weights(nn.Module):
    """The tensors of a checkpoint as buffers; columns [B,D] pass through as they are. facts: the rest of it, JSON."""

    def __init__(self, facts: Mapping[str, Any], state: State) -> None:
        super().__init__()
        self.facts = dict(facts)
        for name, value in state.items():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """[B,D]."""
        return columns

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The tensors by their names in the library."""
        return {name.replace("/", "."): value.cpu() for name, value in self.named_buffers()}


class InContextNetwork(Source):
    """A checkpoint of a library. reader: how the columns of a table become numbers; None until it is settled for one.

    Subclasses supply `does`, `drawn`, `write` and `estimator`, and as their own `opened` from a path.
    """

    exact = True
    architecture = ""

    def __init__(self, card: Card, network: Weights, reader: TableFeatures | None = None) -> None:
        super().__init__(replace(card, width=reader.width if reader is not None else 0), network)
        self.reader, self.in_context = reader, self.does(network.facts, network.state)

    @staticmethod
    @abstractmethod
    def does(facts: Json, state: State) -> tuple[str, ...]:
        """The tasks that a checkpoint is for."""

    @staticmethod
    @abstractmethod
    def drawn(facts: Json) -> State:
        """Newly drawn weights of the same network; raises what the library does of facts that it does not know."""

    @staticmethod
    @abstractmethod
    def write(facts: Json, state: State, folder: Path) -> Path:
        """A file in ``folder`` that the library reads without running code in it."""

    @staticmethod
    @abstractmethod
    def estimator(context: Context, path: Path, members: int, seed: int, device: str) -> Any:
        """The library's estimator in the manner of scikit-learn, not yet fitted."""

    @classmethod
    def of(cls, name: str, origin: str, licence: str, facts: Json, state: State) -> Self:
        """From a checkpoint. Raises SourceError HS-SOURCE-004 where its weights do not fit what it says of itself."""
        network = Weights(facts, state)
        _fits(cls, name, network)
        tensors = weights.state(network)
        card = Card(
            name=name, modality="table", architecture=cls.architecture, width=0,
            parameters=sum(value.numel() for value in tensors.values()), origin=origin, licence=licence,
            digest=weights.digest(tensors),
            description="predicts rows of a table from labelled rows beside them; trained on made-up tables",
        )  # fmt: skip
        return cls(card, network)

    @property
    def _weights(self) -> Weights:
        assert isinstance(self.network, Weights)
        return self.network

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Self:
        """For the columns of these rows."""
        self.refuse_names(align)
        other = copy.copy(self)
        other.reader = TableFeatures.fit(dataset)
        other.card = replace(self.card, width=other.reader.width)
        return other

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Rows to ``columns`` [B,D]. Raises DataError HS-DATA-015 where a row lacks a column."""
        if self.reader is None:
            return Batch({"columns": torch.zeros(len(samples), 0)})
        for plan in self.reader.plans:
            if any(plan.name not in sample for sample in samples):
                raise DataError("HS-DATA-015", f'a row lacks the column "{plan.name}", which the model reads.')
        rows = range(1, len(samples) + 1)
        blocks = [
            coded(plan, [sample[plan.name] for sample in samples], "the data", rows) for plan in self.reader.plans
        ]
        return Batch({"columns": torch.from_numpy(self.reader.standard(blocks))})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]: the columns."""
        return Features(self.network(batch.inputs["columns"]))

    def example(self) -> Batch:
        """Two rows of zeros."""
        return Batch({"columns": torch.zeros(2, self.card.width)})

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`; what is no weight, such as edges of bins, stays."""
        return Weights(self._weights.facts, {**self._weights.state, **self.drawn(self._weights.facts)})

    def with_context(
        self, context: Context, members: int, seed: int, device: str
    ) -> Callable[[np.ndarray], np.ndarray]:
        """See `Source.with_context`. Raises MethodError HS-METHOD-003 where the library refuses the rows."""
        with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
            path = self.write(self._weights.facts, self._weights.state, Path(folder))
            model = self.estimator(context, path, members, seed, device)
            try:
                model.fit(context.X, context.y.reshape(-1))
            except (ValueError, RuntimeError) as error:
                raise MethodError(
                    "HS-METHOD-003", f"{self.card.name} refuses these rows as a context: {weights.told(error)}.",
                    "Give fewer rows with --context, or take another method.",
                ) from error  # fmt: skip

        def outputs(rows: np.ndarray) -> np.ndarray:
            if not context.task.classes:
                return np.asarray(model.predict(rows), np.float64)[:, None]
            shares = np.full((len(rows), context.task.width), LEAST)
            shares[:, model.classes_.astype(int)] = np.maximum(model.predict_proba(rows), LEAST)
            return np.asarray(np.log(shares))

        return outputs

    def settings(self) -> Json:
        """What the checkpoint says of itself, and how columns are read."""
        found: Json = {"checkpoint": self._weights.facts, "features": None, "arrays": {}}
        if self.reader is not None:
            state, arrays = self.reader.state()
            found |= {"features": state, "arrays": {name: value.tolist() for name, value in arrays.items()}}
        return found

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        network = Weights(settings["checkpoint"], tensors)
        _fits(cls, card.name, network)
        arrays = {name: np.array(value) for name, value in settings["arrays"].items()}
        return cls(card, network, TableFeatures.restore(settings["features"], arrays) if settings["features"] else None)


def _fits(kind: type[InContextNetwork], name: str, network: Weights) -> None:
    """Raise SourceError HS-SOURCE-004 unless the tensors are those of the network that the facts describe."""
    try:
        with torch.random.fork_rng(devices=[]):
            own = kind.drawn(network.facts)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise SourceError(
            "HS-SOURCE-004", f"{name}: the installed library does not know such a network: {weights.told(error)}.",
            "Upgrade it, or use a checkpoint of its version.",
        ) from error  # fmt: skip
    given = network.state
    missing, misshapen = sorted(own.keys() - given.keys()), [
        key for key in sorted(own.keys() & given.keys()) if own[key].shape != given[key].shape
    ]  # fmt: skip
    weights.mismatch(name, missing, [], misshapen)


def existing(place: str, name: str, kinds: Sequence[str]) -> Path:
    """The path of a checkpoint. Raises SourceError HS-SOURCE-001 where there is no such file."""
    path = Path(place).expanduser()
    if not path.is_file():
        raise SourceError(
            "HS-SOURCE-001", f"{name}:{place}: there is no such file.",
            f"Give the path of a checkpoint, or one of {', '.join(f'{name}:{kind}' for kind in kinds)}.",
        )  # fmt: skip
    return path


def unpickled(path: Path) -> tuple[Json, dict[str, torch.Tensor]]:
    """The facts and the tensors of a pickled checkpoint ``{"state_dict", ...}``, read without running any code in it.

    Raises SourceError HS-SOURCE-008 for a damaged file, one that holds code and one that says nothing of its network.
    """
    tensors, facts = weights.read_checkpoint(path, "state_dict")
    if not isinstance(facts.get("config"), dict):
        raise SourceError("HS-SOURCE-008", f"{path} holds no configuration of its network.", "Take another checkpoint.")
    return facts, tensors
