"""Adaptation on features against skada 0.6 and POT on the same input."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.methods.coral import Coral
from headstart.methods.importance import by_kernel_mean, by_likelihood, effective
from headstart.methods.jdot import Jdot
from headstart.methods.labelshift import by_kernel_means
from headstart.methods.ot import Ot, coupling, monge
from headstart.methods.subspace import Subspace
from headstart.methods.tca import components
from headstart.nn.kernels import gaussian, median_gamma
from headstart.sources import torchvision_compat
from tests.methods.domains import adapted, moved

torchvision_compat.heal()
skada = pytest.importorskip("skada")
ot = pytest.importorskip("ot")

X, Y, TARGET, TRUTH = moved(110, 110, 5)  # of one size: theirs divides covariances by n, ours by n - 1
BOTH = np.concatenate([X, TARGET])
DOMAIN = np.repeat([1, -2], [len(X), len(TARGET)])
LABELS = np.concatenate([Y, np.full(len(TARGET), -1)])


def of_peer(adapter, y=LABELS):
    """What an adapter of skada makes of the labelled rows and of the target rows."""
    found = adapter.fit_transform(BOTH, y, sample_domain=DOMAIN)
    return found[: len(X)], found[len(X) :]


def test_coral():
    theirs, target = of_peer(skada.CORALAdapter(reg=None))
    ours = adapted(Coral(ridge=0.0), X, Y, TARGET)
    assert np.allclose(ours.X, theirs + TARGET.mean(axis=0), atol=1e-8)
    assert np.allclose(TARGET, target + TARGET.mean(axis=0)), "theirs centres the target domain as well"


def test_linear_transport():
    theirs, _ = of_peer(skada.LinearOTMappingAdapter(reg=1e-12))
    assert np.allclose(monge(X, TARGET, 0.0), theirs, atol=1e-5)


def test_linear_transport_as_in_pot():
    A, b = ot.gaussian.empirical_bures_wasserstein_mapping(X, TARGET, reg=1e-12)
    assert np.allclose(monge(X, TARGET, 0.0), X @ A + b, atol=1e-6)


def test_exact_transport():
    theirs, _ = of_peer(skada.OTMappingAdapter())
    assert np.allclose(adapted(Ot(plan="exact"), X, Y, TARGET).X, theirs, atol=1e-8)


def test_entropic_transport():
    theirs, _ = of_peer(skada.EntropicOTMappingAdapter(reg_e=0.5, norm="median", tol=1e-9))
    assert np.allclose(adapted(Ot(plan="entropic", entropy=0.5), X, Y, TARGET).X, theirs, atol=1e-4)


def test_transport_by_classes_as_in_pot():
    cost = ((X[:, None] - TARGET[None]) ** 2).sum(axis=2)
    mass, goal = np.full(len(X), 1 / len(X)), np.full(len(TARGET), 1 / len(TARGET))
    theirs = ot.da.sinkhorn_l1l2_gl(mass, Y, goal, cost / np.median(cost), 0.1, 0.1, numItermax=20)
    assert np.allclose(coupling(X, TARGET, mass, plan="classes", labels=Y), theirs, atol=1e-8)


def test_subspace_alignment():
    theirs, target = of_peer(skada.SubspaceAlignmentAdapter(n_components=3))
    ours = adapted(Subspace(components=3), X, Y, TARGET)
    found = ours.onto[0](TARGET)
    sign = np.sign((found * target).sum(axis=0))
    assert np.allclose(found, target * sign, atol=1e-8)
    assert np.allclose(ours.X, theirs * sign, atol=1e-8)


def test_transfer_components_solve_the_problem_that_theirs_states():
    """skada takes ``eigh`` of a matrix that is not symmetric, so its components are others; ours have a greater value.

    Both maximise tr((W' (I + mu KLK) W)^-1 W' KHK W); their mu stands at the other term: 1 / mu here.
    """
    peer = skada.TransferComponentAnalysisAdapter(kernel="rbf", n_components=3, mu=10.0)
    peer.fit(BOTH, LABELS, sample_domain=DOMAIN)
    K = peer.K_
    ours = components(K, len(X), 3, 0.1)
    H = np.eye(len(K)) - 1 / len(K)
    signs = np.concatenate([np.full(len(X), 1 / len(X)), np.full(len(TARGET), -1 / len(TARGET))])
    gap = K @ signs

    def value(W):
        inside = W.T @ (np.eye(len(K)) + 10.0 * np.outer(gap, gap)) @ W
        return float(np.trace(np.linalg.solve(inside, W.T @ K @ H @ K @ W)))

    assert value(ours) > value(peer.eigvects_) * 1.0001
    free = np.linalg.eigvals(np.linalg.solve(np.eye(len(K)) + 10.0 * np.outer(gap, gap), K @ H @ K))
    assert np.isclose(value(ours), np.sort(free.real)[-3:].sum(), rtol=1e-6)


def test_kernel_mean_matching():
    """The same objective; theirs bounds the sum of the weights as well, and Frank-Wolfe stops farther from the end."""
    gamma = median_gamma(BOTH)
    peer = skada.KMMReweightAdapter(gamma=gamma, B=1000.0, eps=10.0, max_iter=20_000, tol=1e-9)
    peer.fit(BOTH, LABELS, sample_domain=DOMAIN)
    K, aim = gaussian(X, X, gamma), gaussian(X, TARGET, gamma).mean(axis=1)

    def objective(w):
        return w @ K @ w / (2 * len(X) ** 2) - w @ aim / len(X)

    ours = by_kernel_mean(X, TARGET)
    assert objective(ours) <= objective(peer.source_weights_) + 1e-6
    assert np.isclose(objective(ours), objective(peer.source_weights_), atol=1e-3)


def test_density_ratio_by_likelihood():
    """Of the same objective for one width ours is the greater value: their gradient steps are of the size 2e-16."""
    peer = skada.KLIEPReweightAdapter(gamma=0.2, n_centers=100, random_state=0, max_iter=5000)
    peer.fit(BOTH, LABELS, sample_domain=DOMAIN)
    from headstart.methods.importance import likeliest

    A, b = gaussian(TARGET, peer.centers_, 0.2), gaussian(X, peer.centers_, 0.2).mean(axis=0)
    ours = np.log(A @ likeliest(A, b, 20_000)).mean()
    theirs = np.log(A @ peer.alpha_).mean()
    assert np.isclose(b @ peer.alpha_, 1) and np.isclose(b @ likeliest(A, b, 20_000), 1)
    assert ours > theirs
    w = by_likelihood(X, TARGET)
    assert np.isclose(w.mean(), 1, atol=0.05) and 1 < effective(w) < len(X)


def test_shares_of_classes_by_kernel_means():
    """Theirs gives every row a weight by a kernel regression on its class; the shares of the classes are near ours."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([np.flatnonzero(Y == 0)[:10], np.flatnonzero(Y == 1)])
    source, target = X + rng.normal(size=X.shape) * 0.1, X[rows]
    peer = skada.MMDTarSReweightAdapter(gamma=0.2)
    both, domain = np.concatenate([source, target]), np.repeat([1, -2], [len(X), len(rows)])
    labels = np.concatenate([Y, np.full(len(rows), -1)])
    peer.fit(both, labels, sample_domain=domain)
    w = peer.compute_weights(both, labels, sample_domain=domain)[: len(X)]
    theirs = np.bincount(Y, weights=w) / w.sum()
    ours = by_kernel_means(source, Y, target, np.ones(len(X)), 2)
    assert np.allclose(ours, theirs, atol=0.05)
    assert np.allclose(ours, np.bincount(Y[rows]) / len(rows), atol=0.05)


def test_joint_transport_is_as_right_as_theirs():
    """Another base head (theirs: logistic regression with another loss), so labels agree, not outputs."""
    from sklearn.linear_model import LogisticRegression

    peer = skada.JDOTClassifier(base_estimator=LogisticRegression(), alpha=0.5)
    peer.fit(BOTH, LABELS, sample_domain=DOMAIN)
    theirs = (peer.predict(TARGET) == TRUTH).mean()
    ours = (adapted(Jdot(), X, Y, TARGET, outputs=True).argmax(axis=1) == TRUTH).mean()
    assert ours >= theirs - 0.02 and theirs > 0.9
