"""Sound models of the transformers library that look at a spectrogram as at a picture: AST and CLAP's audio half.

The Audio Spectrogram Transformer (Gong et al. 2021, arXiv:2104.01778) and CLAP (Wu et al. 2022, arXiv:2211.06687) read
spectrograms of one length, about ten seconds, that the library's own feature extractor makes: AST's with silence behind
a shorter sound, CLAP's with the sound repeated. A longer sound is cut into windows of that length. Features are what
the network pools, [D], the mean over the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import SourceError
from headstart.sources import hf, weights
from headstart.sources.audio import AudioReader
from headstart.sources.audio_network import AudioNetwork
from headstart.sources.base import Source, pool
from headstart.types import Batch, Features, Json, Sample

EXTRACTORS = {"audio-spectrogram-transformer": "ASTFeatureExtractor", "clap": "ClapFeatureExtractor"}
EXTRACTORS["clap_audio_model"] = EXTRACTORS["clap"]
MOST = 30
"""Windows of one sound, evenly spread: five minutes."""

SHORTEST = 1024
"""Samples that a window is filled up to with silence, so that it holds a spectrum."""


class Spectrogram(AudioNetwork):
    """The network in its windows. settings: ``config``, ``part``, ``trust`` (None), ``extractor``, its arguments."""

    provider = "spectrogram"

    @staticmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """See `AudioNetwork.built`."""
        return hf.build({**settings, "trust": None}, drawn)  # no code of a repository runs, whatever the file says

    @cached_property
    def extractor(self) -> Any:
        """The library's feature extractor."""
        import transformers

        kind = getattr(transformers, EXTRACTORS[self._settings["config"]["model_type"]])
        return kind(**self._settings["extractor"])

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Sounds to ``spectrogram`` [B,W,...], W windows each, and ``there`` [B,W], those of W that the row has."""
        every = self.reader(samples, train)
        windows = [np.pad(one, (0, max(0, SHORTEST - len(one)))) for sample in every for one in sample]
        name = "input_values" if hasattr(self.extractor, "max_length") else "input_features"
        found = [
            torch.from_numpy(np.asarray(self.extractor(one, sampling_rate=self.reader.rate)[name][0], np.float32))
            for one in windows
        ]
        counts = [len(sample) for sample in every]
        spectrogram = torch.zeros(len(every), max(counts), *found[0].shape)
        there = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
        spectrogram[there] = torch.stack(found)
        return Batch({"spectrogram": spectrogram, "there": there})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]."""
        shown = batch.inputs["spectrogram"].flatten(0, 1).to(next(self.network.parameters()).dtype)
        given: dict[str, torch.Tensor] = {self.network.main_input_name: shown}  # type: ignore[dict-item]
        if self.network.main_input_name == "input_features":
            given["is_longer"] = torch.zeros(len(shown), 1, dtype=torch.bool, device=shown.device)
        return Features(self._mean(self.network(**given).pooler_output.flatten(1), batch))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean over patches and windows."""
        return self._mean(pool(output, None), batch)

    @staticmethod
    def _mean(values: torch.Tensor, batch: Batch) -> torch.Tensor:
        """[B*W,D] to the mean [B,D] over the windows that are there."""
        weight = batch.inputs["there"].float().unsqueeze(2)  # [B,W,1]
        total = (values.float().unflatten(0, weight.shape[:2]) * weight).sum(1)  # type: ignore[no-untyped-call]
        return torch.as_tensor(total / weight.sum(1))

    def cost(self, sample: Sample) -> int:
        """The windows of a sample."""
        return max(1, math.ceil(self.reader.cost(sample) / (10 * self.reader.window)))


def opened(model: Any, place: str, settings: Json, processor: Json, card: Json) -> Source:
    """The source around an AST or CLAP model. processor: ``preprocessor_config.json``.

    card: name, architecture, origin, licence, description. Raises SourceError HS-SOURCE-007 for a CLAP model that fuses
    parts of long sounds, which it draws at random.
    """
    config = settings["config"]
    if config.get("audio_config", config).get("enable_fusion"):
        raise SourceError(
            "HS-SOURCE-007",
            f"{place}: it fuses parts of long sounds that are drawn at random.",
            "Take an unfused model.",
        )
    arguments = {name: value for name, value in processor.items() if not name.endswith(("_type", "_class"))}
    settings = {"config": config, "part": settings["part"], "trust": None, "extractor": arguments}
    if config["model_type"] != "audio-spectrogram-transformer":
        arguments |= {"truncation": "rand_trunc"}  # nothing is truncated
        rate, window = int(processor.get("sampling_rate", 48_000)), float(processor.get("max_length_s", 10))
    else:
        rate, window = int(processor.get("sampling_rate", 16_000)), int(processor.get("max_length", 1024)) / 100
    network = model.get_submodule(settings["part"]) if settings["part"] else model
    return Spectrogram.assemble(settings, weights.state(network), card, AudioReader(rate, window, MOST))
