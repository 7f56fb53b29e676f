"""``headstart pretrain PATH --out FOLDER``: a source of one's own, from rows without labels or a labelled table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.console import Answer, Progress
from headstart.options import (
    InputColumns,
    ItemColumn,
    ItemsTable,
    Kinds,
    Precision,
    Quiet,
    RatingColumn,
    Seed,
    SeriesColumn,
    StepColumn,
    UserColumn,
    complete_source,
    pairs,
)


def pretrain(
    path: Annotated[list[Path], typer.Argument(help="Tables, series, or folders of them.", metavar="PATH...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the source that is made.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Learn a table from its labels: the column to predict.")
    ] = None,
    keep_rows: Annotated[
        bool, typer.Option("--keep-rows", help="With --target: save the rows too, for the control that pools them.")
    ] = False,
    source: Annotated[
        str, typer.Option("--source", "-s", help="What goes on learning.", autocompletion=complete_source)
    ] = "auto",
    objective: Annotated[str, typer.Option(help="What is learned; auto: by the source.")] = "auto",
    epochs: Annotated[int, typer.Option(min=0, help="Passes over the rows; 0: by the source.")] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=0, help="Rows a step sees; 0: 64, or by the table.")
    ] = 0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0, help="Highest rate; 0: by the source.")] = 0,
    budget: Annotated[str | None, typer.Option(help="Wall-clock limit, such as 90s, 10m or 2h.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Rows taken of one dataset, drawn where it has more.")] = 1000,
    seed: Seed = 0,
    precision: Precision = "auto",
    input: InputColumns = None,
    series: SeriesColumn = None,
    step: StepColumn = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    items: ItemsTable = None,
    kind: Kinds = None,
    quiet: Quiet = False,
) -> Answer:
    """Train a network on rows without labels, or on a labelled table, and save it as a source for fit."""
    kinds = pairs(kind, "--kind", "column=kind")
    from headstart import plan, pretraining

    seconds = None if budget is None else plan.budget_seconds(budget, "thorough")
    named = {"series": series, "step": step, "user": user, "item": item, "rating": rating}
    roles = {column: role for role, column in named.items() if column is not None}
    with Progress(quiet) as report:
        made = pretraining.pretrain(
            path, out, source=source, objective=objective, epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, budget=seconds, most=most, target=target, keep_rows=keep_rows,
            input=input or None, roles=roles or None, kinds=kinds or None, items=items, seed=seed,
            precision=precision, report=report,
        )  # fmt: skip
    return Answer(made.to_json(), made.text())
