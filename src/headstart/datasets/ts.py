"""``.ts`` files of the UCR and UEA archives (aeon, sktime): a header of ``@`` lines, then one series a line.

    @problemName GunPoint
    @classLabel true 1 2
    @data
    -0.65,-0.64,...:2

Channels are separated by colons, and the last field is the class (``@classLabel``) or the number (``@targetLabel``).
``?`` and ``NaN`` are missing values. A folder of ``NAME_TRAIN.ts`` and ``NAME_TEST.ts`` is one dataset with a split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets import encoding, store
from headstart.datasets.base import Reject
from headstart.datasets.folder import SPLITS
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 512  # series a batch
MISSING = ("?", "nan", "")


def matches(path: Path) -> bool:
    """A ``.ts`` file, or a folder of such with a header."""
    if path.is_file():
        return path.suffix.lower() == ".ts"
    return path.is_dir() and bool(_files(path))


def parse(path: Path, options: Options) -> Parsed:
    """The series of a file or folder. Raises DataError HS-DATA-002, -011, -013."""
    files = [path] if path.is_file() else _files(path)
    if path.is_file() and not _is_headed(path):
        raise DataError(
            "HS-DATA-013", f"{path}: its first line is none of a header.",
            "Begin with @problemName NAME, @classLabel true A B and @data, as .ts files of aeon and sktime do.",
        )  # fmt: skip
    heads = {file: Head.read(file) for file in files}
    splits = {file: SPLITS.get(file.stem.rpartition("_")[2].lower()) for file in files}
    problems = {file.stem.rpartition("_")[0] if splits[file] else file.stem for file in files}
    if len(problems) > 1:
        raise DataError(
            "HS-DATA-011",
            f"{path}: holds several datasets ({', '.join(sorted(problems)[:5])}).",
            "Name one file of them.",
        )
    channels = max(head.channels for head in heads.values())
    target = next(head.target for head in heads.values())
    names = ["series"] if channels == 1 else [f"dim_{number}" for number in range(1, channels + 1)]
    split = len(files) > 1 and all(splits.values())

    def batches(rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
        number = 0
        for file in files:
            for rows in _rows(file, heads[file], channels, number, rejects):
                number = rows[-1]["number"]
                yield _batch(rows, names, target, splits[file] if split else None, heads[file].numeric)

    key = store.digest("ts", files, [channels, target, split])
    table, rejects, numbers = store.keep(key, batches)
    if not len(table) and not rejects:
        raise DataError("HS-DATA-002", f"{path}: there are no series.", "It needs one a line below @data.")
    kinds: dict[str, Any] = dict.fromkeys(names, "series")
    if target == "label":
        kinds["label"] = "category"
    return Parsed(table, numbers, rejects, target or None, tuple(names), kinds, root=path.parent)


class Head:
    """What the header of a file says. channels: of each series. target: ``label``, ``target`` or empty."""

    def __init__(self, channels: int, target: str, line: int) -> None:
        self.channels, self.target, self.line = channels, target, line

    @property
    def numeric(self) -> bool:
        """Whether what is to be predicted is a number."""
        return self.target == "target"

    @classmethod
    def read(cls, file: Path) -> Head:
        """Raises DataError HS-DATA-013 for a header without @data or with time stamps, which are not read."""
        said: dict[str, str] = {}
        first, last = "", 0
        with encoding.open_text(file, encoding.detect(file)) as text:
            for last, row in enumerate(text, 1):  # noqa: B007 - read after the loop
                words = row.strip().split(None, 1)
                if not words or words[0].startswith(("#", "%")):
                    continue
                if words[0].lower() == "@data":
                    first = next((row for row in text if row.strip()), "")
                    break
                said[words[0].lower()] = words[1].lower() if len(words) > 1 else ""
            else:
                raise DataError("HS-DATA-013", f"{file}: has no line @data.", "Give a .ts file of aeon or sktime.")
        if said.get("@timestamps", "false").startswith("true"):
            raise DataError(
                "HS-DATA-013", f"{file}: its values carry time stamps, which are not read in this format.",
                "Give a long table instead, with --series and --step.",
            )  # fmt: skip
        target = ""
        for word, name in (("@classlabel", "label"), ("@targetlabel", "target")):
            if said.get(word, "false").startswith("true"):
                target = name
        return cls(max(1, first.count(":") + 1 - bool(target)), target, last)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".ts" and _is_headed(path))


def _is_headed(path: Path) -> bool:
    """Whether the first line that is no comment begins with ``@``: other files are called .ts as well."""
    with path.open("rb") as file:
        for line in file.read(1 << 16).splitlines():
            if line.strip() and not line.lstrip().startswith((b"#", b"%")):
                return line.lstrip().startswith(b"@")
    return False


def _rows(file: Path, head: Head, channels: int, number: int, rejects: list[Reject]) -> Iterator[list[dict[str, Any]]]:
    """The series of a file, some at a time. number: of the last row before them."""
    rows: list[dict[str, Any]] = []
    with encoding.open_text(file, encoding.detect(file)) as text:
        for line, row in enumerate(text, 1):
            if line <= head.line or not row.strip() or row.lstrip().startswith(("#", "%")):
                continue
            number += 1
            try:
                rows.append({"number": number, **_series(row.strip(), head, channels)})
            except ValueError as error:
                rejects.append(Reject(str(file), number, f"line {line}: {error}"))
            if len(rows) == ROWS:
                yield rows
                rows = []
    if rows:
        yield rows


def _series(line: str, head: Head, channels: int) -> dict[str, Any]:
    """One line as channels and target. Raises ValueError in words for one that does not fit."""
    fields = line.split(":")
    target = fields.pop().strip() if head.target else None
    if len(fields) != channels:
        raise ValueError(f"has {len(fields)} channels; expected {channels}")
    values = [_numbers(part) for part in fields]
    if target is not None and target.lower() in MISSING:
        target = None
    return {"channels": values, "target": float(target) if target is not None and head.numeric else target}


def _numbers(text: str) -> np.ndarray:
    """Numbers with commas between them, float64 [T]."""
    try:
        return np.array([float("nan") if part.strip() in ("?", "") else float(part) for part in text.split(",")])
    except ValueError:
        wrong = next(part for part in text.split(",") if not _is_number(part))
        raise ValueError(f'"{wrong[:40]}" is no number') from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() in ("?", "")
    return True


def _batch(
    rows: list[dict[str, Any]], names: list[str], target: str, split: str | None, numeric: bool
) -> pa.RecordBatch:
    import pyarrow as pa

    parts = [pa.array([row["channels"][place] for row in rows], pa.list_(pa.float64())) for place in range(len(names))]
    columns = [*names]
    if target:
        columns.append(target)
        parts.append(pa.array([row["target"] for row in rows], pa.float64() if numeric else pa.string()))
    if split is not None:
        columns.append("split")
        parts.append(pa.array([split] * len(rows), pa.string()))
    return pa.RecordBatch.from_arrays(parts, names=columns)
