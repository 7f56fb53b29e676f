"""Test rows that the training rows already hold, as they are or nearly so, leave the test.

Rows of a table that are equal to several others stay: there it is the values that are few.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headstart.datasets.base import Dataset
from headstart.evidence.duplicates import common, exact_straddlers, merge_groups, near_straddlers
from headstart.evidence.splits import Split, move
from headstart.runtime import Extractor
from headstart.tasks.base import Task


def without_twins(parts: Split, extractor: Extractor | None, task: Task) -> Split:
    """Move test rows that the training rows already contain; looks at inputs alone."""
    if len(parts.test) == 0 or not task.independent:
        return parts
    known = [parts.train, *([parts.valid] if parts.valid is not None else [])]
    digests, asked = [digest for part in known for digest in part.fingerprints()], parts.test.fingerprints()
    twins = exact_straddlers(digests, asked)
    if extractor is not None and task.needs == "pooled":
        train = np.concatenate([extractor.matrix(part.without("target")) for part in known])
        twins = twins | near_straddlers(train, extractor.matrix(parts.test))
    if parts.test.modality == "table" and (stay := twins & common(digests, asked)).any():
        twins = twins & ~stay
        note = (
            f"{stay.sum():,} test rows are equal to several training rows each: the columns hold few values; they stay."
        )
        parts = replace(parts, notes=[*parts.notes, note])
    return move(parts, twins)


def together(rows: Dataset) -> np.ndarray | None:
    """Codes [N] of rows that share a fold: groups, and rows with the same input; None where every row stands alone.

    Rows of a table that are equal to several others are not held together.
    """
    digests = rows.fingerprints()
    if rows.modality == "table":
        often = common(digests, digests)
        digests = [f"{place}" if each else digest for place, (digest, each) in enumerate(zip(digests, often))]
    codes = merge_groups(rows.groups(), digests)
    return None if codes is None or len(np.unique(codes)) == len(rows) else codes
