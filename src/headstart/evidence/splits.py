"""Train, validation and test, cut before anything is learned; and the seal on the test targets.

A split column wins. Otherwise rows of one group stay together, the latest rows are the test where there is a time
column, and else every class is cut in proportion. Where the test part would hold fewer than 400 rows it would decide
nothing, so all rows are train and the verdict comes from cross-validation (`folds.repeated_folds`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import DataError, HeadstartError
from headstart.evidence.folds import cut

Array: TypeAlias = np.ndarray

SMALLEST_TEST, LARGEST_TEST, LARGEST_VALID = 400, 20_000, 2_000
_SMALLEST_VALID = 4
_PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


class SealBroken(HeadstartError, RuntimeError):
    """Code of ours read test targets too early or twice (HS-INTERNAL-001)."""

    def __init__(self, message: str) -> None:
        super().__init__("HS-INTERNAL-001", message)


class Sealed:
    """The test targets, which open once, when all models are fixed.

    opened: the models for which they were opened, or None. ``len`` is allowed; printing, iterating, copying and
    pickling show nothing.
    """

    __slots__ = ("__labelled", "__opened", "__size", "__weakref__")

    def __init__(self, labelled: Dataset) -> None:
        self.__labelled: Dataset | None = labelled
        self.__opened: tuple[str, ...] | None = None
        self.__size = len(labelled)

    @property
    def opened(self) -> tuple[str, ...] | None:
        """The models that were fixed when the targets were read, or None."""
        return self.__opened

    def open(self, models: Sequence[str]) -> list[Any]:
        """The target values of the test rows, for these models. Raises SealBroken without models or a second time."""
        if isinstance(models, str) or not models:
            raise SealBroken("the test targets were asked for before any model was fixed.")
        labelled = self._take("opened again")
        self.__opened = tuple(models)
        return labelled.targets()

    def release(self, leave: Array) -> tuple[Dataset, Sealed]:
        """Labelled rows where ``leave`` [m] is True, which are test rows no longer, and a seal on the others.

        This seal is spent. Raises SealBroken where it was opened before.
        """
        labelled = self._take("cut after it was opened")
        rows = np.asarray(leave, dtype=bool)
        return labelled.select(np.flatnonzero(rows).tolist()), Sealed(labelled.select(np.flatnonzero(~rows).tolist()))

    def _take(self, act: str) -> Dataset:
        labelled, self.__labelled = self.__labelled, None
        if labelled is None:
            by = f" (opened for {', '.join(self.__opened)})" if self.__opened else ""
            raise SealBroken(f"the seal on the test targets was {act}{by}.")
        return labelled

    def __len__(self) -> int:
        return self.__size

    def __repr__(self) -> str:
        state = "opened" if self.__opened else "sealed"
        return f"Sealed({self.__size:,} test targets, {state})"

    def __iter__(self) -> NoReturn:
        raise SealBroken("sealed test targets cannot be iterated; open them once, at the end.")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SealBroken("sealed test targets cannot be copied or pickled.")


@dataclass(frozen=True)
class Split:
    """The parts. ``test`` has no target column; its targets are in ``sealed``, in the same order.

    procedure: ``holdout``, or ``cross-validation`` where test is empty and the verdict comes from folds of
    `labelled`. moved: test rows that had a twin in train and left the test. fixed: a split column chose the test.
    apart: groups or time keep test and train apart, so that twins may not join train. known: rows that the source has
    learned from and that were to judge it (`headstart.evidence.contamination`). judges: bool [n] of `labelled`, those
    that may be tested on in a fold; None for all.
    """

    train: Dataset
    valid: Dataset | None
    test: Dataset
    sealed: Sealed
    procedure: Literal["holdout", "cross-validation"]
    moved: int = 0
    notes: list[str] = field(default_factory=list)
    fixed: bool = False
    apart: bool = False
    known: int = 0
    judges: Array | None = None

    def labelled(self) -> Dataset:
        """Train and validation rows together."""
        return self.train if self.valid is None else self.train.followed_by(self.valid)

    def judging(self, pairs: Sequence[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
        """Folds (train, test) of `labelled` without the test rows that judge nothing."""
        if self.judges is None:
            return list(pairs)
        return [(train, test[self.judges[test]]) for train, test in pairs if self.judges[test].any()]


def split(
    dataset: Dataset,
    strata: Sequence[int] | Array | None = None,
    *,
    seed: int,
    test_share: float = 0.2,
    valid_share: float = 0.15,
) -> Split:
    """Cut a labelled dataset. strata: [N] integers by which to stratify (`Task.strata`), or None.

    Raises DataError HS-DATA-014 (split column), HS-DATA-012 (one group, nothing to cut), HS-DATA-020 (time column).
    """
    n = len(dataset)
    if strata is not None and len(strata) != n:
        raise ValueError(f"{len(strata)} strata for {n} rows")
    rng = np.random.default_rng(seed)
    groups = None if dataset.windows else group_ids(dataset)  # windows were cut by their origins when they were read
    rules = _Rules(np.asarray(strata) if strata is not None else None, groups, time_order(dataset), rng)
    notes = rules.notes
    given = _given(dataset)
    train, valid, test = given["train"], given["valid"], given["test"]
    fixed = len(test) > 0
    if not fixed:
        size = min(round(test_share * len(train)), LARGEST_TEST)
        test = rules.cut(train, size) if size >= SMALLEST_TEST else test
        if len(test) < SMALLEST_TEST:
            test = test[:0]
            notes.append(
                f"Under {SMALLEST_TEST} test rows would decide nothing: the verdict comes from cross-validation."
            )
        train = np.setdiff1d(train, test)
    elif crossing := rules.crossing(np.concatenate([train, valid]), test):
        notes.append(f"{crossing:,} groups stand on both sides of the given split.")
    if len(valid) == 0:
        valid = rules.cut(train, _valid_size(len(train), valid_share, rules.strata, train), least=1)
        train = np.setdiff1d(train, valid)
    if len(train) < 2:
        raise DataError("HS-DATA-012", f"{dataset.origin}: {n} rows leave {len(train)} to train on.", "Add rows.")
    return Split(
        train=dataset.select(train.tolist()),
        valid=dataset.select(valid.tolist()) if len(valid) else None,
        test=dataset.select(test.tolist()).without("target"),
        sealed=Sealed(dataset.select(test.tolist())),
        procedure="holdout" if len(test) else "cross-validation",
        notes=notes,
        fixed=fixed,
        apart=rules.groups is not None or rules.order is not None,
    )


def move(parts: Split, twins: Array) -> Split:
    """Take the flagged rows [m] out of the test and into train.

    Where a split column chose the test they stay and are reported. Where groups or time keep the parts apart they
    leave the test but do not join train. Raises SealBroken after the test was opened.
    """
    twins = np.asarray(twins, dtype=bool)
    count = int(twins.sum())
    if count == 0:
        return parts
    if parts.fixed:
        note = f"{count:,} of {len(parts.test):,} test rows have a twin in train; the split column keeps them."
        return replace(parts, notes=[*parts.notes, note])
    released, sealed = parts.sealed.release(twins)
    note = f"{count:,} test rows with a twin in train were " + ("left out." if parts.apart else "moved to train.")
    return replace(
        parts,
        train=parts.train if parts.apart else parts.train.followed_by(released),
        test=parts.test.select(np.flatnonzero(~twins).tolist()),
        sealed=sealed,
        moved=parts.moved + count,
        notes=[*parts.notes, note],
    )


def group_ids(dataset: Dataset) -> Array | None:
    """See `Dataset.groups`."""
    return dataset.groups()


def time_order(dataset: Dataset) -> Array | None:
    """Ranks [N] of the time column, equal times equal, missing times -1 (earliest); or None.

    Raises DataError HS-DATA-020 for text that is not an ISO date, or times that cannot be compared.
    """
    columns = dataset.with_role("time")
    if not columns:
        return None
    name = columns[0].name
    values = [_moment(value, dataset, name, row) for row, value in enumerate(dataset.values(name))]
    try:
        ranks = {value: rank for rank, value in enumerate(sorted({value for value in values if value is not None}))}
    except TypeError:
        kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        message = f'{dataset.origin}: column "{name}" mixes times that cannot be compared ({kinds}).'
        raise DataError("HS-DATA-020", message, "Give one kind of time, with or without time zone.") from None
    return np.array([-1 if value is None else ranks[value] for value in values])


class _Rules:
    """What a cut must respect. strata, groups, order: [N] or None. Groups with a time stand at their last time."""

    def __init__(self, strata: Array | None, groups: Array | None, order: Array | None, rng: np.random.Generator):
        self.notes: list[str] = []
        if groups is not None and len(np.unique(groups)) < 2:
            raise DataError(
                "HS-DATA-012", "the group column holds one group only.", "Two are needed to keep groups apart."
            )
        if order is not None and len(np.unique(order)) < 2:
            self.notes.append("The time column holds one time only and was not used for the split.")
            order = None
        if groups is not None and order is not None:
            last = np.full(groups.max() + 1, -1)
            np.maximum.at(last, groups, order)
            order = np.unique(np.stack([last[groups], groups]), axis=1, return_inverse=True)[1].ravel()
        self.strata, self.groups, self.order, self.rng = strata, groups, order, rng

    def cut(self, rows: Array, size: int, least: int = 0) -> Array:
        return cut(rows, size, self.rng, strata=self.strata, groups=self.groups, order=self.order, least=least)

    def crossing(self, left: Array, right: Array) -> int:
        """How many groups have rows on both sides."""
        return 0 if self.groups is None else len(np.intersect1d(self.groups[left], self.groups[right]))


def _given(dataset: Dataset) -> dict[str, Array]:
    """The rows of each part that a split column names; without one, all rows are train."""
    columns = dataset.with_role("split")
    if not columns:
        return {"train": np.arange(len(dataset)), "valid": np.arange(0), "test": np.arange(0)}
    name = columns[0].name
    parts: list[str] = []
    for row, value in enumerate(dataset.values(name)):
        part = _PARTS.get(str(value).strip().lower())
        if part is None:
            shown = "nothing" if value is None or value == "" else repr(value)
            message = f'{dataset.origin}: column "{name}", row {dataset.numbers[row]} holds {shown}.'
            raise DataError("HS-DATA-014", message, "Expected train, valid or test.")
        parts.append(part)
    held = np.array(parts)
    if "train" not in parts:
        raise DataError("HS-DATA-014", f'{dataset.origin}: column "{name}" names no train row.', "Mark some as train.")
    return {part: np.flatnonzero(held == part) for part in ("train", "valid", "test")}


def _valid_size(rows: int, share: float, strata: Array | None, train: Array) -> int:
    """15 % of the rows, at least one a class, at most 2 000; 0 where that is under 4 rows or over half of them."""
    size = min(round(share * rows), LARGEST_VALID)
    if strata is not None:
        size = max(size, int((np.unique(strata[train], return_counts=True)[1] > 1).sum()))
    return size if _SMALLEST_VALID <= size <= rows / 2 else 0


def _moment(value: Any, dataset: Dataset, name: str, row: int) -> Any:
    """A value that sorts by time, or None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value.strip())
    except ValueError:
        message = f'{dataset.origin}: column "{name}", row {dataset.numbers[row]} holds {value!r}.'
        raise DataError("HS-DATA-020", message, "Expected a number or an ISO date such as 2024-03-31.") from None
