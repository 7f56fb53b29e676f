"""The automatic adaptation: the kind of shift that explains the unlabelled rows decides on the method, or on none.

Each kind of shift says what the labelled rows would have to become in order to look like the target domain:

    none        nothing             label     classes with other shares        covariate   rows with other weights
    linear      a linear map        subspace  components that both share

An explanation is tested, not trusted: a classifier tries to tell the rows that it made from the target rows. Where it
cannot (the area under its curve is within `LIMIT` standard errors of a half, or next to nothing of the distance
between the domains is left), the explanation stands. The kinds with few free numbers say something when they stand;
weights fit nearly everything, so they are taken only if nothing else stands and they lower the importance-weighted
risk. Two explanations that stand and predict different labels cannot be told apart by unlabelled rows: then, and where
none stands, it abstains, and source-only ships. That the classes of the target domain are other ones than they seem
(concept shift) cannot be seen without labels, by nobody.

`LIMIT` and the other limits were chosen on simulated shifts (benchmarks/adaptation.py, other seeds than those
reported). The bound behind it, target risk <= source risk + distance / 2 + what no head can do: Ben-David et al. 2010,
A theory of learning from different domains, theorem 2; importance-weighted risk: Sugiyama et al. 2007, JMLR 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.methods.importance import Importance, effective
from headstart.methods.labelshift import Labelshift
from headstart.methods.ot import Ot
from headstart.methods.sourceonly import Sourceonly
from headstart.methods.tca import Tca
from headstart.nn.discrepancy import tell_apart, trees_tell
from headstart.nn.heads import Head
from headstart.nn.maps import Map, chain
from headstart.tasks.base import Array, Task
from headstart.types import Json

LIMIT = 2.8
"""Standard errors of the area under the curve up to which two samples are not told apart."""

REST, REST_OF_SUBSPACE = 0.1, 0.2
"""Share of the distance between the domains that may be left; with many rows, next to nothing is still significant. A
subspace keeps rows as they are, and what is left counts in its bound."""

VANISHED = 0.1
"""A class whose share falls below this part of what it was has not become rare: it may as well have moved."""

GAIN = 0.05
"""What a subspace has to take off the bound on the target risk."""

KEPT = 0.6
"""Share of what the head knows beyond the commonest class (the mean) that a subspace has to keep: one that holds
nothing of the classes is the same in all domains."""

SAME = 0.97
"""Share of target rows on which explanations have to agree to count as one."""

CLEAR = 2.0
"""Limits from which one run of a classifier is enough."""

LEAD = 1.5
"""Standard errors by which an explanation has to be ahead of one that predicts other labels."""

LEAST = 50
"""Rows of equal weight that weights have to leave."""

ROWS = 4000
"""Rows of each domain that the tests read, at most."""


class Gap(NamedTuple):
    """How well two samples are told apart. z: area under the curve less a half, in its standard errors. area: that
    area."""

    z: float
    area: float


@dataclass(frozen=True)
class Explanation:
    """A kind of shift and what came of it. gap: between what it makes of the labelled rows and the target rows. risk:
    of its head on the labelled rows, out of fold, as they are weighed (share of errors, or of the variance). stands:
    whether the rows do not speak against it; ``why`` says what does. told_only: whether the gap is all that does.
    """

    shift: str
    method: Adaptation
    gap: Gap
    risk: float
    stands: bool
    why: str
    told_only: bool = False
    maps: tuple[Map, ...] = field(repr=False, default=())
    aligned: Aligned | None = field(repr=False, default=None)
    head: Head | None = field(repr=False, default=None)

    def to_json(self) -> Json:
        """For history and report."""
        return {
            "shift": self.shift, "method": self.method.name, "z": self.gap.z, "area": self.gap.area, "risk": self.risk,
            "stands": self.stands, "why": self.why,
        }  # fmt: skip


@dataclass(frozen=True)
class Adapt(Adaptation):
    """The adaptation that the unlabelled rows speak for; source-only where they do not."""

    name: ClassVar[str] = "adapt"
    paper: ClassVar[str] = "Ben-David et al. 2010; Sugiyama et al. 2007"

    tolerance: float = hyper(LIMIT, "standard errors up to which samples are not told apart", low=0.0, high=100.0)

    def align(self, domains: Domains) -> Aligned:
        """What the chosen explanation makes of the labelled rows."""
        return self.adapt(domains)[1]

    def adapt(self, domains: Domains) -> tuple[tuple[Map, ...], Aligned, Head]:
        """The chosen explanation's; all of them are in the history."""
        found = explain(domains, self.tolerance)
        chosen, reason = decide(domains, found)
        assert chosen.aligned is not None and chosen.head is not None
        history: Json = {**(chosen.aligned.history or {}), "chosen": chosen.shift, "because": reason}
        history["explanations"] = [each.to_json() for each in found]
        return chosen.maps, replace(chosen.aligned, history=history), chosen.head


