"""LogME by one shared decomposition against a direct implementation of the paper's evidence maximisation.

The direct one follows Algorithm 1 of You et al. 2021 (arXiv:2102.11005): F'F once for all classes; then for one class
after the other in every iteration the D x D matrix A = alpha I + beta F'F, its Cholesky factor, the solution m and the
trace of its inverse, and at the end the log-determinant; alpha and beta are iterated until neither changes by 1e-9,
because the values are compared to 1e-6. It runs on a few of the classes; the time of these is scaled to all of them.

    OMP_NUM_THREADS=1 python benchmarks/logme_speed.py [--rows 10000 --width 1280 --classes 100 --direct 5]
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from scipy import linalg

from headstart.nn.spectrum import spectrum
from headstart.rankers.logme import LogME, log_evidence

VALUE_BAR, SPEED_BAR = 1e-6, 20.0


def direct(F: np.ndarray, gram: np.ndarray, y: np.ndarray, most: int = 500) -> tuple[float, int]:
    """Log of the maximum evidence per row and the iterations it took, by explicit D x D matrices."""
    rows, width = F.shape
    product = F.T @ y
    identity = np.eye(width)
    alpha = beta = 1.0
    iterations = 0
    for _ in range(most):
        iterations += 1
        factor = linalg.cho_factor(alpha * identity + beta * gram)
        m = beta * linalg.cho_solve(factor, product)
        gamma = width - alpha * np.trace(linalg.cho_solve(factor, identity))
        error = np.sum((F @ m - y) ** 2)
        before = alpha, beta
        alpha, beta = gamma / (m @ m), (rows - gamma) / error
        if max(abs(alpha / before[0] - 1), abs(beta / before[1] - 1)) < 1e-9:
            break
    factor = linalg.cho_factor(alpha * identity + beta * gram)
    m = beta * linalg.cho_solve(factor, product)
    value = width / 2 * np.log(alpha) + rows / 2 * np.log(beta) - rows / 2 * np.log(2 * np.pi)
    value -= beta / 2 * np.sum((F @ m - y) ** 2) + alpha / 2 * (m @ m) + np.log(np.diagonal(factor[0])).sum()
    return float(value / rows), iterations


def data(rows: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative features with a few strong directions, as a ReLU network's pooled output, and classes in them."""
    generator = np.random.default_rng(0)
    y = generator.permutation(np.arange(rows) % classes)
    hidden = generator.normal(size=(classes, 64))[y] + generator.normal(size=(rows, 64))
    F = hidden @ generator.normal(size=(64, width)) / 8 + 0.7 * generator.normal(size=(rows, width))
    return np.maximum(F, 0).astype(np.float32), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--direct", type=int, default=5, help="classes that the direct implementation runs on")
    options = parser.parse_args()
    F, y = data(options.rows, options.width, options.classes)
    print(f"N={options.rows} D={options.width} classes={options.classes} threads={os.environ.get('OMP_NUM_THREADS')}")
    LogME().score(F[:200], y[:200])  # imports

    began = time.perf_counter()
    score = LogME().score(F, y)
    ours = time.perf_counter() - began
    print(f"headstart, all {options.classes} classes: {ours:.2f} s, score {score:.9f}")

    wide = F.astype(np.float64)
    some = range(min(options.direct, options.classes))
    each = log_evidence(spectrum(wide), np.stack([y == label for label in some], axis=1).astype(np.float64))
    began = time.perf_counter()
    gram = wide.T @ wide
    once, worst, seconds = time.perf_counter() - began, 0.0, 0.0
    for label in some:
        began = time.perf_counter()
        value, iterations = direct(wide, gram, (y == label).astype(np.float64))
        seconds += time.perf_counter() - began
        difference = abs(each[label] - value) / abs(value)
        worst = max(worst, difference)
        print(f"class {label}: direct {value:.9f} ({iterations} iterations), headstart {each[label]:.9f}, "
              f"relative difference {difference:.1e}")  # fmt: skip
    scaled = once + seconds * options.classes / len(some)
    print(
        f"direct: {once:.1f} s once, {len(some)} classes {seconds:.1f} s; scaled to {options.classes}: {scaled:.0f} s"
    )
    print(f"largest relative difference {worst:.1e} (bar {VALUE_BAR:.0e}): {'met' if worst <= VALUE_BAR else 'MISSED'}")
    ratio = scaled / ours
    print(f"ratio {ratio:.0f}x (bar {SPEED_BAR:.0f}x): {'met' if ratio >= SPEED_BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
