"""Character spans to one tag a word (the BIO scheme).

Words are runs of letters and digits, or single signs. The first word of a span is ``B-label``, the others
``I-label``, words outside ``O``. A span must begin and end at the edge of a word, inside the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

WORD = re.compile(r"\w+|[^\w\s]")


def tokens(text: str) -> list[str]:
    """The words of a text."""
    return WORD.findall(text)


def tags(text: str, spans: Sequence[Any]) -> list[str]:
    """One BIO tag for each word of ``tokens(text)``. Raises ValueError with the reason where a span does not fit."""
    edges = [match.span() for match in WORD.finditer(text)]
    starts = {start: i for i, (start, _) in enumerate(edges)}
    ends = {end: i for i, (_, end) in enumerate(edges)}
    result = ["O"] * len(edges)
    for span in spans:
        start, end, label = _fields(span)
        where = f'span {start}-{end} "{label}"'
        if not 0 <= start < end <= len(text):
            raise ValueError(f"{where} lies outside the text of {len(text)} characters")
        if start not in starts or end not in ends:
            raise ValueError(f"{where} does not begin and end at the edge of a word")
        words = range(starts[start], ends[end] + 1)
        if any(result[word] != "O" for word in words):
            raise ValueError(f"{where} overlaps another span")
        for word in words:
            result[word] = f"I-{label}"
        result[words[0]] = f"B-{label}"
    return result


def _fields(span: Any) -> tuple[int, int, str]:
    if not isinstance(span, dict):
        raise ValueError("a span is not an object with start, end and label")
    start, end, label = span.get("start"), span.get("end"), span.get("label")
    whole = all(isinstance(edge, int) and not isinstance(edge, bool) for edge in (start, end))
    if not whole or not isinstance(label, str) or not label:
        raise ValueError("a span needs whole numbers start and end, and a label")
    return int(start), int(end), label  # type: ignore[arg-type]


def add_words(row: dict[str, Any]) -> str:
    """Put ``tokens`` (and ``tags`` where the row has ``spans``) into a row. Returns the reason if it cannot be done."""
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        return "text is empty"
    row["tokens"] = tokens(text)
    if row.get("spans") is not None:
        if not isinstance(row["spans"], list):
            return "spans is not a list"
        try:
            row["tags"] = tags(text, row["spans"])
        except ValueError as error:
            return str(error)
    return ""
