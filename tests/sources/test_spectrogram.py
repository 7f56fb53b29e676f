"""AST and CLAP from the transformers library, tiny and random: their features, their windows, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.errors import SourceError
from headstart.sources import hf
from headstart.sources.spectrogram import Spectrogram
from headstart.sources.torchvision_compat import heal
from headstart.testing import check_source
from tests.conformance.examples import tiny_ast

heal()  # transformers imports torchvision
import transformers  # noqa: E402

HEARD = {
    "spec_size": 64,
    "hidden_size": 32,
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1],
    "num_attention_heads": [1, 2],
    "num_mel_bins": 16,
    "window_size": 4,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "num_hidden_layers": 2,
}
READ = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def clap(folder, **heard):
    torch.manual_seed(0)
    config = transformers.ClapConfig(text_config=READ, audio_config={**HEARD, **heard}, projection_dim=16)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc").save_pretrained(folder)
    return folder


def test_ast_has_the_features_of_transformers(tmp_path):
    source = tiny_ast(tmp_path)
    assert type(source) is Spectrogram and source.reader.window == 1.28 and source.reader.rate == 16_000
    wave = noise(1.0, 16_000)
    theirs = transformers.ASTModel.from_pretrained(tmp_path / "ast").eval()
    extract = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128)
    with torch.no_grad():
        expected = theirs(**extract(wave, sampling_rate=16_000, return_tensors="pt")).pooler_output[0]
        found = source.forward(source.preprocess([(wave, 16_000)])).pooled[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_sound_half_of_clap_has_the_features_of_transformers(tmp_path):
    source, wave = hf.open_model(str(clap(tmp_path))), noise(0.4, 48_000)
    check_source(source)
    assert source.card.modality == "audio" and source.reader.rate == 48_000
    theirs = transformers.ClapModel.from_pretrained(tmp_path).eval()
    extract = transformers.ClapFeatureExtractor.from_pretrained(tmp_path)
    given = extract(wave, sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        expected = theirs.audio_model(**given).pooler_output.flatten()
        found = source.forward(source.preprocess([(wave, 48_000)])).pooled[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_longer_sound_is_the_mean_of_its_windows(tmp_path):
    source = tiny_ast(tmp_path)
    wave = noise(2.0, 16_000)
    size = round(1.28 * 16_000)
    with torch.no_grad():
        whole = source.forward(source.preprocess([(wave, 16_000), (wave[:100], 16_000)])).pooled
        parts = source.forward(source.preprocess([(wave[:size], 16_000), (wave[size:], 16_000)])).pooled
    assert torch.allclose(whole[0], parts.mean(0), atol=1e-5) and whole[1].isfinite().all()


def test_a_model_that_draws_parts_at_random_is_refused(tmp_path):
    fused = {"enable_fusion": True, "fusion_type": "aff_2d", "aff_block_r": 2}
    with pytest.raises(SourceError, match="drawn at random") as caught:
        hf.open_model(str(clap(tmp_path, **fused)))
    assert caught.value.code == "HS-SOURCE-007"
