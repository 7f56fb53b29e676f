"""Is the verdict true? UCI digits, 10 labels a class, mobilenet_v2, 20 seeds, against the large-sample difference.

    python benchmarks/digits_coverage.py [--seeds 20]

Each seed draws 100 labelled digits; the interval comes from repeated 5-fold cross-validation on those, so it speaks of
models trained on 80 labels. The truth is the mean over all seeds of probe minus baseline, each trained on 80 labels of
the seed and scored on the about 1 700 digits that the seed did not draw. Bar: 17 of 20 intervals cover it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import headstart
from headstart.datasets import shelf
from headstart.datasets.read import read
from headstart.evidence.curves import subsets
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.probe import Probe
from headstart.runtime import Extractor
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    digits = read(shelf.fetch("digits"))
    task, source = infer_task(digits), open_source("mobilenet_v2")
    extractor = Extractor(source)
    extractor.ensure(digits.without("target"), Probe().outputs_read(extractor, task))
    strata = np.array(task.encode(digits.targets()))
    intervals, truths = [], []
    for seed in range(given.seeds):
        drawn = np.concatenate([
            np.random.default_rng([seed, c]).choice(np.flatnonzero(strata == c), 10, replace=False) for c in range(10)
        ])  # fmt: skip
        rest = digits.select(np.setdiff1d(np.arange(len(digits)), drawn).tolist())
        labelled = digits.select(drawn.tolist())
        targets = task.encode(rest.targets())
        part = labelled.select(subsets(strata[drawn], 80, seed).tolist())
        problem = Problem(part, None, task, source, extractor, seed=seed)
        probe, baseline = (
            task.score(method.fit(problem).outputs(rest.without("target")), targets) for method in (Probe(), Baseline())
        )
        truths.append(probe - baseline)
        with tempfile.TemporaryDirectory() as folder:
            result = headstart.fit(
                labelled, source=source, method="probe", effort="quick", seed=seed, out=Path(folder) / "run"
            )
        verdict = result.record.verdict
        intervals.append(verdict.difference)
        print(
            f"seed {seed:2d}  {verdict.label:<8} {100 * verdict.difference.value:+6.1f} "
            f"[{100 * verdict.difference.low:+.1f}, {100 * verdict.difference.high:+.1f}]   "
            f"on the other digits {100 * truths[-1]:+.1f}",
            flush=True,
        )
    truth = float(np.mean(truths))
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)
    print(f"large-sample difference {100 * truth:+.2f} points; covered by {covered} of {len(intervals)} intervals")


if __name__ == "__main__":
    main()
