"""The command line: ``headstart fit PATH --target COLUMN``, then predict, evaluate and report.

A command returns an `Answer`; `main` prints it (as one JSON object with --json) and turns every exception into one
line with a code. Nothing heavy is imported until a command runs: help and completion stay instant.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headstart import __version__, flags
from headstart.commands import features, shelves
from headstart.commands.adapt import adapt
from headstart.commands.methods import methods
from headstart.commands.pretrain import pretrain
from headstart.commands.rank import rank
from headstart.commands.recommend import recommend
from headstart.commands.verify import verify
from headstart.console import Answer, Progress, complain
from headstart.errors import UsageError
from headstart.options import (
    AS_JSON,
    SETTINGS,
    Align,
    Backend,
    Command,
    FitCommand,
    Fresh,
    GroupColumn,
    InputColumns,
    ItemColumn,
    ItemsTable,
    Kinds,
    KnownColumns,
    Limit,
    Precision,
    Quiet,
    RatingColumn,
    RunFolder,
    Seed,
    SeriesColumn,
    Settings,
    SplitColumn,
    StepColumn,
    TaskName,
    TimeColumn,
    UserColumn,
    UsersTable,
    WeightColumn,
    complete_method,
    complete_source,
    pairs,
)

if TYPE_CHECKING:
    from headstart.adapting.tent import Report
    from headstart.artefact import Artefact
    from headstart.datasets.base import Dataset
    from headstart.types import Prediction

ClickException: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of all parsing errors; newer versions of Typer carry click inside, so it is not imported by name."""

# --- the application -------------------------------------------------------------------------------------------

app = typer.Typer(
    name="headstart",
    help="Transfer learning that proves what it was worth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(shelves.sources_app, name="sources")
app.add_typer(shelves.data_app, name="data")
app.add_typer(features.cache_app, name="cache")

Run = Annotated[Path, typer.Argument(help="The folder that `headstart fit` saved.", metavar="RUN")]


def _version(value: bool) -> None:
    if value:
        print(f"headstart {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version.")] = False,
) -> None:
    pass


@app.command(cls=FitCommand)
def fit(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A table, or a folder of class folders.", metavar="PATH")],
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="The column to predict; repeatable.")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            help="A name of `headstart sources`, hf:, timm:, torchvision:, a+b.", autocompletion=complete_source
        ),
    ] = "auto",
    method: Annotated[
        str, typer.Option(help="A name of `headstart methods`.", autocompletion=complete_method)
    ] = flags.AUTO,
    task: TaskName = None,
    budget: Annotated[str | None, typer.Option(help="Wall-clock limit, such as 90s, 10m or 2h.")] = None,
    effort: Annotated[Literal["quick", "balanced", "thorough"], typer.Option(help="How much to try.")] = "balanced",
    seed: Seed = 0,
    out: RunFolder = None,
    control: Annotated[bool, typer.Option("--control/--no-control", help="Compare with controls.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would train, and stop.")] = False,
    labels: Annotated[
        str | None, typer.Option(help="What to tell apart without any label: a,b,c, or a file of label and meaning.")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="More rows without labels, for methods that use them.")
    ] = None,
    align: Align = None,
    limit: Limit = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    setting: Settings = None,
    input: InputColumns = None,
    group: GroupColumn = None,
    time: TimeColumn = None,
    split: SplitColumn = None,
    weight: WeightColumn = None,
    series: SeriesColumn = None,
    step: StepColumn = None,
    known: KnownColumns = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    items: ItemsTable = None,
    users: UsersTable = None,
    kind: Kinds = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Forecast the target by so many steps.", rich_help_panel="Columns")
    ] = None,
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season; inferred by default.", rich_help_panel="Columns")
    ] = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
) -> Answer:
    """Adapt a pretrained model to labelled data, and measure what the transfer was worth."""
    given = {**ctx.meta.get(SETTINGS, {}), **pairs(setting, "--set", "name=value")}
    values = flags.settings(method, given)
    kinds = pairs(kind, "--kind", "column=kind")
    from headstart import transfer

    roles = {
        "group": group, "time": time, "split": split, "weight": weight, "series": series, "step": step, "user": user,
        "item": item, "rating": rating,
    }  # fmt: skip
    with Progress(quiet) as report:
        result = transfer.fit(
            path,
            target[0] if target and len(target) == 1 else target,
            source=source,
            method=method,
            input=input or None,
            task=task,
            roles={
                **{column: role for role, column in roles.items() if column is not None},
                **dict.fromkeys(known or (), "known"),
            }
            or None,
            kinds=kinds or None,
            budget=budget,
            effort=effort,
            seed=seed,
            out=out,
            control=control,
            dry_run=dry_run,
            settings=values or None,
            horizon=horizon,
            season=season,
            limit=limit,
            precision=precision,
            backend=backend,
            fresh=fresh,
            unlabelled=unlabelled,
            labels=labels,
            align=pairs(align, "--align", "source's column=column here") or None,
            items=items,
            users=users,
            report=report,
        )
    from headstart.report.terminal import page

    return Answer(result.to_json(), result.text() if dry_run else page(result.record, sys.stdout))


