"""The voice encoder: its layers against one recurrent module, its partials, its volume, Resemblyzer's checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart.errors import SourceError
from headstart.sources import mel
from headstart.sources.voice_encoder import PARTIAL, from_checkpoint, partial_starts
from tests.conformance.examples import tiny_voice

NAMES = {"name": "voice", "architecture": "", "origin": "", "licence": "", "description": ""}


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(round(seconds * 16000))).astype(np.float32)


def checkpoint(folder):
    """A file as Resemblyzer's, and the network in it."""
    torch.manual_seed(0)
    theirs = nn.ModuleDict({"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)})
    state = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1), **theirs.state_dict()}
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, folder / "pretrained.pt")
    return folder / "pretrained.pt", theirs


def test_features_are_those_of_one_recurrent_module(tmp_path):
    path, theirs = checkpoint(tmp_path)
    source, wave = from_checkpoint(path, NAMES), noise(4.0)
    levels = mel.power(torch.from_numpy(np.pad(wave, (0, 16000))), 40).T
    with torch.no_grad():
        partials = torch.stack([levels[start : start + PARTIAL] for start in partial_starts(len(wave))])
        _, (hidden, _) = theirs["lstm"](partials)
        raw = torch.relu(theirs["linear"](hidden[-1]))
        mean = (raw / raw.norm(dim=1, keepdim=True)).mean(0)
        found = source.forward(source.preprocess([(wave, 16000)])).pooled[0]
    assert torch.allclose(found, mean / mean.norm(), atol=1e-5)


def test_partials_cover_a_sound_and_a_last_one_needs_three_quarters():
    assert partial_starts(8000) == [0] and partial_starts(25600) == [0]
    assert partial_starts(16000 * 4) == [0, 77, 154, 231]
    assert partial_starts(77 * 160 + int(0.7 * 25600)) == [0]
    assert partial_starts(77 * 160 + int(0.8 * 25600)) == [0, 77]


def test_a_quiet_recording_is_made_louder_and_a_loud_one_left(tmp_path):
    source = tiny_voice(tmp_path)
    quiet, less, loud = (source.preprocess([(noise(2.0, level), 16000)]) for level in (0.001, 0.01, 0.2))
    assert torch.allclose(quiet.inputs["partials"], less.inputs["partials"], rtol=1e-3, atol=1e-4)
    assert loud.inputs["partials"].mean() > 10 * less.inputs["partials"].mean()


def test_its_layers_are_recurrent_one_by_one(tmp_path):
    assert [layer.name for layer in tiny_voice(tmp_path).layers()] == ["lstm.0", "lstm.1", "linear"]


def test_a_damaged_checkpoint_is_refused(tmp_path):
    torch.save({"other": torch.ones(1)}, tmp_path / "pretrained.pt")
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        from_checkpoint(tmp_path / "pretrained.pt", NAMES)
