"""Which controls a transfer is measured against: what a careful person would do without the source.

``baseline`` is the classical model of the modality, tuned by cross-validation (a task may name another one);
``scratch`` is the source's own network from fresh weights, with a learning rate chosen on a trial and at least the
time that the transfer took.
"""

from __future__ import annotations

from headstart import catalog
from headstart.methods.base import Method
from headstart.sources.base import Source
from headstart.tasks.base import Task

SCRATCH_EPOCHS = {"quick": 2, "balanced": 6, "thorough": 15}
SCRATCH_SECONDS = {"quick": 20.0, "balanced": 60.0, "thorough": 600.0}  # at least this, and at least the transfer's


def controls(task: Task, source: Source | None, effort: str) -> list[Method]:
    """The controls for a source, cheapest first; without a network of its own there is nothing to start afresh."""
    found: list[Method] = [catalog.find("methods", task.control)()]
    if source is not None and any(True for _ in source.network.parameters()):
        found.append(catalog.find("methods", "scratch")(epochs=SCRATCH_EPOCHS[effort]))
    return found
