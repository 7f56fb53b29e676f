"""Models of speech from the transformers library, tiny and random: their features, and which of them are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart import catalog
from headstart.errors import SourceError
from headstart.methods.finetune import Finetune
from headstart.sources import hf
from headstart.sources.torchvision_compat import heal
from headstart.sources.whisper import Whisper
from headstart.testing import check_method, check_source
from tests.conformance.examples import sounds, tiny_wav2vec

heal()  # transformers imports torchvision
import transformers  # noqa: E402

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 8),
    "conv_stride": (8, 8, 5),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000))).astype(np.float32)


def saved(folder, model, **more):
    torch.manual_seed(0)
    model().save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(**more).save_pretrained(folder)
    return folder


def test_a_whole_window_has_the_features_of_transformers(tmp_path):
    source = tiny_wav2vec(tmp_path)
    wave = noise(5.0)
    theirs = transformers.Wav2Vec2Model.from_pretrained(tmp_path / "wav2vec").eval()
    given = transformers.Wav2Vec2FeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        hidden = theirs(given["input_values"]).last_hidden_state[0]
        found = source.forward(source.preprocess([(wave, 16000)])).pooled[0]
    assert torch.allclose(found, torch.cat([hidden.mean(0), hidden.std(0, unbiased=False)]), atol=1e-4)


def test_hubert_with_a_mask_has_the_features_of_transformers(tmp_path):
    config = transformers.HubertConfig(**SIZES, feat_extract_norm="layer", do_stable_layer_norm=True)
    saved(tmp_path, lambda: transformers.HubertModel(config), return_attention_mask=True)
    source, wave = hf.open_model(str(tmp_path)), noise(2.0)
    check_source(source)
    extract = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    given = extract(wave, sampling_rate=16000, return_tensors="pt", padding="max_length", max_length=80000)
    theirs = transformers.HubertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        hidden = theirs(**given).last_hidden_state[0]
        found = source.forward(source.preprocess([(wave, 16000)])).pooled[0, :32]
    held = -(-32000 * len(hidden) // 80000)
    assert torch.allclose(found, hidden[:held].mean(0), atol=1e-4)


def test_a_whisper_model_is_our_whisper(tmp_path):
    config = transformers.WhisperConfig(
        vocab_size=10, d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128, decoder_layers=1,
        decoder_attention_heads=4, decoder_ffn_dim=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.WhisperModel(config).save_pretrained(tmp_path)
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    source = hf.open_model(str(tmp_path))
    assert isinstance(source, Whisper) and source.card.width == 64
    theirs = transformers.WhisperModel.from_pretrained(tmp_path).encoder.eval()
    batch = source.preprocess([(noise(30.0), 16000)])
    with torch.no_grad():
        expected = theirs(batch.inputs["spectrogram"][0]).last_hidden_state.mean(dim=1)
        assert torch.allclose(source.forward(batch).pooled[:, :32], expected, atol=1e-4)


def test_other_models_of_sounds_are_refused_by_name(tmp_path):
    config = transformers.MoonshineConfig(
        hidden_size=16, intermediate_size=16, encoder_num_hidden_layers=1, decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2, decoder_num_attention_heads=2, vocab_size=10,
    )  # fmt: skip
    transformers.MoonshineModel(config).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"HS-SOURCE-007.*moonshine"):
        hf.open_model(str(tmp_path))


def test_training_draws_from_torch_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    method = Finetune(epochs=2, batch_size=8)
    check_method(method, sounds(), catalog.find("tasks", "classification"), tiny_wav2vec(tmp_path))
