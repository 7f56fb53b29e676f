"""Methods for few labels: what is drawn, what unlabelled rows may do, what decides."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.contrastive import Contrastive, Draw, passes
from headstart.methods.prototypes import Prototypes, cross_validate, discriminants
from headstart.methods.selection import even_folds
from headstart.methods.selftrain import RULES, Pool, Rule, Selftrain, select
from headstart.nn.linear import assign_folds, fit_linear
from headstart.runtime import Extractor
from headstart.sources.identity import Identity
from headstart.tasks.classification import Classification
from headstart.testing import dataset_with
from tests.conformance.examples import images, texts, tiny_timm

PAIR = Classification(["a", "b"])


# --- contrastive ---------------------------------------------------------------------------------------------------


def test_batches_hold_every_class_and_every_row_in_turn():
    targets = np.repeat([0, 1, 2, 3], [8, 8, 8, 2])
    draw = Draw(targets, 16, seed=3)
    batches = [draw(number) for number in range(6)]
    for batch in batches:
        assert np.bincount(targets[batch]).tolist() == [4, 4, 4, 2]
        assert len(set(batch.tolist())) == len(batch)
    for first in (0, 2, 4):
        assert set(range(24)) <= set(np.concatenate(batches[first : first + 2]).tolist())
    assert np.array_equal(Draw(targets, 16, seed=3)(4), batches[4])
    assert not np.array_equal(Draw(targets, 16, seed=4)(4), batches[4])
    assert draw.size == 14


def test_of_many_classes_some_are_in_a_batch_and_all_come_as_often():
    targets = np.arange(300) % 50
    draw = Draw(targets, 16, seed=0)
    seen = [targets[draw(number)] for number in range(2 * draw.rounds)]
    for batch in seen:
        counts = np.bincount(batch)
        assert (counts[counts > 0] >= 2).all() and (counts > 0).sum() >= 2 and len(batch) <= 32
    counts = np.bincount(np.concatenate(seen), minlength=50)
    assert counts.min() == counts.max()


def test_memory_grows_with_the_rows_and_not_with_the_pairs():
    def peak(rows):
        targets = np.random.default_rng(0).integers(0, 6, rows)
        tracemalloc.start()
        draw = Draw(targets, 32, seed=0)
        for number in range(50):
            draw(number)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(40_000) < 4e6  # bytes; 40 000 rows have 800 million pairs
    assert peak(80_000) < 2.5 * peak(40_000)


def test_the_fewer_the_rows_the_more_often_they_come():
    counts = [passes(rows) for rows in (12, 48, 96, 384, 10_000, 100_000)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] >= 1
    assert Contrastive().rows_trained(48) == passes(48) * 48
    assert Contrastive(epochs=2).rows_trained(48) == 96


@pytest.mark.slow
def test_contrastive_brings_rows_of_a_class_together_and_leaves_batch_norms(tmp_path):
    rows, source = images(), tiny_timm(tmp_path)
    task = Classification.learn(rows)
    problem = Problem(rows, None, task, source, None, options={"precision": "fp32"})
    fitted = Contrastive(epochs=6, batch_size=12, learning_rate=1e-3).fit(problem)
    after = fitted.source.network.state_dict()
    statistics = {name: value for name, value in source.network.state_dict().items() if "running" in name}
    assert statistics and all((after[name] == value).all() for name, value in statistics.items())
    y, blind = task.encode(rows.targets()), rows.without("target")

    def between(features):
        Z = features / np.linalg.norm(features, axis=1, keepdims=True)
        alike = Z @ Z.T
        same = y[:, None] == y[None]
        return alike[same].mean() - alike[~same].mean()

    before = Extractor(source, cache=False, precision="fp32").matrix(blind)
    assert between(fitted.extractor.matrix(blind)) > 1.5 * between(before)
    assert task.score(fitted.outputs(blind), y) == 1.0


def test_contrastive_without_a_source_or_in_pieces_is_refused():
    rows = texts()
    with pytest.raises(MethodError, match="HS-METHOD-003: contrastive"):
        Contrastive().fit(Problem(rows, None, Classification.learn(rows), None, None))
    with pytest.raises(MethodError, match="HS-METHOD-002: contrastive: accumulate"):
        Contrastive(accumulate=2)


# --- prototypes ----------------------------------------------------------------------------------------------------


def test_the_metric_is_shrunk_as_far_as_the_data_ask_for():
    """Noise along the line between the classes' neighbours asks for its covariance; equal noise for the sphere."""
    generator = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = generator.normal(size=(200, 5))
    X[:, 0] += 3 * generator.normal(size=200)
    X[:, 1] = 0.9 * X[:, 0] + 0.4 * X[:, 1] + 1.0 * y
    oblique = cross_validate(PAIR, X, y, (1.0, 0.5, 0.05), 5)
    assert oblique.shrinkage == 0.05 and oblique.score > 0.8
    wide = 0.8 * generator.normal(size=(40, 60)) + np.where(y[:40, None] == 1, 0.3, -0.3)
    assert cross_validate(PAIR, wide, y[:40], (1.0, 0.5, 0.05), 5).shrinkage == 1.0


