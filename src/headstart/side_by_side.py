"""Frozen features of sources side by side: each part's own extractor computes and stores them, or finds them stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart.datasets.base import Dataset
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.concatenated import Concatenated, wordless


class SideBySide(Extractor):
    """The `Extractor` of a `Concatenated` source. parts: those of its parts, in whose stores all features lie.

    forward_rows counts a row once that several parts have computed.
    """

    def __init__(self, source: Source, **options: Any) -> None:
        super().__init__(source, **options)
        assert isinstance(source, Concatenated)
        self._of = source
        self.parts = [Extractor(part, **{**options, "report": self._told(part)}) for part in source.parts]

    def blocks(self, dataset: Dataset, outputs: Sequence[str]) -> list[np.ndarray]:
        """See `Extractor.blocks`."""
        digests = self.ensure(dataset, outputs)
        return [self.stored(digests, [output]) for output in outputs]

    def stored(self, digests: np.ndarray, outputs: Sequence[str] = ("pooled",)) -> np.ndarray:
        """See `Extractor.stored`; the parts' pooled features by their factors, as the source itself gives them."""
        found = []
        for output in outputs:
            for number, name in self._of.reads(output):
                features = self.parts[number].stored(digests, [name])
                found.append(features * np.float32(self._of.factors[number]) if output == "pooled" else features)
        return np.concatenate(found, axis=1)

    def tokens(self, dataset: Dataset) -> list[np.ndarray]:
        """Raises SourceError HS-SOURCE-005."""
        raise wordless(self.source.card.name)

    def ensure(self, dataset: Dataset, outputs: Sequence[str]) -> np.ndarray:
        """See `Extractor.ensure`; one pass for each part."""
        reads = [self._of.reads(output) for output in outputs]
        before = [(part.forward_rows, part.seconds) for part in self.parts]
        for number, part in enumerate(self.parts):
            names = list(dict.fromkeys(name for each in reads for at, name in each if at == number))
            digests = part.ensure(dataset, names)
            self.notes += [note for note in part.notes if note not in self.notes]
        self.forward_rows += max(part.forward_rows - rows for part, (rows, _) in zip(self.parts, before))
        self.seconds += sum(part.seconds - seconds for part, (_, seconds) in zip(self.parts, before))
        return digests

    @property
    def description(self) -> str:
        """See `Extractor.description`, for each part."""
        return "; ".join(f"{part.source.card.name}: {part.description}" for part in self.parts)

    def _told(self, part: Source) -> Callable[[str, int, int], None]:
        return lambda stage, done, total: self.report(f"{part.card.name}: {stage}", done, total)
