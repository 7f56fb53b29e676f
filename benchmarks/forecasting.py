"""Classic series: what Headstart ships against every single control, on whole histories and on three seasons of them;
and a forecaster of one's own, pretrained on a pool, against the same network from fresh weights.

    python benchmarks/forecasting.py                 both parts, all sizes
    python benchmarks/forecasting.py --only own

Part 1. Eighteen series out of the wheels of sktime and statsmodels (BSD-3-Clause), nine a month, a year or half an
hour apart, forecast by 12 steps, and nine a quarter apart, forecast by 4. ``short`` keeps of each the last three
seasons and the horizon behind them. `headstart.fit` sees all series of a horizon at once. Printed is the geometric
mean of MASE over series (of a series: over its test windows) of what ships and of every control on the same test
windows, and the best single control *in hindsight*, which nobody could have chosen.

Part 2. The 181 yearly series of the M1 competition (wheel of aeon, BSD-3-Clause). A forecaster is pretrained without
labels on 120 of them, drawn; the other 61 are the target. The pretrained weights and fresh ones are adapted alike: the
network as it is and fine-tuned on the same windows, for each number of passes (``--epochs``) at two rates, weighted for
each series on validation. How, was settled on draw 0. ``--others N`` tests every series that draw 0 did not test, once:
these 120 in N groups, each forecast by a source pretrained on all series but the group, and one interval over all.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from headstart.sources import wheel
from headstart.types import cache_home

AEON = ("aeon", "1.6.0", "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409", 6421000)
SKTIME = ("sktime", "1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae", 8201107)
STATSMODELS = ("statsmodels", "0.15.0", "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da", 12087914)
"""The wheel for CPython 3.11 on Linux x86-64; where it cannot be had, the series from it are left out."""

M1 = "aeon/datasets/data/m1_yearly_dataset/m1_yearly_dataset.tsf"
SK, SM = "sktime/datasets/data", "statsmodels/datasets"
FILES = {
    "airline": f"{SK}/Airline/Airline.csv", "seatbelts": f"{SK}/seatbelts/seatbelts.csv",
    "shampoo": f"{SK}/ShampooSales/ShampooSales.csv", "lynx": f"{SK}/Lynx/Lynx.csv", "solar": f"{SK}/solar/solar.csv",
    "uschange": f"{SK}/Uschange/Uschange.csv",
    "elec_equip": f"{SM}/elec_equip/elec_equip.csv", "elnino": f"{SM}/elnino/elnino.csv", "co2": f"{SM}/co2/co2.csv",
    "sunspots": f"{SM}/sunspots/sunspots.csv", "macrodata": f"{SM}/macrodata/macrodata.csv",
    "e6": f"{SM}/interest_inflation/E6.csv",
}  # fmt: skip
HORIZONS = {"month": 12, "quarter": 4}
Series = dict[str, tuple[int, list[str], np.ndarray]]
"""Name -> season, stamps, values."""


# --- series ------------------------------------------------------------------------------------------------------


def fetched() -> dict[str, Path]:
    """The files that can be had."""
    folder, found = cache_home() / "data" / "forecasting", {}
    for name, version, digest, size in (SKTIME, STATSMODELS, AEON):
        members = [each for each in [*FILES.values(), M1] if each.startswith(name)]
        try:
            wheel.fetch_member(name, version, digest, members, folder, None, size)
        except headstart.HeadstartError as error:
            print(f"without {name}: {error}")
            continue
        found |= {key: folder / path for key, path in FILES.items() if path in members}
        if M1 in members:
            found["m1"] = folder / M1
    return found


def column(path: Path, name: str) -> np.ndarray:
    """A column of numbers."""
    with path.open(encoding="utf-8") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def months(count: int, first: int, step: int = 1) -> list[str]:
    """Dates ``step`` months apart from January of a year on."""
    return [f"{first + step * k // 12}-{step * k % 12 + 1:02d}-01" for k in range(count)]


def classic(files: dict[str, Path]) -> dict[str, Series]:
    """The series of each group, with their season and their dates."""
    found: dict[str, Series] = {"month": {}, "quarter": {}}

    def add(group: str, name: str, season: int, values: np.ndarray, stamps: list[str]) -> None:
        found[group][name] = (season, stamps, values)

    def yearly(name: str, season: int, values: np.ndarray, first: int) -> None:
        add("month", name, season, values, [f"{first + k}-01-01" for k in range(len(values))])

    for name, value, first in (
        ("airline", "Passengers", 1949), ("seatbelts", "KSI", 1969), ("shampoo", "Sales", 1991),
        ("elec_equip", "STS.M.I7.W.TOVT.NS0016.4.000", 1995),
    ):  # fmt: skip
        if name in files:
            values = column(files[name], value)
            add("month", name, 12, values, months(len(values), first))
    if "elnino" in files:
        with files["elnino"].open(encoding="utf-8") as file:
            values = np.array([float(cell) for row in list(csv.reader(file))[1:] for cell in row[1:]])
        add("month", "elnino", 12, values, months(len(values), 1950))
    if "co2" in files:
        values = monthly(files["co2"])
        add("month", "co2", 12, values, months(len(values) + 2, 1958)[2:])  # it begins in March
    if "sunspots" in files:
        yearly("sunspots", 11, column(files["sunspots"], "SUNACTIVITY"), 1700)
    if "lynx" in files:
        yearly("lynx", 10, column(files["lynx"], "0"), 1821)
    if "solar" in files:
        values = column(files["solar"], "solar_gen")
        stamps = [f"2021-05-{1 + k // 48:02d} {k // 2 % 24:02d}:{30 * (k % 2):02d}:00" for k in range(len(values))]
        add("month", "solar", 48, values, stamps)
    for file, names, first in (
        ("macrodata", ("cpi", "unemp", "realgdp", "realinv"), 1959),
        ("uschange", ("Production", "Unemployment", "Income"), 1970),
        ("e6", ("Dp", "R"), 1972),
    ):
        for name in names if file in files else ():
            values = column(files[file], name)
            add("quarter", name, 4, values, months(len(values), first, 3))
    return found


def monthly(path: Path) -> np.ndarray:
    """Monthly means of the weekly measurements of CO2; a month without one lies between its neighbours."""
    weeks: dict[int, list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["co2"] not in ("", "NA"):
                weeks.setdefault(12 * int(row["date"][:4]) + int(row["date"][4:6]), []).append(float(row["co2"]))
    known = sorted(weeks)
    return np.interp(np.arange(known[0], known[-1] + 1), known, [np.mean(weeks[month]) for month in known])


def table(series: Series, horizon: int, seasons: int = 0) -> dict[str, list[Any]]:
    """A long table; seasons: how many of each are kept in front of the last ``horizon`` steps, 0 = all."""
    rows: dict[str, list[Any]] = {"series": [], "time": [], "value": []}
    for name, (season, stamps, values) in series.items():
        kept = slice(-(seasons * season + horizon) if seasons else 0, None)
        rows["series"] += [name] * len(values[kept])
        rows["time"] += stamps[kept]
        rows["value"] += values[kept].tolist()
    return rows


# --- part 1: what ships against every single control -------------------------------------------------------------


def by_series(task: Any, outputs: Any, targets: Any, names: Sequence[str]) -> dict[str, float]:
    """Mean log MASE of each series."""
    logs = task.statistics(outputs, targets)[:, 1]
    owners = np.array(names)
    return {name: float(logs[owners == name].mean()) for name in dict.fromkeys(names)}


def shipped(
    series: Series, horizon: int, seasons: int, budget: str, effort: Any, folder: Path
) -> dict[str, dict[str, float]]:
    """Mean log MASE of each series by what ships, by the gate, and by every model of the control; on test windows."""
    from headstart.methods.statistical import Statistical, StatisticalFitted
    from headstart.nn import local_forecasts

    rows = table(series, horizon, seasons)
    roles = {"series": "series", "time": "step"}
    run = headstart.fit(
        rows,
        "value",
        task="forecasting",
        horizon=horizon,
        roles=roles,
        budget=budget,
        effort=effort,
        out=folder,
        fresh=True,
    )
    whole = headstart.read(rows, target="value", roles=roles, horizon=horizon)
    test = whole.select([row for row, part in enumerate(whole.values("split")) if part == "test"])
    task, names = run.task, test.values("series")
    targets, blind = task.encode(test.targets()), test.without("target")
    found = {"ships": by_series(task, run.fitted.outputs(blind), targets, names)}
    for model in local_forecasts.available():
        alone = StatisticalFitted(Statistical(model=model), task, model)
        found[model] = by_series(task, alone.outputs(blind), targets, names)
    print(run.summary(), "\n", flush=True)
    return found


def part_one(files: dict[str, Path], budget: str, effort: str, folder: Path) -> None:
    """The table of part 1."""
    groups = classic(files)
    for label, seasons in (("whole", 0), ("short", 3)):
        logs: dict[str, dict[str, float]] = {}
        for group, horizon in HORIZONS.items():
            found = shipped(groups[group], horizon, seasons, budget, effort, folder / f"{group}-{label}")
            for model, own in found.items():
                logs.setdefault(model, {}).update(own)
        count = len(logs["ships"])
        means = {model: float(np.exp(np.mean(list(own.values())))) for model, own in logs.items()}
        print(f"{label}: geometric mean of MASE over {count} series")
        for model, mean in sorted(means.items(), key=lambda item: item[1]):
            print(f"  {model:<16} {mean:.3f}")
        best = min(mean for model, mean in means.items() if model != "ships")
        print(f"  what ships over the best single control in hindsight: {means['ships'] / best:.3f}\n", flush=True)


# --- part 2: a forecaster of one's own ---------------------------------------------------------------------------


def m1(path: Path) -> list[list[float]]:
    """The values of each series of a .tsf file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    start = next(place for place, line in enumerate(lines) if line.strip().lower() == "@data") + 1
    return [[float(value) for value in line.rsplit(":", 1)[1].split(",")] for line in lines[start:] if line.strip()]


