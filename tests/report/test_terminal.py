"""The learning curves in a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest

from headstart.report.terminal import HEIGHT, page, plot
from tests.report.records import no_control, positive, ratings_head_start, reviews_head_start

ANSI = re.compile("\x1b\\[[0-9;]*m")


class Terminal(io.TextIOWrapper):
    """A stream with an encoding that says whether it is a terminal."""

    def __init__(self, encoding: str, tty: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


def test_the_bar_runs_from_the_transfers_labels_to_the_controls_at_the_level() -> None:
    start = reviews_head_start()
    lines = plot(start, "accuracy", width=84).splitlines()
    assert lines[0] == "accuracy   ● finetune   ○ baseline" and len(lines) == HEIGHT + 3
    (bar,) = [line for line in lines if "21x" in line]
    assert bar.startswith(f"{start.level:.3f} ┤")
    sizes, rule = lines[-1], lines[-2]
    left, right = bar.index("├"), len(bar) - 1
    assert bar[right] == "○", "the control reaches the level with all labels"
    first, last = 8, len(rule) - 1
    share = 1.0 - (right - left) / (last - first)
    assert 32 * (1600 / 32) ** share == pytest.approx(start.transfer_labels, rel=0.1)
    assert sizes.split()[0] == "32" and sizes.endswith("1 600  labels")


def test_no_point_stands_on_the_multiplier() -> None:
    start = reviews_head_start()
    sizes = np.geomspace(start.control.sizes[0], start.control.sizes[-1], 12).round().astype(int).tolist()
    for moved in range(1, 11):  # a point of the control lies at the level, everywhere along the bar
        scores = [[start.level - 0.1]] * 11 + [[start.level]]
        scores[moved] = [start.level]
        control = replace(start.control, sizes=sizes, scores=scores, fitted=[each[0] for each in scores])
        assert " 21x " in plot(replace(start, control=control), "accuracy", width=84)


def test_every_size_of_both_curves_is_marked() -> None:
    start = reviews_head_start()
    body = "".join(plot(start, "accuracy", width=84).splitlines()[1:])
    assert body.count("●") == len(start.transfer.sizes) and body.count("○") == len(start.control.sizes)


@pytest.mark.parametrize("width", [1, 40, 60, 84, 500])
def test_no_line_is_wider_than_asked(width: int) -> None:
    for start in (reviews_head_start(), ratings_head_start()):
        longest = max(len(line) for line in plot(start, "R²", width=width, fancy=False).splitlines()[1:])
        assert longest <= max(40, min(width, 84))


def test_a_terminal_without_utf8_gets_ascii() -> None:
    text = page(positive(), Terminal("ascii", tty=True))
    assert text.isascii() and " o finetune" in ANSI.sub("", text)
    assert page(positive(), Terminal("latin-1", tty=False)).encode("latin-1")
    assert "●" in page(positive(), Terminal("utf-8", tty=False))


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured = page(positive(), Terminal("utf-8", tty=True))
    plain = page(positive(), Terminal("utf-8", tty=False))
    assert ANSI.search(coloured) and not ANSI.search(plain)
    assert ANSI.sub("", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert page(positive(), Terminal("utf-8", tty=True)) == plain


def test_without_a_head_start_there_is_only_the_summary() -> None:
    record = no_control()
    assert "labels" not in page(record, Terminal("utf-8", tty=False)).splitlines()[-1]


def test_a_flat_pair_and_a_single_size_are_drawn() -> None:
    start = reviews_head_start()
    flat = {"sizes": [16], "scores": [[0.5]], "fitted": [0.5]}
    single = replace(
        start, transfer=replace(start.transfer, **flat), control=replace(start.control, **flat), level=0.5,
        transfer_labels=16.0, control_labels=16.0, multiplier=1.0,
    )  # fmt: skip
    lines = plot(single, "accuracy").splitlines()
    assert len(lines) == HEIGHT + 3 and lines[-1].split() == ["16", "labels"]


def test_no_name_of_a_curve_can_steer_the_terminal() -> None:
    start = reviews_head_start()
    nasty = replace(start, transfer=replace(start.transfer, name="\x1b[2J\x07evil\nname" + "x" * 80))
    assert "\x1b" not in plot(nasty, "accuracy") and len(plot(nasty, "accuracy").splitlines()) == HEIGHT + 3
