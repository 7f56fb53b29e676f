"""Soup: the average of the weights of several fine-tunings, then interpolated with the source.

Fine-tunings from the same start (source and probe head) with other rates, layer decays and seeds end in one basin, and
the average of their weights is often better than each of them and costs no more to run.

    greedy soup   S = {};  for each member in order of falling validation score:
                      S <- S + member  where  score(mean of S + member) >= score(mean of S)
    WiSE-FT       w(a) = (1 - a) w_source + a w_soup,  a chosen on validation

The soup is no worse than its best member on the validation rows, and w(a) no worse than the soup, by construction.
Where there is no validation part, one is cut from the training rows. The statistics of batch norms are no average of
anything: those of a mean of weights are estimated anew on training rows (as in Izmailov et al. 2018, arXiv:1803.05407,
section 3.2); a single member and the source keep their own.

Wortsman et al. 2022, Model soups, arXiv:2203.05482, recipe 1; Wortsman et al. 2021, Robust fine-tuning of zero-shot
models, arXiv:2109.01903, equation 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart.engine import Group
from headstart.errors import MethodError
from headstart.methods.base import Problem, hyper
from headstart.methods.finetune import Finetune, probed
from headstart.methods.network import GradientMethod, Network, NetworkFitted, Rows, layer_rows, shown
from headstart.methods.selection import validation_part
from headstart.nn.drift import Origin
from headstart.runtime import device
from headstart.types import Batch, Json

if TYPE_CHECKING:
    from headstart.sources.base import Source

State: TypeAlias = dict[str, torch.Tensor]

STATISTICS = 512
"""Training rows on which the statistics of batch norms are estimated."""

RESERVED = 0.1
"""Part of the time that is left for averaging once the members are trained."""


@dataclass(frozen=True)
class Soup(GradientMethod):
    """The average of several fine-tunings, interpolated with the source."""

    name: ClassVar[str] = "soup"
    paper: ClassVar[str] = "Wortsman et al. 2022, arXiv:2203.05482; Wortsman et al. 2021, arXiv:2109.01903"

    layer_decay: float = hyper(0.9, "factor on the rate for each layer towards the input", low=0.0, high=1.0)
    members: int = hyper(4, "fine-tunings to average; 1 = interpolation with the source alone", low=1, high=64)
    spread: float = hyper(2.0, "factor between the members' learning rates", low=1.0, high=100.0)
    interpolation: int = hyper(
        5, "steps from the source to the soup to choose from; 0 = the soup as it is", low=0, high=100,
        paper="arXiv:2109.01903",
    )  # fmt: skip

    def rows_trained(self, rows: int) -> float:
        """What all members see."""
        return self.members * super().rows_trained(rows)

    def ablation(self) -> Finetune:
        """The first member alone."""
        return self.member(0)

    def member(self, number: int) -> Finetune:
        """The first is as the fields say; the others have other rates (x spread, / spread) and other layer decays."""
        factor = self.spread ** (0, 1, -1)[number % 3]
        decay = self.layer_decay ** (1, 2, 0)[(number // 3 + number) % 3]
        names = [item.name for item in fields(GradientMethod)]
        shared = {name: getattr(self, name) for name in names}
        return Finetune(**{**shared, "learning_rate": min(1.0, self.learning_rate * factor), "layer_decay": decay})

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The start that all members share: a copy of the source, and the probe's head."""
        return self.member(0).prepare(problem)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Those of the first member."""
        return self.member(0).groups(source, head)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train the members, average them greedily, interpolate; every choice on the validation part."""
        if problem.source is None:
            raise MethodError("HS-METHOD-003", "soup needs a source.", "Name one with --source.")
        problem = validation_part(problem)
        if problem.valid is None:
            raise MethodError(
                "HS-METHOD-003", f"soup: {len(problem.train)} rows leave none to choose on.", "Give more rows."
            )
        problem = problem.replace(options={**problem.options, "head": probed(problem)})
        source, head, outputs = self.prepare(problem)
        network = Network(source, head, outputs).requires_grad_(True)
        origin = Origin(source, head, shown(problem), device())
        start = copied(network)
        found = self._members(problem)
        order = sorted(range(len(found)), key=lambda number: -found[number][1])
        pot = Pot(network, source, problem, bf16=found[0][2] == "bf16")
        states, scores = [found[number][0] for number in order], [found[number][1] for number in order]
        used, score = greedy(states, scores, pot.score, pot.late)
        inside = {order[place] for place in used}
        history = [
            {**self._told(number, problem), "validation": found[number][1], "in the soup": number in inside}
            for number in range(len(found))
        ]
        soup = [states[place] for place in used]
        alpha, tried = self._interpolated(start, soup, score, pot)
        pot.fill(*blend(start, soup, alpha))
        network.to("cpu").eval()
        layers = origin.moved(layer_rows(source, head, self.groups(source, head)))
        source.card = replace(source.card, digest=source.digest())
        problem.notes.append(
            f"soup: {len(inside)} of {len(found)} fine-tunings, {alpha:.0%} of the way from the source."
        )
        return NetworkFitted(
            self, problem.task, source, head, outputs, changed=True, precision=found[0][2],
            history=[*history, *tried], layers=layers,
        )  # fmt: skip

    def _members(self, problem: Problem) -> list[tuple[State, float, str]]:
        """Weights, validation score and precision of each member; fewer where the time runs out, but one at least.

        Each has a folder of its own for its checkpoints, so a killed fit goes on in the member where it was.
        """
        found: list[tuple[State, float, str]] = []
        for number in range(self.members):
            left = problem.seconds_left
            if found and left is not None and left <= 0:
                problem.notes.append(f"soup: the time sufficed for {number} of {self.members} fine-tunings.")
                break
            share = None if left is None else max(1.0, (1 - RESERVED) * left / (self.members - number))

            def report(stage: str, done: int, total: int, number: int = number) -> None:
                problem.report(f"soup, fine-tuning {number + 1} of {self.members}", done, total)

            fitted = self.member(number).fit(
                problem.replace(
                    seed=problem.seed + number,
                    folder=None if problem.folder is None else problem.folder / f"soup-{number + 1}",
                    deadline=None if share is None else time.monotonic() + share,
                    options={**problem.options, "drift": False},
                    report=report,
                    notes=[],
                )
            )
            best = max(float(row["validation"]) for row in fitted.history if "validation" in row)
            state = copied(Network(fitted.source, fitted.head, fitted.outputs_used))
            found.append((state, best, fitted.precision))
        return found

    def _told(self, number: int, problem: Problem) -> Json:
        member = self.member(number)
        return {
            "member": number + 1,
            "learning rate": member.learning_rate,
            "layer decay": member.layer_decay,
            "seed": problem.seed + number,
        }

    def _interpolated(self, start: State, soup: list[State], score: float, pot: Pot) -> tuple[float, list[Json]]:
        """The part of the way from the source to the soup that scores best, and all that were tried; of equals the
        nearest to the soup, whose score is known."""
        tried = {1.0: score}
        for step in reversed(range(self.interpolation)):
            if pot.late():
                break
            alpha = step / self.interpolation
            tried[alpha] = pot.score(*blend(start, soup, alpha))
        alpha = max(tried, key=lambda part: (tried[part], part))
        return alpha, [{"alpha": part, "validation": tried[part]} for part in sorted(tried)]


