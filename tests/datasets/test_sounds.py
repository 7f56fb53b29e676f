"""Folders, tables and arrays of sounds; which are left out, and why."""

import builtins
from pathlib import Path

import numpy as np
import pytest

from headstart.datasets import clip, sounds
from headstart.datasets.read import read
from headstart.errors import DataError, EnvironmentProblem

soundfile = pytest.importorskip("soundfile")
RATE = 16000


def tone(seconds: float = 0.3, hertz: float = 440.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(int(hertz)).normal(size=len(times))
    return (level * np.sin(2 * np.pi * hertz * times) + 0.01 * level * noise).astype(np.float32)


def put(path: Path, values: np.ndarray, rate: int = RATE, **more: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate, **more)
    return path


def test_class_folders_of_sounds(tmp_path):
    for i, ending in enumerate(("wav", "flac", "ogg", "mp3")):
        put(tmp_path / "d" / "low" / f"{i}.{ending}", tone(hertz=300 + i))
        put(tmp_path / "d" / "high" / f"{i}.{ending}", tone(hertz=900 + i))
    (tmp_path / "d" / "README.md").write_text("not a class")
    dataset = read(tmp_path / "d")
    assert dataset.modality == "audio" and dataset.rejects == ()
    assert dataset.targets() == ["high"] * 4 + ["low"] * 4
    assert dataset.samples()[0] == str(tmp_path / "d" / "high" / "0.wav")
    assert len(set(dataset.fingerprints())) == 8


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_any_format_and_rate_is_read(tmp_path, ending, rate):
    values = tone(0.5, rate=rate)
    found, seen = sounds.read(str(put(tmp_path / f"x.{ending}", np.stack([values, values], axis=1), rate)))
    assert seen == rate and found.ndim == 1 and abs(len(found) - len(values)) < 2400
    assert abs(np.abs(found).max() - 0.3) < 0.05


def test_stereo_is_mixed_down():
    left, right = tone(hertz=300), tone(hertz=500)
    found, _ = sounds.read((np.stack([left, right], axis=1), RATE))
    assert np.allclose(found, (left + right) / 2, atol=1e-6)
    assert np.allclose(sounds.read((np.stack([left, right]), RATE))[0], found)  # [C,n]


def test_whole_numbers_are_scaled():
    found, _ = sounds.read((np.array([-32768, 0, 16384], np.int16), RATE))
    assert found.tolist() == [-1.0, 0.0, 0.5]
    assert sounds.read((np.array([0, 128, 192], np.uint8), RATE))[0].tolist() == [-1.0, 0.0, 0.5]


def test_unusable_sounds_are_rejected_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "d" / "a"
    for i in range(30):
        put(folder / f"{i:02}.wav", tone(hertz=200 + i))
    put(folder / "clipped.wav", np.clip(30 * tone(), -1, 1))
    put(folder / "silent.wav", np.full(4000, 2e-5, np.float32), subtype="FLOAT")
    put(folder / "opposed.wav", np.stack([tone(), -tone()], axis=1), subtype="FLOAT")
    put(folder / "short.wav", tone(0.005))
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_bytes(b"this is no sound" * 20)
    dataset = read(tmp_path / "d")
    assert len(dataset) == 30
    reasons = {Path(reject.path).stem: reject.reason for reject in dataset.rejects}
    assert "at full scale" in reasons["clipped"]
    assert "silent" in reasons["silent"] and "silent" in reasons["opposed"]
    assert "empty" in reasons["short"] and reasons["zero"] == "the sound has zero bytes"
    assert "cannot be decoded" in reasons["text"]
    monkeypatch.setattr(sounds, "reason", lambda sound: pytest.fail("decoded twice"))
    assert len(read(tmp_path / "d")) == 30


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_truncated_file_is_seen(tmp_path, ending):
    path = put(tmp_path / f"x.{ending}", tone(2.0))
    assert sounds.reason(str(path)) == ""
    content = path.read_bytes()
    for share in (0.9, 0.5):
        path.write_bytes(content[: int(len(content) * share)])
        assert "truncated" in (why := sounds.reason(str(path))) or "decoded" in why, why


def test_sounds_are_checked_a_piece_at_a_time(tmp_path, monkeypatch):
    """What is wrong with a part counts over the whole, wherever the pieces begin."""
    monkeypatch.setattr(sounds, "PIECE", 1000)
    quiet = np.zeros(RATE, np.float32)
    quiet[-10:] = 0.5
    assert sounds.reason(str(put(tmp_path / "late.wav", quiet, RATE))) == ""
    assert "silent" in sounds.reason(str(put(tmp_path / "silent.wav", 0 * quiet, RATE)))
    loud = np.where(np.arange(RATE) < RATE // 2, 1.0, 0.1).astype(np.float32)
    assert "clipped (50%" in sounds.reason(str(put(tmp_path / "loud.wav", loud, RATE)))
    assert np.allclose(sounds.read(str(tmp_path / "loud.wav"))[0], loud, atol=1e-4)


def test_a_full_scale_sine_is_not_clipped():
    times = np.arange(RATE) / RATE
    assert sounds.reason(clip.wav(np.sin(2 * np.pi * 440 * times), RATE)) == ""


def test_parts_of_a_file(tmp_path):
    whole = np.concatenate([tone(1.0, 300), tone(1.0, 700)])
    put(tmp_path / "talk.wav", whole)
    table = tmp_path / "parts.csv"
    rows = ["talk.wav,0,1,low", "talk.wav,1,2,high", "talk.wav,1.5,,high", "talk.wav,,0.5,low"] * 4
    table.write_text("path,start,end,label\n" + "\n".join([*rows, "talk.wav,1.5,1.5,low", "talk.wav,3,4,low"]) + "\n")
    dataset = read(table)
    assert [column.name for column in dataset.inputs] == ["path", "start", "end"]
    low, high, rest, first = dataset.samples()[:4]
    assert high == f"{tmp_path}/talk.wav#t=1.0,2.0"
    assert np.allclose(sounds.read(low)[0], whole[:RATE], atol=1e-4)
    assert np.allclose(sounds.read(high)[0], whole[RATE:], atol=1e-4)
    assert len(sounds.read(rest)[0]) == RATE // 2 and len(sounds.read(first)[0]) == RATE // 2
    assert len(set(dataset.fingerprints()[:4])) == 4
    assert sounds.seconds(rest) == 0.5
    assert ["is empty" in r.reason or "lies beyond" in r.reason for r in dataset.rejects] == [True, True]
    again = read(table, input=["path", "start", "end"], for_prediction=True)
    assert again.samples() == dataset.samples()


def test_arrays_with_a_rate(tmp_path):
    given = {"sound": [(tone(hertz=300 + i), 8000) for i in range(4)], "y": list("abab")}
    dataset = read(given, target="y")
    assert dataset.modality == "audio"
    found, rate = sounds.read(dataset.samples()[1])
    assert rate == 8000 and np.array_equal(found, given["sound"][1][0])
    named = {"sound": [{"array": a, "sampling_rate": r} for a, r in given["sound"]], "y": list("abab")}
    assert read(named, target="y").fingerprints() == dataset.fingerprints()
    with pytest.raises(DataError, match=r"HS-DATA-020.*row 1"):
        read({"sound": [(np.zeros((2, 2, 2)), 8000)], "y": ["a"]}, target="y")


def test_another_input_beside_a_sound_is_refused(tmp_path):
    put(tmp_path / "x.wav", tone())
    table = tmp_path / "t.csv"
    table.write_text("path,age,y\nx.wav,3,a\nx.wav,4,b\n")
    with pytest.raises(DataError, match=r'HS-DATA-017.*"age" besides'):
        read(table, input=["path", "age"], target="y").samples()


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    put(tmp_path / "d" / "a" / "x.wav", tone())
    whole = builtins.__import__

    def lacking(name, *rest):
        if name == "soundfile":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(EnvironmentProblem, match=r"HS-ENV-001.*pip install 'headstart\[audio\]'"):
        read(tmp_path / "d")
