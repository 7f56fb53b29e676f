"""What a terminal shows of a run: the summary, and the learning curves drawn with characters.

    accuracy   ● probe   ○ baseline
    0.831 ┤                                                          ···●
    0.813 ┤                        ├───────────── 2.9x ─────────────────○
          │              ··●·······●······              ··········○·····
          │   ●··········               ····○···········
    0.641 ┤ ○···························
          └──────────────────────────────────────────────────────────────
            62            250      500             1 000          2 000  labels

Labels run from left to right on a log scale; the bar at the level is the head start: it begins at the labels that the
transfer needs and ends at those that the control needs. Where the terminal does not speak UTF-8 everything is ASCII.
Colour is added only on a terminal, and not where NO_COLOR is set (no-color.org).
"""

from __future__ import annotations

import os
import shutil
from typing import TextIO

import numpy as np

from headstart.report import wording
from headstart.report.summary import summary
from headstart.types import Curve, HeadStart, Record

HEIGHT, WIDEST, NARROWEST = 9, 84, 40
OVERHANG = 4  # by which the last label may stand out
FANCY = {"transfer": "●", "control": "○", "dot": "·", "axis": "│", "tick": "┤", "corner": "└", "floor": "─"} | {
    "left": "├",
    "bar": "─",
    "right": "┤",
}
PLAIN = {"transfer": "o", "control": "x", "dot": ".", "axis": "|", "tick": "+", "corner": "+", "floor": "-"} | {
    "left": "|",
    "bar": "-",
    "right": "|",
}
COLOURS = {"transfer": "\x1b[34m", "control": "\x1b[33m", "bar": "\x1b[1m"}
_ASCII = str.maketrans({"−": "-", "–": "-", "²": "2", "…": ".", "×": "x"})


