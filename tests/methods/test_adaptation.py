"""Adaptation on features: what each method promises, tables and missing domains, broken files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, MethodError
from headstart.methods.adaptation import AdaptedFitted, codes
from headstart.methods.base import Problem
from headstart.methods.coral import Coral
from headstart.methods.importance import Importance, matched
from headstart.methods.jdot import Jdot
from headstart.methods.labelshift import Labelshift
from headstart.methods.ot import Ot
from headstart.methods.pseudolabel import Pseudolabel
from headstart.methods.sourceonly import Sourceonly
from headstart.methods.subspace import Subspace, enough
from headstart.methods.tca import Tca
from headstart.nn.heads import Recipe, choose
from headstart.nn.maps import Map, chain
from headstart.tasks.base import infer_task
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression
from tests.methods.domains import adapted, domains, moved

KERNEL = Recipe(1.0, 10.0)


def accuracy(method, data, **more):
    X, y, target, truth = data
    return float((adapted(method, X, y, target, outputs=True, **more).argmax(axis=1) == truth).mean())


def test_moments_are_those_of_the_target_domain():
    X, y, target, _ = moved()
    for found in (adapted(Coral(ridge=0.0), X, y, target).X, adapted(Ot(ridge=0.0), X, y, target).X):
        assert np.allclose(found.mean(axis=0), target.mean(axis=0), atol=1e-8)
        assert np.allclose(np.cov(found.T), np.cov(target.T), atol=1e-8)
    kept = adapted(Coral(ridge=0.0, centre=False), X, y, target).X
    assert not np.allclose(kept.mean(axis=0), target.mean(axis=0), atol=0.5)


def test_the_linear_transport_moves_rows_least():
    """Of all linear maps to the same moments it is the one of the least squared distance; CORAL's is another."""
    X, y, target, _ = moved(seed=4)
    ours, theirs = (adapted(each, X, y, target).X for each in (Ot(ridge=0.0), Coral(ridge=0.0)))
    assert ((ours - X) ** 2).sum() < ((theirs - X) ** 2).sum()


@pytest.mark.parametrize(
    "method",
    [Coral(), Ot(), Ot(plan="exact"), Ot(plan="entropic"), Ot(plan="classes"), Jdot()],
    ids=lambda each: f"{each.name} {getattr(each, 'plan', '')}",
)
def test_a_moved_domain_is_found_again(method):
    data = moved(200, 180, seed=1)
    assert accuracy(Sourceonly(), data) < 0.85
    assert accuracy(method, data) > (0.9 if method.name == "coral" else 0.95), "CORAL's map may turn rows"


def test_rows_beyond_a_coupling_move_as_their_neighbours():
    X, y, target, truth = moved(300, 280, seed=2)
    few = adapted(Ot(plan="exact", most=120), X, y, target)
    assert few.X.shape == X.shape
    assert accuracy(Ot(plan="exact", most=120), (X, y, target, truth)) > 0.95


def test_components_keep_what_both_domains_share():
    """Classes along one axis, the domains apart along another: one component is the axis of the classes."""
    rng = np.random.default_rng(0)
    y, truth = np.arange(200) % 2, np.arange(160) % 2
    X, target = rng.normal(size=(200, 2)) * 0.3, rng.normal(size=(160, 2)) * 0.3
    X[:, 0] += y + 3 * y  # the labelled rows' classes differ along both axes
    X[:, 1] += 2 * y
    target[:, 0] += 4 * truth
    target[:, 1] += 6
    found = adapted(Tca(kernel="linear", components=1), X, y, target)
    (onto,) = found.onto
    axis = onto.matrix[:, 0] / np.linalg.norm(onto.matrix)
    assert abs(axis[0]) > 0.95
    assert accuracy(Tca(kernel="linear", components=1), (X, y, target, truth)) > 0.95
    assert accuracy(Tca(components=2), (X, y, target, truth)) > 0.9


def test_subspaces_hold_most_of_the_variance():
    assert enough(np.diag([98.0, 1.5, 0.4, 0.1]), 64) == 2
    assert enough(np.eye(100), 64) == 64
    X, y, target, _ = moved()
    assert adapted(Subspace(components=2), X, y, target).X.shape == (len(X), 2)


