"""The plan of a fit: which methods are tried within which budget, and what ``--dry-run`` shows of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.errors import MethodError, UsageError
from headstart.evidence.separately import separately
from headstart.methods.auto import Auto
from headstart.methods.base import Method, Need, Problem, make
from headstart.report.layers import LayerTable
from headstart.sources.base import Source
from headstart.sources.schema_matching import TOLD
from headstart.tasks.base import SEVERAL, Task
from headstart.types import Json, LayerRow

Effort: TypeAlias = Literal["quick", "balanced", "thorough"]
SECONDS: dict[str, float | None] = {"quick": 120.0, "balanced": 600.0, "thorough": None}
"""The budget of each effort where none is given."""

MANY = 2000
"""Rows from which several targets are also learned together: under it, five folds of every network cost too much."""


@dataclass(frozen=True)
class Wanted:
    """What a fit was asked for, as far as its verbs share it: the arguments of `headstart.fit` by their names.

    command: the command line of the run, from its rows (in a list) and its folder.
    """

    source: str | Source
    method: str
    input: str | Sequence[str] | None
    roles: Mapping[str, str] | None
    kinds: Mapping[str, str] | None
    budget: str | float | None
    effort: Effort
    seed: int
    out: str | Path | None
    control: bool
    dry_run: bool
    settings: Mapping[str, Any] | None
    limit: int | None
    precision: str
    backend: str
    fresh: bool
    trust_remote_code: str | None
    report: Callable[[str, int, int], None]
    command: Callable[..., str]


@dataclass(frozen=True)
class Plan:
    """What a fit would do: ``--dry-run``. rows: the layer table of the last method of the plan."""

    rows: list[LayerRow]
    facts: Json

    def to_json(self) -> Json:
        """The plan as plain JSON values."""
        return {**self.facts, "layers": [vars(row) for row in self.rows]}

    def text(self) -> str:
        """The plan for reading: the facts, then what will train of a source."""
        lines = [f"{name:<12}{value}" for name, value in self.facts.items()]
        return "\n".join([*lines, "", LayerTable(self.rows).text()] if self.rows else lines)


def transfers(
    dataset: Dataset,
    task: Task,
    source: Source | None,
    method: str,
    effort: Effort,
    settings: Json,
    given: Collection[Need] = (),
) -> list[Method]:
    """The transfers to try: the one named, or `Auto`, which is a search. Raises MethodError HS-METHOD-001 to -003."""
    if method != "auto":
        found = catalog.find("methods", method)
        chosen: Method = make(found, settings)
        separately(chosen, task).admit(task, source, dataset, given)
        return [chosen]
    if settings:
        raise MethodError(
            "HS-METHOD-002", f"hyperparameters ({', '.join(settings)}) belong to one method.", "Name it with --method."
        )
    if source is not None and task.name == SEVERAL:
        trains = any(True for _ in source.network.parameters()) and effort != "quick"
        names = ["probe", "multitask"] if trains and (len(dataset) >= MANY or effort == "thorough") else ["probe"]
        return [make(catalog.find("methods", name), {}) for name in names]
    if source is None:
        return []
    found = catalog.find("methods", task.search)
    known = {field.name for field in fields(found)}
    search: Method = make(found, {"effort": effort} if "effort" in known else {})
    search.admit(task, source, dataset, given)
    tried = _tried(search, Problem(dataset, None, task, source, None)) if task.needs == "items" else []
    return tried if len(tried) == 1 else [search]  # one that ranks items makes its choices by itself


def budget_seconds(budget: str | float | None, effort: str) -> float | None:
    """The wall-clock limit in seconds. Raises UsageError HS-USAGE-001."""
    if effort not in SECONDS:
        raise UsageError("HS-USAGE-001", f'effort is "{effort}".', f"Expected one of {', '.join(SECONDS)}.")
    if budget is None:
        return SECONDS[effort]
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh]?)\s*", str(budget))
    if found is None or float(found[1]) <= 0:
        raise UsageError("HS-USAGE-001", f'the budget is "{budget}".', "Expected seconds, or 90s, 10m, 2h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def dry_run(dataset: Dataset, task: Task, source: Source | None, methods: Sequence[Method], seed: int) -> Plan:
    """The plan without carrying it out."""
    rows: list[LayerRow] = []
    tried = [each for method in methods for each in _tried(method, Problem(dataset, None, task, source, None))]
    if source is not None and tried:
        rows = tried[-1].table(source, task)
    matched = [note for note in dataset.notes if note.startswith(TOLD)]
    matched += source.notes if source is not None else ()
    facts = {
        "data": f"{len(dataset):,} rows from {dataset.origin}"
        + (f", {len(dataset.rejects)} rejected" if dataset.rejects else ""),
        "columns": ", ".join(f"{c.name} ({c.role}, {c.kind})" for c in dataset.columns if c.role != "unused"),
        "task": task.describe(),
        "source": source.card.name if source is not None else "none",
        **({"matched": " ".join(matched).removeprefix(TOLD)} if matched else {}),
        "methods": " -> ".join(method.name for method in tried) or "baseline",
    }
    return Plan(rows, facts)


def _tried(method: Method, problem: Problem) -> list[Method]:
    """The methods that a search would try; a method that is none, alone."""
    if not isinstance(method, Auto):
        return [method]
    frozen, trained = method.candidates(problem)
    return [*frozen, *trained]
