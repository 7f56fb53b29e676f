"""Tent: a model that adapts while it answers, batch after batch, and goes back where that goes wrong.

    tent = Tent(headstart.load("runs/signs").fitted)
    prediction, report = tent.predict(headstart.read("stream/", for_prediction=True))
    headstart predict runs/signs stream/ --adapt tent

Wang, Shelhamer, Liu, Olshausen & Darrell 2021, arXiv:2006.10726: batch norms read the statistics of the batch, and
after every batch one step on the mean entropy of its predictions moves scale and shift of the normalisation layers, and
nothing else. No label is read, the model on disk does not change, and so the next stream begins where this one did.

A loss that asks for sure predictions has trivial answers, so a stream that is not a mixture of classes ruins the model
within a few batches (Niu et al. 2023, SAR, arXiv:2302.12400, who reset it where the moving average of the entropy falls
below 0.2). The frozen model stands beside this one and answers every row as well. A batch has *fallen* where

- an output is not finite,
- over the last batches the rows are gathered in few of the classes that the frozen model sees
  (`headstart.nn.collapse`),
- more answers change than certainty is gained: where a share c > 0.1 of the answers differs from the frozen model's,
  the mean entropy has to be under (1 - 0.65 c) times the frozen one's. A shift that adapting mends makes the frozen
  model unsure; the statistics of a batch of one class scatter its rows instead, however sure of them that model is,
- the moving average of the entropy is under 0.2 while rows that the frozen model is sure of get another answer.

Then the frozen model answers, and scale, shift and optimiser go back to the last good state, the next time to the
first. After `PATIENCE` fallen batches in a row adapting stops for good. It is no `Method`: it fits nothing that could
be saved. The limits of the third rule were set on slanted digits at the default learning rate, as in
`tests/adapting/test_tent.py`; at 300 times that rate the model gets sure of wrong answers too fast for them.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted
from headstart.methods.network import Network, NetworkFitted
from headstart.nn.collapse import collapsed
from headstart.nn.confusion import entropy
from headstart.runtime import device
from headstart.tasks.base import Array
from headstart.types import Json, Prediction

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)

ROWS = 8
"""Rows of a batch under which its statistics mean little: the frozen model answers."""

WINDOW, PATIENCE = 4, 3
"""Batches that are looked at together; fallen ones in a row after which adapting stops."""

LIMIT, MEMORY = 0.2, 0.9
"""Moving average of the entropy in nats under which nothing is left to learn (SAR), and what a batch leaves of it."""

CHANGED, PRICE = 0.1, 0.65
"""Share of the answers that may change at no gain in certainty; part of the entropy that further ones have to gain."""

SURE, CONTRADICTED = 0.9, 0.2
"""Chance from which the frozen model is sure; share of its sure rows that may get another answer."""


@dataclass
class Report:
    """What happened. batches: in all. adapted: answered by the adapting model. rolled_back: fallen, so answered by the
    frozen one, like those that were small or came after it ``stopped``. why: how often each reason was met."""

    batches: int = 0
    adapted: int = 0
    rolled_back: int = 0
    stopped: bool = False
    why: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        told = f"tent: {self.adapted} of {self.batches} batches answered by the adapting model"
        if self.rolled_back:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.why.most_common())
            told += f"; {self.rolled_back} rolled back: {reasons}"
        return told + ("; it stopped adapting, the model of the run answered the rest." if self.stopped else ".")

    def to_json(self) -> Json:
        """The report as plain JSON values."""
        return {**vars(self), "why": dict(self.why)}


class Tent:
    """Answers batches in their order with a copy of the model, which adapts to them.

    fitted: a network for classification with a normalisation layer. learning_rate: of Adam, one step a batch. guard:
    False never looks whether it collapsed (for comparison). Raises MethodError HS-METHOD-003 for another model.
    """

    def __init__(self, fitted: Fitted, *, learning_rate: float = 1e-3, guard: bool = True) -> None:
        if not isinstance(fitted, NetworkFitted) or fitted.task.name != "classification":
            raise MethodError(
                "HS-METHOD-003", f"tent needs a network that classifies; the model of {fitted.method.name} is none.",
                "Fit one, such as `headstart fit PATH --method finetune`.",
            )  # fmt: skip
        self.fitted, self.guard, self.rate = fitted, guard, learning_rate
        source = fitted.source.clone()
        self.source, self.where = source, device()
        self.network = Network(source, copy.deepcopy(fitted.head), fitted.outputs_used).to(self.where)
        self.trained = prepared(self.network)
        if not self.trained:
            raise MethodError(
                "HS-METHOD-003", f"tent needs a normalisation layer; {source.card.name} has none that can train.",
                "Predict without --adapt.",
            )  # fmt: skip
        self.report = Report()
        self.first = self.good = self._state()
        self.fallen = 0  # in a row
        self.entropy: float | None = None  # its moving average
        self.seen: deque[tuple[Array, Array]] = deque(maxlen=WINDOW)  # outputs of both models
        self._restart(self.first)

    def predict(self, dataset: Dataset, batch_size: int = 64) -> tuple[Prediction, Report]:
        """Predictions for all rows in their order, in batches of about ``batch_size``, and what happened so far."""
        parts = np.array_split(np.arange(len(dataset)), max(1, math.ceil(len(dataset) / batch_size)))
        outputs = [self.answer(dataset.select(part.tolist())) for part in parts if len(part)]
        return self.fitted.task.decode(np.concatenate(outputs)), self.report

    def answer(self, rows: Dataset) -> Array:
        """The outputs [B,C] for one batch, which it adapts to."""
        before = np.asarray(self.fitted.outputs(rows))
        self.report.batches += 1
        if self.report.stopped or len(rows) < ROWS:
            return before
        batch = self.source.preprocess(rows.samples()).to(self.where)
        with torch.enable_grad():
            out = self.network(batch).float()
            loss = entropy(out).mean()
        now = out.detach().cpu().numpy()
        if self.guard and (reason := self._fallen(now, before)) is not None:
            self._roll_back(reason)
            return before
        self.good, self.fallen = self._state(), 0
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.report.adapted += 1
        return np.asarray(now)

    def _fallen(self, now: Array, before: Array) -> str | None:
        """Why these outputs are not to be trusted, in a few words, or None."""
        if not np.isfinite(now).all():
            return "outputs that are not finite"
        ours, theirs = (entropy(torch.from_numpy(each)).mean().item() for each in (now, before))
        self.seen.append((now, before))
        ours_seen, theirs_seen = (np.concatenate(each) for each in zip(*self.seen))
        if collapsed(ours_seen, theirs_seen):
            return "few classes left"
        changed = float((now.argmax(axis=1) != before.argmax(axis=1)).mean())
        if changed > CHANGED and ours > (1 - PRICE * changed) * theirs:
            return "answers changed without getting surer"
        self.entropy = ours if self.entropy is None else MEMORY * self.entropy + (1 - MEMORY) * ours
        if self.entropy < LIMIT and contradicted(now, before) > CONTRADICTED:
            return "sure of something else"
        return None

    def _roll_back(self, reason: str) -> None:
        self.report.rolled_back += 1
        self.report.why[reason] += 1
        self.fallen += 1
        self.report.stopped = self.fallen >= PATIENCE
        self._restart(self.good)
        self.good = self.first

    def _restart(self, state: list[torch.Tensor]) -> None:
        """These scales and shifts, and an optimiser that remembers nothing."""
        with torch.no_grad():
            for parameter, value in zip(self.trained, state):
                parameter.copy_(value)
        self.optimiser = torch.optim.Adam(self.trained, lr=self.rate)
        self.entropy = None
        self.seen.clear()

    def _state(self) -> list[torch.Tensor]:
        return [torch.clone(parameter.detach()) for parameter in self.trained]


def prepared(network: nn.Module) -> list[nn.Parameter]:
    """Scales and shifts of the normalisation layers, which alone may train; batch norms read the batch from now on."""
    network.eval()
    network.requires_grad_(False)
    found: list[nn.Parameter] = []
    for module in network.modules():
        if isinstance(module, NORMS):
            found += module.requires_grad_(True).parameters(recurse=False)
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0  # so its own statistics stay as they are
    return found


def contradicted(now: Array, before: Array) -> float:
    """Share of the rows that ``before`` is sure of for which ``now`` says something else; outputs [B,C]."""
    sure = torch.from_numpy(before).softmax(dim=1).amax(dim=1).numpy() > SURE
    return float((now.argmax(axis=1) != before.argmax(axis=1))[sure].mean()) if sure.any() else 0.0
