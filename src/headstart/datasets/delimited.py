"""CSV, TSV and their relatives: encoding, delimiter and types are found out; a ragged row costs only itself.

The file is read once as strings, block by block, into a scratch Arrow file; the type of a column is then decided on
all of its values, not on the first block: whole numbers, else decimal numbers, else strings. Numbers with a leading
zero (``007``) stay strings. An empty field is missing; so is ``NA``, ``N/A``, ``nan`` or ``null`` among numbers.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from headstart.datasets import encoding, store
from headstart.datasets.base import Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
DELIMITERS = (",", ";", "\t", "|")
BLOCK = 16 << 20  # bytes; a record longer than this is refused
NUMBER = r"^[+-]?(0|[1-9][0-9]*|[0-9]*\.[0-9]+|[0-9]+\.)([eE][+-]?[0-9]+)?$"
SEVERAL_LINES = " in a record of several lines"
MISSING = ("", "NA", "N/A", "na", "n/a", "NaN", "nan", "null", "NULL", "None")


def matches(path: Path) -> bool:
    """A file called ``.csv``, ``.tsv``, ``.tab`` or ``.psv``, perhaps with ``.gz`` behind it."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.is_file() and name.suffix.lower() in SUFFIXES


def parse(path: Path, options: Options) -> Parsed:
    """The rows of a delimited file; see the module. Raises DataError HS-DATA-002, -004, -005, -011, -013, -016."""
    key = store.digest("delimited", [path], [options.strings, options.for_prediction])
    table, rejects, numbers = store.keep(key, lambda rejects: _batches(path, options, rejects))
    return Parsed(table, numbers, rejects, root=path.parent)


