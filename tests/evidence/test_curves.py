"""Learning curves, their inversion and the head start."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from headstart.evidence.curves import (
    Points,
    compare,
    curve,
    head_start,
    head_start_sentence,
    isotonic,
    labels_needed,
    sizes,
    subsets,
)
from headstart.types import HeadStart


def accuracy(sums):
    return sums[..., 0] / sums[..., 1]


SIZES = [50, 100, 200, 400, 800, 1600]


def power_law(labels):
    return 0.95 - 1.5 * np.asarray(labels, dtype=float) ** -0.35


def exact(name, multiplier, chosen=SIZES):
    return curve(name, chosen, [[power_law(n * multiplier)] for n in chosen])


def simulated(name, multiplier, rng, ease, spread=0.015, seeds=3):
    """Right answers on shared test rows; ``ease`` [N] makes the errors of all points fall together."""
    statistics = []
    for n in SIZES:
        level = power_law(n * multiplier)
        row = []
        for _ in range(seeds):
            bar = np.quantile(ease, np.clip(level + spread * rng.normal(), 0, 1))
            flips = rng.random(len(ease)) < 0.05  # 5 % of the rows are decided by chance
            right = np.where(flips, rng.random(len(ease)) < level, ease < bar)
            row.append(np.column_stack([right, np.ones(len(ease))]).astype(float))
        statistics.append(row)
    return Points(name, SIZES, statistics)


def test_sizes_halve_from_the_end():
    assert sizes(1600, 16) == SIZES
    assert sizes(2000, 40) == [62, 125, 250, 500, 1000, 2000]
    assert sizes(300, 16) == [19, 38, 75, 150, 300]
    assert sizes(24, 16) == [16, 24]
    assert sizes(16, 16) == [16]
    assert sizes(10, 16) == [10]


def test_subsets_are_nested_stratified_and_hold_every_class():
    strata = np.repeat([0, 1, 2, 3], [700, 200, 95, 5])
    for seed in range(5):
        small = set()
        for size in (4, 8, 50, 200, 1000):
            rows = subsets(strata, size, seed)
            assert len(rows) == size == len(set(rows.tolist()))
            assert small <= set(rows.tolist())
            assert set(strata[rows]) == {0, 1, 2, 3}
            small = set(rows.tolist())
        share = np.bincount(strata[subsets(strata, 200, seed)]) / 200
        assert np.abs(share - [0.7, 0.2, 0.095, 0.005]).max() < 0.02
    assert subsets(strata, 50, 0).tolist() != subsets(strata, 50, 1).tolist()
    with pytest.raises(ValueError, match="1001 of 1000"):
        subsets(strata, 1001, 0)


def test_isotonic_equals_scipy():
    rng = np.random.default_rng(0)
    scores, weights = rng.normal(size=(200, 6)), np.array([3.0, 3, 1, 5, 2, 3])
    expected = [isotonic_regression(row, weights=weights).x for row in scores]
    assert np.allclose(isotonic(scores, weights), expected)


def test_labels_are_read_linearly_in_their_logarithm():
    fitted = np.array([[0.5, 0.7, 0.7, 0.8]])
    at = lambda level: float(labels_needed([10, 100, 1000, 10000], fitted, np.array([level]))[0])  # noqa: E731
    assert at(0.6) == pytest.approx(10**1.5)
    assert at(0.7) == pytest.approx(100)  # the first of a plateau
    assert at(0.75) == pytest.approx(10**3.5)
    assert at(0.8) == pytest.approx(10_000)
    assert at(0.4) == at(0.5) == pytest.approx(10)


def test_curve_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="ascend"):
        curve("t", [10, 10], [[0.1], [0.2]])
    with pytest.raises(ValueError, match="needs a score"):
        curve("t", [10, 20], [[0.1], []])


@pytest.mark.parametrize("multiplier", [0.25, 0.5, 1, 2, 8, 30])
def test_the_multiplier_of_exact_power_laws(multiplier):
    result = compare(exact("t", multiplier), exact("c", 1))
    assert result.bound == "exact"
    assert result.multiplier == pytest.approx(multiplier, rel=0.03)


def test_nothing_is_extrapolated():
    result = compare(exact("t", 1_000), exact("c", 1))
    assert (result.bound, result.multiplier) == ("more than", pytest.approx(32))
    assert (result.transfer_labels, result.control_labels) == (pytest.approx(50), pytest.approx(1600))
    mirrored = compare(exact("t", 1), exact("c", 1_000))
    assert (mirrored.bound, mirrored.multiplier) == ("less than", pytest.approx(1 / 32))


def test_flat_curves_show_no_head_start():
    flat = [curve(name, SIZES, [[0.5]] * 6) for name in "tc"]
    result = compare(*flat)
    assert (result.multiplier, result.bound) == (1.0, "exact")
    assert "none to be seen" in head_start_sentence(result)


def test_a_control_that_stopped_learning_gets_its_plateau_only():
    control = curve("c", SIZES, [[0.5], [0.6], [0.7], [0.7], [0.7], [0.7]])
    transfer = curve("t", SIZES, [[0.6], [0.7], [0.8], [0.8], [0.9], [0.9]])
    assert compare(transfer, control).multiplier == pytest.approx(2)  # 200 / 100, not 1600 / 100


@pytest.mark.parametrize("multiplier", [1, 8])
def test_the_interval_covers_the_true_multiplier(multiplier):
    rng = np.random.default_rng(0)
    covered, estimates = 0, []
    for trial in range(60):
        ease = rng.normal(size=1_000)
        result = head_start(
            simulated("t", multiplier, rng, ease),
            simulated("c", 1, rng, ease),
            accuracy,
            seed=trial,
            resamples=400,
        )
        low, high = result.interval
        assert low <= result.multiplier <= high
        covered += (low <= multiplier or result.open[0]) and (multiplier <= high or result.open[1])
        estimates.append(result.multiplier)
    assert covered >= 54
    assert np.median(estimates) == pytest.approx(multiplier, rel=0.15)


def test_an_end_that_is_only_a_bound_is_marked():
    rng = np.random.default_rng(0)
    ease = rng.normal(size=1_000)
    far = head_start(simulated("t", 1_000, rng, ease), simulated("c", 1, rng, ease), accuracy)
    assert (far.bound, far.open) == ("more than", (False, True))
    assert far.interval[1] <= 32 + 1e-9
    near = head_start(simulated("t", 2, rng, ease), simulated("c", 1, rng, ease), accuracy)
    assert near.open == (False, False)


def test_the_interval_is_seeded_and_groups_widen_it():
    rng = np.random.default_rng(0)
    points = [
        Points(name, SIZES, [[np.repeat(s, 20, axis=0) for s in row] for row in p.statistics])
        for name, p in (
            (name, simulated(name, m, rng, ease, spread=0.0))
            for ease in [rng.normal(size=100)]
            for name, m in (("t", 4), ("c", 1))
        )
    ]
    alone, again = (head_start(*points, accuracy, seed=1) for _ in range(2))
    assert alone == again
    whole = head_start(*points, accuracy, seed=1, groups=np.repeat(np.arange(100), 20))
    assert np.ptp(np.log(whole.interval)) > 1.5 * np.ptp(np.log(alone.interval))


def test_seeds_may_test_different_rows():
    """Folds: a row that a seed did not test holds zeros, and scores are those of the rows it did."""
    statistics = []
    for share in (0.5, 1.0):
        row = []
        for fold in range(2):
            stats = np.zeros((20, 2))
            stats[fold * 10 : fold * 10 + 10] = [share, 1]
            row.append(stats)
        statistics.append(row)
    points = Points("t", [10, 20], statistics)
    result = head_start(points, Points("c", [10, 20], statistics), accuracy)
    assert result.transfer.scores == [[0.5, 0.5], [1.0, 1.0]]
    assert result.multiplier == 1.0


def test_one_size_gives_no_interval():
    points = Points("t", [16], [[np.ones((20, 2))]])
    assert head_start(points, Points("c", [16], [[np.ones((20, 2))]]), accuracy).interval is None


def started(multiplier, bound, interval, few, many, ends=(False, False)):
    transfer, control = (curve(name, SIZES, [[0.5 + 0.01 * i] for i in range(6)]) for name in "tc")
    return HeadStart(multiplier, bound, interval, 0.54, few, many, transfer, control, ends)


def test_the_sentence():
    assert head_start_sentence(started(9.52, "exact", (6.13, 14.2), 210, 2000)) == (
        "HEAD START: 210 labels with this source did the work of 2 000 without it (9.5x) [6.1x, 14x] at 95 %"
    )
    assert head_start_sentence(started(32.0, "more than", (20.4, 32.0), 50, 1600, (False, True))) == (
        "HEAD START: 50 labels with this source did more than the work of 1 600 without it (>32x) [20x, >32x] at 95 %"
    )
    assert head_start_sentence(started(0.25, "exact", None, 1600, 400)) == (
        "HEAD START: 1 600 labels with this source did the work of 400 without it (0.25x)"
    )
