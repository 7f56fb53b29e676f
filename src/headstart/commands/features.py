"""``headstart embed`` and ``headstart cache``: features as files, and the store that they come from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from headstart.console import Answer, Progress
from headstart.options import Command, Group, InputColumns, Kinds, Limit, Precision, Quiet, complete_source, pairs

cache_app = typer.Typer(cls=Group, help="The store of computed features.", invoke_without_command=True)


def embed(
    path: Annotated[str, typer.Argument(help='A table, a folder, or a pattern such as "*.parquet".', metavar="PATH")],
    source: Annotated[
        str,
        typer.Option(
            "--source", "-s", help="A name of `headstart sources`, hf:, timm:, ...", autocompletion=complete_source
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write.")],
    input: InputColumns = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="pooled, or a layer; repeatable.")] = None,
    kind: Kinds = None,
    limit: Limit = None,
    only_features: Annotated[bool, typer.Option("--only-features", help="Leave out the columns of the rows.")] = False,
    precision: Precision = "auto",
    backend: Annotated[str, typer.Option(help="What computes; auto takes the fastest.")] = "auto",
    quiet: Quiet = False,
) -> Answer:
    """Compute the features of every row with a pretrained model, into a Parquet file.

    Rows that the store has are not computed again: after a kill, the same command goes on.
    """
    kinds = pairs(kind, "--kind", "column=kind")
    from headstart import embedding

    with Progress(quiet) as report:
        job = embedding.Job(path, source, tuple(layer or ["pooled"]), input, kinds, limit, precision, backend, report)
        done = embedding.write(job, out, only_features)
    wide = ", ".join(f"{name} [{width}]" for name, width in done.columns.items())
    lost = f"; {done.rejected:,} could not be read: see {done.rejected_to}" if done.rejected else ""
    text = (
        f"{done.rows:,} rows with {wide} saved to {out}{lost}\n"
        f"{done.forward_rows:,} computed in {done.seconds:.1f} s ({done.runtime}), "
        f"the others came from the store"
    )
    return Answer(done.to_json(), text)


# --- the store ---------------------------------------------------------------------------------------------------


@cache_app.callback()
def _root(ctx: typer.Context) -> Answer | None:
    return None if ctx.invoked_subcommand else info()


@cache_app.command("info", cls=Command)
def info() -> Answer:
    """Show which features are stored, their size, and when they were last used."""
    from headstart import upkeep

    data = upkeep.info()
    rows = [
        (
            each["source"],
            each["output"],
            each["precision"],
            f"{each['rows']:,}",
            _size(each["bytes"]),
            _ago(each["used"]),
        )
        for each in data["stores"]
    ]
    total = f"{_size(data['bytes'])} of at most {_size(data['limit'])} in {data['folder']}"
    if data["graphs"]:
        total += f" ({_size(data['graphs'])} of it compiled graphs)"
    return Answer(data, total, ("source", "output", "precision", "rows", "size", "last used") if rows else (), rows)


@cache_app.command("prune", cls=Command)
def prune(
    to: Annotated[str | None, typer.Option(help="Remove the longest unused down to a size, such as 5GB.")] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", min=0, help="Remove what was not used for so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all features.")] = False,
) -> Answer:
    """Remove stored features: the longest unused first. What a running process uses stays.

    Without options: down to the limit, HEADSTART_CACHE_SIZE or 20 GB or a tenth of the disk.
    """
    from headstart import upkeep

    if everything:
        size: int | None = 0
    elif to is not None:
        size = upkeep.size_of(to, "--to")
    else:
        size = None if older_than is not None else upkeep.limit()
    data = upkeep.prune(to=size, older_than=older_than)
    busy = f"; {_size(data['open'])} are in use" if data["open"] else ""
    text = f"{data['removed']:,} files with {_size(data['freed'])} removed, {_size(data['kept'])} kept{busy}"
    return Answer(data, text)


@cache_app.command("verify", cls=Command)
def verify() -> Answer:
    """Compare every stored feature with its checksum, and remove what is damaged."""
    from headstart import upkeep

    data = upkeep.verify()
    lines = [f"{data['segments']:,} files with {_size(data['bytes'])} are sound"]
    lines += [f"damaged, removed: {path}" for path in data["damaged"]]
    lines += [f"left by a killed process, removed: {path}" for path in data["left_over"]]
    return Answer(data, "\n".join(lines))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _ago(when: float) -> str:
    seconds = max(time.time() - when, 0)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now" if seconds < 60 else "a minute ago"