def _batches(path: Path, options: Options, rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
    codec = encoding.detect(path)
    head = _head(path, codec)
    if not head.strip():
        raise DataError("HS-DATA-002", f"{path}: the file is empty.", "It needs a header line and rows.")
    delimiter, header = sniff(path, head, single=options.for_prediction)
    names = _names(path, header)
    with store.scratch_folder() as folder:
        store.write(folder / "strings.arrow", _strings(path, codec, delimiter, names, rejects))
        strings = store.mapped(folder / "strings.arrow")
        _refuse_swallowed_rows(path, codec, delimiter, strings, rejects)
        types = {name: column_type(strings.column(name), name in options.strings) for name in strings.column_names}
        for batch in strings.to_batches():
            yield _typed(batch, types)


def _head(path: Path, codec: str) -> str:
    with encoding.broken_gzip(path), encoding.open_bytes(path) as file:
        return codecs.getincrementaldecoder(codec)().decode(file.read(1 << 16)).replace("\ufeff", "")


def sniff(path: Path, head: str, single: bool) -> tuple[str, list[str]]:
    """The delimiter under which most of the first records have as many fields as the header, and the header.

    Raises DataError HS-DATA-005 where only one column is found, unless ``single`` allows that.
    """
    best: tuple[float, int, str, list[str]] = (0.0, 0, ",", [])
    for delimiter in DELIMITERS:
        records = _records(head, delimiter)
        if len(records) > 51:
            records = records[:51]
        elif len(records) > 2 and not head.endswith("\n"):
            records = records[:-1]
        header = records[0] if records else []
        if len(header) < 2 and best[3]:
            continue
        agree = sum(len(record) == len(header) for record in records[1:]) / max(len(records) - 1, 1)
        agree = 1.0 if len(records) == 1 else agree
        score = agree if len(header) > 1 else 0.0
        if not best[3] or (score, len(header)) > best[:2]:
            best = (score, len(header), delimiter, header)
    if len(best[3]) == 1 and not single:
        raise DataError(
            "HS-DATA-005",
            f'{path}: only one column was found ("{best[3][0][:60]}").',
            "Separate the columns by a comma, semicolon, tab or |, and check that the suffix fits the file.",
        )
    return best[2], best[3]


def _records(head: str, delimiter: str) -> list[list[str]]:
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            if record:
                records.append(record)
            if len(records) > 51:
                break
    except csv.Error:  # a field longer than the csv module allows; what came before it is enough
        pass
    return records


def _names(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() or f"column {i}" for i, name in enumerate(header, 1)]
    refuse_duplicates(path, names)
    return names


def refuse_duplicates(path: Path | str, names: list[str]) -> None:
    """Raise DataError HS-DATA-016 where a column name stands twice."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(
                "HS-DATA-016",
                f'{path}: the column name "{name}" stands twice (columns {names.index(name) + 1} and {i + 1}).',
                "Rename one of them.",
            )


def _strings(
    path: Path, codec: str, delimiter: str, names: list[str], rejects: list[Reject]
) -> Iterator[pa.RecordBatch]:
    """All records as strings, in blocks; ragged ones go to ``rejects``."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def ragged(row: Any) -> str:
        reason = f"expected {row.expected_columns} fields, found {row.actual_columns}"
        if "\n" in row.text:
            reason += SEVERAL_LINES
        rejects.append(Reject(str(path), row.number - 1 if row.number is not None else None, reason))
        return "skip"

    with encoding.broken_gzip(path), encoding.open_bytes(path) as file:
        try:
            yield from arrow_csv.open_csv(
                _Utf8(file, codec),
                # the header is skipped as a record: its names may be empty and are cleaned above
                read_options=arrow_csv.ReadOptions(
                    use_threads=False, block_size=BLOCK, column_names=names, skip_rows_after_names=1
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
                ),
            )
        except pa.ArrowInvalid as error:
            raise DataError(
                "HS-DATA-005",
                f"{path}: the table cannot be read ({str(error).splitlines()[0][:120]}).",
                "Look for a quotation mark that is never closed.",
            ) from error


def _refuse_swallowed_rows(path: Path, codec: str, delimiter: str, strings: pa.Table, rejects: list[Reject]) -> None:
    """Raise DataError HS-DATA-005 where a quotation mark that is never closed takes whole rows into one value.

    Only files with values of several lines are looked at, once more, by the strict parser of the standard library.
    """
    import pyarrow.compute as pc

    several = any(reject.reason.endswith(SEVERAL_LINES) for reject in rejects)
    if not several and not any(
        pc.any(pc.match_substring(chunk, "\n")).as_py()
        for name in strings.column_names
        for chunk in strings[name].chunks
    ):
        return
    row = 0  # the header
    limit = csv.field_size_limit(BLOCK)
    try:
        with encoding.open_text(path, codec, newline="") as text:
            for record in csv.reader(text, delimiter=delimiter, strict=True):
                row += bool(record)
    except csv.Error as error:
        raise DataError(
            "HS-DATA-005",
            f"{path}: row {row}: a quotation mark is not closed, or stands inside a value ({error}).",
            "Close it, or double it inside a quoted value.",
        ) from error
    finally:
        csv.field_size_limit(limit)


class _Utf8(io.RawIOBase):
    """A byte stream in some codec, read as UTF-8."""

    def __init__(self, file: IO[bytes], codec: str) -> None:
        self.file = file
        self.decoder = codecs.getincrementaldecoder(codec)() if codec != "utf-8" else None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At least one byte unless the stream has ended, ``size`` or a little more bytes."""
        while True:
            chunk = self.file.read(size)
            if self.decoder is None:
                return chunk
            text = self.decoder.decode(chunk, final=not chunk)
            if text or not chunk:
                return text.encode("utf-8")


def column_type(values: pa.ChunkedArray, keep: bool = False) -> pa.DataType:
    """int64 where every value present is a whole number, float64 where every one is a number, else string."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if keep or values.null_count == len(values):
        return pa.string()
    for value in values.slice(0, 200).to_pylist():
        if value is not None and value.strip() not in MISSING and not re.match(NUMBER, value.strip()):
            return pa.string()
    result, seen = pa.int64(), False
    for chunk in values.chunks:
        present = _present(chunk).drop_null()
        if not len(present):
            continue
        seen = True
        if not pc.all(pc.match_substring_regex(present, NUMBER)).as_py():
            return pa.string()
        if result == pa.int64() and pc.any(pc.match_substring_regex(present, r"[.eE]")).as_py():
            result = pa.float64()
        try:
            pc.cast(present, result)
        except pa.ArrowInvalid:  # a whole number beyond 64 bits: an identifier, to be kept to the last digit
            return pa.string()
    return result if seen else pa.string()


def _present(chunk: pa.Array) -> pa.Array:
    """The trimmed strings, with null for the words that mean missing among numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(chunk)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), trimmed)


def _typed(batch: pa.RecordBatch, types: dict[str, pa.DataType]) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        batch.column(name) if pa.types.is_string(kind) else pc.cast(_present(batch.column(name)), kind)
        for name, kind in types.items()
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(types))
