"""Frozen forward passes: the data once, by the fastest backend that agrees with fp32, into the feature store.

Which backend runs is searched for where the job is long enough to pay for it (`backends/search.py`). Rows run in order
of length, so that a batch is padded to its own longest row; on a CPU every core reads, decodes and computes batches of
its own, and the next window of rows is read meanwhile. Rows that another process is computing are left to it
(`claims.py`); what is finished is stored every few seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from headstart import catalog
from headstart.backends.base import Rows, Runner
from headstart.backends.search import Search, Trial, versions
from headstart.cache import Store, key
from headstart.claims import Claims
from headstart.datasets.base import Dataset
from headstart.errors import EnvironmentProblem, MethodError
from headstart.sources.base import Source
from headstart.types import Batch, Sample, cache_home

WINDOW = 4096  # rows ordered by length together
FLUSH = 1.0  # seconds after which finished rows are stored, so that a kill loses no more
VERSION = 2  # of what a stored feature means; raise it when preprocessing or pooling changes

Batches: TypeAlias = list[tuple[np.ndarray, Callable[[], Batch]]]
"""Positions of the rows of each batch, and what makes it."""


def device() -> torch.device:
    """The device that forward passes and training use: the first GPU, Apple's, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def bf16_is_native() -> bool:
    """Whether this machine multiplies bf16 in hardware (AMX, AVX-512 BF16, Ampere or newer)."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(errors="ignore") if flags.is_file() else ""
    return "amx_bf16" in text or "avx512_bf16" in text or (platform.machine() == "aarch64" and " bf16" in text)


class Chosen(NamedTuple):
    """What runs a set of outputs, and for how many rows it was chosen."""

    search: Search
    trial: Trial
    runner: Runner
    rows: int


class Extractor:
    """Features of a dataset through one frozen source, computed once and kept on disk.

    precision: ``auto``, ``bf16`` or ``fp32``. backend: ``auto`` or the name of a file in backends/. cache: False keeps
    features in memory for the life of the extractor. report: progress callback (stage, rows done, rows in all).
    batch_size: typical rows a forward pass; None: measured. Raises UsageError HS-USAGE-001 for an unknown backend.

    forward_rows: rows computed by this extractor, in ``seconds`` seconds; the store gave the rest. For sources side by
    side an `Extractor` has one for each part (`headstart.side_by_side`).
    """

    def __new__(cls, source: Source, **options: Any) -> Extractor:
        """The extractor of this kind of source."""
        if source.provider == "concatenated" and cls is Extractor:
            from headstart.side_by_side import SideBySide

            cls = SideBySide
        return super().__new__(cls)

    def __init__(
        self,
        source: Source,
        *,
        precision: str = "auto",
        backend: str = "auto",
        cache: bool = True,
        report: Callable[[str, int, int], None] | None = None,
        batch_size: int | None = None,
    ) -> None:
        if backend != "auto":
            catalog.find("backends", backend)
        if source.exact:
            precision, backend = "fp32", "torch"
        self.source = source
        self.precision, self.backend = precision, backend
        self.report = report or (lambda stage, done, total: None)
        self.batch_size = batch_size
        self.notes = list(source.notes)
        self.forward_rows = self._begun = 0  # in all, and before the pass that runs now
        self.seconds = 0.0
        self.device = device()
        self.trial: Trial | None = None
        self._chosen: dict[tuple[str, ...], Chosen] = {}
        self._temporary: Any = None
        self._folder: Path = self._place(cache)
        self._stores: dict[str, Store] = {}

    # --- what callers use --------------------------------------------------------------------------------------

    def cuts(self, count: int = 2) -> list[str]:
        """Names of the ``count`` layers before the last, nearest the output first: candidates for a probe."""
        names = [layer.name for layer in self.source.layers()]
        return names[-2 : -2 - count : -1] if len(names) > count + 1 else []

    def matrix(self, dataset: Dataset, outputs: Sequence[str] = ("pooled",)) -> np.ndarray:
        """The named outputs of every row side by side, [N, sum of D]; ``pooled`` or names of layers."""
        return np.concatenate(self.blocks(dataset, outputs), axis=1)

    def blocks(self, dataset: Dataset, outputs: Sequence[str]) -> list[np.ndarray]:
        """The named outputs of every row, each a matrix [N,D] of its own."""
        digests = self.ensure(dataset, outputs)
        return [self._store(output).rows(digests) for output in outputs]

    def stored(self, digests: np.ndarray, outputs: Sequence[str] = ("pooled",)) -> np.ndarray:
        """The same for rows that `ensure` has stored, by some of the digests that it returned, [N, sum of D]."""
        return np.concatenate([self._store(output).rows(digests) for output in outputs], axis=1)

    def tokens(self, dataset: Dataset) -> list[np.ndarray]:
        """Word-aligned features: a list of N arrays [T_i,D]; T_i counts the words that the network saw."""
        digests = self.ensure(dataset, ("tokens",))
        return self._store("tokens").ragged(digests)

    def ensure(self, dataset: Dataset, outputs: Sequence[str]) -> np.ndarray:
        """Compute and store what is missing. Returns the digests [N]. Memory does not grow with the features."""
        digests = self._digests(dataset)
        rows = self._missing(digests, np.arange(len(digests)), outputs)
        if len(rows):
            started = time.perf_counter()
            self._compute(dataset, rows, digests, tuple(outputs))
            self.seconds += time.perf_counter() - started
        return digests

    # --- the rows that are missing -----------------------------------------------------------------------------

    def _missing(self, digests: np.ndarray, rows: np.ndarray, outputs: Sequence[str]) -> np.ndarray:
        """Those of ``rows`` that some output lacks, ascending; of equal rows the first alone."""
        if not outputs:
            return rows[:0]
        lacking = [rows[self._store(output).missing(digests[rows])] for output in outputs]
        return np.asarray(lacking[0] if len(lacking) == 1 else np.unique(np.concatenate(lacking)))

    def _compute(self, dataset: Dataset, rows: np.ndarray, digests: np.ndarray, outputs: tuple[str, ...]) -> None:
        claims, total = Claims(self._folder), len(rows) + self.forward_rows
        self._begun = self.forward_rows
        while len(rows):
            taken = 0
            windows = [rows[start : start + WINDOW] for start in range(0, len(rows), WINDOW)]
            for window, samples in zip(windows, prefetch(lambda rows: dataset.samples(rows.tolist()), windows, 1)):
                with claims.take(digests[window]) as mine:
                    free = mine.copy()
                    free[mine] = np.isin(window[mine], self._missing(digests, window[mine], outputs))
                    if free.any():
                        chosen = [sample for sample, is_free in zip(samples, free) if is_free]
                        self._run(chosen, digests[window[free]], outputs, total)
                    taken += int(free.sum())
            rows = self._missing(digests, rows, outputs)
            if len(rows) and not taken:
                claims.wait(digests[rows])

    def _run(self, samples: list[Sample], digests: np.ndarray, outputs: tuple[str, ...], total: int) -> None:
        """One window through the network and into the store, a part of it every few seconds."""
        trial, runner = self._prepared(samples, outputs, total - self.forward_rows)
        batches = self.source.batches(samples, self.batch_size or trial.size)
        at: list[int] = []
        found: dict[str, Rows] = {output: [] for output in outputs}
        written = time.monotonic()
        with self._results(runner, batches) as results:
            for (positions, _), values in zip(batches, results):
                at += positions.tolist()
                for output in outputs:
                    found[output] += values[output]
                self.forward_rows += len(positions)
                self.report("features", min(self.forward_rows, total) - self._begun, total - self._begun)
                if time.monotonic() - written > FLUSH:
                    self._keep(digests[at], found)
                    at, found, written = [], {output: [] for output in outputs}, time.monotonic()
        if at:
            self._keep(digests[at], found)

    def _keep(self, digests: np.ndarray, found: dict[str, Rows]) -> None:
        for output, values in found.items():
            self._store(output).append(digests, values if output == "tokens" else np.stack(values))

    # --- running -----------------------------------------------------------------------------------------------

    @contextmanager
    def _results(self, runner: Runner, batches: Batches) -> Iterator[Iterator[dict[str, Rows]]]:
        """The outputs of the batches in their order. With several streams each makes its own batches, one more thread
        than streams so that none of them waits; with one the next batches are made while it computes."""
        if runner.streams == 1:
            ahead = 2 if self.device.type == "cpu" else max(2, min(8, os.cpu_count() or 2))
            yield (self._passed(runner, batch) for batch in prefetch(lambda item: item[1](), batches, ahead))
            return
        pool = ThreadPoolExecutor(runner.streams + 1, initializer=runner.enter)
        try:
            yield pool.map(lambda item: self._passed(runner, item[1]()), batches)
        finally:
            pool.shutdown(cancel_futures=True)
            runner.leave()

    def _passed(self, runner: Runner, batch: Batch) -> dict[str, Rows]:
        """The outputs of a batch, which is halved where it does not fit the memory."""
        try:
            return runner(batch)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise EnvironmentProblem(
                    "HS-ENV-004", f"one row does not fit the memory of {self.device}.", "Shorten or shrink it."
                ) from error
        half = len(batch) // 2
        self.batch_size = min(self.batch_size or half, half)
        parts = [
            Batch({name: value[part] for name, value in batch.inputs.items()})
            for part in (slice(half), slice(half, None))
        ]
        first, second = (self._passed(runner, part) for part in parts)
        return {output: first[output] + second[output] for output in first}

    def _prepared(self, samples: list[Sample], outputs: tuple[str, ...], rows: int) -> tuple[Trial, Runner]:
        """What runs the next ``rows`` rows; chosen anew where they are many more than it was chosen for."""
        chosen = self._chosen.get(outputs)
        if chosen is None or rows > 4 * chosen.rows:
            search = self._search(outputs) if chosen is None else chosen.search

            def some(count: int) -> list[Sample]:
                return [samples[i] for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)]

            def batches(size: int) -> list[Batch]:
                return [make() for _, make in self.source.batches(some(2 * search.cores * size), size)]

            try:
                trial, runner = search.choose(rows, lambda count: self.source.preprocess(some(count)), batches)
            except RuntimeError as error:
                raise MethodError("HS-METHOD-003", f"{error}.", "Use --backend auto.") from error
            finally:
                self.notes += [note for note in search.notes if note not in self.notes]
            chosen = self._chosen[outputs] = Chosen(search, trial, runner, rows)
            self.trial = trial
        return chosen.trial, chosen.runner

    def _search(self, outputs: tuple[str, ...]) -> Search:
        memo = cache_home() / "runtime" / f"{key({**self._facts(), 'outputs': sorted(outputs), **versions()})}.json"
        return Search(
            self.source, self.device, outputs, self.precision, self.backend, bf16_is_native(),
            memo if self._temporary is None else None,
        )  # fmt: skip

    @property
    def description(self) -> str:
        """What ran: ``openvino bf16, 2 streams (cosine to fp32 0.9999, worst 0.9993)``, or where features came from."""
        if self.trial is None:
            return "all features from the store"
        return f"{self.trial.variant} (cosine to fp32 {self.trial.mean:.4f}, worst {self.trial.worst:.4f})"

    # --- where things are --------------------------------------------------------------------------------------

    def _facts(self) -> dict[str, Any]:
        card = self.source.card
        where = (
            torch.cuda.get_device_name() if self.device.type == "cuda" else platform.processor() or platform.machine()
        )
        return {
            "digest": card.digest,
            "architecture": card.architecture,
            "settings": self.source.settings(),
            "precision": self.precision,
            "machine": [where, os.cpu_count(), bf16_is_native()],
            "torch": torch.__version__,
            "version": VERSION,
        }

    def _place(self, cache: bool) -> Path:
        if not cache:
            import shutil
            import tempfile
            import weakref

            folder = tempfile.mkdtemp(prefix="headstart-")
            self._temporary = weakref.finalize(
                self, shutil.rmtree, folder, ignore_errors=True
            )  # goes with the extractor
            return Path(folder)
        return cache_home() / "features" / f"{self.source.card.name.replace('/', '-')}-{key(self._facts())}"

    def _store(self, output: str) -> Store:
        if output not in self._stores:
            about = {"source": self.source.card.name, "output": output, "precision": self.precision}
            self._stores[output] = Store(self._folder / output.replace("/", "-"), about)
        return self._stores[output]

    def _digests(self, dataset: Dataset) -> np.ndarray:
        out = np.empty(len(dataset), "S32")
        for start in range(0, len(dataset), WINDOW):
            rows = range(start, min(start + WINDOW, len(dataset)))
            out[start : start + len(rows)] = dataset.fingerprints(rows)
        return out


def prefetch(prepare: Callable[[Any], Any], items: Sequence[Any], ahead: int = 2) -> Iterator[Any]:
    """``prepare(item)`` for each item in order, computed by ``ahead`` threads while the consumer works."""
    pool = ThreadPoolExecutor(ahead)
    try:
        waiting: list[Future[Any]] = [pool.submit(prepare, item) for item in items[:ahead]]
        for position in range(len(items)):
            found = waiting.pop(0).result()
            if position + ahead < len(items):
                waiting.append(pool.submit(prepare, items[position + ahead]))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
