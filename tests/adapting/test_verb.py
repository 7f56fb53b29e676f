"""``headstart adapt``: what it reads, what it cannot see, what it decides, what it leaves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import headstart
from headstart.cli import main
from headstart.datasets.base import Dataset
from headstart.errors import DataError, MethodError, UsageError
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_without_labels_there_is_no_score_and_the_same_model(here):
    seen = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="one")
    blind = headstart.adapt("north.csv", "blind.csv", target="rich", input=INPUT, out="two")
    assert blind.record.verdict is None and blind.record.metrics == {}
    assert "has no labels, so there is no score" in summary.summary(blind.record)
    assert "No verdict" in html.render(blind.record)
    rows = pd.read_csv("blind.csv")
    assert np.array_equal(seen.predict(rows).probabilities, blind.predict(rows).probabilities)


@pytest.mark.slow
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


@pytest.mark.slow
def test_labels_are_opened_once_after_the_models_are_fixed(here, monkeypatch):
    order = []
    honest = evidence.judge
    monkeypatch.setattr("headstart.adapting.verb.judge", lambda *given: order.append(given[3].opened) or honest(*given))
    headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, out="run")
    assert order == [None]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_named_method_is_taken_at_its_word(here):
    run = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, method="coral", out="run")
    assert run.record.shipped == "coral" and run.record.shipped_because == "coral was asked for"
    assert [each.name for each in run.record.candidates] == ["coral", "sourceonly"]
    alone = headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, method="sourceonly", out="alone")
    assert alone.record.verdict is None and alone.record.metrics
    html.render(alone.record)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.fixture
def some(here):
    """Every sixth row of the south has a label: in a file of its own, and in one table with the north and the west."""
    table = people(240, 5, 0.3, shift=1.0, where="south")
    table.loc[np.arange(240) % 6 != 0, "rich"] = None
    table.to_csv("some.csv", index=False)
    pd.concat([people(150, 3), people(150, 4, where="west"), table]).to_csv("mixed.csv", index=False)
    return here


@pytest.mark.slow
@pytest.mark.parametrize("paths", ["two", "one"])
def test_a_few_labels_of_the_target_domain_are_learned_from_where_asked(some, paths):
    where = (
        {"data": "north.csv", "to": "some.csv"}
        if paths == "two"
        else {"data": "mixed.csv", "domain": "region", "value": "south"}
    )
    run = headstart.adapt(**where, target="rich", input=INPUT, method="tradaboost", use_labels=True, out="run")
    rows = run.record.adaptation["rows"]
    assert rows["few"] == 40 and rows["target"] == 200 and rows["labelled"] == (440 if paths == "two" else 340)
    assert [each.name for each in run.record.candidates] == ["tradaboost", "targetonly", "sourceonly"]
    assert run.record.verdict is None and run.record.metrics == {}
    assert "(40 of the target domain)" in summary.summary(run.record) and "--use-labels" in run.record.command
    html.render(run.record)
    assert len(run.predict(pd.read_csv("south.csv"))) == 900


@pytest.mark.slow
def test_labels_are_used_by_every_method_and_by_none_unless_asked(some):
    with_labels = headstart.adapt(
        "north.csv", "some.csv", target="rich", input=INPUT, method="sourceonly", use_labels=True, out="one"
    )
    without = headstart.adapt("north.csv", "some.csv", target="rich", input=INPUT, method="sourceonly", out="two")
    rows = pd.read_csv("south.csv")
    assert not np.array_equal(with_labels.predict(rows).probabilities, without.predict(rows).probabilities)
    assert without.record.adaptation["rows"] == {"labelled": 400, "target": 240}
    left = headstart.adapt(
        "mixed.csv",
        target="rich",
        domain="region",
        value="south",
        input=INPUT,
        method="coral",
        use_labels=True,
        out="l",
    ).record.adaptation["several"]
    assert [each["domain"] for each in left] == ["north", "west"]


def test_labels_that_cannot_be_used_are_said(some):
    with pytest.raises(UsageError, match="900 of 900 rows of the target domain have a label"):
        headstart.adapt("north.csv", "south.csv", target="rich", input=INPUT, use_labels=True)
    with pytest.raises(MethodError, match=r"tradaboost needs a few labelled rows.*--use-labels"):
        headstart.adapt("north.csv", "some.csv", target="rich", input=INPUT, method="tradaboost")
    with pytest.raises(UsageError, match="takes no group column"):
        headstart.adapt("north.csv", "some.csv", target="rich", input=INPUT, use_labels=True, roles={"region": "group"})


def test_rows_of_both_tables_are_adapted_to_and_judge_nothing(here):
    north, south = pd.read_csv("north.csv"), pd.read_csv("south.csv")
    pd.concat([south, north[:200]]).to_csv("mixed.csv", index=False)
    run = headstart.adapt("north.csv", "mixed.csv", target="rich", input=INPUT, method="coral", out="run")
    assert "Rows: 200 of the 1,100 rows to adapt to stand among the labelled rows (18.2%): they judge nothing." in (
        run.record.notes
    )
    assert run.record.adaptation["rows"] == {"labelled": 400, "target": 1100}
    only = headstart.load("run")
    outputs = only.fitted.outputs(only.read("south.csv"))
    targets = only.task.encode(south["rich"].tolist())
    assert run.record.metrics["accuracy"] == pytest.approx(only.task.metrics(outputs, targets)["accuracy"])
    assert run.record.verdict.rows == 900
