"""Adaptation on features: labelled rows of one domain, unlabelled rows of another, a head for the other.

A method says how the labelled rows are moved, weighed or relabelled until they stand for the target domain, and how a
row of the target domain gets into the same space (`Aligned`). The head is fitted here, for all of them alike. Target
labels cannot be seen: the rows of the target domain reach a method as features alone.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.baseline import FEATURIZERS, baseline_features
from headstart.nn.featurizers import Featurizer
from headstart.nn.heads import Head, Recipe, choose
from headstart.nn.maps import Map, chain
from headstart.runtime import Extractor
from headstart.tasks.base import Array, Targets, Task
from headstart.types import Json, LayerRow, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Domains:
    """What a method is given. X: [n,D] labelled rows. y: their encoded targets. target: [m,D] rows without labels.

    domain: int [n], which domain each labelled row is of, or None where they are of one. few: bool [n], which of them
    are of the target domain itself, or None where none is. weights: [n] of the rows, or
    None. groups: int [n], rows that belong together in cross-validation. recipe: the head that the labelled rows want.
    """

    task: Task
    X: Array
    y: Targets
    target: Array
    recipe: Recipe
    domain: Array | None = None
    weights: Array | None = None
    groups: Array | None = None
    seed: int = 0
    few: Array | None = None

    def head(self, X: Array, y: Targets | None = None, weights: Array | None = None) -> Head:
        """A head on moved or weighed labelled rows X [n,k]."""
        plain = self.weights is None and weights is None
        return self.recipe.fit(
            self.task, X, self.y if y is None else y, weights=None if plain else self.weighed(weights),
            groups=self.groups, seed=self.seed,
        )  # fmt: skip

    def weighed(self, weights: Array | None) -> Array:
        """[n], what the labelled rows count times the weights that a method gives them."""
        return self.counts if weights is None else self.counts * weights

    @property
    def counts(self) -> Array:
        """[n], what the labelled rows count."""
        return np.ones(len(self.X)) if self.weights is None else self.weights


@dataclass(frozen=True)
class Aligned:
    """What a method makes of two domains.

    X: [n,k] rows for the head. onto: maps that take a row of the target domain there. y, weights: of those rows, where
    they are not those of the labelled rows. history: what was found on the way.
    """

    X: Array
    onto: tuple[Map, ...] = ()
    y: Targets | None = None
    weights: Array | None = None
    history: Json | None = None


@dataclass(frozen=True)
class Adaptation(Method):
    """Moves features of one domain to another. Subclasses say how (`align`)."""

    kind: ClassVar[Any] = "transductive"
    needs: ClassVar[tuple[Need, ...]] = ("labels", "domain")
    uses: ClassVar[tuple[Need, ...]] = ("source",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    head: str = hyper("auto", "on the features: linear, or on a kernel", choices=("auto", "linear", "kernel"))

    @abstractmethod
    def align(self, domains: Domains) -> Aligned:
        """Rows for the head, and the way of a target row to them."""

    def adapt(self, domains: Domains) -> tuple[tuple[Map, ...], Aligned, Head]:
        """(maps from a target row's features to outputs, what `align` found, the head)"""
        aligned = self.align(domains)
        if aligned.y is not None:  # rows of its own
            head = domains.recipe.fit(domains.task, aligned.X, aligned.y, weights=aligned.weights, seed=domains.seed)
        else:
            head = domains.head(aligned.X, weights=aligned.weights)
        return (*aligned.onto, *head.maps), aligned, head

    def fit(self, problem: Problem) -> AdaptedFitted:
        """Fit on ``problem.train`` and the inputs of ``problem.domain``; ``problem.valid`` is not read."""
        reader, domains = prepare(self, problem)
        maps, aligned, head = self.adapt(domains)
        facts = {"head": "kernel" if domains.recipe.width else "linear", **(aligned.history or {})}
        fitted = AdaptedFitted(self, problem.task, reader, maps, [facts])
        fitted.cv_outputs = head.outside if aligned.y is None else None
        fitted.domains, fitted.aligned = domains, aligned
        return fitted


def prepare(method: Adaptation, problem: Problem) -> tuple[Reader, Domains]:
    """The features of both domains. Raises MethodError HS-METHOD-003 where there is nothing to adapt to."""
    method.admit(problem.task, problem.source, problem.train, problem.given)
    if problem.domain is None:
        raise MethodError("HS-METHOD-003", f"{method.name} needs rows to adapt to.", "Use `headstart adapt`.")
    train, target = problem.train, problem.domain.without("target")
    reader = Reader.of(problem)
    task, X = problem.task, reader.matrix(train.without("target"))
    y, weights, groups = task.encode(train.targets()), train.weights(), train.groups()
    recipe = choose(task, X, y, method.head, groups=groups, weights=weights, seed=problem.seed)  # type: ignore[arg-type]
    domains = Domains(task, X, y, reader.matrix(target), recipe, codes(train), weights, groups, problem.seed)
    return reader, domains if problem.own is None else replace(domains, few=own_rows(train, problem.own))


def codes(rows: Dataset) -> Array | None:
    """Which domain each row is of, int [n] in order of appearance; None without a column that says so."""
    columns = rows.with_role("domain")
    if not columns:
        return None
    known: dict[Any, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in rows.values(columns[0].name)])


