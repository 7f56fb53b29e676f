"""Whisper's encoder: speech, and other sounds, to features at 50 frames a second.

Whisper (Radford et al. 2022, arXiv:2212.04356) was trained to write down speech. Its encoder reads a log-mel
spectrogram of 30 seconds, whatever the sound's length; features need no such padding. Here a sound is padded to the
next 5 seconds and the position embeddings are cut to it, so a clip of 2 seconds takes a sixth of the frames, and less
than that of the time. Mean and standard deviation over the frames that hold sound, side by side, are the features [2D].
A sound of more than 30 seconds is read in windows, whose frames are pooled together.

The names of the tensors are those of ``WhisperModel.encoder`` in the transformers library; the output was compared with
it and with CTranslate2's (tests/reference/test_whisper_peers.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.errors import SourceError
from headstart.sources import ct2, mel
from headstart.sources.audio import AudioReader, masked, over_time
from headstart.sources.audio_network import AudioNetwork
from headstart.types import Batch, Features, Json, Sample

STEP = 5.0
"""Seconds to whose multiples a window is padded."""

PER_FRAME = 2 * mel.HOP
"""Samples that one frame of the encoder's output stands for."""


class Whisper(AudioNetwork):
    """The encoder with fixed positions. settings: ``bands``, ``width``, ``depth``, ``heads``, ``positions``."""

    provider = "whisper"

    @staticmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """See `AudioNetwork.built`."""
        return Encoder(**settings)

    @staticmethod
    def reads(settings: Json) -> AudioReader:
        """Windows as long as there are positions."""
        return AudioReader(window=settings["positions"] * PER_FRAME / 16000)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Sounds to ``spectrogram`` [B,W,C,T], W windows each, and ``frames`` [B,W], those of T that hold sound.

        Behind a window's own padding, to the next `STEP`, stand zeros. Raises DataError HS-DATA-013.
        """
        every = self.reader(samples, train)
        windows = [window for sample in every for window in sample]
        draws = torch.rand(len(windows), 8).tolist() if train else []
        found = self._spectrograms(windows)
        count, longest = max(map(len, every)), max(spectrogram.shape[1] for spectrogram in found)
        spectrogram = torch.zeros(len(every), count, self._settings["bands"], longest)
        frames = torch.zeros(len(every), count, dtype=torch.long)
        at = 0
        for row, sample in enumerate(every):
            for place, window in enumerate(sample):
                held = min(math.ceil(len(window) / mel.HOP), longest)
                one = masked(found[at], held, draws[at], self.reader.augment) if train else found[at]
                spectrogram[row, place, :, : one.shape[1]] = one
                frames[row, place] = held
                at += 1
        return Batch({"spectrogram": spectrogram, "frames": frames})

    def _spectrograms(self, windows: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """[C,T] of each window, padded with silence to the next `STEP`; those of one length are computed together."""
        most = self._settings["positions"] * PER_FRAME
        step = min(round(STEP * self.reader.rate), most)
        sizes = np.array([min(step * max(1, math.ceil(len(window) / step)), most) for window in windows])
        found: list[torch.Tensor] = [torch.empty(0)] * len(windows)
        for size in np.unique(sizes).tolist():
            rows = np.flatnonzero(sizes == size).tolist()
            waves = torch.zeros(len(rows), size)
            for place, row in enumerate(rows):
                waves[place, : len(windows[row])] = torch.from_numpy(windows[row][:size])
            for row, spectrogram in zip(rows, mel.whisper(waves, self._settings["bands"])):
                found[row] = spectrogram
        return found

    def forward(self, batch: Batch) -> Features:
        """pooled [B,2D]."""
        hidden = self.network(batch.inputs["spectrogram"], batch.inputs["frames"])  # [B*W,T/2,D]
        return Features(self.pool_cut(hidden, batch))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean and deviation, as of the last layer."""
        return over_time(output, batch.inputs["frames"], batch.inputs["spectrogram"].shape[3])

    def cost(self, sample: Sample) -> int:
        """The steps of padding that a sample takes."""
        return max(1, math.ceil(self.reader.cost(sample) / (10 * STEP)))


