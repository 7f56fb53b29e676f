"""BitFit: only the bias terms and the head train, about 0.1 % of a transformer.

Ben Zaken, Goldberg & Ravfogel 2021, arXiv:2106.10199. A bias is a parameter with one axis whose name says so; that
includes the shifts of the norms. In a network most of whose matrices and kernels stand without a bias (nearly all
convolutional networks, whose norms do that work; T5), there would be little to train, so the scales of its norms train
as well (Frankle, Schwab & Morcos 2021, arXiv:2003.00152). Running statistics of a batch norm follow the rows where the
norm trains, as they do in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from headstart.datasets.base import Dataset
from headstart.engine import Group
from headstart.errors import MethodError
from headstart.methods.base import Need, Problem, hyper
from headstart.methods.network import GradientMethod
from headstart.methods.probe import Probe
from headstart.tasks.base import Task

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Bitfit(GradientMethod):
    """The biases (where there are few: the norms) and the head train."""

    name: ClassVar[str] = "bitfit"
    paper: ClassVar[str] = "Ben Zaken, Goldberg & Ravfogel 2021, arXiv:2106.10199"

    learning_rate: float = hyper(1e-3, "highest learning rate of the biases", low=1e-8, high=1.0)
    head_rate: float = hyper(0.5, "factor on the rate of the head", low=0.0, high=1000.0)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; also refuses a source with neither biases nor norms."""
        super().admit(task, source, dataset, given)
        assert source is not None
        if not any(shifts(source).values()):
            raise MethodError(
                "HS-METHOD-003", f"bitfit: {source.card.name} has neither biases nor norms to train.",
                "Use --method lora or finetune.",
            )  # fmt: skip

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The probe's head on a copy of the source."""
        assert problem.source is not None
        head = Probe(layers="last").fit(problem.replace(valid=None)).head
        return problem.source.clone(), head, (problem.task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """The biases of each layer at one rate and without decay, which would pull them to zero, and the head."""
        return [
            *(Group(name, found, self.learning_rate, 0.0) for name, found in shifts(source).items() if found),
            Group("head", list(head.parameters()), self.learning_rate * self.head_rate, self.weight_decay),
        ]


def shifts(source: Source) -> dict[str, list[nn.Parameter]]:
    """By layer: its biases, and the scales of its norms where most matrices and kernels have no bias beside them."""
    owners = [module for module in source.network.modules() if _matrix(module)]
    bare = sum(not any(_is_bias(name, p) for name, p in module.named_parameters(recurse=False)) for module in owners)
    scales = bare > len(owners) / 2
    return {
        layer.name: [
            parameter
            for module in layer.module.modules()
            for name, parameter in module.named_parameters(recurse=False)
            if _is_bias(name, parameter) or (scales and parameter.ndim == 1 and name == "weight")
        ]
        for layer in source.layers()
    }


def _matrix(module: nn.Module) -> bool:
    """Whether the module has a matrix or kernel of its own that could have a bias; a table of embeddings could not."""
    own = [parameter for name, parameter in module.named_parameters(recurse=False) if "weight" in name]
    return any(parameter.ndim >= 2 for parameter in own) and not isinstance(module, nn.Embedding)


def _is_bias(name: str, parameter: nn.Parameter) -> bool:
    return "bias" in name and parameter.ndim == 1
