"""Which backend runs a source on this machine: measured on real batches, proved against fp32, remembered.

A variant costs ``setup + rows x seconds a row``. What was measured before is known by both; for what was not, the
set-up is the backend's own figure and the speed a hope (`Backend.gain`, from measurements). The variant that promises
the least for the rows at hand runs; where an untried one promises the least it is tried first, so a search happens only
where it can pay for itself. Whatever runs has shown a mean cosine to the fp32 features of at least 0.999 for every
output, on rows of mixed length.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart import catalog
from headstart.backends.base import Backend, Rows, Runner, Variant
from headstart.disk import replace_text
from headstart.errors import missing_package
from headstart.sources.base import Source
from headstart.types import Batch, Json

PARITY = 0.999
FIRST, MORE = 16, 48  # rows on which it must hold; more are asked where the mean is within two errors of PARITY
FEW = 64  # rows for which nothing is searched: plain torch in fp32 is done before a search would be
SIZES = (8, 16, 32, 64)  # rows a batch on a CPU
GPU_SIZES = (32, 64, 128, 256, 512, 1024)
WORTH = 60.0  # seconds of work from which a second way of sharing the cores is tried in torch
LONG = 60.0  # seconds of work from which the size of the batches is measured too


@dataclass
class Trial:
    """What is known of one variant. seconds: a row. setup: seconds to open it. mean, worst: cosines to fp32.

    refused: why it may not run, or "". size: rows a batch.
    """

    variant: Variant
    seconds: float = 0.0
    setup: float = 0.0
    mean: float = 1.0
    worst: float = 1.0
    refused: str = ""
    size: int = 16
    sized: bool = False

    def cost(self, rows: int) -> float:
        """Seconds for this many rows."""
        return self.setup + rows * self.seconds


class Search:
    """The trials of one source and set of outputs on this machine. memo: the file that remembers them, or None.

    precision: ``auto``, ``bf16``, ``fp32``. backend: ``auto``, or the one to use. native: whether bf16 is.
    """

    def __init__(
        self, source: Source, device: torch.device, outputs: Sequence[str], precision: str, backend: str, native: bool,
        memo: Path | None,
    ) -> None:  # fmt: skip
        self.source, self.device, self.outputs, self.memo = source, device, tuple(outputs), memo
        self.cores = max(1, torch.get_num_threads()) if device.type == "cpu" else os.cpu_count() or 1
        self.precisions = ["bf16", "fp32"] if precision == "bf16" or (precision == "auto" and native) else ["fp32"]
        self.backend = backend
        self.few = 0 if precision == "bf16" or backend not in ("auto", "torch") else FEW
        self.trials: dict[str, Trial] = {}
        self.notes: list[str] = []
        self._opened: dict[str, Runner] = {}
        self._truth: dict[int, tuple[Batch, dict[str, Rows]]] = {}
        if memo is not None:
            self._recall(memo)

    def choose(
        self, rows: int, mixed: Callable[[int], Batch], sample: Callable[[int], list[Batch]]
    ) -> tuple[Trial, Runner]:
        """The variant for this many rows, open. mixed: a batch of ``n`` rows of all lengths; sample: batches
        of ``n`` rows.

        Raises RuntimeError where the backend that was asked for cannot run the source.
        """
        plain = Variant("torch", "fp32")
        if rows <= self.few and not self.trials:
            return Trial(plain), open_variant(self.source, self.device, plain, self.outputs)
        ready: dict[str, Runner] = {}
        known = len(self.trials)
        batches: list[Batch] = []
        for backend in self._backends():
            for variant in backend.variants(self.source, self.device, self.precisions, self.cores):
                if str(variant) in self.trials or not self._promises(backend, variant, rows):
                    continue
                batches = batches or sample(16 if self.device.type == "cpu" else 64)
                trial, runner = self._try(variant, mixed, batches)
                self.trials[str(variant)] = trial
                if runner is not None:
                    ready[str(variant)] = runner
        allowed = [trial for trial in self.trials.values() if not trial.refused and self._matches(trial.variant)]
        if not allowed:
            reasons = (
                "; ".join(f"{name}: {trial.refused}" for name, trial in self.trials.items()) or "not for this source"
            )
            raise RuntimeError(f"{self.backend} cannot run {self.source.card.name} here ({reasons})")
        best = min(allowed, key=lambda trial: trial.cost(rows))
        if len(self.trials) > known:
            self._remember()
        runner = ready.get(str(best.variant)) or self._opened.get(str(best.variant))
        runner = runner or open_variant(self.source, self.device, best.variant, self.outputs)
        self._opened = {str(best.variant): runner}
        if not best.sized and best.cost(rows) > LONG:
            self._measure_size(best, runner, sample)
        return best, runner

    # --- one trial ---------------------------------------------------------------------------------------------

    def _try(
        self, variant: Variant, mixed: Callable[[int], Batch], batches: list[Batch]
    ) -> tuple[Trial, Runner | None]:
        trial = Trial(variant)
        try:
            self._fp32(FIRST, mixed)
            started = time.perf_counter()
            runner = open_variant(self.source, self.device, variant, self.outputs)
            for count in (FIRST, MORE):  # more rows where the first leave it open
                batch, truth = self._fp32(count, mixed)
                trial.mean, trial.worst, error = parity(truth, drive(runner, [batch])[0])  # compiles as well
                trial.setup = trial.setup or time.perf_counter() - started
                if abs(trial.mean - PARITY) > 2 * error:
                    break
            if not trial.mean >= PARITY:
                trial.refused = f"mean cosine to fp32 is {trial.mean:.4f}, below {PARITY}"
            else:
                trial.seconds = seconds_per_row(runner, batches)
        except Exception as error:  # whatever a backend raises, the others can run
            trial.refused = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        if trial.refused:
            self.notes.append(f"{variant} refused: {trial.refused}.")
            return trial, None
        trial.setup = max(0.0, trial.setup - FIRST * trial.seconds)
        return trial, runner

    def _fp32(self, count: int, mixed: Callable[[int], Batch]) -> tuple[Batch, dict[str, Rows]]:
        """A batch of ``count`` rows, and what plain torch makes of it in fp32."""
        if count not in self._truth:
            plain = open_variant(self.source, self.device, Variant("torch", "fp32"), self.outputs)
            batch = mixed(count)
            self._truth[count] = batch, drive(plain, [batch])[0]
        return self._truth[count]

    def _measure_size(self, trial: Trial, runner: Runner, sample: Callable[[int], list[Batch]]) -> None:
        best = float("inf")
        for size in SIZES if self.device.type == "cpu" else GPU_SIZES:
            try:
                seconds = seconds_per_row(runner, sample(size))
            except (RuntimeError, MemoryError):  # too large for the memory
                break
            if seconds > 1.1 * best:
                break
            if seconds < best:
                best, trial.size = seconds, size
        trial.sized = True
        self._remember()

    # --- who is asked ------------------------------------------------------------------------------------------

    def _backends(self) -> list[Backend]:
        """Torch first, since its speed is what the others' hopes are measured by; only those that are installed."""
        if self.backend != "auto":
            found = catalog.find("backends", self.backend)
            if missing := absent(found):
                raise missing_package(missing[0], found.extra)
            return [found()]
        every = [catalog.find("backends", name) for name in catalog.names("backends")]
        every.sort(key=lambda found: (found.name != "torch", found.setup))
        return [found() for found in every if not absent(found)]

    def _promises(self, backend: Backend, variant: Variant, rows: int) -> bool:
        """Whether the variant may be the cheapest for these rows."""
        allowed = [trial for trial in self.trials.values() if not trial.refused and self._matches(trial.variant)]
        if not allowed:
            return True
        own = [trial.variant for trial in allowed if trial.variant.backend == backend.name]
        if any(self.precisions.index(other.precision) < self.precisions.index(variant.precision) for other in own):
            return False  # the lower precision runs, and is faster wherever it is native
        best = min(trial.cost(rows) for trial in allowed)
        plain = [trial.seconds for trial in allowed if trial.variant.backend == "torch"]
        if backend.name == "torch" or not plain:
            return best > WORTH
        gain = backend.gain(self.source, "bf16" in self.precisions)
        return backend.setup + rows * min(plain) / gain < best

    def _matches(self, variant: Variant) -> bool:
        return variant.precision in self.precisions and self.backend in ("auto", variant.backend)

    # --- memory ------------------------------------------------------------------------------------------------

    def _recall(self, memo: Path) -> None:
        try:
            found = json.loads(memo.read_text())
            self.trials = {
                name: Trial(**{**fields, "variant": Variant(**fields["variant"])}) for name, fields in found.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self.trials = {}

    def _remember(self) -> None:
        if self.memo is not None:
            replace_text(self.memo, json.dumps({name: asdict(trial) for name, trial in self.trials.items()}))


def open_variant(source: Source, device: torch.device, variant: Variant, outputs: Sequence[str]) -> Runner:
    """A runner for the variant."""
    backend: Backend = catalog.find("backends", variant.backend)()
    return backend.open(source, device, variant, outputs)


def drive(runner: Runner, batches: Sequence[Batch]) -> list[dict[str, Rows]]:
    """Run the batches on all streams."""
    try:
        with ThreadPoolExecutor(runner.streams, initializer=runner.enter) as pool:
            return list(pool.map(runner, batches))
    finally:
        runner.leave()


def seconds_per_row(runner: Runner, batches: Sequence[Batch]) -> float:
    """The better of two timings over the batches (one where it is not short)."""
    rows = sum(len(batch) for batch in batches)
    times: list[float] = []
    while len(times) < 2 and sum(times) < 0.3:
        started = time.perf_counter()
        drive(runner, batches)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times) / max(rows, 1)


