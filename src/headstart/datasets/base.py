"""The Dataset contract: rows in Apache Arrow with a role and a kind for every column.

Rows live in a ``datasets.Dataset`` (memory-mapped, never all in RAM). What a column is for (its role) and what it
holds (its kind) are data; *unlabelled is a property of the columns*: a dataset without a target column simply has
none, and ``without("target")`` makes one, physically.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from headstart.datasets import clip
from headstart.errors import DataError, did_you_mean
from headstart.types import Modality, Sample

if TYPE_CHECKING:
    import datasets
    import numpy as np

Role: TypeAlias = Literal[
    "input", "target", "domain", "group", "time", "split", "weight", "series", "step", "season", "known", "user",
    "item", "rating", "feature", "unused",
]  # fmt: skip
Kind: TypeAlias = Literal[
    "text", "image", "audio", "number", "category", "labels", "tokens", "tags", "datetime", "array", "series", "future",
    "items",
]  # fmt: skip
"""text: str. image, audio: path (str) or encoded bytes. number: float. category: str, int or bool. labels: list of
labels. tokens: list of words. tags: list of tags, one per word. datetime: datetime. array: list of float (one vector).
series: list of float at even steps, one channel of a time series; rows need not be equally long. future: list of float,
what follows the input of a window (`headstart.datasets.windows`). items: list of identifiers of things that a user
dealt with, in order of time; it may be empty."""


@dataclass(frozen=True)
class Column:
    """A column's name, what it is for, and what it holds."""

    name: str
    role: Role
    kind: Kind


@dataclass(frozen=True)
class Reject:
    """A row that could not be read. row: 1-based number in its file as a person counts it (header not counted)."""

    path: str
    row: int | None
    reason: str


