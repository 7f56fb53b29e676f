"""The only look-up: a name is the name of a file.

``find("methods", "probe")`` imports ``headstart/methods/probe.py`` and returns the one final subclass of the folder's
contract that the file defines. Plugins add names through the entry-point groups ``headstart.methods``,
``headstart.tasks`` and so on; the entry point's value is the class.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from headstart.errors import MethodError, SourceError, TaskError, UsageError, did_you_mean

CONTRACTS = {"methods": "Method", "tasks": "Task", "sources": "Source", "rankers": "Ranker", "backends": "Backend"}
_UNKNOWN = {
    "methods": (MethodError, "HS-METHOD-001", "method"),
    "tasks": (TaskError, "HS-TASK-001", "task"),
    "sources": (SourceError, "HS-SOURCE-001", "source provider"),
    "rankers": (MethodError, "HS-METHOD-001", "ranker"),
    "backends": (UsageError, "HS-USAGE-001", "backend"),
}


@cache
def names(folder: str) -> tuple[str, ...]:
    """The names that ``find(folder, name)`` knows, sorted; files that define no final class are left out."""
    package = importlib.import_module(f"headstart.{folder}")
    own = [
        info.name
        for info in pkgutil.iter_modules(package.__path__)
        if info.name != "base" and _final_class(folder, info.name) is not None
    ]
    plugins = [point.name for point in entry_points(group=f"headstart.{folder}")]
    return tuple(sorted({*own, *plugins}))


def find(folder: str, name: str) -> Any:
    """The class called ``name`` in ``folder``. Raises the folder's error with did-you-mean for unknown names."""
    for point in entry_points(group=f"headstart.{folder}"):
        if point.name == name:
            return point.load()
    if name.isidentifier() and name != "base" and name in names(folder):
        return _final_class(folder, name)
    error, code, word = _UNKNOWN[folder]
    raise error(code, f'there is no {word} "{name}".', did_you_mean(name, names(folder)))


@cache
def _final_class(folder: str, name: str) -> Any:
    contract = getattr(importlib.import_module(f"headstart.{folder}.base"), CONTRACTS[folder])
    module = importlib.import_module(f"headstart.{folder}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, contract)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    return found[0] if found else None
