"""When predictions gather in few classes: the sign, without a label, that training on them went wrong.

A loss that asks for sure predictions is at its best where all rows are of one class. How many classes are in use is
the exponential of the entropy of the shares (Hill 1973, Diversity and Evenness); what counts is that number beside the
one of the model from before, since rows may well be of few classes.
"""

from __future__ import annotations

import numpy as np

from headstart.tasks.base import Array

LEFT = 0.7
"""Part of the classes in use before under which predictions have collapsed."""


def in_use(labels: Array, classes: int) -> float:
    """How many classes the labels (int [N], N > 0) are of, 1 to C; of equal shares exactly their number."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def collapsed(now: Array, before: Array, left: float = LEFT) -> bool:
    """Whether the outputs of a model, [N,C], use few classes beside those of the one before, on the same rows."""
    if not np.isfinite(now).all():
        return True
    classes = now.shape[1]
    return in_use(now.argmax(axis=1), classes) < left * in_use(before.argmax(axis=1), classes)
