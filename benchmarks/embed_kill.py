"""Two ``headstart embed`` processes on the same data; one is killed with -9 while it computes. 20 such rounds.

    python benchmarks/embed_kill.py [--rounds 20] [--rows 1000] [--window 125] [--precision auto]

Each round starts from an empty store. One of the two is killed once it has passed a number of rows drawn at random,
anywhere from its first to most of its half; the other goes on, the killed one is started again, and ``headstart cache
verify`` reads the store. A round counts only where the kill hit a living process; it is repeated otherwise.

Bars of a round: the store verifies; both outputs are complete and agree with a reference; no row lies in the store
twice; the rerun computes nothing, for the survivor has taken over all that was left; and what was computed in vain is
at most what the killed process can have had in hand: a second of its work (rows are stored every second) and the
batches in flight. A process notes how many rows it has passed in a file. A row is stored by whoever computed it, so
what was computed in vain is what all have passed less the rows of the data. Merging is off, as it would hide rows that
are stored twice, and the windows that are claimed are small, so that both processes have work from the start.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
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
IN_FLIGHT = 64  # rows: four times a batch of typical ones, the most that short ones fill
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


def note_rows(path: Path) -> None:
    """Have every change of `Extractor.forward_rows` in this process written into a file, whole at any moment."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    passed: dict[int, int] = {}

    def change(extractor: runtime.Extractor, rows: int) -> None:
        passed[id(extractor)] = rows
        os.pwrite(file, b"%12d" % rows, 0)

    runtime.Extractor.forward_rows = property(lambda extractor: passed[id(extractor)], change)


def run(words: list[str], home: Path, answer: Path, window: int) -> None:
    """``headstart`` with these arguments, its answer into a file; ends the process with its status."""
    os.environ["HEADSTART_HOME"] = str(home)
    runtime.WINDOW, cache.MANY = window, 1 << 30
    note_rows(answer.with_suffix(".rows"))
    with answer.open("w") as file:
        sys.stdout = file
        status = cli.main(words)
    sys.exit(status)


class Command:
    """A process that runs ``headstart``; forked from a server that has imported everything already."""

    context = multiprocessing.get_context("forkserver")

    def __init__(self, words: list[str], home: Path, answer: Path, window: int) -> None:
        self.answer = answer
        answer.with_suffix(".rows").unlink(missing_ok=True)
        self.process = self.context.Process(target=run, args=([*words, "--json"], home, answer, window))
        self.process.start()

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.exitcode is not None

    def passed(self) -> int:
        """How many rows have been through its network by now."""
        try:
            return int(self.answer.with_suffix(".rows").read_text() or 0)
        except FileNotFoundError:
            return 0

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
            raise SystemExit(f"failed: {answer}")
        return answer


def embedding(data: Path, out: Path, home: Path, given: argparse.Namespace) -> Command:
    """``headstart embed``, started."""
    words = ["embed", str(data), "--source", "minilm", "--input", "text", "--kind", "text=text", "-o", str(out)]
    words += ["--backend", "torch", "--precision", given.precision, "--quiet"]
    return Command(words, home, out.with_suffix(".json"), given.window)


def stored_digests(home: Path) -> np.ndarray:
    """Every digest in every segment of the store, repeated where a row lies in two."""
    found = [Segment(path).digests() for path in (home / "features").rglob("segment-*.safetensors")]
    return np.concatenate(found) if found else np.empty(0, "S32")


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
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--window", type=int, default=125)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the server does not look beside the script by itself
    Command.context.set_forkserver_preload([Path(__file__).stem])
    open_source("minilm")  # fetched once
    sources, draw = cache_home(), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "texts.parquet"
        texts = [f"{n} " + " ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for n in range(given.rows)]
        pq.write_table(pa.table({"text": texts}), data)
        began = time.monotonic()
        first = embedding(data, folder / "reference.parquet", fresh_home(folder, sources), given).finish()
        reference = vectors(folder / "reference.parquet")
        assert first["forward_rows"] == given.rows == len(reference)
        print(f"reference: {given.rows} rows in {first['seconds']:.1f} s, {first['runtime']}", flush=True)
        print("round  killed at  stored by then  survivor + rerun  in vain  twice  verify  least cosine", flush=True)
        rounds: list[Round] = []
        speed = first["forward_rows"] / first["seconds"]
        while sum(each.killed for each in rounds) < given.rounds:
            home, target = fresh_home(folder, sources), draw.randint(1, int(0.4 * given.rows))
            rounds.append(one_round(len(rounds), target, data, folder, home, reference, speed, given))
    real = [each for each in rounds if each.killed]
    good, vain = sum(each.good for each in real), [each.vain for each in real]
    print(
        f"{good} of {len(real)} rounds as they should be ({len(rounds) - len(real)} more ended before the kill). Rows "
        f"computed in vain: {np.mean(vain):.0f} on average, {max(vain)} at most, of {given.rows}. "
        f"{time.monotonic() - began:.0f} s in all."
    )
    raise SystemExit(good < given.rounds)


@dataclass(frozen=True)
class Round:
    """killed: the process was alive when it was killed. good: all bars are met. vain: rows computed and not stored."""

    killed: bool
    good: bool
    vain: int


def one_round(
    number: int,
    target: int,
    data: Path,
    folder: Path,
    home: Path,
    reference: np.ndarray,
    speed: float,
    given: argparse.Namespace,
) -> Round:
    """target: rows that the victim has passed when it is killed. speed: rows a second of one process alone."""
    outs = [folder / "one.parquet", folder / "other.parquet"]
    both = [embedding(data, out, home, given) for out in outs]
    dead, alive = both[number % 2], both[1 - number % 2]
    while dead.passed() < target and not dead.ended():
        time.sleep(0.002)
    killed = dead.kill()
    at_kill, passed = len(np.unique(stored_digests(home))), dead.passed()
    computed = alive.finish()["forward_rows"]
    rerun = embedding(data, outs[number % 2], home, given).finish()["forward_rows"]
    digests = stored_digests(home)
    twice = len(digests) - len(np.unique(digests))
    vain = passed + computed + rerun - given.rows
    clean = not Command(["cache", "verify"], home, folder / "verify.json", given.window).finish()["damaged"]
    cosine = min(least_cosine(vectors(out), reference) for out in outs)
    good = clean and len(digests) == given.rows and rerun == 0 and twice == 0 and cosine > 0.999
    good = good and 0 <= vain <= (runtime.FLUSH * speed + IN_FLIGHT if killed else 0)
    print(
        f"{number:>5}  {passed:>4} rows{' ' if killed else '*'} {at_kill:>14}  {computed:>9} + {rerun:<4}  {vain:>7}  "
        f"{twice:>5}  {'clean' if clean else 'DAMAGED':<6}  {cosine:.6f}{'' if good else '  BAD'}",
        flush=True,
    )
    for out in outs:
        out.unlink()
    return Round(killed, good, vain)


def least_cosine(found: np.ndarray, truth: np.ndarray) -> float:
    """0 where rows are missing; the smallest cosine of a row otherwise (the same row in another batch is rounded
    otherwise, in bf16 by a few thousandths)."""
    if found.shape != truth.shape:
        return 0.0
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    return float(((found * truth).sum(axis=1) / norms).min())


if __name__ == "__main__":
    main()
