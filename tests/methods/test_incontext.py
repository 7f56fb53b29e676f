"""Labelled rows as the context of a pretrained network: the library's own predictions, saved and opened again."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

pytest.importorskip("tabicl")
pytest.importorskip("tabpfn")
import torch

import headstart
from headstart import catalog, cli
from headstart.errors import ArtefactError, EnvironmentProblem, MethodError, SourceError
from headstart.methods.base import Problem
from headstart.methods.incontext import Incontext, IncontextFitted, drawn
from headstart.nn.tables import TableFeatures
from headstart.sources import tabicl, tabpfn
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task
from headstart.testing import check_method, check_source
from tests.conformance.examples import people, rows_of_people, tiny_tabicl, tiny_tabpfn

TINY = {"tabicl": tiny_tabicl, "tabpfn": tiny_tabpfn}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def numbers(count=30):
    columns = people(count)
    columns["label"] = [age / 10 for age in columns["age"]]
    return headstart.read(columns, target="label", kinds={"label": "number"})


def theirs(library, kind, path):
    """The library's own estimator on the checkpoint."""
    found = __import__(library)
    name = f"{'TabICL' if library == 'tabicl' else 'TabPFN'}{kind.capitalize()}"
    return getattr(found, name)(n_estimators=4, model_path=path, random_state=3, device="cpu")


@pytest.mark.parametrize("library", TINY)
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_it_predicts_as_the_library_does(home, library, kind):
    rows = rows_of_people(40) if kind == "classifier" else numbers()
    source = TINY[library](home, kind).settled(rows)
    task = infer_task(rows)
    fitted = Incontext(members=4).fit(Problem(rows, None, task, source, None, seed=3))
    reader = TableFeatures.fit(rows)
    X, y = reader.codes(rows), task.encode(rows.targets())
    own = theirs(library, kind, home / "tiny.ckpt")
    if library == "tabpfn":
        own.set_params(categorical_features_indices=reader.categorical)
    own.fit(X, y.reshape(-1))
    outputs = fitted.outputs(rows.without("target"))
    if kind == "classifier":
        assert np.allclose(np.exp(outputs), own.predict_proba(X), atol=1e-6) and np.ptp(np.exp(outputs)) > 1e-3
    else:
        assert np.allclose(outputs[:, 0], own.predict(X), atol=1e-6) and np.ptp(outputs) > 1e-3
    half = rows.select(range(10, 20))
    assert np.allclose(fitted.outputs(half), outputs[10:20], atol=1e-4), "a row's answer is its own"


@pytest.mark.parametrize("library", TINY)
def test_the_method_and_the_source_keep_their_contracts(home, library):
    rows = rows_of_people()
    source = TINY[library](home).settled(rows)
    check_source(source, rows.samples([0, 1, 2]))
    check_method(Incontext(members=2), rows, catalog.find("tasks", "classification"), source)
    assert source.in_context == ("classification",) and not list(source.network.parameters())
    assert source.card.parameters == sum(value.numel() for value in source.network.buffers()) > 1000


@pytest.mark.parametrize("architecture", ["tabpfn_v2_5", "tabpfn_v2_6", "tabpfn_v3", "tabpfn_v3_5"])
def test_later_versions_of_tabpfn_are_read_as_well(home, architecture):
    rows = rows_of_people()
    source = tiny_tabpfn(home, "classifier", architecture).settled(rows)
    both = architecture == "tabpfn_v3_5"
    assert source.in_context == ("classification", *["regression"] * both)
    assert source.card.licence.endswith("for no commercial use")
    fitted = Incontext(members=1).fit(Problem(rows, None, infer_task(rows), source, None))
    outputs = fitted.outputs(rows)
    assert np.isfinite(outputs).all() and np.ptp(outputs) > 1e-3


def test_edges_of_bins_are_no_weights(home):
    source = tiny_tabpfn(home, "regressor")
    fresh = source.untrained(1)
    assert torch.equal(fresh.network.state["criterion.borders"], source.network.state["criterion.borders"])
    assert fresh.in_context == source.in_context == ("regression",)


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


@pytest.mark.parametrize("library", TINY)
def test_checkpoints_that_are_none(home, library):
    with pytest.raises(SourceError, match=r"HS-SOURCE-001.*no such file"):
        open_source(f"{library}:{home / 'nowhere.ckpt'}")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, home / "bare.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-008.*no configuration"):
        open_source(f"{library}:{home / 'bare.ckpt'}")
    (home / "text.ckpt").write_text("no weights")
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        open_source(f"{library}:{home / 'text.ckpt'}")
    TINY[library](home)
    whole = torch.load(home / "tiny.ckpt", weights_only=True)
    odd = {"config": {**whole["config"], "breadth": 3}, "architecture_name": "tabpfn_v77"}
    torch.save({**whole, **odd}, home / "odd.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*(breadth|v77)"):
        open_source(f"{library}:{home / 'odd.ckpt'}")
    whole["state_dict"].popitem()
    torch.save(whole, home / "short.ckpt")
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*1 missing"):
        open_source(f"{library}:{home / 'short.ckpt'}")


def test_a_checkpoint_that_holds_code_is_not_read(home):
    torch.save({"config": {}, "state_dict": {"a": torch.zeros(1)}, "run": pytest.raises}, home / "code.ckpt")
    for library in TINY:
        with pytest.raises(SourceError, match="HS-SOURCE-008"):
            open_source(f"{library}:{home / 'code.ckpt'}")


def test_tabpfn_is_fetched_by_its_library_alone_and_its_licence_is_told(home, monkeypatch):
    monkeypatch.setenv("TABPFN_MODEL_CACHE_DIR", str(home / "cache"))
    monkeypatch.setattr("tabpfn.model_loading.get_cache_dir", lambda: home / "cache")
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*once you accept its licence.*tabpfn:PATH"):
        open_source("tabpfn")
    assert "Apache-2.0" in tiny_tabpfn(home).card.licence
    monkeypatch.setattr(tabpfn, "fetched", lambda kind: home / "tiny.ckpt")
    assert open_source("tabpfn").card.licence == tabpfn.LICENCES[True]
    monkeypatch.setattr(tabpfn, "architecture", lambda facts: "tabpfn_v2_5" if "x" in facts else "tabpfn_v2")
    monkeypatch.setattr(tabpfn.Tabpfn, "drawn", staticmethod(lambda facts: {}))
    whole = torch.load(home / "tiny.ckpt", weights_only=True)
    torch.save({**whole, "x": 1}, home / "tiny.ckpt")
    assert open_source("tabpfn").card.licence == "of Prior Labs, for no commercial use"


def test_rows_that_the_library_refuses(home):
    columns = {"age": [float(row) for row in range(24)], "label": [f"c{row % 12}" for row in range(24)]}
    given = headstart.read(columns, target="label")
    source = tiny_tabpfn(home).settled(given)
    fitted = Incontext().fit(Problem(given, None, infer_task(given), source, None))
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*refuses these rows as a context: .*class"):
        fitted.outputs(given)


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


@pytest.mark.parametrize("library", TINY)
def test_a_missing_package_is_named(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EnvironmentProblem, match=rf"HS-ENV-001.*headstart\[{library}\]"):
        open_source(library)


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
