"""Speech models of the transformers library that read the wave itself: wav2vec 2.0, HuBERT, WavLM and their like.

A convolutional front end and a transformer (Baevski et al. 2020, arXiv:2006.11477). A sound is cut into windows of
`WINDOW` seconds, the last one filled with silence, so that all that a network sees is equally long and the features of
a row depend on no other: in some of these networks the first norm runs over time, padding included. Features are mean
and standard deviation over the frames that hold sound, of all windows of a row together, [2D].

Whisper models are opened as `headstart.sources.whisper`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import SourceError
from headstart.sources import hf, weights, whisper
from headstart.sources.audio import AudioReader, over_time
from headstart.sources.audio_network import AudioNetwork
from headstart.sources.base import Source
from headstart.types import Batch, Features, Json, Sample

WINDOW = 5.0
MOST = 60
"""Windows of one sound, evenly spread: five minutes."""


class Speech(AudioNetwork):
    """A network from waves to frames. settings: ``config``, ``normalise`` (each window), ``mask`` (it takes one)."""

    provider = "speech"

    @staticmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """See `AudioNetwork.built`. No code of a repository runs, whatever a file says."""
        return hf.build({**settings, "trust": None}, drawn)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Sounds to ``wave`` [B,W,n], W windows each, and ``frames`` [B,W], the samples of each that hold sound."""
        every = self.reader(samples, train)
        size = round(WINDOW * self.reader.rate)
        wave = torch.zeros(len(every), max(map(len, every)), size)
        frames = torch.zeros(wave.shape[:2], dtype=torch.long)
        for row, windows in enumerate(every):
            for place, window in enumerate(windows):
                values = torch.from_numpy(np.asarray(window, np.float32))
                if self._settings["normalise"]:
                    values = (values - values.mean()) / (values.var(unbiased=False) + 1e-7).sqrt()
                wave[row, place, : len(values)] = values
                frames[row, place] = len(values)
        return Batch({"wave": wave, "frames": frames})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,2D]."""
        wave = batch.inputs["wave"].flatten(0, 1)
        given = {"input_values": wave.to(next(self.network.parameters()).dtype)}
        if self._settings["mask"]:
            held = batch.inputs["frames"].reshape(-1, 1).clamp(min=1)
            given["attention_mask"] = (torch.arange(wave.shape[1], device=wave.device) < held).long()
        return Features(self.pool_cut(self.network(**given).last_hidden_state, batch))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean and deviation over time of [B*W,T,D], or of [B*W,D,T] where the front end gives it."""
        size = batch.inputs["wave"].shape[2]
        if output.shape[1] in self._channels and output.shape[2] not in self._channels:
            output = output.transpose(1, 2)
        return over_time(output, batch.inputs["frames"], size)

    @property
    def _channels(self) -> set[int]:
        config = self._settings["config"]
        return {int(config["hidden_size"]), *(int(width) for width in config["conv_dim"])}

    def cost(self, sample: Sample) -> int:
        """The windows of a sample."""
        return max(1, math.ceil(self.reader.cost(sample) / (10 * WINDOW)))


def opened(model: Any, place: str, settings: Json, processor: Json, card: Json) -> Source:
    """The source around a model of the library that reads sounds. processor: ``preprocessor_config.json``.

    card: name, architecture, origin, licence, description. Raises SourceError HS-SOURCE-007 for another kind of model,
    one that needs code of its repository among them.
    """
    config = settings["config"]
    if config["model_type"] == "whisper":
        return _whisper(model, place, config, card)
    if "conv_dim" not in config or "hidden_size" not in config or settings["trust"] is not None:
        raise SourceError(
            "HS-SOURCE-007", f"{place}: sounds are not read by models of the type {config['model_type']}.",
            "Choose a Whisper, wav2vec 2.0, HuBERT, WavLM, AST or CLAP model.",
        )  # fmt: skip
    # the library would draw masks from NumPy's generator while training; noise comes from the reader
    quiet = {name: value for name, value in (("apply_spec_augment", False), ("layerdrop", 0.0)) if name in config}
    settings = {
        "config": {**config, **quiet},
        "part": settings["part"],
        "trust": None,
        "normalise": bool(processor.get("do_normalize", True)),
        "mask": bool(processor.get("return_attention_mask", False)),
    }
    reader = AudioReader(int(processor.get("sampling_rate", 16000)), WINDOW, MOST)
    return Speech.assemble(settings, weights.state(model), card, reader)


def _whisper(model: Any, place: str, config: Json, card: Json) -> Source:
    """Its encoder, as `headstart.sources.whisper` runs it."""
    plain = config["encoder_ffn_dim"] == 4 * config["d_model"] and config["activation_function"] == "gelu"
    if not plain or config.get("scale_embedding"):
        raise SourceError("HS-SOURCE-007", f"{place}: its encoder is not that of Whisper.", "Choose another source.")
    sizes = {
        "bands": config["num_mel_bins"],
        "width": config["d_model"],
        "depth": config["encoder_layers"],
        "heads": config["encoder_attention_heads"],
        "positions": config["max_source_positions"],
    }
    return whisper.Whisper.assemble(sizes, weights.state(model.get_encoder()), card)
