"""Preference without target labels: a clear gain is taken, and what may do harm is not."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from headstart.methods.preference import AGREED, JUDGES, MARGIN, Seen, doubt, prefer


def case(gap=2.5, n=240, m=220, seed=0):
    """(y, control, good, truth): three corners; the target is moved, and the good model moves it back."""
    rng = np.random.default_rng(seed)
    corners = 4 * np.eye(3)
    y, truth = np.arange(n) % 3, np.arange(m) % 3
    X, moved = corners[y] + rng.normal(size=(n, 3)), corners[truth] + rng.normal(size=(m, 3))
    control = Seen(X, moved + np.array([gap, 0.0, -gap]), X, moved + np.array([gap, 0.0, -gap]))
    return y, control, Seen(X, moved, X, moved), truth


def test_a_clear_gain_is_taken():
    y, control, good, truth = case()
    found = prefer(y, control, [control, good])
    assert found.index == 1 and "clearly better" in found.reason and "clusters +0." in found.reason
    assert found.doubts == (found.doubts[0], "") and "not clearly ahead" in found.doubts[0], "no gain, no preference"
    before, after = ((each.target.argmax(axis=1) == truth).mean() for each in (control, good))
    assert after > before + 0.1
    assert len(found.scores) == 3 and set(JUDGES) <= set(found.scores[0])


def test_where_there_is_nothing_to_gain_it_abstains():
    y, control, _, _ = case(gap=0.0)
    rng = np.random.default_rng(1)
    like = control._replace(target=control.target + 0.05 * rng.normal(size=control.target.shape))
    found = prefer(y, control, [like])
    assert found.index is None and found.reason.startswith("abstained")
    assert prefer(y, control, []).index is None


def test_a_model_that_unlearned_the_labelled_rows_is_not_taken():
    y, control, good, _ = case()
    source = good.source.copy()
    source[: len(source) // 10] = np.roll(source[: len(source) // 10], 1, axis=1)
    found = prefer(y, control, [good._replace(source=source)])
    assert prefer(y, control, [good._replace(source=source)], lose=0.2).index is None, "nor are the judges content"
    assert found.index is None and "loses" in found.doubts[0] and "labelled rows" in found.doubts[0]


def test_a_model_that_lost_a_class_is_not_taken():
    y, control, good, _ = case(gap=0.5)
    target = good.target.copy()
    target[:, 2] -= 50
    found = prefer(y, control, [good._replace(target=target)])
    assert found.index is None and found.doubts[0].startswith("class 2 falls from 0.3")


def test_one_judge_that_is_far_behind_is_enough_to_abstain():
    plain = {"source": 0.9, "weighted risk": -0.1, "reverse": 0.8, "clusters": 0.5}
    share = np.array([0.5, 0.5])
    assert doubt(plain | {"clusters": 0.7, "reverse": 0.85}, plain, share, share) == ""
    assert doubt(plain | {"clusters": 0.9, "reverse": 0.7}, plain, share, share) == "reverse is 0.10 behind"
    alone = plain | {"clusters": 0.9}
    assert "not clearly ahead" in doubt(alone, plain, share, share), "two classes: which is which is not known"
    three = np.full(3, 1 / 3)
    assert doubt(alone, plain, three, three) == ""
    little = plain | {"clusters": 0.5 + 2 * MARGIN}
    assert "not clearly ahead" in doubt(little, plain, three, three)
    steady = {"agreement": 0.93 + 2 * AGREED}
    assert doubt(little | steady, plain | {"agreement": 0.93}, three, three) == "", "two runs agree more as well"
    assert doubt(little | {"agreement": 0.93 + AGREED / 2}, plain | {"agreement": 0.93}, three, three)
    assert doubt(plain | steady, plain | {"agreement": 0.93}, three, three), "agreement by itself is not enough"
    assert doubt(little | steady, plain, three, three), "unknown of the control"
    assert doubt(little | steady, plain | {"agreement": 0.93}, share, share), "two classes"


@pytest.mark.parametrize("seed", [1, 2])
def test_order_and_number_of_candidates_do_not_matter(seed):
    y, control, good, _ = case(seed=seed)
    assert prefer(y, control, [good, control]).index == 0
    assert prefer(y, control, [good]).index == 0


def test_no_label_of_the_target_domain_can_be_given():
    assert list(inspect.signature(prefer).parameters) == ["y", "control", "candidates", "lose", "seed"]
    assert "truth" not in Seen._fields and len(Seen._fields) == 5