def parity(truth: dict[str, Rows], got: dict[str, Rows]) -> tuple[float, float, float]:
    """Of the cosines between rows: the mean (of the worst output), the worst of all, and the standard error of that
    mean; NaN where a value is."""
    means, errors, worst = [], [], 1.0
    for output, rows in truth.items():
        a, b = (_stacked(part) for part in (rows, got[output]))
        lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        norms = lengths[0] * lengths[1]
        cosines = (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0)
        cosines[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
        means.append(float(cosines.mean()))
        errors.append(float(cosines.std() / np.sqrt(len(cosines))))
        worst = min(worst, float(cosines.min()))
    least = int(np.argmin(means))
    return means[least], worst, errors[least]


def _stacked(rows: Rows) -> np.ndarray:
    """Rows [D], or words [T_i,D] of rows, as one float64 array [n,D]."""
    return np.concatenate([np.atleast_2d(row) for row in rows]).astype(np.float64)


def absent(backend: type[Backend]) -> list[str]:
    """The packages that the backend needs and this machine lacks."""
    return [name for name in backend.requires if importlib.util.find_spec(name) is None]


def versions() -> Json:
    """The versions of all that may run a network, for the key under which a choice is remembered."""
    found: dict[str, Any] = {"torch": torch.__version__}
    for name in ("onnxruntime", "openvino"):
        if importlib.util.find_spec(name) is not None:
            found[name] = importlib.metadata.version(name)
    return found
