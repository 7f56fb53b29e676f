"""Regret of ``--method auto``: its test score against the best single method chosen in hindsight, on 8 small sets.

    python benchmarks/auto_regret.py                  # all sets; bar: mean regret under 1 point
    python benchmarks/auto_regret.py --sets digits,adult --test 400

Every set has its own few labels and 1 000 test rows. Each method is fitted by itself with `headstart.fit` on the same
rows and split; ``auto`` sees what they see and ships what it thinks best, the control among it. The best in hindsight
is the best *test* score of any method, the classical baseline included, so some regret is left to chance: with 1 000
test rows a score has a standard error of one point and more, and the maximum of several is biased upwards. For tables
there is one method, so their regret is 0 by construction; the mean over the sets with a choice is printed as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")
FROZEN, TRAINED = ["baseline", "probe", "prototypes"], ["contrastive", "finetune"]
Table = dict[str, list[Any]]


def of_pool(pool: Any, name: str, labels: int, test: int) -> Table:
    """Rows of a pool of ranking_sets.py: ``labels`` of its train part, ``test`` of its test part."""
    last = min(pool.train + test, len(pool.inputs))
    rows = [*range(labels), *range(pool.train, last)]
    return {
        "input": [pool.inputs[row] for row in rows],
        "target": [str(pool.targets[name][row]) for row in rows],
        "split": ["train"] * labels + ["test"] * (last - pool.train),
    }


def of_table(name: str, target: str, labels: int, test: int) -> Table:
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch(name)).sample(labels + test, random_state=0)
    found = {str(column): table[column].tolist() for column in table.columns if column != target}
    return {**found, "target": table[target].tolist(), "split": ["train"] * labels + ["test"] * test}


def sets(test: int) -> dict[str, tuple[Callable[[], Table], list[str]]]:
    import ranking_sets as pools

    def pooled(pool: Callable[[], Any], name: str, labels: int) -> Callable[[], Table]:
        return lambda: of_pool(pool(), name, labels, test)

    every = FROZEN + TRAINED
    return {
        "department": (pooled(pools.reviews, "department", 256), every),
        "recommended": (pooled(pools.reviews, "recommended", 64), every),
        "garment": (pooled(pools.reviews, "garment", 600), every),
        "digits": (pooled(pools.digits, "digits", 100), every),
        "typefaces": (pooled(pools.glyphs, "typefaces", 400), every),
        "photographs": (pooled(pools.crops, "photographs", 200), every),
        "adult": (lambda: of_table("adult", "income", 400, test), ["baseline"]),
        "california": (lambda: of_table("california_housing", "MedHouseVal", 300, test), ["baseline"]),
    }


def fitted(table: Table, method: str, folder: Path, budget: str, source: str) -> tuple[float, float, str]:
    """(test score of what ships, seconds, its name)"""
    import headstart

    started = time.monotonic()
    inputs = [name for name in table if name not in ("target", "split")]
    run = headstart.fit(
        table, target="target", input=inputs, roles={"split": "split"}, method=method, out=folder / method,
        control=method == "auto", budget=budget, source=source,
    )  # fmt: skip
    return run.record.metrics[run.task.metric], time.monotonic() - started, run.record.shipped


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", default="")
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--budget", default="10m")
    given = parser.parse_args()
    found = sets(given.test)
    regrets: list[float] = []
    choices: list[bool] = []
    for name in given.sets.split(",") if given.sets else found:
        make, methods = found[name]
        table = make()
        image = isinstance(table.get("input", [""])[0], bytes)
        source = "mobilenet_v2" if image else "minilm" if "input" in table else "auto"
        with tempfile.TemporaryDirectory() as folder:
            scores = {method: fitted(table, method, Path(folder), given.budget, source) for method in methods}
            auto, seconds, shipped = fitted(table, "auto", Path(folder), given.budget, source)
        best = max(scores, key=lambda method: scores[method][0])
        regrets.append(100 * (scores[best][0] - auto))
        line = "  ".join(f"{method} {score:.3f} ({took:.0f} s)" for method, (score, took, _) in scores.items())
        choices.append(len(methods) > 1)
        ships = f"auto {auto:.3f} ({shipped}, {seconds:.0f} s)"
        print(f"{name:<12} {ships}  regret {regrets[-1]:+.2f}   {line}", flush=True)
    print(f"mean regret {np.mean(regrets):+.2f} points over {len(regrets)} sets", end="")
    print(f", {np.mean(np.array(regrets)[choices]):+.2f} over the {sum(choices)} with a choice" if any(choices) else "")


if __name__ == "__main__":
    main()
