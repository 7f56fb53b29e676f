"""Two ``headstart embed`` processes on the same data; one is killed with -9 at random; a rerun finishes. 20 rounds.

    python benchmarks/embed_kill.py [--rounds 20] [--rows 3000] [--window 400] [--precision auto]

Each round starts from an empty store and ends with ``headstart cache verify``. Bars: the store verifies; both outputs
are complete and agree with a reference; no row lies in the store twice. A row is stored by whoever computed it, so the
last bar says that the rows computed in all are those of the data and what the killed process had computed and not yet
stored: at most a second of its work. Merging is off, as it would hide rows that are stored twice, and the windows that
are claimed are small, so that both processes have work from the start. ``*``: it ended before the kill (not counted).
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headstart import cache, cli, runtime
from headstart.segments import Segment
from headstart.sources.shelf import open_source
from headstart.sources.torchvision_compat import heal
from headstart.types import cache_home

heal()
importlib.import_module("transformers.models.bert.modeling_bert")  # the server has it for all processes
WORDS = [
    "the",
    "a",
    "small",
    "large",
    "red",
    "blue",
    "dress",
    "coat",
    "fits",
    "runs",
    "looks",
    "well",
    "badly",
    "never",
    "quite",
]


def run(words: list[str], home: Path, answer: Path, window: int) -> None:
    """``headstart`` with these arguments, its answer into a file; ends the process with its status."""
    os.environ["HEADSTART_HOME"] = str(home)
    runtime.WINDOW, cache.MANY = window, 1 << 30
    with answer.open("w") as file:
        sys.stdout = file
        status = cli.main(words)
    sys.exit(status)


class Embedding:
    """A process that runs ``headstart embed``; forked from a server that has imported everything already."""

    context = multiprocessing.get_context("forkserver")

    def __init__(self, data: Path, out: Path, home: Path, given: argparse.Namespace) -> None:
        words = ["embed", str(data), "--source", "minilm", "--input", "text", "--kind", "text=text", "-o", str(out)]
        words += ["--backend", "torch", "--precision", given.precision, "--json", "--quiet"]
        self.answer = out.with_suffix(".json")
        self.process = self.context.Process(target=run, args=(words, home, self.answer, given.window))
        self.process.start()

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.exitcode is not None

    def kill(self) -> bool:
        """With -9, and wait until it is dead; False where it had ended before."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -9

    def finish(self) -> dict:
        """Wait for its answer."""
        self.process.join()
        answer = json.loads(self.answer.read_text())
        if self.process.exitcode:
            raise SystemExit(f"embed failed: {answer}")
        return answer


def stored_digests(home: Path) -> np.ndarray:
    """Every digest in every segment of the store, repeated where a row lies in two."""
    found = [Segment(path).digests() for path in (home / "features").rglob("segment-*.safetensors")]
    return np.concatenate(found) if found else np.empty(0, "S32")


def verify(home: Path) -> dict:
    """What ``headstart cache verify --json`` says."""
    words = [sys.executable, "-m", "headstart", "cache", "verify", "--json"]
    environment = {**os.environ, "HEADSTART_HOME": str(home)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def vectors(path: Path) -> np.ndarray:
    table = pq.read_table(path)
    return np.stack(table.column("embedding").to_numpy())


def fresh_home(folder: Path, sources: Path) -> Path:
    """A cache with the fetched source in it and nothing else."""
    home = Path(tempfile.mkdtemp(dir=folder))
    for part in sources.iterdir():
        if part.name not in ("features", "tables"):
            (home / part.name).symlink_to(part)
    return home


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--window", type=int, default=400)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the server does not look beside the script by itself
    Embedding.context.set_forkserver_preload([Path(__file__).stem])
    open_source("minilm")  # fetched once
    sources, draw = cache_home(), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "texts.parquet"
        texts = [f"{n} " + " ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for n in range(given.rows)]
        pq.write_table(pa.table({"text": texts}), data)
        began = time.monotonic()
        first = Embedding(data, folder / "reference.parquet", fresh_home(folder, sources), given).finish()
        whole = time.monotonic() - began
        reference = vectors(folder / "reference.parquet")
        assert first["forward_rows"] == given.rows == len(reference)
        print(f"reference: {given.rows} rows in {whole:.1f} s, {first['runtime']}", flush=True)
        print("round  killed after  stored by then  survivor + rerun  twice  verify  least cosine", flush=True)
        good = killed = number = 0
        while killed < given.rounds:
            home, wait = fresh_home(folder, sources), draw.uniform(0.0, 0.25 * whole)
            ran, sound = one_round(number, wait, data, folder, home, reference, given)
            killed, good, number = killed + ran, good + (ran and sound), number + 1
    print(f"{good} of {given.rounds} rounds as they should be")
    raise SystemExit(good < given.rounds)


def one_round(
    number: int, wait: float, data: Path, folder: Path, home: Path, reference: np.ndarray, given: argparse.Namespace
) -> tuple[bool, bool]:
    outs = [folder / "one.parquet", folder / "other.parquet"]
    both = [Embedding(data, out, home, given) for out in outs]
    wait_for_work(home, *both)
    time.sleep(wait)
    dead, alive = both[number % 2], both[1 - number % 2]
    ran = dead.kill()
    at_kill = len(np.unique(stored_digests(home)))
    computed = alive.finish()["forward_rows"]
    rerun = Embedding(data, outs[number % 2], home, given).finish()["forward_rows"]
    digests = stored_digests(home)
    twice = len(digests) - len(np.unique(digests))
    clean = not verify(home)["damaged"]
    cosine = min(least_cosine(vectors(out), reference) for out in outs)
    good = clean and len(digests) == given.rows and rerun == 0 and twice == 0 and cosine > 0.999
    print(
        f"{number:>5}  {wait:9.1f} s{' ' if ran else '*'} {at_kill:>14}  {computed:>9} + {rerun:<4}  {twice:>5}  "
        f"{'clean' if clean else 'DAMAGED':<6}  {cosine:.6f}{'' if good else '  BAD'}",
        flush=True,
    )
    for out in outs:
        out.unlink()
    return ran, good


def least_cosine(found: np.ndarray, truth: np.ndarray) -> float:
    """0 where rows are missing; the smallest cosine of a row otherwise (the same row in another batch is rounded
    otherwise, in bf16 by a few thousandths)."""
    if found.shape != truth.shape:
        return 0.0
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    return float(((found * truth).sum(axis=1) / norms).min())


def wait_for_work(home: Path, *both: Embedding) -> None:
    """Until a process has claimed rows, or one has ended."""
    while not any(each.ended() for each in both) and not any((home / "features").rglob("*.claim")):
        time.sleep(0.02)


if __name__ == "__main__":
    main()
