"""Columns known ahead: what a window carries of them, what is mended, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.datasets import known, windows
from headstart.datasets.read import read
from headstart.errors import DataError, UsageError

ROLES = {"name": "series", "month": "step", "price": "known", "law": "known"}


def table(count: int = 40, ahead: int = 0, names: str = "ab") -> dict[str, list]:
    """Monthly series whose price is the number of the step and whose law begins at step 20; a value has 100 added."""
    rows: dict[str, list] = {key: [] for key in ("name", "month", "value", "price", "law")}
    for name in names:
        for k in range(count + ahead):
            line = (name, f"{2000 + k // 12}-{k % 12 + 1:02d}-01", 100.0 + k if k < count else None, float(k), k >= 20)
            for key, cell in zip(rows, line, strict=True):
                rows[key].append(cell)
    return rows


def rows(data, **options):
    return read(data, **{"target": "value", "roles": ROLES, "horizon": 3, "season": 1, **options})


def test_a_window_carries_them_over_its_history_and_the_steps_behind_it():
    found = rows(table())
    for history, lines in zip(found.samples(), known.ahead(found), strict=True):
        length = history.shape[1]
        assert lines.shape == (2, length + 3)
        assert np.array_equal(lines[0], np.arange(length + 3)) and np.array_equal(lines[1], lines[0] >= 20)
        assert np.allclose(history[0], 100 + lines[0, :length])  # aligned, and the value itself is not among them
    with pytest.raises(DataError, match=r"HS-DATA-015.*known ahead"):
        known.ahead(found.without("known"))


def test_a_long_history_is_cut_with_what_is_known_of_it(monkeypatch):
    monkeypatch.setattr(windows, "CONTEXT", 16)
    found = rows(table(ahead=3), target=None, input="value", for_prediction=True)
    lines = known.ahead(found)[0]
    assert found.samples()[0].shape == (1, 16) and np.array_equal(lines[0], np.arange(24, 43))


def test_for_predictions_rows_with_an_empty_value_say_what_is_known():
    found = rows(table(ahead=5), target=None, input="value", for_prediction=True)
    assert windows.stamps_ahead(found)[1][0] == ["2003-05-01", "2003-06-01", "2003-07-01"]
    assert [lines[0, -3:].tolist() for lines in known.ahead(found)] == [[40, 41, 42]] * 2


@pytest.mark.parametrize(("ahead", "empty", "step", "more"), [(3, 41, "2003-06-01", 0), (1, None, "2003-06-01", 7)])
def test_a_step_without_them_is_named_with_series_and_column(ahead, empty, step, more):
    data = table(ahead=ahead)
    if empty is not None:
        data["price"][empty] = None
    told = rf'HS-DATA-020.*"price" is missing at the step {step} of the series "a"'
    with pytest.raises(DataError, match=told + (rf" \({more} more" if more else r"\.")):
        rows(data, target=None, input="value", for_prediction=True)


def test_a_gap_in_a_history_is_bridged_and_told():
    data = table()
    data["price"][10] = None
    found = rows(data)
    assert all(np.array_equal(lines[0], np.arange(lines.shape[1])) for lines in known.ahead(found))
    assert any("known ahead lie on straight lines (1 series)" in note for note in found.notes)


def test_a_series_of_which_nothing_is_known_is_rejected():
    data = table()
    data["price"][:40] = [None] * 40
    found = rows(data)
    assert set(found.values("name")) == {"b"} and 'the series "a" has no value of "price"' in found.rejects[0].reason


def test_words_unknown_columns_and_a_missing_horizon_are_refused():
    data = table()
    with pytest.raises(DataError, match=r'HS-DATA-020.*"price".*row 3.*"cheap"'):
        rows({**data, "price": ["1", "2", "cheap", *map(str, data["price"][3:])]})
    with pytest.raises(DataError, match=r'HS-DATA-003.*"prize".*"price"'):
        rows(data, roles={"name": "series", "month": "step", "prize": "known"})
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*known ahead.*--horizon"):
        read(data, target="value", roles=ROLES)
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*to be forecast and known"):
        rows(data, roles={**ROLES, "value": "known"})
