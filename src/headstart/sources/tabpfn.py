"""tabpfn: TabPFN, a network that was trained on made-up tables to predict rows from labelled rows beside them.

    tabpfn                 the classifier of the library's default version, where the library has fetched it
    tabpfn:regressor       the one that predicts numbers
    tabpfn:PATH            a checkpoint in the library's format, read without running code in it

Prior Labs' weights are fetched by the library alone, which has you accept their licence; from version 2.5 on it forbids
commercial use. Hollmann et al. 2025, Accurate predictions on small data with a tabular foundation model, Nature 637.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from headstart.errors import SourceError, missing_package
from headstart.sources import weights
from headstart.sources.base import Context
from headstart.sources.in_context_network import InContextNetwork, State, existing, unpickled
from headstart.types import Json

KINDS = ("classifier", "regressor")
OPEN = "tabpfn_v2"
"""The architecture whose weights Prior Labs gives away for any use."""

LICENCES = {
    True: "Prior Labs License (Apache-2.0, and to be named)",
    False: "of Prior Labs, for no commercial use",
}
BOTH = "tabpfn_v3_5"
"""The architecture of which one checkpoint does both tasks."""


class Tabpfn(InContextNetwork):
    """A TabPFN checkpoint: ``{"config", "state_dict"}``; later ones name their architecture and preprocessing too."""

    provider = "tabpfn"
    architecture = "TabPFN"

    @staticmethod
    def does(facts: Json, state: State) -> tuple[str, ...]:
        """See `InContextNetwork.does`; as the library decides it, by the number of classes."""
        classes = int(facts["config"].get("max_num_classes", -1)) > 0
        return (*["classification"] * classes, *["regression"] * (not classes or architecture(facts) == BOTH))

    @staticmethod
    def drawn(facts: Json) -> State:
        """See `InContextNetwork.drawn`."""
        library()
        from tabpfn.architectures import ARCHITECTURES

        module = ARCHITECTURES[architecture(facts)]
        state: State = module.get_architecture(module.parse_config(facts["config"])[0]).state_dict()
        return state

    @staticmethod
    def write(facts: Json, state: State, folder: Path) -> Path:
        """See `InContextNetwork.write`."""
        library()
        from tabpfn.checkpoint import save_as_safetensors

        save_as_safetensors({**facts, "state_dict": dict(state)}, folder / "tabpfn.safetensors")
        return folder / "tabpfn.safetensors"

    @staticmethod
    def estimator(context: Context, path: Path, members: int, seed: int, device: str) -> Any:
        """See `InContextNetwork.estimator`; the user's word on how many rows it can take."""
        kind = library().TabPFNClassifier if context.task.classes else library().TabPFNRegressor
        return kind(
            n_estimators=members, model_path=path, device=device, random_state=seed, ignore_pretraining_limits=True,
            categorical_features_indices=list(context.categorical),
        )  # fmt: skip


def architecture(facts: Json) -> str:
    """Which network it is; the first checkpoints did not say, the next ones said ``base``."""
    name = str(facts.get("architecture_name", OPEN))
    return "tabpfn_v2_5" if name == "base" else name


def library() -> Any:
    """The package ``tabpfn``. Raises EnvironmentProblem HS-ENV-001 where it is not installed."""
    try:
        import tabpfn
    except ImportError as error:
        raise missing_package("tabpfn", "tabpfn") from error
    return tabpfn


def open_model(place: str) -> Tabpfn:
    """The classifier, the regressor, or the checkpoint at a path.

    Raises EnvironmentProblem HS-ENV-001 without the library, SourceError HS-SOURCE-001 (no such file), -003 (not yet
    fetched), -004 (the weights do not fit), -008 (damaged, or more than tensors).
    """
    library()
    if place in KINDS:
        path = fetched(place)
        facts, state = read(path)
        licence = LICENCES[architecture(facts) == OPEN]
        return Tabpfn.of(f"tabpfn:{place}", f"Prior Labs, {path.name}", licence, facts, state)
    path = existing(place, "tabpfn", KINDS)
    facts, state = read(path)
    licence = f"not stated in the checkpoint; Prior Labs' own: {LICENCES[architecture(facts) == OPEN]}"
    return Tabpfn.of(f"tabpfn:{path.name}", str(path), licence, facts, state)


def fetched(kind: str) -> Path:
    """The library's default checkpoint in its cache. Raises SourceError HS-SOURCE-003 where it was never fetched."""
    from tabpfn.model_loading import resolve_model_path, resolve_model_version

    version = resolve_model_version(None).value
    path = Path(resolve_model_path(None, kind, version)[0][0])
    if not path.is_file():
        raise SourceError(
            "HS-SOURCE-003", f"tabpfn: {path} is not there; the library fetches it once you accept its licence.",
            "Fit a TabPFNClassifier or TabPFNRegressor once in Python, or give a checkpoint: --source tabpfn:PATH.",
        )  # fmt: skip
    return path


def read(path: Path) -> tuple[Json, State]:
    """What a checkpoint says of itself, as plain JSON, and its tensors. Raises SourceError HS-SOURCE-008."""
    from tabpfn.checkpoint import Checkpoint, save_as_safetensors

    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        if path.suffix != ".safetensors":
            facts, tensors = unpickled(path)
            path = Path(folder) / "plain.safetensors"
            save_as_safetensors({**facts, "state_dict": tensors}, path)
        weights.read_safetensors(path)
        whole = Checkpoint(path).load()
    state: dict[str, torch.Tensor] = whole.pop("state_dict")
    if not isinstance(whole.get("config"), dict):
        raise SourceError("HS-SOURCE-008", f"{path} holds no configuration of its network.", "Take another checkpoint.")
    return whole, state
