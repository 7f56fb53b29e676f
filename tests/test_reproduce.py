"""A run names the command line that does it again."""

from __future__ import annotations

import csv
import shlex

import numpy as np

import headstart
from headstart import cli
from headstart.reproduce import command_line, meanings


def test_every_kind_of_argument():
    assert command_line("fit", ["a b.csv", None], target="x", source="auto", limit=None, control=True, fresh=False) == (
        "headstart fit 'a b.csv' --target x"
    )
    line = command_line(
        "adapt", ["one.csv", "two.csv"], target=["x", "y"], value="there", use_labels=True, control=False, seed=0,
        roles={"who": "group", "old": "unused"}, kinds={"a..b": "series"}, settings={"folds": 3}, labels={"a": "an a"},
        align={"old": "new"},
    )  # fmt: skip
    assert shlex.split(line)[2:] == [
        *("one.csv", "two.csv", "--target", "x", "--target", "y", "--to", "there", "--use-labels", "--no-control"),
        *("--seed", "0", "--group", "who", "--kind", "a..b=series", "--set", "folds=3", "--labels", '{"a": ["an a"]}'),
        *("--align", "old=new"),
    ]
    assert meanings(["b", "a"]) == "b,a" and meanings("labels.csv") == "labels.csv"
    assert command_line("fit", [headstart.read({"a": [1.0, 2.0]}, for_prediction=True)]).startswith("headstart fit ")


def test_the_command_of_a_run_does_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with open("rows.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["a", "b", "who", "code", "y"])
        for row in range(90):
            a, b = rng.normal(size=2).round(3)
            writer.writerow([a, b, f"p{row % 9}", row % 4, "up" if a + b > 0 else "down"])
    run = headstart.fit(
        "rows.csv", "y", method="baseline", input=["a", "code"], roles={"who": "group"}, kinds={"code": "category"},
        settings={"folds": 3}, limit=80, effort="quick", control=False, seed=3, out="run",
    )  # fmt: skip
    words = shlex.split(run.record.command)
    assert words[:3] == ["headstart", "fit", "rows.csv"] and words[-2:] == ["--out", "run"]
    assert cli.main([*words[1:-1], "again"]) == 0
    again = headstart.load("again")
    assert again.record.data["digest"] == run.record.data["digest"]
    assert again.record.metrics == run.record.metrics
