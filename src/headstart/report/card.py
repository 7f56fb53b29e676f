"""The model card: README.md with Hugging Face metadata, made from the record alone.

The front matter says only what is known: a base model is named where the source is a hub model, a dataset where it
came from the hub, and a pipeline tag where the hub has one for the task and the kind of input. Text from the run is
escaped for Markdown by the template environment's ``finalize``.
"""

from __future__ import annotations

import math
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.disk import replace_text
from headstart.report import html, summary, targets, wording
from headstart.types import Json, Record

if TYPE_CHECKING:
    from jinja2 import Environment

_HUB_LICENCES = (
    *("apache-2.0", "mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "zlib", "unlicense", "wtfpl", "mpl-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "openrail"),
)
_HUB_METRICS = {"accuracy": "accuracy", "r2": "r_squared", "mae": "mae", "mse": "mse", "rmse": "rmse"}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def write_card(record: Record, path: Path) -> None:
    """Write the card to ``path``, whole or not at all. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003."""
    replace_text(path, card(record))


def card(record: Record) -> str:
    """The model card: YAML front matter between ``---`` lines, then Markdown."""
    import yaml

    head = yaml.safe_dump(metadata(record), sort_keys=False, allow_unicode=True, width=1000)
    body = _environment().get_template("card.md.j2")
    return f"---\n{head}---\n\n" + body.render(
        record=record,
        shipped=wording.candidate(record, record.shipped),
        transferred=transferred(record),
        best=summary.best_control(record),
        fence=_fence(record.command),
        targets=[(view, targets.verdicts(view)) for view in targets.views(record)],
        advice=targets.together(record.affinity),
        folder=wording.one_line(record.folder or "RUN"),
        new=_new(record),
        quoted=shlex.quote(wording.one_line(record.folder or "RUN")),
        trained=sum(row.parameters * row.share for row in record.trained),
    )


def _new(record: Record) -> str:
    """What new rows of the kind of the run's are called in a command."""
    suffix = Path(str(record.data.get("path", ""))).suffix.lower()
    kinds = {column.get("kind") for column in record.data.get("columns", []) if column.get("role") == "input"}
    if not suffix and kinds & {"image", "audio"}:
        return "NEW_FOLDER"
    return f"NEW_ROWS{suffix if suffix in ('.tsv', '.jsonl', '.parquet', '.ts', '.conll') else '.csv'}"


def transferred(record: Record) -> bool:
    """Whether what ships carries the source's knowledge."""
    item = wording.candidate(record, record.shipped)
    reads = record.adaptation is not None and bool(record.source)  # of such a run the control reads the source as well
    return item is not None and (item.role == "transfer" or reads)


def metadata(record: Record) -> Json:
    """The front matter as plain values, in the hub's vocabulary."""
    found: Json = dict(_licence(record))
    found["library_name"] = "headstart"
    if tag := pipeline_tag(record):
        found["pipeline_tag"] = tag
    found["tags"] = _tags(record)
    if base := base_model(record):
        found["base_model"] = base
    if dataset := _hub_name(str(record.data.get("path", "")), {"hf:": ""}):
        found["datasets"] = [dataset]
    results = _results(record)
    found["metrics"] = list(dict.fromkeys(row["type"] for row in results)) or [_metric(_headline(record))]
    if results:
        found["model-index"] = [{"name": _plain(record.name), "results": [_result(record, results)]}]
    return found


def pipeline_tag(record: Record) -> str | None:
    """The hub's name for the task and the kind of input, or None where it has none (series, numbers from text)."""
    task, modality = str(record.task.get("name", "")), wording.modality(record)
    if "token" in task:
        return "token-classification"
    if task == "several":
        return None
    prefix = {"text": "text", "image": "image", "audio": "audio", "table": "tabular"}.get(modality)
    if prefix is None:
        return None
    if task == "regression":
        return "tabular-regression" if modality == "table" else None
    return f"{prefix}-classification"


def base_model(record: Record) -> str | None:
    """``owner/name`` on the hub of the model that what ships was made from; None for every other origin."""
    if not transferred(record):
        return None
    return _hub_name(str(record.source.get("name", "")), {"hf:": "", "timm:": "timm/"})


def _hub_name(name: str, prefixes: dict[str, str]) -> str | None:
    for prefix, owner in prefixes.items():
        if name.startswith(prefix):
            hub = owner + name.removeprefix(prefix)
            return hub if _HUB_NAME.fullmatch(hub) else None
    return None


def _licence(record: Record) -> Json:
    """The source's licence, which its descendants keep; without a source nobody but the user can choose one."""
    licence = _plain(record.source.get("licence") or "") if transferred(record) else ""
    if not licence:
        return {"license": "unknown"}
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")[:60] or "other"}


def _tags(record: Record) -> list[str]:
    tags = ["headstart"]
    if record.chosen_transfer:
        tags.append("transfer-learning")
    tags.append(str(record.task.get("name", "")).replace("_", "-"))
    tags.append(wording.modality(record))
    if record.verdict is not None:
        tags.append(f"{record.verdict.label}-transfer")
    return [tag for tag in dict.fromkeys(map(_plain, tags)) if tag]


def _headline(record: Record) -> str:
    return str(record.task.get("metric", "score"))


def _metric(name: str) -> str:
    return "f1" if "f1" in name.lower() else _HUB_METRICS.get(name.lower(), _plain(name))


def _results(record: Record) -> list[Json]:
    """The metrics of what ships on the test rows; the headline first. Empty where no test was opened."""
    shipped = wording.candidate(record, record.shipped)
    if shipped is None or shipped.test is None:
        return []
    values = {_headline(record): shipped.test} | ({} if record.targets else record.metrics)
    return [
        {"type": _metric(name), "name": wording.metric_name(_plain(name)), "value": round(value, 4)}
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def _result(record: Record, results: list[Json]) -> Json:
    where = _plain(record.data.get("path") or record.name)
    name = Path(where).name or where
    slug = re.sub(r"[^\w.-]+", "-", Path(where).stem, flags=re.ASCII).strip("-.") or "dataset"
    split = {} if record.anomalies is not None else {"split": "test"}
    return {
        "task": {"type": pipeline_tag(record) or _plain(record.task.get("name") or "other")},
        "dataset": {"type": slug, "name": name, **split},
        "metrics": results,
    }


def _plain(text: object) -> str:
    """One line of at most 200 characters."""
    return wording.one_line(text).strip()[:200]


def markdown(text: object) -> str:
    """The text on one line with every character that Markdown or HTML could read as markup escaped."""
    escaped = wording.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", escaped)


def _fence(*texts: str) -> str:
    """A run of backticks longer than any in the texts."""
    longest = max((len(run) for text in texts for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


@cache
def _environment() -> Environment:
    """The templates of HTML with Markdown's escaping: everything printed is escaped unless it is marked as safe."""
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else markdown(value)

    made = html.environment().overlay(autoescape=False, finalize=finalize)
    made.filters = {**made.filters, "raw": lambda value: Markup(wording.one_line(value))}
    return made