def page(record: Record, stream: TextIO) -> str:
    """The summary and, where a head start was measured, its curves, in what ``stream`` can show."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    fancy = encoding.replace("-", "").startswith("utf")
    parts = [summary(record)]
    if record.head_start is not None:
        colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        metric = wording.metric_name(str(record.task.get("metric", "score")))
        columns = shutil.get_terminal_size((WIDEST, 24)).columns
        unit = wording.labels(record)
        parts.append(plot(record.head_start, metric, unit, width=columns - 1, fancy=fancy, colour=colour))
    text = "\n\n".join(parts)
    return text if fancy else text.translate(_ASCII).encode(encoding, "replace").decode(encoding)


def plot(
    start: HeadStart, metric: str, unit: str = "labels", *, width: int = WIDEST, fancy: bool = True,
    colour: bool = False,
) -> str:  # fmt: skip
    """Both curves and the head start between them, `HEIGHT` lines high. unit: what is counted. width: columns (40 at
    least, 84 at most).
    """
    marks = FANCY if fancy else PLAIN
    low, high = _range(start)
    margin = max(len(wording.score(value)) for value in (low, high, start.level)) + 3
    canvas = _Canvas(min(max(width, NARROWEST), WIDEST) - margin, start, low, high)
    canvas.bar(start, marks)
    for role, curve in (("control", start.control), ("transfer", start.transfer)):
        canvas.curve(role, curve, marks)
    ticks = {canvas.row(value): value for value in (low, high, start.level)}
    names = [f"{_paint(marks[role], role, colour)} {_name(getattr(start, role))}" for role in ("transfer", "control")]
    lines = [f"{metric}   {'   '.join(names)}"]
    for row in range(HEIGHT):
        label = wording.score(ticks[row]) if row in ticks else ""
        edge = marks["tick"] if row in ticks else marks["axis"]
        lines.append(f"{label:>{margin - 3}} {edge} {canvas.line(row, colour)}".rstrip())
    lines.append(" " * (margin - 2) + marks["corner"] + marks["floor"] * (canvas.width + 1))
    lines.append(" " * margin + canvas.labels() + f"  {unit}")
    return "\n".join(lines)


class _Canvas:
    """A grid of characters. x runs over log(labels), y from the highest score down."""

    def __init__(self, width: int, start: HeadStart, low: float, high: float) -> None:
        self.sizes = sorted({*start.transfer.sizes, *start.control.sizes})
        self.width, self.low, self.high = width - len("  labels") - OVERHANG, low, high
        self.cells = [[(" ", "")] * self.width for _ in range(HEIGHT)]

    def column(self, labels: float) -> int:
        first, last = np.log(self.sizes[0]), np.log(self.sizes[-1])
        share = (np.log(labels) - first) / (last - first) if last > first else 0.5
        return round(float(share) * (self.width - 1))

    def row(self, score: float) -> int:
        share = (self.high - score) / (self.high - self.low) if self.high > self.low else 0.5
        return round(min(max(float(share), 0.0), 1.0) * (HEIGHT - 1))

    def bar(self, start: HeadStart, marks: dict[str, str]) -> None:
        """The head start: from the labels of one curve to those of the other, at the level."""
        left, right = sorted(self.column(labels) for labels in (start.transfer_labels, start.control_labels))
        if right - left < 2:
            return
        sign = {"exact": "", "more than": ">", "less than": "<"}[start.bound]
        text = f" {sign}{wording.times(start.multiplier)} "
        line = list(marks["left"] + marks["bar"] * (right - left - 1) + marks["right"])
        middle = (right - left + 1 - len(text)) // 2
        taken = self._points(self.row(start.level), start.transfer, start.control)
        free = [at for at in range(2, 2 * middle - 1) if not taken & set(range(left + at, left + at + len(text)))]
        if middle >= 2:
            at = min(free or [middle], key=lambda place: abs(place - middle))
            line[at : at + len(text)] = text
        for offset, mark in enumerate(line):
            self.cells[self.row(start.level)][left + offset] = (mark, "bar")

    def _points(self, row: int, *curves: Curve) -> set[int]:
        """The columns where a point of these curves will stand in the row."""
        return {
            self.column(size)
            for curve in curves
            for size, scores in zip(curve.sizes, curve.scores, strict=True)
            if self.row(float(np.mean(scores))) == row
        }

    def curve(self, role: str, curve: Curve, marks: dict[str, str]) -> None:
        """The fit as dots where nothing stands yet, and the mean score of every size."""
        columns = [self.column(size) for size in curve.sizes]
        for column in range(columns[0], columns[-1] + 1):
            row = self.row(float(np.interp(column, columns, curve.fitted)))
            if self.cells[row][column][0] == " " and self.cells[row][column][1] == "":
                self.cells[row][column] = (marks["dot"], role)
        for column, scores in zip(columns, curve.scores, strict=True):
            self.cells[self.row(float(np.mean(scores)))][column] = (marks[role], role)

    def line(self, row: int, colour: bool) -> str:
        return "".join(_paint(mark, role, colour) for mark, role in self.cells[row])

    def labels(self) -> str:
        """The sizes under the axis, those that would touch left out; the last is always there."""
        text, free = [" "] * (self.width + OVERHANG), self.width + OVERHANG
        for size in reversed(self.sizes):
            word = wording.count(size)
            at = min(max(self.column(size) - len(word) // 2, 0), len(text) - len(word))
            if at + len(word) + 1 <= free:
                text[at : at + len(word)] = word
                free = at
        return "".join(text).rstrip()


def _range(start: HeadStart) -> tuple[float, float]:
    means = [float(np.mean(scores)) for curve in (start.transfer, start.control) for scores in curve.scores]
    return min(means), max(means)


def _name(curve: Curve) -> str:
    name = wording.one_line(curve.name)
    return name if len(name) <= 36 else name[:35] + "~"


def _paint(text: str, role: str, colour: bool) -> str:
    return f"{COLOURS[role]}{text}\x1b[0m" if colour and role in COLOURS and text != " " else text
