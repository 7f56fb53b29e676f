"""Which column of one table is which of another: schema matching (Rahm & Bernstein 2001).

Two columns are compared by name (equal once cases and signs are gone; else the better of shared words and the cosine of
``minilm``'s embeddings) and by values (numbers: how far apart their quantiles are; categories: the share of rows whose
value the other column knows as well, and how alike the shares are). The pairs are those of the one-to-one assignment
with the greatest sum. A pair is *doubtful* where it scores low, or where another column of either table scores nearly
as high and the names do not decide it. Columns of different kinds are never put together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headstart.errors import DataError, SourceError, UsageError, did_you_mean

if TYPE_CHECKING:
    from headstart.datasets.base import Column, Dataset

Array: TypeAlias = np.ndarray
Alike: TypeAlias = Callable[[Sequence[str], Sequence[str]], Array]
"""How alike names are: [n], [m] -> [n,m], 0 to 1."""

TOLD = "Columns: "
"""How the line begins that says which column is which."""

STEPS = 33
"""Quantiles that are kept of a column of numbers."""

LEVELS = 64
"""Values that are kept of a column of categories, the most frequent ones."""

LEAST = 0.3
"""Score under which two columns are not put together."""

SURE, MARGIN = 0.55, 0.1
"""A pair under this score is doubtful, and one that leads the next best by less."""

NEAR, FAR = 0.75, 0.15
"""Cosines of names that count as alike and as unrelated."""

WHOLE = 0.6
"""Factor on how alike two columns of numbers are of which one holds whole numbers alone."""

INSIDE = 0.5
"""Share of a column's numbers that have to lie where those of the source do for its models to be asked."""


@dataclass(frozen=True)
class Profile:
    """What is known of a column. levels: category -> share of the rows. quantiles: `STEPS` of the numbers, or none."""

    name: str
    kind: str
    levels: tuple[tuple[str, float], ...] = ()
    quantiles: tuple[float, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, column: Column) -> Profile:
        """From the values of the rows."""
        values = [value for value in dataset.values(column.name) if value is not None]
        if column.kind == "number":
            numbers = np.array(values, np.float64)
            numbers = numbers[np.isfinite(numbers)]
            found = np.quantile(numbers, np.linspace(0, 1, STEPS)) if len(numbers) else np.zeros(0)
            return cls(column.name, column.kind, (), tuple(float(each) for each in found))
        counts = Counter(str(value) for value in values) if column.kind == "category" else Counter()
        shares = tuple((level, count / max(len(values), 1)) for level, count in counts.most_common(LEVELS))
        return cls(column.name, column.kind, shares)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """What ``dataclasses.asdict`` made of it."""
        levels = tuple((str(level), float(share)) for level, share in data["levels"])
        return cls(data["name"], data["kind"], levels, tuple(float(each) for each in data["quantiles"]))


@dataclass(frozen=True)
class Pair:
    """A column of the source and the one of the target that stands for it. said: by the user."""

    source: str
    target: str
    score: float
    doubtful: bool = False
    said: bool = False

    def __str__(self) -> str:
        sign = "?" if self.doubtful else ""
        return f"{self.source} = {self.target} ({'as told' if self.said else f'{self.score:.2f}{sign}'})"


def match(
    source: Sequence[Profile],
    target: Sequence[Profile],
    said: Mapping[str, str] | None = None,
    alike: Alike | None = None,
) -> list[Pair]:
    """The pairs, in the order of the source's columns; a column that has no partner is in none.

    said: column of the source -> column of the target, or empty for none. alike: what compares names; by default
    `names_alike`. Raises UsageError HS-USAGE-001 for columns that do not exist or are named twice, DataError
    HS-DATA-020 for two of different kinds.
    """
    said = dict(said or {})
    _check(source, target, said)
    pairs = {name: Pair(name, other, 1.0, said=True) for name, other in said.items() if other}
    ours = [each for each in source if each.name not in said]
    theirs = [each for each in target if each.name not in said.values()]
    for name, other, score, doubtful in _assigned(ours, theirs, alike or names_alike):
        pairs[name] = Pair(name, other, score, doubtful)
    return [pairs[each.name] for each in source if each.name in pairs]


def _check(source: Sequence[Profile], target: Sequence[Profile], said: Mapping[str, str]) -> None:
    known, given = {each.name: each for each in source}, {each.name: each for each in target}
    partners = [other for other in said.values() if other]
    for name, other in said.items():
        if name not in known:
            raise UsageError("HS-USAGE-001", f'--align: the source has no column "{name}".', did_you_mean(name, known))
        if other and other not in given:
            raise UsageError(
                "HS-USAGE-001", f'--align: the data have no input column "{other}".', did_you_mean(other, given)
            )
        if other and known[name].kind != given[other].kind:
            raise DataError(
                "HS-DATA-020", f'--align: "{other}" holds {given[other].kind}; "{name}" of the source is '
                f"{known[name].kind}.", f'Correct its values, or say --kind "{other}={known[name].kind}".',
            )  # fmt: skip
    if twice := [other for other, count in Counter(partners).items() if count > 1]:
        raise UsageError("HS-USAGE-001", f'--align names "{twice[0]}" twice.', "Each column stands for one.")


def _assigned(ours: Sequence[Profile], theirs: Sequence[Profile], alike: Alike) -> list[tuple[str, str, float, bool]]:
    """(source, target, score, doubtful) of the best one-to-one assignment."""
    from scipy.optimize import linear_sum_assignment

    if not ours or not theirs:
        return []
    equal = np.array([[plain(one.name) == plain(other.name) for other in theirs] for one in ours])
    kinds = np.array([[one.kind == other.kind for other in theirs] for one in ours])
    settled = (equal & kinds).any(axis=1).all() or (equal & kinds).any(axis=0).all()
    names = equal.astype(float) if settled else alike([one.name for one in ours], [other.name for other in theirs])
    values = np.array([[values_alike(one, other) for other in theirs] for one in ours])
    scores = np.where(kinds, np.where(equal, np.maximum(names, 1.0) + values, names + values) / 2, 0.0)
    found = []
    for row, column in zip(*linear_sum_assignment(-(scores + (equal & kinds)))):
        score = float(scores[row, column])
        rivals = np.concatenate([np.delete(scores[row], column), np.delete(scores[:, column], row), [0.0]])
        unsure = not equal[row, column] and (score < SURE or score - float(rivals.max()) < MARGIN)
        if kinds[row, column] and (score >= LEAST or equal[row, column]):
            found.append((ours[row].name, theirs[column].name, score, bool(unsure)))
    return found


def told(
    pairs: Sequence[Pair], ours: Sequence[str], theirs: Sequence[str], known: str = "known to the source",
    away: Sequence[Pair] = (),
) -> str:  # fmt: skip
    """What was found, for the user: pairs with their scores, doubtful ones first, and what was left.

    ours, theirs: names of the columns. known: what is said of a column that has a partner. away: pairs that the source
    is not asked about.
    """
    renamed = [pair for pair in pairs if pair.source != pair.target]
    doubtful = [str(pair) for pair in renamed if pair.doubtful]
    sure = [str(pair) for pair in renamed if not pair.doubtful]
    parts = [f"{len(pairs)} of {len(theirs)} are {known}, {len(pairs) - len(renamed)} by the same name"]
    parts += [f"doubtful, correct them with --align: {', '.join(doubtful)}"] if doubtful else []
    parts += [", ".join(sure)] if sure else []
    parts += [
        f"outside of the source's numbers, and not shown to it: {', '.join(pair.target for pair in away)}"
    ] if away else []  # fmt: skip
    if lacking := [name for name in ours if name not in {pair.source for pair in pairs}]:
        parts.append(f"not there: {', '.join(lacking)}")
    return f"{TOLD}{'; '.join(parts)}."


