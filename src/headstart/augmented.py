"""Augmented copies of training rows through a frozen network.

A network that trains sees every row disturbed: sounds with noise, pictures cropped and mirrored. A head on frozen
features sees each row as it is, and takes for the class what a little noise would have changed. Copies of the rows,
each augmented as the source does it in training, show the head what stays. They are for the rows that are fitted alone:
what is predicted goes through the network as it is.

Copy k of a row depends on the row and k alone, so that folds and learning curves share what was computed once. Copies
live as long as the extractor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch

from headstart.datasets.base import Dataset
from headstart.runtime import Extractor
from headstart.types import Batch

BATCH = 16  # copies of one shape that run together

_KEPT: WeakKeyDictionary[Extractor, dict[tuple[str, str], np.ndarray]] = WeakKeyDictionary()


def copies(extractor: Extractor, dataset: Dataset, outputs: Sequence[str], count: int) -> list[np.ndarray]:
    """The named outputs of ``count`` augmented copies of every row, each a matrix [count * N,D]: all first copies, then
    all second ones. outputs: ``pooled`` or names of layers.
    """
    kept = _KEPT.setdefault(extractor, {})
    rows = [(row, str(digest)) for row, digest in enumerate(dataset.fingerprints())] * count
    keys = [_key(digest, at // max(len(dataset), 1)) for at, (_, digest) in enumerate(rows)]
    missing = {key: row for key, (row, _) in zip(keys, rows) if any((key, output) not in kept for output in outputs)}
    waiting: dict[tuple[tuple[int, ...], ...], list[tuple[str, Batch]]] = {}
    for done, (key, row) in enumerate(missing.items()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(key[:15], 16))
            batch = extractor.source.preprocess(dataset.samples([row]), train=True)
        shape = tuple(tuple(value.shape) for value in batch.inputs.values())
        waiting.setdefault(shape, []).append((key, batch))
        if len(waiting[shape]) == BATCH:
            _run(extractor, waiting.pop(shape), outputs, kept)
        extractor.report("augmented copies", done + 1, len(missing))
    for some in waiting.values():
        _run(extractor, some, outputs, kept)
    return [np.stack([kept[key, output] for key in keys]) for output in outputs]


def repeated(values: np.ndarray | None, count: int) -> np.ndarray | None:
    """What belongs to the rows, [N] or [N,C], for them and ``count`` copies of each, [(1 + count) * N]."""
    return None if values is None else np.concatenate([np.asarray(values)] * (1 + count))


def _run(
    extractor: Extractor,
    some: Sequence[tuple[str, Batch]],
    outputs: Sequence[str],
    kept: dict[tuple[str, str], np.ndarray],
) -> None:
    """Rows of one shape through the network in fp32, and their outputs into ``kept``."""
    names = some[0][1].inputs
    batch = Batch({name: torch.cat([one.inputs[name] for _, one in some]) for name in names}).to(extractor.device)
    source = extractor.source
    source.network.to(extractor.device)
    with torch.inference_mode():
        features = source.features(batch, [output for output in outputs if output != "pooled"])
    for output in outputs:
        values = features.pooled if output == "pooled" else features.cuts[output]
        for (key, _), value in zip(some, values.float().cpu().numpy()):
            kept[key, output] = value


def _key(digest: str, copy: int) -> str:
    return hashlib.sha256(f"{digest} {copy}".encode()).hexdigest()
