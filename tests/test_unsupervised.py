"""Scoring the steps of series from the command line's verb to its report; labels open once, for the score alone."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import headstart
from headstart import cli, transfer
from headstart.errors import MethodError, TaskError, UsageError
from headstart.evidence.splits import Sealed
from headstart.export import write_csv
from headstart.report.summary import summary
from headstart.sources.series import Series

ROLES = {"machine": "series", "day": "step"}


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Seven machines in a table; each stands still for a period."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    with (tmp_path / "m.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["machine", "day", "load", "odd"])
        for number in range(7):
            load = np.sin(2 * np.pi * np.arange(96) / 12 + number) + 0.05 * generator.normal(size=96)
            load[40 + number : 52 + number] = 0
            for day, value in enumerate(load):
                out.writerow([f"m{number}", day, round(float(value), 4), int(40 <= day - number < 52)])
    return tmp_path / "m.csv"


def fit(path, out, **more):
    return headstart.fit(path, task="anomalies", roles=ROLES, out=out, **more)


def test_with_labels_every_control_is_compared(machines, tmp_path):
    found = fit(machines, tmp_path / "run", target="odd", source=Series())
    record = found.record
    assert [each.name for each in record.candidates] == [
        "nearest", "matrix_profile", "seasonal_residuals", "isolation_forest", "untrained"
    ]  # fmt: skip
    assert record.verdict is not None and record.verdict.rows == 7 and len(record.comparisons) == 3
    best = max((each for each in record.candidates if each.role == "control"), key=lambda each: each.test or 0)
    assert record.verdict.control == best.name
    assert record.shipped == (best.name if record.verdict.label == "negative" else "nearest")
    assert record.metrics == pytest.approx(found.evaluate(machines))
    assert "VUS-PR" in summary(record) and "steps of 7 series" in summary(record)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Flagged steps" in page and "red ground" in page


def test_without_labels_there_is_no_verdict(machines, tmp_path):
    found = fit(machines, tmp_path / "run", input="load", source=Series())
    record = found.record
    assert record.verdict is None and not record.metrics and record.shipped == "nearest"
    assert "no label was given" in summary(record) and "VERDICT" not in summary(record)
    assert "No score, no verdict" in (tmp_path / "run" / "report.html").read_text()
    labelled = fit(machines, tmp_path / "other", target="odd", source=Series(), method="nearest", control=False)
    one, other = (each.predict(machines).lines["score"] for each in (found, labelled))
    assert one == other
    assert fit(machines, tmp_path / "run", input="load", source=Series()).record.created == record.created


def test_without_a_source_a_control_answers(machines, tmp_path):
    record = fit(machines, tmp_path / "run", target="odd").record
    assert record.chosen_transfer is None and record.verdict is None and record.shipped == "matrix_profile"
    assert any("no pretrained source" in note for note in record.notes)
    assert record.shipped_because == "it is the usual one without a source; nothing is chosen by labels"


def test_few_labelled_series_give_no_interval(machines, tmp_path):
    rows = [row for row in machines.read_text().splitlines() if not row.startswith(("m3", "m4", "m5"))]
    machines.write_text("\n".join(rows) + "\n")
    record = fit(machines, tmp_path / "run", target="odd", source=Series()).record
    assert record.verdict is None and record.metrics and any("under 6" in note for note in record.notes)


def test_labels_open_once_and_after_all_models(machines, tmp_path, monkeypatch):
    opened = []
    honest = Sealed.open
    monkeypatch.setattr(Sealed, "open", lambda self, models: opened.append(models) or honest(self, models))
    fit(machines, tmp_path / "run", target="odd", source=Series())
    assert opened == [["nearest", "matrix_profile", "seasonal_residuals", "isolation_forest", "untrained"]]


def test_predictions_are_lines_of_steps(machines, tmp_path):
    found = headstart.load(fit(machines, tmp_path / "run", target="odd").folder)
    rows = found.read(machines)
    stream = io.StringIO()
    write_csv(stream, rows, found.predict(rows))
    lines = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert len(lines) == 672 and list(lines[0]) == ["machine", "day", "score", "flag"]
    assert lines[97]["machine"] == "m1" and lines[97]["day"] == "1"
    assert all(line["flag"] == str(int(float(line["score"]) > 1)) for line in lines)


def test_a_run_on_one_series_without_names_reads_another(machines, tmp_path):
    lines = [line.split(",") for line in machines.read_text().splitlines()]
    alone = tmp_path / "alone.csv"
    alone.write_text("\n".join(",".join(line[2:]) for line in lines if line[0] in ("machine", "m2")) + "\n")
    found = headstart.load(headstart.fit(alone, task="anomalies", target="odd", out=tmp_path / "run").folder)
    assert list(found.predict(alone).lines) == ["step", "score", "flag"]
    assert found.evaluate(alone)["vus_pr"] == pytest.approx(found.record.metrics["vus_pr"])


def test_a_run_on_a_ts_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    waves = np.sin(np.arange(64) / 3 + np.arange(7)[:, None])
    waves[3, 30:40] = 2
    rows = "\n".join(",".join(f"{value:.3f}" for value in wave) + ":x" for wave in waves)
    (tmp_path / "w.ts").write_text(f"@problemName w\n@classLabel true x\n@data\n{rows}\n")
    assert cli.main(["fit", str(tmp_path / "w.ts"), "--task", "anomalies", "--out", str(tmp_path / "run"), "-q"]) == 0
    assert "7 series" in capsys.readouterr().out
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "w.ts"), "-q"]) == 0
    assert capsys.readouterr().out.startswith("series,step,score,flag\n1,1,")


def test_the_command_names_the_folder_of_the_source(machines, tmp_path):
    (tmp_path / "made").mkdir()
    place = tmp_path / "made" / "mine"
    Series().save(place)
    command = fit(machines, tmp_path / "run", source=str(place), method="nearest", control=False).record.command
    assert f"--source {place} --method nearest" in command


def test_from_the_command_line(machines, tmp_path, capsys):
    words = [str(machines), "--task", "anomalies", "--series", "machine", "--step", "day", "-q"]
    assert cli.main(["fit", *words, "--target", "odd", "--out", str(tmp_path / "run")]) == 0
    assert "matrix_profile" in capsys.readouterr().out
    assert cli.main(["predict", str(tmp_path / "run"), str(machines), "-q"]) == 0
    assert capsys.readouterr().out.startswith("machine,day,score,flag\nm0,0,")
    assert cli.main(["fit", *words, "--target", "od", "--out", str(tmp_path / "typo")]) == 2
    assert 'no column "od". Did you mean "odd"?' in capsys.readouterr().err
    assert cli.main(["fit", *words, "--target", "odd", "--dry-run"]) == 0


def test_what_does_not_fit_is_refused(machines, tmp_path):
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*nearest needs a source"):
        fit(machines, tmp_path / "run", target="odd", method="nearest")
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*--horizon says nothing to the task anomalies"):
        fit(machines, tmp_path / "run", horizon=5)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*probe"):
        fit(machines, tmp_path / "run", target="odd", method="probe", source=Series())
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*isolation_forest cannot do classification"):
        transfer.fit({"text": ["a", "b"] * 9, "label": ["x", "y"] * 9}, "label", method="isolation_forest")
    rows = headstart.read(machines, target="odd", roles=ROLES, stepwise=True)
    short = rows.table.map(lambda row: {"odd": row["odd"][:-1]})
    with pytest.raises(TaskError, match=r"HS-TASK-002.*95 labels for a series of 96 steps"):
        headstart.fit(type(rows)(short, rows.columns), task="anomalies", out=tmp_path / "run")
