"""Adaptation of a text encoder: is a review's product recommended? Learned on one department, used on another.

    python benchmarks/adaptation_texts.py --rows 600 --epochs 2 --methods mcc,dann
    python benchmarks/adaptation_texts.py --pairs Dresses:Bottoms,Intimate:Jackets

Each method is ``headstart adapt --source minilm`` on the same rows, so it is scored with its control: the same network
trained on the labelled rows alone (``sourcetuned``). Labels of the other department are read once, for these scores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", default="Dresses:Bottoms")
    parser.add_argument("--methods", default="mcc,dann,deepcoral")
    parser.add_argument("--rows", type=int, default=600, help="of each department")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    import pandas as pd

    import headstart
    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("clothing_reviews"))
    table = table.dropna(subset=["Review Text", "Department Name"]).drop_duplicates("Review Text")
    for pair in given.pairs.split(","):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name in pair.split(":"):
                part = table[table["Department Name"] == name].sample(frac=1, random_state=given.seed)[: given.rows]
                paths.append(Path(folder) / f"{name}.csv")
                part[["Review Text", "Recommended IND"]].to_csv(paths[-1], index=False)
            for method in given.methods.split(","):
                started = time.monotonic()
                run = headstart.adapt(
                    *paths, target="Recommended IND", source="minilm", method=method, seed=given.seed,
                    settings={"epochs": given.epochs}, out=Path(folder) / method,
                )  # fmt: skip
                scores = "  ".join(f"{each.name} {each.test:.4f}" for each in run.record.candidates if each.test)
                verdict = run.record.verdict
                told = (
                    ""
                    if verdict is None
                    else f"{verdict.label} [{verdict.difference.low:+.3f}, {verdict.difference.high:+.3f}]"
                )
                print(f"{pair}  {method:<10} {scores}  {told}  {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
