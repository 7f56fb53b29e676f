"""What columns known ahead are worth to forecasts: the same control with them and without, on the same test windows.

    python benchmarks/known_ahead.py
    python benchmarks/known_ahead.py --only grunfeld --source hf:amazon/chronos-bolt-small

Fifteen series out of the wheels of sktime and statsmodels (BSD-3-Clause), with the columns beside them:

    consumption   of the USA by quarters, with income, production, savings, unemployment; 4 steps ahead
    grunfeld      investment of eleven firms by years, with their market value and capital; 2 steps
    copper        consumption of the world by years, with income, stocks and the prices of copper and aluminium; 3 steps
    longley       employment by years, with prices, GNP, unemployed, armed forces, population; 2 steps
    seatbelts     killed and injured in cars by months, with the law of February 1983; 12 steps

Of these only the law was known ahead in truth: the others came with the value. So the figures say what it is worth to
know them, not what it would have been worth then. Printed is the geometric mean of MASE over test windows, without and
with the columns, of ridge autoregression, of the network as it is (with them: less their effect), of the control and of
the gate, which weigh such models on validation; then the gains over all windows, with intervals over series.
"""

from __future__ import annotations

import argparse
import csv
from typing import Any

import numpy as np
from forecasting import SKTIME, STATSMODELS, months

import headstart
from headstart import catalog
from headstart.evidence.splits import split
from headstart.evidence.verdict import paired_bootstrap
from headstart.methods.adjusted import AdjustedFitted
from headstart.methods.base import Problem
from headstart.methods.gate import Gate
from headstart.methods.statistical import Statistical, StatisticalFitted
from headstart.ranking.measure import open_for
from headstart.runtime import Extractor
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

MODELS = ("ridge", "network", "control", "gate")
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


def measured(name: str, source: str) -> tuple[dict[str, np.ndarray], list[str], Any]:
    """Statistics of the test windows by each model without and with the columns; the series of each; the task."""
    _, value, beside, owner, horizon = SETS[name]
    data = table(name)
    roles = {**({owner: "series"} if owner else {}), **({"time": "step"} if "time" in data else {})}
    found: dict[str, np.ndarray] = {}
    for label, more in (("without", {}), ("with", dict.fromkeys(beside, "known"))):
        rows = headstart.read(data, target=value, roles={**roles, **more}, horizon=horizon)
        parts = split(rows, seed=0)
        task = catalog.find("tasks", "forecasting").learn(rows)
        opened = open_for(rows, source)
        problem = Problem(parts.train, parts.valid, task, opened, Extractor(opened, cache=False))
        network = catalog.find("methods", "zeroshot")().fit(problem)
        models = {
            "ridge": StatisticalFitted(Statistical(), task, "ridge_known" if more else "ridge"),
            "network": AdjustedFitted(network) if more else network,
            "control": Statistical().fit(problem),
            "gate": Gate(effort="quick").fit(problem),
        }
        outputs = {f"{key} {label}": model.outputs(parts.test) for key, model in models.items()}
        truth = task.encode(parts.sealed.open(list(outputs)))
        found |= {key: task.statistics(each, truth) for key, each in outputs.items()}
    names = parts.test.values(owner) if owner else [name] * len(parts.test)
    return found, names, task


def main() -> None:
    """The table, and the gain of each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", default="fracast", help="the network")
    parser.add_argument("--only", choices=tuple(SETS), help="one of the sets")
    given = parser.parse_args()
    print(f"{'':<13}{'windows':>8}" + "".join(f"{model:>16}" for model in MODELS))
    every: dict[str, list[np.ndarray]] = {}
    owners: list[str] = []
    for name in [given.only] if given.only else SETS:
        found, names, task = measured(name, given.source)
        mase = {key: float(np.exp(-task.combine(each.sum(axis=0)))) for key, each in found.items()}
        cells = [f"{mase[f'{model} without']:.3f} {mase[f'{model} with']:.3f}" for model in MODELS]
        print(f"{name:<13}{len(names):>8}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
        owners += names
        for key, each in found.items():
            every.setdefault(key, []).append(each)
    both = {key: np.concatenate(each) for key, each in every.items()}
    pairs = [(f"{model} with", f"{model} without") for model in MODELS]
    for one, other in [*pairs, ("gate with", "control with")]:
        gain = paired_bootstrap(both[one], both[other], task.combine, groups=owners)
        low, value, high = (100 * each for each in (gain.low, gain.value, gain.high))
        print(f"{one} minus {other}: {value:+.1f} points [{low:+.1f}, {high:+.1f}] over {len(set(owners))} series")


if __name__ == "__main__":
    main()
