"""Which characters the bytes of a text file stand for.

A byte-order mark decides; else UTF-8 if every byte fits; else charset-normalizer's best guess on the first 256 kB.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from headstart.errors import DataError, EnvironmentProblem

CHUNK = 1 << 20
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
}


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where its name ends in ``.gz``. Raises EnvironmentProblem HS-ENV-003."""
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")
    except PermissionError as error:
        raise EnvironmentProblem(
            "HS-ENV-003", f"{path}: no permission to read the file.", "Check its owner and mode."
        ) from error


def detect(path: Path) -> str:
    """The codec of a text file (``utf-8``, ``utf-8-sig``, ``utf-16``, ``cp1252``, ...).

    Raises DataError HS-DATA-004 where the bytes are no text, HS-DATA-013 for NUL bytes or a damaged gzip file,
    HS-DATA-011 where the file is of another, binary format.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8, seen, start = True, 0, b""
    with broken_gzip(path), open_bytes(path) as file:
        while chunk := file.read(CHUNK):
            if not start:
                start = chunk[: CHUNK // 4]
                for mark, name in _MARKS.items():
                    if start.startswith(mark):
                        return name
                _refuse_binary(path, start)
            if (nul := chunk.find(b"\0")) >= 0:
                raise _nul(path, start, seen + nul)
            if utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    utf8 = False
            seen += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        utf8 = False
    return "utf-8" if utf8 else _guess(path, start)


def _refuse_binary(path: Path, start: bytes) -> None:
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            raise DataError(
                "HS-DATA-011",
                f"{path} is {name}, not a text file.",
                "Give it its own suffix, or export it as CSV (UTF-8).",
            )


def _nul(path: Path, start: bytes, position: int) -> DataError:
    if start.count(b"\0") > len(start) // 4:
        return DataError(
            "HS-DATA-004",
            f"{path}: this looks like UTF-16 without a byte-order mark.",
            "Save it as UTF-8.",
        )
    line = start[:position].count(b"\n") + 1
    where = f" near line {line}" if position < len(start) else ""
    return DataError("HS-DATA-013", f"{path}: holds a NUL byte{where}, which no text file has.", "Export it again.")


def _guess(path: Path, start: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(start, threshold=0.15)
    best = matches.best()
    if best is None:
        raise DataError(
            "HS-DATA-004",
            f"{path}: cannot be decoded as text (not UTF-8, and no other encoding fits).",
            "Save it as UTF-8.",
        )
    # Windows' western codec wins a tie: few accents fit its neighbours as well, and it is by far the most common
    ties = [m for m in matches if m.chaos <= best.chaos + 0.01 and m.coherence >= best.coherence - 0.05]
    name = "cp1252" if any("cp1252" in match.could_be_from_charset for match in ties) else best.encoding
    try:
        with broken_gzip(path), open_bytes(path) as file:
            decoder = codecs.getincrementaldecoder(name)()
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            "HS-DATA-004",
            f"{path}: starts like {name}, but some bytes do not fit ({error.reason}).",
            "Save it as UTF-8.",
        ) from error
    return name


@contextmanager
def open_text(path: Path, codec: str, newline: str | None = None) -> Iterator[IO[str]]:
    """The characters of a file, line by line; only line feeds and carriage returns end a line (not U+2028)."""
    with broken_gzip(path), open_bytes(path) as file, io.TextIOWrapper(file, codec, newline=newline) as text:
        yield text


def text_of(path: Path) -> str:
    """The whole text of a small file. Raises DataError as `detect` does."""
    encoding = detect(path)
    with broken_gzip(path), open_bytes(path) as file:
        return file.read().decode(encoding)


@contextmanager
def broken_gzip(path: Path) -> Iterator[None]:
    """Turn a damaged gzip stream into DataError HS-DATA-013."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("HS-DATA-013", f"{path}: the gzip file is damaged ({error}).", "Copy it again.") from error