def own_rows(rows: Dataset, own: str) -> Array:
    """Which rows are of the target domain itself, by the value of the column that says of which domain they are: bool
    [n]."""
    (column,) = rows.with_role("domain")
    return np.array([str(value) == own for value in rows.values(column.name)])


class Reader:
    """From rows to features [N,D]: those of a source, or classical ones where there is none."""

    def __init__(
        self, source: Source | None, extractor: Extractor | None, features: Featurizer | None, precision: str = "auto"
    ) -> None:
        self.source, self.features, self.precision = source, features, precision
        self._extractor = extractor

    @classmethod
    def of(cls, problem: Problem) -> Reader:
        """For the rows of a problem; classical features are learned on the inputs of both domains."""
        if problem.source is not None:
            precision = problem.extractor.precision if problem.extractor is not None else "auto"
            return cls(problem.source, problem.extractor, None, precision)
        assert problem.domain is not None
        if problem.train.modality == "text":
            raise MethodError(
                "HS-METHOD-003", "adaptation on features reads texts through a source.", "Name one with --source."
            )
        both = inputs(problem.train).followed_by(inputs(problem.domain))
        return cls(None, None, baseline_features(both, problem.task))

    def matrix(self, rows: Dataset) -> Array:
        """[N,D], float32."""
        if self.features is not None:
            return np.asarray(self.features.transform(rows), np.float32)
        if self._extractor is None:
            assert self.source is not None
            self._extractor = Extractor(self.source, precision=self.precision)
        return self._extractor.matrix(rows)


def inputs(rows: Dataset) -> Dataset:
    """The input columns alone."""
    return rows.without("target", "domain", "group", "time", "split", "weight", "unused")


class AdaptedFitted(Fitted):
    """Features and a chain of maps to the outputs."""

    kind: ClassVar[str] = "methods.adaptation"

    def __init__(
        self, method: Method, task: Task, reader: Reader, maps: tuple[Map, ...], history: list[Json] | None = None
    ) -> None:
        self.method, self.task, self.reader, self.maps = method, task, reader, maps
        self.history = history or []
        self.cv_outputs: Any = None  # out-of-fold outputs of the labelled rows; not saved, nor are the next two
        self.domains: Domains | None = None
        self.aligned: Aligned | None = None

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]."""
        return chain(self.maps, self.reader.matrix(dataset))

    def trained(self) -> list[LayerRow]:
        """The maps; no layer of the source moves."""
        rows = [LayerRow(f"map {number}", each.matrix.size, 1.0, None) for number, each in enumerate(self.maps[:-1], 1)]
        return [*rows, LayerRow("head", self.maps[-1].matrix.size + self.maps[-1].offset.size, 1.0, None)]

    def save(self, folder: Path) -> None:
        """``source/`` or the state of the featurizer, ``maps.safetensors`` and ``adaptation.json``."""
        from safetensors.numpy import save_file

        tensors = {f"{at}.{name}": value for at, each in enumerate(self.maps) for name, value in each.arrays().items()}
        facts: Json = {"maps": len(self.maps), "history": self.history, "precision": self.reader.precision}
        if self.reader.features is not None:
            state, arrays = self.reader.features.state()
            facts["features"] = {"kind": self.reader.features.kind, "state": state}
            tensors |= {f"features.{name}": np.ascontiguousarray(value) for name, value in arrays.items()}
        else:
            assert self.reader.source is not None
            self.reader.source.with_network(self.reader.source.network).save(folder / "source")
        save_file(tensors, folder / "maps.safetensors")
        (folder / "adaptation.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> AdaptedFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where arrays are missing, unexpected, misshapen."""
        from safetensors.numpy import load_file

        from headstart.sources.shelf import open_source

        facts = json.loads((folder / "adaptation.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "maps.safetensors")
        parts: dict[str, dict[str, Array]] = {}
        for name, value in tensors.items():
            place, _, rest = name.partition(".")
            parts.setdefault(place, {})[rest] = value
        try:
            maps = tuple(Map.restore(parts.pop(str(number))) for number in range(facts["maps"]))
            stored, source, features = facts.get("features"), None, None
            if stored is not None:
                features = FEATURIZERS[stored["kind"]].restore(stored["state"], parts.pop("features", {}))
            else:
                source = open_source(str(folder / "source"))
            if parts:
                raise ValueError(f"unexpected {sorted(parts)}")
            if any(one.matrix.shape[1] != other.width for one, other in pairwise(maps)):
                raise ValueError("maps that do not follow each other")
            if maps[-1].matrix.shape[1] != task.width:
                raise ValueError(f"{maps[-1].matrix.shape[1]} outputs instead of {task.width}")
        except (KeyError, ValueError, IndexError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'maps.safetensors'}: {error}.",
                "The file is not the one that was saved; copy it again.",
            ) from error  # fmt: skip
        return cls(method, task, Reader(source, None, features, facts["precision"]), maps, facts["history"])
