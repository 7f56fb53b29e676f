"""musicnn: its layers against NumPy, its windows, TensorFlow's checkpoint."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from headstart.errors import SourceError
from headstart.sources import tf_checkpoint
from headstart.sources.musicnn import FRAMES, from_checkpoint
from tests.conformance.examples import tiny_musicnn

NAMES = {"name": "music", "architecture": "", "origin": "", "licence": "", "description": ""}
SIZES = {"bands": 96, "timbre": 3, "rhythm": 2, "middle": 4, "dense": 5}


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a table: keys by what they share with the one before, one restart, no compression."""
    out, before = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, before)) if a != b), min(len(key), len(before)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def checkpoint(folder, arrays, compression: int = 0):
    """Files as TensorFlow writes them: data in a row, the index a table of two blocks."""
    data, entries = b"", [(b"", varint(1 << 3) + varint(1))]
    for name in sorted(arrays):
        values = np.asarray(arrays[name], "<f4")
        shape = b"".join(b"\x12" + varint(len(dim)) + dim for dim in (b"\x08" + varint(n) for n in values.shape))
        entry = b"\x08\x01\x12" + varint(len(shape)) + shape + b"\x20" + varint(len(data)) + b"\x28"
        entries.append((name.encode(), entry + varint(values.nbytes) + b"\x35" + bytes(4)))
        data += values.tobytes()
    table, handles, half = b"", [], len(entries) // 2
    for part in (entries[:half], entries[half:]):
        content = block(part)
        handles.append((part[-1][0], varint(len(table)) + varint(len(content))))
        table += content + bytes([compression]) + bytes(4)
    places = []
    for content in (block([]), block(handles)):
        places.append(varint(len(table)) + varint(len(content)))
        table += content + bytes(5)
    footer = b"".join(places)
    table += footer + bytes(40 - len(footer)) + struct.pack("<Q", tf_checkpoint.MAGIC)
    (folder / ".index").write_bytes(table)
    (folder / ".data-00000-of-00001").write_bytes(data)
    return folder


@pytest.fixture
def arrays():
    """Variables of a small musicnn under the names that TensorFlow gave."""
    generator, found = np.random.default_rng(0), {}
    kernels = [(7, 38, 3), (7, 67, 3), (128, 1, 2), (64, 1, 2), (32, 1, 2), (7, 12, 4), (7, 4, 4), (7, 4, 4)]
    for at, (length, bands, width) in enumerate(kernels):
        name = "conv2d" + f"_{at}" * (at > 0)
        found[f"{name}/kernel"] = generator.normal(size=(length, bands, 1, width)) / np.sqrt(length * bands)
        found[f"{name}/bias"] = generator.normal(size=width)
    for at, width in enumerate([1, 3, 3, 2, 2, 2, 4, 4, 4, 48, 5]):
        name = "batch_normalization" + f"_{at}" * (at > 0)
        for kind in ("gamma", "beta", "moving_mean"):
            found[f"{name}/{kind}"] = generator.normal(size=width)
        found[f"{name}/moving_variance"] = generator.uniform(0.5, 2, size=width)
    found |= {"dense/kernel": generator.normal(size=(48, 5)) / 7, "dense/bias": generator.normal(size=5)}
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def normalised(x, arrays, at):
    name = "batch_normalization" + f"_{at}" * (at > 0)
    gamma, beta, mean, variance = (arrays[f"{name}/{k}"] for k in ("gamma", "beta", "moving_mean", "moving_variance"))
    return gamma * (x - mean) / np.sqrt(variance + 0.001) + beta


def convolved(x, arrays, at):
    """x [T,F] with the kernel [K,W,1,C] over all of time and every place on F where it fits, [T,F-W+1,C], rectified."""
    name = "conv2d" + f"_{at}" * (at > 0)
    kernel, bias = arrays[f"{name}/kernel"][:, :, 0], arrays[f"{name}/bias"]
    length, width = kernel.shape[:2]
    padded = np.pad(x, (((length - 1) // 2, length // 2), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (length, width))  # [T,F',K,W]
    return np.maximum(np.einsum("tfkw,kwc->tfc", patches, kernel) + bias, 0)


def reference(levels, arrays):
    """What the original's graph computes of one window [T,96], in its own order: pools (flattened) and penultimate."""
    x = normalised(levels, arrays, 0)
    front = np.concatenate([normalised(convolved(x, arrays, at), arrays, at + 1).max(1) for at in range(5)], axis=1)
    first = normalised(convolved(front, arrays, 5), arrays, 6)[:, 0]
    second = normalised(convolved(first, arrays, 6), arrays, 7)[:, 0] + first
    third = normalised(convolved(second, arrays, 7), arrays, 8)[:, 0] + second
    whole = np.concatenate([front, first, second, third], axis=1)  # [T,C]
    pools = np.stack([whole.max(0), whole.mean(0)], axis=1).ravel()
    pools = normalised(pools, arrays, 9)
    dense = np.maximum(pools @ arrays["dense/kernel"] + arrays["dense/bias"], 0)
    return np.concatenate([pools, normalised(dense, arrays, 10)])


def test_features_are_those_of_the_layers_written_out(tmp_path, arrays):
    source = from_checkpoint(checkpoint(tmp_path, arrays) / ".index", NAMES)
    assert source.settings() | SIZES == source.settings() and source.card.width == 48 + 5
    wave = np.random.default_rng(1).normal(size=100_000).astype(np.float32) / 10
    batch = source.preprocess([(wave, 16000)])
    windows = batch.inputs["spectrogram"][0].numpy()
    assert windows.shape == (3, FRAMES, 96)
    expected = np.mean([reference(window, arrays) for window in windows], axis=0)
    with torch.no_grad():
        assert np.allclose(source.forward(batch).pooled[0], expected, atol=2e-4)


def test_the_spectrogram_is_that_of_the_original():
    """Power of 512 samples every 256, 96 filters on Slaney's scale, log10(1 + 10000 x): by transformers' functions."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    wave = np.random.default_rng(1).normal(size=3 * 16000).astype(np.float32) / 10
    bank = mel_filter_bank(257, 96, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    power = spectrogram(wave, window_function(512, "hann"), 512, 256, power=2.0, mel_filters=bank)  # [F,T]
    found = tiny_musicnn(None)._windows(wave)
    assert power.shape[1] == FRAMES + 1 and len(found) == 2
    assert np.allclose(found[0].numpy(), np.log10(10_000 * power.T[:FRAMES] + 1), atol=1e-4)


def test_short_sounds_are_repeated_and_long_ones_read_to_their_end(tmp_path):
    source, noise = tiny_musicnn(tmp_path), np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    short = source.preprocess([(noise[:16000], 16000)]).inputs["spectrogram"][0]
    assert short.shape == (1, FRAMES, 96) and torch.equal(short[0, :63], short[0, 63:126])
    exact = source._windows(noise[: (2 * FRAMES - 1) * 256])
    assert len(exact) == 2 and torch.equal(exact[0], source._windows(noise)[0])
    longer = source._windows(noise[: 400 * 256])
    assert len(longer) == 3, "401 frames: windows that overlap, the last one up to the end"
    with torch.no_grad():
        both = source.forward(source.preprocess([(noise, 16000), (noise[:9000], 16000)])).pooled
        alone = source.forward(source.preprocess([(noise[:9000], 16000)])).pooled
    assert torch.allclose(both[1], alone[0], atol=1e-5)


def test_layers_run_from_timbre_and_rhythm_to_the_last_matrix(tmp_path):
    names = [layer.name for layer in tiny_musicnn(tmp_path).layers()]
    assert names == [
        *(f"timbral.{at}" for at in range(2)), *(f"temporal.{at}" for at in range(3)),
        *(f"middle.{at}" for at in range(3)), "dense",
    ]  # fmt: skip


def test_a_table_gives_back_what_was_written(tmp_path, arrays):
    checkpoint(tmp_path, arrays)
    found = tf_checkpoint.read(tmp_path / ".index", tmp_path / ".data-00000-of-00001")
    assert found.keys() == arrays.keys() and all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_damaged_checkpoints_are_refused(tmp_path, arrays):
    checkpoint(tmp_path, arrays, compression=1)
    with pytest.raises(SourceError, match="compressed") as caught:
        from_checkpoint(tmp_path / ".index", NAMES)
    assert caught.value.code == "HS-SOURCE-008"
    checkpoint(tmp_path, arrays)
    index, data = tmp_path / ".index", tmp_path / ".data-00000-of-00001"
    whole = index.read_bytes()
    for broken in (whole[:-1], whole[:40], b"", whole[100:]):
        index.write_bytes(broken)
        with pytest.raises(SourceError, match="no TensorFlow checkpoint"):
            from_checkpoint(tmp_path / ".index", NAMES)
    index.write_bytes(whole)
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(SourceError, match="end too early"):
        from_checkpoint(tmp_path / ".index", NAMES)
    checkpoint(tmp_path, {name: values for name, values in arrays.items() if "dense" not in name})
    with pytest.raises(SourceError, match="no musicnn"):
        from_checkpoint(tmp_path / ".index", NAMES)
