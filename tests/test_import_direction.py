"""A file imports from its own level or from the left of it; the levels are the line in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headstart"


def levels() -> dict[str, int]:
    """Top-level module or folder -> its place, from the indented block after "Import direction"."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    block = re.search(r"Import direction.*?\n\n((?:    .+\n)+)", text)
    assert block is not None, "docs/architecture.md lost its import direction"
    groups = " ".join(block.group(1).split()).split("|")
    return {name.strip(): place for place, group in enumerate(groups) for name in group.split(",")}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every headstart import, lazy ones included, those for type checking left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("headstart."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "headstart":
                yield from ((node.lineno, f"headstart.{alias.name}") for alias in node.names)
            elif node.module is not None and node.module.startswith("headstart."):
                yield node.lineno, node.module
        else:
            yield from imports(node)


def violations(source: str, own: str, places: dict[str, int]) -> list[str]:
    found = []
    for line, name in imports(ast.parse(source)):
        top = name.split(".")[1]
        if top == "__version__":
            continue
        if top not in places:
            found.append(f"line {line}: {name} has no place in the import direction")
        elif places[top] > places[own]:
            found.append(f"line {line}: {own} imports {name}, which stands to its right")
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path):
    places = levels()
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in places, f"{own} has no place in the import direction of docs/architecture.md"
    assert violations(path.read_text(encoding="utf-8"), own, places) == []


def test_every_place_exists():
    missing = [name for name in levels() if not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").is_file()]
    assert missing == []


def test_a_wrong_import_is_found_wherever_it_hides():
    places = {"types": 0, "methods": 1, "transfer": 2}
    assert violations("from headstart.types import Batch", "methods", places) == []
    assert len(violations("def f():\n    from headstart.transfer import fit", "methods", places)) == 1
    assert len(violations("from headstart import transfer", "types", places)) == 1
    assert len(violations("import headstart.nowhere", "methods", places)) == 1
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from headstart.transfer import fit"
    assert violations(typing, "methods", places) == []
