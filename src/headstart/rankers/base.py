"""The Ranker contract: one number for how well a source's features suit a target, before anything is trained.

A ranker is a frozen dataclass whose fields are its settings: positive numbers, a seed, or a choice of words (a
`Literal`); anything else is refused with MethodError HS-METHOD-002. `Ranker.score` checks what it is given and calls
`Ranker.measure`, the one method that a score's file writes. All arithmetic is in float64.

A score is a function of the set of rows: their order, the names of the classes, and classes without rows do not change
it. Where a score can take only part of the rows, or needs them in a fixed order, it takes them by a digest of their
content (`by_content`), so this holds for a given seed as well.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, TypeAlias, get_args, get_type_hints

import numpy as np

from headstart.errors import DataError, MethodError, did_you_mean

Array: TypeAlias = np.ndarray

Kind: TypeAlias = Literal["classes", "labels", "values"]
"""classes: int [N]. labels: 0/1 floats [N,C], any number of ones a row. values: floats [N,K]."""

LEAST_ROWS = 4
"""Below this no score says anything."""

PAIRED = "Give one row of numbers for each target."
FINITE = "Leave the row out, or look at what the source was given there."


@dataclass(frozen=True)
class Target:
    """Checked targets in one form. ``columns`` are [N,C]: one-hot classes, 0/1 labels, or values.

    Of C only the columns that differ between rows are kept, so every class has a row. classes: int [N], the column of
    each row, for the kind ``classes`` alone. groups: int [N]; rows of a group are not to tell on each other (None: each
    row is a group of its own).
    """

    kind: Kind
    columns: Array
    classes: Array | None = None
    groups: Array | None = None

    def rows(self, chosen: Array) -> Target:
        """These rows; columns that no longer differ go."""
        groups = None if self.groups is None else self.groups[chosen]
        if self.classes is not None:
            return _classes(self.classes[chosen], groups)
        columns = self.columns[chosen]
        return Target(self.kind, columns[:, _differs(columns)], groups=groups)

    def partitions(self) -> list[Array]:
        """The target as one or more divisions of the rows into numbered groups, each int [N].

        The classes are one; each label is one of its own, into rows without and with it.
        """
        if self.classes is not None:
            return [self.classes]
        return [np.asarray(column, dtype=np.int64) for column in self.columns.T]

    def agreement(self, outputs: Array) -> float:
        """How well outputs [N,C], one for each of the columns, tell the target; every row counts alike.

        Accuracy of the largest (classes; a tie counts for the part that is right), micro F1 of those above one half
        (labels), R² (values; mean over columns).
        """
        if self.classes is not None:
            top = outputs >= outputs.max(axis=1, keepdims=True) - 1e-12
            return float((top[np.arange(len(top)), self.classes] / top.sum(axis=1)).mean())
        if self.kind == "labels":
            on, true = outputs > 0.5, self.columns > 0.5
            return 2 * float((on & true).sum()) / max(float(on.sum() + true.sum()), 1.0)
        return float((1 - ((self.columns - outputs) ** 2).mean(axis=0) / self.columns.var(axis=0)).mean())


@dataclass(frozen=True)
class Ranker(ABC):
    """One score; higher is better. Subclasses are final.

    name: the file's name. paper: where it comes from. reads: the kinds of target for which it is defined. needs:
    ``features`` [N,D], or ``probabilities`` [N,Z] that the source's own classifier gives (LEEP). grouped: whether it
    leaves out whole groups of rows where there are groups; the others do not look at them.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    reads: ClassVar[frozenset[str]]
    needs: ClassVar[Literal["features", "probabilities"]] = "features"
    grouped: ClassVar[bool] = False

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for item in fields(self):
            value, choices = getattr(self, item.name), get_args(types[item.name])
            if choices and value not in choices:
                hint = did_you_mean(str(value), map(str, choices))
                raise MethodError("HS-METHOD-002", f"{self.name}: {item.name} is {value!r}.", hint)
            if not choices and item.name != "seed" and not 0 < value < float("inf"):
                raise MethodError("HS-METHOD-002", f"{self.name}: {item.name} is {value}; expected more than 0.")

    def score(self, features: Array, targets: Array, groups: Array | None = None) -> float:
        """The score of features [N,D] for targets: int [N] classes, 0/1 float [N,C] labels, or float [N,K] values.

        groups: integers [N], one for each speaker, patient, session; None where every row stands for itself.

        Raises MethodError HS-METHOD-003 for a kind of target that the score does not read, features that are not
        finite numbers, and shapes that do not match; DataError HS-DATA-012 for fewer than 4 rows and HS-DATA-006 where
        the targets are all the same.
        """
        target = self.checked(features, targets, groups)
        return float(self.measure(np.asarray(features, dtype=np.float64), target))

    @abstractmethod
    def measure(self, features: Array, target: Target) -> float:
        """The score of finite float64 features [N,D]; the target has been checked."""

    def checked(self, features: Array, targets: Array, groups: Array | None = None) -> Target:
        """The targets in one form, or an error; see `score`."""
        features, targets = np.asarray(features), np.asarray(targets)
        if features.ndim != 2 or features.dtype.kind not in "fiub" or features.shape[1] == 0:
            raise self.cannot(
                f"the {self.needs} are {list(features.shape)} of {features.dtype}; expected numbers [N,D]", PAIRED
            )
        if groups is not None and len(groups) != len(targets):
            raise self.cannot(f"there are {len(targets)} targets and the groups of {len(groups)} rows", PAIRED)
        if len(features) != len(targets):
            raise self.cannot(f"there are {len(features)} rows of {self.needs} and {len(targets)} targets", PAIRED)
        if len(targets) < LEAST_ROWS:
            raise DataError(
                "HS-DATA-012", f"{self.name}: {len(targets)} rows; expected {LEAST_ROWS} or more.", "Label more rows."
            )
        if not np.isfinite(features).all():
            row, column = np.argwhere(~np.isfinite(features))[0]
            raise self.cannot(f"row {row}, column {column} of the {self.needs} is {features[row, column]}", FINITE)
        kind = kind_of(targets)
        if kind not in self.reads:
            raise self.cannot(
                f"it is not defined for {kind}, only for {' and '.join(sorted(self.reads))}",
                "Choose a ranker that reads them: logme, cka, knn and probe_cv read every kind.",
            )
        if not np.isfinite(targets).all():
            row = int(np.argwhere(~np.isfinite(targets))[0][0])
            raise self.cannot(
                f"row {row} of the targets is not a finite number", "Leave out the rows without a target."
            )
        columns = targets.astype(np.float64).reshape(len(targets), -1)
        target = (
            _classes(targets, groups)
            if kind == "classes"
            else Target(kind, columns[:, _differs(columns)], groups=groups)
        )
        if target.columns.shape[1] == 0:
            raise DataError(
                "HS-DATA-006",
                f"{self.name}: all targets are the same.",
                "Add rows with another target, or rank on more.",
            )
        return target

    def cannot(self, what: str, hint: str = "") -> MethodError:
        """The error HS-METHOD-003 of this ranker."""
        return MethodError("HS-METHOD-003", f"{self.name}: {what}.", hint)


