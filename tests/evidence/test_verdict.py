"""The intervals, the decision and its sentence."""

import numpy as np
import pytest

from headstart.evidence.verdict import (
    bootstrap,
    corrected_kfold,
    decide,
    group_sums,
    paired_bootstrap,
    resampled_sums,
    verdict_sentence,
)
from headstart.types import Interval, Verdict


def accuracy(sums):
    return sums[..., 0] / sums[..., 1]


def right(values):
    values = np.asarray(values, dtype=float)
    return np.column_stack([values, np.ones(len(values))])


def disagreements(wins, losses, rows):
    """Two models on ``rows`` rows: a alone right ``wins`` times, b alone ``losses`` times, else both."""
    a, b = np.ones(rows), np.ones(rows)
    b[:wins] = 0
    a[wins : wins + losses] = 0
    return right(a), right(b)


def test_identical_predictions_are_exactly_neutral():
    stats = right(np.arange(500) % 3 > 0)
    interval = paired_bootstrap(stats, stats.copy(), accuracy)
    assert interval == Interval(0.0, 0.0, 0.0)
    assert decide(interval, "baseline", "paired bootstrap", 500).label == "neutral"


def test_a_clear_difference_matches_the_normal_interval():
    a, b = disagreements(160, 80, 2_000)
    interval = paired_bootstrap(a, b, accuracy)
    d = a[:, 0] - b[:, 0]
    reach = 1.96 * d.std() / np.sqrt(2_000)
    assert interval.value == pytest.approx(0.04)
    assert interval.low == pytest.approx(0.04 - reach, abs=0.0015)
    assert interval.high == pytest.approx(0.04 + reach, abs=0.0015)
    assert decide(interval, "c", "p", 2_000).label == "positive"
    assert decide(paired_bootstrap(b, a, accuracy), "c", "p", 2_000).label == "negative"


@pytest.mark.parametrize("wins", [1, 2, 3, 4, 5])
def test_a_handful_of_disagreements_proves_nothing(wins):
    # by a sign test even 5 of 5 has p = 0.0625; the bare percentile interval already calls 4 of 4 positive
    interval = paired_bootstrap(*disagreements(wins, 0, 1_000), accuracy)
    assert interval.low == 0.0
    assert interval.value == pytest.approx(wins / 1_000)


def test_the_bare_percentile_interval_would_be_fooled_by_four():
    a, b = disagreements(4, 0, 1_000)
    sums = resampled_sums(np.hstack([a, b]), 10_000, np.random.default_rng(0))
    assert np.quantile(accuracy(sums[:, :2]) - accuracy(sums[:, 2:]), 0.025) > 0


def test_ten_of_ten_disagreements_are_enough():
    assert paired_bootstrap(*disagreements(10, 0, 1_000), accuracy).low > 0


def test_it_is_seeded_and_the_seed_matters():
    rng = np.random.default_rng(0)
    a, b = rng.random((300, 1)), rng.random((300, 1))
    combine = lambda s: s[..., 0]  # noqa: E731
    assert paired_bootstrap(a, b, combine, seed=3) == paired_bootstrap(a, b, combine, seed=3)
    assert paired_bootstrap(a, b, combine, seed=3) != paired_bootstrap(a, b, combine, seed=4)


def test_both_ways_of_drawing_have_the_same_distribution():
    rng = np.random.default_rng(0)
    coarse = right(rng.random(400) < 0.8)  # two distinct rows: one multinomial
    fine = coarse + np.column_stack([1e-9 * rng.random(400), np.zeros(400)])  # 400 distinct rows: drawn indices
    first = accuracy(resampled_sums(coarse, 20_000, np.random.default_rng(1)))
    second = accuracy(resampled_sums(fine, 20_000, np.random.default_rng(2)))
    assert first.mean() == pytest.approx(second.mean(), abs=0.001)
    p = coarse[:, 0].mean()
    assert first.std() == pytest.approx(np.sqrt(p * (1 - p) / 400), rel=0.03)
    assert second.std() == pytest.approx(first.std(), rel=0.03)


def test_groups_widen_the_interval():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 20)
    a, b = (right(np.repeat(rng.random(50) < 0.7, 20)) for _ in range(2))
    alone, whole = paired_bootstrap(a, b, accuracy), paired_bootstrap(a, b, accuracy, groups=groups)
    assert whole.value == pytest.approx(alone.value)
    assert (whole.high - whole.low) > 3 * (alone.high - alone.low)


