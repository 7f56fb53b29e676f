"""A small student taught by a large model: how much of the teacher's gain it keeps, and how much faster it predicts.

    python benchmarks/distill.py text [--labels 120] [--unlabelled 11380] [--test 2000] [--seed 0]
    python benchmarks/distill.py image [--labels 112] [--unlabelled 2400] [--test 1000]
    python benchmarks/distill.py text --develop      # on other rows, to choose settings

text: clothing reviews to five departments (the sixth, with one row in 200, is left out), teacher a probe on minilm,
student a linear model of n-grams. image: which of 14 photographs a spoiled grey crop comes from, labels on crops of the
left parts, further and test rows from the right parts, teacher a probe on mobilenet_v2, student a small convolutional
network. digits: MNIST, the same models. A sixth of the labels is the validation part; the student alone has the same
network, steps and labels (a linear one is solved, its strength chosen by cross-validation). Gain kept = (distilled -
alone) / (teacher - alone) on the test rows, with the interval of a bootstrap over them. Rows per second are of the
whole prediction from raw inputs, features not cached, teacher and student one after the other on the same rows.
Bars: 95 % of the gain, 5 times as fast.

Measured with the defaults, one thread of a busy machine (load 3 on 2 cores). text: teacher 0.7595, alone 0.692,
distilled 0.757, gain kept 96 % [84, 111], 13 times as fast (832 rows/s against 63). image: teacher 0.601, alone 0.506,
distilled 0.625, 125 % [101, 166], 10 times as fast (811 rows/s against 82); the further rows must be like the test
rows: from the left parts as well the student keeps 33 % [5, 56]. digits (100 labels, 2 400 further rows): teacher
0.832, alone 0.925, distilled 0.898: the convolutional network with augmentation alone is better than this teacher, so
there is no gain to keep, and being taught by it costs 2.7 points.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np

from headstart.sources.torchvision_compat import heal

heal()

from headstart.datasets import shelf  # noqa: E402
from headstart.datasets.base import Dataset  # noqa: E402
from headstart.datasets.read import read  # noqa: E402
from headstart.methods.base import Fitted, Problem, make  # noqa: E402
from headstart.methods.distill import Distill  # noqa: E402
from headstart.methods.network import NetworkFitted  # noqa: E402
from headstart.runtime import Extractor  # noqa: E402
from headstart.sources.shelf import open_source  # noqa: E402
from headstart.tasks.base import Task, infer_task  # noqa: E402

SETS: dict[str, dict[str, Any]] = {
    "text": {
        "data": "clothing_reviews", "target": "Department Name", "input": "Review Text", "source": "minilm",
        "without": "Trend", "labels": 120, "unlabelled": 11_380, "test": 2000,
        "settings": {"teacher": "probe", "architecture": "linear"},
    },
    "image": {
        "data": None, "target": None, "input": None, "source": "mobilenet_v2",
        "without": None, "labels": 112, "unlabelled": 2400, "test": 1000,
        "settings": {"teacher": "probe", "steps": 600},
    },
    "digits": {
        "data": "mnist_5k", "target": None, "input": None, "source": "mobilenet_v2",
        "without": None, "labels": 100, "unlabelled": 2400, "test": 1000,
        "settings": {"teacher": "probe", "steps": 400},
    },
}  # fmt: skip


def rows_of(chosen: dict[str, Any], counts: tuple[int, int, int], develop: bool) -> tuple[Dataset, Dataset, Dataset]:
    """Labelled, unlabelled and test rows, at random by a fixed seed; every input once.

    develop: the last sixth of the unlabelled rows stands for the test rows, which are not touched.
    """
    labels, further, test = counts
    if chosen["data"] is None:
        every = photographs(labels, further + test)
        known = {row: row for row in range(len(every))}  # in their order: the labelled ones come first
    else:
        every = read(shelf.fetch(chosen["data"]), target=chosen["target"], input=chosen["input"])
        digests, values, known = every.fingerprints(), every.targets(), {}
        for row in np.random.default_rng(0).permutation(len(every)):
            if values[row] != chosen["without"]:
                known.setdefault(digests[row], int(row))
    order = list(known.values())
    if develop:
        further, test = further - further // 6, further // 6
    ends = (labels, labels + further, labels + further + test)
    return (
        every.select(order[: ends[0]]),
        every.select(order[ends[0] : ends[1]]).without("target"),
        every.select(order[ends[1] : ends[2]]),
    )


def photographs(labelled: int, others: int) -> Dataset:
    """Crops of the left parts of 14 photographs, then of the right parts."""
    import ranking_sets

    pool = ranking_sets.crops(labelled, others)
    return read({"input": pool.inputs, "target": pool.targets["photographs"]}, target="target", input="input")


def share_kept(task: Task, outputs: dict[str, Any], targets: Any) -> tuple[float, float, float]:
    """Gain kept and the 2.5 and 97.5 % points of 10 000 resamples of the test rows."""
    statistics = {name: task.statistics(values, targets) for name, values in outputs.items()}

    def kept(counts: np.ndarray) -> np.ndarray:
        score = {name: task.combine(counts @ values) for name, values in statistics.items()}
        gain = score["teacher"] - score["alone"]
        return np.where(np.abs(gain) > 1e-9, (score["distilled"] - score["alone"]) / np.where(gain, gain, 1), np.nan)

    count, generator = len(targets), np.random.default_rng(0)
    draws = [generator.multinomial(count, np.full(count, 1 / count), size=500).astype(np.float64) for _ in range(20)]
    found = np.concatenate([kept(each) for each in draws])
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(kept(np.ones((1, count)))[0]), float(low), float(high)


def speed(fitted: Fitted, warm: Dataset, rows: Dataset) -> float:
    """Rows per second of a prediction from raw inputs; ``warm`` goes first, so that backends are chosen."""
    fitted.outputs(warm)
    started = time.perf_counter()
    fitted.outputs(rows)
    return len(rows) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=list(SETS))
    for name in ("labels", "unlabelled", "test"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed-rows", type=int, default=512)
    parser.add_argument("--set", dest="changes", action="append", default=[], help="NAME=VALUE, the value as JSON")
    parser.add_argument("--develop", action="store_true", help="score on further rows; the test rows are not touched")
    given = parser.parse_args()
    chosen = SETS[given.set]
    counts = tuple(getattr(given, name) or chosen[name] for name in ("labels", "unlabelled", "test"))
    settings = {**chosen["settings"], **{k: json.loads(v) for k, _, v in (c.partition("=") for c in given.changes)}}
    labelled, unlabelled, test = rows_of(chosen, counts, given.develop)  # type: ignore[arg-type]
    order = np.random.default_rng([given.seed, 1]).permutation(len(labelled))
    cut = len(labelled) // 6
    task, source = infer_task(labelled), open_source(chosen["source"])
    problem = Problem(
        labelled.select(order[cut:].tolist()), labelled.select(order[:cut].tolist()), task, source, Extractor(source),
        seed=given.seed, unlabelled=unlabelled,
    )  # fmt: skip
    method = make(Distill, settings)
    alone = method.ablation()
    assert isinstance(method, Distill) and alone is not None
    rows, targets, blind = f"{len(labelled):,} labels, {len(unlabelled):,} further rows", None, test.without("target")
    print(f"{rows}, {len(test):,} {'development' if given.develop else 'test'} rows, {settings}", flush=True)
    models, outputs = {"teacher": method.find_teacher(problem).fitted}, {}
    for name, each in (("alone", alone), ("distilled", method)):
        started = time.perf_counter()
        models[name] = each.fit(problem)
        print(f"{name} fitted in {time.perf_counter() - started:.0f} s", flush=True)
    outputs = {name: model.outputs(blind) for name, model in models.items()}
    targets = task.encode(test.targets())
    for name, values in outputs.items():
        print(f"{name:<10} {task.metric} {task.score(values, targets):.4f}")
    kept, low, high = share_kept(task, outputs, targets)
    print(f"gain kept  {kept:.1%} [{low:.1%}, {high:.1%}]")
    compare_speed(models, blind.select(range(min(len(blind), 2 * given.speed_rows))))


def compare_speed(models: dict[str, Fitted], rows: Dataset) -> None:
    """Teacher and student in turn on the same rows, none of whose features are stored."""
    half = len(rows) // 2
    warm, timed = rows.select(range(half)), rows.select(range(half, len(rows)))
    teacher = models["teacher"]
    if isinstance(teacher, NetworkFitted):
        teacher._extractor = Extractor(teacher.source, precision=teacher.precision, cache=False)
    found = {name: speed(models[name], warm, timed) for name in ("teacher", "distilled")}
    for name, value in found.items():
        print(f"{name:<10} {value:,.0f} rows/s")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{found['distilled'] / found['teacher']:.1f} times as fast on {len(timed)} rows; {load}")


if __name__ == "__main__":
    main()
