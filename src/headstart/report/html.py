"""The report: one HTML file that needs no network, made from the record alone.

Everything in a record is untrusted text (file names, labels, rows). Jinja2 escapes it, the page has no script, and its
content security policy forbids every request. The figures are the only markup that goes in as it is; `canvas` builds
it as XML, so text in them is escaped there.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.disk import replace_text
from headstart.report import anomalies, domains, forecasts, labelling, summary, targets, wording
from headstart.types import Json, Record

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_REJECTS = 100
MOST_CLASSES = 60
_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}")

_MEANING = {
    "positive": "What the source knew helped: the whole interval of the difference lies above zero.",
    "neutral": "The interval of the difference holds zero: these rows do not show that the source helped or harmed.",
    "negative": "What the source knew harmed: the whole interval of the difference lies below zero.",
}


_POOLED = {
    "positive": "The source helped more than the rows that it learned from: the whole interval lies above zero.",
    "neutral": "The interval holds zero: these rows do not tell the source from the rows that it learned from.",
    "negative": "The source helped less than the rows that it learned from: the whole interval lies below zero.",
}

_ADAPTED = {
    "positive": "Adapting to the target domain helped: the whole interval of the difference lies above zero.",
    "neutral": "The interval of the difference holds zero: these rows do not show that adapting helped or harmed.",
    "negative": "Adapting to the target domain harmed: the whole interval of the difference lies below zero.",
}


def render(record: Record) -> str:
    """The report as one self-contained HTML page."""
    from markupsafe import Markup

    from headstart.report import figures, worth

    drawn = {
        "curves": worth.learning_curves(record),
        "verdict": worth.verdict_plot(record),
        "confusion": figures.confusion(record),
        "residuals": figures.residuals(record),
        "trained": figures.what_trained(record),
        "moved": figures.what_moved(record),
        "history": figures.history(record),
        "domains": domains.planes(record),
        "forecasts": forecasts.panels(record),
    }
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            figures={name: Markup(svg or "") for name, svg in drawn.items()},
            candidates=_candidates(record),
            shipped=wording.candidate(record, record.shipped),
            meaning=_meaning(record),
            multiplier=worth.multiplier(record.head_start) if record.head_start else "",
            most_rejects=MOST_REJECTS,
            most_classes=MOST_CLASSES,
            splits=_splits(record),
            targets=_targets(record),
            explanations=domains.explanations(record),
            compared=domains.compared(record),
            affinity=targets.affinity_rows(record.affinity) if record.affinity else [],
            measured=any(row.change is not None or row.drift is not None for row in record.trained),
        )
    )


def _targets(record: Record) -> list[Json]:
    """What the report shows of each of several targets."""
    from markupsafe import Markup

    from headstart.report import figures, worth
    from headstart.report.canvas import prefixed

    found = []
    for place, view in enumerate(targets.views(record)):
        drawn = {
            "verdict": worth.verdict_plot(view),
            "confusion": figures.confusion(view),
            "residuals": figures.residuals(view),
        }
        shown = {name: Markup(prefixed(svg or "", f"target{place}-")) for name, svg in drawn.items()}
        found.append({"view": view, "figures": shown, "verdicts": targets.verdicts(view)})
    return found


def write(record: Record, path: Path) -> None:
    """Write the report to ``path``, whole or not at all. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003."""
    replace_text(path, render(record))


@cache
def environment() -> Environment:
    """The templates' environment: escaping on; a JSON field that is not there reads as empty."""
    from jinja2 import Environment, PackageLoader

    made = Environment(
        loader=PackageLoader("headstart.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        wording.metric_name,
        wording.rows,
        wording.labels,
        wording.lacking,
        wording.score,
        wording.points,
        wording.times,
        wording.count,
        wording.large,
        wording.duration,
        wording.plain,
        wording.sentence,
        wording.ends,
        anomalies.share,
        anomalies.span,
        anomalies.unmeasured,
        summary.rejected_rows,
        summary.score_label,
        summary.scored,
        summary.shown_score,
        summary.comparisons,
        summary.shipped_title,
        summary.verdict,
        summary.head_start,
        summary.matched,
        picture,
        together,
        labelling.shares,
        labelling.sure,
        labelling.unknown,
        labelling.advice,
        domains.apart,
        domains.unscored,
        domains.oracle,
        domains.several,
        domains.sizes,
    ):
        made.filters[function.__name__] = function
    return made


def _meaning(record: Record) -> dict[str, str]:
    """What each verdict means, by what was compared."""
    if record.adaptation is not None:
        return _ADAPTED
    return _POOLED if record.verdict is not None and record.verdict.control == wording.POOLED else _MEANING


def together(record: Record) -> str:
    """Which of several targets to train together."""
    return targets.together(record.affinity)


def picture(uri: str | None) -> str:
    """The data URI of a PNG, JPEG or WebP thumbnail as it is; empty text for anything else."""
    return uri if uri and _PICTURE.fullmatch(uri) else ""


def _candidates(record: Record) -> list[Json]:
    """Rows of the candidates' table, best first, with the marks that the template shows."""
    best = summary.best_control(record)

    def order(item: Any) -> float:
        value = summary.shown_score(record, item)
        return -value if value is not None else 1e9

    return [
        {
            "item": item,
            "ships": item.name == record.shipped,
            "chosen": item.name == record.chosen_transfer,
            "best": item is best,
        }
        for item in sorted(record.candidates, key=order)
    ]


def _splits(record: Record) -> list[Json]:
    """The splits that hold rows, with their share of all of them."""
    sizes = {name: rows for name, rows in record.data.get("splits", {}).items() if isinstance(rows, int) and rows > 0}
    total = sum(sizes.values())
    return [{"name": name, "rows": rows, "share": rows / total} for name, rows in sizes.items()]
