"""Classes as clusters of unlabelled rows that begin at the embeddings of their labels.

The cosine of a row and a label tells little where labels are words and rows are long texts or pictures: one label may
be near to everything (hubness), and the rows of a class lie together, but somewhere beside their label. Both are seen
without a single label of a row:

    s_ic = x_i . l_c - h mean_j x_j . l_c                 h: part of a label's mean similarity that is taken off
    p_ic = softmax_c(s_ic / t),   m_c = the mean of the rows, weighted by p_ic

and then a few rounds of expectation maximisation of a mixture of round clusters, its means drawn towards the m_c of
the start as if ``anchor`` more rows lay there, its shares estimated:

    p_ic = softmax_c((x_i . m_c - |m_c|^2 / 2) / t + log pi_c)

The result is linear in the row: weights m_c / t and a bias. This is the maximum a posteriori form of the transductive
mixtures of Zanella, Gerin & Ben Ayed 2024 (Boosting vision-language models with transduction, arXiv:2406.01837), with
the class shares of Saerens et al. 2002.

Defaults were settled on development sets (`benchmarks/zeroshot.py --develop`), never on rows that a benchmark reports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.tasks.classification import softmax

Array = np.ndarray


@dataclass(frozen=True)
class Anchored:
    """Linear scores of rows at unit length: X weight' + bias. shares [C]: of the classes among the rows it saw."""

    weight: Array
    bias: Array
    shares: Array


def plain(labels: Array, temperature: float) -> Anchored:
    """The cosine alone. labels [C,E] at unit length."""
    classes = len(labels)
    return Anchored(labels / temperature, np.zeros(classes), np.full(classes, 1 / classes))


def anchored(
    rows: Array, labels: Array, *, temperature: float, hubness: float = 0.25, anchor: float = 1000.0, rounds: int = 5
) -> Anchored:
    """Clusters of ``rows`` [N,E] that begin at ``labels`` [C,E], both at unit length."""
    classes = len(labels)
    similarity = rows @ labels.T
    weight, bias = labels / temperature, -hubness * similarity.mean(axis=0) / temperature
    chances = softmax(rows @ weight.T + bias)
    start = _means(rows, chances)
    for _ in range(rounds):
        counts = chances.sum(axis=0)
        means = (chances.T @ rows + anchor * start) / (counts + anchor)[:, None]
        share = (counts + 1) / (len(rows) + classes)
        weight = means / temperature
        bias = np.log(share) - 0.5 * (means**2).sum(axis=1) / temperature
        chances = softmax(rows @ weight.T + bias)
    return Anchored(weight, bias, chances.mean(axis=0))


def _means(rows: Array, chances: Array) -> Array:
    """The mean of the rows by class, weighted by ``chances`` [N,C]."""
    return np.asarray(chances.T @ rows / np.maximum(chances.sum(axis=0), 1e-12)[:, None])
