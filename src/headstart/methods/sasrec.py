"""SASRec from a source: a transformer that others' histories taught goes on learning from those of the target.

Items are matched by identifier and bring their embedding along; those that the source does not know are drawn. What
the same network is worth from fresh weights is the control ``sasrec_scratch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.methods.sequences import SequenceMethod
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.sasrec import Sequences


@dataclass(frozen=True)
class SASRec(SequenceMethod):
    """A transformer over histories, on from the source's weights."""

    name: ClassVar[str] = "sasrec"
    paper: ClassVar[str] = "Kang & McAuley 2018, arXiv:1808.09781; Klenitskiy & Vasilev 2023, arXiv:2309.07602"

    @classmethod
    def trains(cls) -> type[HistoryNetwork]:
        """See `SequenceMethod.trains`."""
        return Sequences
