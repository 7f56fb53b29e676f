"""Sounds from end to end: fit, predict, evaluate, rank, embed and adapt on a folder of tones, with a tiny encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest

import headstart
from headstart import export
from headstart.datasets.read import read
from headstart.estimators import TransferClassifier, kind_of
from headstart.record import shown
from tests.conformance.examples import tiny_whisper

soundfile = pytest.importorskip("soundfile")


def melody(generator: np.random.Generator, rising: bool) -> np.ndarray:
    """Half a second of a tone that rises or falls: the same on average."""
    times = np.arange(4000) / 8000
    hertz = generator.uniform(300, 500) * (1 + (times if rising else 0.5 - times))
    tone = np.sin(2 * np.pi * np.cumsum(hertz) / 8000)
    return (0.3 * tone + 0.01 * generator.normal(size=len(times))).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(0)
    for number in range(30):
        for label in ("up", "down"):
            place = tmp_path / "tones" / label / f"{number}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(place, melody(generator, label == "up"), 8000)
    soundfile.write(tmp_path / "tones" / "up" / "quiet.wav", np.zeros(4000), 8000)
    return tmp_path / "tones"


@pytest.mark.slow
def test_a_folder_of_sounds_from_fit_to_predict(folder, tmp_path):
    source = tiny_whisper(tmp_path)
    run = headstart.fit(folder, source=source, method="probe", effort="quick", precision="fp32", out=tmp_path / "run")
    record = run.record
    assert record.source["modality"] == "audio" and record.verdict is not None
    assert {c.name for c in record.candidates} == {"probe", "baseline", "scratch"}
    baseline = next(c for c in record.candidates if c.name == "baseline")
    assert baseline.description == "log-mel and MFCC statistics + linear"
    assert [reject["reason"] for reject in record.rejects] == ["the sound is silent (nothing exceeds -80 dB)"]
    loaded = headstart.load(tmp_path / "run")
    prediction = loaded.predict(read(folder, for_prediction=True))
    assert len(prediction) == 60 and set(prediction.values) <= {"up", "down"}
    assert "audio-classification" in (tmp_path / "run" / "README.md").read_text()
    assert (tmp_path / "run" / "report.html").is_file()


def test_what_a_report_shows_of_a_sound(folder):
    name, picture = shown(str(folder / "up" / "0.wav"))
    assert name == "0.wav" and picture is not None and picture.startswith("data:image/png;base64,")
    name, picture = shown((folder / "up" / "0.wav").read_bytes())
    assert name == "sound" and picture is not None


def test_predictions_of_a_folder_name_the_files(folder):
    dataset = read(folder, for_prediction=True)
    assert export._heading(dataset, "audio") == "path"


def test_features_of_sounds_go_to_a_file(folder, tmp_path):
    import pyarrow.parquet as pq

    tiny_whisper(tmp_path).save(tmp_path / "source")
    headstart.embed(str(folder), source=str(tmp_path / "source"), out=tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert len(table) == 60 and "audio" in table.column_names
    assert len(table["embedding"][0].as_py()) == 64


def test_sounds_are_ranked(folder, tmp_path):
    tiny_whisper(tmp_path).save(tmp_path / "source")
    ranking = headstart.rank(folder, sources=[str(tmp_path / "source")])
    assert len(ranking) == 1 and np.isfinite(ranking.best.score)


def test_the_estimator_reads_arrays_with_a_rate(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(1)
    X = [(melody(generator, bool(row % 2)), 8000) for row in range(24)]
    y = ["up" if row % 2 else "down" for row in range(24)]
    assert kind_of(X) == kind_of([{"array": X[0][0], "sampling_rate": 8000}]) == "audio"
    model = TransferClassifier(source=tiny_whisper(tmp_path), effort="quick").fit(X, y)
    assert model.predict_proba(X[:5]).shape == (5, 2)
    assert json.dumps(model.predict(X[:2]).tolist())


@pytest.mark.slow
def test_sounds_get_several_tags_at_once(tmp_path, monkeypatch):
    """A low and a high tone that sound or do not, each for itself."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator, times = np.random.default_rng(0), np.arange(4000) / 8000
    heard, tags = [], []
    for number in range(60):
        there = [name for name, bit in (("low", 1), ("high", 2)) if number % 4 & bit]
        tone = sum(np.sin(2 * np.pi * {"low": 300, "high": 2500}[name] * times) for name in there)
        heard.append(((0.2 * tone + 0.05 * generator.normal(size=4000)).astype(np.float32), 8000))
        tags.append(there)
    run = headstart.fit(
        {"sound": heard, "tags": tags}, "tags", source=tiny_whisper(tmp_path), method="probe", control=False,
        precision="fp32", out=tmp_path / "run",
    )  # fmt: skip
    assert run.task.name == "multilabel" and run.record.source["modality"] == "audio"
    assert "depths" in run.fitted.history[-1]
    said = headstart.load(tmp_path / "run").predict(heard[:8])
    assert [sorted(each) for each in said.values] == [sorted(each) for each in tags[:8]]