@app.command(cls=Command)
def predict(
    ctx: typer.Context,
    run: Run,
    path: Annotated[Path, typer.Argument(help="New rows, in any format that fit reads.", metavar="PATH")],
    out: Annotated[str, typer.Option("--out", "-o", help="CSV file to write; - for stdout.")] = "-",
    adapt: Annotated[
        Literal["tent"] | None, typer.Option("--adapt", help="Adapt while predicting, batch by batch in row order.")
    ] = None,
    quiet: Quiet = False,
) -> Answer | None:
    """Predict new rows: their columns, then `prediction` and `probability_<class>`, as CSV.

    Of several targets `prediction_<target>` and `probability_<target>_<class>`. The run itself never changes.
    """
    if out == "-" and ctx.meta.get(AS_JSON):
        raise UsageError("HS-USAGE-001", "--json and a table on stdout exclude each other.", "Name a file with -o.")
    from headstart import export

    if out != "-":
        export.check_place(Path(out))
    artefact, dataset = _open(run, path, labelled=False)
    with Progress(quiet) as report:
        report("predict", 0, len(dataset))
        prediction, told = (artefact.predict(dataset), None) if adapt is None else _streamed(artefact, dataset)
        report("predict", len(dataset), len(dataset))
    if told is not None and not quiet:
        print(told, file=sys.stderr)
    if out == "-":
        export.write_csv(sys.stdout, dataset, prediction)
    else:
        export.save_csv(Path(out), dataset, prediction)
    rejected = export.save_rejects(dataset, None if out == "-" else Path(out))
    data = {
        "run": str(run),
        "rows": len(dataset),
        "rejected": len(dataset.rejects),
        "out": out,
        "rejected_to": rejected,
        "adapted": None if told is None else told.to_json(),
    }
    if out == "-":
        if dataset.rejects:
            first = dataset.rejects[0]
            print(
                f"{_counted(len(dataset.rejects))} could not be read, the first: {first.row} ({first.reason}); "
                "-o FILE keeps the list.",
                file=sys.stderr,
            )
        return None
    lost = f"; {_counted(len(dataset.rejects))} could not be read: see {rejected}" if rejected else ""
    return Answer(data, f"{len(dataset):,} predictions saved to {out}{lost}")


def _streamed(artefact: Artefact, dataset: Dataset) -> tuple[Prediction, Report]:
    """The predictions of a model that adapts to the rows while it answers, and what happened."""
    from headstart.adapting.tent import Tent

    return Tent(artefact.fitted).predict(dataset)


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


@app.command(cls=Command)
def evaluate(
    run: Run,
    path: Annotated[Path, typer.Argument(help="Labelled rows, in any format that fit reads.", metavar="PATH")],
    quiet: Quiet = False,
) -> Answer:
    """Score a run on labelled rows that it has not seen."""
    artefact, dataset = _open(run, path, labelled=True)
    with Progress(quiet) as report:
        report("evaluate", 0, len(dataset))
        metrics = artefact.evaluate(dataset)
        report("evaluate", len(dataset), len(dataset))
    data = {"run": str(run), "rows": len(dataset), "rejected": len(dataset.rejects), "metrics": metrics}
    return Answer(data, _counted(len(dataset)), ("metric", "value"), list(metrics.items()))


def _open(run: Path, path: Path, labelled: bool) -> tuple[Artefact, Dataset]:
    """The run, and the rows with the columns that it reads."""
    from headstart import artefact

    loaded = artefact.load(run)
    return loaded, loaded.read(path, labelled=labelled)


@app.command(cls=Command)
def report(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it (default: RUN/report.html).")
    ] = None,
) -> Answer:
    """Write the report of a run again (from run.json alone), and show its summary."""
    from headstart import export
    from headstart.report import html
    from headstart.report.terminal import page

    record = export.read_record(run)
    place = out or run / "report.html"
    html.write(record, place)
    data = {"run": str(run), "report": str(place), "record": record.to_json()}
    return Answer(data, f"{page(record, sys.stdout)}\n{place}")


@app.command(cls=Command)
def doctor() -> Answer:
    """Show versions, devices, backends, caches, and what is missing with the pip line for it."""
    from headstart import doctor as checks

    return checks.answer()


app.command(cls=Command)(methods)
app.command(cls=Command)(rank)
app.command(cls=FitCommand)(adapt)
app.command(cls=Command)(features.embed)
app.command(cls=Command)(pretrain)
app.command(cls=Command)(verify)
app.command(cls=Command)(recommend)


# --- running it --------------------------------------------------------------------------------------------------

_CALM = {
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for the user's input, 1 for our fault, 130 if interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = "--json" in words, "--debug" in words
    for name, value in _CALM.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            if not debug:
                warnings.simplefilter("ignore")
            answer = app(words, prog_name="headstart", standalone_mode=False)
        if isinstance(answer, Answer):
            answer.show(as_json)
            return answer.status
        if answer != 130:
            return int(answer or 0)
    except (KeyboardInterrupt, typer.Abort):
        pass
    except typer.Exit as stop:
        return int(stop.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ClickException as error:
        return complain(_usage(error), as_json, debug)
    except Exception as error:
        return complain(error, as_json, debug)
    print("Interrupted. The same command goes on from where this one stopped.", file=sys.stderr)
    return 130


def _usage(error: Any) -> UsageError:
    message = " ".join(error.format_message().split())
    command = error.ctx.command_path if getattr(error, "ctx", None) else "headstart"
    return UsageError("HS-USAGE-001", message.rstrip(".") + ".", f"See: {command} --help")
