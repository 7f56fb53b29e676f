"""A source around any small network, for questions about its structure alone."""

from __future__ import annotations

import torch

from headstart.sources.base import Card, Source
from headstart.types import Batch, Features


class Toy(Source):
    """A source around any network of vectors of eight numbers, [B,8] or [B,1,8]."""

    provider = "toy"

    def __init__(self, network, shape=(2, 8)):
        super().__init__(Card("toy", "table", "", 8, 0, "", "", ""), network)
        self.shape = shape

    def preprocess(self, samples, train=False):
        return Batch({"x": torch.zeros(len(samples), *self.shape[1:])})

    def forward(self, batch):
        output = self.network(batch.inputs["x"])
        return Features((output[0] if isinstance(output, tuple) else output).flatten(1))

    def example(self):
        return Batch({"x": torch.ones(self.shape)})

    def fresh_network(self):
        raise NotImplementedError

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError
