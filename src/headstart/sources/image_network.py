"""What the image networks of torchvision and timm share: how they read images, run, and keep their old classifier.

The classifier that a network was pretrained with is no part of a source's features, so it stands beside the network:
[Z,D] weights from pooled features to the logits of the classes that the source knows. It is taken over only where it
really does that, which is tried on two images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.image import ImageReader
from headstart.types import Batch, Features, Json, Sample


class ImageNetwork(Source):
    """A network from images to pooled features. settings: what `built` takes."""

    def __init__(self, card: Card, network: nn.Module, reader: ImageReader, settings: Json) -> None:
        super().__init__(card, network)
        self.reader = reader
        self._settings = settings

    @staticmethod
    @abstractmethod
    def built(settings: Json) -> nn.Module:
        """The network of these settings without its classifier, with freshly drawn weights."""

    @classmethod
    def assemble(cls, network: nn.Module, reader: ImageReader, settings: Json, card: Json) -> Self:
        """The source around a network with its weights; the card's numbers are read off the network.

        card: name, architecture, origin, licence and description.
        """
        fields: Json = {
            "modality": "image",
            "parameters": sum(p.numel() for p in network.parameters()),
            "digest": weights.digest(weights.state(network)),
        }
        source = cls(Card(**card, **fields, width=0), network, reader, settings)
        with torch.no_grad():
            width = int(source.forward(source.example()).pooled.shape[1])
        source.card = Card(**card, **fields, width=width)
        return source

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
        return self.built(self._settings)

    def settings(self) -> Json:
        """Everything besides the weights that determines the features."""
        return {**self._settings, "reader": self.reader.settings()}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        reader = ImageReader.load(settings.pop("reader"))
        with torch.random.fork_rng(devices=[]):
            network = cls.built(settings)
        source = cls(card, weights.fill(network, tensors, card.name), reader, settings)
        source.classifier, source.classes = weights.read_classifier(folder)
        return source

    def adopt(self, last: Any, logits: torch.Tensor, classes: Sequence[str]) -> None:
        """Keep ``last`` as the classifier, where it makes ``logits`` [2,Z] of the pooled features of `example`.

        logits: what the whole network says of `example`. classes: Z names, or any other number where they are unknown.
        """
        if not isinstance(last, nn.Linear) or last.in_features != self.card.width:
            return
        linear = nn.Linear(last.in_features, last.out_features, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(last.weight)
            linear.bias.copy_(last.bias if last.bias is not None else torch.zeros(last.out_features))
            own = linear(self.forward(self.example()).pooled)
        if own.shape == logits.shape and torch.allclose(own, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            self.classifier = linear.eval().requires_grad_(False)
            self.classes = tuple(classes) if len(classes) == last.out_features else ()
