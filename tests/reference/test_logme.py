"""LogME against the evidence itself: the Gaussian density of the targets, written with N x N matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import multivariate_normal

from headstart.errors import DataError
from headstart.rankers.logme import LEAST_NOISE, LogME


def marginal(F, y, log_alpha, log_beta):
    """log N(y; 0, I/beta + FF'/alpha) / N."""
    covariance = np.exp(-log_beta) * np.eye(len(y)) + np.exp(-log_alpha) * F @ F.T
    return multivariate_normal(np.zeros(len(y)), covariance).logpdf(y) / len(y)


def largest(F, y):
    """The maximum of `marginal` over alpha and beta, by a search that knows nothing of the formula, and where it is."""
    starts = [(a, b) for a in (-3.0, 2.0, 7.0) for b in (-2.0, 1.0, 5.0)]
    start = max(starts, key=lambda place: marginal(F, y, *place))
    found = minimize(
        lambda place: -marginal(F, y, *place), start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}
    )
    return -found.fun, found.x


def textbook(F, y):
    """Evidence by the D x D matrices of the paper: A = alpha I + beta F'F, fixed point of alpha and beta, tight."""
    rows, width = F.shape
    alpha = beta = 1.0
    for _ in range(5000):
        A = alpha * np.eye(width) + beta * F.T @ F
        m = beta * np.linalg.solve(A, F.T @ y)
        gamma = np.trace(beta * F.T @ F @ np.linalg.inv(A))
        error = y - F @ m
        before, alpha, beta = alpha / beta, gamma / (m @ m), (rows - gamma) / (error @ error)
        if abs(alpha / beta - before) < 1e-13 * before:
            break
    A = alpha * np.eye(width) + beta * F.T @ F
    m = beta * np.linalg.solve(A, F.T @ y)
    value = width / 2 * np.log(alpha) + rows / 2 * np.log(beta) - rows / 2 * np.log(2 * np.pi)
    value -= beta / 2 * np.sum((F @ m - y) ** 2) + alpha / 2 * m @ m + np.linalg.slogdet(A)[1] / 2
    return value / rows


def example(rows, width, seed=0):
    """Features of unlike scales and one value for each row that half of it follows."""
    generator = np.random.default_rng(seed)
    F = generator.normal(size=(rows, width)) * np.geomspace(2, 0.2, width) + 0.5
    y = F @ generator.normal(size=width) / np.sqrt(width) + generator.normal(size=rows)
    return F, y


