"""Which controls a transfer is measured against: what a careful person would do without the source.

``baseline`` is the classical model of the modality, tuned by cross-validation (a task may name another one);
``scratch`` is the source's own network from fresh weights, with a learning rate chosen on a trial and at least the
time that the transfer took; of rankings, where the source is no network, towers on the words of the items. Where the
source keeps the rows that it learned from, ``pooled`` fits the classical model of a table on them and the target's.
"""

from __future__ import annotations

from dataclasses import replace

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.methods.base import Method, admits
from headstart.sources.base import Source
from headstart.tasks.base import Task

SCRATCH_EPOCHS = {"quick": 2, "balanced": 6, "thorough": 15}
SCRATCH_SECONDS = {"quick": 20.0, "balanced": 60.0, "thorough": 600.0}  # at least this, and at least the transfer's


def controls(source: Source | None, effort: str, task: Task, rows: Dataset) -> list[Method]:
    """The controls for a source, cheapest first; without a network of its own there is nothing to start afresh."""
    found: list[Method] = [catalog.find("methods", task.control)()]
    pooled = catalog.find("methods", "pooled")()
    if admits(pooled, task, source, rows):
        found.append(pooled)
    if source is not None:
        trains = any(True for _ in source.network.parameters())
        kinds = [kind for name in task.scratch if (kind := catalog.find("methods", name)).ranks or trains]
        for kind in [kind for kind in kinds if admits(kind(), task, source, rows)][:1]:
            found.append(kind() if kind.ranks else kind(epochs=SCRATCH_EPOCHS[effort]))  # rankers stop by themselves
    return found


def detectors(source: Source | None, first: Method | None = None) -> list[Method]:
    """The controls of a detector of anomalies: detectors without a source, and the transfer ``first`` (`nearest` where
    it is none) on fresh weights with its own settings.

    Without a source the first of them answers; on `benchmarks/anomalies.py` it and seasonal residuals are level.
    """
    names = ["matrix_profile", "seasonal_residuals", "isolation_forest"]
    if source is not None and any(True for _ in source.network.parameters()):
        names.append("untrained")
    found: list[Method] = [catalog.find("methods", name)() for name in names]
    if first is None or first.role == "control" or "anomalies" not in first.tasks:
        return found
    return [replace(each, of=first.name, **first.hyperparameters()) if each.name == "untrained" else each  # type: ignore[call-arg]
            for each in found]  # fmt: skip
