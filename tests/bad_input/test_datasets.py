"""Broken data: each gives the documented code and one line that names the file (and column or row)."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from headstart.datasets import shelf
from headstart.datasets.read import read, write_rejects
from headstart.errors import CODES, DataError, EnvironmentProblem, HeadstartError, Problems

GOOD = "".join(f"some words that are number {i},{'ab'[i % 2]}\n" for i in range(10))
HEAD = "text,label\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def jsonl(*rows: object) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


def frame(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


SPAN = {"text": "Ada wrote it", "spans": [{"start": 0, "end": 99, "label": "PER"}]}
RAGGED = HEAD + GOOD + "one,two,three\n" * 5

# name of the file, its content, what read is asked for, the code, words that the line must hold
BROKEN = [
    ("empty.csv", "", {}, "HS-DATA-002", ["empty"]),
    ("blank.csv", " \n\n \n", {}, "HS-DATA-002", ["empty"]),
    ("header.csv", HEAD, {}, "HS-DATA-002", ["no rows"]),
    ("bytes.csv", HEAD.encode() + bytes(range(1, 256)) * 40, {}, "HS-DATA-004", ["decoded"]),
    ("late.csv", (HEAD + GOOD * 900).encode() + "é,a\n".encode("cp1252") + b"\x81\x8d,a\n", {}, "HS-DATA-004", []),
    ("utf16.csv", (HEAD + GOOD).encode("utf-16-le"), {}, "HS-DATA-004", ["UTF-16"]),
    ("nul.csv", (HEAD + GOOD + "bad\0 words,a\n").encode(), {}, "HS-DATA-013", ["NUL", "line 12"]),
    ("excel.csv", b"PK\x03\x04" + b"x" * 100, {}, "HS-DATA-011", ["Excel"]),
    ("damaged.csv.gz", b"\x1f\x8b\x08\x00broken", {}, "HS-DATA-013", ["gzip"]),
    ("cut.csv.gz", gzip.compress((HEAD + GOOD * 50).encode())[:60], {}, "HS-DATA-013", ["gzip"]),
    ("ragged.csv", RAGGED, {}, "HS-DATA-010", ["5 of 15", "row 11: expected 2 fields, found 3"]),
    ("colons.csv", "text:label\nsome words:a\n", {}, "HS-DATA-005", ["only one column", "text:label"]),
    ("one.csv", "text\nsome words\n", {"target": "label"}, "HS-DATA-005", ["only one column"]),
    ("quote.csv", HEAD + GOOD + '"never closed,a\n' + GOOD * 3, {}, "HS-DATA-005", ["quotation mark"]),
    ("twice.csv", "text,label,text\n" + "x,y,z\n", {}, "HS-DATA-016", ['"text"', "columns 1 and 3"]),
    ("typo.csv", HEAD + GOOD, {"target": "lable"}, "HS-DATA-003", ['"lable"', 'Did you mean "label"']),
    ("input.csv", HEAD + GOOD, {"input": "txt"}, "HS-DATA-003", ['"txt"', 'Did you mean "text"']),
    ("role.csv", HEAD + GOOD, {"roles": {"user": "group"}}, "HS-DATA-003", ['"user"']),
    ("kind.csv", HEAD + GOOD, {"kinds": {"label": "klass"}}, "HS-USAGE-001", ['"klass"']),
    ("number.csv", HEAD + GOOD, {"kinds": {"label": "number"}}, "HS-DATA-020", ['"label"', "row 1", '"a"']),
    ("date.csv", HEAD + GOOD, {"kinds": {"label": "datetime"}}, "HS-DATA-020", ['"label"', "row 1"]),
    ("array.csv", HEAD + GOOD, {"kinds": {"text": "array"}}, "HS-DATA-020", ['"text"']),
    ("target.csv", "text,b\n" + GOOD, {}, "HS-DATA-003", ["--target", '"b"']),
    ("both.csv", HEAD + GOOD, {"target": "label", "input": "label"}, "HS-USAGE-001", ['"label"']),
    ("input.csv", "label,z\n" + "a,\nb,\n" * 5, {"roles": {"z": "unused"}}, "HS-DATA-017", ["input"]),
    ("predict.csv", "txt,b\n" + GOOD, {"input": "text", "for_prediction": True}, "HS-DATA-015", ['"text"', '"txt"']),
    ("missing.csv", frame("text,label", *["some words,"] * 9), {}, "HS-DATA-008", ['"label"']),
    ("nan.csv", frame("text,label", *["some words,nan"] * 9), {}, "HS-DATA-008", ['"label"']),
    ("nans.csv", HEAD + GOOD + "some words,NaN\n" * 4, {}, "HS-DATA-010", ["row 11", "missing"]),
    ("mixed.csv", HEAD + "some words,1\n" * 9 + "some words,two\n", {}, "HS-DATA-009", ['"label"', '"two"', "row 10"]),
    ("texts.csv", HEAD + GOOD + "some words,7\n", {}, "HS-DATA-009", ['"7"', "row 11"]),
    ("inputs.csv", HEAD + GOOD + ",a\n" * 4, {}, "HS-DATA-010", ["row 11", '"text" is empty']),
    (
        "split.csv",
        "text,label,split\n" + "w x y,a,train\n" * 5 + "w x y,b,tset\n",
        {},
        "HS-DATA-014",
        ["tset", "row 6"],
    ),
    ("fold.csv", "text,label,f\n" + "w x y,a,1\n" * 6, {"roles": {"f": "split"}}, "HS-DATA-014", ['"f"', "row 1"]),
    (
        "images.csv",
        "file,label\n" + "no.png,a\nnot.png,b\n" * 3,
        {"kinds": {"file": "image"}},
        "HS-DATA-010",
        ["no.png"],
    ),
    ("empty.jsonl", "", {}, "HS-DATA-002", ["empty"]),
    ("line.jsonl", jsonl({"text": "a b", "label": "x"}, '{"text": "a'), {}, "HS-DATA-010", ["line 2 is not JSON"]),
    ("list.jsonl", jsonl([1], [2]), {}, "HS-DATA-010", ["line 1 is not a JSON object"]),
    ("deep.jsonl", "[" * 100_000, {}, "HS-DATA-010", ["line 1"]),
    ("spans.jsonl", jsonl(SPAN, SPAN), {}, "HS-DATA-018", ["row 1", "span 0-99", "12 characters"]),
    ("empty.conll", "", {}, "HS-DATA-002", ["sentences"]),
    ("words.conll", "a\nb\n", {}, "HS-DATA-005", ["line 1", "tag"]),
    ("ragged.conll", "a X\nb\n\nc X\n", {}, "HS-DATA-010", ["line 2: expected 2 columns, found 1"]),
    ("tags.jsonl", jsonl({"tokens": ["a", "b"], "tags": ["O"]}), {}, "HS-DATA-018", ["1 tags for 2 tokens"]),
    ("empty.parquet", b"", {}, "HS-DATA-002", ["empty"]),
    ("text.parquet", "text,label\n" * 50, {}, "HS-DATA-013", ["Parquet"]),
    ("notes.docx", "some words", {}, "HS-DATA-011", ['".docx"']),
]


@pytest.mark.parametrize(("name", "content", "asked", "code", "words"), BROKEN, ids=[f"{b[0]}-{b[3]}" for b in BROKEN])
def test_broken_files(tmp_path, home, name, content, asked, code, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HeadstartError) as caught:
        read(path, **asked)
    check(caught.value, code, words if code == "HS-USAGE-001" else [name, *words])
    assert not list(home.glob("tables/part-*")), "something half written was left"


def check(error: HeadstartError, code: str, words: list[str]) -> None:
    line = str(error)
    assert error.code == code, line
    assert code in CODES
    assert "\n" not in line and len(line) < 700
    for word in words:
        assert word in line, line


def test_all_problems_of_one_input_at_once(tmp_path):
    (tmp_path / "x.csv").write_text(HEAD + GOOD)
    with pytest.raises(Problems) as caught:
        read(tmp_path / "x.csv", target="lable", input="txt", roles={"user": "group"})
    assert [problem.code for problem in caught.value.problems] == ["HS-DATA-003"] * 3
    assert len(str(caught.value).splitlines()) == 3


def test_missing_path_suggests_its_neighbour(tmp_path):
    (tmp_path / "reviews.csv").write_text(HEAD + GOOD)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "review.csv")
    check(caught.value, "HS-DATA-001", ["review.csv", 'Did you mean "reviews.csv"'])


def test_folder_without_files(tmp_path):
    (tmp_path / "d" / "a").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "d")
    check(caught.value, "HS-DATA-002", [str(tmp_path / "d")])


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"not an image"])
def test_folder_of_broken_images(tmp_path, content):
    for i in range(4):
        path = tmp_path / "d" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path) if i < 3 else path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "d")
    check(caught.value, "HS-DATA-010", ["1 of 4", "3.png", "the image"])


def test_truncated_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["some words"] * 500, "label": list("ab") * 250}), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError) as caught:
        read(path)
    check(caught.value, "HS-DATA-013", ["x.parquet"])


@pytest.mark.parametrize("damage", ["state.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_damaged_saved_dataset(tmp_path, damage, how):
    import datasets

    datasets.Dataset.from_dict({"text": ["some words"] * 8, "label": list("abababab")}).save_to_disk(tmp_path / "d")
    path = tmp_path / "d" / damage
    if how == "gone":
        (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train"]}')  # it claims what is not there
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError) as caught:
        read(tmp_path / "d")
    check(caught.value, "HS-DATA-013", [str(tmp_path / "d")])


def test_columns_of_unequal_length():
    with pytest.raises(DataError) as caught:
        read({"text": ["a", "b"], "label": ["x"]})
    check(caught.value, "HS-DATA-005", ["'text': 2", "'label': 1"])


def test_object_of_no_known_kind():
    with pytest.raises(DataError) as caught:
        read(3)
    check(caught.value, "HS-DATA-011", ["int"])


def test_unknown_dataset_name():
    with pytest.raises(DataError) as caught:
        shelf.fetch("clothing_review")
    check(caught.value, "HS-DATA-019", ['Did you mean "clothing_reviews"'])


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_text(HEAD + GOOD)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(EnvironmentProblem) as caught:
        read(tmp_path / "x.csv")
    check(caught.value, "HS-ENV-003", [str(tmp_path / "file"), "HEADSTART_HOME"])


def test_disk_quota_is_used_up(tmp_path, home):
    (tmp_path / "x.csv").write_text(HEAD + GOOD * 4000)
    script = "import sys; from headstart.datasets.read import read; read(sys.argv[1])"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    command = [sys.executable, "-c", script, str(tmp_path / "x.csv")]
    run = subprocess.run(
        command, preexec_fn=limit, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert "HS-ENV-002" in run.stderr.splitlines()[-1]
    assert list((home / "tables").iterdir()) == []


def test_rejects_into_a_folder_that_does_not_exist(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem) as caught:
        write_rejects([], tmp_path / "file" / "rejected.csv")
    check(caught.value, "HS-ENV-003", ["rejected.csv"])