@dataclass(frozen=True)
class Items:
    """The things that rows of kind ``items`` speak of: identifier, what is known of it in words ("" for nothing).

    parts: train, valid or test of each, where some items are held out as new ones; else empty.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    parts: tuple[str, ...] = ()


class Dataset:
    """Typed rows.

    table: the Arrow rows. columns: one `Column` for each column of ``table`` that is used or known. origin: the path it
    came from, for messages. root: the folder that relative image paths start from. rejects: rows left out.
    numbers: original 1-based row number of each row, for messages; defaults to 1..N. notes: what reading mended.
    items: of rows of kind ``items`` all that there are.
    """

    def __init__(
        self,
        table: datasets.Dataset,
        columns: Sequence[Column],
        *,
        origin: str = "",
        root: Path | None = None,
        rejects: Sequence[Reject] = (),
        numbers: Sequence[int] | None = None,
        notes: Sequence[str] = (),
        items: Items | None = None,
    ) -> None:
        self.table = table
        self.columns = tuple(columns)
        self.origin = origin
        self.root = root
        self.rejects = tuple(rejects)
        self.notes = tuple(notes)
        self.items = items
        self.numbers = list(numbers) if numbers is not None else list(range(1, len(table) + 1))
        self._prints: list[np.ndarray] = []  # the fingerprints, once known; shared with copies of the same inputs

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        parts = ", ".join(f"{c.name}: {c.kind} ({c.role})" for c in self.columns if c.role != "unused")
        return f"Dataset({len(self):,} rows from {self.origin or 'memory'}; {parts})"

    # --- columns -----------------------------------------------------------------------------------------------

    def column(self, name: str) -> Column:
        """The column called ``name``. Raises DataError HS-DATA-003 with did-you-mean."""
        for column in self.columns:
            if column.name == name:
                return column
        known = [column.name for column in self.columns]
        raise DataError("HS-DATA-003", f'{self.origin}: there is no column "{name}".', did_you_mean(name, known))

    def with_role(self, role: Role) -> list[Column]:
        """The columns that have this role, in order."""
        return [column for column in self.columns if column.role == role]

    @property
    def inputs(self) -> list[Column]:
        """The input columns, in order."""
        return self.with_role("input")

    @property
    def target(self) -> Column | None:
        """The target column (of several the first), or None where the rows are unlabelled."""
        targets = self.with_role("target")
        return targets[0] if targets else None

    @property
    def modality(self) -> Modality:
        """The kind of input: of several the first of interactions, audio, series, image and text that is there, else
        ``table``.
        """
        kinds = {column.kind for column in self.inputs}
        if "items" in kinds:
            return "interactions"
        if "audio" in kinds:
            return "audio"
        if "series" in kinds:
            return "series"
        if "image" in kinds:
            return "image"
        return "text" if kinds & {"text", "tokens"} else "table"

    @property
    def reads(self) -> Modality:
        """The kind of input of the sources that have something to tell: of interactions the texts of the items."""
        told = self.modality == "interactions" and self.items is not None and any(self.items.texts)
        return "text" if told else self.modality

    def values(self, name: str) -> list[Any]:
        """All values of one column, as Python objects."""
        self.column(name)
        return _values(self.table, name)

    @property
    def windows(self) -> bool:
        """Whether rows are windows of series (`headstart.datasets.windows`)."""
        return bool(self.with_role("season"))

    def targets(self) -> list[Any]:
        """The target values; of several target columns a tuple a row, in the order of the columns.

        Raises DataError HS-DATA-003 where there is no target column.
        """
        if self.target is None:
            raise DataError("HS-DATA-003", f"{self.origin}: the rows have no target column.", "Name one with --target.")
        columns = [self.values(column.name) for column in self.with_role("target")]
        return columns[0] if len(columns) == 1 else list(zip(*columns))

    def groups(self) -> np.ndarray | None:
        """Integer codes [N] of the group column (several columns: their combination), or None without one.

        A row without a group is a group of its own. Windows of one series are a group, where there are several series.
        """
        import numpy as np

        columns = self.with_role("group") or (self.with_role("series") if self.windows else [])
        if not columns:
            return None
        codes: dict[Any, int] = {}
        rows = zip(*(self.values(column.name) for column in columns))
        found = np.array([codes.setdefault(i if None in row else repr(row), len(codes)) for i, row in enumerate(rows)])
        return None if self.windows and len(codes) < 2 else found

    def weights(self) -> np.ndarray | None:
        """What each row counts in training, [N] with mean 1, or None without a weight column.

        Raises DataError HS-DATA-020 that names the first row whose weight is missing, negative or no number.
        """
        import numpy as np

        columns = self.with_role("weight")
        if not columns:
            return None
        name = columns[0].name
        values = self.values(name)
        found = np.array([value if isinstance(value, int | float) else np.nan for value in values], np.float64)
        wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
        if len(wrong) or (len(found) and not found.any()):
            row = int(wrong[0]) if len(wrong) else 0
            raise DataError(
                "HS-DATA-020",
                f'{self.origin}: column "{name}", row {self.numbers[row]} holds {values[row]!r}; '
                + ("expected a weight of 0 or more." if len(wrong) else "all weights are 0."),
                "Correct the cell, or name another weight column.",
            )
        return found / found.mean() if len(found) else found

    # --- rows --------------------------------------------------------------------------------------------------

    def samples(self, rows: Sequence[int] | None = None) -> list[Sample]:
        """The input values of the rows (all by default): text joined by a newline where several columns are text,
        series as float32 [C,T] with a channel for each column, interactions as a dict with the user.

        A sound of which columns say start and end is that part of its file, written as `headstart.datasets.clip` says.
        """
        import numpy as np

        table = self.table if rows is None else _selected(self.table, rows)
        names = [column.name for column in self.inputs]
        kinds = {column.kind for column in self.inputs}
        if self.modality == "audio":
            return self._clips(table)
        if self.modality == "interactions":
            names = [*names, *(column.name for column in self.with_role("user"))]
            return [dict(zip(names, row)) for row in zip(*(_values(table, name) for name in names))]
        if kinds == {"series"}:
            channels = [_values(table, name) for name in names]
            return [np.array(row, np.float32) for row in zip(*channels)]
        if len(names) == 1:
            values = _values(table, names[0])
            if kinds == {"image"} and self.root is not None:
                return [str(self.root / value) if isinstance(value, str) else value for value in values]
            return [{names[0]: value} for value in values] if self.modality == "table" else values
        columns = [_values(table, name) for name in names]
        if self.modality == "text":
            return ["\n".join(str(value) for value in row if value not in (None, "")) for row in zip(*columns)]
        return [dict(zip(names, row)) for row in zip(*columns)]

    def _clips(self, table: datasets.Dataset) -> list[Sample]:
        """The sounds of the rows, or the parts of them that are meant. Raises DataError HS-DATA-017."""
        name = next(column.name for column in self.inputs if column.kind == "audio")
        named = {column.name.lower(): column.name for column in self.inputs if column.name != name}
        if odd := sorted(named.keys() - {clip.START, clip.END}):
            raise DataError(
                "HS-DATA-017",
                f'{self.origin}: the input is a column of sounds, "{name}", and "{named[odd[0]]}" besides.',
                "Beside a sound only its start and end in seconds are read; name one input.",
            )
        sounds: list[Sample] = [
            str(self.root / value) if isinstance(value, str) and self.root is not None else value
            for value in _values(table, name)
        ]
        ends = [_values(table, named[end]) if end in named else [None] * len(sounds) for end in (clip.START, clip.END)]
        return [
            clip.spelled(sound, start, end) if isinstance(sound, str) else sound
            for sound, start, end in zip(sounds, *ends)
        ]

    def select(self, rows: Sequence[int]) -> Dataset:
        """These rows, in this order, without copying them."""
        chosen = [int(row) for row in rows]
        part = Dataset(
            _selected(self.table, chosen),
            self.columns,
            origin=self.origin,
            root=self.root,
            numbers=[self.numbers[row] for row in chosen],
            items=self.items,
        )
        part._prints = [known[chosen] for known in self._prints]
        return part

    def followed_by(self, other: Dataset) -> Dataset:
        """These rows and then those of ``other``, which has the same columns."""
        import datasets
        import numpy as np

        both = self._with(datasets.concatenate_datasets([self.table, other.table]), self.columns)
        both.numbers = [*self.numbers, *other.numbers]
        both._prints = [np.concatenate(pair) for pair in zip(self._prints, other._prints)]
        return both

    def without(self, *roles: Role) -> Dataset:
        """The same rows with the columns of these roles removed, not hidden."""
        drop = [column.name for column in self.columns if column.role in roles]
        return self._with(self.table.remove_columns(drop), [c for c in self.columns if c.name not in drop])

    def assign(self, **roles: str | Iterable[str]) -> Dataset:
        """A copy in which the named columns have the given roles, e.g. ``assign(target="label", group="user")``."""
        wanted: dict[str, str] = {}
        for role, named in roles.items():
            for name in [named] if isinstance(named, str) else named:
                self.column(name)
                wanted[name] = role
        columns = [replace(c, role=wanted[c.name]) if c.name in wanted else c for c in self.columns]  # type: ignore[arg-type]
        return self._with(self.table, columns)

    def aim(self, target: str | Iterable[str]) -> Dataset:
        """A copy in which these columns are the target and no others; other targets take no part ("unused").

        Raises DataError HS-DATA-003 with did-you-mean for an unknown name.
        """
        named = [target] if isinstance(target, str) else list(target)
        for name in named:
            self.column(name)
        others = [column.name for column in self.with_role("target") if column.name not in named]
        return self.assign(target=named, unused=others)

    def _with(self, table: datasets.Dataset, columns: Sequence[Column]) -> Dataset:
        other = Dataset(
            table,
            columns,
            origin=self.origin,
            root=self.root,
            rejects=self.rejects,
            numbers=self.numbers,
            notes=self.notes,
            items=self.items,
        )
        if other.inputs == self.inputs:
            other._prints = self._prints
        return other

    # --- identity ----------------------------------------------------------------------------------------------

    def fingerprints(self, rows: Sequence[int] | None = None) -> list[str]:
        """A content digest of each row's input (hex, 32 characters): equal inputs have equal digests. [N].

        Those of all rows are computed once, and then known to every selection and copy with the same inputs.
        """
        import numpy as np

        if rows is not None and not self._prints:
            return [fingerprint(sample) for sample in self.samples(rows)]
        if not self._prints:
            self._prints.append(np.array([fingerprint(sample) for sample in self.samples()], dtype="S32"))
        known = self._prints[0] if rows is None else self._prints[0][np.asarray(rows, dtype=np.int64)]
        return [str(digest) for digest in known.astype("U32")]


def _selected(table: datasets.Dataset, rows: Sequence[int]) -> datasets.Dataset:
    """These rows. The name of the result is drawn: it is never looked up, and hashing the rows takes longer."""
    return table.select(rows, new_fingerprint=uuid.uuid4().hex[:16])


_TAKEN_AT_ONCE = 64 << 20  # bytes of a column up to which chosen rows are taken in one step, which joins its pieces


def _values(table: datasets.Dataset, name: str) -> list[Any]:
    """One column as Python objects, straight from Arrow: many times faster than row by row."""
    column, rows = table.data.column(name), table._indices
    if rows is None or column.nbytes > _TAKEN_AT_ONCE:
        column = table.select_columns([name]).with_format("arrow")[:][name]
    else:
        column = column.take(rows.column(0))
    values: list[Any] = column.to_pylist()
    return values


def fingerprint(sample: Sample) -> str:
    """The content digest of one input value; the path of an image or a sound counts by the file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    if (given := clip.numbers(sample)) is not None:
        sample = clip.wav(*given)
    if isinstance(sample, str) and len(sample) < 1024 and clip.is_sound_path(sample):
        path, *part = clip.parted(sample)
        digest.update(f"sound{part}".encode() + Path(path).read_bytes())
    elif isinstance(sample, str) and len(sample) < 1024 and is_image_path(sample):
        digest.update(b"file" + Path(sample).read_bytes())
    elif isinstance(sample, str):
        digest.update(b"text" + sample.encode("utf-8", "surrogatepass"))
    elif isinstance(sample, bytes):
        digest.update(b"file" + sample)
    elif isinstance(sample, list | tuple):
        digest.update(b"list" + json.dumps(list(sample), default=str, ensure_ascii=False).encode())
    elif isinstance(sample, dict):
        digest.update(b"dict" + json.dumps(sample, default=str, ensure_ascii=False, sort_keys=True).encode())
    else:  # a PIL image or an array
        import numpy as np

        array = np.asarray(sample)
        digest.update(f"array{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_SUFFIXES = tuple(IMAGE_SUFFIXES)


def is_image_path(text: str) -> bool:
    """Whether the text names an image file that exists."""
    if not text.lower().endswith(_SUFFIXES):  # most texts: the path is not even made
        return False
    return Path(text).suffix.lower() in IMAGE_SUFFIXES and Path(text).is_file()
