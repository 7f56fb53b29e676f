"""Two tables that call their columns differently."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import headstart
from headstart.adapting.aligning import renamed
from headstart.cli import main
from headstart.errors import DataError, UsageError
from headstart.sources import schema_matching
from tests.adapting.test_verb import people

NAMES = {"height": "Body height", "weight": "wt", "rich": "wealthy"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(schema_matching, "embeddings", lambda texts: None)
    monkeypatch.chdir(tmp_path)
    people(200, 0).to_csv("north.csv", index=False)
    south = people(240, 1, shift=0.3, where="south")
    south.to_csv("south.csv", index=False)
    south[["rich", "weight", "height"]].rename(columns=NAMES).to_csv("other.csv", index=False)
    return tmp_path


def north(**more):
    return headstart.read("north.csv", target="rich", input=["height", "weight"], **more)


def test_equal_names_are_left_as_they_are():
    rows = north()
    assert renamed(rows, "south.csv") is rows


def test_the_names_of_the_other_table_are_taken_on():
    rows = renamed(north(roles={"region": "domain"}), "other.csv", align={"rich": "wealthy"})
    assert {(c.name, c.role) for c in rows.columns} == {
        ("Body height", "input"), ("wt", "input"), ("wealthy", "target"), ("region", "domain")
    }  # fmt: skip
    assert rows.values("wt") == pd.read_csv("north.csv")["weight"].tolist()
    (note,) = rows.notes
    assert "2 of 2 are in the labelled table, 0 by the same name" in note and "weight = wt" in note


def test_columns_may_change_their_names():
    pd.read_csv("south.csv").rename(columns={"height": "weight", "weight": "height"}).to_csv("south.csv", index=False)
    rows = renamed(north(), "south.csv", align={"height": "weight", "weight": "height"})
    assert rows.values("weight") == pd.read_csv("north.csv")["height"].tolist()
    assert "height = weight (as told)" in rows.notes[0]


def test_a_column_of_domains_gives_way_to_an_input_of_its_name():
    pd.read_csv("other.csv").rename(columns={"wt": "region"}).to_csv("other.csv", index=False)
    rows = renamed(north(roles={"region": "domain"}), "other.csv", align={"weight": "region", "rich": "wealthy"})
    assert rows.with_role("domain")[0].name == "region_" and rows.column("region").role == "input"


def test_a_column_that_is_not_there_takes_no_part_unless_it_was_named():
    pd.read_csv("other.csv")[["wt"]].to_csv("short.csv", index=False)
    with pytest.raises(DataError, match=r"HS-DATA-015.*short\.csv: lacks the column 'height'.*--align"):
        renamed(north(), "short.csv", all_of=True)
    rows = renamed(north(), "short.csv", align={"weight": "wt"})
    assert [column.name for column in rows.inputs] == ["wt"] and "not there: height" in rows.notes[0]


def test_what_is_said_decides_the_kind():
    """Towns by number are a category here; in the other table they look like numbers."""
    rows = pd.read_csv("north.csv").assign(town=np.arange(200) % 3)
    other = pd.read_csv("other.csv").assign(place=np.arange(240) % 3).drop(columns="Body height")
    rows.to_csv("north.csv", index=False)
    other.to_csv("other.csv", index=False)
    given = headstart.read("north.csv", target="rich", input=["weight", "town"], kinds={"town": "category"})
    assert [column.name for column in renamed(given, "other.csv").inputs] == ["wt"]
    found = renamed(given, "other.csv", align={"town": "place"})
    assert [(column.name, column.kind) for column in found.inputs] == [("wt", "number"), ("place", "category")]


@pytest.mark.parametrize(
    ("align", "error", "told"),
    [
        ({"heigth": "wt"}, UsageError, 'no column "heigth".*Did you mean "height"'),
        ({"height": "wtt"}, UsageError, 'no input column "wtt".*Did you mean "wt"'),
        ({"rich": "welthy"}, UsageError, 'no column "welthy".*Did you mean "wealthy"'),
        ({"height": "", "weight": ""}, DataError, "HS-DATA-017.*no input column is one of the labelled table"),
    ],
)
def test_what_cannot_be_aligned_is_refused(align, error, told):
    with pytest.raises(error, match=told):
        renamed(north(), "other.csv", align=align)


def test_texts_are_not_aligned():
    rows = {"text": ["a text of few more words", "and one of others, longer"] * 6, "label": ["a", "b"] * 6}
    with pytest.raises(UsageError, match=r"--align is for the columns of tables; the input of memory is text"):
        headstart.adapt(rows, rows, target="label", align={"text": "text"})
    with pytest.raises(UsageError, match=r"--align.*none is named"):
        both = pd.concat([pd.read_csv("north.csv"), pd.read_csv("south.csv")])
        headstart.adapt(both, target="rich", domain="region", value="south", align={"a": "b"})


def test_the_command_shows_what_it_found(capsys):
    line = "adapt north.csv other.csv -t rich -i height -i weight --align rich=wealthy --method tradaboost"
    pd.read_csv("other.csv").assign(
        wealthy=lambda frame: frame["wealthy"].where(np.arange(240) % 6 == 0)
    ).to_csv("other.csv", index=False)  # fmt: skip
    assert main([*line.split(), "--use-labels", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "weight = wt" in told and "tradaboost -> targetonly -> sourceonly" in told
    assert main([*line.split(), "--use-labels", "--rounds", "3", "--out", "run", "-q", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert any("weight = wt" in note for note in record["notes"])
    assert "--target rich" in record["command"] and "--align rich=wealthy" in record["command"]
    assert record["adaptation"]["rows"]["few"] == 40 and record["task"]["target"] == "wealthy"
    assert main(["predict", "run", "other.csv", "-o", "out.csv", "-q"]) == 0
    assert len(pd.read_csv("out.csv")) == 240
    assert main(["predict", "run", "north.csv", "-o", "out.csv", "-q"]) == 2
    assert "HS-DATA-015" in capsys.readouterr().err


@pytest.mark.slow
def test_other_names_change_nothing_of_the_model(here):
    given = {"target": "rich", "input": ["height", "weight"], "method": "coral"}
    same = headstart.adapt("north.csv", "south.csv", **given, out="one")
    other = headstart.adapt("north.csv", "other.csv", **given, align={"rich": "wealthy"}, out="two")
    pd.testing.assert_series_equal(*(pd.Series(run.record.metrics) for run in (same, other)))
    rows = pd.read_csv("other.csv")
    named = rows.rename(columns={"Body height": "height", "wt": "weight"})
    assert np.allclose(same.predict(named).probabilities, other.predict(rows).probabilities, atol=1e-5)
