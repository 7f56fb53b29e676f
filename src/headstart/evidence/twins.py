"""Test rows that the training rows already hold, as they are or nearly so, leave the test."""

from __future__ import annotations

import numpy as np

from headstart.evidence.duplicates import exact_straddlers, near_straddlers
from headstart.evidence.splits import Split, move
from headstart.runtime import Extractor
from headstart.tasks.base import Task


def without_twins(parts: Split, extractor: Extractor | None, task: Task) -> Split:
    """Move test rows that the training rows already contain; looks at inputs alone."""
    if len(parts.test) == 0 or not task.independent:
        return parts
    known = [parts.train, *([parts.valid] if parts.valid is not None else [])]
    twins = exact_straddlers([digest for part in known for digest in part.fingerprints()], parts.test.fingerprints())
    if extractor is not None and task.needs == "pooled":
        train = np.concatenate([extractor.matrix(part.without("target")) for part in known])
        twins = twins | near_straddlers(train, extractor.matrix(parts.test))
    return move(parts, twins)
