"""What the networks that read sounds share: made from settings alone, with a reader of sounds before them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from headstart.sources import weights
from headstart.sources.audio import AudioReader
from headstart.sources.base import Card, Source
from headstart.types import Batch, Json


class AudioNetwork(Source):
    """A network from sounds to pooled features. settings: what `built` takes."""

    depths = True

    def __init__(self, card: Card, network: nn.Module, settings: Json, reader: AudioReader | None = None) -> None:
        super().__init__(card, network)
        self._settings, self.reader = settings, reader or self.reads(settings)

    @staticmethod
    @abstractmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """The network of these settings. drawn: its weights count; where not, others replace them at once."""

    @staticmethod
    def reads(settings: Json) -> AudioReader:
        """The reader that goes with these settings."""
        return AudioReader()

    @classmethod
    def assemble(
        cls, settings: Json, tensors: Mapping[str, torch.Tensor], card: Json, reader: AudioReader | None = None
    ) -> Self:
        """The source of these tensors; the card's numbers are read off the network.

        card: name, architecture, origin, licence, description. Raises SourceError HS-SOURCE-004 unless every tensor
        matches.
        """
        with torch.random.fork_rng(devices=[]):
            network = weights.fill(cls.built(settings, drawn=False), tensors, card["name"])
        fields: Json = {
            "modality": "audio",
            "parameters": sum(p.numel() for p in network.parameters()),
            "digest": weights.digest(weights.state(network)),
        }
        source = cls(Card(**card, **fields, width=0), network, settings, reader)
        with torch.no_grad():
            width = int(source.forward(source.example()).pooled.shape[1])
        source.card = Card(**card, **fields, width=width)
        return source

    def example(self) -> Batch:
        """Two chirps of different length."""
        rate = self.reader.rate
        times = np.arange(2 * rate, dtype=np.float32) / rate
        chirp = np.sin(2 * np.pi * (200 + 900 * times) * times)
        return self.preprocess([(chirp[: rate * 9 // 16], rate), (chirp, rate)])

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
        reader = AudioReader.load(settings.pop("reader"))
        with torch.random.fork_rng(devices=[]):
            network = cls.built(settings, drawn=False)
        return cls(card, weights.fill(network, tensors, card.name), settings, reader)
