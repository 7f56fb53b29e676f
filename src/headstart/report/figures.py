"""Figures of the model that ships: where it errs, what trained and how. Each is a string of SVG made from the record.

Colours are those of `headstart.report.worth`, which draws the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from headstart.report import wording
from headstart.report.canvas import CONTROL, INK, LINE, MUTED, PAPER, TRANSFER, WIDTH, bare, draw, shorten
from headstart.types import Json, LayerRow, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 30  # a larger confusion matrix cannot be read and becomes a list of the top confusions
MOST_POINTS = 1_500
MOST_LAYERS = 40


# --- where it errs ------------------------------------------------------------------------------------------------


def confusion(record: Record) -> str | None:
    """The confusion matrix, rows normalised; beyond `MOST_CLASSES` classes the top confusions; None without one."""
    if record.confusion is None or not record.confusion["labels"]:
        return None
    labels = [shorten(label, 20) for label in record.confusion["labels"]]
    counts = np.asarray(record.confusion["counts"], dtype=float)
    return _matrix(labels, counts) if len(labels) <= MOST_CLASSES else _top_confusions(labels, counts)


def _matrix(labels: Sequence[str], counts: np.ndarray) -> str:
    from matplotlib.patches import Rectangle

    size = len(labels)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(2.6, 0.42 * size) if size <= 12 else 0.34 * size
    font = 9 if size <= 12 else 7

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, column in np.argwhere(counts > 0):
            part = float(share[row, column])
            colour = TRANSFER if row == column else CONTROL
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fc=colour, ec="none", alpha=0.08 + 0.92 * part))
            text = wording.count(counts[row, column])
            ink = PAPER if part > 0.5 else INK
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=font)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        turn = 0 if max(map(len, labels)) * size < 30 else 40 if size <= 12 else 90
        axes.set_xticks(range(size), labels, rotation=turn, rotation_mode="anchor")
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right" if turn else "center")
            tick.set_verticalalignment("center" if turn == 90 else "top")
        axes.set_yticks(range(size), labels)
        axes.tick_params(labelcolor=INK, labelsize=font, length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", linewidth=0.6)
        bare(axes)

    margin = 0.5 + 0.075 * max(len(label) for label in labels)
    return draw("confusion", f"Confusion matrix of {size} classes", max(side + margin, 3.6), side + 0.7 * margin, paint)


def _top_confusions(labels: Sequence[str], counts: np.ndarray, most: int = 15) -> str | None:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(place) // len(labels), int(place) % len(labels)) for place in order]
    pairs = [(row, column) for row, column in pairs if wrong[row, column] > 0]
    if not pairs:
        return None
    totals = counts.sum(axis=1)

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        for place, (row, column) in enumerate(pairs):
            axes.barh([place], [wrong[row, column]], color=CONTROL, height=0.62)
            part = f"{wording.count(wrong[row, column])} of {wording.count(totals[row])}"
            axes.annotate(
                part,
                (wrong[row, column], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
        axes.set_yticks(range(len(pairs)), [f"{labels[row]} → {labels[column]}" for row, column in pairs])
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.invert_yaxis()
        axes.set_xlabel("rows with this true → predicted class")
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bare(axes, "left", "top", "right")

    title = f"The most frequent confusions among {len(labels)} classes"
    return draw("confusion", title, WIDTH, 0.7 + 0.27 * len(pairs), paint)


def residuals(record: Record) -> str | None:
    """Truth against prediction, and the histogram of prediction minus truth; None where there are no numbers."""
    if record.residuals is None or not record.residuals["truth"]:
        return None
    truth = np.asarray(record.residuals["truth"], dtype=float)
    prediction = np.asarray(record.residuals["prediction"], dtype=float)
    finite = np.isfinite(truth) & np.isfinite(prediction)
    truth, prediction = truth[finite], prediction[finite]
    if not len(truth):
        return None
    step = -(-len(truth) // MOST_POINTS)

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        ends = [min(truth.min(), prediction.min()), max(truth.max(), prediction.max())]
        left.plot(ends, ends, "-", color=MUTED, lw=1, zorder=1)
        left.plot(truth[::step], prediction[::step], "o", color=TRANSFER, alpha=0.35, ms=3.4, mew=0, zorder=2)
        left.set(xlabel="truth", ylabel="prediction")
        left.grid()
        error = prediction - truth
        right.hist(error, bins=min(40, max(8, int(len(error) ** 0.5))), color=TRANSFER, alpha=0.75)
        right.axvline(0, color=MUTED, lw=1)
        right.set(xlabel="prediction − truth", ylabel="rows")
        right.grid(axis="y")

    return draw("residuals", f"Truth and prediction of {len(truth)} rows", WIDTH, 2.5, paint)


# --- training -----------------------------------------------------------------------------------------------------


def what_trained(record: Record) -> str | None:
    """Parameters of each layer from input to output, the part that trained filled; None without layers."""
    rows = [row for row in record.trained if row.parameters > 0]
    if not rows or len(rows) > MOST_LAYERS:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            axes.barh([place], [row.parameters], color=LINE, height=0.66)
            axes.barh([place], [row.parameters * row.share], color=TRANSFER, height=0.66)
            axes.annotate(
                _training(row),
                (row.parameters, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
        axes.set_yticks(range(len(rows)), [shorten(row.layer, 30) for row in rows])
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_xticks([])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.35 * max(row.parameters for row in rows))
        bare(axes)

    return draw("trained", "Parameters of each layer and the part that trained", WIDTH, 0.3 + 0.26 * len(rows), paint)


def _training(row: LayerRow) -> str:
    size = wording.large(row.parameters)
    if row.share == 0:
        return f"{size}, frozen"
    part = "" if row.share > 0.999 else f", {wording.part(row.share)} % trained"
    return f"{size}{part}" + (f", rate {row.rate:.1e}" if row.rate is not None else "")


def what_moved(record: Record) -> str | None:
    """How far the source's layers went, from input to output: change of the weights, drift of what they make of rows.

    None where neither was measured, or nothing moved. The head is left out: it is the target's own.
    """
    rows = [row for row in record.trained if row.parameters > 0 and row.layer != "head"]
    panels = [
        (label, [getattr(row, name) for row in rows], say)
        for label, name, say in (
            ("change of the weights", "change", _percent),
            ("drift of the output", "drift", _short),
        )
    ]
    panels = [(label, values, say) for label, values, say in panels if any(value for value in values)]
    if not panels or len(rows) > MOST_LAYERS:
        return None

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, values, say) in zip(grid, panels, strict=True):
            for place, value in enumerate(values):
                if value is None:
                    continue
                axes.barh([place], [value], color=TRANSFER, height=0.62)
                axes.annotate(
                    say(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
                    color=MUTED,
                )  # fmt: skip
            axes.set_xticks([])
            axes.set_xlim(0, 1.3 * max(value for value in values if value is not None))
            axes.set_title(label, loc="left", color=MUTED, fontsize=9)
            axes.axvline(0, color=LINE, lw=1)
            axes.tick_params(axis="y", labelcolor=INK, length=0)
            bare(axes)
        grid[0].set_yticks(range(len(rows)), [shorten(row.layer, 24) for row in rows])
        grid[0].set_ylim(len(rows) - 0.4, -0.6)

    return draw("moved", "How far each layer of the source moved", WIDTH, 0.5 + 0.26 * len(rows), paint)


def _percent(value: float) -> str:
    return "0" if value == 0 else f"{100 * value:.2g} %"


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}" if value >= 1e-3 else "<0.001"


def history(record: Record) -> str | None:
    """Loss and validation score over the training, one panel each; None where nothing was recorded step by step."""
    axis, series = history_series(record.history)
    metric = wording.metric_name(str(record.task.get("metric", "score")))
    if not series:
        return None
    losses = {name: values for name, values in series.items() if "loss" in name.lower()}
    others = {name: values for name, values in series.items() if name not in losses}
    panels = [(label, group) for label, group in (("loss", losses), (f"validation {metric}", others)) if group]

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, group) in zip(grid, panels, strict=True):
            for (name, (where, values)), colour, line in zip(
                group.items(), (TRANSFER, CONTROL, MUTED, INK), ("-", "--", "-.", ":"), strict=False
            ):
                mark = "o" if len(where) <= 40 else ""
                axes.plot(where, values, line, color=colour, lw=1.8, marker=mark, ms=4, label=wording.metric_name(name))
            only = next(iter(group))
            axes.set_ylabel(label if len(group) > 1 or only == "validation" else wording.metric_name(only))
            axes.grid(axis="y")
            if len(group) > 1:
                axes.legend(loc="best")
        grid[-1].set_xlabel("from the source (0) to the soup (1)" if axis == "alpha" else axis)
        if axis != "alpha" and (axis != "step" or len(record.history) < 20):
            grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw("history", "Training history", WIDTH, 0.5 + 1.5 * len(panels), paint)


def history_series(rows: Sequence[Json]) -> tuple[str, dict[str, tuple[list[float], list[float]]]]:
    """The name of the x axis and each series (x, y) of at least two numbers, at most four of a kind.

    Rows are JSON objects; ``step``, ``epoch`` or ``alpha`` (interpolation) is the axis, time and learning rates are
    left out. Where some rows have one, those without it (trials, members, what a search found) are not drawn.
    """
    axis = next((name for name in ("step", "epoch", "alpha") if any(name in row for row in rows)), "row")
    rows = [row for row in rows if axis in row or axis == "row"]
    skip = {"step", "epoch", "alpha", "row", "seconds", "rate", "lr", "learning_rate", "time", "rows"}
    series: dict[str, tuple[list[float], list[float]]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
            if number and name not in skip:
                where, values = series.setdefault(name, ([], []))
                where.append(float(row[axis]) if axis != "row" else place + 1.0)
                values.append(float(value))
    return axis, {name: pair for name, pair in series.items() if len(pair[0]) > 1}
