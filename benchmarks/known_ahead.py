"""What columns known ahead are worth to forecasts: the same control with them and without, on the same test windows.

    python benchmarks/known_ahead.py

Fifteen series out of the wheels of sktime and statsmodels (BSD-3-Clause), with the columns beside them:

    consumption   of the USA by quarters, with income, production, savings, unemployment; 4 steps ahead
    grunfeld      investment of eleven firms by years, with their market value and capital; 2 steps
    copper        consumption of the world by years, with income, stocks and the prices of copper and aluminium; 3 steps
    longley       employment by years, with prices, GNP, unemployed, armed forces, population; 2 steps
    seatbelts     killed and injured in cars by months, with the law of February 1983; 12 steps

Of these only the law was known ahead in truth: the others came with the value. So the figures say what it is worth to
know them, not what it would have been worth then. Printed is the geometric mean of MASE over test windows of ridge
autoregression without and with the columns, and of the control, which weighs all models on validation, without and with
them; then the gain of the control over all windows, with an interval over series.
"""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
from forecasting import SKTIME, STATSMODELS, months

import headstart
from headstart import catalog
from headstart.evidence.splits import split
from headstart.evidence.verdict import paired_bootstrap
from headstart.methods.base import Problem
from headstart.methods.statistical import Statistical, StatisticalFitted
from headstart.sources import wheel
from headstart.types import cache_home

SK, SM = "sktime/datasets/data", "statsmodels/datasets"
SETS: dict[str, tuple[str, str, list[str], str, int]] = {
    "consumption": (
        f"{SK}/Uschange/Uschange.csv", "Consumption", ["Income", "Production", "Savings", "Unemployment"], "", 4
    ),
    "grunfeld": (f"{SM}/grunfeld/grunfeld.csv", "invest", ["value", "capital"], "firm", 2),
    "copper": (
        f"{SM}/copper/copper.csv", "WORLDCONSUMPTION", ["COPPERPRICE", "INCOMEINDEX", "ALUMPRICE", "INVENTORYINDEX"],
        "", 3,
    ),
    "longley": (f"{SM}/longley/longley.csv", "TOTEMP", ["GNPDEFL", "GNP", "UNEMP", "ARMED", "POP"], "", 2),
    "seatbelts": (f"{SK}/seatbelts/seatbelts.csv", "KSI", ["law"], "", 12),
}  # fmt: skip
"""File, value, columns known ahead, column of series, horizon."""

SPACING = {"consumption": (1970, 3), "seatbelts": (1969, 1)}
"""First year and months of a step; the others are yearly, by the order of their lines."""


def table(name: str) -> dict[str, list[Any]]:
    """The columns of one set."""
    path, value, beside, owner, _ = SETS[name]
    folder = cache_home() / "data" / "known_ahead"
    wanted = [each[0] for each in SETS.values() if each[0].split("/")[0] == path.split("/")[0]]
    distribution, version, digest, size = SKTIME if path.startswith(SK) else STATSMODELS
    wheel.fetch_member(distribution, version, digest, wanted, folder, None, size)
    with (folder / path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if name == "seatbelts":  # the file marks the month in which the law began
        law = np.cumsum([float(row["label"]) for row in rows])
        rows = [{**row, "law": str(each)} for row, each in zip(rows, law, strict=True)]
    found: dict[str, list[Any]] = {column: [float(row[column]) for row in rows] for column in [value, *beside]}
    if owner:
        found[owner] = [row[owner] for row in rows]
    if name in SPACING:
        first, step = SPACING[name]
        found["time"] = months(len(rows), first, step)
    return found


def measured(name: str) -> tuple[dict[str, np.ndarray], list[str], Any]:
    """Statistics of the test windows by each model, the series of each window, and the task."""
    _, value, beside, owner, horizon = SETS[name]
    data = table(name)
    roles = {**({owner: "series"} if owner else {}), **({"time": "step"} if "time" in data else {})}
    found: dict[str, np.ndarray] = {}
    for label, more in (("without", {}), ("with", dict.fromkeys(beside, "known"))):
        rows = headstart.read(data, target=value, roles={**roles, **more}, horizon=horizon)
        parts = split(rows, seed=0)
        task = catalog.find("tasks", "forecasting").learn(rows)
        problem = Problem(parts.train, parts.valid, task, None, None)
        control = Statistical().fit(problem)
        ridge = StatisticalFitted(Statistical(), task, "ridge_known" if more else "ridge")
        outputs = {f"control {label}": control.outputs(parts.test), f"ridge {label}": ridge.outputs(parts.test)}
        truth = task.encode(parts.sealed.open(list(outputs)))
        found |= {key: task.statistics(each, truth) for key, each in outputs.items()}
    names = parts.test.values(owner) if owner else [name] * len(parts.test)
    return found, names, task


def main() -> None:
    """The table, and the gain of the control."""
    columns = ("ridge without", "ridge with", "control without", "control with")
    print(f"{'':<13}{'windows':>8}" + "".join(f"{column:>17}" for column in columns))
    every: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    owners: list[str] = []
    for name in SETS:
        found, names, task = measured(name)
        mase = [float(np.exp(-task.combine(found[column].sum(axis=0)))) for column in columns]
        print(f"{name:<13}{len(names):>8}" + "".join(f"{each:>17.3f}" for each in mase), flush=True)
        owners += names
        for column in columns:
            every[column].append(found[column])
    both = {column: np.concatenate(each) for column, each in every.items()}
    for model in ("ridge", "control"):
        gain = paired_bootstrap(both[f"{model} with"], both[f"{model} without"], task.combine, groups=owners)
        low, value, high = (100 * each for each in (gain.low, gain.value, gain.high))
        print(
            f"{model}: with minus without {value:+.1f} points [{low:+.1f}, {high:+.1f}] over {len(set(owners))} series"
        )


if __name__ == "__main__":
    main()
