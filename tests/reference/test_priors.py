"""Priors against a simulated shift with known shares (Saerens et al. 2002), clusters against what they must recover."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn import anchored, priors
from headstart.nn.prompts import unit

SHARES = np.array([0.7, 0.2, 0.1])


@pytest.fixture(scope="module")
def shifted():
    """Bayes' own probabilities under even shares, for rows of three Gaussian classes drawn with `SHARES`."""
    generator = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    classes = generator.choice(3, size=20_000, p=SHARES)
    rows = means[classes] + generator.normal(size=(20_000, 2))
    logits = -0.5 * ((rows[:, None, :] - means) ** 2).sum(axis=2)
    chances = np.exp(logits)
    return chances / chances.sum(axis=1, keepdims=True), chances, classes


def test_em_finds_the_shares_and_corrects_as_bayes_does(shifted):
    probabilities, likelihoods, classes = shifted
    found, corrected = priors.shares(probabilities)
    np.testing.assert_allclose(found, SHARES, atol=0.01)
    bayes = likelihoods * SHARES
    bayes /= bayes.sum(axis=1, keepdims=True)
    assert np.abs(corrected - bayes).max() < 0.03
    before, after = ((p.argmax(axis=1) == classes).mean() for p in (probabilities, corrected))
    assert after > before + 0.03


def test_em_starts_from_the_shares_of_training(shifted):
    """The same classifier trained under other shares comes to the same answer."""
    _, likelihoods, _ = shifted
    prior = np.array([0.1, 0.3, 0.6])
    trained = likelihoods * prior
    found, _ = priors.shares(trained / trained.sum(axis=1, keepdims=True), prior)
    np.testing.assert_allclose(found, SHARES, atol=0.01)


def test_em_reaches_the_maximum_of_the_likelihood(shifted):
    """No other shares explain the rows better: sum log sum_c pi_c p(c|x)."""
    probabilities = shifted[0]
    found, _ = priors.shares(probabilities)
    best = np.log(probabilities @ found).sum()
    generator = np.random.default_rng(1)
    for _ in range(50):
        other = found + generator.normal(scale=0.02, size=3)
        other = np.clip(other, 1e-6, None) / np.clip(other, 1e-6, None).sum()
        assert np.log(probabilities @ other).sum() <= best + 1e-6


def test_smoothing_keeps_a_class_that_no_row_has():
    probabilities = np.tile([0.9, 0.1], (50, 1))
    assert priors.shares(probabilities)[0][1] < 1e-3
    assert priors.shares(probabilities, smoothing=10.0)[0][1] > 0.1


def test_rows_that_lie_together_correct_their_labels():
    """Labels that lie beside their rows: the clusters get right what the cosine alone gets wrong."""
    generator = np.random.default_rng(0)
    centres = unit(generator.normal(size=(4, 32)))
    classes = np.repeat(np.arange(4), (300, 200, 100, 100))
    rows = unit(centres[classes] + 0.12 * generator.normal(size=(700, 32)))
    labels = unit(0.5 * centres + 0.2 * generator.normal(size=(4, 32)) + 0.5 * centres[0])
    similarity = rows @ labels.T
    temperature = 0.25 * (similarity - similarity.mean(axis=0)).std()
    found = anchored.anchored(rows, labels, temperature=temperature)
    alone = (similarity.argmax(axis=1) == classes).mean()
    together = ((rows @ found.weight.T + found.bias).argmax(axis=1) == classes).mean()
    assert alone < 0.85 < 0.95 < together
    np.testing.assert_allclose(found.shares, [3 / 7, 2 / 7, 1 / 7, 1 / 7], atol=0.05)
