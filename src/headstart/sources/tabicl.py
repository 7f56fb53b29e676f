"""tabicl: TabICL, a network that was trained on made-up tables to predict rows from labelled rows beside them.

    tabicl                 the classifier of the library's default version, fetched from the hub once
    tabicl:regressor       the one that predicts numbers
    tabicl:PATH            a checkpoint in the library's format, read without running code in it

Qu, Holzmüller, Varoquaux & Le Morvan 2025, TabICL, ICML, arXiv:2502.05564; Qu et al. 2026, TabICLv2, arXiv:2602.11139.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from headstart.errors import SourceError, missing_package
from headstart.sources import weights
from headstart.sources.base import Context
from headstart.sources.in_context_network import InContextNetwork, State, existing, unpickled
from headstart.types import Json

HUB = "jingang/TabICL"
KINDS = ("classifier", "regressor")


class Tabicl(InContextNetwork):
    """A TabICL checkpoint: ``{"config", "state_dict"}``."""

    provider = "tabicl"
    architecture = "TabICL"

    @staticmethod
    def does(facts: Json, state: State) -> tuple[str, ...]:
        """See `InContextNetwork.does`."""
        return ("classification",) if facts["config"].get("max_classes", 10) else ("regression",)

    @staticmethod
    def drawn(facts: Json) -> State:
        """See `InContextNetwork.drawn`."""
        library()
        from tabicl._model.tabicl import TabICL

        state: State = TabICL(**facts["config"]).state_dict()
        return state

    @staticmethod
    def write(facts: Json, state: State, folder: Path) -> Path:
        """See `InContextNetwork.write`."""
        torch.save({**facts, "state_dict": dict(state)}, folder / "tabicl.ckpt")
        return folder / "tabicl.ckpt"

    @staticmethod
    def estimator(context: Context, path: Path, members: int, seed: int, device: str) -> Any:
        """See `InContextNetwork.estimator`."""
        kind = library().TabICLClassifier if context.task.classes else library().TabICLRegressor
        return kind(n_estimators=members, model_path=path, allow_auto_download=False, device=device, random_state=seed)


def library() -> Any:
    """The package ``tabicl``. Raises EnvironmentProblem HS-ENV-001 where it is not installed."""
    try:
        import tabicl
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
        return Tabicl.of(f"tabicl:{place}", f"the hub, {HUB}, {name}", "BSD-3-Clause", *unpickled(fetched(name)))
    path = existing(place, "tabicl", KINDS)
    return Tabicl.of(f"tabicl:{path.name}", str(path), "not stated in the checkpoint", *unpickled(path))


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
