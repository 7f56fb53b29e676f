"""What a person sees of a command: one answer on stdout, progress and errors on stderr."""

from __future__ import annotations

import io
import json
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart import disk
from headstart.errors import EnvironmentProblem, HeadstartError, Problems, missing_package
from headstart.types import Json


@dataclass
class Answer:
    """What a command has to say: ``data`` with --json, else ``text`` and the table of ``rows``. status: exit code."""

    data: Json
    text: str = ""
    headings: Sequence[str] = ()
    rows: Iterable[Sequence[Any]] = field(default_factory=list)
    status: int = 0

    def show(self, as_json: bool) -> None:
        """Print it to stdout."""
        if as_json:
            print(json.dumps(plain(self.data), ensure_ascii=False))
            return
        if self.headings:
            _print_table(self.headings, self.rows)
        if self.text:
            print(self.text)


def plain(value: Any) -> Any:
    """The value with NaN and infinity as null and paths as text: JSON that every reader accepts."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(table)
        return
    page = io.StringIO()
    Console(file=page, width=160, markup=False, highlight=False).print(table)
    print("\n".join(line.rstrip() for line in page.getvalue().splitlines()))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


class Progress:
    """The callback ``report(stage, done, total)``: bars in a terminal, else a line a stage and one every 5 seconds.

    A total of 0 means that it is not known. Everything goes to stderr; ``quiet`` shows nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._begun: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._ended: set[str] = set()

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if self.quiet:
            return
        now = time.monotonic()
        again = stage in self._ended and done < total
        if stage not in self._begun or again:
            self._begun[stage] = now
            self._ended.discard(stage)
        seconds = now - self._begun[stage]
        rate = f"{done / seconds:,.0f}/s" if done and seconds > 0.2 else ""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total or None, rate="")
            self._bars.update(self._tasks[stage], completed=done, total=total or None, rate=rate)
            self._note_end(stage, done, total)
        else:
            self._plain(stage, done, total, seconds, rate, now)

    def _plain(self, stage: str, done: int, total: int, seconds: float, rate: str, now: float) -> None:
        if stage in self._ended:
            return
        finished = self._note_end(stage, done, total)
        if stage in self._said and not finished and now - self._said[stage] < 5.0:
            return
        self._said[stage] = now
        count = f" {done:,}/{total:,}" if total > 1 else ""
        print(f"{stage}{count} {rate} {seconds:.1f} s".replace("  ", " "), file=sys.stderr, flush=True)

    def _note_end(self, stage: str, done: int, total: int) -> bool:
        if total and done >= total:
            self._ended.add(stage)
        return stage in self._ended


# --- errors ----------------------------------------------------------------------------------------------------


def understand(error: BaseException) -> HeadstartError:
    """The coded error that an exception stands for; HS-INTERNAL-001 where it is a fault of ours.

    Libraries wrap what the machine said, so causes are searched too, and the texts of those that keep no errno.
    """
    if isinstance(error, HeadstartError):
        return error
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        if (found := _machine(current)) is not None:
            return found
        current = current.__cause__ or current.__context__
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("headstart"):
        return missing_package(error.name.split(".")[0])
    line = " ".join(str(error).split())[:300]
    return HeadstartError(
        "HS-INTERNAL-001",
        f"{type(error).__name__}: {line}".rstrip(": ") + ".",
        "This is a fault in Headstart; run again with --debug for the traceback and report it.",
    )


def _machine(error: BaseException) -> EnvironmentProblem | HeadstartError | None:
    if isinstance(error, HeadstartError):
        return error
    text = str(error)
    if (refused := disk.refusal(error)) is not None:
        return refused
    out_of_memory = "can't allocate memory" in text or "out of memory" in text.lower()
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory):
        return EnvironmentProblem(
            "HS-ENV-004", "out of memory.", "Use fewer rows (--limit), a smaller source, or a machine with more memory."
        )
    return None


def complain(error: BaseException, as_json: bool, debug: bool) -> int:
    """Show an error (one line on stderr, or one JSON object on stdout) and return the exit status."""
    if debug:
        traceback.print_exception(error)
    known = understand(error)
    if as_json:
        print(json.dumps({"error": error_json(known)}, ensure_ascii=False))
    else:
        print(str(known), file=sys.stderr)
    return 1 if known.code == "HS-INTERNAL-001" else 2


def error_json(error: HeadstartError) -> Json:
    """An error as JSON: code, message, hint, and all problems where there are several."""
    data: Json = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, Problems):
        data["problems"] = [error_json(problem) for problem in error.problems]
    return data
