"""The cut into train, validation and test, the seal, and what moves."""

import copy
import datetime
import pickle

import datasets
import numpy as np
import pytest

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, HeadstartError
from headstart.evidence.splits import (
    SealBroken,
    group_ids,
    move,
    split,
    time_order,
)

ROLES = {
    "text": Column("text", "input", "text"),
    "label": Column("label", "target", "category"),
    "user": Column("user", "group", "category"),
    "day": Column("day", "time", "number"),
    "part": Column("part", "split", "category"),
}


def rows(n, **columns):
    data = {"text": [f"row {i}" for i in range(n)], "label": [f"secret-{i % 3}" for i in range(n)], **columns}
    return Dataset(datasets.Dataset.from_dict(data), [ROLES[name] for name in data], origin="rows.csv")


def ids(dataset):
    return set(dataset.numbers)


def sizes(parts):
    return [len(part) if part is not None else 0 for part in (parts.train, parts.valid, parts.test)]


# --- the parts ---------------------------------------------------------------------------------------------------


def test_holdout_is_stratified_disjoint_and_complete():
    strata = np.repeat([0, 1, 2], [2_100, 897, 3])
    parts = split(rows(3_000), strata, seed=0)
    assert (parts.procedure, sizes(parts)) == ("holdout", [2_040, 360, 600])
    assert ids(parts.train) | ids(parts.valid) | ids(parts.test) == set(range(1, 3_001))
    for part, share in ((parts.test, 0.2), (parts.valid, 0.12)):
        counts = np.bincount(strata[np.array(part.numbers) - 1], minlength=3)
        assert abs(counts[0] - 2_100 * share) <= 1
        assert abs(counts[1] - 897 * share) <= 1
    assert 2 in strata[np.array(parts.train.numbers) - 1]


def test_the_seed_decides():
    one, same, other = (split(rows(2_500), None, seed=seed) for seed in (1, 1, 2))
    assert one.test.numbers == same.test.numbers != other.test.numbers


def test_the_test_part_holds_no_targets():
    parts = split(rows(2_500), None, seed=0)
    assert parts.test.target is None
    assert parts.test.table.column_names == ["text"]
    assert "secret" not in repr(parts)
    assert len(parts.sealed) == len(parts.test)
    expected = [f"secret-{(number - 1) % 3}" for number in parts.test.numbers]
    assert parts.sealed.open(["probe", "baseline"]) == expected


@pytest.mark.parametrize(("n", "procedure", "test"), [(1_990, "cross-validation", 0), (2_000, "holdout", 400)])
def test_under_400_test_rows_all_rows_train(n, procedure, test):
    parts = split(rows(n), np.arange(n) % 3, seed=0)
    assert (parts.procedure, len(parts.test), len(parts.sealed)) == (procedure, test, test)
    assert len(parts.labelled()) == n - test
    assert any("cross-validation" in note for note in parts.notes) == (test == 0)


def test_a_large_test_part_is_capped():
    parts = split(rows(120_000), None, seed=0)
    assert sizes(parts) == [98_000, 2_000, 20_000]


def test_every_class_trains_and_validates_where_it_can():
    strata = np.repeat(np.arange(60), [2] * 30 + [7] * 29 + [1])
    parts = split(rows(len(strata)), strata, seed=0)
    trains, valids = (np.bincount(strata[np.array(p.numbers) - 1], minlength=60) for p in (parts.train, parts.valid))
    assert trains.min() == 1
    assert valids[:59].min() == 1
    assert valids[59] == 0


def test_a_handful_of_rows_has_no_validation_part():
    assert split(rows(12), np.arange(12) % 3, seed=0).valid is None


def test_groups_never_straddle():
    users = np.random.default_rng(0).integers(0, 150, 3_000)
    parts = split(rows(3_000, user=[f"u{u}" for u in users]), np.arange(3_000) % 3, seed=0)
    seen = [set(users[np.array(part.numbers) - 1]) for part in (parts.train, parts.valid, parts.test)]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert len(parts.test) == pytest.approx(600, abs=20)
    assert len(parts.valid) == pytest.approx(360, abs=20)


