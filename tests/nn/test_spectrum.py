"""The shared decomposition against numpy's and scikit-learn's, for tall, wide and rank-deficient features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from headstart.nn.spectrum import centred, spectrum
from headstart.rankers.hscore import ledoit_wolf


def example(rows: int, width: int, rank: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(rows, rank)) * np.geomspace(5, 0.1, rank) @ generator.normal(size=(rank, width)) + 1


SHAPES = pytest.mark.parametrize("shape", [(50, 8, 8), (8, 50, 8), (50, 20, 6), (20, 50, 6), (30, 30, 30)], ids=str)


@SHAPES
def test_it_is_the_singular_value_decomposition_of_the_rank(shape):
    F = example(*shape)
    found = spectrum(F)
    expected = np.linalg.svd(F, compute_uv=False)
    rank = np.linalg.matrix_rank(F)
    assert len(found.values) == rank
    np.testing.assert_allclose(found.values, expected[:rank] ** 2, rtol=1e-7)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(rank), atol=1e-6)
    np.testing.assert_allclose(found.left @ (found.left.T @ F), F, atol=1e-7)


@SHAPES
def test_projections_are_the_coordinates_on_the_left_vectors(shape):
    F = example(*shape)
    Y = np.random.default_rng(1).normal(size=(len(F), 3))
    found = spectrum(F)
    np.testing.assert_allclose(found.project(Y), found.left.T @ Y, atol=1e-8)


@SHAPES
def test_residuals_are_those_of_least_squares(shape):
    F = example(*shape)
    Y = np.random.default_rng(1).normal(size=(len(F), 3))
    found = spectrum(F)
    expected = Y - F @ np.linalg.lstsq(F, Y, rcond=None)[0]
    np.testing.assert_allclose(found.residual(Y, found.project(Y)), expected, atol=1e-8)


@pytest.mark.parametrize("shape", [(60, 10), (10, 60)], ids=str)
def test_small_directions_are_as_exact_as_large_ones(shape):
    generator = np.random.default_rng(3)
    U, V = (np.linalg.qr(generator.normal(size=(side, 10)))[0] for side in shape)
    sizes = np.geomspace(1, 1e-7, 10)
    found = spectrum((U * sizes) @ V.T)
    np.testing.assert_allclose(np.sqrt(found.values), sizes, rtol=1e-7)
    np.testing.assert_allclose(np.abs(found.left.T @ U), np.eye(10), atol=1e-7)


@SHAPES
def test_scores_of_centred_features_are_principal_components_sign_included(shape):
    F = example(*shape)
    expected = PCA(4, svd_solver="full").fit_transform(F)
    np.testing.assert_allclose(spectrum(centred(F)).scores(4), expected, atol=1e-8)


@SHAPES
def test_shrinkage_is_that_of_scikit_learn(shape):
    F = example(*shape)
    assert ledoit_wolf(spectrum(centred(F))) == pytest.approx(LedoitWolf().fit(F).shrinkage_, rel=1e-8)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_features_that_do_not_vary_have_rank_zero_once_centred(shape):
    assert len(spectrum(centred(np.full(shape, 0.1))).values) == 0
    assert len(spectrum(np.full(shape, 0.1)).values) == 1
    assert spectrum(np.zeros(shape)).project(np.ones((shape[0], 2))).shape == (0, 2)


def test_input_is_left_as_it_is():
    F = example(6, 4, 4)
    before = F.copy()
    spectrum(F)
    centred(F)
    assert np.array_equal(F, before)
