"""Reviews to department with few labels: is it worth pretraining the source on unlabelled reviews first?

    python benchmarks/pretrain.py [--unlabelled 15000] [--labels 256] [--test 3000] [--objective auto] [--epochs 0]
                                  [--then probe] [--then finetune] [--set learning_rate=5e-5] [--seed 0]
    python benchmarks/pretrain.py --develop      # choices: another target ("Class Name"), and none of the test rows

Reviews are drawn once by a seed and cut into unlabelled, labelled and test rows, none of them with a text of another
part. For each method that follows: its score with and without the pretraining, and the verdict on the difference,
a paired bootstrap over the test rows. The pretraining is made once and shared, since it sees no label.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart import catalog
from headstart.datasets import shelf
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.evidence.verdict import BOOTSTRAP, decide, paired_bootstrap, verdict_sentence
from headstart.methods.base import Problem, make
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task

TARGET, ASIDE, TEXT = "Department Name", "Class Name", "Review Text"


def parts(target: str, sizes: list[int], seed: int, develop: bool) -> list[Dataset]:
    """Unlabelled, labelled and test rows. Development rows are the second half of the reviews, the others the first.

    Every text occurs once; classes with under 1 % of the rows are left out (256 labels may hold one of them).
    """
    every = read(shelf.fetch("clothing_reviews"), target=target, input=TEXT)
    values, prints = every.targets(), every.fingerprints()
    names, counts = np.unique([str(value) for value in values], return_counts=True)
    common = set(names[counts >= len(values) / 100])
    first: dict[str, int] = {}
    for row, (value, digest) in enumerate(zip(values, prints)):
        if str(value) in common:
            first.setdefault(digest, row)
    order = np.random.default_rng(0).permutation(list(first.values()))
    unlabelled, labelled, test = sizes
    rest = order[unlabelled:]
    half = rest[len(rest) // 2 :] if develop else rest[: len(rest) // 2]
    half = np.random.default_rng([1, seed]).permutation(half)
    if len(half) < labelled + test:
        raise SystemExit(f"{len(half)} rows are left for {labelled} labels and {test} test rows; take fewer.")
    cuts = [order[:unlabelled], half[:labelled], half[labelled : labelled + test]]
    found = [every.select(np.sort(cut).tolist()) for cut in cuts]
    return [found[0].without("target"), *found[1:]]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("unlabelled", 15000), ("labels", 256), ("test", 3000), ("epochs", 0), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--objective", default="auto")
    parser.add_argument("--source", default="minilm")
    parser.add_argument("--then", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE of pretrain, the value as JSON")
    parser.add_argument("--develop", action="store_true")
    given = parser.parse_args()
    settings: dict[str, Any] = {"objective": given.objective, "epochs": given.epochs}
    settings |= {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
    source = open_source(given.source)
    with tempfile.TemporaryDirectory() as folder:
        run(given, settings, source, Extractor(source), Path(folder))


def run(
    given: argparse.Namespace, settings: dict[str, Any], source: Source, extractor: Extractor, folder: Path
) -> None:
    seed = given.seed
    target = ASIDE if given.develop else TARGET
    unlabelled, train, test = parts(target, [given.unlabelled, given.labels, given.test], seed, given.develop)
    task = infer_task(train)
    targets, blind = task.encode(test.targets()), test.without("target")
    print(
        f"{len(unlabelled):,} unlabelled reviews, {len(train)} with {target} ({len(task.classes)}), "
        f"{len(test):,} to test; {json.dumps(settings)}",
        flush=True,
    )
    for then in given.then or ["probe"]:
        statistics = {}
        plain = make(catalog.find("methods", then), {})
        pretrained = make(catalog.find("methods", "pretrain"), {**settings, "then": then})
        for name, method in ((then, plain), (f"pretrain -> {then}", pretrained)):
            started = time.perf_counter()
            problem = Problem(
                train, None, task, source, extractor, seed=seed, folder=folder, options={"drift": False},
                unlabelled=unlabelled,
            )  # fmt: skip
            fitted = method.fit(problem)
            seconds = time.perf_counter() - started
            outputs = fitted.outputs(blind)
            statistics[name] = task.statistics(outputs, targets)
            facts = [row for row in fitted.history if "objective" in row or "pretraining loss" in row]
            print(f"{name:<22} {task.metric} {task.score(outputs, targets):.4f}  {seconds:7.1f} s", flush=True)
            for line in [*map(json.dumps, facts), *problem.notes]:
                print(f"    {line}", flush=True)
        interval = paired_bootstrap(statistics[f"pretrain -> {then}"], statistics[then], task.combine, seed=seed)
        print(verdict_sentence(decide(interval, then, BOOTSTRAP, len(test)), task.metric), flush=True)


if __name__ == "__main__":
    main()
