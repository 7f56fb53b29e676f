"""tabicl: TabICL, a network that was trained on made-up tables to predict rows from labelled rows beside them.

    tabicl                 the classifier of the library's default version, fetched from the hub once
    tabicl:regressor       the one that predicts numbers
    tabicl:PATH            a checkpoint in the library's format, read without running code in it

Nothing of it moves: the labelled rows are its context (`headstart.methods.incontext`), and it has no features without
them. So the features of a row are its columns, standardised, and the weights lie in buffers, which no method trains.
Qu, Holzmüller, Varoquaux & Le Morvan 2025, TabICL, ICML, arXiv:2502.05564; Qu et al. 2026, TabICLv2, arXiv:2602.11139.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from headstart.errors import DataError, SourceError, missing_package
from headstart.nn.tables import TableFeatures, coded
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.tasks.base import Array, Task
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

HUB = "jingang/TabICL"
KINDS = {"classifier": "classification", "regressor": "regression"}
LEAST = 1e-9
"""Probability of a class that no row of the context has."""


class Weights(nn.Module):
    """The tensors of a TabICL network as buffers; columns [B,D] pass through as they are. config: of the network."""

    def __init__(self, config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.config = dict(config)
        for name, value in state.items():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())

    @classmethod
    def fresh(cls, config: Mapping[str, Any]) -> Weights:
        """Newly drawn ones. Raises EnvironmentProblem HS-ENV-001 without the library, SourceError HS-SOURCE-004 for a
        configuration that it does not know."""
        try:
            network = library()._model.tabicl.TabICL(**config)
        except (TypeError, ValueError, AssertionError) as error:
            raise SourceError(
                "HS-SOURCE-004", f"the configuration of the checkpoint does not fit TabICL: {weights.told(error)}.",
                "Use a checkpoint of the installed version: pip install -U tabicl.",
            ) from error  # fmt: skip
        return cls(config, network.state_dict())

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """[B,D]."""
        return columns

    def checkpoint(self) -> Json:
        """What the library reads."""
        return {
            "config": self.config,
            "state_dict": {name.replace("/", "."): value.cpu() for name, value in self.named_buffers()},
        }


class Tabicl(Source):
    """A TabICL checkpoint. reader: how the columns of a table become numbers; None until it is settled for one."""

    provider = "tabicl"
    exact = True

    def __init__(self, card: Card, network: Weights, reader: TableFeatures | None = None) -> None:
        super().__init__(replace(card, width=reader.width if reader is not None else 0), network)
        self.reader = reader
        self.in_context = (KINDS["classifier" if network.config.get("max_classes", 10) else "regressor"],)

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Tabicl:
        """For the columns of these rows."""
        self.refuse_names(align)
        other = copy.copy(self)
        other.reader = TableFeatures.fit(dataset)
        other.card = replace(self.card, width=other.reader.width)
        return other

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Rows to ``columns`` [B,D]. Raises DataError HS-DATA-015 where a row lacks a column."""
        plans = [] if self.reader is None else self.reader.plans
        for plan in plans:
            if any(plan.name not in sample for sample in samples):
                raise DataError("HS-DATA-015", f'a row lacks the column "{plan.name}", which the model reads.')
        if self.reader is None:
            return Batch({"columns": torch.zeros(len(samples), 0)})
        rows = range(1, len(samples) + 1)
        blocks = [coded(plan, [sample[plan.name] for sample in samples], "the data", rows) for plan in plans]
        return Batch({"columns": torch.from_numpy(self.reader.standard(blocks))})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]: the columns."""
        return Features(self.network(batch.inputs["columns"]))

    def example(self) -> Batch:
        """Two rows of zeros."""
        return Batch({"columns": torch.zeros(2, self.card.width)})

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        assert isinstance(self.network, Weights)
        return Weights.fresh(self.network.config)

    def with_context(
        self, task: Task, X: Array, y: Array, members: int, seed: int, device: str
    ) -> Callable[[Array], Array]:
        """See `Source.with_context`: through the library's estimator, which takes the mean of ``members`` views."""
        found = library()
        kind = found.TabICLClassifier if task.classes else found.TabICLRegressor
        assert isinstance(self.network, Weights)
        with tempfile.TemporaryDirectory(prefix="headstart-") as folder:  # the library reads a file, and then no more
            path = Path(folder) / "tabicl.ckpt"
            torch.save(self.network.checkpoint(), path)
            model = kind(
                n_estimators=members, model_path=path, allow_auto_download=False, device=device, random_state=seed
            ).fit(X, y.reshape(-1))

        def outputs(rows: Array) -> Array:
            if not task.classes:
                return np.asarray(model.predict(rows), np.float64)[:, None]
            shares = np.full((len(rows), task.width), LEAST)
            shares[:, model.classes_.astype(int)] = np.maximum(model.predict_proba(rows), LEAST)
            return np.asarray(np.log(shares))

        return outputs

    def settings(self) -> Json:
        """The configuration, and how columns are read."""
        assert isinstance(self.network, Weights)
        found: Json = {"config": self.network.config, "features": None, "arrays": {}}
        if self.reader is not None:
            state, arrays = self.reader.state()
            found |= {"features": state, "arrays": {name: value.tolist() for name, value in arrays.items()}}
        return found

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Tabicl:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        with torch.random.fork_rng(devices=[]):
            network = Weights.fresh(settings["config"])
        weights.fill(network, tensors, card.name)
        arrays = {name: np.array(value) for name, value in settings["arrays"].items()}
        reader = TableFeatures.restore(settings["features"], arrays) if settings["features"] else None
        return cls(card, network, reader)


