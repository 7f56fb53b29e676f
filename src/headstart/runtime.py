"""Frozen forward passes: the data once, as fast as plain torch allows, into the feature store.

The frozen copy of a network is fused (batch norm folded into the convolution before it), laid out channels-last, and
cast to bf16, each only where it helps; it is used only if the mean cosine of its pooled output to fp32 is at least
0.999 on the first real batch, and if it is faster there. The choice is remembered for this machine. Rows run in order
of length, so that a batch is padded to its own longest row, and the next batches are prepared while one computes.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.cache import Store, key
from headstart.datasets.base import Dataset
from headstart.disk import replace_text
from headstart.nn.fuse import fuse_batchnorm
from headstart.sources.base import Source
from headstart.types import Batch, Features, cache_home

PARITY = 0.999
WINDOW = 4096  # rows ordered by length together, and written to the store together
VERSION = 1  # of what a stored feature means; raise it when preprocessing or pooling changes


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


class Extractor:
    """Features of a dataset through one frozen source, computed once and kept on disk.

    precision: ``auto``, ``bf16`` or ``fp32``. cache: False keeps features in memory for the life of the extractor.
    report: progress callback (stage, rows done, rows in all). batch_size: rows a forward pass.
    """

    def __init__(
        self,
        source: Source,
        *,
        precision: str = "auto",
        cache: bool = True,
        report: Callable[[str, int, int], None] | None = None,
        batch_size: int = 32,
    ) -> None:
        self.source = source
        self.precision = precision
        self.report = report or (lambda stage, done, total: None)
        self.batch_size = batch_size
        self.notes: list[str] = []
        self.forward_rows = 0
        self.device = device()
        self._frozen: Source | None = None
        self._choice: dict[str, Any] | None = None
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
        digests = self.ensure(dataset, outputs)
        return np.concatenate([self._store(output).rows(digests) for output in outputs], axis=1)

    def tokens(self, dataset: Dataset) -> list[np.ndarray]:
        """Word-aligned features: a list of N arrays [T_i,D]; T_i counts the words that the network saw."""
        digests = self.ensure(dataset, ("tokens",))
        return self._store("tokens").ragged(digests)

    def ensure(self, dataset: Dataset, outputs: Sequence[str]) -> np.ndarray:
        """Compute and store what is missing. Returns the digests [N]. Memory does not grow with N."""
        digests = np.array(dataset.fingerprints(), "S32") if len(dataset) <= WINDOW else self._digests(dataset)
        missing: np.ndarray = np.empty(0, np.int64)
        for output in outputs:
            missing = np.union1d(missing, self._store(output).missing(digests))
        for start in range(0, len(missing), WINDOW):
            self._run(dataset, missing[start : start + WINDOW], digests, outputs, start, len(missing))
        return digests

    # --- one window --------------------------------------------------------------------------------------------

    def _run(
        self, dataset: Dataset, rows: np.ndarray, digests: np.ndarray, outputs: Sequence[str], done: int, total: int
    ) -> None:
        samples = dataset.samples(rows.tolist())
        order = np.argsort([-self.source.cost(sample) for sample in samples], kind="stable")
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        cuts = [output for output in outputs if output not in ("pooled", "tokens")]
        found: dict[str, list[Any]] = {output: [None] * len(samples) for output in outputs}
        frozen = self._prepared(self.source.preprocess([samples[i] for i in batches[len(batches) // 2]]))
        prepare = lambda batch: frozen.preprocess([samples[i] for i in batch])  # noqa: E731
        for batch, tensors in zip(batches, prefetch(prepare, batches)):
            features = self._pass(frozen, tensors, cuts)
            for output in outputs:
                for at, value in zip(batch, _values(features, output)):
                    found[output][at] = value
            done += len(batch)
            self.report("features", done, total)
        self.forward_rows += len(samples)
        for output in outputs:
            values = found[output] if output == "tokens" else np.stack(found[output])
            self._store(output).append(digests[rows], values)

    def _pass(self, source: Source, batch: Batch, cuts: Sequence[str]) -> Features:
        with torch.inference_mode():
            return source.features(_cast(batch.to(self.device), source.network), cuts)

    # --- the frozen network ------------------------------------------------------------------------------------

    def _prepared(self, batch: Batch) -> Source:
        if self._frozen is None:
            choice = self._decide(batch)
            self._frozen = freeze(self.source, self.device, choice["precision"], choice["fused"])
        return self._frozen

    def _decide(self, batch: Batch) -> dict[str, Any]:
        """Which variant runs: remembered, given, or measured on this batch against fp32."""
        if self._choice is None:
            memo = cache_home() / "runtime" / f"{key(self._facts())}.json"
            self._choice = _read_json(memo) if self._temporary is None else None
            if self._choice is None:
                self._choice = self._measure(batch)
                if self._temporary is None:
                    _write_json(memo, self._choice)
        return self._choice

    def _measure(self, batch: Batch) -> dict[str, Any]:
        plain = freeze(self.source, self.device, "fp32", fused=False)
        truth = self._pass(plain, batch, ()).pooled
        choice: dict[str, Any] = {"precision": "fp32", "fused": False, "cosine": 1.0}
        fusible = any(isinstance(module, nn.BatchNorm2d) for module in self.source.network.modules())
        wanted = [("bf16", fusible)] if self.precision != "fp32" and bf16_is_native() else []
        wanted += [("fp32", True)] if fusible else []
        best = _seconds(partial(self._pass, plain, batch, ()))
        for precision, fused in wanted:
            try:
                candidate = freeze(self.source, self.device, precision, fused)
                got = self._pass(candidate, batch, ()).pooled
            except (RuntimeError, NotImplementedError, TypeError) as error:
                self.notes.append(f"{precision} does not run here ({str(error).splitlines()[0]}).")
                continue
            cosine = float(nn.functional.cosine_similarity(truth.float(), got.float()).mean())
            if not cosine >= PARITY:
                self.notes.append(f"{precision} refused: cosine to fp32 is {cosine:.4f}, below {PARITY}.")
                continue
            seconds = _seconds(partial(self._pass, candidate, batch, ()))
            if seconds < best or self.precision == precision:
                best, choice = seconds, {"precision": precision, "fused": fused, "cosine": round(cosine, 6)}
                if self.precision == precision:
                    break
        return choice

    @property
    def description(self) -> str:
        """What runs, for the record: ``bf16, fused (cosine to fp32 0.9999)``, or ``features from the store``."""
        if self._choice is None:
            return "all features from the store"
        words = [self._choice["precision"], *(["fused"] if self._choice["fused"] else [])]
        return f"{', '.join(words)} (cosine to fp32 {self._choice['cosine']:.4f})"

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
            self._stores[output] = Store(self._folder / output.replace("/", "-"))
        return self._stores[output]

    def _digests(self, dataset: Dataset) -> np.ndarray:
        out = np.empty(len(dataset), "S32")
        for start in range(0, len(dataset), WINDOW):
            rows = range(start, min(start + WINDOW, len(dataset)))
            out[start : start + len(rows)] = dataset.fingerprints(rows)
        return out


def freeze(source: Source, where: torch.device, precision: str, fused: bool) -> Source:
    """A copy of the source for inference: fused, channels-last, bf16 as asked; its parameters take no gradients."""
    frozen = source.clone()
    network = frozen.network
    if fused:
        fuse_batchnorm(network, lambda: frozen.forward(frozen.example()))
    if any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = network.to(where, torch.bfloat16 if precision == "bf16" else torch.float32)
    network.requires_grad_(False)
    frozen.network = network.eval()
    return frozen


def prefetch(prepare: Callable[[Any], Batch], items: Sequence[Any], ahead: int = 2) -> Iterator[Batch]:
    """``prepare(item)`` for each item in order, computed by ``ahead`` threads while the consumer works."""
    with ThreadPoolExecutor(ahead) as pool:
        waiting: list[Future[Batch]] = [pool.submit(prepare, item) for item in items[:ahead]]
        for position in range(len(items)):
            batch = waiting.pop(0).result()
            if position + ahead < len(items):
                waiting.append(pool.submit(prepare, items[position + ahead]))
            yield batch


def _cast(batch: Batch, network: nn.Module) -> Batch:
    """Floating inputs in the type of the network's weights, images channels-last."""
    kind = next((p.dtype for p in network.parameters()), torch.float32)
    inputs = {}
    for name, tensor in batch.inputs.items():
        if tensor.is_floating_point():
            tensor = tensor.to(kind)
        inputs[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
    return Batch(inputs)


def _values(features: Features, output: str) -> list[np.ndarray]:
    if output == "tokens":
        assert features.tokens is not None and features.mask is not None, "the source gives no word features"
        tokens, mask = features.tokens.float().cpu().numpy(), features.mask.cpu().numpy()
        return [row[seen] for row, seen in zip(tokens, mask)]
    tensor = features.pooled if output == "pooled" else features.cuts[output]
    return list(tensor.float().cpu().numpy())


def _seconds(run: Callable[[], Any], enough: float = 0.3) -> float:
    """The shortest of up to three runs; a slow one is not repeated."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < enough:
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    replace_text(path, json.dumps(data))
