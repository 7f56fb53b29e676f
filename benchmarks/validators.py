"""Which score without target labels tells a good adaptation from a bad one: on simulated shifts alone.

    python benchmarks/validators.py --keep FOLDER                       # all sets, seeds from 200
    python benchmarks/validators.py --keep FOLDER --sets digits --seeds 3

simulated: `make_shifted_datasets` of skada as in `adaptation.py`, on other seeds than those reported there. digits: UCI
digits (8 x 8 pixels), those of the target domain turned, blurred, robbed of strips, and so on. Both: every method on
features. networks: `glyph` trained through the backbone on the digits of the second set. ``--keep`` keeps outputs and
features, so that another score costs no other fit. Labels of the target rows are read here to judge the validators
(`headstart.nn.validators`), and nowhere else.

Printed for each: the rank correlation of the score with the accuracy on target rows over the models of a shift; the
regret in points of taking the model of the highest score; how often that is over 1 point under source-only, and the
mean and the least change against it, in points; how often the control was kept.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.stats import rankdata, spearmanr

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.methods.adaptation import Adaptation, Domains
from headstart.methods.base import Problem
from headstart.methods.preference import JUDGES, Seen, predicted, weigh
from headstart.nn import validators
from headstart.nn.heads import choose
from headstart.nn.maps import chain
from headstart.runtime import Extractor
from headstart.sources.glyph import Glyph
from headstart.tasks.classification import Classification

sys.path.insert(0, str(Path(__file__).parent))
from adaptation import simulated

warnings.filterwarnings("ignore")
METHODS = ("sourceonly", "coral", "subspace", "tca", "ot", "importance", "jdot", "pseudolabel", "labelshift")
NETWORKS = ("sourcetuned", "dann", "deepcoral", "mcc", "fixmatch")
EPOCHS = 25
SEEDS = {"simulated": 12, "digits": 4, "networks": 1}
FIRST = 200
ROWS = 500  # digits of a domain
Shift = tuple[str, Any, Any, Any, Any]  # name, X, y, target, truth
Model = dict[str, Any]  # the arrays of `headstart.methods.preference.Seen`
Case = dict[str, Any]  # "shift", "y", "truth", "models": name -> Model, the control first


# --- shifts -------------------------------------------------------------------------------------------------------


def digits(seeds: range) -> Iterator[Shift]:
    """Some of the digits as they are, as many others changed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, y = data.images / 16, data.target
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        ours, theirs = order[:ROWS], order[ROWS : 2 * ROWS]
        for name, change in CHANGES.items():
            kept = theirs
            if name == "shares":
                odds = rng.permutation(np.geomspace(0.05, 1, 10))
                kept = theirs[rng.random(len(theirs)) < odds[y[theirs]]]
            target = np.clip(change(images[kept], rng), 0, 1).reshape(len(kept), 64)
            yield f"digits {name}", images[ours].reshape(len(ours), 64), y[ours], target, y[kept]


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "turned 20": lambda images, rng: ndimage.rotate(images, 20, (1, 2), reshape=False, order=1),
    "turned 40": lambda images, rng: ndimage.rotate(images, 40, (1, 2), reshape=False, order=1),
    "blurred": lambda images, rng: ndimage.gaussian_filter(images, (0, 1.0, 1.0)),
    "strips": lambda images, rng: images * (np.arange(8) % 4 != 1),
    "moved": lambda images, rng: ndimage.shift(images, (0, 0, 1)),
    "noise": lambda images, rng: images + 0.3 * rng.normal(size=images.shape),
    "faint": lambda images, rng: 0.4 * images + 0.2,
    "shares": lambda images, rng: images,
    "same": lambda images, rng: images,
}


def hard_digits(seeds: range) -> Iterator[Shift]:
    """Those that a network which sees every sign in the same way does not see through."""
    for shift in digits(seeds):
        if shift[0].removeprefix("digits ") in ("turned 40", "strips", "noise", "shares", "blurred", "moved"):
            yield f"network on {shift[0]}", *shift[1:]


