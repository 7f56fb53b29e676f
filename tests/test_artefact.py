"""What is saved predicts the same after loading, holds no code, and says what is wrong with it when it was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import headstart
from headstart import artefact
from headstart.errors import ArtefactError, DataError, EnvironmentProblem, UsageError
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.tasks.base import infer_task
from headstart.testing import SAFE
from tests.conformance.examples import texts, tiny_bert, waves

METHODS = {
    "probe": {"folds": 2},
    "finetune": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
    "baseline": {},
}
NEW = ["good text of words", "bad one", "good good bad", "x", "words that nobody knows"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each method: name -> artefact as `fit` returned it. The folders are not to be changed."""
    place = tmp_path_factory.mktemp("runs")
    tiny_bert(place)
    rows = texts(60)
    data = {"comment": rows.values("input"), "label": rows.values("target")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_HOME", str(place / "home"))
        yield {
            method: headstart.fit(
                data, target="label", source=str(place / "bert"), method=method, settings=settings, effort="quick",
                control=False, out=place / method, precision="fp32",
            )
            for method, settings in METHODS.items()
        }  # fmt: skip


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy of the probe's run."""
    return shutil.copytree(runs["probe"].folder, tmp_path / "run")


def seal(run: Path) -> None:
    """Write the digests of the files as they are now into model.json, as somebody who edits a run would."""
    manifest = json.loads((run / "model.json").read_text())
    manifest["files"] = {
        name: hashlib.sha256((run / "model" / name).read_bytes()).hexdigest() for name in manifest["files"]
    }
    (run / "model.json").write_text(json.dumps(manifest))


def edit(run: Path, **fields) -> None:
    manifest = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**manifest, **fields}))


# --- the same before and after -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_outputs_before_saving_equal_those_after_loading(runs, method, tmp_path):
    moved = shutil.copytree(runs[method].folder, tmp_path / "elsewhere")
    loaded, made = headstart.load(moved), runs[method]
    before, after = (run.fitted.outputs(run.read(NEW)) for run in (made, loaded))
    assert before.shape == (len(NEW), 2) and np.array_equal(before, after)
    assert loaded.predict(NEW).values == made.predict(NEW).values
    assert loaded.predict(NEW[:2]).values == ["yes", "no"]
    assert loaded.fitted.method == made.fitted.method and loaded.record.folder == str(moved)
    assert {**loaded.to_json(), "folder": ""} == {**json.loads(json.dumps(made.to_json())), "folder": ""}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_holds_no_pickle(runs, method):
    files = [path for path in runs[method].folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= SAFE
    assert not [path for path in files if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")]
    names = {path.name for path in runs[method].folder.iterdir()}
    assert {"model.json", "model", "run.json", "report.html", "README.md"} <= names
    beside = [path.name for path in runs[method].folder.parent.iterdir()]
    assert not [name for name in beside if name.endswith((".part", ".old", ".work"))]


def test_evaluate_reads_labelled_rows(runs):
    rows = texts(40)
    table = {"comment": rows.values("input"), "label": rows.values("target")}
    metrics = runs["probe"].evaluate(headstart.read(table, target="label"))
    assert metrics["accuracy"] == 1.0
    with pytest.raises(DataError, match=r'HS-DATA-003.*"label"'):
        runs["probe"].evaluate(headstart.read({"comment": NEW, "other": [1, 2, 3, 4, 5]}, target="other"))


def test_every_value_in_memory_gets_its_prediction(runs):
    with pytest.raises(DataError, match=r"HS-DATA-010.*row 2"):
        runs["probe"].predict(["good", "", "bad"])
    assert len(runs["probe"].predict({"comment": NEW})) == len(NEW)


def test_only_the_columns_of_the_model_are_read_and_in_its_order(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    tiny_bert(tmp_path)
    rows = texts(60)
    data = {"title": rows.values("input"), "body": [*rows.values("input")[1:], "one"], "label": rows.values("target")}
    made = headstart.fit(
        data, target="label", input=["title", "body"], source=str(tmp_path / "bert"), method="probe",
        settings={"layers": "last"}, effort="quick", control=False, out=tmp_path / "run", precision="fp32",
    )  # fmt: skip
    new = {"title": ["good a", "bad text"], "body": ["bad words words", "good few"]}
    wanted = made.fitted.outputs(made.read(new))
    turned = headstart.read(
        {"more": ["x y", "y x"], "body": new["body"], "title": new["title"], "l": ["a", "b"]}, target="l"
    )
    assert np.array_equal(made.fitted.outputs(made.read(turned)), wanted)
    path = tmp_path / "turned.csv"
    path.write_text("more,body,title\nx y,bad words words,good a\ny x,good few,bad text\n")
    assert np.array_equal(made.fitted.outputs(made.read(path)), wanted)


def test_input_without_the_column(runs, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("coment,other\ngood text,1\nbad text,2\n")
    with pytest.raises(DataError, match=r'HS-DATA-015.*"comment".*Did you mean "coment"') as error:
        runs["probe"].predict(path)
    assert "\n" not in str(error.value)
    ready = headstart.read({"words": ["good", "bad"], "x": ["a", "b"]}, target="x")
    with pytest.raises(DataError, match=r'HS-DATA-015.*"comment"'):
        runs["probe"].predict(ready)


def test_rows_as_dicts_name_the_missing_column(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 60))
    data = {"a": a.tolist(), "b": b.tolist(), "y": ["up" if value > 0 else "down" for value in a + b]}
    made = headstart.fit(data, target="y", effort="quick", out=tmp_path / "run")
    assert made.predict([{"a": 3.0, "b": 3.0}, {"b": -3.0, "a": -3.0}]).values == ["up", "down"]
    with pytest.raises(DataError, match=r'HS-DATA-015.*row 2.*"b"'):
        made.predict([{"a": 1.0, "b": 1.0}, {"a": 1.0, "bb": 1.0}])


# --- damage --------------------------------------------------------------------------------------------------------


def test_not_a_run(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtefactError, match="HS-ARTEFACT-001"):
            headstart.load(place)


def test_newer_schema(run):
    edit(run, schema=artefact.SCHEMA + 1)
    with pytest.raises(ArtefactError, match=r"HS-ARTEFACT-002.*Upgrade headstart"):
        headstart.load(run)


def test_tampered_weights(run):
    path = run / "model" / "source" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtefactError, match=r"HS-ARTEFACT-004.*model\.safetensors is changed"):
        headstart.load(run)
    path.unlink()
    with pytest.raises(ArtefactError, match=r"HS-ARTEFACT-004.*model\.safetensors is missing"):
        headstart.load(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("bias"), r"missing \['bias'\]"),
        (lambda tensors: tensors.update(more=np.zeros(2, np.float32)), r"unexpected \['more'\]"),
        (lambda tensors: tensors.update(bias=np.zeros(5, np.float32)), r"misshapen bias \[5\] instead of \[2\]"),
    ],
)
def test_every_tensor_of_the_head_must_match(run, change, words):
    path = run / "model" / "head.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    seal(run)
    with pytest.raises(ArtefactError, match=rf"HS-ARTEFACT-003.*{words}"):
        headstart.load(run)


