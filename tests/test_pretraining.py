"""A source of one's own: pools of several files, no labels, saved as a folder that fit takes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import headstart
from headstart import cli
from headstart.errors import DataError, MethodError, SourceError, UsageError
from headstart.pretraining import Pool, pool
from headstart.sources.shelf import open_source
from tests.conformance.examples import tiny_bert, waves


def write_ts(path, rows=24, channels=1):
    """Waves of two paces as a .ts file."""
    data = waves(rows)
    lines = [
        ":".join([",".join(f"{value:.4f}" for value in sample[0])] * channels) + f":{label}"
        for sample, label in zip(data.samples(), data.targets())
    ]
    path.write_text("@problemName W\n@classLabel true yes no\n@data\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def folder(home):
    (home / "pool" / "more").mkdir(parents=True)
    write_ts(home / "pool" / "One_TRAIN.ts")
    write_ts(home / "pool" / "more" / "Two.ts", 12, 2)
    return home / "pool"


def test_every_file_of_a_folder_is_part_of_the_pool(folder):
    parts = pool(folder)
    assert [len(part) for part in parts] == [24, 12] and all(part.target is None for part in parts)
    assert len(Pool(parts)) == 24 + 2 * 12
    assert {sample.shape[0] for sample in Pool(parts).samples(np.arange(48))} == {1}
    assert len(Pool(parts, most=10)) == 20


def test_the_source_is_saved_and_used(folder):
    made = headstart.pretrain(folder, folder.parent / "mine", epochs=3, batch_size=16)
    assert made.facts["datasets"] == 2 and made.facts["rows"] == 48 and made.facts["passes"] == 3
    source = open_source(str(folder.parent / "mine"))
    assert source.pretrained and source.card.name == "mine" and "instances" in source.card.origin
    data, out = waves(40), folder.parent / "run"
    run = headstart.fit(data, source=str(folder.parent / "mine"), method="probe", control=False, out=out)
    assert run.record.source["name"] == "mine" and run.record.mistakes == []
    again = headstart.load(folder.parent / "run")
    assert again.predict(data.without("target")).values == run.predict(data.without("target")).values


@pytest.mark.slow
def test_the_verdict_of_series_has_both_controls(home):
    run = headstart.fit(waves(60), source="series", method="probe", out=home / "run")
    assert {each.name for each in run.record.candidates} == {"probe", "baseline", "scratch"}
    assert run.record.verdict is not None and "MiniRocket" in run.summary()
    page = (home / "run" / "report.html").read_text(encoding="utf-8")
    assert "series" in page


def test_two_trainings_are_equal_and_leave_the_start_alone(folder):
    start = open_source("series")
    before = start.digest()
    digests = {
        headstart.pretrain(folder, folder.parent / f"m{turn}", source=start, epochs=1).source.card.digest
        for turn in range(2)
    }
    assert len(digests) == 1 and start.digest() == before and digests != {before}


def test_labels_are_not_read(folder):
    one = headstart.pretrain(folder / "One_TRAIN.ts", folder.parent / "a", epochs=1).source.card.digest
    text = (folder / "One_TRAIN.ts").read_text(encoding="utf-8")
    (folder / "One_TRAIN.ts").write_text(text.replace(":yes", ":no"), encoding="utf-8")
    assert headstart.pretrain(folder / "One_TRAIN.ts", folder.parent / "b", epochs=1).source.card.digest == one


def test_texts_go_the_same_way(home):
    tiny_bert(home).save(home / "words")
    rows = {"text": [f"a text of few more words {word}" for word in ("good", "bad", "fine", "poor")] * 4}
    made = headstart.pretrain(rows, home / "mine", source=str(home / "words"), epochs=2, batch_size=8)
    assert made.facts["objective"] == "tsdae" and open_source(str(home / "mine")).card.modality == "text"


def test_what_cannot_be_is_refused(folder):
    (folder / "text.csv").write_text("text,n\n" + "a few good words here,1\nsome other bad words there,2\n" * 3)
    with pytest.raises(DataError, match=r"HS-DATA-002.*several kinds"):
        headstart.pretrain(folder, folder.parent / "mine")
    (folder / "text.csv").unlink()
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*objective"):
        headstart.pretrain(folder, folder.parent / "mine", objective="instance")
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*cannot be pretrained"):
        headstart.pretrain(folder, folder.parent / "mine", objective="mlm")
    with pytest.raises(SourceError, match="HS-SOURCE-005"):
        headstart.pretrain(folder, folder.parent / "mine", source="glyph")
    with pytest.raises(UsageError, match="HS-USAGE-002"):
        headstart.pretrain(folder, folder)


def test_a_source_takes_the_place_of_an_old_one(folder):
    for epochs in (1, 2):
        made = headstart.pretrain(folder, folder.parent / "mine", epochs=epochs)
    kept = open_source(str(folder.parent / "mine"))
    assert kept.card.digest == made.source.card.digest
    assert torch.equal(next(kept.network.parameters()), next(made.source.network.parameters()))


def test_the_command(folder, capsys):
    arguments = ["pretrain", str(folder), "--out", str(folder.parent / "mine"), "--epochs", "1", "--json", "-q"]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 48 and told["card"]["modality"] == "series"