def explain(domains: Domains, limit: float = LIMIT) -> list[Explanation]:
    """Every kind of shift, tried on the rows; that of none first."""
    none = _try("none", Sourceonly(), domains, limit, None)
    found = [none]
    if none.stands:
        return found
    if domains.task.classes:
        found.append(_try("label", Labelshift(), domains, limit, none))
    linear = _try("linear", Ot(), domains, limit, none)
    found += [linear, *_subspaces(domains, limit, none, linear)]
    found.append(_try("covariate", Importance(), domains, limit, none))
    return found


def decide(domains: Domains, found: list[Explanation]) -> tuple[Explanation, str]:
    """The explanation to go by, and why; the first one, of no shift, where it abstains."""
    none, *others = found
    if none.stands:
        return none, "the domains are not told apart"
    told = [each for each in others if each.stands and each.shift != "covariate"]
    if told:
        best = min(told, key=lambda each: each.gap.z)
        near = max(best.gap.z, 0.0) + LEAD
        rivals = [
            each
            for each in others
            if each is not best and (each in told or (each.told_only and each.gap.z <= near))
            if not _agree(domains, best, each)
        ]
        if not rivals:
            return best, f"a {best.shift} shift explains the target rows"
        names = " and ".join(sorted({each.shift for each in [best, *rivals]}))
        return none, f"abstained: {names} explain the target rows equally well and predict different labels"
    weighed = [each for each in others if each.stands]
    if weighed:
        return weighed[0], "weights explain the target rows and lower the weighted risk"
    return none, "abstained: no explanation of the shift stands"


def _subspaces(domains: Domains, limit: float, none: Explanation, linear: Explanation) -> list[Explanation]:
    """The subspace with the least risk that stands, or the one that comes nearest to it.

    It gives way to a linear map that stands and loses less.
    """
    D = domains.X.shape[1]
    methods = [Tca(kernel="linear", components=k) for k in (1, 2, 4, 8, 16) if k < D] + [Tca(components=1)]
    tried, blind = [], 1.0
    if domains.task.classes:
        blind -= float(np.bincount(np.asarray(domains.y), weights=domains.counts).max() / domains.counts.sum())
    for method in methods if D > 1 else []:
        each = _try("subspace", method, domains, limit, none)
        before, after = (one.risk + max(one.gap.area - 0.5, 0.0) for one in (none, each))
        if after > before - GAIN or not blind - each.risk >= KEPT * (blind - none.risk):
            each = replace(each, stands=False, told_only=False, why="it loses as much as the domains are apart")
        elif linear.stands and each.risk > linear.risk + GAIN:
            each = replace(each, stands=False, told_only=False, why="a linear map explains as much and loses less")
        tried.append(each)
    standing = [each for each in tried if each.stands]
    if standing:
        return [min(standing, key=lambda each: each.risk)]
    return [min(tried, key=lambda each: each.gap.z)] if tried else []


def _try(shift: str, method: Adaptation, domains: Domains, limit: float, none: Explanation | None) -> Explanation:
    """Fit a method and test what it makes of the labelled rows."""
    maps, aligned, head = method.adapt(domains)
    w = domains.weighed(aligned.weights)
    between = gap(aligned.X, chain(aligned.onto, domains.target), w, domains.seed)
    weighed = risks(domains.task, head.outside, domains.y)
    risk = float(w @ weighed / w.sum()) if weighed is not None else float("nan")
    before = 0.0 if none is None else none.gap.area - 0.5
    rest = before * (REST_OF_SUBSPACE if shift == "subspace" else REST)
    close = between.z <= limit or between.area - 0.5 <= rest
    why = _against(shift, domains, aligned)
    told_only = not close and not why and shift != "covariate"
    if not close:
        why = f"the rows it makes are still told from the target rows ({between.area:.2f})"
    elif not why and none is not None and shift != "covariate":
        why = doubts(method, domains, limit, rest)
    if not why and shift == "covariate":
        assert none is not None and none.head is not None
        why = _no_better(domains, none.head, head, w)
    return Explanation(shift, method, between, risk, not why, why, told_only, maps, aligned, head)


