"""Source only: the head of the labelled domain, taken to the other one as it is. The control of every adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from headstart.methods.adaptation import Adaptation, Aligned, Domains


@dataclass(frozen=True)
class Sourceonly(Adaptation):
    """The labelled domain's head as it is."""

    name: ClassVar[str] = "sourceonly"
    role: ClassVar[Any] = "control"

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows as they are."""
        return Aligned(domains.X)
