"""CSV, TSV, JSON Lines, Parquet and objects in memory."""

import csv
import gzip
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import delimited, store
from headstart.datasets.read import describe, read, write_rejects
from headstart.errors import DataError

ROWS = [("a good film, really good", "pos"), ("bad in each and every way", "neg")] * 5


def write_csv(path: Path, rows, header=("text", "label"), **options) -> Path:
    encoding = options.pop("encoding", "utf-8")
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **options).writerows([header, *rows])
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding):
    rows = [(f"{text} – naïve café “été” à la crème", label) for text, label in ROWS]
    dataset = read(write_csv(tmp_path / "x.csv", rows, delimiter=delimiter, encoding=encoding))
    assert dataset.samples() == [text for text, _ in rows]
    assert dataset.targets() == [label for _, label in rows]
    assert (dataset.modality, dataset.inputs[0].kind, dataset.target.kind) == ("text", "text", "category")


def test_gzip_tsv_and_line_ends(tmp_path):
    text = "text\tlabel\r\n" + "".join(f"{a}\t{b}\r\n" for a, b in ROWS)
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / "x.tsv.gz").samples() == [text for text, _ in ROWS]


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8))
def test_any_rows_written_as_csv_read_back_identical(rows):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADSTART_HOME"] = folder  # each example its own; the fixture puts it back
        path = write_csv(Path(folder) / "x.csv", rows, ("a", "b", "c"), quoting=csv.QUOTE_ALL)
        parsed = delimited.parse(path, delimited.Options({"a": "text", "b": "text", "c": "text"}))
        table = parsed.table.to_pydict()
    assert list(zip(table["a"], table["b"], table["c"])) == rows
    assert parsed.rejects == []


def test_ragged_rows_are_rejected_with_their_numbers(tmp_path):
    lines = ["text,label"] + [f"some words that are number {i},x{i % 2}" for i in range(1, 41)]
    lines[7] += ",extra"
    lines[30] = "alone"
    (tmp_path / "x.csv").write_text("\n".join(lines))
    dataset = read(tmp_path / "x.csv")
    reasons = [(r.row, r.reason) for r in dataset.rejects]
    assert reasons == [(7, "expected 2 fields, found 3"), (30, "expected 2 fields, found 1")]
    assert len(dataset) == 38
    assert dataset.numbers[5:8] == [6, 8, 9]
    assert dataset.samples()[6].endswith("number 8")


def test_ragged_row_numbers_survive_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 1000)
    lines = ["text,label"] + [f"some words that are number {i},x{i % 2}" for i in range(1, 1001)]
    lines[900] += ",extra"
    (tmp_path / "x.csv").write_text("\n".join(lines))
    dataset = read(tmp_path / "x.csv")
    assert [r.row for r in dataset.rejects] == [900]
    assert dataset.numbers[-1] == 1000


def test_types_are_decided_on_all_rows(tmp_path):
    rows = [(str(i), f"{i}.5", f"{i:03d}", "NA" if i % 9 == 0 else str(i), i % 2) for i in range(500)]
    rows[499] = ("late text", *rows[499][1:])
    dataset = read(write_csv(tmp_path / "x.csv", rows, ("a", "b", "c", "d", "label")))
    first = {name: dataset.values(name)[1] for name in "abcd"}
    assert first == {"a": "1", "b": 1.5, "c": "001", "d": 1}
    assert dataset.values("d")[0] is None
    assert dataset.targets()[:2] == [0, 1]
    assert dataset.target.kind == "category"
    assert dataset.modality == "table"


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        ([0, 1] * 10, "category", 0),
        ([1.5, 2.5] * 10, "number", 1.5),
        (list(range(30)), "number", 0),
        ([1.0, 2.0, None] * 5, "category", 1),
        ([True, False] * 5, "category", True),
        (["x", "y"] * 5, "category", "x"),
        (["drama|war", "war", "comedy|drama", "comedy"] * 5, "labels", ["drama", "war"]),
        (["Paris, France", "Rome, Italy", "Bonn, Germany"] * 5, "category", "Paris, France"),
        ([["a"], ["a", "b"], []] * 5, "labels", ["a"]),
    ],
)
def test_target_kinds(values, kind, first):
    data = {"text": [f"four words and number {i}" for i in range(len(values))], "y": values}
    if None in values:
        with pytest.raises(DataError, match="HS-DATA-010"):
            read(data)  # a third of the targets is missing
        data = {name: items[:2] * 8 + items[2:3] for name, items in data.items()}
    dataset = read(data)
    assert (dataset.target.kind, dataset.targets()[0]) == (kind, first)
    assert type(dataset.targets()[0]) is type(first)


def test_kinds_and_roles_can_be_overridden(tmp_path):
    rows = [(i % 3, f"{i % 5}", f"u{i % 4}", "words that are many enough") for i in range(30)]
    path = write_csv(tmp_path / "x.csv", rows, ("stars", "code", "user", "review"))
    dataset = read(path, target="stars", kinds={"stars": "number", "code": "text"}, roles={"user": "group"})
    assert dataset.target.kind == "number"
    assert dataset.values("code")[:2] == ["0", "1"]
    assert dataset.column("user").role == "group"
    assert [c.name for c in read(path, target="stars", input="code").inputs] == ["code"]


def test_split_names_are_normalised():
    names = ["Train", "validation", "dev", "TEST", "train"]
    data = {"text": [f"some text number {i}" for i in range(5)], "label": list("ababa"), "split": names}
    dataset = read(data)
    assert dataset.values("split") == ["train", "valid", "valid", "test", "train"]
    assert dataset.column("split").role == "split"
    other = read(data | {"split": ["left", "right", "left", "right", "left"]})
    assert other.column("split").role == "unused"


