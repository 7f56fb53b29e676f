"""How good a model is in a domain without labels, told from outputs and features: higher is better in each.

None of them reads a label of the target domain, and none is right on every shift (Musgrave, Belongie & Lim 2022, Three
New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation, arXiv:2208.07360). Arrays only:
n labelled rows that the model was not trained on, m target rows, C classes; outputs are logits.

- `weighted_risk`: Sugiyama, Krauledat & Müller 2007, JMLR 8, importance-weighted validation
- `deep_embedded`: You, Wang, Long & Jordan 2019, Towards Accurate Model Selection in Deep Unsupervised Domain
  Adaptation, ICML; the same with a control variate
- `neighbourhood_density`: Saito et al. 2021, Tune it the Right Way, arXiv:2108.10860, equations 2 and 3
- `certainty`, `information`: entropy of the predictions; Shi & Sha 2012
- `reverse`: Bruzzone & Marconcini 2010, IEEE PAMI 32 (circular); Zhong et al. 2010, ECML
- `agreement`: Jiang et al. 2022, Assessing Generalization via Disagreement, arXiv:2106.13799
- `clusters`: Musgrave et al. 2022, section 4.2, ClassAMI
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.nn.discrepancy import tell_apart
from headstart.nn.solvers import multinomial
from headstart.tasks.classification import softmax

Array: TypeAlias = np.ndarray

LARGEST = 20.0
"""The largest weight of a row, in units of the mean."""

MOST = 2000
"""Target rows that the statistics of pairs, clusters and domains read."""

TINY = 1e-12


def scores(
    source: Array, y: Array, target: Array, source_features: Array, target_features: Array, *,
    other: Array | None = None, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """What every validator says of one model.

    source [n,C], y int [n]: outputs and classes of labelled rows that it was not trained on. target [m,C]: outputs of
    the target rows. source_features [n,D], target_features [m,D]: what its head reads. other [m,C]: outputs of a
    second model made the same way with another seed; without it there is no ``agreement``. ``source`` among the
    scores is the accuracy on the labelled rows.
    """
    some = np.sort(np.random.default_rng(seed).permutation(len(target))[:MOST])
    X, Z = _standardised(source_features, target_features[some])
    w, wrong = density_ratio(X, Z, seed), source.argmax(axis=1) != y
    label = target.argmax(axis=1)
    found = {
        "source": 1 - float(wrong.mean()),
        "weighted risk": weighted_risk(wrong, w),
        "deep embedded": deep_embedded(cross_entropy(source, y), w),
        "density": neighbourhood_density(target[some]),
        "certainty": certainty(target),
        "information": information(target),
        "reverse": reverse(Z, label[some], X, y),
        "clusters": clusters(Z, label[some], target.shape[1], seed),
    }
    return found if other is None else found | {"agreement": agreement(target, other)}


def weighted_risk(loss: Array, weights: Array) -> float:
    """Minus the mean loss [n] on labelled rows, each of the weight [n] of its like in the target domain."""
    return -float(weights @ loss / max(float(weights.sum()), TINY))


def deep_embedded(loss: Array, weights: Array) -> float:
    """Minus the weighted risk whose variance the weights themselves, of mean 1, take down.

    R = mean(w l) + eta (mean(w) - 1),  eta = -cov(w l, w) / var(w).  loss, weights: [n], n > 1.
    """
    lost = weights * loss
    spread = float(np.var(weights, ddof=1))
    eta = -float(np.cov(lost, weights)[0, 1]) / spread if spread > TINY else 0.0
    return -float(lost.mean() + eta * (weights.mean() - 1))


def density_ratio(X: Array, target: Array, seed: int = 0) -> Array:
    """p_t / p_s at each row of X [n,D], of mean 1: [n]. By a classifier of domains, out of fold; cut at `LARGEST`."""
    w = np.exp(np.clip(tell_apart(X, target, seed=seed)[: len(X)], -20, 20))
    w = np.minimum(w, LARGEST * w.mean())
    return np.asarray(w / w.mean())


def cross_entropy(outputs: Array, y: Array) -> Array:
    """The loss in nats of logits [n,C] on classes y int [n]: [n]."""
    return np.asarray(-np.log(np.maximum(softmax(outputs)[np.arange(len(y)), y], TINY)))


def neighbourhood_density(outputs: Array, temperature: float = 0.05) -> float:
    """The mean entropy of whom each row of logits [m,C] has as neighbours, by the cosine of their chances; up to
    log(m - 1), where all other rows are equally near."""
    p = softmax(outputs)
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    near = p @ p.T / temperature
    np.fill_diagonal(near, -np.inf)
    near -= near.max(axis=1, keepdims=True)
    share = np.exp(near)
    share /= share.sum(axis=1, keepdims=True)
    return float(-(share * np.log(np.maximum(share, 1e-300))).sum(axis=1).mean())


def certainty(outputs: Array) -> float:
    """Minus the mean entropy in nats of the predictions of logits [m,C]; at most 0."""
    p = softmax(outputs)
    return float((p * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean())


def information(outputs: Array) -> float:
    """The entropy of the mean prediction of logits [m,C] less the mean entropy: 0 to log C."""
    mean = softmax(outputs).mean(axis=0)
    return certainty(outputs) - float((mean * np.log(np.maximum(mean, 1e-300))).sum())


def reverse(target: Array, label: Array, X: Array, y: Array, strength: float = 1.0) -> float:
    """The balanced accuracy on labelled rows X [n,D], y int [n], of a linear head that learned from target rows
    [m,D] what the model said of them: label, int [m]."""
    with threadpool_limits(1):
        weight, bias = multinomial(np.asarray(target, np.float64), label, 1 + max(label.max(), y.max()), strength)
    said = (X @ weight.T + bias).argmax(axis=1)
    return float(np.mean([(said[y == each] == each).mean() for each in np.unique(y)]))


def agreement(one: Array, other: Array) -> float:
    """The share of rows on which outputs [m,C] of two models have the same class."""
    return float((one.argmax(axis=1) == other.argmax(axis=1)).mean())


def clusters(features: Array, label: Array, classes: int, seed: int = 0) -> float:
    """The adjusted mutual information of labels int [m] with as many k-means clusters of features [m,D]: 1 where they
    are the same parts, about 0 where they have nothing in common."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    count = min(classes, len(np.unique(features, axis=0)))
    with threadpool_limits(1):
        parts = KMeans(count, n_init=3, random_state=seed).fit_predict(features)
    return float(adjusted_mutual_info_score(label, parts))


def _standardised(X: Array, Z: Array) -> tuple[Array, Array]:
    """Both in the columns' mean and deviation over both, each sample counting as much."""
    X, Z = np.asarray(X, np.float64), np.asarray(Z, np.float64)
    mean = (X.mean(axis=0) + Z.mean(axis=0)) / 2
    spread = np.sqrt((((X - mean) ** 2).mean(axis=0) + ((Z - mean) ** 2).mean(axis=0)) / 2)
    spread[spread <= 1e-9] = 1
    return (X - mean) / spread, (Z - mean) / spread
