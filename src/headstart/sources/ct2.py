"""Weights of a CTranslate2 model (``model.bin``), read without that package.

Little-endian: version (u32), name of the specification (u16 length, bytes), its revision (u32), number of variables
(u32); of each its name, rank (u8), dimensions (u32 each), type (u8), size in bytes (u32) and data; then the number of
aliases (u32) and pairs of names, of which the second is the variable that the first stands for.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import SourceError

VERSION = 6
_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
_BF16 = 5


def read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The specification's name and the variables by name, bfloat16 as float32.

    Raises SourceError HS-SOURCE-008 where the file is damaged or of another version.
    """
    content = memoryview(path.read_bytes())
    try:
        return _Reader(content).model()
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise SourceError("HS-SOURCE-008", f"{path} is no CTranslate2 model, or damaged ({error}).") from error


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self.content, self.at = content, 0

    def model(self) -> tuple[str, dict[str, np.ndarray]]:
        """All of it; nothing may be left over."""
        version = self.number("I")
        if version != VERSION:
            raise ValueError(f"version {version}; expected {VERSION}")
        name, _ = self.text(), self.number("I")
        variables = dict(self.variable() for _ in range(self.number("I")))
        for _ in range(self.number("I")):
            alias, meant = self.text(), self.text()
            variables[alias] = variables[meant]
        if self.at != len(self.content):
            raise ValueError(f"{len(self.content) - self.at} bytes too many")
        return name, variables

    def variable(self) -> tuple[str, np.ndarray]:
        """A name and its values."""
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        values = np.frombuffer(self.taken(size), _TYPES[kind]).reshape(shape)
        if kind == _BF16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return name, values

    def text(self) -> str:
        """A name, which ends in a zero byte."""
        return bytes(self.taken(self.number("H"))).rstrip(b"\0").decode()

    def number(self, kind: str) -> int:
        """One unsigned number: B, H or I."""
        value: Any = struct.unpack(f"<{kind}", self.taken(struct.calcsize(kind)))[0]
        return int(value)

    def taken(self, size: int) -> memoryview:
        """The next bytes."""
        if self.at + size > len(self.content):
            raise ValueError("it ends too early")
        self.at += size
        return self.content[self.at - size : self.at]