def test_every_damaged_file_is_an_error_with_a_code(run):
    """Each JSON and weight file cut in half, with and without digests that fit."""
    files = [path for path in run.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors")]
    assert len(files) >= 6
    manifest = (run / "model.json").read_bytes()
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        for sealed in (False, True):
            if sealed and path.name != "model.json":
                seal(run)
            with pytest.raises(headstart.HeadstartError) as error:
                headstart.load(run)
            assert error.value.code.startswith(("HS-ARTEFACT", "HS-SOURCE")), path
        path.write_bytes(whole)
        (run / "model.json").write_bytes(manifest)
    headstart.load(run)


@pytest.mark.parametrize("kind", ["os.path", "methods.none", "methods.base", "methods.network.x", 7])
def test_a_kind_from_elsewhere_is_refused(run, kind):
    edit(run, kind=kind)
    with pytest.raises(ArtefactError, match="HS-ARTEFACT-004"):
        headstart.load(run)


# --- writing -------------------------------------------------------------------------------------------------------


def test_a_folder_of_other_things_is_not_overwritten(runs, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    source = runs["probe"].fitted.source
    for place in (tmp_path / "thesis", tmp_path / "file"):
        with pytest.raises(UsageError, match="HS-USAGE-002"):
            headstart.fit(texts(30), source=source, method="probe", effort="quick", out=place)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("where", ["headstart.methods.network.save_file", "headstart.report.card.write_card"])
def test_a_full_disk_leaves_the_old_run(runs, run, monkeypatch, where):
    def full(*args, **rest):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = artefact.load(run)
    monkeypatch.setattr(where, full)
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"):
        artefact.save(again)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_saving_over_a_run_replaces_it_whole(run):
    (run / "stale.txt").write_text("from before")
    again = artefact.load(run)
    artefact.save(again)
    assert not (run / "stale.txt").exists() and artefact.load(run).predict(NEW).values == again.predict(NEW).values
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def long_rows(data):
    """The series of a dataset as a long table: one value a row."""
    columns = {"id": [], "when": [], "value": [], "label": []}
    for number, (sample, label) in enumerate(zip(data.samples(), data.targets())):
        for step, value in enumerate(sample[0].tolist()):
            for name, cell in zip(columns, (f"s{number}", step, value, label)):
                columns[name].append(cell)
    return columns


def classical(data):
    """An artefact around the baseline; its record is not asked."""
    fitted = Baseline().fit(Problem(data, None, infer_task(data), None, None))
    return artefact.Artefact(fitted, None, [c for c in data.columns if c.role != "unused"], Path())


def test_a_model_of_a_long_table_reads_long_tables_and_series_alike(tmp_path):
    data, roles = waves(16), {"id": "series", "when": "step"}
    model = classical(headstart.read(long_rows(data), target="label", roles=roles))
    new = waves(20).select(range(16, 20))
    table = long_rows(new)
    lines = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values()))]
    (tmp_path / "new.csv").write_text("\n".join(lines), encoding="utf-8")
    assert model.predict([sample[0].tolist() for sample in new.samples()]).values == new.targets()
    assert model.predict(tmp_path / "new.csv").values == new.targets()
    assert model.evaluate(tmp_path / "new.csv")["accuracy"] == 1.0


def test_a_model_of_a_wide_table_reads_wide_tables(tmp_path):
    data = waves(20)
    rows = [sample[0][:30].tolist() for sample in data.samples()]
    table = {f"t{step}": [row[step] for row in rows] for step in range(30)}
    model = classical(headstart.read({**table, "label": data.targets()}, target="label", kinds={"t0..t29": "series"}))
    assert [column.name for column in model.columns if column.role == "input"] == ["t0..t29"]
    lines = [",".join(table), *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "new.csv").write_text("\n".join(lines), encoding="utf-8")
    assert model.predict(tmp_path / "new.csv").values == data.targets()
