"""Rows that stand twice: equal ones, and near ones by their features."""

import tracemalloc

import numpy as np
import pytest

from headstart.evidence.duplicates import exact_straddlers, merge_groups, near_straddlers


def test_exact_straddlers():
    assert exact_straddlers(["a", "b", "c"], ["x", "b", "b", "y"]).tolist() == [False, True, True, False]
    assert exact_straddlers(["a"], []).tolist() == []


def features(rng, n, common, spread):
    """Features as networks give them: a large part that all rows share, and a small one of their own."""
    return common + spread * rng.normal(size=(n, 64))


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_near_twins_are_found_and_only_they(spread):
    rng = np.random.default_rng(0)
    common = 5 * rng.normal(size=64)
    train, test = features(rng, 2_000, common, spread), features(rng, 500, common, spread)
    test[:20] = train[:20] + 0.005 * spread * rng.normal(size=(20, 64))
    assert np.flatnonzero(near_straddlers(train, test)).tolist() == list(range(20))


def test_twins_are_found_where_they_are_the_rule():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(1_000, 64)), rng.normal(size=(400, 64))
    test[:300] = train[:300] + 0.003 * rng.normal(size=(300, 64))
    assert near_straddlers(train, test).sum() == 300


def test_crowded_features_are_not_flagged_en_masse():
    """Features of three dimensions in 64: neighbours are within the threshold without being twins."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 64))
    train, test = (rng.normal(size=(n, 3)) @ basis for n in (4_000, 1_000))
    centred = [x - train.mean(axis=0) for x in (test, train)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in centred]
    within = ((unit[0] @ unit[1].T).max(axis=1) >= 1 - 1e-3).mean()
    assert near_straddlers(train, test).mean() <= 0.03
    assert within > 0.8  # the bare threshold would have taken these


def test_narrow_or_empty_features_flag_nothing():
    x = np.random.default_rng(0).normal(size=(100, 3))
    assert not near_straddlers(x, x).any()
    assert near_straddlers(np.zeros((100, 32)), np.zeros((0, 32))).shape == (0,)
    assert not near_straddlers(np.zeros((100, 32)), np.zeros((5, 32))).any()  # a network that says nothing


def test_near_straddlers_bounds_its_memory():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(n, 32)).astype(np.float32) for n in (20_000, 4_000))
    tracemalloc.start()
    near_straddlers(train, test)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # all similarities at once would be 320 MB, and their difference from 1 as much again


def test_merge_groups_joins_what_either_joins():
    codes = merge_groups(["a", "a", "b", "c", "d"], None, [1, 2, 2, 3, 4])
    assert codes[0] == codes[1] == codes[2]
    assert len({codes[0], codes[3], codes[4]}) == 3
    assert merge_groups(None, None) is None
