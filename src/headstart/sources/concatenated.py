"""Several sources side by side: ``mobilenet_v2+efficientnet_lite0``.

One source whose pooled features are those of its parts next to each other, which helps where they see different
things in the same input (`headstart rank` says whether they do). A part keeps its own preprocessing and weights, and
its frozen features lie in the store under its own name, so those that were computed for the part alone are read again
(`headstart.side_by_side`).

The parts' pooled features are brought to the same norm, measured once on their examples and stored; the linear heads do
the rest. A layer holds what lies at the same relative depth in the parts, so freezing the first layers and rates that
fall towards the input treat the parts alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from headstart.errors import SourceError, UsageError
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.layers import Group, Layer
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

SIGN = "+"

Reads: TypeAlias = list[tuple[int, str]]
"""What an output is made of: the number of a part and the name of the output there."""


class Concatenated(Source):
    """Two or more sources for the same kind of input as one. parts: the sources. factors: of their pooled features.

    The network is a table of those of the parts by ``keys``, their names. There are no word features, no classifier.
    """

    provider = "concatenated"

    def __init__(
        self, parts: Sequence[Source], keys: Sequence[str] | None = None, factors: Sequence[float] | None = None
    ) -> None:
        self.parts = list(parts)
        self.keys = list(keys) if keys is not None else _keys(self.parts)
        self.factors = list(factors) if factors is not None else _factors(self.parts)
        self._reads: dict[str, Reads] = {}
        network = nn.ModuleDict({key: part.network for key, part in zip(self.keys, self.parts)})
        super().__init__(_card(self.parts), network)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """See `Source.preprocess`. Inputs are named ``<number of the part>.<its own name>``."""
        return _merged([part.preprocess(samples, train) for part in self.parts])

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Source:
        """The parts, each for these rows."""
        self.refuse_names(align)
        parts = [part.settled(dataset) for part in self.parts]
        return self if all(new is old for new, old in zip(parts, self.parts)) else Concatenated(parts, self.keys)

    def forward(self, batch: Batch) -> Features:
        """pooled [B, sum of the parts' D]."""
        return self.features(batch)

    def features(self, batch: Batch, cuts: Sequence[str] = ()) -> Features:
        """See `Source.features`; a cut is that of the parts side by side."""
        wanted: list[list[str]] = [[] for _ in self.parts]
        for cut in cuts:
            for number, name in self.reads(cut):
                wanted[number].append(name)
        found = [part.features(_own(batch, number), wanted[number]) for number, part in enumerate(self.parts)]
        pooled = [features.pooled * factor for features, factor in zip(found, self.factors)]
        joined = {cut: torch.cat([found[n].cuts[name] for n, name in self.reads(cut)], dim=1) for cut in cuts}
        return Features(torch.cat(pooled, dim=1), cuts=joined)

    def reads(self, output: str) -> Reads:
        """The parts' outputs that ``output`` (``pooled`` or a layer) consists of.

        Raises SourceError HS-SOURCE-007 for an unknown layer, HS-SOURCE-005 for ``tokens``.
        """
        if output == "pooled":
            return [(number, "pooled") for number in range(len(self.parts))]
        if output == "tokens":
            raise wordless(self.card.name)
        known = [layer.name for layer in self.layers()]
        if output not in known:
            raise SourceError("HS-SOURCE-007", f'{self.card.name} has no layer "{output}".', f"Layers: {known}")
        return self._reads[output]

    def layers(self) -> list[Layer]:
        """As many as the deepest part has, each with the parts' layers that end at this share of their depth."""
        if self._layers is None:
            every = [part.layers() for part in self.parts]
            count = max(len(own) for own in every)
            steps: list[list[tuple[int, Layer]]] = [[] for _ in range(count)]
            for number, own in enumerate(every):
                for place, layer in enumerate(own, start=1):
                    steps[-(-place * count // len(own)) - 1].append((number, layer))
            self._layers = [self._step(step) for step in steps]
            self._reads = {
                layer.name: [(number, own.name) for number, own in step] for layer, step in zip(self._layers, steps)
            }
        return self._layers

    def keep_layers(self, other: Source) -> None:
        """See `Source.keep_layers`; each part takes over its own."""
        assert isinstance(other, Concatenated)
        for own, theirs in zip(self.parts, other.parts, strict=True):
            own.keep_layers(theirs)
        self._layers = None

    def _step(self, step: Sequence[tuple[int, Layer]]) -> Layer:
        name = SIGN.join(f"{self.keys[number]}.{own.name}" for number, own in step)
        parts = tuple(f"{self.keys[number]}.{part}" for number, own in step for part in own.parts)
        last = step[-1][1]
        return Layer(name, last.module if len(step) == 1 else Group([own.module for _, own in step]), parts, last.last)

    def cost(self, sample: Sample) -> int:
        """See `Source.cost`."""
        return sum(part.cost(sample) for part in self.parts)

    def example(self) -> Batch:
        """The examples of the parts."""
        examples = [part.example() for part in self.parts]
        rows = min(len(example) for example in examples)
        return _merged([Batch({name: value[:rows] for name, value in each.inputs.items()}) for each in examples])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return nn.ModuleDict({key: part.fresh_network() for key, part in zip(self.keys, self.parts)})

    def untrained(self, seed: int) -> Concatenated:
        """See `Source.untrained`; the fresh parts are brought to the same norm anew."""
        other = super().untrained(seed)
        assert isinstance(other, Concatenated)
        other.card = replace(other.card, digest=other.digest())
        other.factors = _factors(other.parts)
        return other

    def with_network(self, network: nn.Module) -> Concatenated:
        """See `Source.with_network`."""
        other = super().with_network(network)
        assert isinstance(other, Concatenated) and isinstance(network, nn.ModuleDict)
        other.parts = [part.with_network(network[key]) for key, part in zip(self.keys, self.parts)]
        return other

    def digest(self) -> str:
        """The sha256 (hex) over the digests of the parts, whose cards are brought up to date."""
        for part in self.parts:
            part.card = replace(part.card, digest=part.digest())
        return _digest(self.parts)

    def settings(self) -> Json:
        """Everything besides the weights that determines the features."""
        return {"keys": self.keys, "factors": self.factors, "parts": [part.settings() for part in self.parts]}

    def save(self, folder: Path) -> None:
        """``source.json``, and a source folder for each part: ``part-1``, ``part-2`` ..."""
        for number, part in enumerate(self.parts, start=1):
            part.save(folder / f"part-{number}")
        weights.write_description(folder, self, replace(self.card, digest=self.digest()))

    @classmethod
    def load(cls, folder: Path, *, trust_remote_code: str | None = None) -> Concatenated:
        """See `Source.load`. Raises SourceError HS-SOURCE-002 where the parts are not those that were saved."""
        from headstart.sources.shelf import open_folder

        content = weights.describe(folder)
        card, settings = Card(**content["card"]), content["settings"]
        places = [folder / f"part-{number}" for number in range(1, len(settings["keys"]) + 1)]
        parts = [open_folder(place, trust_remote_code=trust_remote_code) for place in places]
        if _digest(parts) != card.digest:
            raise SourceError(
                "HS-SOURCE-002",
                f"{folder}: the parts are not those that were saved: their digest is another.",
                "Copy the whole folder again.",
            )
        source = cls(parts, settings["keys"], settings["factors"])
        source.card = card
        return source


def joined(parts: Sequence[Source]) -> Concatenated:
    """The sources as one.

    Raises SourceError HS-SOURCE-005 where they read different kinds of input; UsageError HS-USAGE-001 for fewer than
    two sources and for one that stands twice.
    """
    names = SIGN.join(part.card.name for part in parts)
    if len(parts) < 2:
        raise UsageError("HS-USAGE-001", f"{names} is one source.", f"Name two or more, such as a{SIGN}b.")
    if len({part.card.modality for part in parts}) > 1:
        told = ", ".join(f"{part.card.name} reads {part.card.modality}" for part in parts)
        raise SourceError("HS-SOURCE-005", f"{names}: {told}.", "Put sources for the same kind of input side by side.")
    seen: set[tuple[str, str]] = set()
    for part in parts:
        mark = (part.card.digest, str(part.settings()))
        if mark in seen:
            raise UsageError("HS-USAGE-001", f"{names}: {part.card.name} stands there twice.", "Name each source once.")
        seen.add(mark)
    return Concatenated(parts)


def wordless(name: str) -> SourceError:
    """The error for a task on words."""
    return SourceError(
        "HS-SOURCE-005", f"{name}: sources side by side give no features of words.", "Name one source for token labels."
    )


def _card(parts: Sequence[Source]) -> Card:
    cards = [part.card for part in parts]

    def each(values: Sequence[str], between: str = " + ") -> str:
        return between.join(dict.fromkeys(values))

    return Card(
        name=SIGN.join(card.name for card in cards),
        modality=cards[0].modality,
        architecture=SIGN.join(card.architecture for card in cards),
        width=sum(card.width for card in cards),
        parameters=sum(card.parameters for card in cards),
        origin=each([card.origin for card in cards]),
        licence=each([card.licence for card in cards]),
        digest=_digest(parts),
        description=f"{each([card.name for card in cards], ' and ')} side by side",
    )


def _digest(parts: Sequence[Source]) -> str:
    return hashlib.sha256("\n".join(part.card.digest for part in parts).encode()).hexdigest()


def _keys(parts: Sequence[Source]) -> list[str]:
    """A name for each part's network: that of its source as far as a module may be called so, each once."""
    keys: list[str] = []
    for part in parts:
        key = re.sub(r"\W+", "_", part.card.name)
        if hasattr(nn.ModuleDict, key):
            key += "_"
        keys.append(key if key not in keys else f"{key}_{len(keys) + 1}")
    return keys


def _factors(parts: Sequence[Source]) -> list[float]:
    """What brings the parts' pooled features to the same root mean square norm on their examples, the norms' mean."""
    with torch.no_grad():
        pooled = [part.forward(part.example()).pooled.double() for part in parts]
    norms = torch.stack([rows.square().sum(dim=1).mean().sqrt() for rows in pooled]).clamp(min=1e-6)
    return [float(norms.log().mean().exp() / norm) for norm in norms]


def _merged(batches: Sequence[Batch]) -> Batch:
    return Batch(
        {f"{number}.{name}": value for number, each in enumerate(batches) for name, value in each.inputs.items()}
    )


def _own(batch: Batch, number: int) -> Batch:
    """The inputs of one part, under its own names."""
    start = f"{number}."
    inputs = batch.inputs.items()
    return Batch({name.removeprefix(start): value for name, value in inputs if name.startswith(start)})
