"""The automatic adaptation: which shift it finds, and when it leaves the rows alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headstart.methods import adapt
from headstart.methods.adapt import Adapt, Explanation, Gap, curve_area, decide, explain, gap
from headstart.methods.sourceonly import Sourceonly
from headstart.nn.heads import Recipe, choose
from headstart.nn.maps import Map, chain
from headstart.tasks.classification import Classification
from tests.methods.domains import domains


def clusters(n, seed, share=0.5, shift=0.0, stretch=1.0, away=0.0):
    """Class 0 is round, class 1 two small clusters beside it; labelled rows have the defaults."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < share * n).astype(int)
    X = rng.normal(size=(n, 2))
    X[y == 1] = 0.4 * X[y == 1] + np.where(rng.random((int(y.sum()), 1)) < 0.5, [[1.8, 0.5]], [[0.0, 2.4]])
    return X * stretch + np.array([shift, away]), y


def case(**target):
    X, y = clusters(500, 0)
    goal, truth = clusters(500, 2, **target)
    task = Classification([0, 1])
    return domains(X, y, goal, recipe=choose(task, X, y)), truth


def outcome(**target):
    """(the shift that is gone by, accuracy after, accuracy before)"""
    given, truth = case(**target)
    maps, aligned, _ = Adapt().adapt(given)
    plain = Sourceonly().adapt(given)[0]
    after, before = ((chain(each, given.target).argmax(axis=1) == truth).mean() for each in (maps, plain))
    return aligned.history["chosen"], after, before


def test_no_shift_is_seen_where_there_is_none():
    chosen, after, before = outcome()
    assert chosen == "none" and after == before


@pytest.mark.slow
def test_other_shares_of_the_classes():
    chosen, after, before = outcome(share=0.15)
    assert chosen == "label" and after >= before


@pytest.mark.slow
def test_a_moved_and_stretched_domain():
    chosen, after, before = outcome(shift=2.0, away=-1.5, stretch=1.4)
    assert chosen == "linear" and after > before + 0.1


def test_rows_of_one_corner_are_left_to_the_head_as_it_is():
    """Covariate shift: the labels of a row are the same, so weights change little; nothing else explains it."""
    X, y = clusters(500, 0)
    pool, truth = clusters(5000, 1)
    rng = np.random.default_rng(2)
    near = np.exp(-((pool - np.array([0.5, 2.0])) ** 2).sum(axis=1))
    rows = rng.choice(len(pool), 400, replace=False, p=near / near.sum())
    task = Classification([0, 1])
    given = domains(X, y, pool[rows], recipe=choose(task, X, y))
    maps, aligned, _ = Adapt().adapt(given)
    assert aligned.history["chosen"] in ("none", "covariate")
    plain = chain(Sourceonly().adapt(given)[0], given.target).argmax(axis=1)
    found = chain(maps, given.target).argmax(axis=1)
    assert (found == truth[rows]).mean() >= (plain == truth[rows]).mean() - 0.01


def explanation(shift, z, label, stands=True, told_only=False):
    """One whose head says ``label`` of every row."""
    maps = (Map(np.zeros((2, 2)), np.eye(2)[label]),)
    return Explanation(shift, Sourceonly(), Gap(z, 0.5), 0.1, stands, "", told_only, maps)


def test_two_explanations_that_differ_make_it_abstain():
    given, _ = case()
    none = explanation("none", 9.0, 0, stands=False)
    label, linear = explanation("label", 0.5, 0), explanation("linear", 0.1, 1)
    chosen, why = decide(given, [none, label, linear])
    assert chosen is none and "label and linear explain" in why
    agreeing = replace(linear, maps=label.maps)
    assert decide(given, [none, label, agreeing])[0] is agreeing
    close = explanation("linear", 1.9, 1, stands=False, told_only=True)
    assert decide(given, [none, label, close])[0] is none, "not rejected by enough"
    far = explanation("linear", 6.0, 1, stands=False, told_only=True)
    assert decide(given, [none, label, far])[0] is label
    assert decide(given, [none])[1] == "abstained: no explanation of the shift stands"


def test_a_class_that_all_but_vanishes_is_no_label_shift():
    given, _ = case(share=0.004)
    (label,) = [each for each in explain(given) if each.shift == "label"]
    assert not label.stands and "vanishes" in label.why


@pytest.mark.slow
def test_a_map_with_many_numbers_has_to_hold_for_other_rows():
    """40 columns and 60 target rows: the moments are matched on those very rows, and on no others."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 40)), np.arange(400) % 2
    X[:, 0] += 3 * y
    target = rng.standard_t(3, size=(60, 40)) @ rng.normal(size=(40, 40)) / 6
    found = {each.shift: each for each in explain(domains(X, y, target, recipe=Recipe(0.0, 1.0)))}
    assert not found["linear"].stands


def test_smeared_columns_of_zeros_and_ones_are_told_by_trees():
    rng = np.random.default_rng(0)
    first, second = ((rng.random((400, 6)) < share).astype(float) for share in (0.5, 0.3))
    smeared = first + 0.05 * rng.normal(size=first.shape) + (second.mean(axis=0) - first.mean(axis=0))
    assert gap(smeared, second, np.ones(400), trees=True).area > 0.95
    assert abs(gap(second[:200], second[200:], np.ones(200), trees=True).area - 0.5) < 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_the_area_under_the_curve_is_scikit_learns(weighted):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=70).round(1), rng.normal(size=50).round(1) + 0.4
    w = rng.random(70) if weighted else np.ones(70)
    label = np.repeat([0, 1], [70, 50])
    theirs = roc_auc_score(label, np.concatenate([first, second]), sample_weight=np.concatenate([w, np.ones(50)]))
    assert curve_area(first, second, w) == pytest.approx(theirs)


def test_limits_are_settings_where_a_user_may_want_them():
    assert Adapt().tolerance == adapt.LIMIT
