"""Options that are not in a command's signature: --json, --debug, the methods' hyperparameters; and completion."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from headstart import flags
from headstart.errors import UsageError

AS_JSON = "headstart.json"
"""Key of ``Context.meta`` that is true after --json."""

OPENING = ("fit", "adapt", "predict", "evaluate", "rank", "embed", "pretrain")
"""The commands that open a source, and so take --trust-remote-code."""

SETTINGS = "headstart.settings"
"""Key of ``Context.meta`` under which the hyperparameters given as flags are kept: name -> text."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.", rich_help_panel="Output")]

# --- what says which columns are what, the same in every command that reads rows ---

_COLUMNS = "Columns"

InputColumns = Annotated[
    list[str] | None, typer.Option("--input", "-i", help="An input column; repeatable.", rich_help_panel=_COLUMNS)
]
GroupColumn = Annotated[
    str | None, typer.Option(help="Rows that belong together stay together.", rich_help_panel=_COLUMNS)
]
TimeColumn = Annotated[
    str | None, typer.Option(help="Train on the past, test on the future.", rich_help_panel=_COLUMNS)
]
SplitColumn = Annotated[str | None, typer.Option(help="Holds train, valid, test.", rich_help_panel=_COLUMNS)]
WeightColumn = Annotated[str | None, typer.Option(help="How much a row counts in training.", rich_help_panel=_COLUMNS)]
SeriesColumn = Annotated[
    str | None,
    typer.Option(help="Which series a row is part of: one value a row, many rows.", rich_help_panel=_COLUMNS),
]
StepColumn = Annotated[str | None, typer.Option(help="When in its series a row was.", rich_help_panel=_COLUMNS)]
KnownColumns = Annotated[
    list[str] | None,
    typer.Option("--known", help="Forecasts: what is known ahead, a price; repeatable.", rich_help_panel=_COLUMNS),
]
UserColumn = Annotated[
    str | None, typer.Option("--user", help="Interactions: who dealt with an item.", rich_help_panel=_COLUMNS)
]
ItemColumn = Annotated[
    str | None, typer.Option("--item", help="Interactions: the item, one a row.", rich_help_panel=_COLUMNS)
]
RatingColumn = Annotated[
    str | None,
    typer.Option("--rating", help="Interactions: what is under the middle does not count.", rich_help_panel=_COLUMNS),
]
ItemsTable = Annotated[
    Path | None,
    typer.Option("--items", help="Interactions: a table of what is known of each item.", rich_help_panel=_COLUMNS),
]
UsersTable = Annotated[
    Path | None,
    typer.Option("--users", help="Interactions: a table of what is known of each user.", rich_help_panel=_COLUMNS),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=KIND", help="What a column holds: text, image, number, ...", rich_help_panel=_COLUMNS),
]
Align = Annotated[
    list[str] | None,
    typer.Option(
        metavar="THEIRS=HERE",
        help="What the source calls a column, and what it is called here.",
        rich_help_panel=_COLUMNS,
    ),
]
TaskName = Annotated[str | None, typer.Option(help="What to predict; inferred from the target by default.")]
Backend = Annotated[str, typer.Option(help="What runs the frozen network; the fastest by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Fixes all randomness.")]
RunFolder = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run (default: runs/<name>).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any hyperparameter, plugins' included.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Fit again, also where this very fit is there.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first rows.")]
Precision = Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="Arithmetic.")]

# ---


class Command(TyperCommand):
    """A command with --json and --debug, which `main` acts on."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own parameters and the common ones."""
        trust = _trust() if self.name in OPENING else []
        return [*super().get_params(ctx), *trust, *_common()]


class Group(TyperGroup):
    """A group that is a command too: ``headstart sources`` lists, so it takes --json and --debug as well."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own parameters and the common ones."""
        return [*super().get_params(ctx), *_common()]


class FitCommand(Command):
    """``fit`` with one flag for each hyperparameter of a method."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters and the hyperparameter flags, which come from the methods' dataclass fields."""
        own = super().get_params(ctx)
        taken = {name for param in own for name in param.opts}
        return [*own, *(option for option in _hyperparameter_options() if not taken & set(option.opts))]