class Pot:
    """A network that takes on weights and is scored with them on the validation part."""

    def __init__(self, network: Network, source: Source, problem: Problem, bf16: bool) -> None:
        assert problem.valid is not None
        self.network, self.problem, self.bf16 = network, problem, bf16
        self.rows, self.valid = Rows(problem.train, problem.task, source), Rows(problem.valid, problem.task, source)
        order = np.random.default_rng(problem.seed).permutation(len(problem.train))
        self.seen = order[:STATISTICS]

    def late(self) -> bool:
        """Whether the time is spent; then nothing more is tried."""
        return self.problem.seconds_left is not None and self.problem.seconds_left <= 0

    def fill(self, state: State, averaged: bool) -> None:
        """Take on these weights. averaged: they are a mean, so the statistics of batch norms are estimated anew."""
        self.network.load_state_dict(state)
        self.network.to(device()).eval()
        if averaged:
            parts = np.array_split(self.seen, max(1, -(-len(self.seen) // 64)))
            estimate_statistics(self.network, lambda: (self.rows.batch(part, False)[0] for part in parts))

    def score(self, state: State, averaged: bool) -> float:
        """The headline metric on the validation part."""
        self.fill(state, averaged)
        return self.valid.score(self.network, self.bf16)


def greedy(
    states: Sequence[State],
    scores: Sequence[float],
    score: Callable[[State, bool], float],
    late: Callable[[], bool] = lambda: False,
) -> tuple[list[int], float]:
    """Which states are averaged, and the score of their mean; states and scores fall from the best.

    score: (state, whether it is a mean) -> score. late: whether to stop. Wortsman et al. 2022, recipe 1.
    """
    used, best = [0], scores[0]
    for number in range(1, len(states)):
        if late():
            break
        value = score(average([states[place] for place in [*used, number]]), True)
        if value >= best:
            used, best = [*used, number], value
    return used, best


def blend(start: State, soup: Sequence[State], alpha: float) -> tuple[State, bool]:
    """(1 - alpha) start + alpha (mean of the soup), and whether that is a mean of several; the ends are themselves."""
    end = soup[0] if len(soup) == 1 else average(soup)
    if alpha == 1:
        return end, len(soup) > 1
    return (start, False) if alpha == 0 else (average([start, end], [1 - alpha, alpha]), True)


def average(states: Sequence[State], weights: Sequence[float] | None = None) -> State:
    """The weighted mean of every tensor of numbers with a fraction (equal weights by default); others of the last."""
    shares = [1 / len(states)] * len(states) if weights is None else list(weights)
    found = {}
    for name, last in states[-1].items():
        if last.is_floating_point():
            total = sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
            found[name] = torch.as_tensor(total).to(last.dtype)
        else:
            found[name] = last
    return found


def estimate_statistics(network: nn.Module, batches: Callable[[], Iterable[Batch]]) -> None:
    """Set the running mean and variance of every batch norm to those over the batches; nothing where there is none."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    where = next(network.parameters()).device
    with torch.no_grad():
        for batch in batches():
            network(batch.to(where))
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum
        norm.eval()


def copied(network: nn.Module) -> State:
    """Weights and buffers as they are now, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
