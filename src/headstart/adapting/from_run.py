"""Adapting a saved model: no row that it was fitted on is read, only those that it is to go on to.

    headstart adapt runs/dresses trousers.csv
    headstart.adapt("runs/dresses", "trousers.csv", method="shot")

The run says what is predicted from which columns. Its model as it is (``kept``) is the control. Labels of the target
domain, where there are any, are sealed, and read once for the score and the verdict. Where the adapted model gathers
the rows in few classes (`headstart.nn.collapse`), which shows without a label, the model ships as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headstart import artefact, catalog
from headstart.adapting import reading
from headstart.adapting.recording import recorded
from headstart.artefact import Artefact
from headstart.cache import key
from headstart.errors import UsageError
from headstart.evidence.adaptation import judge
from headstart.methods.base import Fitted, Method, Problem, make
from headstart.methods.network import NetworkFitted
from headstart.methods.shot import trainable
from headstart.nn.collapse import collapsed, in_use
from headstart.record import Clock
from headstart.reproduce import command_line
from headstart.transfer import claim, finished, workspace
from headstart.types import Json

AUTO = "shot"
"""What ``auto`` is where the first path is a run."""


def adapt(
    data: str | Path,
    to: Any,
    *,
    method: str,
    seed: int,
    out: str | Path | None,
    settings: Mapping[str, Any] | None,
    limit: int | None,
    precision: str,
    fresh: bool,
    report: Callable[[str, int, int], None],
    fixed: Mapping[str, Any],
) -> Artefact:
    """The model of the run ``data``, adapted to the rows of ``to``; arguments as in `headstart.adapt`.

    fixed: arguments that a run leaves no choice about. Raises UsageError HS-USAGE-001 where one of them is given or the
    method needs labels, HS-USAGE-002 where the result would replace the run, MethodError HS-METHOD-003 for a model that
    cannot be trained, and what opening the run and reading the rows raise.
    """
    clock, how = Clock(), _named(method, settings or {}, data)
    two = reading.after_run(data, to, limit=limit, **fixed)
    assert two.run is not None
    model = two.run.saved.fitted
    if how.gradients:
        trainable(how, model)
    source = model.source if isinstance(model, NetworkFitted) else None
    how.admit(model.task, source, two.target, ["domain", "model"])
    clock.lap("reading")
    folder = claim(out, two.origin)
    if folder.resolve() == two.run.folder.resolve():
        raise UsageError("HS-USAGE-002", f"{folder} is the run that is adapted.", "Name another folder with --out.")
    facts = _request(two, how, seed, precision)
    if not fresh and (done := finished(folder, facts)) is not None:
        return done
    work = workspace(folder)
    problem = Problem(
        two.target, None, model.task, source, None, seed=seed, folder=work, report=report, domain=two.target,
        model=model, options={"precision": precision},
    )  # fmt: skip
    models: list[Fitted] = []
    for each in (how, how.ablation()):
        if each is not None:
            models.append(each.fit(problem))
            clock.lap(each.name)
    ships, because = chosen(models, two)
    judged = judge(model.task, models, two.target, two.sealed, seed, ships)
    clock.lap("scores")
    told = _told(two, models[ships], because)
    written = recorded(two, model.task, source, models, judged, told, problem, None, clock, folder, facts, ships)
    written.command = command_line(
        "adapt", [data, to], method=how.name, settings=settings, limit=limit, precision=precision, seed=seed, out=folder
    )
    result = Artefact(models[ships], written, two.columns, folder)
    artefact.save(result, two.target.rejects)
    shutil.rmtree(work, ignore_errors=True)
    return result


def refuse_labels(method: str, data: Any) -> None:
    """Raise UsageError HS-USAGE-001 for a method that goes on from a run, where ``data`` is labelled rows."""
    if method != "auto" and "model" in catalog.find("methods", method).needs:
        where = getattr(data, "origin", "") or (data if isinstance(data, str | Path) else "the first argument")
        raise UsageError(
            "HS-USAGE-001", f"{method} goes on from a fitted model, and {where} is no run.",
            f"First `headstart fit`, then `headstart adapt RUN TARGET --method {method}`.",
        )  # fmt: skip


def chosen(models: list[Fitted], two: reading.Two) -> tuple[int, str]:
    """Which of the models ships, the adapted one or at the end the one from before, and why; reads no label."""
    name = models[0].method.name
    if len(models) == 1:
        return 0, f"{name} was asked for"
    now, before = (model.outputs(two.target) for model in (models[0], models[-1]))
    if not collapsed(now, before):
        return 0, f"{name} was asked for"
    classes = now.shape[1]
    used = [in_use(each.argmax(axis=1), classes) for each in (now, before)]
    return len(models) - 1, (
        f"{name} collapsed: it gathers the rows in {used[0]:.1f} of {classes} classes, the model of the run in "
        f"{used[1]:.1f}, so that ships as it was"
    )


def _named(method: str, settings: Mapping[str, Any], run: Any) -> Method:
    """The method by its name. Raises UsageError HS-USAGE-001 for one that does not go on from a model."""
    found = catalog.find("methods", AUTO if method == "auto" else method)
    if "model" not in found.needs:
        known = [name for name in catalog.names("methods") if "model" in catalog.find("methods", name).needs]
        lacks = "labelled rows" if "labels" in found.needs else "rows, no run"
        raise UsageError(
            "HS-USAGE-001", f"{method} needs {lacks}; {run} is a run.",
            f"Give the labelled rows as the first path, or a method that goes on from a run: {', '.join(known)}.",
        )  # fmt: skip
    return make(found, dict(settings))


def _told(two: reading.Two, shipped: Fitted, because: str) -> Json:
    """What the record says of the domains; see `Record.adaptation`."""
    assert two.run is not None
    return {
        "rows": {"labelled": 0, "target": len(two.target)},
        "run": {"folder": str(two.run.folder), "method": two.run.saved.fitted.method.name},
        "because": because,
        "chosen": shipped.method.name,
        "explanations": [],
        "shares": None,
        "several": [],
    }


def _request(two: reading.Two, how: Method, *choices: Any) -> str:
    """A digest of all that determines the result; the labels of the target domain are no part of it."""
    from headstart import __version__

    assert two.run is not None
    return key(
        {
            "run": two.run.digest,
            "target": key({"rows": two.target.fingerprints(), "sealed": two.sealed is not None}),
            "method": [how.name, how.hyperparameters()],
            "choices": [str(choice) for choice in choices],
            "version": __version__,
        }
    )