def _options(made: dict[str, tuple[Any, Any]]) -> list[Any]:
    """Parameter objects without a place in a command's signature: name -> (type, ``typer.Option``)."""

    def carrier() -> None:
        pass

    carrier.__annotations__ = {name: Annotated[kind, option] for name, (kind, option) in made.items()}
    carrier.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in carrier.__annotations__.items()
        ]
    )
    holder = typer.Typer(add_completion=False)
    holder.command()(carrier)
    options = typer.main.get_command(holder).params
    for option in options:
        option.expose_value = False
    return list(options)


@cache
def _common() -> list[Any]:
    texts = {
        "json": "Print exactly one JSON object on stdout, also for errors.",
        "debug": "Show the traceback of an error.",
    }
    options = _options(
        {
            name: (bool, typer.Option(f"--{name}", help=text, show_default=False, rich_help_panel="Output"))
            for name, text in texts.items()
        }
    )
    options[0].callback = _keep_json
    return options


@cache
def _trust() -> list[Any]:
    text = "Let Python code of this one repository run, to build its model (hf: sources)."
    option = typer.Option("--trust-remote-code", metavar="OWNER/NAME", help=text, show_default=False)
    options = _options({"trust_remote_code": (str | None, option)})
    options[0].callback = _keep_trust
    return options


def _keep_trust(ctx: Any, param: Any, value: Any) -> None:
    if value:
        from headstart.sources.trust import trusting

        ctx.with_resource(trusting(value))


def _keep_json(ctx: Any, param: Any, value: Any) -> None:
    if value:
        ctx.meta[AS_JSON] = True


@cache
def _hyperparameter_options() -> list[Any]:
    made = {}
    for name, found in flags.hyperparameters().items():
        first = found[0]
        decision = first.annotation == "bool"
        defaults = ", ".join(f"{item.method}: {item.default}" for item in found)
        option = typer.Option(
            f"{first.flag}/--no-{first.flag[2:]}" if decision else first.flag,
            metavar=None if decision else "VALUE",
            help=f"{first.help} ({defaults})",
            show_default=False,
            rich_help_panel="Hyperparameters of the methods (method: default)",
        )
        made[f"set_{name}"] = ((bool if decision else str) | None, option)
    options = _options(made) if made else []
    for each in options:
        each.callback = _keep_setting
    return options


def _keep_setting(ctx: Any, param: Any, value: Any) -> None:
    if value is not None:
        ctx.meta.setdefault(SETTINGS, {})[param.name.removeprefix("set_")] = str(value)


# --- values -------------------------------------------------------------------------------------------------------


def pairs(texts: Sequence[str] | None, flag: str, form: str) -> dict[str, str]:
    """``["a=1"]`` -> ``{"a": "1"}``; of --kind the last "=" separates, as column names may hold one; of
    --align nothing may stand behind it.

    Raises UsageError HS-USAGE-001 for another form.
    """
    pairs = {}
    for text in texts or ():
        name, equals, value = text.rpartition("=") if flag == "--kind" else text.partition("=")
        if not (name and equals and (value or flag == "--align")):
            raise UsageError("HS-USAGE-001", f'{flag} got "{text}".', f"Expected {form}.")
        pairs[name] = value
    return pairs


# --- completion --------------------------------------------------------------------------------------------------


def complete_method(incomplete: str) -> list[tuple[str, str]]:
    """Names of methods with what they are."""
    known = {flags.AUTO: "try probe and fine-tuning"} | {each.name: each.summary for each in flags.sketches().values()}
    return [(name, text) for name, text in known.items() if name.startswith(incomplete)]


def complete_source(incomplete: str) -> list[str]:
    """Names on the shelf of sources."""
    return [name for name in ("auto", *_shelf("sources")) if name.startswith(incomplete)]


def complete_ranker(incomplete: str) -> list[str]:
    """Names of rankers, from their files, and ``all``."""
    files = [path.stem for path in (Path(__file__).parent / "rankers").glob("*.py")]
    return [name for name in ("all", *sorted({*files} - {"__init__", "base"})) if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names on the shelf of datasets."""
    return [name for name in _shelf("datasets") if name.startswith(incomplete)]


def _shelf(folder: str) -> list[str]:
    """The names on a shelf, from its TOML file: the modules that use it import torch."""
    import tomllib

    path = Path(__file__).parent / folder / "shelf.toml"
    return sorted(tomllib.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
