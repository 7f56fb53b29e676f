"""Weights on disk: the source folder (``source.json`` + ``model.safetensors`` + what preprocessing needs).

No pickle is written. ``source.json`` records the sha256 of the tensors (their names, types, shapes and bytes), and
reading checks it, so a changed file is noticed before a wrong prediction is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from headstart import disk
from headstart.errors import SourceError
from headstart.types import Json

if TYPE_CHECKING:
    from headstart.sources.base import Card, Source

SCHEMA = 1
WEIGHTS, DESCRIPTION, CLASSIFIER = "model.safetensors", "source.json", "classifier.safetensors"


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The network's tensors by name; of tensors that share their memory (tied weights) only the first."""
    kept: dict[str, torch.Tensor] = {}
    seen = set()
    for name, tensor in network.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() > 0 and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor.detach()
    return kept


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 (hex) over names, types, shapes and bytes of the tensors, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.numel():
            content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            total.update(content)
    return total.hexdigest()


def write(folder: Path, source: Source) -> Card:
    """Write ``source.json`` and ``model.safetensors``; returns the card, with the digest of the weights as they are.

    Raises EnvironmentProblem HS-ENV-002 (disk full) or HS-ENV-003 (no permission).
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.cpu().contiguous() for name, tensor in state(source.network).items()}
    card = replace(source.card, digest=digest(tensors))
    classifier = {} if source.classifier is None else state(source.classifier)
    more: Json = {"classifier": {"digest": digest(classifier), "classes": list(source.classes)}} if classifier else {}
    with disk.guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS)
        if classifier:
            save_file({name: tensor.cpu().contiguous() for name, tensor in classifier.items()}, folder / CLASSIFIER)
    write_description(folder, source, card, **more)
    return card


def write_description(folder: Path, source: Source, card: Card, **more: Any) -> None:
    """Write ``source.json``; more: further entries. Raises EnvironmentProblem HS-ENV-002, -003."""
    content = {"schema": SCHEMA, "provider": source.provider, "card": card.to_json(), "settings": source.settings()}
    with disk.guard(folder):
        text = json.dumps({**content, **more}, indent=1, ensure_ascii=False)
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def describe(folder: Path) -> Json:
    """What ``source.json`` says. Raises SourceError HS-SOURCE-007 where it is missing, damaged or of a newer schema."""
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, _ = int(content["schema"]), (content["provider"], content["card"]["digest"], content["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError("HS-SOURCE-007", f"{path} does not describe a source ({type(error).__name__}).") from error
    if schema > SCHEMA:
        raise SourceError(
            "HS-SOURCE-007", f"{path} was written by a newer Headstart.", "Upgrade: pip install -U headstart"
        )
    return dict(content)


def read(folder: Path) -> tuple[Card, Json, dict[str, torch.Tensor]]:
    """The card, the settings and the tensors of a source folder.

    Raises SourceError HS-SOURCE-007 (not a source), HS-SOURCE-008 (damaged weights), HS-SOURCE-002 (changed weights).
    """
    from headstart.sources.base import Card

    content = describe(folder)
    try:
        card = Card(**content["card"])
    except TypeError as error:
        raise SourceError("HS-SOURCE-007", f"{folder / DESCRIPTION}: the card does not fit ({error}).") from error
    return card, dict(content["settings"]), _unchanged(folder / WEIGHTS, card.digest)


def read_classifier(folder: Path) -> tuple[nn.Linear | None, tuple[str, ...]]:
    """The classifier [Z,D] that a source was pretrained with and the names of its classes; None where it has none.

    Raises SourceError HS-SOURCE-008 (missing or damaged weights), HS-SOURCE-002 (changed weights).
    """
    known = describe(folder).get("classifier")
    if known is None:
        return None, ()
    tensors = _unchanged(folder / CLASSIFIER, str(known["digest"]))
    width, classes = tensors["weight"].shape[1], tensors["weight"].shape[0]
    linear = nn.Linear(width, classes, device="meta").to_empty(device="cpu")
    fill(linear, tensors, str(folder / CLASSIFIER))
    return linear.eval().requires_grad_(False), tuple(known["classes"])


def _unchanged(path: Path, expected: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that belongs to a source folder."""
    tensors = read_safetensors(path)
    if digest(tensors) != expected:
        raise SourceError(
            "HS-SOURCE-002",
            f"{path} was changed: its digest is not the one in {DESCRIPTION}.",
            "Delete the folder and fetch the source again.",
        )
    return tensors


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises SourceError HS-SOURCE-008 where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise SourceError(
            "HS-SOURCE-008", f"{path} cannot be read: {told(error)}.", "Fetch the source again."
        ) from error


def read_pickled(path: Path, inside: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a ``.pth`` file, read without running any code in it. inside: the entry of the file they stand in.

    Raises SourceError HS-SOURCE-008 for a damaged file and for one that holds anything but tensors.
    """
    return read_checkpoint(path, inside)[0]


def read_checkpoint(path: Path, inside: str = "") -> tuple[dict[str, torch.Tensor], Json]:
    """The tensors as by `read_pickled`, and what else the file holds beside the entry ``inside``."""
    import pickle

    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        tensors = whole[inside] if inside else whole
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise SourceError(
            "HS-SOURCE-008", f"{path} is damaged, or holds code; only tensors are accepted.", "Nothing of it ran."
        ) from error
    if not isinstance(tensors, Mapping) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise SourceError("HS-SOURCE-008", f"{path} does not hold a table of tensors.", "Save a state_dict.")
    return dict(tensors), {name: value for name, value in whole.items() if name != inside} if inside else {}


def fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], name: str) -> nn.Module:
    """Copy the tensors into the network. Raises SourceError HS-SOURCE-004 unless names and shapes all match."""
    own = state(network)
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    shared = own.keys() & tensors.keys()
    misshapen = sorted(key for key in shared if own[key].shape != tensors[key].shape)
    mismatch(name, missing, unexpected, misshapen)
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(tensors[key])
    return network


def mismatch(name: str, missing: list[str], unexpected: list[str], misshapen: list[str]) -> None:
    """Raise SourceError HS-SOURCE-004 that lists the keys, or nothing where all three lists are empty."""
    parts = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    told = [f"{len(keys)} {word} ({_some(keys)})" for word, keys in parts.items() if keys]
    if told:
        raise SourceError(
            "HS-SOURCE-004",
            f"the weights of {name} do not fit its architecture: {'; '.join(told)}.",
            "Use the weights that belong to this architecture.",
        )


def _some(keys: list[str], most: int = 8) -> str:
    return ", ".join(keys[:most]) + (f", and {len(keys) - most} more" if len(keys) > most else "")


def told(error: BaseException, most: int = 160) -> str:
    """What an error of a library says, in one line: its first sentence."""
    words = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return (words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " ...") or type(error).__name__
