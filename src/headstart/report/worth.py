"""Figures of what the source was worth: both learning curves with the head start between them, scores and verdict.

Each is a string of SVG made from the record alone. Blue is the transfer and orange the control everywhere; the shipped
candidate has a filled mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.report import wording
from headstart.report.canvas import CONTROL, INK, MUTED, PAPER, TONES, TRANSFER, WIDTH, bare, draw, shorten
from headstart.report.summary import scored, shown_score
from headstart.types import Curve, HeadStart, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# --- learning curves ----------------------------------------------------------------------------------------------


def learning_curves(record: Record) -> str | None:
    """Both learning curves over log-labels, with the head start as an arrow between them; None without one."""
    start = record.head_start
    if start is None:
        return None
    metric = wording.metric_name(str(record.task.get("metric", "score")))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        above = float(np.mean(start.transfer.fitted)) >= float(np.mean(start.control.fitted))
        _curve(axes, start.control, CONTROL, "s", not above)
        _curve(axes, start.transfer, TRANSFER, "o", above)
        _label_axis(axes, start, wording.labels(record))
        axes.set_ylabel(metric)
        axes.grid(axis="y")
        axes.margins(x=0.06, y=0.14)
        _arrow(axes, start)

    title = f"Learning curves of {start.transfer.name} and {start.control.name}, head start {multiplier(start)}"
    return draw("curves", title, WIDTH, 3.5, paint)


def multiplier(start: HeadStart) -> str:
    """``9.6x``, ``>31x`` or ``<0.5x``."""
    return {"exact": "", "more than": ">", "less than": "<"}[start.bound] + wording.times(start.multiplier)


def _curve(axes: Axes, curve: Curve, colour: str, mark: str, above: bool) -> None:
    for size, scores in zip(curve.sizes, curve.scores, strict=True):
        axes.plot([size] * len(scores), scores, mark, color=colour, alpha=0.45, ms=4.2, mew=0, zorder=3)
    axes.plot(curve.sizes, curve.fitted, "-", color=colour, lw=2, zorder=4)
    middle = int(0.65 * (len(curve.sizes) - 1))
    axes.annotate(
        shorten(curve.name, 28),
        (curve.sizes[middle], curve.fitted[middle]),
        xytext=(-5 if above and middle else 6, 9 if above else -9),
        textcoords="offset points",
        ha="right" if above and middle else "left",
        va="bottom" if above else "top",
        color=colour,
        fontweight="bold",
        zorder=7,
    )


def _label_axis(axes: Axes, start: HeadStart, unit: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    sizes = sorted({*start.transfer.sizes, *start.control.sizes})
    ticks = [sizes[0]]
    for size in sizes[1:]:
        if size / ticks[-1] > 1.6:
            ticks.append(size)
    axes.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: wording.count(value)))
    axes.set_xlabel(f"{unit} (log scale)")


def _arrow(axes: Axes, start: HeadStart) -> None:
    ends = (start.transfer_labels, start.control_labels)
    low, high = axes.get_ylim()
    for labels, colour in zip(ends, (TRANSFER, CONTROL), strict=True):
        axes.plot([labels, labels], [low, start.level], ":", color=colour, lw=1, zorder=2)
    axes.set_ylim(low, high)
    if ends[0] != ends[1]:
        style = {"arrowstyle": "-|>", "color": INK, "lw": 1.6, "shrinkA": 4, "shrinkB": 4, "mutation_scale": 12}
        axes.annotate("", (ends[1], start.level), (ends[0], start.level), arrowprops=style, zorder=5)
    for labels, colour, mark in ((ends[0], TRANSFER, "o"), (ends[1], CONTROL, "s")):
        hollow = start.bound == "more than" and mark == "s"
        fill = PAPER if hollow else colour
        axes.plot([labels], [start.level], mark, color=fill, mec=colour, mew=1.6, ms=7, zorder=6)
    _name_arrow(axes, start)
    outward = max(ends) < 2.2 * min(ends)  # too near to stand between the two dotted lines
    for labels, colour in zip(ends, (TRANSFER, CONTROL), strict=True):
        right = (labels == min(ends)) != outward
        axes.annotate(
            wording.count(labels),
            (labels, low),
            xytext=(4 if right else -4, 4),
            textcoords="offset points",
            ha="left" if right else "right",
            color=colour,
            fontsize=9,
            fontweight="bold",
            zorder=7,
        )


def _name_arrow(axes: Axes, start: HeadStart) -> None:
    """Write the multiplier on the side of the arrow where the nearer curve leaves more room."""
    middle = (start.transfer_labels * start.control_labels) ** 0.5
    curves = (start.transfer, start.control)
    values = [float(np.interp(np.log(middle), np.log(curve.sizes), curve.fitted)) for curve in curves]
    above = max(values) - start.level >= start.level - min(values)
    axes.annotate(
        multiplier(start),
        (middle, start.level),
        xytext=(0, 6 if above else -6),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=14,
        fontweight="bold",
        color=INK,
        bbox={"boxstyle": "square,pad=0.1", "fc": PAPER, "ec": "none", "alpha": 0.8},
        zorder=4.5,
    )


# --- verdict ------------------------------------------------------------------------------------------------------


def verdict_plot(record: Record) -> str | None:
    """Each candidate's score above, the difference with its interval against zero below; None without scores."""
    shown = [(item, shown_score(record, item)) for item in record.candidates]
    known = [(item, value) for item, value in shown if value is not None]
    if not known:
        return None
    known.sort(key=lambda pair: pair[1])
    verdict = record.verdict
    metric = wording.metric_name(str(record.task.get("metric", "score")))
    height = 0.75 + 0.36 * len(known) + (1.1 if verdict else 0.0)

    def paint(figure: Figure) -> None:
        ratios = [0.36 * len(known) + 0.4, 0.6] if verdict else [1.0]
        panels = figure.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
        _scores(panels[0], known, record.shipped)
        panels[0].set_xlabel(scored(record))
        if verdict is not None:
            _difference(panels[1], record)

    return draw("verdict", f"Scores of the candidates and the verdict's interval ({metric})", WIDTH, height, paint)