def test_group_sums_keep_the_total():
    stats = np.arange(12.0).reshape(6, 2)
    sums = group_sums(stats, ["b", "a", "b", "c", "a", "b"])
    assert sums.tolist() == [[10.0, 12.0], [14.0, 17.0], [6.0, 7.0]]
    with pytest.raises(ValueError, match="2 group ids for 6 rows"):
        group_sums(stats, ["a", "b"])


def test_a_single_score_is_covered_as_often_as_promised():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        interval = bootstrap(right(rng.random(400) < 0.9), accuracy, seed=trial, resamples=1_000)
        covered += interval.low <= 0.9 <= interval.high
    assert covered >= 0.92 * 300


def test_real_differences_are_covered_and_found():
    rng = np.random.default_rng(0)
    covered = found = 0
    for trial in range(200):
        shared = rng.normal(size=1_000)
        scores = [0.8 * shared + 0.6 * rng.normal(size=1_000) for _ in range(2)]
        a, b = right(scores[0] < 1.0364), right(scores[1] < 0.8416)  # 0.85 and 0.80
        interval = paired_bootstrap(a, b, accuracy, seed=trial, resamples=1_000)
        covered += interval.low <= 0.05 <= interval.high
        found += interval.low > 0
    assert covered >= 0.92 * 200
    assert found >= 0.9 * 200


def test_resamples_without_a_score_are_left_out():
    stats = np.zeros((30, 2))
    stats[:2] = 1  # some resamples hold neither of the two rows: 0 / 0
    interval = bootstrap(stats, accuracy, resamples=2_000)
    assert interval == Interval(1.0, 1.0, 1.0)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[N,S\]"):
        paired_bootstrap(np.ones((3, 2)), np.ones((4, 2)), accuracy)
    with pytest.raises(ValueError, match=r"\[N,S\]"):
        bootstrap(np.ones(3), accuracy)
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap(np.ones((0, 2)), accuracy)


def test_corrected_kfold_by_hand():
    interval = corrected_kfold([0.02, 0.04, 0.06, 0.08], test_rows=20, train_rows=80)
    # mean 0.05, s² = 0.002 / 3, error = sqrt(s² (1/4 + 1/4)) = 0.018257, t(0.975; 3) = 3.18245
    assert interval.value == pytest.approx(0.05)
    assert interval.high - 0.05 == pytest.approx(3.18245 * 0.0182574, rel=1e-5)
    assert 0.05 - interval.low == pytest.approx(3.18245 * 0.0182574, rel=1e-5)


def test_corrected_kfold_of_no_difference_and_of_too_few_folds():
    assert corrected_kfold(np.zeros(20), 20, 80) == Interval(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="two folds"):
        corrected_kfold([0.1], 20, 80)


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [(0.01, 0.03, "positive"), (-0.03, -0.01, "negative"), (-0.01, 0.03, "neutral"), (0.0, 0.03, "neutral")],
)
def test_decide(low, high, label):
    verdict = decide(Interval((low + high) / 2, low, high), "scratch", "paired bootstrap", 400)
    assert (verdict.label, verdict.control, verdict.procedure, verdict.rows) == (
        label,
        "scratch",
        "paired bootstrap",
        400,
    )


def sentence(label, value, low, high):
    return verdict_sentence(Verdict(label, Interval(value, low, high), "baseline", "paired bootstrap", 400), "accuracy")


def test_the_sentence():
    assert sentence("positive", 0.041, 0.026, 0.056) == (
        "VERDICT: positive transfer, +4.1 points [+2.6, +5.6] at 95 % (accuracy, against baseline)"
    )
    assert sentence("negative", -0.02, -0.031, -0.01).startswith("VERDICT: negative transfer, -2.0 points [-3.1, -1.0]")


def test_the_sentence_never_shows_a_bound_that_contradicts_it():
    assert "[+0.03, +1.20]" in sentence("positive", 0.006, 0.0003, 0.012)
    assert "0.0 points [0.0, 0.0]" in sentence("neutral", 0.0, -0.0001, 0.0001)


def test_five_rows_or_groups_on_one_side_are_not_a_case():
    better, worse = np.column_stack([np.ones(5), np.arange(5) + 2.0]), np.column_stack([np.ones(5), np.arange(5)])

    def mean(sums):
        return sums[..., 1] / sums[..., 0]

    assert paired_bootstrap(better, worse, mean).low == 0.0
    many = np.repeat(better, 10, axis=0), np.repeat(worse, 10, axis=0)
    assert paired_bootstrap(*many, mean).low > 0
    assert paired_bootstrap(*many, mean, groups=np.repeat(np.arange(5), 10)).low == 0.0
    assert paired_bootstrap(*many, mean, groups=np.repeat(np.arange(10), 5)).low > 0