def long(series: Sequence[Sequence[float]]) -> dict[str, list[Any]]:
    """A long table."""
    return {
        "series": [f"T{place:03d}" for place, own in enumerate(series) for _ in own],
        "year": [step for own in series for step in range(1, len(own) + 1)],
        "value": [value for own in series for value in own],
    }


Tested = tuple[dict[str, Any], list[str], Any]
"""Statistics of the test windows by model, the series of each window, the task."""


def drawn(series: int, draw: int) -> tuple[list[int], list[int]]:
    """Which series are the pool and which the target of a draw."""
    order = np.random.default_rng(draw).permutation(series).tolist()
    return order[:120], order[120:]


def others(series: int, groups: int) -> list[tuple[list[int], list[int]]]:
    """Pool and target of each group; together the targets are the series that draw 0 did not test."""
    rest, settled = drawn(series, 0)
    parts = [part.tolist() for part in np.array_split(rest, groups)]
    return [(settled + [each for each in rest if each not in part], part) for part in parts]


def compared(tested: Sequence[Tested]) -> None:
    """The table of part 2, over all targets."""
    from headstart.evidence.verdict import paired_bootstrap

    task = tested[0][2]
    names = [f"{number} {name}" for number, (_, own, _) in enumerate(tested) for name in own]
    statistics = {model: np.concatenate([own[model] for own, _, _ in tested]) for model in tested[0][0]}
    for model, each in statistics.items():
        print(f"  {model:<12} MASE {np.exp(-float(task.combine(each.sum(axis=0)))):.3f}")
    for other in ("fresh", "statistical"):
        interval = paired_bootstrap(statistics["pretrained"], statistics[other], task.combine, groups=names)
        low, value, high = (100 * each for each in (interval.low, interval.value, interval.high))
        print(
            f"  pretrained minus {other}: {value:+.1f} points [{low:+.1f}, {high:+.1f}] over {len(set(names))} series"
        )


