"""Weights of a TensorFlow checkpoint (``.index`` and ``.data-00000-of-00001``), read without TensorFlow.

The index is a table as LevelDB writes it: blocks of sorted keys, each key as what it shares with the one before, with a
footer of 48 bytes that says where the block of the blocks lies. A value is a protocol buffer (``BundleEntryProto``):
1 type, 2 shape {2 dimension {1 size}}, 3 shard, 4 offset, 5 size. The data file holds the plain numbers. Compressed
tables are refused; TensorFlow writes none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headstart.errors import SourceError

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5
"""Bytes of the table's end, and of what follows each block: its compression and a checksum."""

_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


def read(index: Path, data: Path) -> dict[str, np.ndarray]:
    """The variables by name; those of other types than float and int are left out.

    Raises SourceError HS-SOURCE-008 where a file is damaged or no checkpoint of one shard.
    """
    table, content = index.read_bytes(), memoryview(data.read_bytes())
    try:
        entries = dict(_entries(table))
        shards = _fields(entries.pop(b"", b"")).get(1, 1)
        if shards != 1:
            raise ValueError("it has several shards")
        found = {name.decode(): _variable(_fields(value), content) for name, value in entries.items()}
    except (ValueError, IndexError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise SourceError("HS-SOURCE-008", f"{index} is no TensorFlow checkpoint, or damaged ({error}).") from error
    return {name: values for name, values in found.items() if values is not None}


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values of a table."""
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("its footer is missing")
    at = len(table) - FOOTER
    for _ in range(2):  # the block of other matters, which is not read
        _, at = _varint(table, at)
    offset, at = _varint(table, at)
    size, at = _varint(table, at)
    for _, handle in _block(table, offset, size):
        start, after = _varint(handle, 0)
        yield from _block(table, start, _varint(handle, after)[0])


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block: (shared, own, value) lengths, own part of the key, value; then the restarts."""
    if offset + size + TRAILER > len(table) or size < 4:
        raise ValueError("it ends too early")
    if table[offset + size]:
        raise ValueError("it is compressed")
    restarts = struct.unpack("<I", table[offset + size - 4 : offset + size])[0]
    at, end, key = offset, offset + size - 4 - 4 * restarts, b""
    while at < end:
        shared, at = _varint(table, at)
        own, at = _varint(table, at)
        length, at = _varint(table, at)
        key = key[:shared] + table[at : at + own]
        yield key, table[at + own : at + own + length]
        at += own + length


def _variable(entry: dict[int, int | bytes], content: memoryview) -> np.ndarray | None:
    kind, shape = entry.get(1, 0), [_fields(part).get(1, 0) for part in _repeated(entry.get(2, b""), 2)]
    if kind not in _TYPES:
        return None
    offset, size = int(entry.get(4, 0)), int(entry.get(5, 0))
    if offset + size > len(content):
        raise ValueError("the data end too early")
    return np.frombuffer(content[offset : offset + size], _TYPES[int(kind)]).reshape([int(n) for n in shape])


def _fields(message: int | bytes) -> dict[int, int | bytes]:
    """The last value of each field of a protocol buffer."""
    return dict(_parsed(message))


def _repeated(message: int | bytes, number: int) -> list[int | bytes]:
    return [value for field, value in _parsed(message) if field == number]


def _parsed(message: int | bytes) -> Iterator[tuple[int, int | bytes]]:
    if not isinstance(message, bytes):
        raise ValueError("a message is missing")
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next one stands."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
