"""Labelled rows as the context of a pretrained network: the library's own predictions, saved and opened again."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("tabicl")
import torch

import headstart
from headstart import catalog, cli
from headstart.errors import ArtefactError, EnvironmentProblem, MethodError, SourceError
from headstart.methods.base import Problem
from headstart.methods.incontext import Incontext, IncontextFitted, drawn
from headstart.nn.tables import TableFeatures
from headstart.sources import tabicl
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task
from headstart.testing import check_method, check_source
from tests.conformance.examples import people, rows_of_people, tiny_tabicl


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def numbers(count=30):
    columns = people(count)
    columns["label"] = [age / 10 for age in columns["age"]]
    return headstart.read(columns, target="label", kinds={"label": "number"})


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_it_predicts_as_the_library_does(home, kind):
    from tabicl import TabICLClassifier, TabICLRegressor

    rows = rows_of_people(40) if kind == "classifier" else numbers()
    source = tiny_tabicl(home, kind).settled(rows)
    task = infer_task(rows)
    fitted = Incontext(members=4).fit(Problem(rows, None, task, source, None, seed=3))
    X, y = TableFeatures.fit(rows).codes(rows), task.encode(rows.targets())
    theirs = {"classifier": TabICLClassifier, "regressor": TabICLRegressor}[kind](
        n_estimators=4, model_path=home / "tiny.ckpt", random_state=3, device="cpu"
    ).fit(X, y.reshape(-1))
    outputs = fitted.outputs(rows.without("target"))
    if kind == "classifier":
        assert np.allclose(np.exp(outputs), theirs.predict_proba(X), atol=1e-6)
    else:
        assert np.allclose(outputs[:, 0], theirs.predict(X), atol=1e-6)
    assert np.allclose(fitted.outputs(rows.select([5])), outputs[5], atol=1e-5), "a row's answer is its own"


def test_the_method_and_the_source_keep_their_contracts(home):
    rows = rows_of_people()
    source = tiny_tabicl(home).settled(rows)
    check_source(source, rows.samples([0, 1, 2]))
    check_method(Incontext(members=2), rows, catalog.find("tasks", "classification"), source)
    assert source.in_context == ("classification",) and not list(source.network.parameters())
    assert source.card.parameters == sum(value.numel() for value in source.network.buffers()) > 1000


def test_a_class_that_no_row_of_the_context_has(home):
    rows = rows_of_people()
    task = infer_task(rows)
    few = rows.select([place for place, value in enumerate(rows.targets()) if value == "yes" or place < 1])
    outputs = Incontext(members=1).fit(Problem(few, None, task, tiny_tabicl(home).settled(rows), None)).outputs(rows)
    assert outputs.shape == (24, 2) and np.isfinite(outputs).all()


def test_of_many_rows_some_of_each_class_are_drawn():
    strata = np.array([0] * 97 + [1, 2, 2])
    rows = drawn(strata, 10, 0)
    assert len(rows) == 10 and set(strata[rows]) == {0, 1, 2} and (np.diff(rows) > 0).all()
    assert drawn(strata, 100, 0).tolist() == list(range(100))


def test_what_was_saved_is_checked(home):
    rows = rows_of_people()
    task = infer_task(rows)
    fitted = Incontext(members=1).fit(Problem(rows, None, task, tiny_tabicl(home).settled(rows), None))
    (home / "model").mkdir()
    fitted.save(home / "model")
    facts = json.loads((home / "model" / "incontext.json").read_text())
    facts["columns"]["plans"] = facts["columns"]["plans"][:1]
    (home / "model" / "incontext.json").write_text(json.dumps(facts))
    with pytest.raises(ArtefactError, match="HS-ARTEFACT-003"):
        IncontextFitted.load(home / "model", task, Incontext())


def test_what_it_cannot_do_is_refused_by_name(home):
    rows, source = rows_of_people(), tiny_tabicl(home)
    with pytest.raises(MethodError, match=r"regression in context; tabicl:tiny.ckpt does classification so"):
        Incontext().admit(infer_task(numbers()), source, numbers())
    with pytest.raises(MethodError, match=r"identity does not.*--source tabicl"):
        Incontext().admit(infer_task(rows), open_source("identity"), rows)
    with pytest.raises(MethodError, match="cannot weigh rows"):
        Incontext().admit(infer_task(rows), source, rows.assign(weight="height"))


def test_checkpoints_that_are_none(home, monkeypatch):
    with pytest.raises(SourceError, match=r"HS-SOURCE-001.*no such file"):
        open_source(f"tabicl:{home / 'nowhere.ckpt'}")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, home / "bare.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-008.*no configuration"):
        open_source(f"tabicl:{home / 'bare.ckpt'}")
    tiny_tabicl(home)
    whole = torch.load(home / "tiny.ckpt", weights_only=True)
    torch.save({**whole, "config": {**whole["config"], "breadth": 3}}, home / "odd.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*breadth"):
        open_source(f"tabicl:{home / 'odd.ckpt'}")
    whole["state_dict"].popitem()
    torch.save(whole, home / "short.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*1 missing"):
        open_source(f"tabicl:{home / 'short.ckpt'}")
    (home / "text.ckpt").write_text("no weights")
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        open_source(f"tabicl:{home / 'text.ckpt'}")


def test_the_usual_checkpoints_come_from_the_hub(home, monkeypatch):
    asked = []
    tiny_tabicl(home)
    monkeypatch.setattr(tabicl, "fetched", lambda name: asked.append(name) or home / "tiny.ckpt")
    source = open_source("tabicl")
    open_source("tabicl:regressor")
    assert asked[0].startswith("tabicl-classifier") and asked[1].startswith("tabicl-regressor")
    assert source.card.licence == "BSD-3-Clause" and asked[0] in source.card.origin


def test_what_cannot_be_fetched_is_said(home, monkeypatch):
    def away(**given):
        raise OSError("We couldn't connect to the hub. And more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", away)
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*couldn't connect.*--source tabicl:PATH"):
        open_source("tabicl")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tabicl", None)
    with pytest.raises(EnvironmentProblem, match=r"HS-ENV-001.*headstart\[tabicl\]"):
        open_source("tabicl")


def test_the_command_fits_and_says_what_the_run_keeps(home, capsys):
    import csv

    tiny_tabicl(home)
    columns = people(90, seed=2) | {"split": ["train"] * 30 + ["test"] * 60}
    with (home / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([list(columns), *zip(*columns.values())])
    fit = ["fit", str(home / "people.csv"), "-t", "label", "--source", f"tabicl:{home / 'tiny.ckpt'}", "-q"]
    assert cli.main([*fit, "--effort", "quick", "--out", str(home / "run"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["chosen_transfer"] == "incontext" and record["verdict"]["control"] == "baseline"
    assert {each["name"] for each in record["candidates"]} == {"incontext", "baseline"}
    one = [*fit, "--method", "incontext", "--no-control", "--out", str(home / "one")]
    assert cli.main(one) == 0
    assert "the run keeps the 30 training rows that its model reads" in capsys.readouterr().out
    assert "the run keeps the 30 training rows" in (home / "one" / "README.md").read_text()
    rows = {name: columns[name][:20] for name in ("age", "town")}
    run = headstart.load(home / "one")
    assert np.allclose(run.predict(rows).probabilities.sum(axis=1), 1)
