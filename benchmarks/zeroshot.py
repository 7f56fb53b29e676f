"""Zero-shot against chance, the majority class and a probe: the labels that a probe needs to match it.

    python benchmarks/zeroshot.py             # reviews to departments, photographs, digits
    python benchmarks/zeroshot.py --develop   # the development sets on which the defaults were settled
    python benchmarks/zeroshot.py --eszsl     # garments: each third of the classes without a row, in turn

No label of any row is read by the methods. Half of the rows are what they see, without labels; the other half is the
test. The probe learns from 1, 2, 4, ... labels a class of the first half (5 draws), and its curve is read where it
reaches zero-shot's accuracy on the test (`headstart.evidence.matching`).

The photographs are colour crops of eleven pictures that scikit-image and scikit-learn ship, so all rows of a class show
one picture: a set of eleven, seen many times.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTOS = {
    "astronaut.png": "astronaut", "chelsea.png": "cat", "coffee.png": "coffee", "coins.png": "coins",
    "motorcycle_left.png": "motorcycle", "rocket.jpg": "rocket", "brick.png": "brick wall", "grass.png": "grass",
    "gravel.png": "gravel", "flower.jpg": "flower", "china.jpg": "temple",
}  # fmt: skip
DEPARTMENTS = {
    "Tops": "a top, such as a blouse, shirt or sweater", "Dresses": "a dress", "Trend": "a trendy garment",
    "Bottoms": "pants, jeans, shorts or a skirt", "Jackets": "a jacket or a coat",
    "Intimate": "lingerie, sleepwear, swimwear or socks",
}  # fmt: skip
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOPICS = {
    "statistics": "scipy.stats", "plotting and figures": "matplotlib", "machine learning": "sklearn",
    "image processing": "skimage", "tables of data": "pandas", "linear algebra": "scipy.linalg",
    "signal processing": "scipy.signal", "sparse matrices": "scipy.sparse", "neural networks": "torch.nn",
    "networks and graphs": "networkx", "optimization": "scipy.optimize", "web pages and html": "jinja2",
}  # fmt: skip


@dataclass
class Set:
    """Inputs and true labels [N]. labels: what each label means, or none for the names alone."""

    name: str
    kind: str
    source: str
    inputs: list[Any]
    targets: list[str]
    labels: dict[str, str] = field(default_factory=dict)


# --- sets ------------------------------------------------------------------------------------------------------------


def departments(rows: int) -> list[Set]:
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("clothing_reviews_demo")).sample(rows, random_state=0)
    texts, targets = table["Review Text"].tolist(), table["Department Name"].tolist()
    named = Set("reviews, names", "text", "minilm", texts, targets)
    return [named, Set("reviews, described", "text", "minilm", texts, targets, DEPARTMENTS)]


def photographs(rows: int) -> list[Set]:
    import skimage
    import sklearn.datasets

    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images"]
    found = [(folder / name, label) for name, label in PHOTOS.items() for folder in folders if (folder / name).exists()]
    photos = [(Image.open(path).convert("RGB"), label) for path, label in found]
    rng = np.random.default_rng(7)
    inputs, targets = [], []
    for _ in range(rows):
        photo, label = photos[rng.integers(len(photos))]
        side = int(rng.uniform(0.35, 0.9) * min(photo.size))
        left, top = int(rng.integers(0, photo.width - side + 1)), int(rng.integers(0, photo.height - side + 1))
        stream = io.BytesIO()
        photo.crop((left, top, left + side, top + side)).resize((128, 128)).save(stream, "PNG")
        inputs.append(stream.getvalue())
        targets.append(label)
    return [Set("photographs", "image", source, inputs, targets) for source in ("mobilenet_v2", "efficientnet_lite2")]


def digits(rows: int) -> list[Set]:
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = []
    order = np.random.default_rng(0).permutation(len(data.target))[:rows]
    for at in order:
        stream = io.BytesIO()
        Image.fromarray((data.images[at] * 15.9375).astype(np.uint8)).resize((64, 64)).save(stream, "PNG")
        inputs.append(stream.getvalue())
    targets = [str(data.target[at]) for at in order]
    meanings = {str(number): f"the digit {word}" for number, word in enumerate(NUMERALS)}
    return [Set("digits, described", "image", "mobilenet_v2", inputs, targets, meanings)]


def documentation() -> Set:
    """First paragraphs of the documentation of libraries, by topic."""
    texts, targets = [], []
    for topic, name in TOPICS.items():
        found = set()
        package = importlib.import_module(name)
        modules = [package]
        for info in list(pkgutil.iter_modules(getattr(package, "__path__", []), name + "."))[:60]:
            if not any(word in info.name for word in ("test", "__main__", "cli")):
                try:
                    modules.append(importlib.import_module(info.name))
                except Exception:  # an optional part whose own requirements are not installed
                    continue
        for module in modules:
            for word, thing in vars(module).items():
                own = str(getattr(thing, "__module__", "")).startswith(name.split(".")[0])
                if own and (inspect.isfunction(thing) or inspect.isclass(thing)) and not word.startswith("_"):
                    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())[:300]
                    found |= {text} if len(text) > 30 else set()
        chosen = np.random.default_rng(0).permutation(sorted(found))[:150].tolist()
        texts += chosen
        targets += [topic] * len(chosen)
    return Set("documentation", "text", "minilm", texts, targets)


def other_reviews(column: str, rows: int, labels: dict[str, str] | None = None) -> Set:
    """Reviews that are not among those of the benchmark."""
    import pandas as pd

    from headstart.datasets import shelf

    shown = set(pd.read_csv(shelf.fetch("clothing_reviews_demo"))["Review Text"])
    table = pd.read_csv(shelf.fetch("clothing_reviews")).dropna(subset=["Review Text", column])
    table = table[~table["Review Text"].isin(shown)].drop_duplicates("Review Text").sample(rows, random_state=5)
    return Set(
        column, "text", "minilm", table["Review Text"].tolist(), table[column].astype(str).tolist(), labels or {}
    )


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(each: Set, probe: bool = True) -> None:
    from headstart import catalog
    from headstart.evidence.learners import Pool, learner_of
    from headstart.evidence.matching import Matching
    from headstart.methods.base import Problem
    from headstart.methods.probe import Probe
    from headstart.methods.zeroshot import ZeroShot
    from headstart.nn.prompts import canonical
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source
    from headstart.testing import dataset_with

    order = np.random.default_rng(1).permutation(len(each.inputs)).tolist()
    everything = dataset_with(each.inputs, each.targets, "category", each.kind)
    half = len(order) // 2
    known, test = everything.select(order[:half]), everything.select(order[half:])
    task = catalog.find("tasks", "classification")(sorted(set(each.targets)))
    source = open_source(each.source)
    extractor = Extractor(source)
    extractor.ensure(everything.without("target"), Probe().outputs_read(extractor, task))
    problem = Problem(known, None, task, source, extractor)
    truth, rest = task.encode(test.targets()), test.without("target")
    words = canonical(each.labels) if each.labels else ""
    scores = {}
    for adapt in ("none", "rows"):
        fitted = ZeroShot(labels=words, adapt=adapt).fit(problem)
        scores[adapt] = task.score(outputs := fitted.outputs(rest), truth)
    confidence = float(np.mean(task.decode(outputs).confidence))
    share = np.bincount(truth, minlength=task.width).max() / len(truth)
    line = f"{each.name:<20} {each.source:<19} {half:>5} {task.width:>3}  {1 / task.width:>6.3f}  {share:>8.3f}"
    line += f"  {scores['none']:>10.3f}  {scores['rows']:>9.3f}  {confidence:>10.3f}"
    if probe:
        pool = Pool(known, rest, task.encode(known.targets()))
        way = (np.arange(half), half + np.arange(len(rest)))
        learner = learner_of(problem, pool, Probe().fit(problem))
        inside = fitted.outputs(known.without("target"))
        matching = Matching(problem, pool, [way], [outputs], inside, learner, "zeroshot", 600)
        matching.run()
        matching.head_start([truth], [np.arange(len(truth))], len(truth), None)
        found = matching.matched
        assert found is not None
        sign = {"exact": "", "less than": "<", "more than": ">"}[found["bound"]]
        low, high = found["interval"]
        line += f"  {sign}{found['labels']:.0f} [{low:.0f}, {high:.0f}]"
    print(line, flush=True)


def held_out_garments(rows: int) -> None:
    """ESZSL, described garments: trained without a third of the classes, tested on all of them."""
    from headstart import catalog
    from headstart.methods import eszsl
    from headstart.methods.base import Problem
    from headstart.nn.prompts import canonical
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source
    from headstart.testing import dataset_with

    each = other_reviews("Class Name", rows)
    classes = np.array(sorted(set(each.targets)))
    source = open_source("minilm")
    extractor = Extractor(source)
    order = np.random.default_rng(0).permutation(len(each.targets))
    every, truth = dataset_with(each.inputs, each.targets, "category"), np.array(each.targets)
    later = np.zeros(len(truth), bool)
    later[order[: len(order) // 3]] = True
    print(f"{'held out':<70}  seen  unseen  harmonic mean  (chance {1 / len(classes):.3f})")
    for part in np.array_split(np.random.default_rng(1).permutation(classes), 3):
        away = np.isin(truth, part)
        train = every.select(np.flatnonzero(~away & ~later).tolist())
        known = catalog.find("tasks", "classification")(sorted(set(train.targets())))
        method = eszsl.ESZSL(labels=canonical(classes.tolist()))
        task = method.widened(known)
        fitted = method.fit(Problem(train, None, task, source, extractor))
        places = np.flatnonzero(away | later)
        test = every.select(places.tolist()).without("target")
        said = np.array(fitted.predict(test).values)
        seen = eszsl.accuracy_by_class(truth[places], said, sorted(set(classes) - set(part)))
        unseen = eszsl.accuracy_by_class(truth[places], said, part.tolist())
        print(f"{', '.join(part):<70}  {seen:.3f}  {unseen:.3f}   {eszsl.harmonic_mean(seen, unseen):.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--develop", action="store_true")
    parser.add_argument("--eszsl", action="store_true")
    parser.add_argument("--rows", type=int, default=2000, help="reviews; half as many images")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    given = parser.parse_args(arguments)
    if given.eszsl:
        held_out_garments(given.rows)
        return
    head = (
        f"{'set':<20} {'source':<19} {'rows':>5} {'C':>3}  {'chance':>6}  majority  similarity  zero-shot  confidence"
    )
    print(head + ("" if given.develop else "  labels a probe needs"))
    if given.develop:
        advice = {"0": "a bad experience, not recommended", "1": "a good experience, recommended"}
        sets = [documentation(), other_reviews("Class Name", 2500), other_reviews("Recommended IND", 2500, advice)]
    else:
        sets = [*departments(given.rows), *photographs(given.rows // 2), *digits(given.rows // 2)]
    for each in (each for each in sets if each.name.startswith(given.only)):
        measure(each, probe=not given.develop)


if __name__ == "__main__":
    from headstart.sources.torchvision_compat import heal

    heal()
    main()
