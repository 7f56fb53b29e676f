"""Memory while 200 000 short texts are featurised: resident size by rows done. Bar: under 1.5 GB, and flat.

    python benchmarks/memory.py [--rows 200000]

The texts are synthetic and all different; the source is minilm; the store is a temporary folder.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import tempfile
import time
from pathlib import Path


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    given = parser.parse_args()
    words = [f"word{i}" for i in range(50)] + [
        "the",
        "a",
        "small",
        "large",
        "red",
        "blue",
        "dress",
        "coat",
        "fits",
        "well",
        "badly",
        "never",
        "again",
    ]
    with tempfile.TemporaryDirectory() as folder:
        from headstart.datasets.read import read
        from headstart.runtime import Extractor
        from headstart.sources.shelf import open_source

        path = Path(folder) / "texts.csv"
        source = open_source("minilm")
        os.environ["HEADSTART_HOME"] = folder
        draw = random.Random(0)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text"])
            writer.writerows([f"{number} " + " ".join(draw.choices(words, k=4))] for number in range(given.rows))
        dataset = read(path, input="text", kinds={"text": "text"}, for_prediction=True)
        started, shown = time.monotonic(), [0]

        def report(stage: str, done: int, total: int) -> None:
            if done >= shown[0]:
                print(f"{done:>9,} rows  {resident():7.0f} MB  {time.monotonic() - started:6.0f} s", flush=True)
                shown[0] += total // 20

        Extractor(source, report=report, batch_size=128).ensure(dataset, ("pooled",))
        print(f"{len(dataset):>9,} rows  {resident():7.0f} MB at the end")


if __name__ == "__main__":
    main()
