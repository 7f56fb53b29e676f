"""``headstart adapt RUN TARGET``: a saved model goes on, and no row that it was fitted on is there to be read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import headstart
from headstart.adapting import from_run
from headstart.cli import main
from headstart.datasets.base import Dataset
from headstart.errors import DataError, MethodError, UsageError
from headstart.methods.shot import Shot
from headstart.report import html, summary
from tests.methods.signs import digits

QUICK = {"epochs": 4, "learning_rate": 1e-3}


def folder_of(place, rows, shear=0.0, labelled=True):
    """Digits as PNG files in folders by class, or in one folder without labels."""
    found = digits(rows, shear)
    for number, (image, label) in enumerate(zip(found.values("input"), found.targets())):
        path = place / label if labelled else place
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number:04d}.png").write_bytes(image)
    return place


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A run that reads upright digits, its rows deleted; slanted digits with labels and without."""
    place = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_HOME", str(place / "home"))
        patch.chdir(place)
        folder_of(place / "upright", range(600))
        folder_of(place / "slanted", range(1000, 1300), 1.0)
        folder_of(place / "blind", range(1000, 1300), 1.0, labelled=False)
        settings = {"epochs": 6, "learning_rate": 3e-3}
        headstart.adapt(
            "upright", "blind", source="glyph", method="sourcetuned", settings=settings, out="run", precision="fp32"
        )
        shutil.rmtree(place / "upright")
        yield place


@pytest.fixture
def here(work, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(work / "home"))
    monkeypatch.chdir(work)
    return work


@pytest.mark.slow
def test_a_run_goes_on_without_its_rows(here):
    run = headstart.adapt("run", "slanted", settings=QUICK, out="on")
    record = run.record
    assert record.shipped == "shot" == record.chosen_transfer and run.fitted.method == Shot(**QUICK)
    assert [each.name for each in record.candidates] == ["shot", "kept"]
    assert record.verdict.label == "positive" and record.verdict.control == "kept"
    assert record.metrics["accuracy"] > record.candidates[1].test + 0.05
    assert record.adaptation["run"] == {"folder": "run", "method": "sourcetuned"}
    text = summary.summary(record)
    assert "the model of run (sourcetuned), 300 rows to adapt to; no row that it was fitted on was read" in text
    assert "The model of run (sourcetuned)" in html.render(record)
    card = (here / "on" / "README.md").read_text(encoding="utf-8")
    assert "from the model of run" in card and "without adaptation" in card
    settings = "--set epochs=4 --set learning_rate=0.001"
    assert record.command == f"headstart adapt run slanted --method shot {settings} --seed 0 --out on"
    again = headstart.adapt("run", "slanted", settings=QUICK, out="on")
    assert again.record.created == record.created
    further = headstart.adapt("on", "slanted", settings={"epochs": 1}, out="further")
    assert further.record.adaptation["run"]["method"] == "shot", "a result is a run like any other"


def test_labels_of_the_target_domain_cannot_be_reached(here, monkeypatch):
    handed, honest = [], Shot.fit

    def spying(method, problem):
        handed.append(problem)
        return honest(method, problem)

    monkeypatch.setattr(Shot, "fit", spying)
    seen = headstart.adapt("run", "slanted", settings={"epochs": 1}, out="seen")
    blind = headstart.adapt("run", "blind", settings={"epochs": 1}, out="blind-run")
    assert seen.record.metrics and blind.record.metrics == {} and blind.record.verdict is None
    assert "has no labels, so there is no score" in summary.summary(blind.record)
    for problem in handed:
        for rows in (problem.train, problem.domain):
            assert isinstance(rows, Dataset) and rows.target is None and len(rows.table.column_names) == 1
    html.render(blind.record)


@pytest.mark.slow
def test_a_collapse_is_noticed_and_the_model_ships_as_it_was(here, monkeypatch):
    """A loss that wants all rows in the first class stands in for one that went wrong by itself."""
    monkeypatch.setattr("headstart.methods.shot.information", lambda out: 20 * out.log_softmax(dim=1)[:, 0].mean())
    run = headstart.adapt("run", "slanted", settings={"epochs": 10, "learning_rate": 3e-3}, out="fallen")
    record = run.record
    assert record.shipped == "kept" and record.chosen_transfer == "shot"
    assert record.shipped_because.startswith("shot collapsed: it gathers the rows in ")
    assert record.verdict.label == "negative" and record.metrics["accuracy"] == record.candidates[1].test
    assert "The weights descend from glyph" in (here / "fallen" / "README.md").read_text(encoding="utf-8")
    text = summary.summary(record)
    assert "shot collapsed" in text and "shot collapsed" in html.render(record)
    ours, theirs = run.predict("blind"), headstart.load("run").predict("blind")
    assert np.array_equal(ours.probabilities, theirs.probabilities)


def test_what_does_not_fit_is_said(here):
    with pytest.raises(UsageError, match=r"mcc needs labelled rows; run is a run.*kept, shot"):
        headstart.adapt("run", "slanted", method="mcc")
    with pytest.raises(UsageError, match=r"probe needs labelled rows; run is a run"):
        headstart.adapt("run", "slanted", method="probe")
    with pytest.raises(UsageError, match=r"shot goes on from a fitted model, and slanted is no run.*headstart fit"):
        headstart.adapt("slanted", "blind", method="shot")
    with pytest.raises(UsageError, match=r"run is a run, and it is not said what to adapt it to"):
        headstart.adapt("run")
    with pytest.raises(UsageError, match=r"run is a run: target and source cannot be chosen"):
        headstart.adapt("run", "slanted", target="label", source="glyph")
    with pytest.raises(UsageError, match=r"HS-USAGE-002.*is the run that is adapted"):
        headstart.adapt("run", "slanted", out="run")


def test_a_model_that_cannot_train_is_refused_with_what_it_lacks(here):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80)})
    table["y"] = np.where(table["a"] > 0, "yes", "no")
    table.to_csv("table.csv", index=False)
    headstart.adapt("table.csv", "table.csv", target="y", method="sourceonly", out="table-run")
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*shot needs a network to train; the model of sourceonly has"):
        headstart.adapt("table-run", "table.csv")
    kept = headstart.adapt("table-run", "table.csv", method="kept", out="table-kept")
    assert kept.record.verdict is None and kept.record.metrics["accuracy"] > 0.8
    table[["a"]].to_csv("short.csv", index=False)
    with pytest.raises(DataError, match=r'HS-DATA-015.*"b"'):
        headstart.adapt("table-run", "short.csv", method="kept")


@pytest.mark.slow
def test_the_command(here, capsys):
    assert from_run.AUTO == "shot"
    assert main(["adapt", "run", "slanted", "--epochs", "1", "-o", "command", "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen_transfer"] == "shot" and found["candidates"][0]["hyperparameters"]["epochs"] == 1
    assert main(["adapt", "run", "slanted", "--method", "dann", "-q"]) == 2
    assert "dann needs labelled rows" in capsys.readouterr().err
    assert main(["report", "command"]) == 0