# --- models -------------------------------------------------------------------------------------------------------


def fitted(method: Adaptation, domains: Domains) -> Model:
    """Outputs and features of one method: labelled rows as it moved them, out of fold where they are the same rows."""
    maps, aligned, head = method.adapt(domains)
    n = len(domains.X)
    moved = len(aligned.X) >= n and method.name != "jdot"
    X = aligned.X[:n] if moved else domains.X
    source = head.outside[:n] if moved and head.outside is not None else chain(head.maps, X)
    return {
        "source": source, "target": chain(maps, domains.target), "source_features": X,
        "target_features": chain(aligned.onto, domains.target),
    }  # fmt: skip


def on_features(shift: Shift, seed: int) -> tuple[Any, dict[str, Model]]:
    """(classes of the labelled rows, models): every method, and once more on two thirds of the rows of both domains for
    the agreement."""
    _, X, y, target, _ = shift
    task = Classification(np.unique(y).tolist())
    encoded = np.asarray(task.encode(y.tolist()))
    rng = np.random.default_rng(seed)
    rows, goals = (np.sort(rng.permutation(len(each))[: 2 * len(each) // 3]) for each in (X, target))
    recipe = choose(task, X, encoded)
    whole = Domains(task, X, encoded, target, recipe)
    part = Domains(task, X[rows], encoded[rows], target[goals], recipe, seed=1)
    models = {}
    for name in METHODS:
        how = catalog.find("methods", name)()
        models[name] = fitted(how, whole) | {"other": chain(how.adapt(part)[0], target)}
    return encoded, models


def of_networks(shift: Shift, seed: int) -> tuple[Any, dict[str, Model]]:
    """The same of `glyph` trained on four fifths of the labelled rows; the others are those it is judged on."""
    _, X, y, target, _ = shift
    task = Classification([str(each) for each in np.unique(y)])
    cut = 4 * len(X) // 5
    train, valid, goal = pictures(X[:cut], y[:cut]), pictures(X[cut:]), pictures(target)
    models = {}
    for name in NETWORKS:
        source = Glyph()
        extractor = Extractor(source, cache=False, precision="fp32")
        options = {"precision": "fp32", "drift": False}
        problem = Problem(train, None, task, source, extractor, seed=seed, domain=goal, options=options)
        model = catalog.find("methods", name)(epochs=EPOCHS).fit(problem)
        read = Extractor(model.source, cache=False, precision="fp32")
        models[name] = {
            "source": model.outputs(valid), "target": model.outputs(goal), "source_features": read.matrix(valid),
            "target_features": read.matrix(goal), "other": None,
        }  # fmt: skip
    return np.searchsorted(np.unique(y), y[cut:]), models


def pictures(X: Any, y: Any = None) -> Dataset:
    """Digits [N,64] as pictures."""
    import datasets

    files = []
    for row in X:
        file = io.BytesIO()
        Image.fromarray((row.reshape(8, 8) * 255).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    rows, columns = {"image": files}, [Column("image", "input", "image")]
    if y is not None:
        rows["label"] = [str(each) for each in y]
        columns.append(Column("label", "target", "category"))
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="digits")


SETS = {"simulated": (simulated, on_features), "digits": (digits, on_features), "networks": (hard_digits, of_networks)}


def cases(name: str, seeds: range, keep: Path | None) -> Iterator[Case]:
    """Those of a set, from the folder where they are in it."""
    shifts, fit = SETS[name]
    for number, shift in enumerate(shifts(seeds)):
        path = None if keep is None else keep / f"{name}-{seeds.start}-{len(seeds)}-{number}.npy"
        if path is not None and path.exists():
            yield np.load(path, allow_pickle=True).item()
            continue
        y, models = fit(shift, number)
        truth = np.searchsorted(np.unique(shift[2]), shift[4])
        found = {"shift": shift[0], "y": y, "truth": truth, "models": models}
        if path is not None:
            np.save(path, found, allow_pickle=True)  # type: ignore[arg-type]
        yield found


# --- judging the validators ---------------------------------------------------------------------------------------


@dataclass
class Told:
    """A case in numbers: scores, predicted shares and accuracy on target rows of each model; the control first."""

    shift: str
    scores: list[dict[str, float]]
    shares: list[Any]
    accuracy: Any


def told(case: Case) -> Told:
    """What the validators say of every model of a case, and what is true."""
    models = [Seen(**each) for each in case["models"].values()]
    return Told(
        case["shift"],
        [validators.scores(m.source, case["y"], *m[1:4], other=m.other) for m in models],
        [predicted(m.target) for m in models],
        np.array([float((m.target.argmax(axis=1) == case["truth"]).mean()) for m in models]),
    )  # fmt: skip


COMBINED = {
    "mean rank of all": (
        "weighted risk",
        "deep embedded",
        "density",
        "certainty",
        "information",
        "reverse",
        "clusters",
    ),
    "mean rank, reverse + clusters": ("reverse", "clusters"),
    "mean rank of the judges": JUDGES,
}


def ranked(each: Told, names: Sequence[str]) -> Any:
    """The mean rank of each model, higher is better."""
    return np.mean([rankdata([found[name] for found in each.scores]) for name in names], axis=0)


def preferred(each: Told) -> int:
    """The choice of `prefer`, 0 for the control."""
    found = weigh([*each.scores[1:], each.scores[0]], [*each.shares[1:], each.shares[0]])
    return 0 if found.index is None else found.index + 1


def voted(each: Told) -> int:
    """Every judge names its model; two have to name the same one, else the control is kept."""
    names = [int(np.argmax([found[judge] for found in each.scores])) for judge in JUDGES]
    return next((name for name in names if names.count(name) > 1), 0)


def line(label: str, cases: Sequence[Told], values: Callable[[Told], Any] | None, pick: Callable[[Told], int]) -> None:
    """One line of the table."""
    correlation = []
    for each in cases if values is not None else ():
        assert values is not None
        if np.ptp(found := values(each)) > 0 and np.ptp(each.accuracy) > 0:
            correlation.append(spearmanr(found, each.accuracy).statistic)
    chosen = [(pick(each), each.accuracy) for each in cases]
    change = np.array([accuracy[at] - accuracy[0] for at, accuracy in chosen])
    regret = np.mean([accuracy.max() - accuracy[at] for at, accuracy in chosen])
    kept = np.mean([at == 0 for at, _ in chosen])
    rank = f"{np.mean(correlation):>+8.2f}" if correlation else " " * 8
    print(
        f"{label:<32}{rank}{100 * regret:>8.1f}{100 * np.mean(change < -0.01):>7.0f} %{100 * change.mean():>+8.1f}"
        f"{100 * change.min():>+8.1f}{100 * kept:>7.0f} %",
        flush=True,
    )


def report(name: str, cases: Sequence[Told]) -> None:
    """The table of a set."""
    print(f"\n{name}, {len(cases)} shifts{'':<12}  rank r  regret    worse  change   least    kept")
    for validator in cases[0].scores[0]:

        def values(each: Told, validator: str = validator) -> Any:
            return np.array([found[validator] for found in each.scores])

        line(validator, cases, values, lambda each, values=values: int(values(each).argmax()))  # type: ignore[misc]
    for label, names in COMBINED.items():

        def ranks(each: Told, names: Sequence[str] = names) -> Any:
            return ranked(each, names)

        line(label, cases, ranks, lambda each, ranks=ranks: int(ranks(each).argmax()))  # type: ignore[misc]
    line("vote of two judges", cases, None, voted)
    line("prefer", cases, None, preferred)
    line("(the best there is)", cases, None, lambda each: int(each.accuracy.argmax()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=0, help="of each set; 12, 4 and 1 by default")
    parser.add_argument("--first", type=int, default=FIRST)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for outputs and features")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    for name in given.sets.split(","):
        seeds = range(given.first, given.first + (given.seeds or SEEDS[name]))
        report(name, [told(each) for each in cases(name, seeds, given.keep)])


if __name__ == "__main__":
    main()
