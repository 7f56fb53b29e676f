"""SASRec from fresh weights: the control that has the source's network and none of its knowledge.

The same rows, the same choice of the epoch and the same rate as ``sasrec``, and at least its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.methods.sequences import SequenceMethod
from headstart.sources.sasrec import Sequences


@dataclass(frozen=True)
class SASRecScratch(SequenceMethod):
    """A transformer over histories, from fresh weights."""

    name: ClassVar[str] = "sasrec_scratch"
    role: ClassVar[Literal["transfer", "control"]] = "control"

    def start(self, source: Sequences, ids: Sequence[str], seed: int) -> Sequences:
        """The same network, drawn anew."""
        return source.for_items(ids, seed, fresh=True)