def part_two(
    series: Sequence[Sequence[float]],
    pool: Sequence[int],
    target: Sequence[int],
    passes: int,
    epochs: Sequence[int],
    kept: Path,
) -> Tested | None:
    """Pretrained and adapted, and the same network from fresh weights, on the test windows of the target."""
    from headstart import catalog
    from headstart.evidence.splits import split
    from headstart.methods.base import Problem
    from headstart.methods.gate import Gate, weighed
    from headstart.ranking.measure import open_for
    from headstart.runtime import Extractor

    roles = {"series": "series", "year": "step"}
    if not kept.is_dir():
        made = headstart.pretrain(
            long([series[k] for k in pool]),
            kept,
            objective="forecast",
            input="value",
            roles=roles,
            epochs=passes,
            batch_size=16,
        )
        losses = made.facts["losses"]
        print(
            f"pretrained on {len(pool)} series in {made.facts['seconds']} s: loss {losses[0]:.3f} -> {losses[-1]:.3f}"
        )
    if not epochs:
        return None
    whole = headstart.read(long([series[k] for k in target]), target="value", roles=roles, horizon=6, season=1)
    parts = split(whole, seed=0)
    task = catalog.find("tasks", "forecasting").learn(whole)
    source = open_for(whole, str(kept))
    problem = Problem(parts.train, parts.valid, task, source, Extractor(source, cache=False))
    untrained = source.untrained(0)
    fresh = problem.replace(source=untrained, extractor=Extractor(untrained, cache=False))
    assert parts.valid is not None
    targets, names = task.encode(parts.valid.targets()), parts.test.values("series")

    def adapted(start: Problem) -> Any:
        """The network as it is and fine-tuned at two rates, weighted for each series on validation as by the gate."""
        members = {"as it is": catalog.find("methods", "zeroshot")().fit(start)}
        for count, rate in itertools.product(epochs, (3e-4, 3e-3)):
            method = catalog.find("methods", "finetune")(
                epochs=count, learning_rate=rate, layer_decay=1.0, head_rate=0.1, patience=count, batch_size=16
            )
            members[f"{count} passes, rate {rate:.0e}"] = method.fit(start)
        for name, member in members.items():
            print(f"  {name}: validation {task.score(member.outputs(parts.valid), targets):+.3f}", flush=True)
        return weighed(Gate(), start, list(members.values()))

    outputs = {}
    for name, start in (("pretrained", problem), ("fresh", fresh)):
        print(f"{name} weights, {len(parts.train)} windows")
        outputs[name] = adapted(start).outputs(parts.test)
    control = catalog.find("methods", "statistical")().fit(problem)
    outputs["statistical"] = control.outputs(parts.test)
    truth = task.encode(parts.sealed.open(list(outputs)))
    statistics = {name: task.statistics(each, truth) for name, each in outputs.items()}
    return statistics, list(names), task


