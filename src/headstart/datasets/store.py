"""Parsed rows on disk: each file is turned into an Arrow file once, then memory-mapped.

``cache_home()/tables/<digest>/`` holds ``rows.arrow`` (an Arrow stream, written batch by batch, so memory stays flat)
and ``rejects.json``. The digest covers path, size, modification time and parser options; a folder appears whole,
by a rename, or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import disk
from headstart.datasets.base import Reject
from headstart.types import cache_home

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1  # part of every digest: raise it when a parser changes what it writes


def digest(kind: str, paths: Iterable[Path], options: Any = None) -> str:
    """The key of parsed files: their paths, sizes and times, and the parser options (JSON-able)."""
    key = hashlib.blake2b(json.dumps([FORMAT, kind, options], sort_keys=True).encode(), digest_size=16)
    for path in paths:
        stat = path.stat()
        key.update(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return key.hexdigest()


def keep(
    key: str, batches: Callable[[list[Reject]], Iterator[pa.RecordBatch]]
) -> tuple[pa.Table, list[Reject], list[int]]:
    """The rows that ``batches(rejects)`` yields: from the store, or written there now and memory-mapped.

    Returns the table, the rejects and the 1-based number of each row, counting rejected rows. Raises
    EnvironmentProblem HS-ENV-002 or HS-ENV-003 where the cache cannot be written, and what ``batches`` raises.
    """
    folder = cache_home() / "tables" / key
    if not (folder / "rejects.json").is_file():
        with _new_folder(folder) as part:
            rejects: list[Reject] = []
            write(part / "rows.arrow", batches(rejects))
            rejects.sort(key=lambda reject: reject.row or 0)
            (part / "rejects.json").write_text(json.dumps([asdict(reject) for reject in rejects]), encoding="utf-8")
    table = mapped(folder / "rows.arrow")
    rejects = [Reject(**row) for row in json.loads((folder / "rejects.json").read_text(encoding="utf-8"))]
    return table, rejects, numbers(len(table), rejects)


def numbers(count: int, rejects: list[Reject]) -> list[int]:
    """The 1-based numbers of ``count`` kept rows when the rejected rows are counted too."""
    gone = {reject.row for reject in rejects if reject.row is not None}
    return [row for row in range(1, count + len(gone) + 1) if row not in gone]


def remember(key: str, make: Callable[[], Any]) -> Any:
    """A small JSON value from the store, or made and written now. Raises EnvironmentProblem as `keep` does."""
    folder = cache_home() / "tables" / key
    if not (folder / "value.json").is_file():
        value = make()
        with _new_folder(folder) as part:
            (part / "value.json").write_text(json.dumps(value), encoding="utf-8")
    return json.loads((folder / "value.json").read_text(encoding="utf-8"))


def write(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    """Write batches of one schema as an Arrow stream; no batch gives a table without columns."""
    import pyarrow as pa

    first = next(batches, None)
    schema = first.schema if first is not None else pa.schema([])
    with path.open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
        if first is not None:
            writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def mapped(path: Path) -> pa.Table:
    """The Arrow stream at ``path``, memory-mapped: its pages are read when they are used."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder on the cache's disk that is gone afterwards, for what does not belong in memory."""
    with disk.workspace(cache_home() / "tables" / "scratch") as folder:
        yield folder


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside its place; renamed to ``folder`` when the block ends well, removed when it does not."""
    with scratch_folder() as part:
        yield part
        disk.settle(part, folder)  # where another process wrote the same rows first, its folder is as good as ours
