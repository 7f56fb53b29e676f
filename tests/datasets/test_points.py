"""Long tables whose every step is to be judged: stamps and labels stay beside the values."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart.datasets import points
from headstart.errors import DataError, UsageError

ROLES = {"machine": "series", "day": "step"}


def table(tmp_path, text, name="m.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def read(path, **more):
    more.setdefault("target", "odd")
    return headstart.read(path, stepwise=True, roles=more.pop("roles", ROLES), **more)


TEXT = "machine,day,load,heat,odd\n" + "".join(
    f"{name},2024-01-{day:02d},{day * 1.5},{day % 3},{int(day == 4)}\n" for day in (3, 1, 2, 4, 5) for name in "ab"
)


def test_a_row_is_a_series_with_its_stamps_and_labels(tmp_path):
    rows = read(table(tmp_path, TEXT))
    assert len(rows) == 2 and rows.values("machine") == ["a", "b"]
    assert rows.values("day")[0] == [f"2024-01-0{day}" for day in range(1, 6)]
    assert rows.targets() == [[0, 0, 0, 1, 0]] * 2
    assert [(column.name, column.kind) for column in rows.inputs] == [("load", "series"), ("heat", "series")]
    assert rows.target is not None and (rows.target.name, rows.target.kind) == ("odd", "series")
    assert rows.samples()[1].tolist() == [[1.5, 3, 4.5, 6, 7.5], [1, 2, 0, 1, 2]]


def test_a_table_may_be_one_series_and_have_no_steps(tmp_path):
    rows = read(table(tmp_path, "value,odd\n1,no\n2,yes\n4,no\n"), roles={})
    assert len(rows) == 1 and rows.values("step") == [["1", "2", "3"]] and rows.targets() == [[0, 1, 0]]


def test_without_labels(tmp_path):
    rows = read(table(tmp_path, "machine,day,load\na,1,5\na,2,6\na,3,8\n"), target=None, for_prediction=True)
    assert rows.target is None and rows.samples()[0].tolist() == [[5, 6, 8]] and rows.values("day") == [["1", "2", "3"]]


def test_gaps_are_filled_and_labels_go_along(tmp_path):
    text = "machine,day,load,odd\n" + "".join(f"a,{day},{day},{int(day == 7)}\n" for day in (0, 1, 2, 3, 4, 7, 8, 9))
    rows = read(table(tmp_path, text))
    assert rows.values("day")[0] == [str(day) for day in range(10)] and rows.samples()[0].ravel().tolist() == list(
        range(10)
    )
    assert (np.array(rows.targets()[0]) >= 0.5).astype(int).tolist() == [0] * 6 + [1, 1, 0, 0]
    assert any("uneven" in note for note in rows.notes)


def test_months_alone_are_their_first_days(tmp_path):
    text = "machine,day,load,odd\n" + "".join(f"a,2024-{month:02d},{month**2},0\n" for month in (1, 2, 3, 4))
    assert read(table(tmp_path, text)).values("day") == [["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"]]


def test_stamps_of_hours(tmp_path):
    text = "machine,day,load,odd\n" + "".join(f"a,2024-01-01 0{hour}:00:00,{hour**2},0\n" for hour in range(4))
    assert read(table(tmp_path, text)).values("day")[0][1] == "2024-01-01 01:00:00"


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (
            lambda text: text.replace("4.5,0,0", "4.5,0,maybe", 1),
            DataError,
            'HS-DATA-020.*"odd" holds .maybe. in row 1.',
        ),
        (lambda text: text.replace("4.5,0,0", "4.5,0,", 1), DataError, 'HS-DATA-020.*"odd".*row 1'),
        (lambda text: text.replace(",odd", ",od"), DataError, 'HS-DATA-003.*no column "odd".*Did you mean "od"'),
        (lambda text: text.replace("day", "dat", 1), DataError, 'HS-DATA-003.*no column "day"'),
        (
            lambda text: text.replace("2024-01-03", "soon", 1),
            DataError,
            'HS-DATA-020.*"day".*row 1: "soon"; expected a date such as 2024-05-31',
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, change, error, told):
    with pytest.raises(error, match=told):
        read(table(tmp_path, change(TEXT)))


def test_two_columns_of_series_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*several columns have the role series"):
        read(table(tmp_path, TEXT), roles={"machine": "series", "heat": "series"})
    with pytest.raises(DataError, match=r"HS-DATA-017.*no column of numbers changes"):
        read(table(tmp_path, "machine,odd\na,0\na,0\n"), roles={"machine": "series"})


# --- rows that are series already ----------------------------------------------------------------------------------

LISTS = {"name": ["a", "b"], "load": [[1.0, 2, 4], [3.0, 5, 4, 9]], "heat": [[1, 0, 1], [0, 1, 0, 1]]}


def test_lists_are_series(tmp_path):
    rows = read({**LISTS, "odd": [[0, 1, 0], [False, False, True, False]]}, roles={"name": "series"})
    assert rows.targets() == [[0, 1, 0], [0, 0, 1, 0]] and points.named(rows) == ("name", ["a", "b"])
    assert points.stamped(rows) == ("step", [["1", "2", "3"], ["1", "2", "3", "4"]])
    assert rows.samples()[0].tolist() == [[1, 2, 4], [1, 0, 1]]
    stamped = read({**LISTS, "when": [[7, 8, 9], [7, 8, 9, 10]]}, roles={"when": "step"}, target=None, input="load",
                   for_prediction=True)  # fmt: skip
    assert points.stamped(stamped) == ("when", [["7", "8", "9"], ["7", "8", "9", "10"]])
    assert points.named(stamped) == ("series", ["1", "2"]) and len(stamped.inputs) == 1


def test_lists_in_parquet_and_json_lines(tmp_path):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(LISTS), tmp_path / "m.parquet")
    text = "".join(json.dumps(dict(zip(LISTS, row))) + "\n" for row in zip(*LISTS.values()))
    for path in (tmp_path / "m.parquet", table(tmp_path, text, "m.jsonl")):
        rows = read(path, roles={}, target=None, for_prediction=True)
        assert [column.name for column in rows.inputs] == ["load", "heat"] and rows.samples()[1].shape == (2, 4)


def test_a_ts_file_is_series_whatever_their_class(tmp_path):
    path = table(tmp_path, "@classLabel true a b\n@data\n1,2,?,4:a\n5,6,7,9:b\n", "m.ts")
    rows = read(path, roles={}, target=None, for_prediction=True)
    assert (
        rows.target is None
        and rows.samples()[0].tolist() == [[1, 2, 3, 4]]
        and any("straight" in n for n in rows.notes)
    )
    assert points.named(rows) == ("series", ["1", "2"])
    with pytest.raises(DataError, match=r"HS-DATA-020.*\"label\" holds .a. in row 1.*Expected a list for each series"):
        read(path, roles={}, target="label")


def test_a_wide_table_is_series(tmp_path):
    path = table(tmp_path, "id,t0,t1,t2\nx,1,2,3\ny,4,5,7\n")
    rows = read(path, roles={"id": "series"}, kinds={"t0..t2": "series"}, target=None, for_prediction=True)
    assert points.named(rows) == ("id", ["x", "y"]) and rows.samples()[1].tolist() == [[4, 5, 7]]


@pytest.mark.parametrize(
    ("change", "roles", "told"),
    [
        ({"odd": [[0, 1, 0], [0, 2, 0, 0]]}, {}, 'HS-DATA-020.*"odd" holds 2 in row 2'),
        ({"odd": [0, 1]}, {}, 'HS-DATA-020.*"odd" holds 0 in row 1.*Expected a list'),
        ({"odd": [[0, 1, 0], [0] * 4], "when": [[1, 2, 3], [1, 2]]}, {"when": "step"}, "holds 2 stamps in row 2.*of 4"),
    ],
)
def test_what_does_not_fit_a_list_is_named(change, roles, told):
    with pytest.raises(DataError, match=told):
        read({**LISTS, **change}, roles=roles)


def test_channels_of_unequal_length_are_rejected_by_row():
    rows = read({"load": [[1.0, 2, 4]] * 9, "heat": [[1.0, 2, 4]] * 8 + [[1.0, 2]]}, roles={}, target=None,
                for_prediction=True)  # fmt: skip
    assert [(each.row, each.reason) for each in rows.rejects] == [(9, "its channels have different lengths: 3, 2")]


def test_a_text_cell_does_not_cost_its_column(tmp_path):
    text = TEXT.replace("a,2024-01-02,3.0", "a,2024-01-02,broken")
    with pytest.raises(DataError, match=r'HS-DATA-020.*"load".*row 5: "broken"; expected a number.*--input'):
        read(table(tmp_path, text))
    with pytest.raises(DataError, match=r'HS-DATA-020.*"load".*row 5: "broken"'):
        headstart.read(table(tmp_path, text), target="odd", roles=ROLES)
    assert len(read(table(tmp_path, text), input="heat")) == 2