@pytest.mark.parametrize("estimator", ["mlls", "bbse", "mmd"])
def test_shares_of_classes_are_found(estimator):
    rng = np.random.default_rng(0)
    y, truth = np.arange(400) % 2, (np.arange(300) % 10 == 0).astype(int)
    X, target = rng.normal(size=(400, 3)), rng.normal(size=(300, 3))
    X[:, 0] += 2.5 * y
    target[:, 0] += 2.5 * truth
    found = adapted(Labelshift(estimator=estimator), X, y, target)
    assert abs(found.history["shares"]["1"] - 0.1) < 0.05
    assert np.isclose(found.weights.mean(), 1, atol=1e-6)
    data = X, y, target, truth
    assert accuracy(Labelshift(estimator=estimator), data) > accuracy(Sourceonly(), data) + 0.02


@pytest.mark.parametrize(("estimator", "alike"), [("discriminator", 0.85), ("kmm", 0.6), ("kliep", 0.85)])
def test_weights_are_the_ratio_of_the_densities(estimator, alike):
    """Normal domains one deviation apart: log w(x) = x - 1/2. Kernel means tell no row's weight from its like's."""
    rng = np.random.default_rng(0)
    X, target = rng.normal(size=(600, 1)), rng.normal(size=(500, 1)) + 1
    w = adapted(Importance(estimator=estimator), X, np.arange(600) % 2, target).weights
    true = np.exp(X[:, 0] - 0.5)
    assert np.corrcoef(np.minimum(w, 8), np.minimum(true, 8))[0, 1] > alike
    assert abs((w * X[:, 0]).mean() - 1) < 0.2, "the weighted mean is that of the target domain"


def test_kernel_mean_matching_is_at_its_optimum():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(30, 40))
    K, aim = A @ A.T / 40, rng.random(30)
    w = matched(K, aim, 2.0, rounds=20_000)
    slope = K @ w / len(w) - aim
    assert np.all(slope[w <= 1e-9] > -1e-4) and np.all(slope[w >= 2 - 1e-9] < 1e-4)
    inside = (w > 1e-6) & (w < 2 - 1e-6)
    assert np.abs(slope[inside]).max(initial=0) < 1e-4


def test_pseudo_labels_follow_a_small_shift_and_a_head_of_their_own():
    X, y, target, truth = moved(200, 180, seed=1)
    near = 0.6 * X[:180] + 0.4 * target  # less far
    assert accuracy(Pseudolabel(), (X, y, near, truth)) >= accuracy(Sourceonly(), (X, y, near, truth))
    assert len(adapted(Pseudolabel(rounds=2), X, y, target).X) == len(X) + len(target)
    alone = adapted(Pseudolabel(kept=0.0), X, y, target)
    assert alone.weights[: len(X)].max() < 1e-3


def test_numbers_are_carried_as_well():
    rng = np.random.default_rng(0)
    X, target = rng.normal(size=(150, 3)), rng.normal(size=(150, 3)) + np.array([0.0, 3.0, 0.0])
    slope = np.array([1.0, -1.0, 0.5])
    y, truth = X @ slope, (target - np.array([0.0, 3.0, 0.0])) @ slope
    task = Regression(0.0, 1.0)
    given = dataclasses.replace(domains(X, np.arange(150) % 2, target), task=task, y=y[:, None])
    for method in (Coral(), Ot(), Ot(plan="exact"), Jdot(alpha=1.0)):
        found = chain(method.adapt(given)[0], target)[:, 0]
        assert np.corrcoef(found, truth)[0, 1] > 0.9, method
        assert ((found - truth) ** 2).mean() < 0.6 * ((target @ slope - truth) ** 2).mean()
    with pytest.raises(MethodError, match="needs classes"):
        Ot(plan="classes").adapt(given)


def test_a_kernel_is_chosen_where_a_line_does_not_do():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    ring = (np.linalg.norm(X, axis=1) > 1.2).astype(int)
    task = Classification([0, 1])
    assert choose(task, X, ring).width > 0
    assert choose(task, X, (X[:, 0] > 0).astype(int)).width == 0
    assert choose(task, X, ring, "linear").width == 0


