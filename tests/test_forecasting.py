"""Forecasting from end to end on the command line: fit, predict, evaluate, report; a typo; one series alone."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import headstart
from headstart import catalog, cli
from headstart.errors import TaskError
from headstart.methods.base import Problem, save_part
from headstart.tasks.base import infer_task
from tests.conformance.examples import tiny_forecaster


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    tiny_forecaster(tmp_path).save(tmp_path / "own")
    return tmp_path


def write(path, names="abcdef", count=44, end=0):
    """Noisy monthly waves, one below the other."""
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["shop", "month", "sales"])
        for place, name in enumerate(names):
            for k in range(count + end):
                value = 100 * (1 + place) + 20 * np.sin(2 * np.pi * (k + place) / 12) + generator.normal()
                lines.writerow([name, f"{2000 + k // 12}-{k % 12 + 1:02d}-01", f"{value:.3f}"])
    return path


def columns(*more):
    return ["--target", "sales", "--series", "shop", "--step", "month", *more]


@pytest.mark.slow
def test_fit_predict_evaluate_and_report(home, capsys):
    data, run = write(home / "sales.csv"), str(home / "run")
    options = columns(
        "--task", "forecasting", "--horizon", "3", "--source", str(home / "own"), "-o", run, "-q", "--effort", "quick"
    )
    assert cli.main(["fit", str(data), *options]) == 0
    said = capsys.readouterr().out
    assert "forecasting (3 steps, 9 quantiles)" in said and "VERDICT" in said and "HEAD START" not in said
    record = headstart.load(run).record
    assert record.head_start is None and record.verdict.rows == 6 * 2 and record.shipped in ("gate", "statistical")
    assert {"seasonal_naive", "drift", "ridge", "statistical", "scratch", "gate"} <= {c.name for c in record.candidates}
    assert any("Season: 12 steps (6 series)" in note for note in record.notes)
    assert {"neg_log_mase", "mase", "wql", "coverage_of_80"} <= set(record.metrics)
    assert "sales ahead" not in json.dumps([c for c in record.data["columns"] if c["role"] == "input"])
    page = (home / "run" / "report.html").read_text()
    assert 'id="forecasts-' in page and "Most confident mistakes" not in page

    assert cli.main(["predict", run, str(data), "-o", str(home / "out.csv"), "-q"]) == 0
    with (home / "out.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0])[:4] == ["shop", "month", "prediction", "quantile_0.1"] and len(lines) == 6 * 3
    assert [line["month"] for line in lines[:3]] == ["2003-09-01", "2003-10-01", "2003-11-01"]
    for line in lines:
        k, place = 44 + int(line["month"][5:7]) - 9, "abcdef".index(line["shop"])
        truth = 100 * (1 + place) + 20 * np.sin(2 * np.pi * (k + place) / 12)
        assert abs(float(line["prediction"]) - truth) < 10
        assert float(line["quantile_0.1"]) <= float(line["prediction"]) <= float(line["quantile_0.9"])

    capsys.readouterr()
    assert cli.main(["evaluate", run, str(write(home / "later.csv", "abz", end=6)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["mase"] < 1 and 0 < found["metrics"]["coverage_of_80"] <= 1
    assert cli.main(["report", run, "-o", str(home / "again.html")]) == 0


@pytest.mark.slow
def test_what_is_known_ahead_moves_the_forecasts_and_must_be_there(home, capsys):
    generator, data = np.random.default_rng(0), home / "priced.csv"
    price = generator.normal(size=(2, 60))
    with data.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["shop", "month", "sales", "price"])
        for shop in range(2):
            for k in range(60):
                value = f"{50 - 5 * price[shop, k] + generator.normal():.3f}" if k < 57 else ""
                lines.writerow(["ab"[shop], f"{2000 + k // 12}-{k % 12 + 1:02d}-01", value, f"{price[shop, k]:.3f}"])
    run = str(home / "run")
    options = columns("--horizon", "3", "--source", str(home / "own"), "-o", run, "-q", "--effort", "quick")
    assert cli.main(["fit", str(data), *options, "--known", "price", "--season", "1"]) == 0
    record = headstart.load(run).record
    scores = {each.name: each.validation for each in record.candidates if each.validation is not None}
    assert scores["ridge_known"] > scores["ridge"] + 0.5 and "--known price" in record.command
    assert cli.main(["predict", run, str(data), "-o", str(home / "next.csv"), "-q"]) == 0
    with (home / "next.csv").open() as file:
        found = [float(line["prediction"]) for line in csv.DictReader(file)]
    assert np.abs(np.array(found) - (50 - 5 * price[:, 57:]).ravel()).max() < 4
    short = data.read_text().splitlines(keepends=True)[:-1]
    (home / "short.csv").write_text("".join(short))
    capsys.readouterr()
    assert cli.main(["predict", run, str(home / "short.csv"), "-q"]) == 2
    assert '"price" is missing at the step 2004-12-01 of the series "b"' in capsys.readouterr().err


def test_a_typo_and_a_missing_horizon_are_told_in_one_line(home, capsys):
    data = write(home / "sales.csv", "ab")
    assert cli.main(["fit", str(data), "--target", "sale", "--horizon", "3", "--series", "shop"]) == 2
    assert 'there is no column "sale"' in capsys.readouterr().err
    assert cli.main(["fit", str(data), *columns("--task", "forecasting")]) == 2
    assert "--horizon" in capsys.readouterr().err


def test_forecasters_are_not_ranked_and_not_adapted_and_it_is_said_what_to_do_instead(home, capsys):
    data = str(write(home / "sales.csv", "ab"))
    assert cli.main(["rank", data, "--target", "sales", "--task", "forecasting"]) == 2
    assert "forecaster is the prediction already. Fit once with each --source" in capsys.readouterr().err
    assert cli.main(["adapt", data, data, "--target", "sales", "--task", "forecasting"]) == 2
    assert "headstart pretrain THEM --objective forecast --out own" in capsys.readouterr().err
    rows = headstart.read(data, target="sales", roles={"shop": "series", "month": "step"}, horizon=3)
    with pytest.raises(TaskError, match=r"HS-TASK-002.*Fit once with each --source"):
        headstart.rank(rows)
    with pytest.raises(TaskError, match=r"HS-TASK-002.*pretrain THEM"):
        headstart.adapt(rows, rows)
    fitted = catalog.find("methods", "statistical")(model="drift").fit(
        Problem(rows, None, infer_task(rows), None, None)
    )
    (home / "run" / "model").mkdir(parents=True)
    facts = save_part(fitted, home / "run" / "model")
    manifest = {"schema": 1, "task": fitted.task.to_json(), "columns": [], "files": {}, **facts}
    (home / "run" / "model.json").write_text(json.dumps(manifest))
    assert cli.main(["adapt", str(home / "run"), data]) == 2
    assert "a run predicts new series as it is" in capsys.readouterr().err


def test_embedding_takes_a_row_for_each_series(home, capsys):
    data, own = str(write(home / "sales.csv", "ab")), str(home / "own")
    assert cli.main(["embed", data, "--source", own, "--input", "sales", "-o", str(home / "x.parquet")]) == 2
    assert "Give a row for each series" in capsys.readouterr().err
    waves = {"wave": [np.sin(np.arange(20.0) / step).tolist() for step in (1, 2)]}
    found = headstart.embed(waves, source=own, kinds={"wave": "series"})
    assert found.shape == (2, 4 * 9) and not np.allclose(*found)  # its forecasts, 4 steps of 9 quantiles


def test_one_series_alone_has_no_verdict_but_neutral(home):
    write(home / "one.csv", "a", 60)
    frame = {key: [] for key in ("month", "sales")}
    with (home / "one.csv").open() as file:
        for line in csv.DictReader(file):
            frame["month"].append(line["month"])
            frame["sales"].append(float(line["sales"]))
    run = headstart.fit(
        frame, "sales", horizon=4, roles={"month": "step"}, source=str(home / "own"), out=home / "one", effort="quick"
    )
    assert run.record.verdict.label == "neutral"
    found = run.predict(run.read({key: values[:30] for key, values in frame.items()}))
    assert found.lines["month"] == ["2002-07-01", "2002-08-01", "2002-09-01", "2002-10-01"]
    assert len(found.values) == 1 and len(found.values[0]) == 4
