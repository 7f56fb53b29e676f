"""SASRec from a source: a transformer that others' histories taught goes on learning from those of the target.

Items are matched by identifier and bring their embedding along; those that the source does not know are drawn. What
the same network is worth from fresh weights is the control ``sasrec_scratch``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headstart.methods.sequences import SequenceMethod
from headstart.sources.sasrec import Sequences


@dataclass(frozen=True)
class SASRec(SequenceMethod):
    """A transformer over histories, on from the source's weights."""

    name: ClassVar[str] = "sasrec"

    def start(self, source: Sequences, ids: Sequence[str], seed: int) -> Sequences:
        """The source's network for these items."""
        return source.for_items(ids, seed)
