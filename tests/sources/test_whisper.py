"""Whisper's encoder as a source: lengths, windows, pooling, augmentation; the reader; CTranslate2's format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.errors import DataError, SourceError
from headstart.sources import ct2, weights
from headstart.sources.audio import AudioReader, Augment, masked, picture
from headstart.sources.whisper import from_ctranslate2
from tests.conformance.examples import tiny_whisper

NAMES = {"name": "tiny", "architecture": "", "origin": "", "licence": "", "description": ""}


def noise(seconds: float, rate: int = 16000, seed: int = 0) -> tuple[np.ndarray, int]:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * rate))).astype(np.float32), rate


@pytest.fixture
def source(tmp_path):
    return tiny_whisper(tmp_path)


def test_a_clip_is_padded_to_five_seconds_and_no_further(source):
    batch = source.preprocess([noise(2.0), noise(7.0)])
    assert batch.inputs["spectrogram"].shape == (2, 1, 20, 1000)
    assert batch.inputs["frames"].tolist() == [[200], [700]]
    assert not batch.inputs["spectrogram"][0, 0, :, 500:].any()
    assert source.network(**batch.inputs).shape == (2, 500, 32)


def test_features_do_not_depend_on_the_longer_rows_of_the_batch(source):
    given = [noise(0.4), noise(6.0, 8000), noise(33.0, seed=2)]
    with torch.no_grad():
        together = source.features(source.preprocess(given), ["conv1", "layers.0"])
        for row, sample in enumerate(given):
            alone = source.features(source.preprocess([sample]), ["conv1", "layers.0"])
            assert torch.allclose(together.pooled[row], alone.pooled[0], atol=1e-5)
            for name in ("conv1", "layers.0"):
                assert torch.allclose(together.cuts[name][row], alone.cuts[name][0], atol=1e-5)


def test_only_frames_with_sound_are_pooled(source):
    batch = source.preprocess([noise(2.0)])
    with torch.no_grad():
        hidden = source.network(**batch.inputs)[0, :100]
        expected = torch.cat([hidden.mean(0), hidden.std(0, unbiased=False)])
        assert torch.allclose(source.forward(batch).pooled[0], expected, atol=1e-5)


def test_long_sounds_are_read_in_windows(source):
    wave, rate = noise(65.0)
    batch = source.preprocess([(wave, rate)])
    assert batch.inputs["spectrogram"].shape == (1, 3, 20, 3000)
    assert batch.inputs["frames"].tolist() == [[3000, 3000, 500]]
    source.reader.most = 2
    assert source.preprocess([(wave, rate)]).inputs["frames"].tolist() == [[3000, 500]]


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_of_a_long_file_only_the_windows_are_decoded(tmp_path, monkeypatch, ending):
    """Ten minutes in windows of 5 s, of which 4 are read: the same numbers as those of the array."""
    soundfile = pytest.importorskip("soundfile")
    wave, rate = noise(601.0, 8000)
    path = tmp_path / f"long.{ending}"
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for at in range(0, len(wave), 100_000):  # libsndfile cannot write minutes of Vorbis at once
            file.write(wave[at : at + 100_000])
    reader, decoded = AudioReader(rate=8000, window=5.0, most=4), []
    honest = soundfile.SoundFile.read

    def counted(self, *given, **more):
        found = honest(self, *given, **more)
        decoded.append(len(found))
        return found

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    found, expected = reader([str(path)])[0], reader([(wave, rate)])[0]
    assert [len(window) for window in found] == [40_000, 40_000, 40_000, 8000] and sum(decoded) == 128_000
    like = 0.9 if ending == "ogg" else 0.9999  # noise is what a lossy format keeps worst
    assert all(np.corrcoef(a, b)[0, 1] > like for a, b in zip(found, expected))
    assert np.array_equal(expected[1], wave[40 * 40_000 : 41 * 40_000])
    part = reader([f"{path}#t=100,400"])[0]
    assert np.corrcoef(part[0], wave[800_000:840_000])[0, 1] > like


def test_the_layers_stand_in_order(source):
    names = [layer.name for layer in source.layers()]
    assert names == ["conv1", "conv2", "layers.0", "layers.1"]
    assert sum(layer.parameters for layer in source.layers()) == source.card.parameters


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_rate_is_brought_to_one(rate):
    times = np.arange(rate) / rate
    wave = AudioReader().wave((np.sin(2 * np.pi * 500 * times).astype(np.float32), rate))
    assert abs(len(wave) - 16000) <= 1
    expected = np.sin(2 * np.pi * 500 * np.arange(len(wave)) / 16000)
    assert np.abs(wave - expected)[500:-500].max() < 0.01


def test_training_samples_vary_by_torchs_generator_alone(source):
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return source.preprocess([noise(1.0), noise(2.0)], train=True).inputs["spectrogram"]

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    state = torch.random.get_rng_state()
    source.preprocess([noise(1.0)])
    assert torch.equal(state, torch.random.get_rng_state())


def test_noise_has_the_level_that_was_drawn():
    reader = AudioReader(augment=Augment(noise=1.0, snr=(10.0, 10.0)))
    wave, rate = noise(2.0)
    torch.manual_seed(0)
    added = reader([(wave, rate)], train=True)[0][0] - wave
    assert abs(10 * np.log10(np.mean(wave**2) / np.mean(added**2)) - 10) < 0.2


def test_masks_cover_bands_and_frames():
    spectrogram = torch.randn(80, 500)
    found = masked(spectrogram, 200, [0.99, 0.5] * 4, Augment())
    changed = found != spectrogram
    assert changed.all(dim=1).sum() == 0 and not changed[:, 200:].any()
    assert (changed[:, :200].all(dim=1)).sum() == 10 and (changed.all(dim=0)).sum() == 19
    assert torch.equal(masked(spectrogram, 200, [0.0] * 8, Augment()), spectrogram)


def test_the_reader_is_kept(source, tmp_path):
    source.reader = AudioReader(most=3, augment=Augment(noise=0.1))
    source.save(tmp_path / "saved")
    assert type(source).load(tmp_path / "saved").reader == source.reader


def test_a_missing_sound_is_named(source):
    with pytest.raises(DataError, match=r"HS-DATA-013.*gone\.wav does not exist"):
        source.preprocess(["gone.wav"])
    with pytest.raises(SourceError, match=r"HS-SOURCE-005.*reads sounds"):
        source.preprocess([3])


def test_the_picture_is_small():
    assert picture(noise(0.02)).size == (96, 48) and picture(noise(3.0)).size == (96, 48)


# --- CTranslate2 -----------------------------------------------------------------------------------------------------


def model(variables: dict[str, np.ndarray], aliases: dict[str, str], spec: str = "WhisperSpec") -> bytes:
    """The bytes of a ``model.bin``."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    types = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    content = struct.pack("<I", 6) + text(spec) + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        content += text(name) + shape + struct.pack("<BI", types[str(values.dtype)], values.nbytes) + values.tobytes()
    content += struct.pack("<I", len(aliases))
    return content + b"".join(text(alias) + text(meant) for alias, meant in aliases.items())


