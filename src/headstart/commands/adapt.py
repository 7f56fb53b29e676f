"""``headstart adapt SOURCE TARGET``: labels in one domain, none in the other, a model for the other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart import flags
from headstart.console import Answer, Progress
from headstart.options import (
    SETTINGS,
    Align,
    Backend,
    Fresh,
    GroupColumn,
    InputColumns,
    Kinds,
    Limit,
    Precision,
    Quiet,
    RunFolder,
    Seed,
    Settings,
    TaskName,
    WeightColumn,
    complete_method,
    complete_source,
    pairs,
)


def adapt(
    ctx: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(help="Labelled rows: a table, or a folder of class folders. Or a run.", metavar="SOURCE"),
    ],
    to_path: Annotated[
        Path | None, typer.Argument(help="Rows of the target domain; they need no labels.", metavar="[TARGET]")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="The column to predict.")] = None,
    domain: Annotated[str | None, typer.Option(help="The column that says of which domain a row is.")] = None,
    to: Annotated[str | None, typer.Option(help="The value of --domain that is the target domain.")] = None,
    source: Annotated[
        str, typer.Option(help="A name of `headstart sources`, hf:, timm:, a+b.", autocompletion=complete_source)
    ] = "auto",
    method: Annotated[
        str, typer.Option(help="A method that adapts; see `headstart methods`.", autocompletion=complete_method)
    ] = flags.AUTO,
    task: TaskName = None,
    score_labels: Annotated[
        bool, typer.Option("--score-labels", help="Also tell what a head with the target's labels would reach.")
    ] = False,
    use_labels: Annotated[
        bool, typer.Option("--use-labels", help="Learn from the rows of the target domain that have a label.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show which column is which and what would be tried, and stop.")
    ] = False,
    align: Align = None,
    seed: Seed = 0,
    out: RunFolder = None,
    limit: Limit = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    setting: Settings = None,
    input: InputColumns = None,
    group: GroupColumn = None,
    weight: WeightColumn = None,
    kind: Kinds = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
) -> Answer:
    """Adapt labels of one domain to another that has none, or say that it is better not to.

    SOURCE may also be a run: then its model is adapted, and no row that it was fitted on is read.
    Labels of the target domain, where there are any, are read once, at the end, for the score.
    """
    given = {**ctx.meta.get(SETTINGS, {}), **pairs(setting, "--set", "name=value")}
    kinds = pairs(kind, "--kind", "column=kind")
    from headstart.adapting import from_run, reading, verb

    by_itself = from_run.AUTO if reading.is_run(path) else "adapt"
    values = flags.settings(by_itself if method == flags.AUTO else method, given)

    roles = {"group": group, "weight": weight}
    with Progress(quiet) as report:
        result = verb.adapt(
            path,
            to_path,
            target=target,
            domain=domain,
            value=to,
            source=source,
            method=method,
            input=input or None,
            task=task,
            roles={column: role for role, column in roles.items() if column is not None} or None,
            kinds=kinds or None,
            seed=seed,
            out=out,
            settings=values or None,
            limit=limit,
            precision=precision,
            backend=backend,
            fresh=fresh,
            score_labels=score_labels,
            use_labels=use_labels,
            align=pairs(align, "--align", "labelled table's column=column there") or None,
            dry_run=dry_run,
            report=report,
        )
    from headstart.report.terminal import page

    return Answer(result.to_json(), result.text() if dry_run else page(result.record, sys.stdout))
