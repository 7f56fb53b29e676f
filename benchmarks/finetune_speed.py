"""Fine-tuning minilm on 2 000 reviews, 3 epochs: Headstart, and the same loop in fp32 without length buckets.

    python benchmarks/finetune_speed.py [--rows 2000] [--test 4000]

Both run in this process, one after the other; prints seconds, accuracies and the paired interval of their difference.
"""

from __future__ import annotations

import argparse
import time

from headstart.datasets import shelf
from headstart.datasets.read import read
from headstart.evidence.verdict import paired_bootstrap
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.runtime import Extractor
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--test", type=int, default=4000)
    given = parser.parse_args()
    dataset = read(shelf.fetch("clothing_reviews_demo"), target="Department Name", input="Review Text")
    parts = dataset.values("split")
    train = dataset.select([i for i, part in enumerate(parts) if part == "train"][: given.rows])
    test = dataset.select([i for i, part in enumerate(parts) if part == "test"][: given.test])
    task, source = infer_task(train), open_source("minilm")
    extractor = Extractor(source)
    extractor.ensure(train.without("target"), ("pooled",))
    targets = task.encode(test.targets())
    statistics, seconds = [], []
    for name, options in (("headstart", {}), ("fp32, no buckets", {"precision": "fp32", "bucket": False})):
        problem = Problem(train, None, task, source, extractor, options=dict(options))
        started = time.perf_counter()
        fitted = Finetune(epochs=3).fit(problem)
        seconds.append(time.perf_counter() - started)
        outputs = fitted.outputs(test.without("target"))
        statistics.append(task.statistics(outputs, targets))
        print(f"{name:<18}{seconds[-1]:8.1f} s   accuracy {task.score(outputs, targets):.4f}", flush=True)
    interval = paired_bootstrap(*statistics, task.combine)
    print(f"ratio {seconds[1] / seconds[0]:.2f}; difference {100 * interval.value:+.2f} points "
          f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]")  # fmt: skip


if __name__ == "__main__":
    main()
