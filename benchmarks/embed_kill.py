"""Two ``headstart embed`` processes on the same data; one is killed with -9 at random; a rerun finishes. 20 rounds.

    python benchmarks/embed_kill.py [--rounds 20] [--rows 3000] [--window 400]

Each round starts from an empty store and ends with ``headstart cache verify``. Bars: the store verifies; both outputs
are complete and agree with a reference; no row lies in the store twice. A row is stored by whoever computed it, so that
the last bar says that the rows computed in all are those of the data and what the killed process had computed and not
yet stored: at most a second of its work. (Merging would hide rows that are stored twice; the rounds have too few
segments for it, which is checked.) The claimed windows are made small, so that both processes have work from the start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


RUN = "import sys; from headstart import runtime; runtime.WINDOW = int(sys.argv.pop(1)); from headstart.cli import main; sys.exit(main())"  # noqa: E501


def command(data: Path, out: Path, window: int) -> list[str]:
    words = ["embed", str(data), "--source", "minilm", "--input", "text", "--kind", "text=text", "-o", str(out)]
    return [sys.executable, "-c", RUN, str(window), *words, "--backend", "torch", "--precision", "fp32", "--json"]


def start(data: Path, out: Path, home: Path, window: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "HEADSTART_HOME": str(home)}
    progress = out.with_suffix(".log").open("w")
    return subprocess.Popen(
        command(data, out, window), stdout=subprocess.PIPE, stderr=progress, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> dict:
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"embed failed: {out}")
    return json.loads(out)


def stored_digests(home: Path) -> np.ndarray:
    """Every digest in every segment of the store, repeated where a row lies in two."""
    from headstart.segments import Segment

    found = [Segment(path).digests() for path in (home / "features").rglob("segment-*.safetensors")]
    return np.concatenate(found) if found else np.empty(0, "S32")


def verify(home: Path) -> dict:
    words = [sys.executable, "-m", "headstart", "cache", "verify", "--json"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, "HEADSTART_HOME": str(home)}
    )
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
    given = parser.parse_args()
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "texts.parquet"
        texts = [f"{n} " + " ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for n in range(given.rows)]
        pq.write_table(pa.table({"text": texts}), data)
        sources = folder / "sources-home"
        sources.mkdir()
        began = time.monotonic()
        first = finish(start(data, folder / "reference.parquet", sources, given.window))
        whole = time.monotonic() - began
        reference = vectors(folder / "reference.parquet")
        assert first["forward_rows"] == given.rows == len(reference)
        print(f"reference: {given.rows} rows, {whole:.1f} s with the start and fetching", flush=True)
        print("round  killed after  stored then  survivor + rerun  twice  verify  largest difference", flush=True)
        bad = 0
        for number in range(given.rounds):
            home = fresh_home(folder, sources)
            one, other = (start(data, folder / f"{side}.parquet", home, given.window) for side in ("one", "other"))
            wait_for_work(home, one, other)
            wait = draw.uniform(0.0, 0.5 * whole)
            time.sleep(wait)
            dead, alive = (one, other) if number % 2 else (other, one)
            dead_out = folder / ("one.parquet" if dead is one else "other.parquet")
            ran = dead.poll() is None
            dead.send_signal(signal.SIGKILL)
            dead.communicate()
            at_kill = len(set(stored_digests(home).tolist()))
            computed = finish(alive)["forward_rows"]
            rerun = finish(start(data, dead_out, home, given.window))["forward_rows"]
            assert len(list((home / "features").rglob("segment-*"))) <= 32, (
                "too many segments: a merge hides what is twice"
            )
            digests = stored_digests(home)
            twice = len(digests) - len(np.unique(digests))
            report = verify(home)
            sound = not report["damaged"]
            apart = max(float(np.abs(vectors(folder / f"{s}.parquet") - reference).max()) for s in ("one", "other"))
            complete = len(np.unique(digests)) == given.rows and rerun == 0
            good = sound and complete and apart < 1e-4 and twice == 0
            bad += not good
            print(
                f"{number:>5}  {wait:9.1f} s{'' if ran else ' (done)'}  {at_kill:>11}  {computed:>9} + {rerun:<4}  "
                f"{twice:>5}  {'clean' if sound else 'DAMAGED'}  {apart:.1e}{'' if good else '  BAD'}",
                flush=True,
            )
            for side in ("one", "other"):
                (folder / f"{side}.parquet").unlink()
    print(f"{given.rounds - bad} of {given.rounds} rounds as they should be")
    raise SystemExit(bad > 0)


def wait_for_work(home: Path, *processes: subprocess.Popen[str]) -> None:
    """Until a process has claimed rows, or one has ended."""
    while all(process.poll() is None for process in processes):
        if any((home / "features").rglob("*.claim")):
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
