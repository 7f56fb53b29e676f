"""Sources from timm: ``timm:vit_tiny_patch16_224`` and every other image model of that library.

Also EfficientNet-Lite of the shelf, whose weight files name the tensors in another way; see `by_order`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart.errors import SourceError, did_you_mean
from headstart.sources import weights
from headstart.sources.image import ImageReader
from headstart.sources.image_network import ImageNetwork
from headstart.sources.torchvision_compat import heal
from headstart.types import Json


class Timm(ImageNetwork):
    """A timm network without its classifier. settings: ``model`` and the ``arguments`` of ``timm.create_model``."""

    provider = "timm"

    @staticmethod
    def built(settings: Json) -> nn.Module:
        """See `ImageNetwork.built`."""
        return build(**settings)


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


def _names(config: Any, width: int) -> list[str]:
    """What the classes of a classifier are called, where timm knows: those of ImageNet."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(config)
    known = ImageNetInfo(subset) if subset else None
    return [known.index_to_description(i) for i in range(width)] if known and known.num_classes() == width else []


def _of_whole(whole: Any, model: str, arguments: Json, reader: ImageReader, card: Json) -> Timm:
    """The source in a whole classification network with its weights; its classifier stands beside it."""
    with torch.random.fork_rng(devices=[]):
        network = build(model, arguments)
    own = weights.state(whole)
    weights.fill(network, {key: own[key] for key in weights.state(network) if key in own}, model)
    source = Timm.assemble(network, reader, {"model": model, "arguments": arguments}, card)
    with torch.no_grad():
        logits = whole(source.example().inputs["pixel_values"])
    source.adopt(whole.get_classifier(), logits, _names(_config(whole), logits.shape[-1]))
    return source


def open_model(model: str) -> Timm:
    """The source with timm's pretrained weights, from the Hugging Face hub.

    Raises SourceError HS-SOURCE-001 for an unknown name, HS-SOURCE-003 where the weights cannot be fetched.
    """
    _check(model)
    import timm

    try:
        whole = timm.create_model(model, pretrained=True).eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(
            "HS-SOURCE-003",
            f"the weights of timm:{model} cannot be fetched: {weights.told(error)}.",
            "They come from the Hugging Face hub; connect, or choose a source of the shelf.",
        ) from error
    config = _config(whole)
    card = {
        "name": f"timm:{model}",
        "architecture": model,
        "origin": str(config.get("hf_hub_id") or config.get("url") or "timm"),
        "licence": str(config.get("license") or "not stated"),
        "description": f"timm {model}, tag {config.get('tag') or 'default'}",
    }
    return _of_whole(whole, model, {}, reader_of(config), card)


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
        whole = build(model, arguments, classes=int(config.get("num_classes") or 0))
    head = weights.state(whole).keys() - weights.state(network).keys()
    complete = head <= tensors.keys()
    kept = tensors if complete else {key: value for key, value in tensors.items() if key not in head}
    weights.fill(whole if complete else network, kept, str(folder))
    pretrained = {**_config(whole), **(config.get("pretrained_cfg") or {})}
    card = {
        "name": folder.name,
        "architecture": model,
        "origin": str(folder),
        "licence": str(pretrained.get("license") or "not stated"),
        "description": f"timm {model}",
    }
    reader = reader_of(pretrained)
    if complete:
        return _of_whole(whole, model, arguments, reader, card)
    return Timm.assemble(network, reader, {"model": model, "arguments": arguments}, card)


def from_state(model: str, tensors: Mapping[str, torch.Tensor], reader: ImageReader, card: Json) -> Timm:
    """The source with the tensors of a whole classification model, in timm's names or in timm's order."""
    with torch.random.fork_rng(devices=[]):
        whole = build(model, classes=1000)
    named = tensors if weights.state(whole).keys() == tensors.keys() else by_order(whole, tensors, model)
    return _of_whole(weights.fill(whole, named, model), model, {}, reader, card)


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
