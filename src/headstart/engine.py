"""The one training loop.

Reads from top to bottom: order the rows, forward, loss, backward, clip, step; after each epoch look at the validation
rows and keep the best weights. Every 30 s the whole state (weights, optimiser, random generators, position) is
written beside its place and renamed, so a killed run started again with the same command continues, and on the same
number of CPU threads ends with bit-identical weights. Devices and gradient accumulation come from Accelerate.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.disk import write_error
from headstart.errors import EnvironmentProblem
from headstart.runtime import bf16_is_native
from headstart.types import Batch, Json

CHECKPOINT_SECONDS = 30.0
BUCKET = 50  # batches whose rows are ordered by length together
AGREEMENT = 0.99  # cosine of bf16 outputs to fp32 ones on the first batch, below which bf16 is refused


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    epochs: passes over the rows. batch_size: rows a step sees; accumulate: in how many pieces. warmup: share of the
    steps with rising rate, after which it falls as a cosine. clip: largest gradient norm. patience: epochs without a
    better validation score before stopping. ema: decay of averaged weights, 0 = off.
    """

    epochs: int = 3
    batch_size: int = 32
    accumulate: int = 1
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 2
    ema: float = 0.0
    bucket: bool = True


@dataclass
class Group:
    """Parameters of one layer group: name, rate, weight decay, and the epoch from which they train."""

    name: str
    parameters: list[nn.Parameter]
    rate: float
    decay: float = 0.01
    start: int = 0


