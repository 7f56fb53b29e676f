"""Sources from timm: ``timm:vit_tiny_patch16_224`` and every other image model of that library.

Also EfficientNet-Lite of the shelf, whose weight files name the tensors in another way; see `by_order`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart.errors import SourceError, did_you_mean
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.image import ImageReader
from headstart.sources.torchvision_compat import heal
from headstart.types import Batch, Features, Json, Sample


class Timm(Source):
    """A timm network without its classifier. settings: ``model`` and the ``arguments`` of ``timm.create_model``."""

    provider = "timm"

    def __init__(self, card: Card, network: nn.Module, reader: ImageReader, settings: Json) -> None:
        super().__init__(card, network)
        self.reader = reader
        self._settings = settings

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """See `Source.preprocess`."""
        return self.reader(samples, train)

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]."""
        pixels = batch.inputs["pixel_values"].to(next(self.network.parameters()).dtype)
        return Features(self.network(pixels).flatten(1))

    def example(self) -> Batch:
        """Two images of noise."""
        return self.reader.example

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return build(**self._settings)

    def settings(self) -> Json:
        """Everything besides the weights that determines the features."""
        return {**self._settings, "reader": self.reader.settings()}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Timm:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        reader = ImageReader.load(settings.pop("reader"))
        with torch.random.fork_rng(devices=[]):
            network = build(**settings)
        return cls(card, weights.fill(network, tensors, card.name), reader, settings)


def build(model: str, arguments: Json | None = None, classes: int = 0) -> nn.Module:
    """The network with freshly drawn weights; without a classifier where ``classes`` is 0.

    Raises SourceError HS-SOURCE-001 for a name that timm does not have.
    """
    _check(model)
    import timm

    network: nn.Module = timm.create_model(model, pretrained=False, num_classes=classes, **(arguments or {}))
    return network.eval()


def _check(model: str) -> None:
    heal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm
    if not timm.is_model(model.split(".")[0]):
        hint = did_you_mean(model, timm.list_models())
        raise SourceError("HS-SOURCE-001", f'timm has no model "{model}".', hint)


def _source(model: str, arguments: Json, network: nn.Module, reader: ImageReader, card: Json) -> Timm:
    fields = {
        "modality": "image",
        "parameters": sum(p.numel() for p in network.parameters()),
        "digest": weights.digest(weights.state(network)),
    }
    settings = {"model": model, "arguments": arguments}
    source = Timm(Card(**{**card, **fields, "width": 0}), network.eval(), reader, settings)
    with torch.no_grad():
        width = int(source.forward(source.example()).pooled.shape[1])
    source.card = Card(**{**card, **fields, "width": width})
    return source


def open_model(model: str) -> Timm:
    """The source with timm's pretrained weights, from the Hugging Face hub.

    Raises SourceError HS-SOURCE-001 for an unknown name, HS-SOURCE-003 where the weights cannot be fetched.
    """
    _check(model)
    import timm

    try:
        network = timm.create_model(model, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(
            "HS-SOURCE-003",
            f"the weights of timm:{model} cannot be fetched: {weights.told(error)}.",
            "They come from the Hugging Face hub; connect, or choose a source of the shelf.",
        ) from error
    config = _config(network)
    card = {
        "name": f"timm:{model}",
        "architecture": model,
        "origin": str(config.get("hf_hub_id") or config.get("url") or "timm"),
        "licence": str(config.get("license") or "not stated"),
        "description": f"timm {model}, tag {config.get('tag') or 'default'}",
    }
    return _source(model, {}, network, reader_of(config), card)


def _config(network: Any) -> Json:
    return dict(network.pretrained_cfg)


def open_folder(folder: Path) -> Timm:
    """The source in a folder that timm saved (``config.json`` with ``architecture``, ``model.safetensors``).

    Raises SourceError HS-SOURCE-001, HS-SOURCE-004 (weights do not fit), HS-SOURCE-008 (damaged).
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model, arguments = str(config["architecture"]), dict(config.get("model_args") or {})
    _check(model)
    tensors = weights.read_safetensors(folder / "model.safetensors")
    with torch.random.fork_rng(devices=[]):
        network = build(model, arguments)
        whole = weights.state(build(model, arguments, classes=int(config.get("num_classes") or 0)))
    head = whole.keys() - weights.state(network).keys()
    weights.fill(network, {key: value for key, value in tensors.items() if key not in head}, str(folder))
    pretrained = {**_config(network), **(config.get("pretrained_cfg") or {})}
    card = {
        "name": folder.name,
        "architecture": model,
        "origin": str(folder),
        "licence": str(pretrained.get("license") or "not stated"),
        "description": f"timm {model}",
    }
    return _source(model, arguments, network, reader_of(pretrained), card)


def from_state(model: str, tensors: Mapping[str, torch.Tensor], reader: ImageReader, card: Json) -> Timm:
    """The source with the tensors of a whole classification model, in timm's names or in timm's order."""
    with torch.random.fork_rng(devices=[]):
        whole = build(model, classes=1000)
        network = build(model)
    named = tensors if weights.state(whole).keys() == tensors.keys() else by_order(whole, tensors, model)
    weights.fill(whole, named, model)
    own = weights.state(whole)
    weights.fill(network, {key: own[key] for key in weights.state(network)}, model)
    return _source(model, {}, network, reader, card)


def by_order(network: nn.Module, tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Rename the tensors of another implementation that defines the same modules in the same order.

    Raises SourceError HS-SOURCE-004 unless number, kinds (last part of the name) and shapes agree one by one.
    """
    own = weights.state(network)
    pairs = list(zip(own, tensors))
    wrong = [
        key
        for key, other in pairs
        if own[key].shape != tensors[other].shape or key.rsplit(".", 1)[-1] != other.rsplit(".", 1)[-1]
    ]
    missing, unexpected = list(own)[len(pairs) :], list(tensors)[len(pairs) :]
    weights.mismatch(name, missing, unexpected, wrong)
    return {key: tensors[other] for key, other in pairs}


def reader_of(config: Mapping[str, Any]) -> ImageReader:
    """Our reader from timm's ``pretrained_cfg``."""
    _, height, width = config["input_size"]
    share = float(config.get("crop_pct") or 0.875)
    whole: Any = int(height / share)
    if config.get("crop_mode") == "squash" or height != width:
        whole = (int(height / share), int(width / share))
    return ImageReader(
        resize=whole,
        crop=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=str(config.get("interpolation") or "bicubic"),
    )
