"""Every ranker of the catalog passes the public check, and the check refuses rankers that are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from headstart import catalog
from headstart.errors import HeadstartError, MethodError
from headstart.rankers.base import Ranker
from headstart.testing import check_ranker

NAMES = catalog.names("rankers")


def test_the_catalog_holds_every_score():
    assert {"logme", "leep", "nleep", "hscore", "transrate", "gbc", "parc", "cka", "knn", "probe_cv"} <= set(NAMES)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(MethodError, match=r'there is no ranker "logmee"\. Did you mean "logme"') as caught:
        catalog.find("rankers", "logmee")
    assert caught.value.code == "HS-METHOD-001"


@pytest.mark.parametrize("name", NAMES)
def test_ranker(name):
    ranker = catalog.find("rankers", name)
    assert ranker.name == name and ranker.paper
    check_ranker(ranker())


@pytest.mark.parametrize("name", NAMES)
def test_three_rows_are_too_few_and_the_error_says_so(name):
    with pytest.raises(HeadstartError, match=f"{name}: 3 rows; expected 4 or more"):
        catalog.find("rankers", name)().score(np.full((3, 2), 0.5), np.asarray([0, 1, 0]))


@pytest.mark.parametrize("name", NAMES)
def test_four_rows_have_a_score(name):
    features = np.asarray([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert np.isfinite(catalog.find("rankers", name)().score(features, np.asarray([0, 0, 1, 1])))


@dataclass(frozen=True)
class Centroids(Ranker):
    """Distance of the class means; right, and the base of the wrong ones below."""

    name: ClassVar[str] = "centroids"
    paper: ClassVar[str] = "none"
    reads: ClassVar[frozenset[str]] = frozenset({"classes"})

    def measure(self, features, target):
        means = [features[target.classes == label].mean(axis=0) for label in range(target.columns.shape[1])]
        return float(np.linalg.norm(np.std(means, axis=0)))


def test_a_right_ranker_passes():
    check_ranker(Centroids())


def wrong(measure):
    return type("Wrong", (Centroids,), {"measure": measure})()


def test_a_score_that_reads_the_order_of_rows_is_refused():
    ranker = wrong(lambda self, X, target: Centroids.measure(self, X, target) + X[0, 0])
    with pytest.raises(AssertionError, match="order of the rows"):
        check_ranker(ranker)


def test_a_score_that_reads_the_numbers_of_classes_is_refused():
    ranker = wrong(lambda self, X, target: Centroids.measure(self, X, target) + 1e-3 * X[target.classes == 0].sum())
    with pytest.raises(AssertionError, match="the classes named"):
        check_ranker(ranker)


def test_a_score_that_is_higher_for_noise_is_refused():
    with pytest.raises(AssertionError, match="shuffled targets score"):
        check_ranker(wrong(lambda self, X, target: -Centroids.measure(self, X, target)))


def test_a_score_that_is_not_finite_is_refused():
    def measure(self, X, target):
        counts = np.bincount(target.classes)
        return float("nan") if counts.min() == 1 else Centroids.measure(self, X, target)

    with pytest.raises(AssertionError, match="where a class has 1 rows"):
        check_ranker(wrong(measure))


def test_a_score_that_changes_its_input_is_refused():
    def measure(self, X, target):
        X -= X.mean(axis=0)
        return Centroids.measure(self, X, target)

    with pytest.raises(AssertionError, match="changes its input"):
        check_ranker(wrong(measure))


def test_a_score_of_broken_features_is_refused():
    class Lenient(Centroids):
        def score(self, features, targets):
            target = self.checked(np.nan_to_num(features), targets)
            return float(self.measure(np.nan_to_num(features), target))

    with pytest.raises(AssertionError, match="features with nan"):
        check_ranker(Lenient())