def plain(name: str) -> str:
    """A name without cases and signs: ``Hours-per-Week`` -> ``hoursperweek``."""
    return "".join(words(name))


def words(name: str) -> list[str]:
    """``hoursPerWeek`` -> hours, per, week."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return re.findall(r"[a-z]+|[0-9]+", parted.lower())


def names_alike(ours: Sequence[str], theirs: Sequence[str]) -> Array:
    """[n,m], 0 to 1: the better of shared words and of ``minilm``'s cosine; without minilm the words alone."""
    spelled = np.array([[_shared(words(one), words(other)) for other in theirs] for one in ours])
    known = embeddings([" ".join(words(name)) for name in (*ours, *theirs)])
    if known is None:
        return spelled
    cosines = known[: len(ours)] @ known[len(ours) :].T
    return np.asarray(np.maximum(spelled, np.clip((cosines - FAR) / (NEAR - FAR), 0, 1)))


def embeddings(texts: Sequence[str]) -> Array | None:
    """Unit embeddings [n,D] by ``minilm``, or None where it is not here and cannot be fetched."""
    import torch

    from headstart.sources.shelf import open_source

    try:
        source = open_source("minilm")
    except SourceError:
        return None
    with torch.inference_mode():
        found = source.forward(source.preprocess(list(texts))).pooled.numpy()
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))


def _shared(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """The share of words that begin alike, as ``educ`` and ``education`` do, of the longer name."""

    def kin(one: str, other: str) -> bool:
        short, long = sorted((one, other), key=len)
        return long.startswith(short) and (len(short) >= 3 or short == long)

    hits = min(sum(any(kin(one, other) for other in theirs) for one in ours),
               sum(any(kin(one, other) for other in ours) for one in theirs))  # fmt: skip
    return hits / max(len(ours), len(theirs), 1)


def values_alike(one: Profile, other: Profile) -> float:
    """0 to 1; half where nothing is known of the values."""
    if one.kind != other.kind:
        return 0.0
    if one.quantiles and other.quantiles:
        return _numbers_alike(np.array(one.quantiles), np.array(other.quantiles))
    if one.levels and other.levels:
        ours = {level.strip().lower(): share for level, share in one.levels}
        theirs = {level.strip().lower(): share for level, share in other.levels}
        common = ours.keys() & theirs.keys()
        known = sum(theirs[level] for level in common)
        return float(0.5 * known + 0.5 * sum(min(ours[level], theirs[level]) for level in common))
    return 0.5


def _numbers_alike(one: Array, other: Array) -> float:
    """1 where the quantiles are the same, 0 where all numbers of one lie beyond those of the other.

    Each quantile of one is looked up in the distribution of the other: 1 - 2 mean |F(q_p) - p|, the area between the
    diagonal and the curve of a P-P plot. How far outliers lie out does not matter.
    """
    far = max(float(np.abs(_places(a, b) - _places(b, b)).mean()) for a, b in ((one, other), (other, one)))
    whole = [bool((values == np.round(values)).all()) for values in (one, other)]
    return float(np.clip(1 - 2 * far, 0, 1)) * (1.0 if whole[0] == whole[1] else WHOLE)


def _places(values: Array, among: Array) -> Array:
    """The place of each value in a distribution of these quantiles, 0 to 1; of equal quantiles the middle."""
    return np.asarray((np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")) / 2 / STEPS)


def inside(source: Profile, target: Profile) -> float:
    """The share of the target's numbers that lie where those of the source do, its outermost ones left out."""
    if not source.quantiles or not target.quantiles:
        return 1.0
    low, high = source.quantiles[1], source.quantiles[-2]
    numbers = np.array(target.quantiles)
    return float(((numbers >= low) & (numbers <= high)).mean())
