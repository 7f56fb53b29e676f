"""A source of one's own from a labelled table, and what it is worth for another table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import headstart
from headstart import cli
from headstart.errors import DataError, SourceError, TaskError, UsageError
from headstart.sources import schema_matching
from headstart.sources.shelf import open_source
from tests.conformance.examples import people


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(schema_matching, "embeddings", lambda texts: None)
    return tmp_path


def write(path, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
    return path


@pytest.mark.slow
def test_the_command_makes_a_source_that_fit_takes(home, capsys):
    table = write(home / "people.csv", people(80, seed=1))
    mine, run = str(home / "mine"), str(home / "run")
    arguments = ["pretrain", str(table), "--target", "label", "--keep-rows", "--epochs", "2", "--out", mine, "-q"]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "accuracy on" in told and "trees" in told and "network" in told
    split = ["train"] * 30 + ["test"] * 60
    other = write(home / "other.csv", people(90, seed=2, town="place") | {"split": split})
    fit = ["fit", str(other), "--target", "label", "--source", mine, "--method", "boosting", "--out", run, "-q"]
    assert cli.main([*fit, "--align", "town=place", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in record["candidates"]} >= {"boosting", "baseline", "pooled"}
    assert record["verdict"]["control"] in ("baseline", "pooled", "scratch")
    against = {each["against"] for each in record["comparisons"]}  # that of the verdict is not repeated
    assert against == {"baseline"} - {record["verdict"]["control"]}
    assert any("town = place (as told)" in note for note in record["notes"])
    new = write(home / "new.csv", {"place": ["Oslo", "Lima", ""], "age": [70, 20, 30]})
    assert cli.main(["predict", run, str(new), "-o", str(home / "out.csv"), "-q"]) == 0
    assert len((home / "out.csv").read_text().splitlines()) == 4


def test_a_dry_run_shows_the_columns(home, capsys):
    headstart.pretrain(people(60, seed=1), home / "mine", target="label", epochs=1)
    other = write(home / "other.csv", people(40, seed=2, town="place"))
    fit = ["fit", str(other), "--target", "label", "--source", str(home / "mine"), "--dry-run"]
    assert cli.main(fit) == 0
    assert "town = place" in capsys.readouterr().out
    assert cli.main([*fit, "--align", "towm=place"]) == 2
    assert 'Did you mean "town"' in capsys.readouterr().err
    assert cli.main([*fit, "--align", "town"]) == 2
    assert "HS-USAGE-001" in capsys.readouterr().err


def test_rows_that_the_source_has_learned_from_are_said_to_be_left_out(home, capsys):
    ages = np.random.default_rng(5).uniform(20, 80, 120).tolist()
    mine = people(60, seed=1) | {"age": ages[:60]}
    headstart.pretrain(mine, home / "mine", target="label", epochs=1)
    more = people(60, seed=2) | {"age": ages[60:]}
    both = {name: [*more[name], *mine[name][:20]] for name in mine}
    table = write(home / "both.csv", both | {"split": ["train"] * 30 + ["test"] * 50})
    fit = ["fit", str(table), "-t", "label", "--source", str(home / "mine"), "--method", "probe", "--no-control"]
    assert cli.main([*fit, "--out", str(home / "run"), "-q"]) == 0
    assert "mine has learned from 20 of the 50 test rows (40.0%)" in " ".join(capsys.readouterr().out.split())
    record = headstart.load(home / "run").record
    assert record.data["splits"]["test"] == 30 and record.data["known"] == 20
    assert not list((home / "run").rglob("hashes.safetensors")), "a run knows nothing of the source's rows"


def test_columns_are_not_aligned_with_nothing(home):
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*--align.*none is named"):
        headstart.fit(people(40), "label", align={"town": "town"}, out=home / "run")


def test_numbers_are_learned_too(home):
    columns = people(80, seed=1)
    columns["label"] = [age / 10 + (town == "Oslo") for age, town in zip(columns["age"], columns["town"])]
    made = headstart.pretrain(columns, home / "mine", target="label", epochs=3)
    assert made.facts["metric"] == "r2" and made.facts["scores"]["both"] > 0.5
    source = open_source(str(home / "mine"))
    assert source.rows() is None and source.classes == () and source.card.name == "mine"
    run = headstart.fit(
        {**columns, "label": [2 * value for value in columns["label"]]}, "label", source=str(home / "mine"),
        method="probe", control=False, out=home / "run",
    )  # fmt: skip
    assert run.record.metrics["r2"] > 0.8


def test_two_trainings_are_equal(home):
    digests = {
        headstart.pretrain(people(60, seed=1), home / f"m{turn}", target="label", epochs=1).source.card.digest
        for turn in range(2)
    }
    assert len(digests) == 1


def test_weights_and_groups_count(home):
    columns = {**people(60, seed=1), "w": [1.0] * 60, "who": [str(row // 2) for row in range(60)]}
    roles = {"w": "weight", "who": "group"}
    plain = headstart.pretrain(columns, home / "a", target="label", epochs=1, roles=roles).source
    columns["w"] = [1.0 if label == "yes" else 0.0 for label in columns["label"]]
    heavy = headstart.pretrain(columns, home / "b", target="label", epochs=1, roles=roles).source
    assert "w" not in plain.names and "who" not in plain.names
    rows = [{"age": 20.0, "town": "Bonn"}]
    logits = [source.classifier(source.forward(source.preprocess(rows)).pooled)[0] for source in (plain, heavy)]
    assert logits[1][1] - logits[1][0] > logits[0][1] - logits[0][0]  # "yes" is all that counts


def test_what_cannot_be_is_refused(home):
    texts = {"text": ["a text of few more words", "and one of others, longer"] * 6, "label": ["a", "b"] * 6}
    with pytest.raises(SourceError, match=r"HS-SOURCE-005.*the input is text"):
        headstart.pretrain(texts, home / "mine", target="label")
    with pytest.raises(DataError, match=r'HS-DATA-003.*"labl".*Did you mean "label"'):
        headstart.pretrain(people(), home / "mine", target="labl")
    with pytest.raises(TaskError, match=r"HS-TASK-002.*several"):
        headstart.pretrain(people(), home / "mine", target=["label", "town"], input=["age"])
    (home / "full").mkdir()
    (home / "full" / "thing").write_text("x")
    with pytest.raises(UsageError, match="HS-USAGE-002"):
        headstart.pretrain(people(), home / "full", target="label")
    assert not (home / "mine").exists()


def test_rows_that_cannot_be_read_are_left_out(home):
    columns = people(60, seed=1)
    columns["label"][7] = None
    made = headstart.pretrain(columns, home / "mine", target="label", epochs=1)
    assert made.facts["rows"] == 59
    assert np.isfinite(made.facts["losses"]).all()
