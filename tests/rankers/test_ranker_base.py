"""What every ranker shares: reading targets, thinning rows by content, measuring agreement, errors."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import HeadstartError, MethodError
from headstart.rankers.base import Target, by_content, kind_of, thinned
from headstart.rankers.gbc import GBC
from headstart.rankers.hscore import HScore
from headstart.rankers.knn import KNN
from headstart.rankers.leep import LEEP
from headstart.rankers.logme import LogME
from headstart.rankers.parc import PARC
from headstart.rankers.transrate import TransRate


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (np.asarray([0, 1, 1]), "classes"),
        (np.asarray([True, False]), "classes"),
        (np.asarray([[0.0, 1.0], [1.0, 1.0]]), "labels"),
        (np.asarray([[0.0], [2.0]]), "values"),
        (np.asarray([0.0, 1.0]), "values"),
        (np.asarray([[0.0], [np.nan]]), "values"),
    ],
)
def test_the_kind_of_targets_is_read_off_their_type_and_values(targets, kind):
    assert kind_of(targets) == kind


@pytest.mark.parametrize("targets", [np.zeros((2, 2), dtype=int), np.asarray(["a", "b"]), np.zeros((2, 2, 2))])
def test_other_arrays_are_no_targets(targets):
    with pytest.raises(MethodError) as caught:
        kind_of(targets)
    assert caught.value.code == "HS-METHOD-003"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KNN(k=0), "knn: k is 0; expected more than 0"),
        (lambda: TransRate(eps=-1.0), "transrate: eps is -1.0; expected more than 0"),
        (lambda: TransRate(eps=float("nan")), "transrate: eps is nan"),
        (lambda: GBC(covariance="diag"), r"gbc: covariance is 'diag'\. Did you mean \"diagonal\""),
    ],
)
def test_settings_out_of_bounds_are_refused(make, words):
    with pytest.raises(MethodError, match=words) as caught:
        make()
    assert caught.value.code == "HS-METHOD-002"


def test_a_seed_may_be_any_integer():
    assert PARC(seed=-5).seed == -5


F = np.random.default_rng(0).normal(size=(6, 3))
Y = np.asarray([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize(
    ("features", "targets", "words"),
    [
        (F[:5], Y, "5 rows of features and 6 targets"),
        (F[:, 0], Y, r"the features are \[6\] of float64; expected numbers \[N,D\]"),
        (F.astype(str), Y, "expected numbers"),
        (F[:, :0], Y, r"the features are \[6, 0\]"),
        (np.where(np.arange(18).reshape(6, 3) == 7, np.nan, F), Y, "row 2, column 1 of the features is nan"),
        (np.where(np.arange(18).reshape(6, 3) == 7, -np.inf, F), Y, "row 2, column 1 of the features is -inf"),
        (F, F[:, :2], "not defined for values, only for classes and labels"),
        (F, np.zeros(6, dtype=int), "all targets are the same"),
        (F, np.ones((6, 2)), "all targets are the same"),
        (F[:3], Y[:3], "3 rows; expected 4 or more"),
    ],
)
def test_what_cannot_be_scored_is_told_in_one_line_with_the_name_of_the_ranker(features, targets, words):
    with pytest.raises(HeadstartError, match=words) as caught:
        HScore().score(features, targets)
    assert caught.value.message.startswith("hscore: ") and "\n" not in str(caught.value) and caught.value.hint


def test_a_missing_value_is_named_by_its_row():
    values = F[:, :1].copy()
    values[4] = np.nan
    with pytest.raises(MethodError, match="row 4 of the targets is not a finite number"):
        LogME().score(F, values)


@pytest.mark.parametrize(("row", "values"), [(3, [0.7, 0.7]), (2, [1.2, -0.2])])
def test_leep_takes_probabilities_only(row, values):
    theta = np.full((6, 2), 0.5)
    theta[row] = values
    with pytest.raises(MethodError, match=f"row {row} is no distribution over source classes"):
        LEEP().score(theta, Y)


def test_classes_are_numbered_from_zero_and_those_without_rows_left_out():
    target = HScore().checked(F, np.asarray([7, 2, 7, 9, 9, 9]))
    assert target.classes.tolist() == [1, 0, 1, 2, 2, 2]
    assert target.columns.tolist() == np.eye(3)[[1, 0, 1, 2, 2, 2]].tolist()
    part = target.rows(np.asarray([0, 3, 4]))
    assert part.classes.tolist() == [0, 1, 1] and part.columns.shape == (3, 2)


def test_agreement_of_classes_shares_ties():
    target = HScore().checked(F[:4], np.asarray([0, 1, 2, 0]))
    outputs = np.asarray([[1.0, 0, 0], [0.5, 0.5, 0], [1, 0, 0], [1, 1, 1]])
    assert target.agreement(outputs) == pytest.approx((1 + 1 / 2 + 0 + 1 / 3) / 4)


def test_agreement_of_labels_and_values():
    labels = Target("labels", np.asarray([[1.0, 0], [0, 1], [1, 1]]))
    assert labels.agreement(np.asarray([[0.9, 0.6], [0.1, 0.2], [0.8, 0.7]])) == pytest.approx(2 * 3 / (4 + 4))
    values = Target("values", np.asarray([[1.0, 10], [2, 20], [3, 60]]))
    assert values.agreement(values.columns) == 1
    assert values.agreement(np.broadcast_to(values.columns.mean(axis=0), (3, 2))) == pytest.approx(0)


def test_the_order_by_content_follows_the_rows_and_the_seed():
    rows = np.random.default_rng(0).normal(size=(200, 3))
    shuffled = np.random.default_rng(1).permutation(200)
    assert np.array_equal(rows[by_content(rows, 0)], rows[shuffled][by_content(rows[shuffled], 0)])
    assert not np.array_equal(by_content(rows, 0), by_content(rows, 1))
    assert sorted(by_content(rows, -3)) == list(range(200))


def test_thinning_keeps_every_class_by_its_share():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1000, 3))
    y = np.repeat([0, 1, 2], [690, 309, 1])
    target = HScore().checked(rows, y)
    kept = thinned(rows, target, 100, 0)
    assert len(set(kept.tolist())) == 100
    counts = np.bincount(y[kept])
    assert counts[2] == 1 and abs(counts[0] - 69) <= 1 and abs(counts[1] - 31) <= 1
    assert sorted(thinned(rows, target, 1000, 0)) == list(range(1000))


def test_a_thinned_score_is_near_that_of_all_rows_and_does_not_depend_on_their_order():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 1500)
    rows = generator.normal(size=(1500, 10)) + 2 * np.eye(10)[y]
    whole, part = PARC(most=1500).score(rows, y), PARC(most=300).score(rows, y)
    order = generator.permutation(1500)
    assert PARC(most=300).score(rows[order], y[order]) == pytest.approx(part, rel=1e-9)
    assert part == pytest.approx(whole, abs=0.05) and part != whole