@pytest.mark.parametrize("shape", [(60, 5), (50, 50), (40, 90)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_values_are_the_largest_density(shape, seed):
    F, y = example(*shape, seed)
    expected, _ = largest(F, y)
    np.testing.assert_allclose(LogME().score(F, y[:, None]), expected, rtol=1e-7)


@pytest.mark.parametrize("shape", [(60, 5), (80, 30), (40, 90)], ids=str)
def test_values_are_those_of_the_papers_matrices(shape):
    F, y = example(*shape)
    np.testing.assert_allclose(LogME().score(F, y), textbook(F, y), rtol=1e-7)


@pytest.mark.parametrize("shape", [(60, 5), (40, 90)], ids=str)
def test_classes_are_the_mean_of_one_against_the_rest(shape):
    F, y = example(*shape)
    classes = np.digitize(y, np.quantile(y, [0.2, 0.3]))
    expected = np.mean([largest(F, (classes == label).astype(float))[0] for label in range(3)])
    np.testing.assert_allclose(LogME().score(F, classes), expected, rtol=1e-7)
    np.testing.assert_allclose(LogME().score(F, np.eye(3)[classes]), expected, rtol=1e-7)
    np.testing.assert_allclose(LogME().score(F, np.asarray([0, 4, 9])[classes]), expected, rtol=1e-7)


def test_several_values_are_their_mean():
    F, y = example(60, 5)
    Y = np.stack([y, F[:, 0] ** 2, 50 * F[:, 1] * y], axis=1)
    np.testing.assert_allclose(LogME().score(F, Y), np.mean([largest(F, column)[0] for column in Y.T]), rtol=1e-7)


def trap():
    """100 rows, 300 features, two classes that the features say something of."""
    generator = np.random.default_rng(0)
    y = np.arange(100) % 2
    F = generator.normal(size=(100, 300)) + 0.4 * y[:, None] * generator.normal(size=300)
    return F, y


def test_no_density_on_a_grid_is_larger():
    F, y = trap()
    classes = [y == 0, y == 1]
    best = [
        max(marginal(F, one, a, b) for a in np.arange(0, 9, 0.75) for b in np.arange(-3, 6, 0.75)) for one in classes
    ]
    score = LogME().score(F, y)
    assert np.mean(best) <= score + 1e-12
    assert np.mean(best) > score - 0.03  # and the grid comes near


def test_weights_that_stay_at_the_prior_count_where_there_are_more_features_than_rows():
    """Sums over the N singular values lack the other D - N eigenvalues of A, all of them alpha: (D - N)/2 log alpha."""
    F, y = trap()
    rows, width = F.shape
    truncated = []
    truth = []
    for one in (y == 0, y == 1):
        value, (log_alpha, log_beta) = largest(F, one)
        alpha, beta = np.exp(log_alpha), np.exp(log_beta)
        U, s, _ = np.linalg.svd(F, full_matrices=False)
        z = U.T @ one
        m = beta * s * z / (alpha + beta * s**2)
        rest = np.sum((z - s * m) ** 2)
        without = width / 2 * log_alpha + rows / 2 * log_beta - np.sum(np.log(alpha + beta * s**2)) / 2
        without -= beta / 2 * rest + alpha / 2 * m @ m + rows / 2 * np.log(2 * np.pi)
        truth.append(value)
        truncated.append(without / rows)
        assert without / rows - value == pytest.approx((width - rows) / (2 * rows) * log_alpha, rel=1e-4)
    score = LogME().score(F, y)
    assert score == pytest.approx(np.mean(truth), rel=1e-7)
    assert np.mean(truncated) - score > 2  # what the shortened sum prints is not near


def test_features_that_tell_nothing_leave_the_density_of_the_noise_alone():
    generator = np.random.default_rng(0)
    y = generator.normal(size=50)
    noise = -0.5 * (np.log(2 * np.pi * np.mean(y**2)) + 1)
    assert LogME().score(np.zeros((50, 7)), y) == pytest.approx(noise, rel=1e-12)
    F = generator.normal(size=(50, 3))
    F -= np.outer(y, y @ F) / (y @ y)  # orthogonal to y: the best weights are none
    assert LogME().score(F, y) == pytest.approx(noise, rel=1e-9)
    assert LogME().score(1e-150 * F, y) == pytest.approx(noise, rel=1e-9)


def test_a_perfect_fit_is_finite_and_better_than_any_other():
    F, y = example(60, 5)
    exact = F @ np.linalg.lstsq(F, y, rcond=None)[0]
    residual = y - exact
    scores = [LogME().score(F, exact + part * residual) for part in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 0.0)]
    assert np.isfinite(scores).all() and (np.diff(scores) > 0).all()
    floor = -0.5 * np.log(2 * np.pi * LEAST_NOISE * np.mean(exact**2))
    assert floor - 2 < scores[-1] < floor  # the noise stands at its least


def test_interpolated_targets_have_the_density_of_weights_alone():
    """D = N and no noise: beta grows without end, and the limit is N(y; 0, FF'/alpha) at its best alpha."""
    generator = np.random.default_rng(1)
    F = np.linalg.qr(generator.normal(size=(40, 40)))[0] * np.geomspace(1, 3, 40)
    y = F @ np.sign(generator.normal(size=40))  # weights of equal size: nothing is left for the noise
    size = np.sum(np.linalg.solve(F, y) ** 2) / 40
    limit = -0.5 * (np.log(2 * np.pi * size) + np.linalg.slogdet(F @ F.T)[1] / 40 + 1)
    assert LogME().score(F, y) == pytest.approx(limit, rel=1e-6)


def test_scale_of_the_features_does_not_matter_and_that_of_the_targets_only_shifts():
    F, y = example(60, 20)
    score = LogME().score(F, y)
    assert LogME().score(1e4 * F, y) == pytest.approx(score, rel=1e-9)
    assert LogME().score(1e-4 * F, 100 * y) == pytest.approx(score - np.log(100), rel=1e-9)


def test_a_label_that_every_row_or_none_has_is_left_out():
    F, y = example(60, 20)
    labels = (np.stack([y, -y, np.ones(60), np.full(60, -1)], axis=1) > 0).astype(float)
    assert LogME().score(F, labels) == pytest.approx(LogME().score(F, labels[:, :2]), rel=1e-12)
    with pytest.raises(DataError, match="all targets are the same") as caught:
        LogME().score(F, labels[:, 2:])
    assert caught.value.code == "HS-DATA-006"


@pytest.mark.parametrize("shape", [(120, 40), (40, 120)], ids=str)
@pytest.mark.parametrize("spread", [1e-3, 1e-5])
@pytest.mark.parametrize("noise", [0.3, 1e-3])
def test_directions_of_very_unlike_size(shape, spread, noise):
    """The decomposition is that of a Gram matrix, whose numbers lie twice as many decades apart as those of F."""
    generator = np.random.default_rng(2)
    rank = min(shape)
    U = np.linalg.qr(generator.normal(size=(shape[0], rank)))[0]
    V = np.linalg.qr(generator.normal(size=(shape[1], rank)))[0]
    s = np.geomspace(1, spread, rank)
    y = U @ generator.normal(size=rank) + noise * generator.normal(size=shape[0]) / np.sqrt(shape[0])
    z, rows = U.T @ y, shape[0]
    rest = np.sum((y - U @ z) ** 2)

    def negative(log_t):
        kept = np.exp(log_t) / (np.exp(log_t) + s**2)
        return 0.5 * (np.log(2 * np.pi * (rest + z**2 @ kept) / rows) + 1 - np.log(kept).sum() / rows)

    grid = np.arange(-60, 20, 0.01)
    start = grid[np.argmin([negative(u) for u in grid])]
    expected = -minimize_scalar(negative, bounds=(start - 0.01, start + 0.01), method="bounded").fun
    assert LogME().score((U * s) @ V.T, y) == pytest.approx(expected, rel=1e-6)


def test_float32_features_give_the_same_value():
    F, y = example(300, 60)
    assert LogME().score(F.astype(np.float32), y) == pytest.approx(LogME().score(F, y), rel=1e-6)
