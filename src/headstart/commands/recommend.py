"""``headstart recommend RUN``: the best items for users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.console import Answer
from headstart.errors import UsageError
from headstart.options import UsersTable

WHAT = {
    "elsewhere": "chosen by what the user took elsewhere",
    "features": "popular with users of such features",
    "popularity": "the most popular items",
}
"""What a user is told who has no history."""


def recommend(
    run: Annotated[Path, typer.Argument(help="The folder that `headstart fit` saved.", metavar="RUN")],
    path: Annotated[
        Path | None,
        typer.Argument(help="Interactions; those that the run was fitted on by default.", metavar="[PATH]"),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option("--user", "-u", help="For whom; repeatable. All by default.")
    ] = None,
    users: UsersTable = None,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="Items for each user, at most 50.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV file to write.")] = None,
) -> Answer:
    """The best items for users, those they know already left out; a new user gets popular ones."""
    from headstart import export, recommending

    if out is not None:
        export.check_place(out)
    elif not user:
        raise UsageError(
            "HS-USAGE-001", "the items of all users need a file.", "Name one with -o, or users with --user."
        )
    answers = recommending.recommend(run, path, users=user or None, count=count, user_table=users)
    if out is not None:
        number, popular = recommending.save(answers, out)
        told = f"; {popular:,} of them by popularity, as no item that they know is on record" if popular else ""
        data = {"run": str(run), "users": number, "by_popularity": popular, "out": str(out)}
        return Answer(data, f"{count} items for {number:,} users saved to {out}{told}")
    found = list(answers)
    lines, rows = [], []
    for each in found:
        if each.basis != "history":
            why = "is not on record" if each.unknown else "has no item on record that the run knows"
            lines.append(f"{each.user} {why}: these are {WHAT[each.basis]}.")
        for rank, (item, score) in enumerate(zip(each.items, each.scores), start=1):
            rows.append((each.user, rank, item, each.texts[rank - 1] if each.texts else "", score))
    data = {"run": str(run), "recommendations": [each.to_json() for each in found]}
    return Answer(data, "\n".join(lines), ("user", "rank", "item", "what it is", "score"), rows)