def test_the_temperature_makes_left_out_rows_least_surprising():
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = generator.normal(size=(60, 30)) + 0.4 * y[:, None]
    chosen = cross_validate(PAIR, X, y, (1.0,), 5)
    losses = [PAIR.metrics(factor * chosen.outputs, y)["log_loss"] for factor in (0.6, 1.0, 1.6)]
    assert losses[1] == min(losses) and chosen.temperature > 0


def test_a_class_without_rows_and_rows_without_neighbours_have_finite_heads():
    X = np.array([[0.0, 1.0], [1.0, 0.0]])
    for weight, bias, share in discriminants(X, np.array([0, 2]), 3, [1.0, 0.2, 0.0]):
        assert np.isfinite(weight).all() and np.isfinite(bias).all() and np.isfinite(share).all()
        assert (X @ weight.T + bias + share).argmax(axis=1).tolist() == [0, 2]


def test_every_fold_leaves_out_one_row_of_each_class_where_there_are_few():
    y = np.array([0, 0, 1, 1, 2, 2, 2])
    assert (
        even_folds(y, 5) == 2 and even_folds(np.repeat([0, 3], 9), 5) == 5 and even_folds(np.array([0, 0, 1]), 5) == 2
    )
    fold = assign_folds(y[:6], None, even_folds(y, 5), np.random.default_rng(0))
    assert [sorted(y[:6][fold == part].tolist()) for part in (0, 1)] == [[0, 1, 2], [0, 1, 2]]


