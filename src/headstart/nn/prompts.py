"""Labels in words: what a person says a label means, and the sentences that a text encoder reads of it.

Labels come as ``animal,vehicle,food``, as a list, as a mapping of label to description (or to several), or as a JSON or
CSV file of these. A method holds them as one canonical JSON text, so that a saved run needs no file. A label may also
come with numbers, its attributes, which `headstart.methods.eszsl` reads instead of words.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from headstart.errors import DataError, MethodError, UsageError, did_you_mean

Described: TypeAlias = dict[str, list[str]]
"""Label -> its descriptions."""

FILES = (".json", ".csv", ".tsv")
EXPECTED = "Expected labels with commas, or a JSON or CSV file of label and description."


def parse(labels: Any) -> dict[str, list[Any]]:
    """Labels of any spelling as label -> descriptions (texts), or label -> attributes (numbers).

    A label without a description is described by its own name. Raises UsageError HS-USAGE-001 for an empty or a
    repeated label, DataError HS-DATA-001 for a file that is not there and HS-DATA-013 for one that cannot be read.
    """
    if isinstance(labels, Path):
        labels = str(labels)
    if isinstance(labels, str):
        labels = _spelled(labels)
    if isinstance(labels, Mapping):
        pairs = list(labels.items())
    elif isinstance(labels, Sequence):
        pairs = [tuple(each) if isinstance(each, list | tuple) and len(each) == 2 else (each, None) for each in labels]
    else:
        raise UsageError("HS-USAGE-001", f"labels are of type {type(labels).__name__}.", EXPECTED)
    found: dict[str, list[Any]] = {}
    for label, meaning in pairs:
        name = "" if label is None else str(label).strip()
        if not name:
            raise UsageError("HS-USAGE-001", "a label is empty.", EXPECTED)
        if name in found:
            raise UsageError(
                "HS-USAGE-001", f'the label "{name}" stands twice.', "Give several descriptions as a list."
            )
        found[name] = _meaning(name, meaning)
    return found


def canonical(labels: Any) -> str:
    """The labels as one JSON text; equal for equal labels. Raises what `parse` raises."""
    return json.dumps(parse(labels), ensure_ascii=False)


def described(labels: str, classes: Sequence[Any], method: str) -> list[list[Any]]:
    """What each class is described by, in the order of ``classes``: what ``labels`` says, else its name.

    Raises MethodError HS-METHOD-002 where ``labels`` names something that is none of the classes.
    """
    given = parse(labels) if labels else {}
    names = [str(each) for each in classes]
    for label in given:
        if label not in names:
            raise MethodError(
                "HS-METHOD-002", f'{method}: the label "{label}" is none of the classes.', did_you_mean(label, names)
            )
    return [given.get(name, [name]) for name in names]


def templates(text: str) -> list[str]:
    """Sentences separated by ``|``, each with ``{}`` for the label. Raises MethodError HS-METHOD-002."""
    found = [part.strip() for part in text.split("|") if part.strip()]
    for part in found:
        if part.count("{}") != 1:
            raise MethodError("HS-METHOD-002", f'the template "{part}" needs one {{}} for the label.')
    return found


def filled(descriptions: Sequence[Sequence[str]], sentences: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Every description in every sentence: P texts, and the class [P] that each speaks of."""
    texts, owner = [], []
    for number, meanings in enumerate(descriptions):
        for meaning in meanings:
            texts += [sentence.replace("{}", str(meaning)) for sentence in sentences]
            owner += [number] * len(sentences)
    return texts, np.asarray(owner)


def mean_by_class(vectors: np.ndarray, owner: np.ndarray, classes: int) -> np.ndarray:
    """The mean of the unit vectors [P,E] of each class, at unit length again, [C,E]."""
    sums = np.zeros((classes, vectors.shape[1]))
    np.add.at(sums, owner, unit(vectors))
    return unit(sums)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [N,E] in float64 at length 1; rows of zeros stay."""
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _spelled(text: str) -> Any:
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        try:
            return json.loads(stripped)
        except ValueError as error:
            raise UsageError("HS-USAGE-001", f"the labels are no JSON ({error}).", EXPECTED) from error
    if stripped.lower().endswith(FILES):
        return _file(Path(stripped))
    return stripped.split(",")


def _file(path: Path) -> Any:
    if not path.is_file():
        raise DataError("HS-DATA-001", f"{path}: does not exist.", EXPECTED)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text)
        dialect = "excel-tab" if path.suffix.lower() == ".tsv" else "excel"
        rows = [row for row in csv.reader(text.splitlines(), dialect) if any(cell.strip() for cell in row)]
    except (ValueError, csv.Error) as error:
        raise DataError("HS-DATA-013", f"{path}: cannot be read as labels ({error}).", EXPECTED) from error
    if rows and rows[0][0].strip().lower() == "label":
        rows = rows[1:]
    meanings: dict[str, list[str]] = {}
    for row in rows:
        meanings.setdefault(row[0].strip(), []).extend(cell for cell in row[1:] if cell.strip())
    return {label: texts or None for label, texts in meanings.items()}


def _meaning(label: str, meaning: Any) -> list[Any]:
    if meaning is None or meaning == "":
        return [label]
    if isinstance(meaning, str):
        return [meaning.strip()]
    if isinstance(meaning, Sequence) and len(meaning):
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in meaning):
            return [float(each) for each in meaning]
        if all(isinstance(each, str) and each.strip() for each in meaning):
            return [each.strip() for each in meaning]
    raise UsageError(
        "HS-USAGE-001", f'the label "{label}" is described by {meaning!r}.', "Expected a text, texts, or numbers."
    )
