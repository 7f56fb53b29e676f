"""Adaptation on features: every method and the automatic choice on simulated and real shifts, target labels never used.

    python benchmarks/adaptation.py                              # all sets
    python benchmarks/adaptation.py --sets simulated --seeds 5   # as published by skada's benchmark (arXiv:2407.11676)
    python benchmarks/adaptation.py --sets simulated --first 100 # the seeds on which the limits of `adapt` were chosen

simulated: `make_shifted_datasets` of skada with the sizes and noise of its benchmark. digits: UCI digits and MNIST
without its margin, on 8 x 8 pixels. reviews: "recommended" learned on one department, used on another (features of
minilm). adult: income across groups of occupations. housing: California, north and south (R²). Scores are accuracy (R²
for numbers) on the target rows, whose labels are read here and nowhere else. Under each table stands what `adapt` went
by.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart import catalog
from headstart.methods.adaptation import Domains
from headstart.nn.heads import choose
from headstart.nn.maps import chain
from headstart.tasks.base import Task
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression

warnings.filterwarnings("ignore")
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("sourceonly", {}), ("coral", {}), ("subspace", {}), ("tca", {}), ("tca", {"kernel": "linear", "components": 1}),
    ("ot", {}), ("ot", {"plan": "exact"}), ("ot", {"plan": "classes"}), ("labelshift", {}),
    ("labelshift", {"estimator": "bbse"}), ("labelshift", {"estimator": "mmd"}), ("importance", {}),
    ("importance", {"estimator": "kmm"}), ("importance", {"estimator": "kliep"}), ("jdot", {}), ("pseudolabel", {}),
    ("adapt", {}),
]  # fmt: skip
MOST = 3000  # rows of a domain
Shift = tuple[str, Any, Any, Any, Any]  # name, X, y, target, truth


def simulated(seeds: range) -> Iterator[Shift]:
    """The four shifts, with sizes and noise as in skada's benchmark."""
    from headstart.sources import torchvision_compat

    torchvision_compat.heal()
    from skada.datasets import make_shifted_datasets

    for shift in ("covariate_shift", "target_shift", "conditional_shift", "subspace"):
        rows = 300 if shift == "subspace" else 100
        noise = {"subspace": 0.4, "covariate_shift": 0.6}.get(shift, 0.8)
        for seed in seeds:
            X, y, domain = make_shifted_datasets(
                rows, rows, shift=shift, noise=noise, label="binary", center_cov_shift=(-0.4, 3), random_state=seed
            )
            own = domain > 0
            yield shift, X[own], y[own], X[~own], y[~own]


def digits(seeds: range) -> Iterator[Shift]:
    """Both ways between UCI digits and MNIST, 8 x 8 pixels in 0 to 1."""
    import io
    from pathlib import Path

    from PIL import Image
    from sklearn.datasets import load_digits

    from headstart.datasets import shelf

    data = load_digits()
    files = sorted(Path(shelf.fetch("mnist_5k")).rglob("*.png"))
    grey = [
        Image.open(io.BytesIO(f.read_bytes())).convert("L").crop((4, 4, 24, 24)) for f in files
    ]  # without its margin
    pixels = [np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)) for image in grey]
    uci = data.data / 16, data.target
    mnist = np.array(pixels).reshape(len(files), 64) / 255, np.array([int(f.parent.name) for f in files])
    yield from _both("uci", uci, "mnist", mnist, seeds)


def reviews(seeds: range) -> Iterator[Shift]:
    """Recommended or not, from dresses to bottoms and so on."""
    import pandas as pd

    from headstart.datasets import shelf
    from headstart.datasets.read import read
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source

    table = pd.read_csv(shelf.fetch("clothing_reviews"))
    table = table.dropna(subset=["Review Text", "Department Name"]).drop_duplicates("Review Text")
    found = {}
    extractor = Extractor(open_source("minilm"))
    for name in ("Dresses", "Bottoms", "Intimate", "Jackets"):
        part = table[table["Department Name"] == name].sample(frac=1, random_state=0)[:MOST]
        rows = read({"text": part["Review Text"].tolist()}, input="text", for_prediction=True)
        found[name] = extractor.matrix(rows), part["Recommended IND"].to_numpy()
    for one, other in (("Dresses", "Bottoms"), ("Intimate", "Jackets")):
        yield from _both(one, found[one], other, found[other], seeds)


def adult(seeds: range) -> Iterator[Shift]:
    """Income across groups of occupations."""
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("adult"))
    groups = {
        "office": ["Exec-managerial", "Prof-specialty", "Adm-clerical", "Sales", "Tech-support"],
        "trade": ["Craft-repair", "Machine-op-inspct", "Transport-moving", "Handlers-cleaners", "Farming-fishing"],
        "service": ["Other-service", "Protective-serv", "Priv-house-serv"],
    }
    inputs = [name for name in table.columns if name not in ("income", "occupation", "fnlwgt")]
    wide = pd.get_dummies(table[inputs], dtype=float)
    wide = ((wide - wide.mean()) / wide.std().replace(0, 1)).clip(-8, 8).to_numpy(np.float32)
    label = (table["income"].str.strip() == ">50K").to_numpy(int)
    found = {}
    for name, members in groups.items():
        rows = np.flatnonzero(table["occupation"].isin(members))
        rows = np.random.default_rng(0).permutation(rows)[:MOST]
        found[name] = wide[rows], label[rows]
    yield from _both("office", found["office"], "trade", found["trade"], seeds)
    yield from _both("office", found["office"], "service", found["service"], seeds)


