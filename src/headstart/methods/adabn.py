"""AdaBN: the network of the labelled rows with the batch-norm statistics of the target domain.

Li, Wang, Shi, Liu & Hou 2016, Revisiting Batch Normalization For Practical Domain Adaptation, arXiv:1603.04779. The
network is trained on the labelled rows alone, as by ``sourcetuned``; then mean and variance of every batch norm are
computed anew on the target rows, and no weight moves. It takes one pass over the target rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Need, Problem
from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.methods.network import NetworkFitted
from headstart.nn.batch_norm import batch_norms, recomputed
from headstart.runtime import device
from headstart.tasks.base import Task

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Adabn(DeepAdaptation):
    """The network of the labelled rows with the batch-norm statistics of the target domain."""

    name: ClassVar[str] = "adabn"
    looks: ClassVar[bool] = False
    paper: ClassVar[str] = "Li et al. 2016, arXiv:1603.04779"

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse also a source without batch norm. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, given)
        assert source is not None
        if not batch_norms(source.network):
            raise MethodError(
                "HS-METHOD-003", f"adabn needs a network with batch norm; {source.card.name} has none.",
                "Use --method mcc, or a convolutional source.",
            )  # fmt: skip

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """Nothing: the training sees labelled rows alone."""
        return sides.ours_out.new_zeros(())

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train on the labelled rows, then compute the statistics of the target rows, in fp32.

        Raises MethodError HS-METHOD-003 where there is one target row only.
        """
        if problem.domain is not None and len(problem.domain) < 2:
            raise MethodError("HS-METHOD-003", "adabn needs two target rows or more.", "Give more of them.")
        fitted = super().fit(problem)
        assert problem.domain is not None
        source, rows = fitted.source, problem.domain
        order = np.random.default_rng(problem.seed).permutation(len(rows))
        where = device()
        source.network.to(where)

        def forward(part: np.ndarray) -> None:
            source.forward(source.preprocess(rows.samples(part.tolist())).to(where))

        layers = recomputed(source.network, np.array_split(order, self.parts_of(len(rows))), forward)
        source.network.to("cpu")
        source.card = replace(source.card, digest=source.digest())
        fitted.history[-1] |= {"batch norms": layers}
        return fitted

    def parts_of(self, rows: int) -> int:
        """Batches of at most ``batch_size`` rows, and of two at least."""
        return max(1, min(math.ceil(rows / self.batch_size), rows // 2))
