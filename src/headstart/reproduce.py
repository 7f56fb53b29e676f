"""The command line that does a run again, from the arguments that it was given."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.nn import prompts

FLAGS = {"value": "to"}
"""Arguments whose flag has another name."""

PAIRS = {"settings": "--set", "kinds": "--kind", "align": "--align"}


def command_line(verb: str, paths: Sequence[Any], **given: Any) -> str:
    """``headstart VERB PATHS`` with a flag for each argument that says something, in their order.

    paths: of the command line, or anything with an ``origin``, and None for one that is not there. given: arguments of
    the verb by their names in Python; `roles` and `kinds` as in `headstart.read`.
    """
    words = ["headstart", verb, *(spelled(path) or "DATA" for path in paths if path is not None)]
    for name, value in given.items():
        flag = f"--{FLAGS.get(name, name).replace('_', '-')}"
        if name == "control":
            words += [] if value else ["--no-control"]
        elif value is None or value is False or value == "auto":
            continue
        elif value is True:
            words += [flag]
        elif name == "roles":
            words += [word for column, role in value.items() if role != "unused" for word in (f"--{role}", column)]
        elif name in PAIRS:
            words += [word for key, item in value.items() for word in (PAIRS[name], f"{key}={item}")]
        elif name == "labels":
            words += [flag, meanings(value)]
        elif isinstance(value, list | tuple):
            words += [word for each in value for word in (flag, str(each))]
        else:
            words += [flag, spelled(value)]
    return shlex.join(words)


def spelled(value: Any) -> str:
    """A path, a source, rows or a plain value as one word; what has no place on a command line by its kind."""
    if isinstance(value, str | int | float | Path):
        return str(value)
    if (card := getattr(value, "card", None)) is not None:
        return str(card.name)
    origin = getattr(value, "origin", None)
    return str(origin or "") if origin is not None else type(value).__name__.upper()


def meanings(labels: Any) -> str:
    """Labels as they are given: a list with commas where that says all, else a file or JSON."""
    if isinstance(labels, str | Path):
        return str(labels)
    named: Mapping[str, list[Any]] = prompts.parse(labels)
    plain = all(meanings == [name] and "," not in name for name, meanings in named.items())
    return ",".join(named) if plain else prompts.canonical(labels)
