"""``headstart embed``: every row once, in its order, beside its own columns; whole or not at all."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import headstart
from headstart import embedding, runtime
from headstart.datasets import stream
from headstart.embedding import Job, write
from headstart.errors import DataError, HeadstartError, SourceError, UsageError
from headstart.runtime import Extractor
from headstart.segments import Segment
from tests.conformance.examples import WORDS, tiny_bert


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))


def numbers(count: int, start: int = 0) -> pa.Table:
    rows = np.arange(start, start + count)
    return pa.table({"id": [f"r{row}" for row in rows], "a": rows / 4, "b": -rows.astype(np.float64)})


def vectors(path: Path, name: str = "embedding") -> np.ndarray:
    column = pq.read_table(path).column(name)
    return np.stack(column.to_numpy())


def job(data, **options) -> Job:
    return Job(data, "identity", input=("a", "b"), **options)


def test_every_row_in_its_order_beside_its_columns(tmp_path):
    pq.write_table(numbers(50), tmp_path / "in.parquet")
    done = write(job(tmp_path / "in.parquet"), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert table.select(["id", "a", "b"]).equals(numbers(50))
    assert np.array_equal(vectors(tmp_path / "out.parquet"), np.stack([np.arange(50) / 4, -np.arange(50)], axis=1))
    assert (done.rows, done.rejected, done.columns, done.forward_rows) == (50, 0, {"embedding": 2}, 50)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_second_time_nothing_is_computed(tmp_path):
    first = write(job(numbers(40)), tmp_path / "one.parquet")
    again = write(job(numbers(60)), tmp_path / "two.parquet")
    assert (first.forward_rows, again.forward_rows) == (40, 20)
    assert np.array_equal(vectors(tmp_path / "two.parquet")[:40], vectors(tmp_path / "one.parquet"))


@pytest.mark.parametrize("place", ["shards", "shards/*.parquet", "shards/part-*", "shards/**"])
def test_shards_are_streamed_in_small_parts(tmp_path, monkeypatch, place):
    monkeypatch.setattr(stream, "ROWS", 7)
    (tmp_path / "shards").mkdir()
    for number in range(3):
        pq.write_table(numbers(20, 20 * number), tmp_path / "shards" / f"part-{number}.parquet")
    sizes = []
    monkeypatch.setattr(Extractor, "ensure", watch(Extractor.ensure, sizes))
    write(job(str(tmp_path / place)), tmp_path / "out.parquet")
    assert sizes == [7, 7, 6] * 3
    assert pq.read_table(tmp_path / "out.parquet").select(["id", "a", "b"]).equals(numbers(60))
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 9
    assert not (tmp_path / "home" / "tables").exists(), "no copy of the shards is made"


def watch(ensure, sizes):
    def watched(self, dataset, outputs):
        sizes.append(len(dataset))
        return ensure(self, dataset, outputs)

    return watched


def test_output_among_its_own_shards_is_no_input(tmp_path):
    for number in range(2):
        pq.write_table(numbers(5, 5 * number), tmp_path / f"part-{number}.parquet")
    for _ in range(2):
        assert write(job(tmp_path), tmp_path / "features.parquet").rows == 10


@pytest.mark.parametrize("count", [3, 12, 25, 100])
def test_limit_counts_over_all_shards(tmp_path, monkeypatch, count):
    monkeypatch.setattr(stream, "ROWS", 6)
    for number in range(3):
        pq.write_table(numbers(10, 10 * number), tmp_path / f"{number}.parquet")
    done = write(job(tmp_path, limit=count), tmp_path / "out.pq")
    assert done.rows == min(count, 30) == pq.read_metadata(tmp_path / "out.pq").num_rows


def test_several_csv_files(tmp_path):
    for number in range(3):
        with (tmp_path / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "a", "b"])
            writer.writerows([f"r{row}", row, 2.5] for row in range(4 * number, 4 * number + 4))
    write(job(str(tmp_path / "*.csv")), tmp_path / "out.parquet")
    assert vectors(tmp_path / "out.parquet")[:, 0].tolist() == list(range(12))
    assert pq.read_table(tmp_path / "out.parquet").column("id").to_pylist() == [f"r{row}" for row in range(12)]


def test_unreadable_rows_are_listed_with_their_numbers(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(stream, "ROWS", 4)
    texts = ["good", "", "bad", "fine", None, "poor"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    done = write(
        Job(tmp_path / "in.parquet", tiny, input="text", kinds={"text": "text"}), tmp_path / "out.parquet", True
    )
    assert (done.rows, done.rejected) == (4, 2)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["file", "row", "embedding"] and table.column("row").to_pylist() == [1, 3, 4, 6]
    with Path(str(done.rejected_to)).open() as file:
        assert [row["row"] for row in csv.DictReader(file)] == ["2", "5"]


@pytest.fixture
def tiny(tmp_path):
    return tiny_bert(tmp_path / "bert")


def test_layers_and_the_array(tmp_path, tiny):
    rows = {"text": [f"{one} {other} words" for one in WORDS[:5] for other in WORDS]}
    layer = tiny.layers()[-2].name
    out = headstart.embed(rows, source=tiny, input="text", layers=["pooled", layer], out=tmp_path / "out.parquet")
    names = pq.read_table(out).column_names
    assert names == ["text", "embedding_pooled", f"embedding_{layer}"]
    array = headstart.embed(rows, source=tiny, input="text", layers=layer)
    assert array.shape == (75, 32) and np.array_equal(array, vectors(out, f"embedding_{layer}"))
    import torch

    with torch.no_grad():
        features = tiny.features(tiny.preprocess(rows["text"][:9]), [layer])
    assert np.allclose(vectors(out, "embedding_pooled")[:9], features.pooled, atol=0.05)
    assert np.allclose(array[:9], features.cuts[layer], atol=0.05)


@pytest.mark.parametrize("place", ["photos", "photos/*.png"])
def test_pictures_of_a_folder_or_a_pattern(tmp_path, place):
    from tests.conformance.examples import tiny_timm

    (tmp_path / "photos").mkdir()
    draw = np.random.default_rng(0)
    for number in range(6):
        pixels = draw.integers(0, 255, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "3.png").write_bytes(b"no picture")
    done = write(Job(str(tmp_path / place), tiny_timm(tmp_path / "timm")), tmp_path / "out.parquet")
    assert (done.rows, done.rejected) == (5, 1)
    table = pq.read_table(tmp_path / "out.parquet")
    assert [Path(name).name for name in table.column("image").to_pylist()] == [f"{n}.png" for n in (0, 1, 2, 4, 5)]


def test_encoded_pictures_are_not_copied(tmp_path):
    from tests.conformance.examples import tiny_timm

    raw = []
    for number in range(3):
        Image.new("RGB", (20, 20), (90 * number, 0, 0)).save(tmp_path / "x.png")
        raw.append((tmp_path / "x.png").read_bytes())
    pq.write_table(pa.table({"picture": raw, "name": ["a", "b", "c"]}), tmp_path / "in.parquet")
    write(Job(tmp_path / "in.parquet", tiny_timm(tmp_path / "timm")), tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["name", "embedding"]


# --- several at once -----------------------------------------------------------------------------------------------


def slowly(keep, fails_at: int | None = None):
    """`Extractor._keep` that takes a while; the call number ``fails_at`` raises instead of storing."""
    calls = iter(range(1000))

    def kept(self, digests, found):
        time.sleep(0.01)
        if next(calls) == fails_at:
            raise RuntimeError("this one dies")
        keep(self, digests, found)

    return kept


def two_at_once(tmp_path) -> list:
    """What two threads make of the same rows, each with an extractor of its own."""

    def one(name: str):
        try:
            return write(job(numbers(200)), tmp_path / f"{name}.parquet")
        except RuntimeError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, ["one", "other"]))


def test_two_at_once_compute_each_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "WINDOW", 8)
    monkeypatch.setattr(Extractor, "_keep", slowly(Extractor._keep))
    one, other = two_at_once(tmp_path)
    assert one.forward_rows + other.forward_rows == 200 and one.forward_rows > 0 < other.forward_rows
    assert np.array_equal(vectors(tmp_path / "one.parquet"), vectors(tmp_path / "other.parquet"))
    assert vectors(tmp_path / "one.parquet")[:, 1].tolist() == [-row for row in range(200)]


def test_one_of_two_fails_and_the_other_does_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "WINDOW", 8)
    monkeypatch.setattr(Extractor, "_keep", slowly(Extractor._keep, fails_at=5))
    done = [each for each in two_at_once(tmp_path) if not isinstance(each, RuntimeError)]
    assert len(done) == 1 and done[0].rows == 200
    assert vectors(Path(done[0].out))[:, 1].tolist() == [-row for row in range(200)]
    digests = [Segment(path).count for path in (tmp_path / "home").rglob("segment-*")]
    assert sum(digests) == 200, "no row was stored twice"


# --- bad input -----------------------------------------------------------------------------------------------------


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    write(job(numbers(30)), out)
    before = out.read_bytes()

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(embedding, "_kept", stop)
        write(job(numbers(60)), out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert write(job(numbers(60)), out).forward_rows == 0, "what was computed is not lost"


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path):
    out = tmp_path / "out.parquet"
    (tmp_path / ".out.parquet.123.part").write_bytes(b"left")
    hold = "import sys, time; from pathlib import Path; from headstart import locks\n"
    hold += "handle = locks.acquire(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    living = tmp_path / ".out.parquet.456.part"
    with subprocess.Popen([sys.executable, "-c", hold, str(living)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        write(job(numbers(3)), out)
        assert [path.name for path in tmp_path.glob(".*")] == [living.name]
        child.kill()
    write(job(numbers(3)), out)
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("options", "out", "error", "words"),
    [
        ({}, "features.csv", UsageError, "HS-USAGE-001.*no Parquet file"),
        ({}, ".", UsageError, "HS-USAGE-001.*no Parquet file"),
        ({"layers": ("deep",)}, "o.parquet", UsageError, 'HS-USAGE-001.*no layer "deep"'),
        ({"layers": ("pooled", "pooled")}, "o.parquet", UsageError, "HS-USAGE-001.*each once"),
        ({"kinds": {"c": "number"}}, "o.parquet", UsageError, 'HS-USAGE-001.*no column "c"'),
        ({"source": "nowhere"}, "o.parquet", SourceError, "HS-SOURCE-001"),
        ({"source": "bert"}, "o.parquet", SourceError, "HS-SOURCE-005.*reads text.*is table"),
        ({"input": ("a", "bb")}, "o.parquet", DataError, 'HS-DATA-015.*"bb".*Did you mean "b"'),
        ({"data": "*.gone"}, "o.parquet", DataError, "HS-DATA-001.*no file fits"),
    ],
)
def test_bad_arguments(tmp_path, tiny, options, out, error, words):
    pq.write_table(numbers(5), tmp_path / "in.parquet")
    given = {"data": tmp_path / "in.parquet", "source": "identity", "input": ("a", "b"), **options}
    if given["source"] == "bert":
        given["source"] = tiny
    with pytest.raises(error, match=words) as caught:
        write(Job(**given), tmp_path / out)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o.parquet").exists() and list(tmp_path.glob(".*")) == []


def test_a_column_called_embedding_is_not_overwritten(tmp_path):
    rows = numbers(4).append_column("embedding", pa.array([1, 2, 3, 4]))
    with pytest.raises(UsageError, match="has a column"):
        write(job(rows), tmp_path / "out.parquet")
    assert write(job(rows), tmp_path / "out.parquet", only_features=True).rows == 4


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (numbers(4).drop_columns("id"), "HS-DATA-015"),
        (numbers(4).drop_columns("b"), "HS-DATA-015"),
        (numbers(4).set_column(0, "id", pa.array([[1.0]] * 4)), "HS-DATA-020"),
    ],
)
def test_a_shard_that_does_not_fit_the_first(tmp_path, other, code):
    (tmp_path / "in").mkdir()
    pq.write_table(numbers(4), tmp_path / "in" / "0.parquet")
    pq.write_table(other, tmp_path / "in" / "1.parquet")
    with pytest.raises(HeadstartError, match=code):
        write(job(tmp_path / "in"), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that this user cannot write")
def test_a_closed_folder(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(HeadstartError, match="HS-ENV-003"):
        write(job(numbers(4)), tmp_path / "closed" / "out.parquet")
