"""Folds: whole, stratified, groups kept together, time looked at forward only."""

import numpy as np
import pytest

from headstart.evidence.folds import repeated_folds


def test_folds_cover_every_row_once_a_repeat_and_are_stratified():
    strata = np.repeat([0, 1, 2], [60, 35, 5])
    pairs = repeated_folds(100, strata, seed=0)
    assert len(pairs) == 20
    for repeat in range(4):
        tested = np.concatenate([test for _, test in pairs[5 * repeat : 5 * repeat + 5]])
        assert sorted(tested) == list(range(100))
    for train, test in pairs:
        assert not set(train) & set(test)
        assert np.bincount(strata[test], minlength=3).tolist() == [12, 7, 1]
    assert pairs[0][1].tolist() != pairs[5][1].tolist()


def test_the_one_row_of_a_class_always_trains():
    strata = np.array([0] * 20 + [1] * 10 + [2])
    assert all(30 in train for train, _ in repeated_folds(31, strata, seed=0))


def test_folds_keep_groups_whole_and_classes_spread():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 400)
    strata = (groups % 4 == 0).astype(int)
    for train, test in repeated_folds(400, strata, [f"g{g}" for g in groups], seed=0):
        assert not set(groups[train]) & set(groups[test])
        assert 50 <= len(test) <= 110
        assert 0.1 < strata[test].mean() < 0.45


def test_a_group_that_holds_a_whole_class_always_trains():
    groups = np.repeat(np.arange(12), 5)
    strata = (groups == 3).astype(int)
    assert all(set(strata[train]) == {0, 1} for train, _ in repeated_folds(60, strata, groups, seed=0))


def test_time_folds_only_look_forward():
    time = np.random.default_rng(0).permutation(120) // 2  # pairs of equal times
    pairs = repeated_folds(120, None, None, time=time, seed=0)
    assert len(pairs) == 5
    assert all(time[train].max() < time[test].min() for train, test in pairs)
    groups = np.arange(120) % 30
    for train, test in repeated_folds(120, None, groups, time=time, folds=3):
        assert not set(groups[train]) & set(groups[test])


def test_too_few_for_folds():
    assert len(repeated_folds(3, None, None, repeats=1)) == 3
    with pytest.raises(ValueError, match="two folds"):
        repeated_folds(10, None, ["a"] * 10)
