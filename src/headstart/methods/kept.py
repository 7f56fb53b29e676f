"""Kept: the model of a run as it is. The control of every method that goes on from a fitted model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

from headstart.errors import MethodError
from headstart.methods.base import LACKS, Fitted, Method, Need, Problem


@dataclass(frozen=True)
class Kept(Method):
    """The model of the run as it is."""

    name: ClassVar[str] = "kept"
    kind: ClassVar[Any] = "transductive"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("model", "domain")

    def fit(self, problem: Problem) -> Fitted:
        """The model itself, under this method's name. Raises MethodError HS-METHOD-003 where there is none."""
        if problem.model is None:
            raise MethodError("HS-METHOD-003", f"{self.name} needs {LACKS['model'][0]}.", LACKS["model"][1])
        same = copy.copy(problem.model)
        same.method = self
        return same
