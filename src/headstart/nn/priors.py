"""The shares of the classes among unlabelled rows, and what a classifier says when it knows them.

A classifier gives p(c|x) under the shares q of the rows that it learned from. Where other rows have other shares pi but
the same p(x|c), Bayes' rule corrects its answers, and the shares are those that the corrected answers average to:

    p'(c|x) = p(c|x) pi_c / q_c / sum_d p(d|x) pi_d / q_d          pi_c = mean over rows of p'(c|x)

which expectation maximisation solves to the maximum of the likelihood. Saerens, Latinne & Decaestecker 2002, Adjusting
the outputs of a classifier to new a priori probabilities, Neural Computation 14, equations 2.4 and 2.7.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def shares(
    probabilities: Array, prior: Array | None = None, *, smoothing: float = 0.0, rounds: int = 1000
) -> tuple[Array, Array]:
    """The classes' shares [C] among the rows, and the corrected probabilities [N,C].

    probabilities: [N,C] under ``prior`` [C] (uniform by default). smoothing: rows added to every class before each
    division (a Dirichlet prior), which keeps a class with few rows from vanishing.
    """
    classes = probabilities.shape[1]
    q = np.full(classes, 1 / classes) if prior is None else np.asarray(prior, np.float64)
    found = q.copy()
    for _ in range(rounds):
        corrected = probabilities * (found / q)
        corrected /= np.maximum(corrected.sum(axis=1, keepdims=True), 1e-300)
        counts = corrected.sum(axis=0) + smoothing
        again = counts / counts.sum()
        if np.abs(again - found).max() < 1e-9:
            break
        found = again
    return found, corrected
