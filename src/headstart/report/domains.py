"""What is said of a run for another domain: how far it is, which shifts explain it, what it was worth; a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.report import wording
from headstart.report.canvas import CONTROL, TRANSFER, WIDTH, bare, draw
from headstart.types import Json, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFTS = {
    "none": "no shift",
    "label": "classes with other shares",
    "linear": "a linear map",
    "subspace": "components that both share",
    "covariate": "rows with other weights",
}


def lines(record: Record) -> list[tuple[str, str]]:
    """The lines of the summary as (label, text); none for another run."""
    found = record.adaptation
    if found is None:
        return []
    told = [("domains", f"{sizes(found)}; {apart(found)}")]
    if record.chosen_transfer and record.shipped != record.chosen_transfer:
        told.append(("ships", record.shipped_because))
    if found["explanations"] or found.get("compared"):
        told.append(("shift" if found["explanations"] else "choice", record.shipped_because))
    if record.verdict is None:
        told.append(("score", unscored(record)))
    if found.get("oracle") is not None:
        told.append(("oracle", oracle(record)))
    if found.get("several"):
        told.append(("left out", several(record)))
    return told


def sizes(found: Json) -> str:
    """How many rows there were, or the run that stood for labelled ones."""
    target = wording.count(found["rows"]["target"])
    if run := found.get("run"):
        return f"the model of {run['folder']} ({run['method']}), {target} rows to adapt to"
    few = found["rows"].get("few")
    own = f" ({wording.count(few)} of the target domain)" if few else ""
    return f"{wording.count(found['rows']['labelled'])} labelled rows{own}, {target} to adapt to"


def apart(found: Json) -> str:
    """How far apart the domains are, in a sentence."""
    far = found.get("distances")
    if found.get("run"):
        return "no row that it was fitted on was read"
    if not far:
        return "their distance was not measured"
    distance = far["a_distance"]
    how = "hardly apart" if distance < 0.2 else "apart" if distance < 1.2 else "far apart"
    p = "under 0.005" if far["p"] < 0.005 else f"{far['p']:.3f}"
    return f"{how}: A-distance {distance:.2f} of 2, p of one distribution {p}"


def unscored(record: Record) -> str:
    """Why there is no verdict."""
    if record.metrics:
        return "there is nothing to compare it with"
    return (
        f"the target domain has no labels, so there is no score; headstart evaluate {record.folder or 'RUN'} LABELLED"
    )


def oracle(record: Record) -> str:
    """The oracle gap in a sentence."""
    assert record.adaptation is not None
    best = record.adaptation["oracle"]
    metric = str(record.task["metric"])
    found = record.metrics.get(metric, float("nan"))
    gap = wording.points(best - found)
    return f"a head that knows the labels of the target domain: {wording.score(best)} ({gap} points more)"


def several(record: Record) -> str:
    """Each labelled domain as the target of the others."""
    assert record.adaptation is not None
    found = record.adaptation["several"]
    names = [name for name in found[0] if name not in ("domain", "rows")]
    return "; ".join(
        f"{each['domain']} " + ", ".join(f"{name} {wording.score(each[name])}" for name in names) for each in found
    )


def explanations(record: Record) -> list[Json]:
    """Rows of the report's table: the shift in words, its method, how well its rows are still told apart, its risk."""
    if record.adaptation is None:
        return []
    chosen = record.adaptation["chosen"]
    return [
        {**each, "words": SHIFTS.get(each["shift"], each["shift"]), "chosen": each["shift"] == chosen}
        for each in record.adaptation["explanations"]
    ]


def compared(record: Record) -> list[Json]:
    """Rows of the report's table of networks: the method, what speaks for it without target labels, what against it."""
    found = record.adaptation or {}
    chosen = found.get("chosen")
    return [{**each, "chosen": each["method"] == chosen} for each in found.get("compared", [])]


def planes(record: Record) -> str | None:
    """Both domains in two principal components, before and after; None where there is no picture."""
    found = (record.adaptation or {}).get("picture")
    if not found:
        return None

    def paint(figure: Figure) -> None:
        for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, 2)), found.items()):
            _scatter(axes, title, points)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)

    return draw("domains", "Labelled and target rows in two principal components, before and after", WIDTH, 2.9, paint)


def _scatter(axes: Any, title: str, points: Json) -> None:
    for name, label, colour, mark in (
        ("labelled", "labelled rows", CONTROL, "o"),
        ("target", "target rows", TRANSFER, "^"),
    ):
        drawn = np.asarray(points[name], dtype=float).reshape(-1, 2)
        axes.plot(drawn[:, 0], drawn[:, 1], mark, color=colour, alpha=0.5, ms=3.4, mew=0, label=label)
    axes.set(xticks=[], yticks=[], title=title)
    bare(axes)
    axes.set_box_aspect(1)
