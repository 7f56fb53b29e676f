"""What should take no time, beside what it cannot be faster than.

    python benchmarks/small_things.py

Each line: our seconds, the peer's, their ratio; the best of several, taken in turn. Start-up against an empty
interpreter and against its libraries alone; the check of a file of features against SHA-256 of the same bytes; 10 000
resamples against one mean after another.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

TRIES = 5


def beside(name: str, own: Callable[[], object], peer: Callable[[], object], what: str) -> None:
    """One line of the table."""
    best = [np.inf, np.inf]
    for _ in range(TRIES):
        for at, call in enumerate((own, peer)):
            began = time.perf_counter()
            call()
            best[at] = min(best[at], time.perf_counter() - began)
    print(f"{name:<40}{best[0]:>8.3f} s   {what:<28}{best[1]:>8.3f} s   ratio {best[0] / best[1]:.2f}", flush=True)


def interpreter(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def main() -> None:
    from headstart import segments
    from headstart.cache import Store
    from headstart.evidence.verdict import paired_bootstrap

    beside("import headstart", interpreter("import headstart"), interpreter("pass"), "an empty interpreter")
    asked = "from headstart.cli import main; main(['--help'])"
    beside("headstart --help", interpreter(asked), interpreter("import typer, rich"), "import typer, rich")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "store"
        digests = np.array([f"{number:032x}" for number in range(20_000)], "S32")
        Store(kept).append(digests, rng.standard_normal((20_000, 384)).astype(np.float32))
        (segment,) = kept.glob("segment-*")
        beside(
            "the check of 20 000 x 384 features",
            lambda: segments.Segment(segment).check(),
            lambda: hashlib.sha256(segment.read_bytes()).digest(),
            "SHA-256 of the file",
        )
    a, b = rng.random((4_000, 2)), rng.random((4_000, 2))

    def one_by_one() -> None:
        draws = np.random.default_rng(0)
        for _ in range(10_000):
            rows = draws.integers(0, 4_000, 4_000)
            (a[rows] - b[rows]).mean(axis=0)

    beside(
        "10 000 resamples of 4 000 rows",
        lambda: paired_bootstrap(a, b, lambda sums: sums[..., 0] / sums[..., 1]),
        one_by_one,
        "one by one",
    )


if __name__ == "__main__":
    main()
