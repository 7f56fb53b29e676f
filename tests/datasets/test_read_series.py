"""Time series from .ts files, wide tables, long tables and columns of lists; what is missing or uneven is mended."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart.errors import DataError, UsageError

HEAD = "# a comment\n@problemName Toy\n@timeStamps false\n@univariate {}\n@classLabel true a b\n@data\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def long_table(**changes):
    """Four series of six steps; changes: (series, step) -> value, or None to leave the row out."""
    columns = {"id": [], "when": [], "v": [], "label": []}
    for number in range(4):
        for step in range(6):
            value = changes.get(f"s{number}_{step}", float(number + step))
            if value is not None:
                for name, cell in zip(columns, (f"s{number}", step, value, "ab"[number % 2])):
                    columns[name].append(cell)
    return columns


LONG = {"id": "series", "when": "step"}


def test_a_ts_file_has_series_and_labels(tmp_path):
    data = headstart.read(
        write(tmp_path / "toy.ts", HEAD.format("true") + "1,2,3:a\n4,?,6,7:b\n1,x,3:a\n" + "1,2:b\n" * 4)
    )
    assert data.modality == "series" and data.target.kind == "category"
    assert data.targets() == ["a", "b", "b", "b", "b", "b"]
    assert [sample.tolist() for sample in data.samples([0, 1])] == [[[1, 2, 3]], [[4, 5, 6, 7]]]
    assert [(reject.row, reject.reason) for reject in data.rejects] == [(3, 'line 9: "x" is no number')]
    assert data.notes == ("Series: missing values were put on the straight line between their neighbours (1 series).",)


def test_a_ts_file_of_several_channels(tmp_path):
    lines = "1,2,3:4,5,6:a\n1,2:3,4:b\n1,2:3,4:a\n1,2:3,4:a\n1,2:3,4:a\n1,2,3:3,4:b\n"
    data = headstart.read(write(tmp_path / "toy.ts", HEAD.format("false") + lines))
    assert [column.name for column in data.inputs] == ["dim_1", "dim_2"]
    assert data.samples([0])[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "different lengths: 3, 2" in data.rejects[0].reason


def test_a_folder_of_train_and_test_has_a_split(tmp_path):
    for part in ("TRAIN", "TEST"):
        write(tmp_path / f"Toy_{part}.ts", "@targetlabel true\n@data\n" + "1,2,3:0.5\n" * (2 if part == "TRAIN" else 3))
    data = headstart.read(tmp_path)
    assert data.values("split") == ["test"] * 3 + ["train"] * 2
    assert data.target.name == "target" and data.target.kind == "number"


def test_a_folder_of_several_problems_is_refused(tmp_path):
    for name in ("One", "Two"):
        write(tmp_path / f"{name}_TRAIN.ts", HEAD.format("true") + "1,2:a\n")
    with pytest.raises(DataError, match=r"HS-DATA-011.*several datasets"):
        headstart.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"), [("@classLabel true a\n1,2:a\n", "no line @data"), ("@timestamps true\n@data\n", "time stamps")]
)
def test_a_header_that_is_not_read_is_said(tmp_path, text, what):
    with pytest.raises(DataError, match=f"HS-DATA-013.*{what}"):
        headstart.read(write(tmp_path / "toy.ts", text))


def test_a_ts_file_without_a_header_is_no_unknown_format(tmp_path):
    with pytest.raises(DataError, match=r"HS-DATA-013.*none of a header.*@problemName"):
        headstart.read(write(tmp_path / "toy.ts", "1,2,3:a\n"))


def test_columns_from_one_to_another_are_a_series(tmp_path):
    path = write(tmp_path / "wide.csv", "id,t0,t1,t2,label\n1,1,,3,a\n2,4,5,6,b\n3,7,8,,a\n")
    data = headstart.read(path, kinds={"t0..t2": "series"})
    assert [sample.tolist() for sample in data.samples()] == [[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 8]]]
    again = headstart.read(path, input=["t0..t2"], kinds={"t0..t2": "series"}, for_prediction=True)
    assert again.inputs == data.inputs
    with pytest.raises(DataError, match=r'HS-DATA-003.*"t9"'):
        headstart.read(path, kinds={"t0..t9": "series"})


def test_a_column_of_lists_is_a_series_where_asked(tmp_path):
    cells = {"x": ["1, 2, 3", "[4 nan 6 8]", "1 2"], "label": ["a", "b", "a"]}
    data = headstart.read(cells, kinds={"x": "series"})
    assert [sample.tolist() for sample in data.samples()] == [[[1, 2, 3]], [[4, 5, 6, 8]], [[1, 2]]]


def test_the_rows_of_a_long_table_are_folded():
    data = headstart.read(long_table(), roles=LONG)
    assert len(data) == 4 and data.targets() == ["a", "b", "a", "b"]
    assert data.samples([1])[0].tolist() == [[1, 2, 3, 4, 5, 6]]
    assert data.numbers == [1, 7, 13, 19] and data.notes == ()
    assert [(c.name, c.role) for c in data.columns if c.role != "unused"] == [
        ("id", "series"), ("when", "step"), ("label", "target"), ("v", "input"),
    ]  # fmt: skip


def test_the_order_of_steps_counts_not_that_of_rows():
    table = long_table()
    mixed = np.random.default_rng(0).permutation(24)
    shuffled = {name: [cells[row] for row in mixed] for name, cells in table.items()}
    found = headstart.read(shuffled, roles=LONG)
    one = dict(zip(found.values("id"), (sample.tolist() for sample in found.samples())))
    assert one["s2"] == [[2, 3, 4, 5, 6, 7]]


def test_double_stamps_are_averaged_and_gaps_filled():
    table = long_table(s1_2=None, s1_3=None, s2_4=float("nan"))
    for name, cell in zip(table, ("s0", 5, 105.0, "a")):
        table[name].append(cell)
    data = headstart.read(table, roles=LONG)
    assert [sample.tolist() for sample in data.samples([0, 1, 2])] == [
        [[0, 1, 2, 3, 4, 55]], [[1, 2, 3, 4, 5, 6]], [[2, 3, 4, 5, 6, 7]],
    ]  # fmt: skip
    assert [note.split("(")[1] for note in data.notes] == ["1 series)."] * 3


def test_a_series_with_a_long_gap_or_two_targets_is_rejected():
    table = long_table(s1_1=None)
    table["when"][table["id"].index("s2") + 5] = 10_000
    table["label"][0] = "b"
    for number in range(10):
        for step in range(6):
            for name, cell in zip(table, (f"t{number}", step, float(step * number), "a")):
                table[name].append(cell)
    data = headstart.read(table, target="label", roles=LONG)
    reasons = {reject.reason for reject in data.rejects}
    assert reasons == {"its gaps are too long to be filled", 'the target "label" changes within the series'}


def test_steps_without_series_are_refused():
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*--series"):
        headstart.read(long_table(), roles={"when": "step"})


def test_series_and_other_inputs_do_not_mix():
    table = {"x": [[1.0, 2.0], [3.0, 4.0]], "n": [1.0, 2.0], "label": ["a", "b"]}
    with pytest.raises(DataError, match="HS-DATA-017"):
        headstart.read(table, input=["x", "n"], kinds={"x": "series"})
