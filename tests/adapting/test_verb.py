"""``headstart adapt``: what it reads, what it cannot see, what it decides, what it leaves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import headstart
from headstart.cli import main
from headstart.datasets.base import Dataset
from headstart.errors import DataError, UsageError
from headstart.evidence import adaptation as evidence
from headstart.methods import adaptation as methods
from headstart.report import html, summary


def people(n, seed, share=0.5, shift=0.0, where="north"):
    """Two classes of numbers, the second one narrow; ``share`` of the rows are of it."""
    rng = np.random.default_rng(seed)
    kind = (np.arange(n) < share * n).astype(int)
    return pd.DataFrame(
        {
            "height": rng.normal(size=n) * np.where(kind, 0.4, 1.0) + 1.5 * kind + shift,
            "weight": rng.normal(size=n) * np.where(kind, 0.4, 1.0) - shift,
            "region": where,
            "rich": np.where(kind == 1, "yes", "no"),
        }
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    people(400, 0).to_csv("north.csv", index=False)
    people(900, 1, share=0.12, where="south").to_csv("south.csv", index=False)
    people(900, 1, share=0.12).drop(columns="rich").to_csv("blind.csv", index=False)
    both = pd.concat([people(150, 3), people(150, 4, where="west"), people(120, 5, 0.12, where="south")])
    both.to_csv("all.csv", index=False)
    return tmp_path


INPUT = ["height", "weight"]


def test_a_label_shift_is_found_and_pays(here):
    run = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run", score_labels=True)
    record = run.record
    assert record.adaptation["chosen"] == "label" and record.shipped == "adapt"
    assert record.verdict.label == "positive" and record.verdict.control == "sourceonly"
    assert abs(record.adaptation["shares"]["yes"] - 0.12) < 0.06
    assert record.adaptation["oracle"] >= record.metrics["accuracy"] - 0.03
    text = summary.summary(record)
    assert "a label shift explains the target rows" in text and "oracle" in text and "VERDICT" in text
    page = html.render(record)
    assert "Adapting to the target domain helped" in page and "Oracle:" in page
    assert "What explains the shift" in page and "classes with other shares" in page and 'id="domains-' in page


def test_without_labels_there_is_no_score_and_the_same_model(here):
    seen = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="one")
    blind = headstart.adapt("north.csv", "blind.csv", target="rich", input=INPUT, out="two")
    assert blind.record.verdict is None and blind.record.metrics == {}
    assert "has no labels, so there is no score" in summary.summary(blind.record)
    assert "No verdict" in html.render(blind.record)
    rows = pd.read_csv("blind.csv")
    assert np.array_equal(seen.predict(rows).probabilities, blind.predict(rows).probabilities)


def test_labels_of_the_target_domain_cannot_be_reached(here, monkeypatch):
    """Whatever a method is handed is searched for the target column; and lying labels change nothing but the score."""
    handed = []
    honest = methods.prepare

    def spying(method, problem):
        handed.append(problem.domain)
        return honest(method, problem)

    monkeypatch.setattr(methods, "prepare", spying)
    run = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run")
    assert handed and all(isinstance(rows, Dataset) for rows in handed)
    for rows in handed:
        assert rows.table.column_names == INPUT and rows.table.data.column_names == INPUT
        assert rows.target is None
    table = pd.read_csv("south.csv")
    table["rich"] = np.where(table["rich"] == "yes", "no", "yes")
    table.to_csv("lies.csv", index=False)
    lied = headstart.adapt("north.csv", "lies.csv", target="rich", input=INPUT, out="lies")
    assert lied.record.metrics["accuracy"] == pytest.approx(1 - run.record.metrics["accuracy"])
    assert lied.record.adaptation["explanations"] == run.record.adaptation["explanations"]
    rows = table.drop(columns="rich")
    assert np.array_equal(run.predict(rows).probabilities, lied.predict(rows).probabilities)


def test_labels_are_opened_once_after_the_models_are_fixed(here, monkeypatch):
    order = []
    honest = evidence.judge
    monkeypatch.setattr("headstart.adapting.verb.judge", lambda *given: order.append(given[3].opened) or honest(*given))
    headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run")
    assert order == [None]


def test_a_column_may_say_what_is_of_which_domain(here):
    run = headstart.adapt("all.csv", target="rich", domain="region", value="south", input=INPUT, out="run")
    assert run.record.adaptation["rows"] == {"labelled": 300, "target": 120}
    left = run.record.adaptation["several"]
    assert [each["domain"] for each in left] == ["north", "west"]
    assert all({"adapt", "sourceonly", "rows"} <= set(each) for each in left)
    assert "left out" in summary.summary(run.record)


def test_where_nothing_differs_nothing_is_adapted(here):
    people(300, 9).to_csv("same.csv", index=False)
    run = headstart.adapt("north.csv", "same.csv", target="rich", input=INPUT, out="run")
    assert run.record.shipped_because == "the domains are not told apart"
    assert run.record.verdict.label == "neutral" and run.record.verdict.difference.value == 0


def test_a_named_method_is_taken_at_its_word(here):
    run = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, method="coral", out="run")
    assert run.record.shipped == "coral" and run.record.shipped_because == "coral was asked for"
    assert [each.name for each in run.record.candidates] == ["coral", "sourceonly"]
    alone = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, method="sourceonly", out="alone")
    assert alone.record.verdict is None and alone.record.metrics
    html.render(alone.record)


def test_numbers_are_adapted_too(here):
    rng = np.random.default_rng(0)
    frames = []
    for shift in (0.0, 2.5):
        X = rng.normal(size=(300, 2))
        frames.append(pd.DataFrame({"a": X[:, 0] + shift, "b": X[:, 1], "y": X[:, 0] * 3 - X[:, 1]}))
    frames[0].to_csv("a.csv", index=False)
    frames[1].to_csv("b.csv", index=False)
    run = headstart.adapt("a.csv", "b.csv", target="y", kinds={"y": "number"}, out="run")
    assert run.task.name == "regression" and run.record.adaptation["chosen"] == "linear"
    assert run.record.verdict.label == "positive" and run.record.metrics["r2"] > 0.9


def test_the_same_again_is_there_already(here):
    first = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run")
    again = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run")
    assert again.record.created == first.record.created
    other = headstart.adapt("north.csv", "blind.csv", target="rich", input=INPUT, out="run")
    assert other.record.metrics == {}


def test_what_is_missing_is_said(here):
    with pytest.raises(UsageError, match="not said what to adapt to"):
        headstart.adapt("north.csv", target="rich")
    with pytest.raises(UsageError, match="both name the target domain"):
        headstart.adapt("all.csv", "south.csv", target="rich", domain="region", value="south")
    with pytest.raises(DataError, match=r'"sooth".*Did you mean "south"'):
        headstart.adapt("all.csv", target="rich", domain="region", value="sooth")
    with pytest.raises(UsageError, match=r"probe does not adapt.*coral"):
        headstart.adapt("north.csv", "south.csv", target="rich", method="probe")
    with pytest.raises(DataError, match=r"HS-DATA-015.*weight"):
        pd.DataFrame({"height": [1.0, 2.0]}).to_csv("short.csv", index=False)
        headstart.adapt("north.csv", "short.csv", target="rich", input=INPUT)


def test_the_command_prints_it(here, capsys):
    line = "adapt north.csv south.csv -t rich -i height -i weight -o run -q --json"
    assert main(line.split()) == 0
    found = json.loads(capsys.readouterr().out)
    card = (here / "run" / "README.md").read_text(encoding="utf-8")
    assert "Made for another domain than that of its labels" in card and "****" not in card
    assert "target domain, accuracy" in card and "without adaptation" in card
    assert "--input height --input weight" in found["command"]
    assert found["adaptation"]["chosen"] == "label" and found["command"].startswith(
        "headstart adapt north.csv south.csv"
    )
    assert main(["predict", "run", "blind.csv", "-o", "out.csv", "-q"]) == 0
    assert len(pd.read_csv("out.csv")) == 900
    assert main(["report", "run"]) == 0
    assert main(["adapt", "all.csv", "--domain", "region", "--to", "soth", "-t", "rich"]) == 2
    assert 'Did you mean "south"' in capsys.readouterr().err