def main() -> None:
    """Both parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=("classic", "own"), help="one of the two parts")
    parser.add_argument("--budget", default="10m", help="of each fit of part 1")
    parser.add_argument(
        "--effort", default="balanced", help="of each fit of part 1; quick: the source is not fine-tuned"
    )
    parser.add_argument("--passes", type=int, default=40, help="over the pool of part 2")
    parser.add_argument(
        "--epochs",
        type=int,
        nargs="*",
        default=[2],
        help="of the fine-tuning of part 2, each tried; none: pretrain alone",
    )
    parser.add_argument("--draw", type=int, default=0, help="which 120 series are the pool of part 2")
    parser.add_argument(
        "--others", type=int, default=0, help="part 2 on all series that draw 0 did not test, in so many groups"
    )
    parser.add_argument("--keep", type=Path, help="folder that keeps the pretrained source and the runs")
    given = parser.parse_args()
    files = fetched()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        if given.only != "own":
            part_one(files, given.budget, given.effort, folder)
        if given.only != "classic":
            series = m1(files["m1"])
            parts = others(len(series), given.others) if given.others else [drawn(len(series), given.draw)]
            tested = []
            for number, (pool, target) in enumerate(parts):
                kept = folder / (f"others-{number}-of-{given.others}" if given.others else f"own-{given.draw}")
                if (found := part_two(series, pool, target, given.passes, given.epochs, kept)) is not None:
                    tested.append(found)
            if tested:
                compared(tested)


if __name__ == "__main__":
    main()