def test_types_and_aliases_are_read(tmp_path):
    given = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array(4, np.int16), "c": np.ones(2, np.float32)}
    (tmp_path / "model.bin").write_bytes(model(given, {"also": "c"}))
    spec, found = ct2.read(tmp_path / "model.bin")
    assert spec == "WhisperSpec" and set(found) == {"a", "b", "c", "also"}
    assert all(
        np.array_equal(found[name], values) and found[name].shape == values.shape for name, values in given.items()
    )
    assert np.array_equal(found["also"], given["c"])


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b + b"x", lambda b: b"\1" + b[1:], lambda b: b""])
def test_a_damaged_model_is_refused(tmp_path, damage):
    (tmp_path / "model.bin").write_bytes(damage(model({"a": np.ones(3, np.float32)}, {})))
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        ct2.read(tmp_path / "model.bin")


def fused(source) -> dict[str, np.ndarray]:
    """The variables that CTranslate2 would write of the encoder, in half precision."""
    own = {name: tensor.numpy() for name, tensor in weights.state(source.network).items()}
    found = {
        "encoder/num_heads": np.array(2, np.int16),
        "encoder/position_encodings/encodings": own["embed_positions.weight"],
    }
    for name in ("conv1", "conv2"):
        found |= {f"encoder/{name}/{kind}": own[f"{name}.{kind}"] for kind in ("weight", "bias")}
    norms = {"layer_norm": "encoder/layer_norm"}
    for number in range(2):
        a, b = f"layers.{number}", f"encoder/layer_{number}"
        norms |= {
            f"{a}.self_attn_layer_norm": f"{b}/self_attention/layer_norm",
            f"{a}.final_layer_norm": f"{b}/ffn/layer_norm",
        }
        own[f"{a}.self_attn.k_proj.bias"] = np.zeros(32, np.float32)
        for kind in ("weight", "bias"):
            parts = [own[f"{a}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{b}/self_attention/linear_0/{kind}"] = np.concatenate(parts)
            found[f"{b}/self_attention/linear_1/{kind}"] = own[f"{a}.self_attn.out_proj.{kind}"]
            found |= {f"{b}/ffn/linear_{i}/{kind}": own[f"{a}.fc{i + 1}.{kind}"] for i in (0, 1)}
    for a, b in norms.items():
        found |= {f"{b}/gamma": own[f"{a}.weight"], f"{b}/beta": own[f"{a}.bias"]}
    return {name: values if values.ndim == 0 else values.astype(np.float16) for name, values in found.items()}


def written(folder: Path, variables: dict[str, np.ndarray], spec: str = "WhisperSpec") -> Path:
    (folder / "model.bin").write_bytes(model(variables, {}, spec))
    return folder / "model.bin"


def test_an_encoder_comes_back_from_ctranslate2(source, tmp_path):
    found = from_ctranslate2(written(tmp_path, fused(source)), NAMES)
    assert found.settings() == source.settings()
    for name, tensor in weights.state(source.network).items():
        assert torch.equal(found.network.state_dict()[name], tensor.half().float()), name


def test_what_is_no_whisper_is_refused(source, tmp_path):
    with pytest.raises(SourceError, match=r"HS-SOURCE-008.*TransformerSpec"):
        from_ctranslate2(written(tmp_path, fused(source), "TransformerSpec"), NAMES)
    variables = fused(source)
    variables["encoder/layer_1/self_attention/linear_0/bias"] = np.ones(96, np.float16)
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*layer_1.*keys have a bias"):
        from_ctranslate2(written(tmp_path, variables), NAMES)
