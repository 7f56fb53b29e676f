"""Features as a product: every row of a table, a folder or a pattern through one frozen source, into a Parquet file.

    headstart.embed("reviews.csv", source="minilm")                              # array [N,D]
    headstart.embed("shards/*.parquet", source="minilm", out="features.parquet")

Rows are read, computed and written a part at a time, so that memory does not grow with their number. Features go
through the store (`cache.py`): what it has is not computed again, so a killed command goes on where it stopped, and
two that run at once share the work. The file appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import disk, locks
from headstart.datasets.base import Dataset, Reject
from headstart.datasets.read import write_rejects
from headstart.datasets.stream import count, stream
from headstart.errors import DataError, SourceError, UsageError, did_you_mean
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.shelf import open_source
from headstart.types import Json

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 8192  # rows of a row group
POOLED = "pooled"
IN_ROWS = "Give a row for each series: a column of lists of numbers with --kind COLUMN=series, or a .ts file."


@dataclass
class Embedded:
    """What was done. columns: name -> width of each feature column. forward_rows: rows computed now, not before."""

    out: str
    source: str = ""
    columns: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    rejected: int = 0
    rejected_to: str | None = None
    forward_rows: int = 0
    seconds: float = 0.0
    runtime: str = ""
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> Json:
        """The same as plain JSON."""
        return asdict(self)


def embed(
    data: Any,
    *,
    source: str | Source,
    out: str | Path | None = None,
    input: str | Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    layers: str | Sequence[str] = POOLED,
    limit: int | None = None,
    only_features: bool = False,
    precision: str = "auto",
    backend: str = "auto",
    report: Callable[[str, int, int], None] | None = None,
) -> Path | np.ndarray:
    """Features of every row of ``data``: the path of the Parquet file, or without ``out`` an array [N, sum of D].

    data: what `headstart.read` takes, a pattern (``shards/*.parquet``), a folder of tables or of pictures; it needs no
    target. input, kinds, limit: as for `read`. layers: ``pooled`` and names of layers. only_features: leave out the
    columns of the rows and keep their number (and file). precision, backend: as for `fit`.

    The file holds the columns of the input (but no encoded pictures) and ``embedding``, a list of D float32; with
    several layers ``embedding_<layer>`` each. Rows that cannot be read are listed in ``<out>.rejected.csv``.

    Raises DataError (as `read` does), SourceError HS-SOURCE-001 to -008, UsageError HS-USAGE-001, EnvironmentProblem.
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    job = Job(data, source, names, input, kinds, limit, precision, backend, report)
    if out is not None:
        write(job, Path(out), only_features)
        return Path(out)
    with closing(job.parts()) as parts:
        made = [extractor.stored(digests, names) for _, digests, extractor in parts]
    return made[0] if len(made) == 1 else np.concatenate(made)


@dataclass(frozen=True)
class Job:
    """What is to be embedded, and how; the fields are the arguments of `embed`."""

    data: Any
    source: str | Source
    layers: tuple[str, ...] = (POOLED,)
    input: str | Sequence[str] | None = None
    kinds: Mapping[str, str] | None = None
    limit: int | None = None
    precision: str = "auto"
    backend: str = "auto"
    report: Callable[[str, int, int], None] | None = None

    def parts(self, passing: Path | None = None) -> Generator[tuple[Dataset, np.ndarray, Extractor], None, None]:
        """The rows a part at a time, their digests, and the extractor in whose store their features are by then."""
        extractor: Extractor | None = None
        done, total = 0, count(self.data, self.limit)
        for part in stream(self.data, input=self.input, kinds=self.kinds, limit=self.limit, passing=passing):
            extractor = extractor or self._open(part)
            extractor.report = self._progress(done, total)
            yield part, extractor.ensure(part, self.layers), extractor
            done += len(part)

    def _open(self, part: Dataset) -> Extractor:
        """The extractor for rows like these. Raises SourceError HS-SOURCE-005, UsageError HS-USAGE-001."""
        source = open_source(self.source) if isinstance(self.source, str) else self.source
        if source.card.modality != part.modality:
            names = ", ".join(column.name for column in part.inputs)
            raise SourceError(
                "HS-SOURCE-005",
                f"{source.card.name} reads {source.card.modality}; the input ({names}) of {part.origin} is "
                f"{part.modality}.",
                IN_ROWS
                if source.card.modality == "series"
                else "Name another --source, or other columns with --input.",
            )
        source = source.settled(part.select(range(min(len(part), GROUP))))
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise UsageError("HS-USAGE-001", f"the layers are {list(self.layers)}.", "Expected one or more, each once.")
        if named := [layer for layer in self.layers if layer != POOLED]:
            known = [POOLED, *(layer.name for layer in source.layers())]
            for layer in named:
                if layer not in known:
                    raise UsageError(
                        "HS-USAGE-001", f'{source.card.name} has no layer "{layer}".', did_you_mean(layer, known)
                    )
        return Extractor(source, precision=self.precision, backend=self.backend)

    def _progress(self, start: int, total: int) -> Callable[[str, int, int], None]:
        """The progress of one part as that of the whole, whose size may not be known beforehand (0)."""

        def tell(stage: str, done: int, of: int) -> None:
            if self.report is not None:
                self.report(stage, start + done, total or (0 if start else of))

        return tell


def write(job: Job, out: Path, only_features: bool = False) -> Embedded:
    """`embed` into a file, and what there is to say of it. Raises as `embed` does."""
    _check_place(out)
    started, rejects = time.perf_counter(), list[Reject]()
    done = Embedded(str(out))
    with _Table(out) as table, closing(job.parts(out)) as parts:
        for part, digests, extractor in parts:
            for start in range(0, len(part), GROUP):
                rows = slice(start, min(start + GROUP, len(part)))
                features = {_column(layer, job): extractor.stored(digests[rows], [layer]) for layer in job.layers}
                table.append(_kept(part, rows, only_features), features)
                done.columns = {name: values.shape[1] for name, values in features.items()}
            done.rows += len(part)
            done.source, done.forward_rows = extractor.source.card.name, extractor.forward_rows
            done.runtime, done.notes = extractor.description, extractor.notes
            rejects += part.rejects
    done.rejected, done.seconds = len(rejects), round(time.perf_counter() - started, 3)
    if rejects:
        done.rejected_to = str(write_rejects(rejects, out.with_name(f"{out.stem}.rejected.csv")))
    return done


def _column(layer: str, job: Job) -> str:
    return "embedding" if len(job.layers) == 1 else f"embedding_{layer}"


def _kept(part: Dataset, rows: slice, only_features: bool) -> pa.Table:
    """What stands beside the features: the columns of the rows, or their numbers and file."""
    import pyarrow as pa

    if only_features:
        numbers = part.numbers[rows]
        return pa.table({"file": pa.repeat(pa.scalar(part.origin), len(numbers)), "row": pa.array(numbers, pa.int64())})
    files = {column.name for column in part.inputs if column.kind in ("image", "audio")}
    table: pa.Table = part.table.with_format("arrow")[rows]
    drop = [name for name in files if not pa.types.is_string(table.schema.field(name).type)]
    return table.drop_columns(drop).replace_schema_metadata(None)


# --- the file ----------------------------------------------------------------------------------------------------


def _check_place(out: Path) -> None:
    """Raise UsageError HS-USAGE-001 where no Parquet file can stand: before the work, not after it."""
    if out.suffix.lower() not in (".parquet", ".pq"):
        raise UsageError("HS-USAGE-001", f"--out {out} is no Parquet file.", "Name one, such as features.parquet.")
    if out.is_dir():
        raise UsageError("HS-USAGE-001", f"--out {out} is a folder.", "Name a file, such as features.parquet.")


class _Table:
    """A Parquet file that is written row group by row group beside its place and renamed at the end."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.partial = out.with_name(f".{out.name}.{os.getpid()}.part")
        self._writer: Any = None
        self._schema: Any = None
        self._handle: int | None = None

    def __enter__(self) -> _Table:
        with disk.guard(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            for other in self.out.parent.glob(f".{self.out.name}.*.part"):
                if not locks.is_held(other):  # left by a process that was killed
                    other.unlink(missing_ok=True)
            self._handle = locks.acquire(self.partial)
        return self

    def append(self, kept: pa.Table, features: Mapping[str, np.ndarray]) -> None:
        """Write one row group: the columns of the rows, then the features [n,D] by name."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = kept
        for name, values in features.items():
            if name in kept.column_names:
                raise UsageError(
                    "HS-USAGE-001", f'the input has a column "{name}" already.', "Rename it, or use --only-features."
                )
            flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
            table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
        with disk.guard(self.out):
            if self._writer is None:
                self._schema = table.schema
                self._writer = pq.ParquetWriter(self.partial, table.schema, use_dictionary=kept.column_names)
            self._writer.write_table(self._fitting(table))

    def _fitting(self, table: pa.Table) -> pa.Table:
        """The rows in the columns and types of the first. Raises DataError HS-DATA-020."""
        import pyarrow as pa

        if table.schema.equals(self._schema):
            return table
        try:
            return table.select(self._schema.names).cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, KeyError) as error:
            raise DataError(
                "HS-DATA-020",
                f"{self.out}: later rows do not fit the first ({str(error).splitlines()[0][:100]}).",
                "Give all files the same columns and types, or use --only-features.",
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with disk.guard(self.out):
                if self._writer is not None:
                    self._writer.close()
                if error is None and self._writer is not None:
                    self.partial.replace(self.out)
        finally:
            with suppress(OSError):
                self.partial.unlink()
            if self._handle is not None:
                os.close(self._handle)
