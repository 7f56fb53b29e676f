"""Reviews to department, rating and recommended: each target's verdict, shared network against single networks.

    python benchmarks/multitask.py --rows 6000 --test 4000
    python benchmarks/multitask.py --rows 6000 --test 4000 --weighting equal uncertainty gradnorm pcgrad

One fit a weighting through `headstart.fit`, as the command line runs it: the department is one of 6 classes, the rating
a number, recommended a yes or no. The single networks are trained in the same run, with the same settings and an equal
share of the time each. The bar: for no target does the test say that what ships is worse than its single network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TEXT, TARGETS = "Review Text", ("Department Name", "Rating", "Recommended IND")


def rows(count: int, test: int, seed: int) -> dict[str, list[Any]]:
    """Reviews with all three targets, each text once, drawn by the seed, and as many more to test on; without
    departments of under 10 of them.
    """
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("clothing_reviews"))[[TEXT, *TARGETS]].dropna().drop_duplicates(TEXT)
    chosen = np.random.default_rng(seed).permutation(len(table))[: count + test]
    table = table.iloc[chosen].assign(split=["train"] * count + ["test"] * (len(chosen) - count))
    common = table[TARGETS[0]].map(table[TARGETS[0]].value_counts()) >= 10
    return table[common].to_dict("list")  # type: ignore[no-any-return]


def one(data: dict[str, list[Any]], weighting: str, given: argparse.Namespace) -> bool:
    """Fit and print; whether no target ships worse than its single network."""
    import headstart
    from headstart.report.targets import together

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = headstart.fit(
            data, list(TARGETS), source=given.source, method="multitask", input=TEXT, kinds={"Rating": "number"},
            budget=given.budget, seed=given.seed, out=Path(folder) / "run",
            settings={"weighting": weighting, "epochs": given.epochs},
        )  # fmt: skip
        seconds = time.perf_counter() - started
    record = result.record
    splits = record.data["splits"]
    print(f"\n{weighting}: {splits['train']} to train, {splits['valid']} to choose, {splits['test']} to test; "
          f"{seconds:.0f} s on {os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads")  # fmt: skip
    print(f"{'target':<18}{'metric':<10}{'single':>8}{'shared':>8}{'control':>9}   ships       "
          f"{'shared - single':<24}{'shipped - single'}")  # fmt: skip
    kept = True
    for target in record.targets:
        scores = {line.name: line.validation if line.test is None else line.test for line in target.candidates}
        control = max(score for line in target.candidates if line.role == "control"
                      and (score := scores[line.name]) is not None)  # fmt: skip
        against = {each.method: each.verdict for each in record.comparisons if each.on == target.name}
        shipped = against.get(target.shipped)
        kept &= shipped is None or shipped.label != "negative"
        print(f"{target.name:<18}{target.task['metric']:<10}{scores['finetune']:>8.4f}{scores['multitask']:>8.4f}"
              f"{control:>9.4f}   {target.shipped:<12}{_told(against['multitask']):<24}"
              f"{'itself' if shipped is None else _told(shipped)}   ({target.shipped_by})")  # fmt: skip
    print(f"affinity: {together(record.affinity) or 'too few measurements'}")
    for name, line in zip(TARGETS, (record.affinity or {"share": []})["share"]):
        print(f"  a step for {name:<18}" + "".join(f"{'-' if value is None else f'{value:+.2f}':>8}" for value in line))
    print(f"no target ships worse than its single network: {'yes' if kept else 'NO'}")
    return kept


def _told(verdict: Any) -> str:
    gap = verdict.difference
    return f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6000, help="labelled, to train and to choose by")
    parser.add_argument("--test", type=int, default=4000, help="further rows to test on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="minilm")
    parser.add_argument("--budget", default="3h", help="more than it takes, so that no clock decides")
    parser.add_argument("--weighting", nargs="+", default=["equal"])
    given = parser.parse_args()
    data = rows(given.rows, given.test, given.seed)
    kept = [one(data, weighting, given) for weighting in given.weighting]
    if not all(kept):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