def test_two_unequal_groups_are_still_cut():
    parts = split(rows(3_000, user=["a"] * 2_200 + ["b"] * 800), None, seed=0)
    assert len(parts.test) == 800
    assert parts.valid is None  # one group is left


def test_one_group_is_an_error():
    with pytest.raises(DataError, match="one group only") as caught:
        split(rows(3_000, user=["a"] * 3_000), None, seed=0)
    assert caught.value.code == "HS-DATA-012"


def test_a_row_without_a_group_is_its_own():
    codes = group_ids(rows(5, user=["a", None, "a", None, "b"]))
    assert len(set(codes)) == 4
    assert codes[0] == codes[2]


def test_the_latest_rows_are_the_test_and_the_latest_of_the_rest_validate():
    days = np.random.default_rng(0).integers(0, 300, 3_000)
    parts = split(rows(3_000, day=days.tolist()), np.arange(3_000) % 3, seed=0)
    train, valid, test = (days[np.array(part.numbers) - 1] for part in (parts.train, parts.valid, parts.test))
    assert train.max() < valid.min() <= valid.max() < test.min()  # a day is never cut in two
    assert len(test) == pytest.approx(600, abs=10)


def test_groups_with_times_stay_whole_and_in_order():
    users = np.arange(3_000) // 10
    parts = split(rows(3_000, user=users.tolist(), day=list(range(3_000))), None, seed=0)
    assert parts.test.numbers == list(range(2_401, 3_001))
    assert not set(users[np.array(parts.train.numbers) - 1]) & set(users[np.array(parts.test.numbers) - 1])


def test_times_are_read_as_numbers_dates_or_iso_text():
    assert time_order(rows(4, day=["2024-03-01", "2023-12-31", None, "2024-03-01"])).tolist() == [1, 0, -1, 1]
    days = [datetime.datetime(2024, 1, d) for d in (3, 1, 2)]
    assert time_order(rows(3, day=days)).tolist() == [2, 0, 1]
    assert time_order(rows(3, day=[2.5, float("nan"), 0.5])).tolist() == [1, -1, 0]
    with pytest.raises(DataError, match="column \"day\", row 2 holds '03/05/2024'") as caught:
        time_order(rows(2, day=["2024-03-01", "03/05/2024"]))
    assert caught.value.code == "HS-DATA-020"


def test_a_constant_time_is_not_used():
    parts = split(rows(2_500, day=[7] * 2_500), None, seed=0)
    assert len(parts.test) == 500
    assert "time column" in parts.notes[0]


def test_a_split_column_wins_whatever_its_size():
    given = ["train"] * 60 + ["Validation"] * 20 + [" test"] * 20
    parts = split(rows(100, part=given), np.arange(100) % 3, seed=0)
    assert parts.train.numbers == list(range(1, 61))
    assert parts.valid.numbers == list(range(61, 81))
    assert parts.test.numbers == list(range(81, 101))
    assert (parts.procedure, parts.fixed) == ("holdout", True)


def test_a_split_column_without_validation_or_test():
    parts = split(rows(100, part=["train"] * 80 + ["test"] * 20), np.arange(100) % 3, seed=0)
    assert sizes(parts) == [68, 12, 20]
    large = split(rows(3_000, part=["train"] * 2_500 + ["valid"] * 500), None, seed=0)
    assert (sizes(large), large.procedure) == ([2_000, 500, 500], "holdout")
    assert large.valid.numbers == list(range(2_501, 3_001))
    small = split(rows(100, part=["train"] * 80 + ["dev"] * 20), None, seed=0)
    assert (sizes(small), small.procedure) == ([80, 20, 0], "cross-validation")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["train", "tset", "test"], "column \"part\", row 2 holds 'tset'"),
        (["train", None, "test"], 'column "part", row 2 holds nothing'),
        (["test", "valid", "test"], "names no train row"),
    ],
)
def test_a_bad_split_column(given, message):
    with pytest.raises(DataError, match=message) as caught:
        split(rows(3, part=given), None, seed=0)
    assert caught.value.code == "HS-DATA-014"
    assert "rows.csv" in str(caught.value)


