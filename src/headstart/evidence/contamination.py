"""Rows that the source has learned from: of these it knows the answer, so they judge nothing.

Equal rows need not be the same row: where columns are few and their values as well, many are equal by chance, and of
those the source does not know whose label it is. A row of which another row of the target is a copy says nothing
either way and stays. Of the n1 rows that are unlike all others, so many would be equal to one of M rows of the source
by chance:

    n1 min(M f, d),   f = 2 n2 / (n1 N)

N: rows of the target; n2: values that occur twice among them; f: what Good and Turing expect of a value that was seen
once (Good 1953, The population frequencies of species and the estimation of population parameters, Biometrika,
equation 2). d: the share of the source's rows that are equal to another of them. Either estimate is too high where rows
stand twice in one of the tables, and then the other one counts. If more rows are equal than that, by three standard
errors of the counts, they are the same rows: they leave test and validation, train, and the record says so. Where the
labelled rows of one domain and those to adapt to are given as they are, the same is asked of both (`copies`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import DataError
from headstart.evidence.splits import Split
from headstart.nn.row_hashes import repeated
from headstart.sources.base import Source

Array: TypeAlias = np.ndarray

CLEARLY = 3.0
"""Standard errors from which more are equal than by chance."""

LEAST = 10
"""Fewest rows that may judge."""


def by_chance(hashes: Array, rows: int, repeated: float) -> float:
    """The most of the rows unlike all others that would be equal to one of ``rows`` of the source by chance.

    hashes: [N] of the rows, equal for equal ones. repeated: share of the source's rows that are equal to another.
    """
    counts = np.unique(hashes, return_counts=True)[1]
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    each = 2 * rows / len(hashes)  # what a value that occurs twice says of the others
    by_target = each * twice + CLEARLY * np.sqrt(each * twice + each**2 * twice)
    by_source = once * repeated + CLEARLY * np.sqrt(once * repeated)
    return float(min(by_target, by_source))


def alone(hashes: Array) -> Array:
    """Which rows are unlike all others, bool [N]."""
    _, place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return np.asarray(counts[place.ravel()] == 1)


def copies(labelled: Dataset, rows: Dataset) -> tuple[Array, list[str]]:
    """Which rows of a domain judge nothing, since they stand among the labelled rows [N], and what is to be told.

    Equal inputs are found by their digests; of tables those that are equal by chance stay, and where under `LEAST`
    would be left, all do.
    """
    digests = rows.fingerprints()
    known = labelled.fingerprints()
    same = np.isin(digests, known)
    if not same.any():
        return same, []

    def told(found: Array) -> str:
        return f"{found.sum():,} of the {len(rows):,} rows to adapt to stand among the labelled rows"

    if rows.modality == "table":
        equal, hashes = same, np.unique(digests, return_inverse=True)[1].ravel()
        same = equal & alone(hashes)
        if same.sum() <= by_chance(hashes, len(known), repeated(np.array(known))):
            return np.zeros(len(rows), bool), [f"Rows: {told(equal)}, no more than are equal by chance; they stay."]
    if len(rows) - same.sum() < LEAST:
        return np.zeros(len(rows), bool), [f"Rows: {told(same)}: of new rows the score says little."]
    return same, [f"Rows: {told(same)} ({same.mean():.1%}): they judge nothing."]


def uncontaminated(parts: Split, source: Source | None, verdict: bool = True) -> Split:
    """Let no row judge that the source has learned from; looks at inputs alone.

    Test rows that it knows join train, unless a split column, groups or time keep the parts apart: then they are left
    out. Where the verdict comes from folds, they train and are tested in none (`Split.judges`). verdict: whether there
    is to be one. Where under `LEAST` rows are left to judge, raises DataError HS-DATA-012, or says without a verdict
    what the score is worth.
    """
    kept = [each for each in (parts.train, parts.valid, parts.test) if each is not None and len(each)]
    found = [source.seen(each.without("target")) for each in kept] if source is not None else []
    if source is None or any(each is None for each in found):
        return parts
    told = [each for each in found if each is not None]
    hashes, equal = np.concatenate([each.hashes for each in told]), np.concatenate([each.rows for each in told])
    same, chance = equal & alone(hashes), by_chance(hashes, told[0].among, told[0].repeated)
    if not equal.any():
        return parts
    if same.sum() <= chance or not same.any():
        note = (
            f"Rows: {equal.sum():,} of {len(equal):,} are equal to rows that {source.card.name} has learned from, no "
            "more than are equal by chance; they stay."
        )
        return replace(parts, notes=[*parts.notes, note])
    ends = np.cumsum([len(each) for each in kept])
    by_part = dict(zip([id(each) for each in kept], np.split(same, ends[:-1])))
    return _apart(parts, [by_part.get(id(each), np.zeros(0, bool)) for each in (parts.train, parts.valid, parts.test)],
                  source.card.name, verdict)  # fmt: skip


def _apart(parts: Split, known: list[Array], name: str, verdict: bool) -> Split:
    """The parts once those ``known`` of train, validation and test judge no more."""
    train, valid, test = known
    labelled = len(train) + len(valid)
    tested = len(parts.test) if parts.procedure == "holdout" else labelled
    told = int(test.sum()) if parts.procedure == "holdout" else int(train.sum() + valid.sum())
    if tested - told < LEAST:
        says = f"Rows: {name} has learned from {told:,} of the {tested:,} rows that were to judge it"
        if not verdict:
            return replace(parts, notes=[*parts.notes, f"{says}: of new rows the score says little."], known=told)
        raise DataError(
            "HS-DATA-012", f"{says.removeprefix('Rows: ')}.",
            "Make the source anew without the rows of this table, or add other rows to it.",
        )  # fmt: skip
    joins = parts.procedure == "holdout" and not (parts.fixed or parts.apart)
    if parts.procedure == "holdout":
        does = "they were moved to train" if joins else "they were left out of the test"
        note = f"Rows: {name} has learned from {told:,} of the {tested:,} test rows ({told / tested:.1%}): {does}."
        others = int(train.sum() + valid.sum())
        if others:
            note += f" So it has from {others:,} of the {labelled:,} training rows, which may flatter it in choices."
    else:
        share = f"{told:,} of the {tested:,} rows ({told / tested:.1%})"
        note = f"Rows: {name} has learned from {share}: they train, and judge nothing."
    if valid.any():
        assert parts.valid is not None
        moved = parts.valid.select(np.flatnonzero(valid).tolist())
        rest = parts.valid.select(np.flatnonzero(~valid).tolist())
        parts = replace(parts, train=parts.train.followed_by(moved), valid=rest if len(rest) else None)
        train = np.concatenate([train, np.ones(len(moved), bool)])
    if test.any():
        released, sealed = parts.sealed.release(test)
        parts = replace(
            parts, sealed=sealed, test=parts.test.select(np.flatnonzero(~test).tolist()),
            train=parts.train.followed_by(released) if joins else parts.train,
        )  # fmt: skip
    judges = None
    if parts.procedure != "holdout":
        judges = ~np.concatenate([train, np.zeros(0 if parts.valid is None else len(parts.valid), bool)])
    return replace(parts, notes=[*parts.notes, note], known=told, judges=judges)
