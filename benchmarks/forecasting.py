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
labels on 120 of them; the other 61 are the target: fine-tuned from the pretrained weights and from fresh ones, on the
same windows, with the same passes and each at the best of the same rates on validation.
"""

from __future__ import annotations

import csv
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
