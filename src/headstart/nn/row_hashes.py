"""Whether a row stands in another table, without that table: one hash of 64 bits a row, over columns that both have.

    h(row) = mix(sum over columns j of H(name of j, value of j))        mod 2^64

with H the first 64 bits of BLAKE2b and mix the finaliser of SplitMix64 (Steele, Lea & Flood 2014, Fast splittable
pseudorandom number generators, OOPSLA). A number counts by seven digits, as much as single precision keeps; a category
without cases and blanks around it. Because of the sum, a column that is missing here may be tried with every value
that it is known to hold. Rows cannot be read off the hashes, but whoever can guess a whole row can ask for it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

TRIES = 1000
"""Most combinations of values that are tried of columns that are missing."""


def cells(name: str, kind: str, values: Sequence[Any]) -> Array:
    """The hashes of a column's values, uint64 [N]; None and NaN are one value. kind: of the column."""
    known: dict[Any, int] = {}
    found = np.empty(len(values), np.uint64)
    for row, value in enumerate(values):
        text = spelled(kind, value)
        if text not in known:
            digest = hashlib.blake2b(f"{name}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
            known[text] = int.from_bytes(digest, "little")
        found[row] = known[text]
    return found


def spelled(kind: str, value: Any) -> str:
    """What a value says, so that two spellings of it are equal; empty for none."""
    if value is None or value != value:
        return ""
    return f"{float(value) + 0.0:.7g}" if kind == "number" else str(value).strip().lower()


def rows(columns: Sequence[Array]) -> Array:
    """The hashes of rows from those of their cells, uint64 [N]."""
    return mixed(_sums(columns))


def _sums(columns: Sequence[Array]) -> Array:
    return np.asarray(np.sum(np.stack(columns), axis=0, dtype=np.uint64))


def mixed(sums: Array) -> Array:
    """SplitMix64's finaliser, uint64 [N]."""
    z = (sums ^ (sums >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def among(known: Array, columns: Sequence[Array], missing: Sequence[Array] = ()) -> Array:
    """Which rows are among those with the hashes ``known`` [M], bool [N].

    columns: cells [N] of the columns that are here. missing: of each other column the cells that it may hold.
    """
    total, known = _sums(columns), np.unique(known)
    found: Array = np.zeros(len(total), bool)
    for tried in itertools.product(*missing):
        found |= np.isin(mixed(total + np.array(tried, np.uint64).sum(dtype=np.uint64)), known)
    return found


def repeated(known: Array) -> float:
    """The share of rows with the hashes [M] that are equal to another of them."""
    counts = np.unique(known, return_counts=True)[1]
    return float(counts[counts > 1].sum() / max(len(known), 1))


def tries(missing: Sequence[Array]) -> int:
    """How many combinations `among` would try."""
    return int(np.prod([float(len(each)) for each in missing]))
