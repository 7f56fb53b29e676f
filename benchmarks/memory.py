"""Memory while short texts are featurised by ``headstart embed``: resident size by rows done. It has to stay flat.

    python benchmarks/memory.py --rows 200000                 # minilm; bar: under 1.5 GB
    python benchmarks/memory.py --rows 1000000 --words 2      # minilm; bar: under 2 GB
    python benchmarks/memory.py --rows 1000000 --fake         # a network that costs nothing: reading, index and files

The texts are synthetic and all different; the store is a temporary folder. The growth is that of a straight line
through the curve after the first tenth of the rows, in MB a million rows. VmHWM counts the pages of memory-mapped
files too, which the kernel takes back when it needs them; "private" leaves them out.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = [f"word{i}" for i in range(50)] + [
    "the",
    "a",
    "small",
    "red",
    "dress",
    "coat",
    "fits",
    "well",
    "never",
    "again",
]


def status(field: str) -> float:
    """A field of /proc/self/status in MB."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match.group(1)) / 1000 if match else float("nan")


def fake_source() -> Any:
    """A text source whose forward pass is one sum: what remains is everything around it."""
    import torch

    from headstart.sources.base import Card, Source
    from headstart.types import Batch, Features

    class Fake(Source):
        provider = "fake"

        def preprocess(self, samples: Any, train: bool = False) -> Batch:
            return Batch({"size": torch.tensor([[float(len(sample))] for sample in samples])})

        def forward(self, batch: Batch) -> Features:
            return Features(self.network(batch.inputs["size"]))

        def example(self) -> Batch:
            return Batch({"size": torch.ones(2, 1)})

        def fresh_network(self) -> torch.nn.Module:
            return torch.nn.Linear(1, 384)

        def save(self, folder: Path) -> None:
            raise NotImplementedError("never saved")

        @classmethod
        def load(cls, folder: Path) -> Source:
            raise NotImplementedError("never saved")

    card = Card("fake", "text", "linear", 384, 768, "here", "none", "0" * 64)
    return Fake(card, torch.nn.Linear(1, 384))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--words", type=int, default=4, help="in a text, beside its number")
    parser.add_argument("--fake", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        from headstart.embedding import Job, write
        from headstart.sources.shelf import open_source

        path = Path(folder) / "texts.csv"
        source = fake_source() if given.fake else open_source("minilm")
        os.environ["HEADSTART_HOME"] = folder
        draw = random.Random(0)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text"])
            writer.writerows(
                [f"{number} " + " ".join(draw.choices(WORDS, k=given.words))] for number in range(given.rows)
            )
        print(f"{'rows':>9}  {'resident':>9}  {'private':>9}  {'peak':>9}", flush=True)
        curve: list[tuple[int, float]] = []
        started = time.monotonic()

        def show(done: int) -> None:
            sizes = "  ".join(f"{status(name):6.0f} MB" for name in ("VmRSS", "RssAnon", "VmHWM"))
            print(f"{done:>9,}  {sizes}  {time.monotonic() - started:6.0f} s", flush=True)

        def report(stage: str, done: int, total: int) -> None:
            if not curve or done >= curve[-1][0] + total // 20:
                curve.append((done, status("VmRSS")))
                show(done)

        show(0)
        out = Path(folder) / "features.parquet"
        job = Job(path, source, input="text", kinds={"text": "text"}, report=report)
        done = write(job, out)
        show(done.rows)
        tail = [point for point in curve if point[0] > given.rows // 10]
        print(f"{done.rows:,} rows in {done.seconds:.0f} s, {done.runtime}; file {out.stat().st_size / 1e6:,.0f} MB")
        print(f"growth {slope(tail) * 1e6:+.0f} MB a million rows; peak {status('VmHWM'):.0f} MB")


def slope(points: list[tuple[int, float]]) -> float:
    """Least squares: MB a row."""
    if len(points) < 2:
        return 0.0
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


if __name__ == "__main__":
    main()
