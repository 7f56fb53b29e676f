"""Windows of series: where origins lie, what a target holds, what is mended and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.datasets import windows
from headstart.datasets.read import read
from headstart.errors import DataError, UsageError

ROLES = {"name": "series", "time": "step"}


def months(count: int, first: int = 2000) -> list[str]:
    return [f"{first + k // 12}-{k % 12 + 1:02d}-01" for k in range(count)]


def table(**series: np.ndarray) -> dict[str, list]:
    return {
        "name": [name for name, values in series.items() for _ in values],
        "time": [stamp for values in series.values() for stamp in months(len(values))],
        "value": [None if value != value else float(value) for values in series.values() for value in values],
    }


def counted(count: int) -> np.ndarray:
    return np.arange(count, dtype=float) + 10 * (np.arange(count) % 12)


def test_no_training_target_reaches_validation_and_no_validation_target_the_test():
    rows = read(table(a=counted(60), b=counted(120) + 0.5), target="value", roles=ROLES, horizon=6)
    ends: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for name, part, sample, target in zip(
        rows.values("name"), rows.values("split"), rows.samples(), rows.targets(), strict=True
    ):
        first = sample.shape[1]
        known = sum(value == value and value is not None for value in target[:6])
        ends.setdefault((name, part), []).append((first, first + known))
    for name, length, tests, valids in (("a", 60, 2, 3), ("b", 120, 3, 4)):
        test, valid, train = (ends[name, part] for part in ("test", "valid", "train"))
        assert len(test) == tests and max(end for _, end in test) == length
        assert len(valid) == valids
        assert max(end for _, end in valid) == min(first for first, _ in test)
        assert max(end for _, end in train) == min(first for first, _ in valid)


def test_a_target_is_what_follows_with_the_range_and_the_scale_of_its_history():
    values = counted(40)
    rows = read(table(a=values), target="value", roles=ROLES, horizon=4)
    row = rows.values("split").index("test")
    history, target = rows.samples()[row][0], rows.targets()[row]
    assert np.allclose(history, values[:32]) and np.allclose(target[:4], values[32:36])  # of two test windows
    low, size, scale = target[4:]
    assert (low, size) == (history.min(), np.ptp(history))
    assert scale == pytest.approx(np.abs(values[12:32] - values[:20]).mean())
    assert rows.values("season length") == [12] * len(rows)


def test_for_predictions_there_is_a_row_a_series_with_all_that_is_known_and_the_steps_ahead():
    rows = read(table(a=counted(30), b=counted(14)), input="value", roles=ROLES, horizon=3, for_prediction=True)
    assert rows.target is None and [sample.shape[1] for sample in rows.samples()] == [30, 14]
    name, steps = windows.stamps_ahead(rows)
    assert name == "time" and steps[0] == ["2002-07-01", "2002-08-01", "2002-09-01"]


def test_a_missing_month_is_a_gap_that_a_history_bridges_and_a_target_does_not_count():
    values = counted(60)
    values[20] = values[57] = np.nan
    data = table(a=values)
    for column in data.values():
        del column[20]  # the row of the month is missing as a whole
    rows = read(data, target="value", roles=ROLES, horizon=6)
    row = max(range(len(rows)), key=lambda at: rows.samples()[at].shape[1])
    assert rows.samples()[row][0, 20] == pytest.approx((values[19] + values[21]) / 2)
    assert rows.targets()[row][3] != rows.targets()[row][3]  # NaN
    assert all(sample.shape[1] not in (21, 58) for sample in rows.samples())  # no origin behind a gap
    assert any("straight lines" in note for note in rows.notes)


def test_double_stamps_are_averaged_and_order_does_not_matter():
    data = table(a=counted(40))
    for name, column in data.items():
        column.append(column[5] + 2 if name == "value" else column[5])
        column.reverse()
    rows = read(data, target="value", roles=ROLES, horizon=4)
    longest = max(rows.samples(), key=lambda sample: sample.shape[1])
    assert longest[0, 5] == counted(40)[5] + 1 and longest[0, 4] == counted(40)[4]


def test_a_series_that_is_too_short_is_rejected_by_name_and_none_left_is_an_error():
    rows = read(table(a=counted(60), short=counted(9)), target="value", roles=ROLES, horizon=6)
    assert ['"short" has 9 steps' in reject.reason for reject in rows.rejects] == [True]
    with pytest.raises(DataError, match=r'HS-DATA-012.*"short" has 9 steps; a horizon of 6 needs 16'):
        read(table(short=counted(9)), target="value", roles=ROLES, horizon=6)


def test_wrong_names_and_numbers_are_told():
    with pytest.raises(DataError, match=r'HS-DATA-003.*"valu".*value'):
        read(table(a=counted(40)), target="valu", roles=ROLES, horizon=4)
    with pytest.raises(DataError, match=r'HS-DATA-003.*"nam"'):
        read(table(a=counted(40)), target="value", roles={"nam": "series"}, horizon=4)
    with pytest.raises(UsageError, match="the horizon is 0"):
        read(table(a=counted(40)), target="value", roles=ROLES, horizon=0)
    data = {**table(a=counted(3)), "value": ["1", "two", "3"]}
    with pytest.raises(DataError, match=r"HS-DATA-020.*row 2"):
        read(data, target="value", roles=ROLES, horizon=1)


def test_the_number_of_training_windows_is_bounded(monkeypatch):
    monkeypatch.setattr(windows, "MOST", 10)
    rows = read(table(a=counted(90), b=counted(70)), target="value", roles=ROLES, horizon=3)
    assert 5 <= rows.values("split").count("train") <= 10