def housing(seeds: range) -> Iterator[Shift]:
    """Median values of Californian blocks, north and south of 36 degrees; place itself is not an input."""
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("california_housing")).sample(frac=1, random_state=0)
    inputs = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup"]
    X = table[inputs].to_numpy(np.float64)
    X = np.clip((X - X.mean(axis=0)) / X.std(axis=0), -4, 4)
    y, north = table["MedHouseVal"].to_numpy(), table["Latitude"].to_numpy() > 36
    one, other = ((X[part][:MOST], y[part][:MOST]) for part in (north, ~north))
    yield from _both("north", one, "south", other, seeds)


def _both(name: str, one: Any, to: str, other: Any, seeds: range) -> Iterator[Shift]:
    """Both ways, of half of the rows drawn by each seed."""
    for first, second, label in ((one, other, f"{name} > {to}"), (other, one, f"{to} > {name}")):
        for seed in seeds:
            rng = np.random.default_rng(seed)
            rows, goals = (rng.permutation(len(each[0]))[: max(1000, len(each[0]) // 2)] for each in (first, second))
            yield label, first[0][rows], first[1][rows], second[0][goals], second[1][goals]


SETS: dict[str, Callable[[range], Iterator[Shift]]] = {
    "simulated": simulated, "digits": digits, "reviews": reviews, "adult": adult, "housing": housing,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--methods", default="", help="names of methods; all by default")
    given = parser.parse_args()
    wanted = given.methods.split(",") if given.methods else [name for name, _ in METHODS]
    shipped: list[tuple[str, float]] = []
    for name in given.sets.split(","):
        scores: dict[str, dict[str, list[float]]] = {}
        seconds: dict[str, list[float]] = {}
        reasons: dict[str, list[str]] = {}
        for shift, X, y, target, truth in SETS[name](range(given.first, given.first + given.seeds)):
            task: Task
            if y.dtype.kind == "f":
                task = Regression(float(y.mean()), float(y.std()))
            else:
                task = Classification(np.unique(y).tolist())
            encoded = np.asarray(task.encode(y.tolist()))
            domains = Domains(task, X, encoded, target, choose(task, X, encoded))
            for method, settings in METHODS:
                if method not in (*wanted, "sourceonly"):
                    continue
                how = catalog.find("methods", method)(**settings)
                if (how.tasks and task.name not in how.tasks) or (
                    settings.get("plan") == "classes" and not task.classes
                ):
                    continue
                started = time.perf_counter()
                maps, aligned, _ = how.adapt(domains)
                score = task.score(chain(maps, target), task.encode(truth.tolist()))
                label = " ".join([method, *map(str, settings.values())])
                seconds.setdefault(label, []).append(time.perf_counter() - started)
                scores.setdefault(label, {}).setdefault(shift, []).append(score)
                if method == "adapt":
                    assert aligned.history is not None
                    reasons.setdefault(shift, []).append(aligned.history["because"])
        _tell(name, scores, seconds, reasons)
        for shift, values in scores.get("adapt", {}).items():
            plain = scores["sourceonly"][shift]
            shipped += [(shift, 100 * (one - other)) for one, other in zip(values, plain)]
    if shipped:
        worse = [change for _, change in shipped if change < -1]
        mean = np.mean([change for _, change in shipped])
        share = f"{len(worse)} of {len(shipped)} ({100 * len(worse) / len(shipped):.1f} %)"
        print(f"adapt ships more than 1 point under source-only: {share}; mean change {mean:+.1f} points")


def _tell(name: str, scores: Any, seconds: Any, reasons: dict[str, list[str]]) -> None:
    shifts = list(scores["sourceonly"])
    print(f"\n{name}\n{'':<20}" + "".join(f"{shift:>20}" for shift in shifts) + f"{'worse':>10}{'seconds':>10}")
    for label, found in scores.items():
        line = "".join(f"{np.mean(found[shift]):>20.3f}" for shift in shifts)
        pairs = [(one, other) for shift in shifts for one, other in zip(found[shift], scores["sourceonly"][shift])]
        worse = np.mean([one < other - 0.01 for one, other in pairs])
        print(f"{label:<20}{line}{100 * worse:>8.0f} %{np.mean(seconds[label]):>10.2f}", flush=True)
    for shift, why in reasons.items():
        for reason in dict.fromkeys(why):
            print(f"  {shift}: {why.count(reason)} times {reason}")


if __name__ == "__main__":
    main()
