"""Validators against the scorers of skada 0.6 on the same input."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity

from headstart.nn import validators
from headstart.sources import torchvision_compat
from tests.methods.domains import moved

torchvision_compat.heal()
skada = pytest.importorskip("skada")
metrics = pytest.importorskip("skada.metrics")

X, Y, TARGET, _ = moved(110, 90, 4, seed=2)
BOTH = np.concatenate([X, TARGET])
DOMAIN = np.repeat([1, -2], [len(X), len(TARGET)])
LABELS = np.concatenate([Y, np.full(len(TARGET), -1)])


@pytest.fixture(scope="module")
def model():
    head = LogisticRegression().set_score_request(sample_weight=True)
    return skada.make_da_pipeline(head).fit(BOTH, LABELS, sample_domain=DOMAIN)


@pytest.fixture(scope="module")
def logits(model):
    """Outputs whose softmax is what the model says of the labelled and of the target rows."""
    return [np.log(model.predict_proba(each, allow_source=True)) for each in (X, TARGET)]


def theirs(scorer, model):
    return float(scorer._score(None, model, BOTH, LABELS, sample_domain=DOMAIN))


def test_neighbourhood_density(model, logits):
    """Ours leaves a row itself out; theirs leaves it exp(-2 / T) of its weight: 2e-9 at most."""
    found = theirs(metrics.SoftNeighborhoodDensity(), model)
    assert validators.neighbourhood_density(logits[1]) == pytest.approx(found, abs=1e-6)


def test_entropy(model, logits):
    """Theirs is a mean over rows and classes, ours over rows."""
    found = theirs(metrics.PredictionEntropyScorer(), model)
    assert validators.certainty(logits[1]) == pytest.approx(found * logits[1].shape[1], abs=1e-9)


def test_deep_embedded_validation(model, logits):
    """With the weights of their classifier of domains and their third of the labelled rows, held out from it.

    Their own loss is [n] beside weights [n,1], whose product is [n,n], so that every weight meets every row's loss; a
    loss of [n,1] gives the score of the paper.
    """
    scorer = metrics.DeepEmbeddedValidation(
        loss_func=lambda y, p: validators.cross_entropy(np.log(p), y)[:, None], random_state=0
    )
    found = theirs(scorer, model)
    kept, left = train_test_split(np.arange(len(X)), test_size=0.33, random_state=np.random.RandomState(0))
    chances = scorer.domain_classifier_.predict_proba(X[left])
    weights = len(kept) / len(TARGET) * chances[:, 0] / chances[:, 1]
    loss = validators.cross_entropy(logits[0][left], Y[left])
    assert validators.deep_embedded(loss, weights) == pytest.approx(found, abs=1e-9)


def test_importance_weighted_accuracy(model, logits):
    """With their weights, by two kernel densities; 1 less the weighted error is the weighted accuracy."""
    found = theirs(metrics.ImportanceWeightedScorer(), model)
    ours, other = (KernelDensity().fit(each).score_samples(X) for each in (X, TARGET))
    wrong = logits[0].argmax(axis=1) != Y
    assert 1 + validators.weighted_risk(wrong, np.exp(other - ours)) == pytest.approx(found, abs=1e-9)


def test_circular_validation(model, logits):
    """Theirs fits the whole pipeline again; of one logistic regression that is our linear head."""
    found = theirs(metrics.CircularValidation(), model)
    assert validators.reverse(TARGET, logits[1].argmax(axis=1), X, Y) == pytest.approx(found, abs=1e-9)
