"""A few labelled rows of the target domain: TrAdaBoost, its control, and rows that mislead."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.sourceonly import Sourceonly
from headstart.methods.targetonly import Targetonly
from headstart.methods.tradaboost import Tradaboost, mean_head, reweighted
from headstart.nn.heads import Head, Recipe
from headstart.nn.maps import Map, chain
from headstart.tasks.base import infer_task
from headstart.tasks.regression import Regression
from tests.methods.domains import domains
from tests.methods.test_adaptation import table


def misleading(n=300, few=16, m=400, seed=0):
    """(given, truth): in half of the rows of the other domain the classes have changed places, at a place of their own
    that the target domain has rows at as well."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n + few, 3)), np.arange(n + few) % 2
    X[:, 0] += 3 * y
    wrong = np.arange(n) < n / 2
    y[:n][wrong] = 1 - y[:n][wrong]
    X[:n, 2] += 2 * wrong
    target, truth = rng.normal(size=(m, 3)), np.arange(m) % 2
    target[:, 0] += 3 * truth
    own = np.arange(n + few) >= n
    X[own, 2] += 1
    target[:, 2] += 1
    return domains(X, y, target, few=own), truth, wrong


def accuracy(method, given, truth):
    return float((chain(method.adapt(given)[0], given.target).argmax(axis=1) == truth).mean())


def test_two_rounds_by_hand():
    """Three rows of another domain, two of the target domain, beta = 1/2.

    Round 1: the second and the last are missed; err = 1/2, beta_t = 1, so only the second changes: 1/2.
    Weights 1, 1/2, 1, 1, 1 are brought to the sum 5: 10/9, 5/9, 10/9, 10/9, 10/9.
    Round 2, from weights 2, 1, 2, 3, 1: the first and the last are missed; err = 1/4, beta_t = 1/3: 1, 1, 2, 3, 3.
    """
    few = np.array([False, False, False, True, True])
    w, vote = reweighted(np.ones(5), np.array([0, 1, 0, 0, 1.0]), few, 0.5, 2)
    assert np.allclose(w, np.array([10, 5, 10, 10, 10]) / 9) and vote == pytest.approx(0)
    w, vote = reweighted(np.array([2, 1, 2, 3, 1.0]), np.array([1, 0, 0, 0, 1.0]), few, 0.5, 2)
    assert np.allclose(w, np.array([1, 1, 2, 3, 3]) * 9 / 10) and vote == pytest.approx(np.log(3))


def test_a_head_without_an_error_has_a_finite_vote():
    few = np.array([False, True, True])
    w, vote = reweighted(np.ones(3), np.zeros(3), few, 0.5, 2)
    assert np.allclose(w, 1) and vote == pytest.approx(np.log(3)), "half of one of two rows: err = 1/4"


def test_rows_that_mislead_lose_their_weight():
    given, truth, wrong = misleading()
    aligned = Tradaboost().align(given)
    others = aligned.weights[:-16]
    assert others[wrong].mean() < 0.3 * others[~wrong].mean()
    assert aligned.history["few"] == 16 and aligned.history["weight of the other rows"] < 1
    boosted, pooled = (accuracy(method, given, truth) for method in (Tradaboost(), Sourceonly()))
    assert boosted > pooled + 0.1 and boosted > 0.85


def test_target_only_reads_the_few_rows_alone():
    given, truth, _ = misleading()
    found = Targetonly(head="linear").adapt(given)
    assert len(found[1].X) == 16 and accuracy(Targetonly(), given, truth) > 0.8


def test_votes_add_up_to_one_head():
    heads = [Head((Map(np.full((2, 2), float(k)), np.zeros(2)),), None) for k in (1, 2)]
    (found,) = mean_head(heads, [1.0, 3.0])
    assert np.allclose(found.matrix, 1.75)
    assert np.allclose(mean_head(heads, [0.0, 0.0])[0].matrix, 1.5), "none has a vote: all have the same"


def test_numbers_are_boosted_as_well():
    rng = np.random.default_rng(0)
    X, target = rng.normal(size=(220, 2)), rng.normal(size=(200, 2))
    y, truth = X[:, 0].copy(), target[:, 0]
    y[:100] *= -1  # half of the other rows say the opposite, at another place
    X[:100, 1] += 1.5
    own = np.arange(220) >= 200
    given = domains(X, np.arange(220) % 2, target, few=own, recipe=Recipe(1.0, 10.0))
    given = type(given)(Regression(0.0, 1.0), X, y[:, None], target, given.recipe, few=own)
    boosted, pooled = (chain(each.adapt(given)[0], target)[:, 0] for each in (Tradaboost(), Sourceonly()))
    assert ((boosted - truth) ** 2).mean() < 0.7 * ((pooled - truth) ** 2).mean()


def test_without_labels_of_the_target_domain_it_is_refused_by_name():
    rows = table(40, 0)
    for method in (Tradaboost(), Targetonly()):
        with pytest.raises(MethodError, match=f"HS-METHOD-003.*{method.name} needs a few labelled rows"):
            method.fit(Problem(rows, None, infer_task(rows), None, None, domain=rows.without("target")))


def test_the_column_of_domains_says_which_rows_they_are():
    rows, other = table(80, 0), table(60, 1, 2.0, label=False)
    problem = Problem(rows, None, infer_task(rows), None, None, domain=other, own="south")
    fitted = Tradaboost(rounds=3).fit(problem)
    assert fitted.domains.few.tolist() == [False, True] * 40
    assert Sourceonly().fit(problem).cv_outputs.shape[0] == 80
