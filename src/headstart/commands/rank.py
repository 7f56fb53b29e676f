"""``headstart rank PATH --target T``: which source, and which of its layers, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.console import Answer, Progress
from headstart.options import (
    Backend,
    GroupColumn,
    InputColumns,
    Kinds,
    Limit,
    Precision,
    Quiet,
    SplitColumn,
    TaskName,
    TimeColumn,
    complete_ranker,
    pairs,
)


def rank(
    path: Annotated[Path, typer.Argument(help="A table, or a folder of class folders.", metavar="PATH")],
    target: Annotated[str | None, typer.Option("--target", "-t", help="The column to predict.")] = None,
    sources: Annotated[
        str, typer.Option(help="all (of the shelf), or names with commas; also hf:, timm:, torchvision:, folders, a+b.")
    ] = "all",
    ranker: Annotated[
        str | None, typer.Option(help="The score; all shows a column of each.", autocompletion=complete_ranker)
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="A row for every layer: at what depth to cut.")] = False,
    rows: Annotated[int, typer.Option(min=20, help="Training rows to score.")] = 2000,
    concatenate: Annotated[
        bool, typer.Option("--concatenate/--no-concatenate", help="Try the best sources side by side.")
    ] = True,
    task: TaskName = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes all randomness; that of the fit.")] = 0,
    limit: Limit = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    input: InputColumns = None,
    group: GroupColumn = None,
    time: TimeColumn = None,
    split: SplitColumn = None,
    kind: Kinds = None,
    quiet: Quiet = False,
) -> Answer:
    """Rank sources by how well their frozen features suit the target; nothing is trained."""
    kinds = pairs(kind, "--kind", "column=kind")
    from headstart.ranking import verb

    roles = {"group": group, "time": time, "split": split}
    with Progress(quiet) as report:
        found = verb.rank(
            path,
            target,
            sources=sources,
            ranker=ranker or verb.DEFAULT,
            layers=layers,
            rows=rows,
            concatenate=concatenate,
            task=task,
            seed=seed,
            limit=limit,
            precision=precision,
            backend=backend,
            input=input or None,
            roles={column: role for role, column in roles.items() if column is not None} or None,
            kinds=kinds or None,
            report=report,
        )
    return Answer(found.to_json(), found.text())
