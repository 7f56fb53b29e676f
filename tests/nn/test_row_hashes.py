"""Hashes of rows: equal rows, other spellings, columns that are missing."""

from __future__ import annotations

import numpy as np

from headstart.nn import row_hashes
from headstart.nn.row_hashes import among, cells, mixed, repeated, rows, tries


def table(ages, towns):
    return [cells("age", "number", ages), cells("town", "category", towns)]


def test_splitmix64_is_that_of_its_authors():
    """The first outputs of the generator for the seed 1234567, as in the reference in C of Vigna."""
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + golden * step) % 2**64 for step in (1, 2, 3)], np.uint64)
    assert mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_equal_rows_are_found_however_they_are_spelled():
    known = rows(table([30.0, 41.5, None, -0.0], ["Oslo", "Rome", "Bonn", None]))
    asked = table([30, float(np.float32(41.5)), float("nan"), 0.0, 30.0], [" oslo", "ROME", "Bonn", "", "Rome"])
    assert among(known, asked).tolist() == [True, True, True, True, False]


def test_a_value_in_another_column_is_another_row():
    one = [cells("a", "category", ["x"]), cells("b", "category", ["y"])]
    other = [cells("a", "category", ["y"]), cells("b", "category", ["x"])]
    assert not among(rows(one), other).any()


def test_a_missing_column_is_tried_with_all_that_it_may_hold():
    known = rows(table([30.0, 41.5, 50.0], ["Oslo", None, "Rome"]))
    towns = cells("town", "category", ["Oslo", "Rome", "Bonn", None])
    ages = [cells("age", "number", [30.0, 41.5, 50.0, 60.0])]
    assert among(known, ages, [towns]).tolist() == [True, True, True, False]
    assert among(known, ages, [towns[2:]]).tolist() == [False, True, False, False]
    assert tries([towns, towns]) == 16 and tries([]) == 1 and tries([towns] * 5) > row_hashes.TRIES


def test_rows_that_stand_twice():
    assert repeated(np.array([1, 2, 2, 3, 3, 3], np.uint64)) == 5 / 6 and repeated(np.zeros(0, np.uint64)) == 0