def batches(costs: np.ndarray, size: int, seed: int, epoch: int, bucket: bool = True) -> list[np.ndarray]:
    """The rows of one epoch in batches; deterministic in (seed, epoch). Rows of like cost share a batch. costs [N].

    None is of a single row, unless ``size`` is 1 or there is no other row: batch norm needs two.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(costs))
    if bucket:
        span = size * BUCKET
        chunks = [order[i : i + span] for i in range(0, len(order), span)]
        order = np.concatenate([chunk[np.argsort(costs[chunk], kind="stable")] for chunk in chunks])
    rows = [order[i : i + size] for i in range(0, len(order), size)]
    if size > 1 and len(rows) > 1 and len(rows[-1]) == 1:
        rows[-2:] = [rows[-2][:-1], np.concatenate([rows[-2][-1:], rows[-1]])]
    return [rows[i] for i in generator.permutation(len(rows))]


class Trainer:
    """Trains ``network`` on rows that ``prepare`` turns into batches.

    costs: [N], a rough cost of each row, by which batches are bucketed. loss: (network, batch, target) -> dict with the
    key ``loss``. prepare: (rows, train) -> (Batch, target tensor).
    validate: () -> score, higher is better, or None. key: identifies data, method and seed; a checkpoint with another
    key is ignored. backward: (network, batch, target, losses, last) puts the gradients of a piece of a step into the
    parameters, in place of ``losses["loss"].backward()``; last: of the step's pieces.
    Raises EnvironmentProblem HS-ENV-004 when memory does not suffice, HS-ENV-002/003 on a full or closed disk.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: list[Group],
        schedule: Schedule,
        *,
        costs: np.ndarray,
        loss: Callable[[nn.Module, Batch, torch.Tensor], dict[str, torch.Tensor]],
        prepare: Callable[[np.ndarray, bool], tuple[Batch, torch.Tensor]],
        validate: Callable[[nn.Module, bool], float] | None,
        seed: int,
        key: str = "",
        folder: Path | None = None,
        deadline: float | None = None,
        report: Callable[[str, int, int], None] = lambda stage, done, total: None,
        stage: str = "train",
        precision: str = "auto",
        backward: Callable[[nn.Module, Batch, torch.Tensor, dict[str, torch.Tensor], bool], None] | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.network, self.groups, self.schedule = network, groups, schedule
        self.costs, self.loss, self.prepare, self.validate = costs, loss, prepare, validate
        self.seed, self.key, self.deadline, self.report, self.stage = seed, key, deadline, report, stage
        self.checkpoint = folder / f"{stage}.checkpoint" if folder is not None else None
        self.accelerator = Accelerator()
        self.precision = precision
        self.backward = backward
        self.bf16 = False
        self.notes: list[str] = []
        self.history: list[Json] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.best_score = -math.inf
        self.epoch = self.step = self.total_steps = 0
        self.seconds = 0.0
        self._began = 0.0
        self.resumed = False

    def run(self) -> list[Json]:
        """Train, restore the best weights, and return the history (one row an epoch)."""
        try:
            return self._run()
        except torch.OutOfMemoryError as error:
            raise EnvironmentProblem(
                "HS-ENV-004",
                f"{self.stage}: out of memory at {self.schedule.batch_size} rows a step.",
                "Set --batch-size lower or --accumulate higher.",
            ) from error

    def _run(self) -> list[Json]:
        schedule = self.schedule
        per_epoch = math.ceil(len(self.costs) / schedule.batch_size)
        self.total_steps = schedule.epochs * per_epoch
        self.network.to(self.accelerator.device)
        optimiser = self._optimiser()
        torch.manual_seed(self.seed)
        first, waited, running = 0, 0, 0.0
        average = self._average()
        if (state := self._resume(optimiser, average)) is not None:
            first, waited, running = state
        else:
            self.bf16 = self._check_bf16()
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        self._began = started
        stop = self.epoch >= schedule.epochs
        while not stop:
            self._thaw()
            order = batches(self.costs, schedule.batch_size, self.seed, self.epoch, schedule.bucket)
            for position in range(first, len(order)):
                running += self._step(order[position], optimiser, average)
                self.step += 1
                self.report(self.stage, self.step, self.total_steps)
                if self.deadline is not None and time.monotonic() > self.deadline:
                    self.notes.append(f"{self.stage} stopped at its time limit in epoch {self.epoch + 1}.")
                    stop = True
                    break
                due = time.monotonic() - saved > CHECKPOINT_SECONDS and position + 1 < len(order)
                if self.checkpoint and due:
                    self.seconds = time.monotonic() - started
                    self._save(optimiser, average, (position + 1, waited, running))
                    saved = time.monotonic()
            self.epoch += 1
            better = self._look(running / max(1, position + 1), average)
            waited = 0 if better else waited + 1
            first, running = 0, 0.0
            stop = stop or self.epoch >= schedule.epochs or waited >= schedule.patience
            self.seconds = time.monotonic() - started
            due = time.monotonic() - saved > CHECKPOINT_SECONDS or (stop and self.seconds > CHECKPOINT_SECONDS)
            if self.checkpoint and due:
                self._save(optimiser, average, (0, waited, 0.0), finished=stop)
                saved = time.monotonic()
        if self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.to("cpu").eval()
        return self.history

    # --- one step ----------------------------------------------------------------------------------------------

    def _step(self, rows: np.ndarray, optimiser: torch.optim.Optimizer, average: Any) -> float:
        """One step on these rows, in ``accumulate`` pieces that weigh by their rows. Returns the mean loss."""
        for group, settings in zip(self.groups, optimiser.param_groups):
            settings["lr"] = group.rate * self._rate()
        total = 0.0
        pieces = np.array_split(rows, min(self.schedule.accumulate, len(rows)))
        for number, piece in enumerate(pieces, start=1):
            batch, target = self.prepare(piece, True)
            batch, target = batch.to(self.accelerator.device), target.to(self.accelerator.device)
            with self._autocast():
                found = self.loss(self.network, batch, target)
                losses = {name: value * (len(piece) / len(rows)) for name, value in found.items()}
            if self.backward is None:
                self.accelerator.backward(losses["loss"])
            else:
                self.backward(self.network, batch, target, losses, number == len(pieces))
            total += float(losses["loss"].detach())
        trained = [p for group in self.groups for p in group.parameters if p.requires_grad]
        self.accelerator.clip_grad_norm_(trained, self.schedule.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if average is not None:
            average.update_parameters(self.network)
        return total

    def _rate(self) -> float:
        """The multiplier of the learning rate now: linear warm-up, then cosine to zero.

        Progress is the share of the steps done, or of the time where that runs out first, so that a run under a tight
        budget still ends at a small rate.
        """
        progress, warm = (self.step + 1) / (self.total_steps + 1), self.schedule.warmup
        if progress < warm:
            return progress / warm
        if self.deadline is not None:
            spent = time.monotonic() - self._began
            progress = max(progress, min(1.0, spent / max(1e-9, self.deadline - self._began)))
        return 0.5 * (1 + math.cos(math.pi * (progress - warm) / max(1e-9, 1 - warm)))

    def _autocast(self) -> Any:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bf16)

    def _look(self, mean_loss: float, average: Any) -> bool:
        """Score the validation rows; keep the weights if they are the best so far (or if there are no such rows)."""
        model = average.module if average is not None else self.network
        row: Json = {"epoch": self.epoch, "loss": mean_loss}
        if self.validate is not None:
            model.eval()
            row["validation"] = self.validate(model, self.bf16)
        score = row.get("validation", float(self.epoch))
        self.history.append(row)
        if score > self.best_score:
            self.best_score = score
            self.best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            return True
        return False

    # --- preparation -------------------------------------------------------------------------------------------

    def _optimiser(self) -> torch.optim.Optimizer:
        settings = [
            {"params": group.parameters, "lr": group.rate, "weight_decay": group.decay} for group in self.groups
        ]
        fused = self.accelerator.device.type in ("cpu", "cuda")
        return torch.optim.AdamW(settings, fused=fused)

    def _average(self) -> Any:
        if not self.schedule.ema:
            return None
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        averaging = get_ema_multi_avg_fn(self.schedule.ema)  # type: ignore[no-untyped-call]
        return AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True)

    def _thaw(self) -> None:
        """Training mode for what trains in this epoch."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.requires_grad_(self.epoch >= group.start)
        training_mode(self.network)

    def _check_bf16(self) -> bool:
        """Whether to train in bf16: native here, and the first batch's loss and outputs agree with fp32."""
        if self.precision == "fp32" or (self.precision == "auto" and not bf16_is_native()):
            return False
        batch, target = self.prepare(np.arange(min(len(self.costs), self.schedule.batch_size)), False)
        batch, target = batch.to(self.accelerator.device), target.to(self.accelerator.device)
        self.network.eval()
        with torch.no_grad():
            plain = self.network(batch).float().flatten()
            with torch.autocast(self.accelerator.device.type, torch.bfloat16):
                short = self.network(batch).float().flatten()
        cosine = float(nn.functional.cosine_similarity(plain, short, dim=0)) if plain.abs().sum() > 0 else 1.0
        if not cosine >= AGREEMENT:
            self.notes.append(f"{self.stage}: bf16 disagrees with fp32 (cosine {cosine:.3f}); trained in fp32.")
            return False
        return True

    # --- checkpoint --------------------------------------------------------------------------------------------

    def _save(self, optimiser: Any, average: Any, place: tuple[int, int, float], finished: bool = False) -> None:
        assert self.checkpoint is not None
        state = {
            "key": self.key,
            "network": self.network.state_dict(),
            "average": average.state_dict() if average is not None else None,
            "optimiser": optimiser.state_dict(),
            "best": self.best,
            "numbers": [self.best_score, float(self.epoch), float(self.step), self.seconds, float(self.bf16), *place],
            "history": self.history,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python": _plain(random.getstate()),
            "numpy": _plain(np.random.get_state()),
            "finished": finished,
        }
        part = self.checkpoint.with_suffix(".part")
        try:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, part)
            part.replace(self.checkpoint)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            if isinstance(error, RuntimeError) and "write" not in str(error).lower():
                raise
            cause = error if isinstance(error, OSError) else OSError(28, "No space left on device")
            raise write_error(cause, self.checkpoint) from error

    def _resume(self, optimiser: Any, average: Any) -> tuple[int, int, float] | None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return None
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        except Exception:  # a damaged checkpoint costs the time since the start, nothing else
            self.notes.append(f"{self.stage}: the checkpoint was damaged; started again.")
            return None
        if not isinstance(state, dict) or state.get("key") != self.key:
            return None
        self.network.load_state_dict(state["network"])
        if average is not None and state["average"] is not None:
            average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        self.best, self.history = state["best"], state["history"]
        self.best_score, epoch, step, self.seconds, bf16, position, waited, running = state["numbers"]
        self.epoch, self.step, self.bf16 = int(epoch), int(step), bool(bf16)
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state((state["numpy"][0], np.array(state["numpy"][1], np.uint32), *state["numpy"][2:]))
        if state["finished"]:
            self.epoch = self.schedule.epochs
        self.resumed = True
        return int(position), int(waited), float(running)


def train_only(network: nn.Module, groups: list[Group]) -> None:
    """Only the parameters of the groups take gradients; every other one of the network is frozen."""
    trained = {id(p) for group in groups for p in group.parameters}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def training_mode(network: nn.Module) -> None:
    """Training mode; the statistics of a batch norm whose parameters are frozen are frozen as well."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def _plain(value: Any) -> Any:
    """Nested tuples and arrays as lists of plain numbers, which ``torch.load(weights_only=True)`` accepts."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
