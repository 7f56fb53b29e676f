"""Adaptation through the backbone: digits of UCI, of MNIST and of typefaces; target labels never used.

    python benchmarks/adaptation_networks.py                                 # the automatic choice on four pairs
    python benchmarks/adaptation_networks.py --methods all --seeds 1         # every method by itself
    python benchmarks/adaptation_networks.py --pairs digits:mnist_5k --methods auto,mcc

``auto`` is ``headstart adapt LABELLED TARGET`` and nothing else: the source (`glyph`, as the pictures are small
and grey), the method, abstaining or not. Others are fitted with their defaults on the same rows and compared with
``sourcetuned``, the same network trained on the labelled rows alone. Bars: UCI > MNIST 0.85, MNIST > UCI 0.95, faces
> both 0.90; every method no worse than sourcetuned less 1 point. Labels of the target are read here, for these scores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
PAIRS = "digits:mnist_5k,mnist_5k:digits,font_digits:digits,font_digits:mnist_5k"
ALL = "sourcetuned,adabn,dann,cdan,deepcoral,dan,jan,mcc,mcd,mdd,fixmatch,auto"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", default=PAIRS)
    parser.add_argument("--methods", default="auto", help="names with commas, or all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    names = (ALL if given.methods == "all" else given.methods).split(",")
    for pair in given.pairs.split(","):
        one, other = pair.split(":")
        found: dict[str, list[float]] = {}
        for seed in range(given.first, given.first + given.seeds):
            for name in names:
                started = time.monotonic()
                score, told = automatic(one, other, seed) if name == "auto" else single(one, other, name, seed)
                found.setdefault(name, []).append(score)
                gap = f"{100 * (score - found['sourcetuned'][-1]):+.1f}" if "sourcetuned" in found else ""
                took = time.monotonic() - started
                print(
                    f"{one} > {other}  seed {seed}  {name:<12}{score:.4f}  {gap:>6}  {took:.0f} s  {told}", flush=True
                )
        line = "  ".join(f"{name} {np.mean(scores):.3f}" for name, scores in found.items())
        print(f"{one} > {other}, mean of {given.seeds}: {line}", flush=True)


def automatic(one: str, other: str, seed: int) -> tuple[float, str]:
    """What `headstart adapt` ships, and why."""
    import headstart
    from headstart.datasets import shelf

    with tempfile.TemporaryDirectory() as folder:
        run = headstart.adapt(shelf.fetch(one), shelf.fetch(other), seed=seed, out=Path(folder) / "run")
        record = run.record
        assert record.adaptation is not None
        scores = ", ".join(f"{each.name} {each.test:.4f}" for each in record.candidates if each.test is not None)
        verdict = "" if record.verdict is None else record.verdict.label
        for line in run.fitted.history[-1]["compared"]:
            judged = ", ".join(f"{judge} {value:.3f}" for judge, value in line["scores"].items())
            print(f"    {line['method']}: {judged}; {line['why'] or 'nothing speaks against it'}", flush=True)
        return record.metrics["accuracy"], f"{scores}; {verdict}; {record.shipped_because}"


def single(one: str, other: str, name: str, seed: int) -> tuple[float, str]:
    """One method with its defaults."""
    from headstart import catalog
    from headstart.datasets import shelf
    from headstart.datasets.read import read
    from headstart.methods.adaptation import inputs
    from headstart.methods.base import Problem
    from headstart.sources.shelf import open_source
    from headstart.tasks.base import infer_task

    labelled, target = (read(shelf.fetch(each)) for each in (one, other))
    task = infer_task(labelled, None)
    problem = Problem(
        labelled, None, task, open_source("glyph"), None, seed=seed, domain=inputs(target), options={"drift": False}
    )
    outputs = catalog.find("methods", name)().fit(problem).outputs(inputs(target))
    return task.score(outputs, task.encode(target.targets())), ""


if __name__ == "__main__":
    main()
