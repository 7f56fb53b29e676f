"""The source of tables: other columns, other values, and what it has never seen."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
import torch

import headstart
from headstart.errors import DataError, EnvironmentProblem, SourceError, UsageError
from headstart.sources import schema_matching
from headstart.sources.shelf import open_source
from headstart.sources.table import Table
from tests.conformance import examples


@pytest.fixture
def source():
    return Table.load(examples._tables() / "people")


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.setattr(schema_matching, "embeddings", lambda texts: None)


def pooled(source, rows):
    with torch.no_grad():
        return source.forward(source.preprocess(rows)).pooled


def rows(**columns):
    return headstart.read(columns, input=list(columns), for_prediction=True)


def test_the_order_of_columns_and_others_beside_change_nothing(source):
    given = [{"age": 30.0, "town": "Oslo"}, {"age": 70.0, "town": "Rome"}]
    more = [{"height": 1.0, "town": "oslo "}, {"height": 2.0, "town": "ROME"}]
    again = [{**row, "age": one["age"]} for row, one in zip(more, given)]
    assert torch.equal(pooled(source, given), pooled(source, again))


def test_what_is_unknown_counts_as_missing(source):
    unknown, missing = pooled(source, [{"age": 30.0, "town": "Lima"}, {"age": 30.0, "town": None}])
    assert torch.equal(unknown, missing)
    dataset = rows(age=[20.0, 50.0, 60.0, 70.0] * 3, town=["Lima", "Oslo", "Lima", "Rome"] * 3)
    notes = source.settled(dataset).notes
    assert notes[0] == "Columns: 2 of 2 are known to the source, 2 by the same name."
    assert 'Column "town": "Lima" is unknown to the source (50% of the rows)' in notes[1]


def test_a_column_may_be_missing(source):
    other = source.settled(rows(age=[20.0, 50.0, 60.0]))
    assert other.names == {"age": "age", "town": None} and "not there: town" in other.notes[0]
    assert torch.equal(pooled(other, [{"age": 30.0}])[0], pooled(source, [{"age": 30.0, "town": None}])[0])


def test_numbers_outside_of_what_it_knows_are_not_shown_to_it(source):
    dataset = rows(age=[1000.0, 2000.0, 3000.0] * 4, town=["Oslo", "Rome", "Bonn"] * 4)
    other = source.settled(dataset)
    assert other.names["age"] is None and "outside of the source's numbers, and not shown to it: age" in other.notes[0]
    told = source.settled(dataset, {"age": "age"})
    assert told.names["age"] == "age"


def test_a_column_of_another_kind_is_not_taken_for_it(source):
    other = source.settled(rows(age=["old", "young"] * 6, town=["Oslo", "Rome"] * 6))
    assert other.names == {"age": None, "town": "town"}
    with pytest.raises(DataError, match=r'HS-DATA-020.*"age" holds category.*--kind "age=number"'):
        source.settled(rows(age=["old", "young"] * 6, town=["Oslo", "Rome"] * 6), {"age": "age"})


def test_rows_that_do_not_fit_are_refused(source):
    with pytest.raises(DataError, match=r'HS-DATA-015.*"town"'):
        source.preprocess([{"age": 1.0}])
    with pytest.raises(DataError, match=r"HS-DATA-020.*.age. holds 'old'; expected number"):
        source.preprocess([{"age": 1.0, "town": "Oslo"}, {"age": "old", "town": "Oslo"}])
    with pytest.raises(DataError, match=r"HS-DATA-017.*people.*age, town.*--align"):
        source.settled(rows(weight=["a", "b"] * 6))


def test_columns_are_aligned_for_sources_that_know_them_alone():
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*identity.*--align"):
        open_source("identity").settled(rows(age=[1.0, 2.0]), {"age": "age"})


def test_a_fresh_network_has_nothing_of_the_trees(source):
    fresh = source.untrained(3)
    assert not fresh.network.leaf_values.any() and not fresh.network.leaf_places.any()
    assert source.network.leaf_values.any() and source.network.leaf_places.any()
    assert fresh.classifier is None and fresh.rows() is None


def test_its_classifier_predicts_and_its_rows_are_there(source):
    columns = examples.people(200, seed=5)
    given = [{"age": age, "town": town} for age, town in zip(columns["age"], columns["town"])]
    with torch.no_grad():
        logits = source.classifier(pooled(source, given))
    found = np.array(source.classes)[logits.argmax(dim=1)]
    assert (found == np.array(columns["label"])).mean() > 0.7
    settled = source.settled(rows(**{"age": columns["age"], "home": columns["town"]}), {"town": "home"})
    assert list(settled.rows()) == ["age", "home", "label"] and len(settled.rows()["home"]) == 60


def test_a_changed_file_is_noticed(source, tmp_path):
    source.save(tmp_path / "copy")
    facts = json.loads((tmp_path / "copy" / "trees.json").read_text())
    facts["rounds"] += 1
    (tmp_path / "copy" / "trees.json").write_text(json.dumps(facts))
    with pytest.raises(SourceError, match=r"HS-SOURCE-002.*trees\.json"):
        open_source(str(tmp_path / "copy"))


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "rtdl_num_embeddings":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match=r"HS-ENV-001.*headstart\[tables\]"):
        Table.load(examples._tables() / "people")
