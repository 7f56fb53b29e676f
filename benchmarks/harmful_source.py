"""A planted harmful source: minilm with its weights shuffled within each tensor, 20 seeds of rows and shuffles.

    python benchmarks/harmful_source.py [--seeds 20] [--rows 400]

Prints every verdict, and what ships. Bar: never positive, and the control ships wherever the verdict is negative.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import headstart
from headstart.datasets import shelf
from headstart.datasets.read import read
from headstart.sources.base import Source
from headstart.sources.shelf import open_source


def shuffled(source: Source, seed: int) -> Source:
    """The source with the values of every tensor in random order."""
    generator = torch.Generator().manual_seed(seed)
    harmed = source.clone()
    with torch.no_grad():
        for parameter in harmed.network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    harmed.card = replace(source.card, name=f"shuffled-{seed}", digest=harmed.digest())
    return harmed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=400)
    given = parser.parse_args()
    everything = read(shelf.fetch("clothing_reviews_demo"), target="Department Name", input="Review Text")
    everything = everything.assign(unused="split")
    source = open_source("minilm")
    positive = wrong = 0
    for seed in range(given.seeds):
        rows = np.random.default_rng(seed).choice(len(everything), given.rows, replace=False)
        values = everything.targets()
        kept = [int(i) for i in rows if values[i] != "Trend"]  # too few of them in 400 rows
        with tempfile.TemporaryDirectory() as folder:
            result = headstart.fit(
                everything.select(kept), source=shuffled(source, seed), method="probe", effort="quick", seed=seed,
                out=Path(folder) / "run",
            )  # fmt: skip
        verdict = result.record.verdict
        difference = verdict.difference
        positive += verdict.label == "positive"
        wrong += verdict.label == "negative" and result.record.shipped == "probe"
        print(
            f"seed {seed:2d}  {verdict.label:<8} {100 * difference.value:+6.1f} points "
            f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]  ships {result.record.shipped}",
            flush=True,
        )
    print(f"positive in {positive} of {given.seeds}; negative but the transfer ships in {wrong}")


if __name__ == "__main__":
    main()
