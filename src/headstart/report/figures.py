"""The figures of the report, each a string of SVG made from the record alone.

Blue is the transfer and orange the control everywhere; the shipped candidate has a filled mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.report import wording
from headstart.report.canvas import CONTROL, INK, LINE, MUTED, PAPER, TONES, TRANSFER, bare, draw, shorten
from headstart.report.summary import score_label, shown_score
from headstart.types import Curve, HeadStart, Json, LayerRow, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.0  # inches; the page scales the figure to its column
MOST_CLASSES = 30  # a larger confusion matrix cannot be read and becomes a list of the top confusions
MOST_POINTS = 1_500
MOST_LAYERS = 40


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
        _label_axis(axes, start)
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
        xytext=(-5, 9) if above else (6, -9),
        textcoords="offset points",
        ha="right" if above else "left",
        va="bottom" if above else "top",
        color=colour,
        fontweight="bold",
        zorder=7,
    )


def _label_axis(axes: Axes, start: HeadStart) -> None:
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
    axes.set_xlabel("labels (log scale)")


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
        panels[0].set_xlabel(f"{score_label(record).replace('cross-val.', 'cross-validated')} {metric}")
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
    part = "" if row.share > 0.999 else f", {100 * row.share:.0f} % trained"
    return f"{size}{part}" + (f", rate {row.rate:.1e}" if row.rate is not None else "")


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
        grid[-1].set_xlabel(axis)
        if axis != "step" or len(record.history) < 20:
            grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw("history", "Training history", WIDTH, 0.5 + 1.5 * len(panels), paint)


def history_series(rows: Sequence[Json]) -> tuple[str, dict[str, tuple[list[float], list[float]]]]:
    """The name of the x axis and each series (x, y) of at least two numbers, at most four of a kind.

    Rows are JSON objects; ``step`` or ``epoch`` is the axis, time and learning rates are left out.
    """
    axis = next((name for name in ("step", "epoch") if rows and all(name in row for row in rows)), "row")
    skip = {"step", "epoch", "row", "seconds", "rate", "lr", "learning_rate", "time", "rows"}
    series: dict[str, tuple[list[float], list[float]]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
            if number and name not in skip:
                where, values = series.setdefault(name, ([], []))
                where.append(float(row[axis]) if axis != "row" else place + 1.0)
                values.append(float(value))
    return axis, {name: pair for name, pair in series.items() if len(pair[0]) > 1}
