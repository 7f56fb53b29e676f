"""Broken command lines: each gives its code, one clear line, exit status 2, and no traceback."""

from __future__ import annotations

import json

import pytest

from headstart import cli

BAD = [
    ("fit", "HS-USAGE-001", "PATH"),
    ("fit a.csv --tarrget y", "HS-USAGE-001", "--target"),
    ("fit a.csv --learning-rat 1", "HS-USAGE-001", "--learning-rate"),
    ("fit a.csv b.csv", "HS-USAGE-001", "b.csv"),
    ("fit a.csv --seed x", "HS-USAGE-001", "--seed"),
    ("fit a.csv --seed -1", "HS-USAGE-001", "--seed"),
    ("fit a.csv --limit 0", "HS-USAGE-001", "--limit"),
    ("fit a.csv --limit many", "HS-USAGE-001", "--limit"),
    ("fit a.csv --effort huge", "HS-USAGE-001", "balanced"),
    ("fit a.csv --precision int8", "HS-USAGE-001", "bf16"),
    ("fit a.csv --target", "HS-USAGE-001", "--target"),
    ("fit a.csv --set epochs", "HS-USAGE-001", "name=value"),
    ("fit a.csv --set =3", "HS-USAGE-001", "name=value"),
    ("fit a.csv --kind text", "HS-USAGE-001", "column=kind"),
    ("fit a.csv --method finetune --epochs three", "HS-METHOD-002", "epochs"),
    ("fit a.csv --method finetune --set epoch=3", "HS-METHOD-002", "epochs"),
    ("fit a.csv --method probe --epochs 3", "HS-METHOD-002", "finetune"),
    ("fit a.csv --method prob --epochs 3", "HS-METHOD-001", "probe"),
    ("fit no/such/file.csv --target y", "HS-DATA-001", "file.csv"),
    ("predict", "HS-USAGE-001", "RUN"),
    ("predict runs/none new.csv", "HS-ARTEFACT-001", "runs/none"),
    ("evaluate runs/none new.csv", "HS-ARTEFACT-001", "runs/none"),
    ("report runs/none", "HS-ARTEFACT-001", "runs/none"),
    ("sources info minilmm", "HS-SOURCE-001", "minilm"),
    ("sources fetch minilmm", "HS-SOURCE-001", "minilm"),
    ("data fetch clothing_reviews_dem", "HS-DATA-019", "clothing_reviews_demo"),
    ("sourcs", "HS-USAGE-001", "sources"),
    ("doctor --all", "HS-USAGE-001", "--all"),
]


@pytest.mark.parametrize(("line", "code", "word"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_command_lines(line, code, word, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{code}: ") and word in err and "Traceback" not in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "code", "word"), BAD[:6], ids=[line for line, _, _ in BAD[:6]])
def test_bad_command_lines_as_json(line, code, word, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*line.split(), "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["code"] == code and word in error["message"] + error["hint"] and err == ""


def test_damaged_run_json(capsys, tmp_path):
    (tmp_path / "run.json").write_text('{"name": ')
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("HS-ARTEFACT-004: ")
    (tmp_path / "run.json").write_text("{}")
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("HS-ARTEFACT-004: ")


@pytest.mark.parametrize("out", ["folder", "file/deep/out.csv"])
def test_a_place_that_cannot_hold_predictions_is_refused_before_the_work(out, capsys, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    assert cli.main(["predict", "runs/none", "new.csv", "-o", str(tmp_path / out)]) == 2
    assert capsys.readouterr().err.startswith("HS-USAGE-001: --out ")
    assert (tmp_path / "file").read_text() == "kept"


def test_json_and_a_table_on_stdout_exclude_each_other(capsys):
    assert cli.main(["predict", "runs/none", "new.csv", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "HS-USAGE-001"
