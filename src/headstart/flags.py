"""Hyperparameters as command-line flags, read from the methods' dataclass fields without importing them.

Importing a method imports torch, which takes seconds; a help page should take none. So the fields are read from the
source text of ``methods/*.py`` with `ast`: ``learning_rate: float = hyper(1e-4, "...")`` becomes ``--learning-rate``.
Methods of plugins are not on disk here; theirs are given by ``--set name=value`` and looked up by importing them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from headstart.errors import MethodError, did_you_mean

AUTO = "auto"
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Field:
    """One hyperparameter of one method. annotation: its type as written. default: the value, or its source text."""

    method: str
    name: str
    annotation: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    paper: str = ""

    @property
    def flag(self) -> str:
        """The flag that sets it, such as ``--learning-rate``."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Sketch:
    """A method as its file describes it: the first line of the docstring, class attributes, fields."""

    name: str
    summary: str
    kind: str
    role: str
    paper: str
    fields: tuple[Field, ...]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()


@cache
def sketches() -> dict[str, Sketch]:
    """Every method of ``headstart/methods`` by name, from the source text alone."""
    folder = Path(__file__).parent / "methods"
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    classes = {node.name: node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    found = {}
    for stem, tree in trees.items():
        if stem in ("base", "__init__"):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                lineage = _lineage(node, classes)
                if any(each.name == "Method" for each in lineage) and _has_name(lineage):
                    found[stem] = _sketch(stem, tree, lineage)
    return found


def _lineage(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class and its ancestors, nearest first."""
    above = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    return [node, *(each for parent in above for each in _lineage(parent, classes))]


def _has_name(lineage: list[ast.ClassDef]) -> bool:
    """Whether a class says ``name: ClassVar[str] = ...``; bases that methods share have no name."""
    items = [item for node in lineage for item in node.body if isinstance(item, ast.AnnAssign)]
    return any(isinstance(item.target, ast.Name) and item.target.id == "name" and item.value for item in items)


def _sketch(name: str, tree: ast.Module, lineage: list[ast.ClassDef]) -> Sketch:
    attributes: dict[str, Any] = {}
    made: dict[str, Field] = {}
    for node in reversed(lineage):
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                annotation = ast.unparse(item.annotation)
                if annotation.startswith("ClassVar"):
                    attributes[item.target.id] = _literal(item.value)
                elif not item.target.id.startswith("_"):
                    made[item.target.id] = _field(name, item.target.id, annotation, item.value)
            elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                attributes[item.targets[0].id] = _literal(item.value)
    text = ast.get_docstring(tree) or ast.get_docstring(lineage[0]) or ""
    summary = " ".join(text.split("\n\n")[0].split())
    texts = {key: str(attributes.get(key, "")) for key in ("kind", "role", "paper")}
    lists = {key: tuple(attributes.get(key, ())) for key in ("needs", "uses", "tasks", "modalities")}
    return Sketch(name, summary, texts["kind"], texts["role"], texts["paper"], tuple(made.values()), **lists)


def _field(method: str, name: str, annotation: str, value: ast.expr) -> Field:
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "hyper"):
        return Field(method, name, annotation, _literal(value), "")
    given = {keyword.arg: _literal(keyword.value) for keyword in value.keywords}
    given |= dict(zip(("default", "help"), map(_literal, value.args)))
    return Field(
        method,
        name,
        annotation,
        given.get("default"),
        str(given.get("help", "")),
        given.get("low"),
        given.get("high"),
        given.get("choices"),
        str(given.get("paper", "")),
    )


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def hyperparameters() -> dict[str, list[Field]]:
    """Name of a hyperparameter -> the fields of that name, one for each method that has it."""
    grouped: dict[str, list[Field]] = {}
    for sketch in sketches().values():
        for item in sketch.fields:
            grouped.setdefault(item.name, []).append(item)
    return grouped


def settings(method: str, given: dict[str, str]) -> dict[str, Any]:
    """The texts of ``given`` (name -> text) as values of the method's fields.

    With method "auto" every hyperparameter of every method is known. Raises MethodError HS-METHOD-001 for an unknown
    method, HS-METHOD-002 for a hyperparameter that the method lacks or a text that is not of its type.
    """
    known = {item.name: item for item in _fields_of(method)}
    values = {}
    for name, text in given.items():
        key = name.replace("-", "_")
        if key not in known:
            owners = [item.method for item in hyperparameters().get(key, [])]
            hint = f"It belongs to: {', '.join(owners)}." if owners else did_you_mean(key, known)
            raise MethodError("HS-METHOD-002", f'{method} has no hyperparameter "{name}".', hint)
        values[key] = _value(known[key], text)
    return values


def _fields_of(method: str) -> list[Field]:
    if method == AUTO:
        return [found[0] for found in hyperparameters().values()]
    if method in sketches():
        return list(sketches()[method].fields)
    from headstart import catalog

    plugin = catalog.find("methods", method)
    return [Field(method, item.name, str(item.type), item.default, "") for item in fields(plugin)]


def _value(field: Field, text: str) -> Any:
    """The text as the first of the annotation's alternatives that it can be read as."""
    for alternative in _alternatives(field.annotation):
        try:
            return _read(alternative, text.strip())
        except ValueError:
            continue
    raise MethodError(
        "HS-METHOD-002", f'{field.method}: {field.flag[2:]} is "{text}".', f"Expected {field.annotation}."
    )


def _alternatives(annotation: str) -> list[str]:
    """``int | tuple[str, ...] | None`` -> its members; ``str`` last, because every text is a ``str``."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(annotation):
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append(annotation[start:place].strip())
            start = place + 1
    parts.append(annotation[start:].strip())
    return sorted(parts, key=lambda part: part == "str")


def _read(kind: str, text: str) -> Any:
    outer, _, inner = kind.partition("[")
    if outer == "None":
        if text.lower() not in ("none", "null"):
            raise ValueError(text)
        return None
    if outer == "bool":
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    if outer == "int":
        return int(text)
    if outer == "float":
        return float(text)
    if outer in ("tuple", "list", "Sequence"):
        members = _alternatives(inner.rstrip("]").split(",")[0]) or ["str"]
        values = [_read(members[0], part.strip()) for part in text.strip("[]()").split(",") if part.strip()]
        return tuple(values) if outer == "tuple" else values
    return text
