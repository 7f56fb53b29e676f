"""How well each ranker foretells the probe: weighted Kendall tau against the test score of the best probe.

    python benchmarks/ranking_quality.py                 # 8 targets on images, 5 on text; all rankers
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
from typing import Any

import numpy as np
import ranking_sets
import torch
from ranking_sets import Pool

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.nn.linear import fit_linear
from headstart.rankers.base import kind_of
from headstart.ranking.resample import COMPONENTS, leading
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.shelf import open_source
from headstart.tasks.base import Task, infer_task
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
            extractor = Extractor(source, cache=False, precision="fp32")
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


# --- truth and scores -------------------------------------------------------------------------------------------


def task_of(pool: Pool, target: str) -> tuple[Task, Any]:
    """The task, learned on the training rows, and the encoded targets of all rows."""
    import datasets
    import pyarrow as pa

    kind = "number" if target in pool.regression else "category"
    values = pool.targets[target]
    table = datasets.Dataset(pa.table({"x": [0.0] * pool.train, "y": values[: pool.train]}))
    task = infer_task(Dataset(table, [Column("x", "input", "number"), Column("y", "target", kind)]))  # type: ignore[arg-type]
    return task, np.asarray(task.encode(values))


def measure(pool: Pool, target: str, found: dict[str, np.ndarray], again: bool) -> dict[str, dict[str, float]]:
    """candidate -> {"truth": test score of its probe, ranker: score, ranker/all: score on all components}."""
    place = FOLDER / f"scores-{pool.name}-{target}.json"
    kept: dict[str, dict[str, float]] = {} if again or not place.is_file() else json.loads(place.read_text())
    task, y = task_of(pool, target)
    train, test = slice(0, pool.train), slice(pool.train, None)
    able = [catalog.find("rankers", name)() for name in catalog.names("rankers")]
    able = [ranker for ranker in able if ranker.needs == "features" and kind_of(y[train]) in ranker.reads]
    for name, X in found.items():
        known = kept.setdefault(name, {})
        if "truth" not in known:
            fit = fit_linear(task, X[train], y[train])
            known["truth"] = task.score(X[test] @ fit.weight.T + fit.bias, y[test])
        short = None
        for ranker in able:
            if f"{ranker.name}/all" in known:
                continue
            short = leading(X[train]) if short is None else short
            known[ranker.name] = ranker.score(short, y[train])
            known[f"{ranker.name}/all"] = ranker.score(X[train], y[train])
        place.write_text(json.dumps(kept))
    return {name: kept[name] for name in found}


def tau(truth: list[float], scores: list[float]) -> float:
    """Kendall's tau, each pair weighted by 1/(place + 1) of both in the true order; 1 is the true order."""
    from scipy.stats import weightedtau

    return float(weightedtau(truth, scores, rank=None).statistic)


def regret(truth: list[float], scores: list[float]) -> float:
    """What the truth loses where the candidate with the highest score is taken."""
    return max(truth) - truth[int(np.argmax(scores))]


# --- tables -----------------------------------------------------------------------------------------------------


def table(measured: dict[str, dict[str, dict[str, float]]], suffix: str, statistic: Any) -> list[list[str]]:
    """One line a ranker, best mean first: its mean over all targets, over classes, and each target."""
    targets = list(measured)
    rankers = sorted({name for rows in measured.values() for row in rows.values() for name in row} - {"truth"})
    lines = []
    for ranker in [name for name in rankers if "/" not in name]:
        values = []
        for target in targets:
            rows = list(measured[target].values())
            scores = [row.get(ranker + suffix) for row in rows]
            values.append(np.nan if None in scores else statistic([row["truth"] for row in rows], scores))
        lines.append((ranker, np.array(values)))
    whole = [values for _, values in lines if np.isfinite(values).all()]
    common = np.isfinite([values for _, values in lines]).all(axis=0)
    lines.sort(key=lambda line: -float(np.nanmean(line[1][common])))
    body = [
        [name, f"{values.mean():.3f}" if np.isfinite(values).all() else "-", f"{values[common].mean():.3f}"]
        + [f"{value:.2f}" if np.isfinite(value) else "-" for value in values]
        for name, values in lines
    ]
    assert whole, "no ranker reads every target"
    return [["ranker", "mean of all", "mean of classes", *targets], *body]


def show(rows: list[list[str]], markdown: bool) -> None:
    if markdown:
        rows = [rows[0], ["---"] + ["---:"] * (len(rows[0]) - 1), *rows[1:]]
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print("\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", action="store_true", help="only compute and keep the features")
    parser.add_argument("--pools", default=",".join(ranking_sets.POOLS), help="names with commas")
    parser.add_argument("--again", action="store_true", help="score anew, from the kept features")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    measured = {}
    for name in given.pools.split(","):
        pool = ranking_sets.POOLS[name]()
        found = features(pool)
        for target in [] if given.features else pool.targets:
            begun = time.perf_counter()
            measured[target] = measure(pool, target, found, given.again)
            print(f"{target}: {len(found)} candidates, {time.perf_counter() - begun:.0f} s", flush=True)
    if not measured:
        return
    for suffix, words in (("", f"the {COMPONENTS} leading components, as `rank` scores"), ("/all", "all components")):
        print(f"\nweighted tau, {words}\n")
        show(table(measured, suffix, tau), given.markdown)
    print("\nscore lost by taking the first\n")
    show(table(measured, "", lambda truth, scores: regret(truth, scores)), given.markdown)
    print("\ntest score of the probe\n")
    for target, rows in measured.items():
        order = sorted(rows, key=lambda name: -rows[name]["truth"])
        print(f"{target}: " + ", ".join(f"{name} {rows[name]['truth']:.3f}" for name in order))


if __name__ == "__main__":
    main()
