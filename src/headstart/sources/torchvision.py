"""Sources from torchvision: ``torchvision:resnet50``, ``torchvision:vgg16``, ``torchvision:inception_v3`` and so on.

The network is the classification model with its last layer, the one with an output for each class, replaced by the
identity; so pooled features are what that layer read. Auxiliary classifiers are dropped.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from headstart.errors import SourceError, did_you_mean
from headstart.sources import weights
from headstart.sources.image import ImageReader
from headstart.sources.image_network import ImageNetwork
from headstart.sources.torchvision_compat import heal
from headstart.types import Json

CLASSES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Torchvision(ImageNetwork):
    """A torchvision classification network without its last layer. settings: ``model`` and what `build` takes."""

    provider = "torchvision"

    @staticmethod
    def built(settings: Json) -> nn.Module:
        """See `ImageNetwork.built`."""
        return headless(build(**settings))


def build(model: str, classes: int = CLASSES, transform_input: bool = False) -> nn.Module:
    """The whole classification network with freshly drawn weights, auxiliary classifiers dropped.

    transform_input: the change of input scale that Inception and GoogLeNet make for weights ported from TensorFlow.
    Raises SourceError HS-SOURCE-001 for a name that torchvision does not have.
    """
    heal()
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        raise SourceError("HS-SOURCE-001", f'torchvision has no model "{model}".', did_you_mean(model, known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Inception announces a change of its initialisation
        network = torchvision.models.get_model(model, weights=None, num_classes=classes)
    if hasattr(network, "aux_logits"):
        network.aux_logits = False
        for name, _ in list(network.named_children()):
            if name.lower().startswith("aux"):
                setattr(network, name, None)
    if hasattr(network, "transform_input"):
        network.transform_input = transform_input
    built: nn.Module = network.eval()
    return built


def headless(network: nn.Module, classes: int = CLASSES) -> nn.Module:
    """Replace the last layer with ``classes`` outputs by the identity, in place."""
    if last := last_layer(network, classes):
        parent, _, name = last.rpartition(".")
        setattr(network.get_submodule(parent), name, nn.Identity())
    return network


def last_layer(network: nn.Module, classes: int = CLASSES) -> str:
    """The name of the last layer with ``classes`` outputs; empty where there is none."""
    last = ""
    for name, module in network.named_modules():
        if getattr(module, "out_features", getattr(module, "out_channels", None)) == classes:
            last = name
    return last


def from_state(
    model: str, tensors: Mapping[str, torch.Tensor], reader: ImageReader, card: Json, transform_input: bool = False
) -> Torchvision:
    """The source with the weights of torchvision's own classification model."""
    settings: Json = {"model": model, "transform_input": transform_input}
    whole = build(**settings)
    kept = {key: value for key, value in tensors.items() if not key.lower().startswith("aux")}
    own = whole.state_dict()  # files from before torch 0.4.1 lack the counters of batch norms
    kept.update({key: own[key] for key in own if key.endswith("num_batches_tracked") and key not in kept})
    weights.fill(whole, kept, model)
    name = last_layer(whole)
    last = whole.get_submodule(name) if name else None
    with torch.no_grad():
        logits = whole(reader.example.inputs["pixel_values"])
    source = Torchvision.assemble(headless(whole), reader, settings, card)
    source.adopt(last, logits, _names(model))
    return source


def _names(model: str) -> list[str]:
    """What the classes of the model's weights are called; torchvision's are those of ImageNet."""
    import torchvision

    return list(torchvision.models.get_model_weights(model).DEFAULT.meta["categories"])


def open_model(model: str) -> Torchvision:
    """The source with torchvision's default weights, downloaded by torch.

    Raises SourceError HS-SOURCE-001 for an unknown name, HS-SOURCE-003 where the weights cannot be fetched.
    """
    heal()
    import torchvision

    build(model)
    chosen = torchvision.models.get_model_weights(model).DEFAULT
    try:
        tensors = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise SourceError(
            "HS-SOURCE-003",
            f"the weights of torchvision:{model} cannot be fetched: {weights.told(error)}.",
            "They come from torchvision's own server; connect, or choose a source of the shelf.",
        ) from error
    card = {
        "name": f"torchvision:{model}",
        "architecture": model,
        "origin": str(chosen.url),
        "licence": "BSD-3-Clause (code); weights trained on ImageNet-1k",
        "description": f"torchvision {chosen}",
    }
    return from_state(model, tensors, _reader(chosen.transforms()), card, transform_input=True)


def _reader(preset: Any) -> ImageReader:
    """Our reader from torchvision's preset for a set of weights."""
    resize = preset.resize_size
    edge: Any = resize[0] if len(resize) == 1 else (resize[0], resize[1])
    crop = preset.crop_size
    return ImageReader(
        resize=edge,
        crop=(crop[0], crop[-1]),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