def test_maps_follow_each_other_and_are_arrays():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 3))
    first = Map(rng.normal(size=(5, 2)), rng.normal(size=2), rng.normal(size=(5, 3)), 0.7)
    second = Map(rng.normal(size=(2, 4)), np.zeros(4))
    again = [Map.restore(each.arrays()) for each in (first, second)]
    assert np.array_equal(chain([first, second], X), chain(again, X))
    assert (first.width, second.width) == (3, 2)
    with pytest.raises(ValueError, match="misshapen"):
        Map.restore({"matrix": np.zeros((3, 2)), "offset": np.zeros(3)})


# --- on datasets -------------------------------------------------------------------------------------------------


def table(n, seed, shift=0.0, label=True):
    import datasets

    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    rows = {"age": (rng.normal(size=n) + 2.5 * kind + shift).tolist(), "town": [["a", "b"][k] for k in kind]}
    columns = [Column("age", "input", "number"), Column("town", "input", "category")]
    if label:
        rows["is"], rows["where"] = [["no", "yes"][k] for k in kind], ["north", "south"] * (n // 2)
        columns += [Column("is", "target", "category"), Column("where", "domain", "category")]
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="table")


def test_a_table_needs_no_source_and_is_saved_whole(tmp_path):
    rows, other = table(80, 0), table(60, 1, 2.0, label=False)
    problem = Problem(rows, None, infer_task(rows), None, None, domain=other)
    fitted = Coral().fit(problem)
    fitted.save(tmp_path)
    again = AdaptedFitted.load(tmp_path, fitted.task, fitted.method)
    assert np.array_equal(fitted.outputs(other), again.outputs(other))
    assert codes(rows).tolist() == [0, 1] * 40 and codes(other) is None
    assert [row.layer for row in fitted.trained()][-1] == "head"


def test_without_a_domain_it_is_refused_by_name():
    rows = table(40, 0)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*coral needs rows of a domain"):
        Coral().fit(Problem(rows, None, infer_task(rows), None, None))


def test_texts_need_a_source():
    import datasets

    columns = [Column("say", "input", "text"), Column("is", "target", "category")]
    rows = Dataset(datasets.Dataset.from_dict({"say": ["a", "b"] * 10, "is": ["x", "y"] * 10}), columns)
    with pytest.raises(MethodError, match="through a source"):
        Coral().fit(Problem(rows, None, infer_task(rows), None, None, domain=rows.without("target")))


def test_target_labels_do_not_reach_a_method():
    """Even where the rows to adapt to hold labels, changing them changes nothing."""
    rows, other = table(80, 0), table(60, 1, 2.0)
    lying = Dataset(other.table.remove_columns("is").add_column("is", ["no"] * 60), other.columns)
    found = [
        Pseudolabel()
        .fit(Problem(rows, None, infer_task(rows), None, None, domain=each))
        .outputs(other.without("target"))
        for each in (other, lying)
    ]
    assert np.array_equal(*found)


@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen"])
def test_damaged_maps_are_refused(tmp_path, damage):
    rows, other = table(80, 0), table(60, 1, 2.0, label=False)
    fitted = Ot().fit(Problem(rows, None, infer_task(rows), None, None, domain=other))
    fitted.save(tmp_path)
    tensors = load_file(tmp_path / "maps.safetensors")
    if damage == "missing":
        del tensors["0.offset"]
    elif damage == "unexpected":
        tensors["9.matrix"] = np.zeros(2)
    else:
        tensors["0.offset"] = np.zeros(9)
    save_file(tensors, tmp_path / "maps.safetensors")
    with pytest.raises(ArtefactError, match="HS-ARTEFACT-003"):
        AdaptedFitted.load(tmp_path, fitted.task, fitted.method)
    assert json.loads((tmp_path / "adaptation.json").read_text())["maps"] >= 1


def test_every_method_of_adaptation_says_that_it_is_transductive():
    names = ["coral", "importance", "jdot", "labelshift", "ot", "pseudolabel", "sourceonly", "subspace", "tca"]
    for name in names:
        method = catalog.find("methods", name)
        assert method.kind == "transductive" and "domain" in method.needs
        assert method.paper or method.role == "control"
