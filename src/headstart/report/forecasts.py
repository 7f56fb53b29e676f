"""Forecasts drawn: the end of a history, what followed, the median and the middle 80 % of what ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart.report.canvas import CONTROL, INK, MUTED, TRANSFER, draw, shorten
from headstart.types import Json, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2


def panels(record: Record) -> str | None:
    """A panel for each forecast of the record; None where there are none."""
    shown = record.forecasts or []
    if not shown:
        return None
    lines = -(-len(shown) // COLUMNS)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
        for place, each in zip(axes, shown, strict=False):
            _panel(place, each)
        for place in axes[len(shown) :]:
            place.set_visible(False)

    return draw("forecasts", f"Forecasts of {len(shown)} test windows", 8.0, 1.9 * lines, paint)


def _panel(axes: Axes, each: Json) -> None:
    from matplotlib.ticker import MaxNLocator

    history, truth = (np.array([np.nan if value is None else value for value in each[key]], float)
                      for key in ("history", "truth"))  # fmt: skip
    before, ahead = np.arange(1 - len(history), 1), np.arange(1, len(truth) + 1)
    axes.plot(before, history, "-", color=MUTED, lw=1)
    axes.fill_between(ahead, each["low"], each["high"], color=TRANSFER, alpha=0.2, lw=0)
    axes.plot(ahead, each["median"], "-", color=TRANSFER, lw=1.6)
    axes.plot(np.r_[0, ahead], np.r_[history[-1:], truth], "-", color=CONTROL, lw=1.1)
    title = f"{each['series']}, from {each['first']}" if each["series"] else f"from {each['first']}"
    axes.set_title(shorten(title, 40), loc="left", color=INK, fontsize=9)
    axes.text(0.99, 1.02, f"MASE {each['mase']:.2f}", transform=axes.transAxes, ha="right", fontsize=8, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
