"""Whether a model for a domain without labels is to be preferred over its control: only where the evidence is clear.

Scores without target labels (`headstart.nn.validators`) are right often, and very wrong at times. A candidate is
preferred only if

- it has not unlearned the labelled domain: accuracy on held-out labelled rows at most ``lose`` lower;
- it has not lost a class: none that the control predicts has shrunk below `SHRUNK` of its share;
- of three validators (`JUDGES`) two are ahead of the control by `MARGIN`; or, with more than two classes, the clusters
  alone by `ALONE`, or the clusters by `MARGIN` and the agreement of two runs by `AGREED`, since the other two have
  nothing to gain where a network is right for nearly all labelled rows, and since of two classes clusters cannot tell
  which is which. How often two runs of a network disagree is about how often it errs (Jiang et al. 2022);
- none of the three is behind by `BEHIND`.

Of several the one whose judges are furthest ahead in the mean is taken; else it abstains. The limits were chosen on the
simulated shifts of `benchmarks/validators.py`; docs/domain-adaptation.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headstart.nn import validators
from headstart.tasks.base import Array

JUDGES = ("weighted risk", "reverse", "clusters")
"""Validators that decide: on labelled rows like those of the target, on the way back, and on the target rows alone."""

MARGIN, BEHIND = 0.03, 0.05
"""By how much two of them have to be ahead, and the third may be behind; they go from 0 to 1, or -1 to 0."""

ALONE = 0.2
"""By how much the clusters have to be ahead where nothing else is."""

AGREED = 0.015
"""By how much two runs of a candidate have to agree more than two of the control."""

SOURCE = 0.02
"""Accuracy on held-out labelled rows that a candidate may lose; of few rows, allow for their error."""

SHRUNK, COMMON = 0.25, 0.2
"""A class is lost where it keeps less than this part of its share; looked at are classes that the control predicts at
least this often, in units of 1 / C."""


class Seen(NamedTuple):
    """What is known of one model. source [n,C]: outputs of labelled rows that it was not trained on. target [m,C]: of
    target rows. source_features [n,D], target_features [m,D]: what its head reads. other [m,C]: outputs of a second run
    with another seed, or None."""

    source: Array
    target: Array
    source_features: Array
    target_features: Array
    other: Array | None = None


@dataclass(frozen=True)
class Preference:
    """index: of the candidate that is preferred over the control; None where it abstains. reason: in words. doubts: of
    each candidate what speaks against it, or nothing. scores: of each candidate, then of the control."""

    index: int | None
    reason: str
    doubts: tuple[str, ...]
    scores: tuple[dict[str, float], ...]


def prefer(y: Array, control: Seen, candidates: Sequence[Seen], *, lose: float = SOURCE, seed: int = 0) -> Preference:
    """The candidate that is clearly better in the target domain than the control, if there is one.

    y: int [n], the classes of the held-out labelled rows, the same for all models. lose: see `SOURCE`. No label of the
    target domain is read.
    """
    models = [*candidates, control]
    scores = [validators.scores(m.source, y, *m[1:4], other=m.other, seed=seed) for m in models]
    return weigh(scores, [predicted(each.target) for each in models], lose)


def weigh(scores: Sequence[dict[str, float]], shares: Sequence[Array], lose: float = SOURCE) -> Preference:
    """As `prefer`, from the scores and the predicted shares [C] of each candidate, then of the control."""
    plain = scores[-1]
    doubts = tuple(doubt(found, plain, share, shares[-1], lose) for found, share in zip(scores[:-1], shares[:-1]))
    standing = [number for number, why in enumerate(doubts) if not why]
    if not standing:
        return Preference(None, "abstained: no candidate is clearly better than the control", doubts, tuple(scores))
    best = max(standing, key=lambda number: leading(scores[number], plain).mean())
    reason = f"clearly better than the control: {told(leading(scores[best], plain))}"
    return Preference(best, reason, doubts, tuple(scores))


def leading(found: dict[str, float], plain: dict[str, float]) -> Array:
    """By how much each judge is above the control's: [3]."""
    return np.array([found[name] - plain[name] for name in JUDGES])


def told(leads: Array) -> str:
    """The judges and by how much each is ahead, in words."""
    return ", ".join(f"{name} {lead:+.2f}" for name, lead in zip(JUDGES, leads))


def doubt(found: dict[str, float], plain: dict[str, float], share: Array, before: Array, lose: float = SOURCE) -> str:
    """What speaks against a candidate with these scores, or nothing. share, before: [C], how often it and the control
    predict each class."""
    if (lost := plain["source"] - found["source"]) > lose + 1e-9:
        return f"it loses {lost:.2f} of the accuracy on labelled rows"
    gone = np.flatnonzero((before >= COMMON / len(before)) & (share < SHRUNK * before))
    if len(gone):
        return f"class {gone[0]} falls from {before[gone[0]]:.2f} of the predictions to {share[gone[0]]:.2f}"
    leads = leading(found, plain)
    if (least := leads.min()) < -BEHIND:
        return f"{JUDGES[leads.argmin()]} is {-least:.2f} behind"
    clusters = leads[JUDGES.index("clusters")] if len(before) > 2 else 0.0
    steadier = found.get("agreement", 0.0) - plain.get("agreement", 1.0)
    if np.median(leads) > MARGIN or clusters > ALONE or (clusters > MARGIN and steadier > AGREED):
        return ""
    return f"it is not clearly ahead: {told(leads)}"


def predicted(outputs: Array) -> Array:
    """How often logits [m,C] predict each class: [C]."""
    return np.bincount(outputs.argmax(axis=1), minlength=outputs.shape[1]) / len(outputs)
