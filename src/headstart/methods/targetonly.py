"""Target only: the head of the few labelled rows of the target domain. A control where there are such rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import Need
from headstart.nn.heads import Head, choose
from headstart.nn.maps import Map


@dataclass(frozen=True)
class Targetonly(Adaptation):
    """The head of the few labelled rows of the target domain alone."""

    name: ClassVar[str] = "targetonly"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("labels", "domain", "few")

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows of the target domain."""
        few = domains.few
        assert few is not None
        return Aligned(domains.X[few], y=np.asarray(domains.y)[few], weights=domains.counts[few])

    def adapt(self, domains: Domains) -> tuple[tuple[Map, ...], Aligned, Head]:
        """Their head, its kind and strength chosen by these rows."""
        found = self.align(domains)
        assert found.y is not None
        kind: Any = self.head
        recipe = choose(domains.task, found.X, found.y, kind, weights=found.weights, seed=domains.seed)
        return super().adapt(replace(domains, recipe=recipe))
