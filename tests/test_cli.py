"""The command line: flags, answers, JSON, progress, predictions as CSV, exit codes."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from headstart import cli, console, export, flags, options
from headstart.datasets.base import Column, Dataset, Reject
from headstart.errors import DataError, EnvironmentProblem, HeadstartError, MethodError, Problems, UsageError
from headstart.report import summary
from headstart.sources import trust
from headstart.types import Prediction
from tests.report import records


class Result:
    """Stands for an artefact or a plan."""

    record = records.base(head_start=None)

    def to_json(self):
        return {"accuracy": 0.9, "missing": float("nan")}

    def text(self):
        return "layer table"


@pytest.fixture
def fit(monkeypatch):
    """Replaces `headstart.transfer` and keeps what fit was called with; a ``fault`` is raised instead."""
    seen = SimpleNamespace(call=None, fault=None)

    def fake(data, target, **rest):
        seen.call = {"data": data, "target": target, **rest}
        rest["report"]("features", 1, 2)
        if seen.fault is not None:
            raise seen.fault
        return Result()

    module = SimpleNamespace(fit=fake)
    monkeypatch.setitem(sys.modules, "headstart.transfer", module)
    monkeypatch.setattr("headstart.transfer", module, raising=False)
    return seen


# --- fit -----------------------------------------------------------------------------------------------------------


def test_fit_passes_every_flag_on(fit, capsys):
    line = (
        "fit a.csv --target y --input x --input z --source minilm --method finetune --task classification --budget 10m"
        " --effort quick --seed 3 --out runs/a --no-control --group user --time when --kind y=category --kind a=b=text"
        " --learning-rate 1e-3 --gradual --set epochs=2 --limit 50 --precision fp32"
        " --weight w --backend torch --fresh --unlabelled more.csv --labels a,b"
        " --user who --item what --rating stars --items known.csv --users people.csv --align there=here"
        " --horizon 3 --season 12"
    )
    assert cli.main(line.split()) == 0
    call = fit.call
    assert call.pop("report") is not None
    assert call == {
        "data": Path("a.csv"),
        "target": "y",
        "source": "minilm",
        "method": "finetune",
        "input": ["x", "z"],
        "task": "classification",
        "roles": {"user": "group", "when": "time", "w": "weight", "who": "user", "what": "item", "stars": "rating"},
        "kinds": {"y": "category", "a=b": "text"},
        "budget": "10m",
        "effort": "quick",
        "seed": 3,
        "out": Path("runs/a"),
        "control": False,
        "dry_run": False,
        "settings": {"learning_rate": 1e-3, "gradual": True, "epochs": 2},
        "limit": 50,
        "precision": "fp32",
        "backend": "torch",
        "fresh": True,
        "unlabelled": Path("more.csv"),
        "labels": "a,b",
        "items": Path("known.csv"),
        "users": Path("people.csv"),
        "align": {"there": "here"},
        "horizon": 3,
        "season": 12,
    }
    out, err = capsys.readouterr()
    assert out == summary.summary(Result.record) + "\n"
    assert err.startswith("features 1/2")


def test_fit_without_flags_leaves_every_choice_to_headstart(fit):
    assert cli.main(["fit", "a.csv"]) == 0
    assert (fit.call["target"], fit.call["method"], fit.call["source"]) == (None, "auto", "auto")
    assert fit.call["settings"] is fit.call["roles"] is fit.call["kinds"] is fit.call["input"] is None


@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "rank", "embed"])
def test_code_of_a_repository_is_trusted_while_the_command_runs(monkeypatch, command):
    seen = []

    def stop(*arguments, **rest):
        seen.append(trust.trusted())
        raise UsageError("HS-USAGE-001", "seen.")

    for place in ("transfer.fit", "artefact.load", "ranking.verb.rank", "embedding.write"):
        monkeypatch.setattr(f"headstart.{place}", stop)
    words = {
        "predict": ["run", "a.csv"],
        "evaluate": ["run", "a.csv"],
        "embed": ["a.csv", "-s", "x", "-o", "f.parquet"],
    }
    line = [command, *words.get(command, ["a.csv"]), "--quiet"]
    assert cli.main([*line, "--trust-remote-code", "hf:owner/name"]) == 2
    assert cli.main(line) == 2
    assert seen == ["owner/name", None] and trust.trusted() is None


def test_dry_run_prints_the_plan(fit, capsys):
    assert cli.main(["fit", "a.csv", "--dry-run", "--quiet"]) == 0
    assert fit.call["dry_run"] is True
    assert capsys.readouterr() == ("layer table\n", "")


def test_json_is_one_object_without_nan_whatever_libraries_print(fit, capsys, monkeypatch):
    monkeypatch.setattr(Result, "to_json", lambda self: print("noise") or {"a": float("inf"), "p": Path("x")})
    assert cli.main(["fit", "a.csv", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": None, "p": "x"}
    assert "noise" in err


# --- hyperparameters from dataclass fields ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["probe", "finetune", "scratch"])
def test_flags_equal_the_dataclass_fields(method):
    import dataclasses

    from headstart import catalog

    real = dataclasses.fields(catalog.find("methods", method))
    read = {item.name: item for item in flags.sketches()[method].fields}
    assert list(read) == [item.name for item in real]
    for item in real:
        ours = read[item.name]
        assert (ours.annotation, ours.default, ours.help) == (str(item.type), item.default, item.metadata["help"])
        assert (ours.low, ours.high) == (item.metadata["low"], item.metadata["high"])


def test_every_method_of_the_catalog_is_sketched():
    from headstart import catalog

    assert set(flags.sketches()) == set(catalog.names("methods"))


def test_help_shows_the_hyperparameters(capsys):
    assert cli.main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--learning-rate" in text and "--no-gradual" in text and "Hyperparameters" in text


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", "int", 3),
        ("1e-4", "float", 1e-4),
        ("no", "bool", False),
        ("none", "float | None", None),
        ("0.5", "float | None", 0.5),
        ("a,b", "tuple[str, ...]", ("a", "b")),
        ("1, 2", "list[int]", [1, 2]),
        ("auto", "str | int", "auto"),
        ("7", "str | int", 7),
    ],
)
def test_texts_become_values_of_the_annotation(text, annotation, value):
    found = flags._value(flags.Field("m", "f", annotation, None, ""), text)
    assert (found, type(found)) == (value, type(value))


def test_a_setting_of_another_method_says_whose_it_is():
    with pytest.raises(MethodError, match=r"HS-METHOD-002: probe has no hyperparameter.*belongs to: .*finetune"):
        flags.settings("probe", {"layer_decay": "0.5"})


# --- predict ---------------------------------------------------------------------------------------------------------


def rows(rejects=()):
    table = datasets.Dataset.from_dict({"id": [7, 8, 9], "text": ["a", 'b,"c"', None], "tags": [["x"], [], ["y", "z"]]})
    columns = [Column("id", "unused", "number"), Column("text", "input", "text"), Column("tags", "unused", "labels")]
    return Dataset(table, columns, origin="new.csv", rejects=rejects)


PREDICTION = Prediction(["no", "yes", "no"], np.array([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]]), None, ["no", "yes"])


@pytest.fixture
def run(monkeypatch):
    """Replaces `headstart.artefact.load` by a run that gives PREDICTION."""
    dataset = rows([Reject("new.csv", 2, "empty")])
    loaded = SimpleNamespace(
        read=lambda path, labelled: dataset,
        predict=lambda data: PREDICTION,
        evaluate=lambda data: {"accuracy": 0.75, "f1": 0.5},
    )
    monkeypatch.setattr("headstart.artefact.load", lambda folder: loaded)
    return loaded


EXPECTED = [
    ["id", "text", "tags", "prediction", "probability_no", "probability_yes"],
    ["7", "a", '["x"]', "no", "0.9", "0.1"],
    ["8", 'b,"c"', "[]", "yes", "0.25", "0.75"],
    ["9", "", '["y", "z"]', "no", "0.5", "0.5"],
]


def test_predict_writes_columns_prediction_probabilities_in_order(run, tmp_path, capsys):
    out = tmp_path / "deep" / "out.csv"
    assert cli.main(["predict", "runs/a", "new.csv", "-o", str(out)]) == 0
    assert list(csv.reader(io.StringIO(out.read_text()))) == EXPECTED
    rejected = tmp_path / "deep" / "out.rejected.csv"
    assert "empty" in rejected.read_text()
    assert str(rejected) in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.csv", "out.rejected.csv"]


def test_predict_to_stdout(run, capsys):
    assert cli.main(["predict", "runs/a", "new.csv", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert list(csv.reader(io.StringIO(out))) == EXPECTED
    assert err == "1 row could not be read, the first: 2 (empty); -o FILE keeps the list.\n"


def test_predict_json_with_a_file_counts_rows(run, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert cli.main(["predict", "runs/a", "new.csv", "-o", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["rejected"], answer["out"]) == (3, 1, str(out))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    out.write_text("old")

    def broken(*arguments):
        arguments[0].write("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "write_csv", broken)
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"):
        export.save_csv(out, rows(), PREDICTION)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_images_of_a_folder_get_a_path_column(tmp_path):
    table = datasets.Dataset.from_dict({"image": ["a/1.png"]})
    folder = Dataset(table, [Column("image", "input", "image")], origin=str(tmp_path), root=tmp_path)
    stream = io.StringIO()
    export.write_csv(stream, folder, Prediction([3.5]))
    assert stream.getvalue() == "path,prediction\na/1.png,3.5\n"


def test_a_saved_run_predicts_and_evaluates_a_file_with_a_broken_row(tmp_path, monkeypatch, capsys):
    from headstart import artefact, catalog
    from headstart.methods.base import Problem
    from headstart.runtime import Extractor
    from tests.conformance.examples import texts, tiny_bert
    from tests.report.records import positive

    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    dataset, source = texts(), tiny_bert(tmp_path)
    task = catalog.find("tasks", "classification").learn(dataset)
    fitted = catalog.find("methods", "probe")().fit(Problem(dataset, None, task, source, Extractor(source)))
    artefact.save(artefact.Artefact(fitted, positive(), dataset.columns, tmp_path / "run"))
    lines = [
        f"{number},{text},{label}" for number, (text, label) in enumerate(zip(dataset.samples(), dataset.targets()))
    ]
    new = tmp_path / "new.csv"
    new.write_text("\n".join(["number,input,target", *lines[:5], "5,,no", *lines[6:]]) + "\n")
    out = tmp_path / "out.csv"
    assert cli.main(["predict", str(tmp_path / "run"), str(new), "-o", str(out), "--quiet"]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert list(rows[0]) == ["number", "input", "target", "prediction", "probability_no", "probability_yes"]
    assert [int(row["number"]) for row in rows] == [*range(5), *range(6, 24)]
    assert [row["prediction"] for row in rows] == [row["target"] for row in rows]
    assert "6" in (tmp_path / "out.rejected.csv").read_text()
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run"), str(new), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["rejected"], answer["metrics"]["accuracy"]) == (23, 1, 1.0)


def test_evaluate_prints_every_metric(run, capsys):
    assert cli.main(["evaluate", "runs/a", "new.csv", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out and "0.7500" in out and "f1" in out and "3 rows" in out
    assert cli.main(["evaluate", "runs/a", "new.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"accuracy": 0.75, "f1": 0.5}


# --- report, lists, doctor, completion -------------------------------------------------------------------------------


def test_report_is_made_from_run_json_alone(tmp_path, capsys):
    from tests.report.records import positive

    record = positive()
    (tmp_path / "run.json").write_text(json.dumps(record.to_json()))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text().lstrip().lower().startswith("<!doctype html")
    assert capsys.readouterr().out.strip().endswith("report.html")


@pytest.mark.parametrize(
    ("line", "key", "names"),
    [
        ("sources --json", "sources", {"minilm", "mobilenet_v2"}),
        ("sources list --json", "sources", {"minilm"}),
        ("data list --json", "data", {"clothing_reviews_demo"}),
        ("methods --json", "methods", {"probe", "finetune", "scratch"}),
    ],
)
def test_lists(line, key, names, capsys):
    assert cli.main(line.split()) == 0
    assert names <= {item["name"] for item in json.loads(capsys.readouterr().out)[key]}


def test_source_info(capsys):
    assert cli.main(["sources", "info", "minilm", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["width"], info["modality"]) == (384, "text")
    assert cli.main(["sources", "info", "minilm"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out


def test_doctor_knows_this_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    assert cli.main(["doctor", "--json"]) == 0
    checks = {item["name"]: item for item in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["torch"]["state"] == checks["torchvision"]["state"] == checks["cache"]["state"] == "ok"
    assert checks["python"]["value"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_doctor_fails_where_the_cache_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "file" / "home"))
    assert cli.main(["doctor"]) == 1
    assert "HEADSTART_HOME" in capsys.readouterr().out


def test_completion_of_sources_and_methods():
    assert "minilm" in options.complete_source("mini")
    assert [name for name, _ in options.complete_method("prob")] == ["probe"]


def test_shell_completion_answers(tmp_path):
    variables = {
        "_HEADSTART_COMPLETE": "complete_bash",
        "COMP_WORDS": "headstart fit a.csv --method pro",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-m", "headstart"], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert "probe" in done.stdout


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("headstart ")


# --- exit codes and errors -------------------------------------------------------------------------------------------


def test_headstart_errors_exit_2_with_one_line(fit, capsys):
    fit.fault = DataError("HS-DATA-003", 'a.csv: there is no column "y".', 'Did you mean "x"?')
    assert cli.main(["fit", "a.csv", "--quiet"]) == 2
    assert capsys.readouterr() == ("", 'HS-DATA-003: a.csv: there is no column "y". Did you mean "x"?\n')


def test_errors_as_json_hold_code_message_hint_and_all_problems(fit, capsys):
    first, second = DataError("HS-DATA-003", "no a.", "b?"), DataError("HS-DATA-016", "twice.")
    fit.fault = Problems([first, second])
    assert cli.main(["fit", "a.csv", "--json", "--quiet"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["message"], error["hint"]) == ("HS-DATA-003", "no a.", "b?")
    assert [problem["code"] for problem in error["problems"]] == ["HS-DATA-003", "HS-DATA-016"]


def test_faults_of_ours_exit_1_and_debug_shows_the_traceback(fit, capsys):
    fit.fault = RuntimeError("tensor\nmismatch")
    assert cli.main(["fit", "a.csv", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("HS-INTERNAL-001: RuntimeError: tensor mismatch. ") and "--debug" in err
    assert "Traceback" not in err and err.count("\n") == 1
    assert cli.main(["fit", "a.csv", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_exits_130_and_says_that_it_resumes(fit, capsys):
    fit.fault = KeyboardInterrupt()
    assert cli.main(["fit", "a.csv"]) == 130
    assert "same command" in capsys.readouterr().err


def wrapped(inner: BaseException) -> RuntimeError:
    outer = RuntimeError("writing failed")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "HS-ENV-002"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "HS-ENV-002"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "HS-ENV-003"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "HS-ENV-003"),
        (MemoryError(), "HS-ENV-004"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "HS-ENV-004"),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), "HS-ENV-002"),
        (wrapped(DataError("HS-DATA-013", "damaged.")), "HS-DATA-013"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "HS-ENV-002"),
        (ModuleNotFoundError("No module named 'peft'", name="peft"), "HS-ENV-001"),
        (ModuleNotFoundError("No module named 'headstart.x'", name="headstart.x"), "HS-INTERNAL-001"),
        (OSError(errno.ENOENT, "No such file", "/x"), "HS-INTERNAL-001"),
    ],
)
def test_what_the_machine_says_gets_a_code(fault, code):
    error = console.understand(fault)
    assert isinstance(error, HeadstartError)
    assert error.code == code


def test_a_closed_pipe_is_no_fault():
    code = "from headstart.cli import main; import sys; sys.exit(main(['methods']))"
    done = subprocess.run(f'{sys.executable} -c "{code}" | true', shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "HS-" not in done.stderr


# --- progress --------------------------------------------------------------------------------------------------------


def test_plain_progress_says_beginning_and_end_of_a_stage_only(capsys):
    with console.Progress() as report:
        for done in range(101):
            report("features", done, 100)
        report("fit", 0, 0)
        report("fit", 1, 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("features 0/100") and lines[1].startswith("features 100/100")


def test_progress_in_a_terminal_draws_bars(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    with console.Progress() as report:
        report("features", 10, 10)
    assert "features" in stream.getvalue() and "10/10" in stream.getvalue()
