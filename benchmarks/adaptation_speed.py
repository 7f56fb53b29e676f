"""Seconds that moving 20 000 rows of 384 features takes, beside skada, on the same input in turns.

    python benchmarks/adaptation_speed.py          # bar: none slower than skada

Both move the labelled rows and nothing else: no head is fitted. Medians of interleaved runs; the last column says how
far the moved rows differ (largest difference over their standard deviation; axes up to their sign).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from headstart.methods.coral import coral
from headstart.methods.ot import monge
from headstart.methods.subspace import axes
from headstart.nn.moments import covariance
from headstart.sources import torchvision_compat

warnings.filterwarnings("ignore")
torchvision_compat.heal()
Array = np.ndarray


def subspace(X: Array, target: Array, count: int) -> Array:
    """As `headstart.methods.subspace.Subspace.align` moves the labelled rows."""
    mean, inside = covariance(X)
    _, outside = covariance(target)
    first, second = axes(inside, count), axes(outside, count)
    return np.asarray((X - mean) @ (first @ (first.T @ second)))


def main() -> None:
    import skada

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(2, given.width, given.width)) / np.sqrt(given.width)
    X, target = (rng.normal(size=(given.rows, given.width)) @ each for each in mix)
    target = target + 0.3
    both, domain = np.concatenate([X, target]), np.repeat([1, -2], given.rows)
    y = np.concatenate([np.arange(given.rows) % 2, np.full(given.rows, -1)])

    def theirs(adapter: object) -> Array:
        found = adapter.fit_transform(both, y, sample_domain=domain)  # type: ignore[attr-defined]
        return np.asarray(found[: given.rows])

    pairs: dict[str, tuple[Callable[[], Array], Callable[[], Array]]] = {
        "coral": (lambda: coral(X, target, 0.0), lambda: theirs(skada.CORALAdapter(reg=None)) + target.mean(axis=0)),
        "subspace": (lambda: subspace(X, target, 50), lambda: theirs(skada.SubspaceAlignmentAdapter(n_components=50))),
        "linear transport": (
            lambda: monge(X, target, 0.0), lambda: theirs(skada.LinearOTMappingAdapter(reg=1e-12)),
        ),
    }  # fmt: skip
    print(f"{'':<18}{'headstart':>12}{'skada':>10}{'times faster':>14}{'difference':>12}")
    for name, (ours, peer) in pairs.items():
        seconds: list[list[float]] = [[], []]
        results = [ours(), peer()]
        for _ in range(given.runs):
            for place, run in enumerate((ours, peer)):
                started = time.perf_counter()
                run()
                seconds[place].append(time.perf_counter() - started)
        one, other = results
        if name == "subspace":
            other = other * np.sign((one * other).sum(axis=0))
        gap = float(np.abs(one - other).max() / one.std())
        first, second = (float(np.median(each)) for each in seconds)
        print(f"{name:<18}{first:>10.2f} s{second:>8.2f} s{second / first:>14.2f}{gap:>12.1e}")


if __name__ == "__main__":
    main()
