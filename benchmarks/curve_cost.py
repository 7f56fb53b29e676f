"""What the learning curves cost, next to the fit that they describe: 2 000 clothing reviews, minilm, probe.

    python benchmarks/curve_cost.py            # features computed afresh: an empty HEADSTART_HOME but for the source
    python benchmarks/curve_cost.py --warm     # the same once more, features from the store

Seconds are those of the record. "the probe's fit" is reading, features and the linear head, without any control;
"with control" adds the baseline; scratch, whose time is a limit that was set, is not fitted here. The bar is 30 % of
the probe's fit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

TARGET, TEXT = "Department Name", "Review Text"
BAR = 0.30


def show(words: str, record: Any) -> float:
    """Print the costs of a run; the share of the curves in the probe's fit."""
    seconds = record.seconds
    fit = seconds["reading"] + seconds["features"] + seconds["probe"]
    control, curves = seconds["baseline"], seconds["learning curves"]
    start = record.head_start
    fits = sum(len(scores) for curve in (start.transfer, start.control) for scores in curve.scores[:-1])
    parts = ("reading", "features", "probe", "baseline", "learning curves")
    print(f"{words}: " + ", ".join(f"{part} {seconds[part]:.1f} s" for part in parts) + f" ({fits} fits)")
    print(f"  curves / the probe's fit                {curves / fit:7.1%}   (bar: {BAR:.0%})")
    print(f"  curves / the probe's fit with control   {curves / (fit + control):7.1%}")
    print(f"  curves / the whole run                  {curves / sum(seconds.values()):7.1%}")
    low, high = start.interval
    print(f"  head start {start.multiplier:.2f}x [{low:.2f}x, {high:.2f}x]; sizes: {start.transfer.name} "
          f"{start.transfer.sizes}, {start.control.name} {start.control.sizes}", flush=True)  # fmt: skip
    return float(curves / fit)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--warm", action="store_true", help="also with features from the store")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from headstart import transfer
    from headstart.datasets import shelf
    from headstart.evidence.controls import controls
    from headstart.sources.shelf import fetch
    from headstart.types import cache_home

    transfer.controls = lambda source, effort: controls(source, effort)[:1]
    csv = shelf.fetch("clothing_reviews_demo")
    fetch("minilm")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        (home / "sources").symlink_to((cache_home() / "sources").resolve())
        os.environ["HEADSTART_HOME"] = str(home)
        for words in ("cold features", "stored features") if given.warm else ("cold features",):
            run = transfer.fit(
                csv, TARGET, input=TEXT, source="minilm", method="probe", budget="1h", seed=given.seed,
                out=Path(folder) / words.split()[0],
            )  # fmt: skip
            show(words, run.record)


if __name__ == "__main__":
    main()
