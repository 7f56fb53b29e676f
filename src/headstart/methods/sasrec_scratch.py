"""SASRec from fresh weights: the control that has the source's network and none of its knowledge.

The same rows, the same choice of the epoch and the same rate as ``sasrec``, and at least its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.methods.sequences import SequenceMethod
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.sasrec import Sequences


@dataclass(frozen=True)
class SASRecScratch(SequenceMethod):
    """A transformer over histories, from fresh weights."""

    name: ClassVar[str] = "sasrec_scratch"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    paper: ClassVar[str] = "Kang & McAuley 2018, arXiv:1808.09781; Klenitskiy & Vasilev 2023, arXiv:2309.07602"

    @classmethod
    def trains(cls) -> type[HistoryNetwork]:
        """See `SequenceMethod.trains`."""
        return Sequences