def _scores(axes: Axes, known: Sequence[tuple[Any, float]], shipped: str) -> None:
    for place, (item, value) in enumerate(known):
        colour, mark = (TRANSFER, "o") if item.role == "transfer" else (CONTROL, "s")
        fill = colour if item.name == shipped else PAPER
        axes.plot([value], [place], mark, color=fill, mec=colour, mew=1.6, ms=8, zorder=3)
        axes.annotate(
            wording.score(value), (value, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(range(len(known)), [shorten(item.name, 24) for item, _ in known])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.margins(x=0.14)
    axes.grid(axis="x")
    bare(axes, "left", "top", "right")


def _difference(axes: Axes, record: Record) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if record.verdict is None:
        return
    value, colour = record.verdict.difference, TONES[record.verdict.label]
    axes.axvline(0, color=MUTED, lw=1, zorder=1)
    axes.plot([100 * value.low, 100 * value.high], [0, 0], color=colour, lw=3, solid_capstyle="round", zorder=3)
    axes.plot([100 * value.value], [0], "D", color=colour, ms=7, zorder=4)
    edges = [0.0, 100 * value.low, 100 * value.high]
    room = 0.15 * (max(edges) - min(edges) or 1.0)
    axes.set_xlim(min(edges) - room, max(edges) + room)
    axes.set_ylim(-1, 1)
    axes.set_yticks([0], ["difference"])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:+g}".replace("-", "−") if tick else "0"))
    axes.set_xlabel(f"transfer minus {shorten(record.verdict.control, 24)}, points, 95 % interval")
    axes.grid(axis="x")
    bare(axes, "left", "top", "right")
