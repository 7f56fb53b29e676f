"""``headstart methods``: every method with its place in the taxonomy, what it needs, and its hyperparameters."""

from __future__ import annotations

from typing import Annotated

import typer

from headstart import flags
from headstart.console import Answer
from headstart.errors import MethodError, did_you_mean
from headstart.types import Json

SHOWN = ("name", "annotation", "default", "help", "low", "high", "choices", "paper")


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its hyperparameters.")] = None,
) -> Answer:
    """List the methods with their kind and needs; of one method, also its hyperparameters and paper."""
    from importlib.metadata import entry_points

    known = flags.sketches()
    plugins = sorted({point.name for point in entry_points(group="headstart.methods")} - set(known))
    if name is not None:
        if name not in known:
            raise MethodError("HS-METHOD-001", f'there is no method "{name}".', did_you_mean(name, known))
        return _one(known[name])
    rows = [
        (each.name, each.kind, each.role, ", ".join(each.needs), ", ".join(each.uses), each.summary)
        for each in known.values()
    ]
    rows += [(plugin, "", "plugin", "", "", "") for plugin in plugins]
    data = {"methods": [_facts(each) for each in known.values()], "plugins": plugins}
    return Answer(data, "", ("method", "kind", "role", "needs", "uses", ""), rows)


def _facts(each: flags.Sketch) -> Json:
    return {
        "name": each.name,
        "kind": each.kind,
        "role": each.role,
        "needs": list(each.needs),
        "uses": list(each.uses),
        "tasks": list(each.tasks),
        "modalities": list(each.modalities),
        "summary": each.summary,
        "paper": each.paper,
        "hyperparameters": [{key: getattr(item, key) for key in SHOWN} for item in each.fields],
    }


def _one(each: flags.Sketch) -> Answer:
    facts = _facts(each)
    rows = [
        (key, ", ".join(facts[key]) if isinstance(facts[key], list) else facts[key])
        for key in ("summary", "paper", "kind", "role", "needs", "uses", "tasks", "modalities")
        if facts[key]
    ]
    rows += [
        (item.flag, f"{item.help} [{item.default}]" + (f" ({item.paper})" * bool(item.paper))) for item in each.fields
    ]
    return Answer(facts, "", (each.name, ""), rows)