def kind_of(targets: Array) -> Kind:
    """What an array of targets holds: integers are classes; floats that are all 0 or 1 labels; other floats values."""
    if targets.dtype.kind in "iub":
        if targets.ndim != 1:
            raise MethodError(
                "HS-METHOD-003", f"targets of {list(targets.shape)} integers.", "Give classes as int [N]."
            )
        return "classes"
    if targets.dtype.kind != "f" or targets.ndim not in (1, 2):
        raise MethodError(
            "HS-METHOD-003",
            f"targets of shape {list(targets.shape)} and type {targets.dtype}.",
            "Give int [N] (classes), 0/1 float [N,C] (labels) or float [N,K] (values).",
        )
    return "labels" if targets.ndim == 2 and np.isin(targets, (0.0, 1.0)).all() else "values"


def by_content(features: Array, seed: int) -> Array:
    """The rows' numbers [N] in an order that looks random and depends on each row's content and the seed alone."""
    key = seed.to_bytes(8, "little", signed=True)
    rows = np.ascontiguousarray(features)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in rows]
    return np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")


def thinned(features: Array, target: Target, most: int, seed: int) -> Array:
    """The numbers of at most ``most`` rows, in an order that is their content's; of each class (or set of labels) as
    many as its share, and one at least where ``most`` allows."""
    order = by_content(features, seed)
    if len(order) <= most or target.kind == "values":
        return order[:most]
    strata = np.unique(target.columns[order], axis=0, return_inverse=True)[1].ravel()
    place = np.empty(len(order))
    for stratum, count in enumerate(np.bincount(strata)):
        place[strata == stratum] = np.arange(count) / count
    return order[np.argsort(place, kind="stable")[:most]]


def _classes(targets: Array, groups: Array | None = None) -> Target:
    """Classes numbered from 0, those without rows left out. One class alone has no columns."""
    present, classes = np.unique(targets, return_inverse=True)
    columns = np.eye(len(present))[classes] if len(present) > 1 else np.zeros((len(targets), 0))
    return Target("classes", columns, classes, groups)


def _differs(columns: Array) -> Array:
    return np.asarray((columns != columns[:1]).any(axis=0))