def test_a_given_split_that_cuts_groups_is_reported():
    parts = split(rows(60, part=["train"] * 40 + ["test"] * 20, user=[i % 7 for i in range(60)]), None, seed=0)
    assert "7 groups stand on both sides of the given split." in parts.notes


def test_too_few_rows():
    with pytest.raises(DataError, match="HS-DATA-012"):
        split(rows(1), None, seed=0)
    with pytest.raises(ValueError, match="2 strata for 3 rows"):
        split(rows(3), [0, 1], seed=0)


# --- the seal ----------------------------------------------------------------------------------------------------


def test_the_seal_opens_once_and_only_for_fixed_models():
    sealed = split(rows(2_500), None, seed=0).sealed
    for models in ([], "probe"):
        with pytest.raises(SealBroken, match="before any model"):
            sealed.open(models)
    assert sealed.opened is None
    sealed.open(["probe", "baseline"])
    assert sealed.opened == ("probe", "baseline")
    with pytest.raises(RuntimeError, match=r"HS-INTERNAL-001.*opened again \(opened for probe, baseline\)"):
        sealed.open(["probe"])
    assert isinstance(SealBroken("x"), HeadstartError)


def test_the_seal_shows_nothing_on_the_way():
    sealed = split(rows(2_500), None, seed=0).sealed
    assert repr(sealed) == str(sealed) == "Sealed(500 test targets, sealed)"
    assert not hasattr(sealed, "__dict__")
    for leak in (copy.copy, copy.deepcopy, pickle.dumps, list):
        with pytest.raises(SealBroken):
            leak(sealed)
    assert len(sealed.open(["probe"])) == 500  # none of the attempts broke it


# --- twins -------------------------------------------------------------------------------------------------------


def test_moving_keeps_rows_and_targets_together():
    parts = split(rows(3_000), None, seed=0)
    twins = np.zeros(600, dtype=bool)
    twins[[0, 5, 599]] = True
    numbers = np.array(parts.test.numbers)
    moved = move(parts, twins)
    assert (moved.moved, len(moved.test), len(moved.sealed)) == (3, 597, 597)
    assert moved.train.numbers[-3:] == numbers[twins].tolist()
    assert moved.train.targets()[-3:] == [f"secret-{(n - 1) % 3}" for n in numbers[twins]]
    assert moved.test.numbers == numbers[~twins].tolist()
    assert moved.sealed.open(["a"]) == [f"secret-{(n - 1) % 3}" for n in numbers[~twins]]
    with pytest.raises(SealBroken):  # the first seal is spent: targets cannot be read twice by way of it
        parts.sealed.open(["a"])
    with pytest.raises(SealBroken):
        move(moved, np.ones(597, dtype=bool))
    assert "3 test rows with a twin in train were moved to train." in moved.notes


def test_a_given_test_part_stays_and_a_grouped_one_shrinks():
    fixed = split(rows(100, part=["train"] * 80 + ["test"] * 20), None, seed=0)
    twins = np.arange(20) < 4
    assert move(fixed, twins).moved == 0
    assert "4 of 20 test rows have a twin in train" in move(fixed, twins).notes[-1]
    apart = split(rows(3_000, user=[i // 3 for i in range(3_000)]), None, seed=0)
    moved = move(apart, np.arange(len(apart.test)) < 4)
    assert (len(moved.train), len(moved.test)) == (len(apart.train), len(apart.test) - 4)
    assert move(apart, np.zeros(len(apart.test), dtype=bool)) is apart