def test_prototypes_records_what_it_chose(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows, source = vectors(40)
    problem = Problem(rows, None, Classification.learn(rows), source, Extractor(source, cache=False))
    fitted = Prototypes().fit(problem)
    chosen = fitted.history[-1]
    assert chosen["cross-validation"] > 0.9 and fitted.method.shrinkage == chosen["shrinkage"]
    assert fitted.cv_outputs.shape == (40, 2) and fitted.trained()[-1].share == 1.0
    assert Prototypes(shrinkage=0.35).fit(problem).history[-1]["shrinkage"] == 0.35


# --- selftrain -----------------------------------------------------------------------------------------------------


def vectors(count):
    """Rows of a numeric vector in two heaps, labelled a and b, and the source that takes them as they are."""
    generator = np.random.default_rng(0)
    y = np.arange(count) % 2
    X = generator.normal(size=(count, 4)) + 3 * y[:, None]
    labels = np.array(["a", "b"])[y].tolist()
    return dataset_with(X.tolist(), labels, "category", "array"), Identity()


def rings(count, seed=0):
    """Two arcs that no line through a few labelled rows tells apart, in 2 dimensions lifted to 6."""
    generator = np.random.default_rng(seed)
    y = np.arange(count) % 2
    angle = generator.uniform(0, np.pi, count)
    turn, moved = np.where(y, -1, 1)[:, None], np.where(y, 1, 0)[:, None] * [1.0, 0.4]
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * turn + moved
    X = np.stack([arc[:, 0], arc[:, 1], arc[:, 0] ** 2, arc[:, 1] ** 2, arc[:, 0] * arc[:, 1], arc[:, 0] ** 3], axis=1)
    return X + 0.02 * generator.normal(size=X.shape), y


def pool_of(X, y, U, **settings):
    return Pool(PAIR, X, U, y, None, settings.get("neighbours", 6), settings.get("spread", 0.95))


def test_labels_run_along_the_heap_and_certainty_falls_between():
    """Two lines of points get the labels of their ends; what lies midway between them is unsure."""
    line = np.linspace(0, 1, 21)[:, None]
    U = np.concatenate([np.hstack([line, line * 0 + 1]), np.hstack([line, line * 0 - 1]), [[3.0, 0.0]]])
    X, y = np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([0, 1])
    label, sure = pool_of(X, y, U, neighbours=4).pseudo(np.arange(2))
    assert (label[:21] == 0).all() and (label[21:42] == 1).all()
    assert sure[:42].min() > 0.5 > sure[42]


def test_unlabelled_rows_are_used_where_they_help_and_left_where_they_mislead():
    X, y = rings(400)
    few = np.concatenate([np.flatnonzero(y == label)[:8] for label in (0, 1)])
    others = np.setdiff1d(np.arange(400), few)
    fold = assign_folds(y[few], None, 5, np.random.default_rng(0))
    base = fit_linear(PAIR, X[few], y[few], seed=0)
    rule, facts = select(PAIR, pool_of(X[few], y[few], X[others]), y[few], fold, base, RULES)
    assert facts["cross-validation"] >= facts["without unlabelled rows"] == base.cv_score
    if rule is not None:
        assert facts["share"] == rule.share > 0
    generator = np.random.default_rng(0)
    noise = X[few] @ np.diag([1, 1, 1, 1, 1, 1]) + 0.0
    labels = (noise[:, 0] > np.median(noise[:, 0])).astype(int)  # a line tells these; the heaps do not
    base = fit_linear(PAIR, noise, labels, seed=0)
    misleading = np.tile(noise.mean(axis=0), (200, 1)) + generator.normal(size=(200, 6)) * [0.01, 5, 5, 5, 5, 5]
    fold = assign_folds(labels, None, 5, np.random.default_rng(0))
    rule, facts = select(PAIR, pool_of(noise, labels, misleading), labels, fold, base, RULES)
    assert rule is None and facts["share"] == 0.0 and facts["cross-validation"] == base.cv_score


def test_left_out_rows_have_no_say():
    """Neither the labels of the rows that are left out nor their places in the graph change the heads."""
    X, y = rings(120)
    kept, rule = np.arange(0, 30), Rule(1.0, 0.0, 1.0)
    pool = pool_of(X[:40], y[:40], X[40:])
    weight, bias = pool.heads(kept, [rule])[0]
    pool.y = np.where(np.arange(40) < 30, y[:40], 1 - y[:40])
    again = pool.heads(kept, [rule])[0]
    assert np.array_equal(weight, again[0]) and np.array_equal(bias, again[1])


def test_mass_and_share_say_how_much_the_unlabelled_rows_count():
    X, y = rings(300)
    pool, kept = pool_of(X[:20], y[:20], X[20:]), np.arange(20)
    none, one, every = (pool.heads(kept, [Rule(1.0, mass, 1.0)])[0][0] for mass in (1e-9, 1.0, 0.0))
    alone = PAIR.linear(X[:20] / pool.scale, y[:20], 1.0)[0] / pool.scale
    assert np.allclose(none, alone, atol=1e-3 * np.abs(alone).max())
    assert np.linalg.norm(every - alone) > np.linalg.norm(one - alone) > 0


def test_selftrain_reads_unlabelled_rows_and_never_scores_below_its_base(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows, source = vectors(60)
    train, others = rows.select(range(12)), rows.select(range(12, 60)).without("target")
    problem = Problem(train, None, Classification.learn(train), source, Extractor(source, cache=False))
    with pytest.raises(MethodError, match="HS-METHOD-003: selftrain"):
        Selftrain().fit(problem)
    facts = Selftrain().fit(problem.replace(unlabelled=others)).history[-1]
    assert facts["cross-validation"] >= facts["without unlabelled rows"]
    base = Selftrain(share=0.0).fit(problem.replace(unlabelled=others))
    assert base.history[-1]["share"] == 0.0
