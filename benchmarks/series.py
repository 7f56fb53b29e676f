"""UCR and UEA sets with five labels a class: an encoder pretrained on other sets against MiniRocket + linear.

    python benchmarks/series.py --passes 15

Nine sets of classes come out of the wheels of aeon and sktime (BSD-3-Clause; the data are those of the UCR and UEA
archives, which are free for research). They are cut in two halves; the encoder for the sets of one half is pretrained,
without labels, on the series of the other half alone. Of each set five rows a class are drawn, once for each seed; the
others (at most 400) are the test rows. `headstart.fit` then compares the probe on the encoder with both controls:
MiniRocket with a linear model, and the same encoder from fresh weights. Nothing is chosen by test rows.

Measured, 15 passes, 3 seeds, one thread of a busy machine: mean accuracy of the probe 0.810, of MiniRocket 0.815, of
the encoder from fresh weights 0.283; of 27 verdicts 4 are positive, 18 neutral and 5 negative. A fit takes 3 to 26 s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from headstart.datasets.base import Column, Dataset
from headstart.sources import wheel
from headstart.types import cache_home

AEON = ("aeon", "1.6.0", "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409", 6421000)
SKTIME = ("sktime", "1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae", 8201107)
HALVES = (
    ("GunPoint", "OSULeaf", "JapaneseVowels", "ItalyPowerDemand"),
    ("ArrowHead", "ACSF1", "BasicMotions", "PickupGestureWiimoteZ", "PLAID"),
)
REGRESSION = {"Tecator": "sktime", "Covid3Month": "aeon", "CardanoSentiment": "aeon"}
"""Sets of numbers, with their own training and test part; none of them is in a pool."""

LABELS, TEST = 5, 400
MOST = 600  # series of one file that an encoder learns from


def fetched(sets: Iterable[str] = (each for half in HALVES for each in half)) -> dict[str, list[Path]]:
    """The files of each set, training part first."""
    folder, found = cache_home() / "data" / "series", {}
    origins = {each: REGRESSION.get(each, "sktime" if each == "PLAID" else "aeon") for each in sets}
    for name, version, digest, size in (AEON, SKTIME):
        own = [each for each, origin in origins.items() if origin == name]
        members = [f"{name}/datasets/data/{each}/{each}_{part}.ts" for each in own for part in ("TRAIN", "TEST")]
        if members:
            wheel.fetch_member(name, version, digest, members, folder, None, size)
        for each in own:
            found[each] = [folder / f"{name}/datasets/data/{each}/{each}_{part}.ts" for part in ("TRAIN", "TEST")]
    return found


def drawn(files: list[Path], seed: int) -> Dataset:
    """The rows of both parts: ``LABELS`` a class to train, at most ``TEST`` others to test."""
    one, other = (headstart.read(file) for file in files)
    both = one.followed_by(other)
    labels, generator = np.array(both.targets()), np.random.default_rng(seed)
    order = generator.permutation(len(both))
    train = np.concatenate([order[labels[order] == label][:LABELS] for label in np.unique(labels)])
    test = order[~np.isin(order, train)][:TEST]
    return _split(both.select([*train, *test]), ["train"] * len(train) + ["test"] * len(test), files)


def whole(files: list[Path]) -> Dataset:
    """Both parts as they are, with a column that tells them apart."""
    one, other = (headstart.read(file) for file in files)
    return _split(one.followed_by(other), ["train"] * len(one) + ["test"] * len(other), files)


def _split(rows: Dataset, split: list[str], files: list[Path]) -> Dataset:
    table = rows.table.flatten_indices().add_column("split", split)
    columns = [*rows.columns, Column("split", "split", "category")]
    return Dataset(table, columns, origin=files[0].stem.removesuffix("_TRAIN"))


def row(record: Any) -> dict[str, Any]:
    """What one fit said."""
    scores = {each.name: each.test for each in record.candidates}
    start = record.head_start
    bound = {"exact": "", "more than": ">", "less than": "<"}[start.bound] if start else ""
    return {
        "probe": scores["probe"], "MiniRocket": scores["baseline"], "scratch": scores.get("scratch"),
        "verdict": record.verdict.label, "head start": f"{bound}{start.multiplier:.1f}x" if start else "-",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", nargs="*", help="only these")
    parser.add_argument("--regression", action="store_true", help="three sets of numbers instead, R2")
    parser.add_argument("--encoders", type=Path, help="folder that keeps the two encoders")
    given = parser.parse_args()
    files, found = fetched(), []
    numbers = fetched(REGRESSION) if given.regression else {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, half in enumerate(HALVES):
            encoder = (given.encoders or Path(temporary)) / f"half-{number + 1}"
            if not encoder.is_dir():
                pool = [file for name in HALVES[1 - number] for file in files[name]]
                made = headstart.pretrain(pool, encoder, epochs=given.passes, most=MOST)
                print(f"encoder {number + 1}: {made.facts['rows']:,} rows, {made.facts['seconds']} s", flush=True)
            for name in list(numbers) * (number == 0) if numbers else half:
                if given.sets and name not in given.sets:
                    continue
                for seed in range(given.seeds):
                    begun, out = time.monotonic(), Path(temporary) / f"{name}-{seed}"
                    rows = whole(numbers[name]) if numbers else drawn(files[name], seed)
                    artefact = headstart.fit(rows, source=str(encoder), method="probe", out=out, seed=seed)
                    facts = row(artefact.record)
                    found.append((name, facts))
                    shown = "  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
                                      for key, value in facts.items())  # fmt: skip
                    print(f"{name:<22} seed {seed}  {shown}  ({time.monotonic() - begun:.0f} s)", flush=True)
    for kind in ("probe", "MiniRocket", "scratch"):
        print(f"mean {kind}: {np.mean([facts[kind] for _, facts in found]):.4f}")
    print(
        {label: sum(facts["verdict"] == label for _, facts in found) for label in ("positive", "neutral", "negative")}
    )


if __name__ == "__main__":
    main()