# --- the network -----------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Two convolutions, sinusoidal positions, ``depth`` transformer layers with the norm first, a last norm."""

    def __init__(self, bands: int, width: int, depth: int, heads: int, positions: int) -> None:
        super().__init__()
        self.conv1 = Convolution(bands, width, 3, padding=1)
        self.conv2 = Convolution(width, width, 3, stride=2, padding=1)
        self.embed_positions = Positions(positions, width)
        self.layers = nn.ModuleList([Layer(width, heads) for _ in range(depth)])
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, spectrogram: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """[B,W,C,T] and the frames [B,W] that hold sound to [B*W,T/2,D]; a window sees itself and its own padding."""
        x = spectrogram.flatten(0, 1).transpose(1, 2)  # [B*W,T,C]
        x = self.embed_positions(self.conv2(self.conv1(x)))
        step = round(STEP * 16000 / PER_FRAME)
        own = (frames.reshape(-1, 1) + 2 * step - 1) // (2 * step) * step  # [B*W,1]
        seen = torch.arange(x.shape[1], device=x.device) < own.clamp(min=1)
        for layer in self.layers:
            x = layer(x, seen[:, None, None])
        return self.layer_norm(x)  # type: ignore[no-any-return]


class Convolution(nn.Conv1d):
    """[B,T,C] to [B,T',D], with the non-linearity."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output at every ``stride``-th frame."""
        return functional.gelu(super().forward(x.transpose(1, 2))).transpose(1, 2)


class Positions(nn.Module):
    """What is added to each frame; fixed sinusoids, no parameter."""

    weight: torch.Tensor

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
        angles = torch.arange(positions)[:, None] * rates
        self.register_buffer("weight", torch.cat([angles.sin(), angles.cos()], dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,T,D]; T is at most the positions there are."""
        return x + self.weight[: x.shape[1]]


class Attention(nn.Module):
    """Self-attention; the keys have no bias, which would change nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """x [B,T,D]; seen [B,1,1,T]: the frames that may be looked at."""
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self._parts())  # [B,H,T,D/H]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _parts(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.q_proj, self.k_proj, self.v_proj


class Layer(nn.Module):
    """Attention and a perceptron of four times the width, each with the norm first and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """[B,T,D] to [B,T,D]."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), seen)
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))  # type: ignore[no-any-return]


# --- from weights ----------------------------------------------------------------------------------------------------


def from_ctranslate2(path: Path, card: Json) -> Whisper:
    """The source in a ``model.bin`` of CTranslate2. Raises SourceError HS-SOURCE-004, HS-SOURCE-008."""
    name, found = ct2.read(path)
    if name != "WhisperSpec" or "encoder/num_heads" not in found:
        raise SourceError("HS-SOURCE-008", f"{path} holds a {name}, no Whisper.", "Fetch the source again.")
    variables = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in found.items()}
    width, bands, _ = variables["encoder/conv1/weight"].shape
    depth = sum(key.endswith("/ffn/linear_0/bias") for key in variables if key.startswith("encoder/"))
    tensors = {
        f"{own}.{kind}": variables[f"encoder/{own}/{kind}"] for own in ("conv1", "conv2") for kind in ("weight", "bias")
    }
    tensors["embed_positions.weight"] = variables["encoder/position_encodings/encodings"]
    tensors |= _norm("layer_norm", variables, "encoder/layer_norm")
    for number in range(depth):
        tensors |= _layer(f"layers.{number}", variables, f"encoder/layer_{number}")
    settings = {
        "bands": bands,
        "width": width,
        "depth": depth,
        "heads": int(found["encoder/num_heads"]),
        "positions": len(tensors["embed_positions.weight"]),
    }
    return Whisper.assemble(settings, tensors, card)


def _layer(own: str, variables: Mapping[str, torch.Tensor], theirs: str) -> dict[str, torch.Tensor]:
    """One layer: queries, keys and values are fused there, and the keys have a bias of zeros."""
    tensors: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):
        fused = variables[f"{theirs}/self_attention/linear_0/{kind}"].chunk(3)
        tensors |= {f"{own}.self_attn.{part}_proj.{kind}": values for part, values in zip("qkv", fused)}
        tensors[f"{own}.self_attn.out_proj.{kind}"] = variables[f"{theirs}/self_attention/linear_1/{kind}"]
        for place in (0, 1):
            tensors[f"{own}.fc{place + 1}.{kind}"] = variables[f"{theirs}/ffn/linear_{place}/{kind}"]
    if tensors.pop(f"{own}.self_attn.k_proj.bias").any():
        raise SourceError("HS-SOURCE-004", f"{theirs}: the keys have a bias, which Whisper's have not.")
    tensors |= _norm(f"{own}.self_attn_layer_norm", variables, f"{theirs}/self_attention/layer_norm")
    return tensors | _norm(f"{own}.final_layer_norm", variables, f"{theirs}/ffn/layer_norm")


def _norm(own: str, variables: Mapping[str, torch.Tensor], theirs: str) -> dict[str, torch.Tensor]:
    return {f"{own}.weight": variables[f"{theirs}/gamma"], f"{own}.bias": variables[f"{theirs}/beta"]}
