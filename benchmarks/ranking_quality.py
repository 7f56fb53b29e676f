"""How well each ranker foretells the probe: weighted Kendall tau against the test score of the best probe.

    python benchmarks/ranking_quality.py                 # 8 targets on images, 6 on text; all rankers
    python benchmarks/ranking_quality.py --features      # only the forward passes, which later runs reuse
    python benchmarks/ranking_quality.py --markdown      # the tables of docs/ranking.md

Candidates: the sources of the shelf, shallower cuts of them, the same networks with fresh weights, and with every
weight tensor shuffled. A ranker sees 1 000 rows (797 of the UCI digits); the truth is the score on the 1 000 other rows
of a linear probe fitted on the same rows, its strength chosen by cross-validation. tau weights a pair by its places in
the true order, hyperbolically: who wins counts, who is last but one hardly.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ranking_sets
import torch
from ranking_sets import Pool

from headstart.datasets.base import Column, Dataset
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.shelf import open_source
from headstart.types import cache_home

FOLDER = cache_home() / "ranking_quality"
CUTS = {  # shallower cuts that are candidates of their own: shares of the depth
    "mobilenet_v2": (0.4, 0.7), "efficientnet_lite0": (0.45, 0.75), "efficientnet_lite1": (), "efficientnet_lite2": (),
    "mobilenet_v2 fresh": (0.5,), "efficientnet_lite0 fresh": (), "mobilenet_v2 shuffled": (0.5,),
    "minilm": (0.0, 0.2, 0.4, 0.6, 0.8), "minilm fresh": (0.5,), "minilm shuffled": (0.5,),
}  # fmt: skip


def shuffled(source: Source, seed: int = 0) -> Source:
    """The source with each weight tensor in another order: its scale, and nothing of what it knew."""
    generator = torch.Generator().manual_seed(seed)
    other = source.clone()
    with torch.no_grad():
        for parameter in other.network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    other.card = replace(source.card, digest=other.digest())
    return other


def networks(modality: str) -> Iterator[tuple[str, Source]]:
    wanted = [name for name in CUTS if (name.split()[0] == "minilm") == (modality == "text")]
    for name in wanted:
        shelf, _, change = name.partition(" ")
        source = open_source(shelf)
        yield name, {"": lambda s: s, "fresh": lambda s: s.untrained(0), "shuffled": shuffled}[change](source)


def dataset(pool: Pool) -> Dataset:
    import datasets
    import pyarrow as pa

    table = pa.table({"input": pool.inputs})
    return Dataset(datasets.Dataset(table), [Column("input", "input", pool.modality)], origin=pool.name)  # type: ignore[arg-type]


def features(pool: Pool) -> dict[str, np.ndarray]:
    """The features [N,D] of every candidate, from disk where they are there."""
    found = {}
    rows = dataset(pool)
    for name, source in networks(pool.modality):
        place = FOLDER / f"{pool.name}-{name.replace(' ', '-')}.npz"
        if not place.is_file():
            begun = time.perf_counter()
            layers = [layer.name for layer in source.layers()]
            cuts = [layers[round(share * (len(layers) - 2))] for share in CUTS[name]]
            extractor = Extractor(source, cache=False)
            extractor.ensure(rows, ["pooled", *cuts])
            arrays = {output: extractor.matrix(rows, [output]) for output in ("pooled", *cuts)}
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(".part.npz")
            np.savez(part, **arrays)  # type: ignore[arg-type]
            part.replace(place)
            rate = len(rows) / (time.perf_counter() - begun)
            print(f"{pool.name}: {name} with {', '.join(cuts) or 'no cuts'}: {rate:.0f} rows/s", flush=True)
        with np.load(place) as kept:
            found |= {name if output == "pooled" else f"{name} @{output}": kept[output] for output in kept.files}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", action="store_true")
    given = parser.parse_args()
    for name, make in ranking_sets.POOLS.items():
        features(make())


if __name__ == "__main__":
    main()