def test_jsonl(tmp_path):
    rows = [{"text": f"some words, number {i}", "label": "ab"[i % 2], "vector": [1, 2.5], "n": i} for i in range(20)]
    lines = [json.dumps(row) for row in rows]
    lines[3] = '{"text": "broken'
    lines[5] = "[1, 2]"
    (tmp_path / "x.jsonl").write_text("\n".join([*lines[:7], "", *lines[7:]]))
    dataset = read(tmp_path / "x.jsonl")
    assert len(dataset) == 18
    assert [r.row for r in dataset.rejects] == [4, 6]
    assert dataset.rejects[1].reason == "line 6 is not a JSON object"
    assert dataset.column("vector").kind == "array"
    assert dataset.values("vector")[0] == [1.0, 2.5]
    assert dataset.numbers[:5] == [1, 2, 3, 5, 7]


def test_only_line_feeds_end_a_json_line(tmp_path):
    rows = [{"text": f"one\u2028two\x85three\x0cfour {i}", "label": "ab"[i % 2]} for i in range(4)]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert read(tmp_path / "x.jsonl").samples() == [row["text"] for row in rows]


def test_a_quote_that_is_closed_by_another_rows_quote_is_seen(tmp_path):
    lines = ["text,label"] + [f"some words that are number {i},x{i % 2}" for i in range(1, 21)]
    lines[5] = '"never closed,x1'
    lines[12] = '"closed here, too late",x1'
    (tmp_path / "x.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"HS-DATA-005.*row 5: a quotation mark"):
        read(tmp_path / "x.csv")


def test_parquet_keeps_types_and_drops_the_index(tmp_path):
    table = pa.table(
        {
            "text": pa.array([f"some words, number {i}" for i in range(10)], pa.large_string()),
            "label": pa.array(list("ab") * 5).dictionary_encode(),
            "x": pa.array([float("nan"), 1.0] * 5),
            "__index_level_0__": list(range(10)),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet.brotli", compression="brotli")
    dataset = read(tmp_path / "x.parquet.brotli")
    assert [c.name for c in dataset.columns] == ["text", "label", "x"]
    assert dataset.values("x")[:2] == [None, 1.0]
    assert dataset.targets()[:2] == ["a", "b"]


def test_pandas_and_dict_and_arrow_agree():
    import pandas as pd

    data = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
    datasets = [read(data), read(pd.DataFrame(data)), read(pa.table(data))]
    assert len({tuple(d.fingerprints()) for d in datasets}) == 1
    assert all(d.targets() == data["label"] for d in datasets)


def test_rows_without_input_or_target_are_rejected(tmp_path):
    rows = [*ROWS, ("", "pos"), ("words without a label here", ""), ("words with nan as a label", "NaN")]
    path = write_csv(tmp_path / "x.csv", [*rows, *ROWS])
    dataset = read(path)
    assert [(r.row, r.reason) for r in dataset.rejects] == [
        (11, 'the input "text" is empty'),
        (12, 'the target "label" is missing'),
        (13, 'the target "label" is missing'),
    ]
    written = write_rejects(dataset.rejects, tmp_path / "rejected.csv").read_text().splitlines()
    assert written[:2] == ["path,row,reason", f'{path},11,"the input ""text"" is empty"']
    assert len(read(path, for_prediction=True)) == 22


def test_prediction_needs_no_target_and_may_have_one_column(tmp_path):
    path = write_csv(tmp_path / "x.csv", [(text,) for text, _ in ROWS], ("text",))
    dataset = read(path, input="text", for_prediction=True)
    assert dataset.target is None
    assert len(dataset) == 10


def test_limit_takes_the_first_rows():
    data = {"text": [f"some words, number {i}" for i in range(10)], "label": list("ab") * 5}
    assert read(data, limit=4).samples() == data["text"][:4]


def test_stored_once_then_mapped_and_keyed_by_content(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "x.csv", ROWS)
    read(path)
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "_batches", lambda *_: pytest.fail("parsed twice"))
        assert len(read(path)) == 10
    write_csv(path, [*ROWS, ("one more row of many words", "pos")])
    assert len(read(path)) == 11


def test_nothing_half_written_stays(tmp_path, home, monkeypatch):
    def fails(rejects):
        yield pa.RecordBatch.from_pydict({"a": [1]})
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.keep("key", fails)
    assert list((home / "tables").iterdir()) == []


def test_describe_shows_every_column():
    shown = describe(read({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}))
    assert shown[1] == {
        "name": "label", "role": "target", "kind": "category", "missing": 0, "distinct": 2, "example": "pos",
    }  # fmt: skip


def test_twenty_thousand_rows_stay_on_disk(tmp_path):
    rows = [(f"a short text, the number is {i}\nwith a line", f"c{i % 5}") for i in range(20_000)]
    path = write_csv(tmp_path / "x.csv", rows)
    read({"text": ["warm the imports up"] * 4, "label": list("abab")})
    before = pa.total_allocated_bytes()
    dataset = read(path)
    assert len(dataset) == 20_000
    assert pa.total_allocated_bytes() - before < 100_000  # the rows are mapped, not loaded


def test_a_text_cell_in_a_column_of_numbers_is_told():
    hours = [str(n) for n in range(29)] + ["forty"]
    rows = {"hours": hours, "code": ["a1", "2"] * 15, "size": list(range(30)), "label": ["a", "b"] * 15}
    told = [note for note in read(rows, target="label").notes if note.startswith("Columns")]
    assert len(told) == 1 and '"hours"' in told[0] and 'row 30 holds "forty"' in told[0]
    assert not read(rows, target="label", kinds={"hours": "category"}).notes