def _against(shift: str, domains: Domains, aligned: Aligned) -> str:
    """What speaks against the weights of an explanation, or nothing."""
    if aligned.weights is not None:
        if (rows := effective(domains.weighed(aligned.weights))) < LEAST:
            return f"its weights leave {rows:.0f} rows"
        if shift == "label":
            y = np.asarray(domains.y)
            ratio = np.array([aligned.weights[y == each].mean() for each in np.unique(y)])
            if ratio.min() < VANISHED:
                return "a class all but vanishes: it may as well have moved"
    return ""


def _no_better(domains: Domains, plain: Head, weighed: Head, w: Array) -> str:
    """Why weights are not worth it: the importance-weighted risk does not fall by two standard errors."""
    one, other = (risks(domains.task, head.outside, domains.y) for head in (plain, weighed))
    if one is None or other is None:
        return "the risk could not be cross-validated"
    share = w / w.sum()
    mean = float(share @ (one - other))
    error = float(np.sqrt((share**2) @ (one - other - mean) ** 2))
    return "" if mean > 2 * error and mean > 0 else "the weighted risk is no lower than without weights"


def risks(task: Task, outputs: Any, y: Any) -> Array | None:
    """The risk of each row [n]: 1 for a wrong class, or the squared error in units of the variance."""
    if outputs is None:
        return None
    if task.classes:
        return np.asarray(np.asarray(outputs).argmax(axis=1) != np.asarray(y), np.float64)
    y = np.asarray(y, np.float64)
    return np.asarray(((np.asarray(outputs) - y) ** 2).mean(axis=1) / max(float(y.var()), 1e-12))


def gap(X: Array, target: Array, weights: Array, seed: int = 0, trees: bool = False) -> Gap:
    """How well a classifier tells X [n,D], of these weights [n], from target [m,D]: out of fold, a mean of two runs."""
    rng = np.random.default_rng(seed)
    rows, goals = (np.sort(rng.permutation(len(each))[:ROWS]) for each in (X, target))
    X, target, w = X[rows], target[goals], weights[rows]
    n, m = effective(w), len(target)
    error = float(np.sqrt((n + m + 1) / (12 * n * m)))  # of the area where nothing differs; Hanley & McNeil 1982
    by, scores = trees_tell if trees else tell_apart, []
    for turn in (0, 1):
        scores.append(by(X, target, weights=w, seed=seed + turn))
        score = np.mean(scores, axis=0)
        area = curve_area(score[: len(X)], score[len(X) :], w)
        if area - 0.5 > CLEAR * LIMIT * error:  # another run would say the same
            break
    return Gap((area - 0.5) / error, area)


def doubts(method: Adaptation, domains: Domains, limit: float, rest: float) -> str:
    """What a second look has against an explanation that stands, or nothing.

    It is made of one half of the target rows and compared with the other half, as a map with many numbers can fit the
    very rows that it was made of; and boosted trees try to tell the rows apart.
    """
    half = np.random.default_rng(domains.seed).permutation(len(domains.target)) % 2 == 0
    pairs = []
    for one in (half, ~half):
        aligned = method.align(replace(domains, target=domains.target[one]))
        pairs.append((aligned.X, chain(aligned.onto, domains.target[~one]), domains.weighed(aligned.weights)))
    for trees in (False, True):
        found = [gap(*pair, domains.seed, trees) for pair in pairs]
        z, area = (float(np.mean(each)) for each in zip(*found))
        if z > limit and area - 0.5 > rest:
            return f"{'trees tell its rows' if trees else 'it does not hold for other target rows'} ({area:.2f})"
    return ""


def curve_area(first: Array, second: Array, weights: Array) -> float:
    """The chance that a score of ``second`` [m] is above one of ``first`` [n], drawn by these weights [n]."""
    order = np.argsort(first)
    below = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    left, right = (np.searchsorted(first[order], second, side) for side in ("left", "right"))
    return float((below[left] + below[right]).mean() / 2)


def _agree(domains: Domains, one: Explanation, other: Explanation) -> bool:
    """Whether two explanations predict the same of nearly all target rows."""
    first, second = (chain(each.maps, domains.target) for each in (one, other))
    if domains.task.classes:
        return bool((first.argmax(axis=1) == second.argmax(axis=1)).mean() >= SAME)
    together = ((first - second) ** 2).mean() / max(float(np.concatenate([first, second]).var()), 1e-12)
    return bool(together <= 1 - SAME)