def library() -> Any:
    """The package ``tabicl``. Raises EnvironmentProblem HS-ENV-001 where it is not installed."""
    try:
        import tabicl
        import tabicl._model.tabicl
    except ImportError as error:
        raise missing_package("tabicl", "tabicl") from error
    return tabicl


def open_model(place: str) -> Tabicl:
    """The classifier, the regressor, or the checkpoint at a path.

    Raises EnvironmentProblem HS-ENV-001 without the library, SourceError HS-SOURCE-001 (no such file), -003 (cannot be
    fetched), -004 (the weights do not fit), -008 (damaged, or more than tensors).
    """
    found = library()
    if place in KINDS:
        kind = found.TabICLClassifier if place == "classifier" else found.TabICLRegressor
        name = inspect.signature(kind).parameters["checkpoint_version"].default
        return from_checkpoint(fetched(name), f"tabicl:{place}", f"the hub, {HUB}, {name}", "BSD-3-Clause")
    path = Path(place).expanduser()
    if not path.is_file():
        raise SourceError(
            "HS-SOURCE-001", f"tabicl:{place}: there is no such file.",
            f"Give the path of a checkpoint, or one of {', '.join(f'tabicl:{kind}' for kind in KINDS)}.",
        )  # fmt: skip
    return from_checkpoint(path, f"tabicl:{path.name}", str(path), "not stated in the checkpoint")


def fetched(name: str) -> Path:
    """A checkpoint from the hub's cache, or else from the hub. Raises SourceError HS-SOURCE-003."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id=HUB, filename=name))
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            "HS-SOURCE-003", f"tabicl: {name} cannot be fetched: {weights.told(error)}.",
            f"Copy it from the hub ({HUB}) and give its path: --source tabicl:PATH.",
        ) from error  # fmt: skip


def from_checkpoint(path: Path, name: str, origin: str, licence: str) -> Tabicl:
    """The source of a checkpoint ``{"config", "state_dict"}``."""
    tensors = weights.read_pickled(path, "state_dict")
    try:
        config = torch.load(path, map_location="cpu", weights_only=True)["config"]
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
        raise SourceError("HS-SOURCE-008", f"{path} holds no configuration of a TabICL network.") from error
    with torch.random.fork_rng(devices=[]):
        network = Weights.fresh(config)
    weights.fill(network, {key.replace(".", "/"): value for key, value in tensors.items()}, name)
    state = weights.state(network)
    card = Card(
        name=name, modality="table", architecture="TabICL", width=0, parameters=sum(v.numel() for v in state.values()),
        origin=origin, licence=licence, digest=weights.digest(state),
        description="predicts rows of a table from labelled rows beside them; trained on made-up tables",
    )  # fmt: skip
    return Tabicl(card, network)
