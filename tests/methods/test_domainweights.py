"""Weights of labelled domains: the one that is like the target domain counts most."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from headstart.errors import MethodError
from headstart.evidence.adaptation import left_out
from headstart.methods.base import Problem
from headstart.methods.domainweights import Domainweights, by_mixture
from headstart.methods.sourceonly import Sourceonly
from headstart.nn.maps import chain
from headstart.tasks.base import infer_task
from tests.methods.domains import domains
from tests.methods.test_adaptation import table

BOTH = pytest.mark.parametrize("estimator", ["mixture", "softmax"])


def three(n=150, m=200, seed=0):
    """(given, truth): classes part along the first column, in the other two domains the other way round."""
    rng = np.random.default_rng(seed)
    number, y, truth = np.repeat([0, 1, 2], n), np.arange(3 * n) % 2, np.arange(m) % 2
    X, target = rng.normal(size=(3 * n, 3)), rng.normal(size=(m, 3))
    X[:, 0] += np.where(number == 1, 3.0, -3.0) * (y - 0.5)
    X[:, 1] += np.array([-2.0, 0.0, 2.0])[number]
    target[:, 0] += 3 * (truth - 0.5)
    return domains(X, y, target, domain=number), truth


@BOTH
def test_the_domain_that_is_like_the_target_counts_most(estimator):
    given, truth = three()
    method = Domainweights(estimator=estimator)
    aligned = method.align(given)
    first, second, third = aligned.history["weights of domains"]
    assert second > 3 * max(first, third) and np.isclose(aligned.weights.mean(), 1)
    found, plain = (
        float((chain(each.adapt(given)[0], given.target).argmax(axis=1) == truth).mean())
        for each in (method, Sourceonly())
    )
    assert found > 0.85 > 0.6 > plain


def test_domains_that_are_all_alike_count_alike():
    rng = np.random.default_rng(0)
    X, target = rng.normal(size=(600, 2)), rng.normal(size=(400, 2))
    given = domains(X, np.arange(600) % 2, target, domain=np.arange(600) // 200)
    found = Domainweights().align(given).history["weights of domains"]
    assert max(found) < 1.3 * min(found)


def test_the_shares_of_a_mixture_are_found():
    """A target of one part of the first domain and three of the second, which has half as many rows."""
    rng = np.random.default_rng(0)
    number = np.repeat([0, 1], [400, 200])
    X = rng.normal(size=(600, 2)) + np.array([[-2.0], [2.0]])[number]
    target = rng.normal(size=(400, 2)) + np.where(np.arange(400)[:, None] % 4 == 0, -2, 2)
    weight = by_mixture(X, number, target, np.ones(600))
    share = weight * np.array([2, 1]) / 3
    assert np.allclose(share, [0.25, 0.75], atol=0.03)


@BOTH
def test_one_domain_is_left_as_it_is(estimator):
    given, _ = three()
    for number in (None, np.zeros(len(given.X), int)):
        alone = Domainweights(estimator=estimator).align(dataclasses.replace(given, domain=number))
        assert np.array_equal(alone.weights, np.ones(len(given.X)))


def test_a_column_of_domains_is_needed():
    rows, other = table(80, 0), table(60, 1, 2.0, label=False)
    problem = Problem(rows, None, infer_task(rows), None, None, domain=other)
    assert len(Domainweights().fit(problem).history[0]["weights of domains"]) == 2
    without = problem.replace(train=rows.without("domain"))
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*domainweights needs labelled rows of several"):
        Domainweights().fit(without)


def test_each_labelled_domain_is_left_out_in_turn():
    rows, other = table(80, 0), table(60, 1, 2.0, label=False)
    problem = Problem(rows, None, infer_task(rows), None, None, domain=other)
    found = left_out(Domainweights(), Sourceonly(), problem, problem.report)
    assert [each["domain"] for each in found] == ["north", "south"]
    assert all(each["domainweights"] == each["sourceonly"] for each in found), "of two domains one is left"
