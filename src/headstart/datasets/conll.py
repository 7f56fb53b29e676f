"""CoNLL files: one word a line, the tag in the last column, a blank line between sentences.

The word stands in the first column; ``-DOCSTART-`` lines and comments (``# ...``) are passed over. Every line of the
file has as many columns as its first; a sentence with a line that has not is rejected. One column alone is words
without tags, for prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.datasets import encoding, store
from headstart.datasets.base import Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".conll", ".conll2002", ".conll2003", ".conllu", ".bio", ".iob", ".iob2")
ROWS = 4096


def matches(path: Path) -> bool:
    """A file called ``.conll``, ``.bio``, ``.iob`` or the like, perhaps with ``.gz`` behind it."""
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def parse(path: Path, options: Options) -> Parsed:
    """The sentences of a CoNLL file: ``tokens`` and ``tags``. Raises DataError HS-DATA-002, -004, -005, -013."""
    key = store.digest("conll", [path], [options.for_prediction])
    table, rejects, numbers = store.keep(key, lambda rejects: _batches(path, options, rejects))
    target = "tags" if "tags" in table.column_names else None
    return Parsed(table, numbers, rejects, target=target, inputs=("tokens",), kinds={"tokens": "tokens"})


def _batches(path: Path, options: Options, rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
    codec = encoding.detect(path)
    width = 0
    rows: list[list[list[str]]] = []
    for number, (line, sentence) in enumerate(_sentences(path, codec), 1):
        if not width:
            width = len(sentence[0])
            if width < 2 and not options.for_prediction:
                raise DataError(
                    "HS-DATA-005",
                    f"{path}: line {line} has one column; expected a word first and its tag last.",
                    "Separate them by a space or a tab.",
                )
        wrong = next((i for i, fields in enumerate(sentence) if len(fields) != width), None)
        if wrong is not None:
            reason = f"line {line + wrong}: expected {width} columns, found {len(sentence[wrong])}"
            rejects.append(Reject(str(path), number, reason))
            continue
        rows.append(sentence)
        if len(rows) == ROWS:
            yield _batch(rows, width)
            rows = []
    if not width:
        raise DataError("HS-DATA-002", f"{path}: the file holds no sentences.", "It needs one word and its tag a line.")
    if rows:
        yield _batch(rows, width)


def _sentences(path: Path, codec: str) -> Iterator[tuple[int, list[list[str]]]]:
    """Each sentence with the number of its first line; lines split into columns."""
    sentence: list[list[str]] = []
    first = 0
    with encoding.open_text(path, codec) as text:
        for number, line in enumerate(text, 1):
            fields = line.split("\t") if "\t" in line.strip() else line.split()
            fields = [field.strip() for field in fields]
            if not any(fields) or fields[0] == "-DOCSTART-":
                if sentence:
                    yield first, sentence
                sentence = []
            elif not (not sentence and line.startswith("# ")):
                first = first if sentence else number
                sentence.append([field for field in fields if field] if "\t" not in line else fields)
    if sentence:
        yield first, sentence


def _batch(rows: list[list[list[str]]], width: int) -> pa.RecordBatch:
    import pyarrow as pa

    words = pa.array([[fields[0] for fields in sentence] for sentence in rows], pa.list_(pa.string()))
    if width < 2:
        return pa.RecordBatch.from_arrays([words], names=["tokens"])
    tags = pa.array([[fields[-1] for fields in sentence] for sentence in rows], pa.list_(pa.string()))
    return pa.RecordBatch.from_arrays([words, tags], names=["tokens", "tags"])
