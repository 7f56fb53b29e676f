"""TrAdaBoost: a few labelled rows of the target domain tell which rows of the others mislead, and these lose weight.

In round t of T a head is fitted on all labelled rows as they weigh. With e_i = 1 for a row that it gets wrong, else 0,
n rows of other domains and the few rows of the target domain, whose weighted error is err:

    w_i <- w_i beta^e_i         other domains     beta = 1 / (1 + sqrt(2 log n / T))
    w_j <- w_j beta_t^-e_j      target domain     beta_t = err / ((1 - err) (C - 1)), at most 1

Dai, Yang, Xue & Yu 2007, Boosting for Transfer Learning, ICML, figure 1. C - 1 is 1 there; for more classes it is as in
Zhu, Zou, Rosset & Hastie 2009, Multi-class AdaBoost. For numbers e is the error in units of the largest, as in
TrAdaBoost.R2 of Pardoe & Stone 2010, ICML. The rounds from T / 2 on vote with log(1 / beta_t); here they vote with
their outputs rather than their classes, so that heads of one kernel add up to one head. The weights at first are left
to the user there; here the few rows count as much as all others together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import Need, hyper
from headstart.nn.heads import Head
from headstart.nn.maps import Map, chain
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Tradaboost(Adaptation):
    """Labelled rows of other domains lose weight where a few labels of the target domain speak against them."""

    name: ClassVar[str] = "tradaboost"
    needs: ClassVar[tuple[Need, ...]] = ("labels", "domain", "few")
    paper: ClassVar[str] = "Dai et al. 2007; Pardoe & Stone 2010"

    rounds: int = hyper(20, "heads that are fitted; the later half of them vote", low=1, high=1000)

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows with the weights of the last round."""
        return self.adapt(domains)[1]

    def adapt(self, domains: Domains) -> tuple[tuple[Map, ...], Aligned, Head]:
        """The vote of the later rounds as one head."""
        few = domains.few
        assert few is not None
        classes = domains.task.width if domains.task.classes else 0
        beta = 1 / (1 + np.sqrt(2 * np.log(max(int((~few).sum()), 2)) / self.rounds))
        total = [max(float(domains.counts[each].sum()), 1e-300) for each in (~few, few)]
        w = np.where(few, 1 / total[1], 1 / total[0])
        heads, votes = [], []
        for _ in range(self.rounds):
            used = w
            heads.append(domains.head(domains.X, weights=w))
            missed = misses(chain(heads[-1].maps, domains.X), domains.y, classes)
            w, vote = reweighted(domains.weighed(w), missed, few, beta, classes)
            w = w / np.maximum(domains.counts, 1e-300)
            votes.append(vote)
        half = self.rounds // 2
        maps = mean_head(heads[half:], votes[half:])
        kept = float(used[~few].mean() / used.mean()) if (~few).any() else 0.0
        history = {"few": int(few.sum()), "weight of the other rows": kept}
        return maps, Aligned(domains.X, weights=used / used.mean(), history=history), Head(maps, None)


def misses(outputs: Array, y: Array, classes: int) -> Array:
    """How wrong outputs [n,C] are, 0 to 1: [n]. classes: 0 for numbers."""
    if classes:
        return np.asarray(outputs.argmax(axis=1) != np.asarray(y), np.float64)
    far = np.abs(outputs - np.asarray(y).reshape(outputs.shape)).mean(axis=1)
    return np.asarray(far / max(float(far.max()), 1e-300))


def reweighted(w: Array, missed: Array, few: Array, beta: float, classes: int) -> tuple[Array, float]:
    """The weights [n] of the next round, of the same sum, and log(1 / beta_t), what this round's head says counts.

    w: [n]. missed: [n], 0 to 1. few: bool [n], rows of the target domain. An error of 0 counts as half a row.
    """
    error = float(w[few] @ missed[few] / w[few].sum())
    error = float(np.clip(error, 0.5 / few.sum(), 1 - 1e-9))
    beta_t = min(1.0, error / ((1 - error) * max(classes - 1, 1)))
    new = w * np.where(few, beta_t**-missed, beta**missed)
    return new * w.sum() / new.sum(), -float(np.log(beta_t))


def mean_head(heads: Sequence[Head], votes: Sequence[float]) -> tuple[Map, ...]:
    """One head whose outputs are the mean of those of heads on the same kernel, by their votes."""
    share = np.asarray(votes) if sum(votes) > 0 else np.ones(len(votes))
    share = share / share.sum()
    last = [head.maps[-1] for head in heads]
    matrix = sum(part * each.matrix for part, each in zip(share, last))
    offset = sum(part * each.offset for part, each in zip(share, last))
    return (*heads[0].maps[:-1], Map(np.asarray(matrix), np.asarray(offset)))
