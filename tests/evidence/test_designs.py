"""Features computed once and cut for a part equal those that were learned on the part alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from headstart.datasets.base import Dataset
from headstart.evidence.designs import Frozen, Pictures, Shares, Texts, Words, design_of
from headstart.evidence.learners import LinearLearner, MethodLearner, Pool, learner_of
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline, baseline_features
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, waves


def texts(count: int, seed: int = 0, longest: int = 9) -> Dataset:
    generator = np.random.default_rng(seed)
    rows = [" ".join(generator.choice(WORDS, size=generator.integers(2, longest))) for _ in range(count)]
    labels = ["up" if "good" in row or "happy" in row else "down" for row in rows]
    return dataset_with(rows, labels, "category")


def fit(data: Dataset):
    task = infer_task(data)
    problem = Problem(data, None, task, None, None)
    return problem, Baseline().fit(problem)


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [25, 60, 150])
def test_tf_idf_of_a_part_equals_a_fit_from_its_texts(size):
    data, other = texts(160), texts(40, seed=1)
    _, fitted = fit(data)
    design = design_of(fitted, [data, other])
    assert isinstance(design, Texts)
    rows = np.sort(np.random.default_rng(2).permutation(len(data))[:size])
    part = data.select(rows.tolist())
    alone = baseline_features(part, infer_task(data))
    view = design.cut(rows)
    fresh = alone.transform(part)
    known = fitted.features
    names = [word for vocabulary in known.vocabularies for word in vocabulary]
    assert [names[column] for column in view.columns] == [w for vocabulary in alone.vocabularies for w in vocabulary]
    same(view.X.toarray(), fresh.toarray())
    weight, bias = np.random.default_rng(3).normal(size=(2, view.X.shape[1])), np.array([0.1, -0.2])
    unseen = len(data) + np.arange(len(other))
    same(view.outputs(weight, bias, unseen), np.asarray(alone.transform(other) @ weight.T) + bias)


def test_words_of_a_part_equal_a_fit_from_its_words():
    generator = np.random.default_rng(0)
    rows = [generator.choice(WORDS, size=generator.integers(2, 7)).tolist() for _ in range(90)]
    tags = [["B-X" if word in ("good", "happy") else "O" for word in row] for row in rows]
    data = dataset_with(rows, tags, "tags")
    _, fitted = fit(data)
    design = design_of(fitted, [data])
    assert isinstance(design, Words)
    part = np.arange(0, 90, 3)
    alone = baseline_features(data.select(part.tolist()), infer_task(data))
    view = design.cut(part)
    assert [fitted.features.vocabulary[column] for column in view.columns] == alone.vocabulary
    same(view.X.toarray(), alone.transform(data.select(part.tolist())).toarray())
    found = view.outputs(np.zeros((2, view.X.shape[1])), np.ones(2), np.array([0, 5]))
    assert [len(row) for row in found] == [len(rows[0]), len(rows[5])]


def test_pictures_of_a_part_are_scaled_by_the_part():
    generator = np.random.default_rng(0)
    images = [Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(16)]
    data = dataset_with(images, ["a", "b"] * 8, "category", "image")
    _, fitted = fit(data)
    design = design_of(fitted, [data])
    assert isinstance(design, Pictures)
    part = np.arange(0, 16, 2)
    alone = baseline_features(data.select(part.tolist()), infer_task(data))
    view = design.cut(part)
    same(view.X, alone.transform(data.select(part.tolist())))
    weight = generator.normal(size=(2, view.X.shape[1]))
    same(view.outputs(weight, np.zeros(2), np.array([1, 3])), alone.transform(data.select([1, 3])) @ weight.T)


def test_shares_of_a_part_are_scaled_by_the_part():
    data = waves(24)
    _, fitted = fit(data)
    design = design_of(fitted, [data])
    assert isinstance(design, Shares)
    part = np.arange(0, 24, 2)
    raw = fitted.features.raw(data)[part]
    moves = raw.std(axis=0) > 1e-6
    view = design.cut(part)
    same(view.X[:, moves].std(axis=0), np.ones(moves.sum()))
    weight = np.random.default_rng(0).normal(size=(2, view.X.shape[1]))
    same(view.outputs(weight, np.zeros(2), part), view.X @ weight.T)


def test_a_linear_learner_scores_as_the_method_itself():
    data, other = texts(160), texts(200, seed=1)
    problem, fitted = fit(data)
    task = problem.task
    pool = Pool(data, other.without("target"), task.encode(data.targets()))
    quick, slow = learner_of(problem, pool, fitted), MethodLearner(problem, pool, Baseline())
    assert isinstance(quick, LinearLearner) and quick.light and slow.light
    rows, unseen = np.arange(0, 160, 2), 160 + np.arange(200)
    small = quick.fit(rows, unseen, 0)
    truth = task.encode(other.targets())
    assert task.score(small.outputs, truth) == pytest.approx(
        task.score(slow.fit(rows, unseen, 0).outputs, truth), abs=0.03
    )
    assert small.inside.shape == (80, 2)
    assert task.score(small.inside, pool.targets[rows]) > 0.8


def test_a_strength_that_the_user_gave_is_kept():
    data = texts(80)
    task = infer_task(data)
    problem = Problem(data, None, task, None, None)
    pool = Pool(data, None, task.encode(data.targets()))
    learner = learner_of(problem, pool, Baseline(strength=2.0).fit(problem))
    assert isinstance(learner, LinearLearner) and learner.strengths == [2.0]
    wide = learner_of(problem, pool, Baseline().fit(problem))
    assert len(wide.strengths) == 4


class Echo:
    """A model whose output of a row is the row; it refuses rows with a target."""

    def __init__(self, tokens=False):
        self.tokens = tokens

    def outputs(self, rows):
        assert rows.target is None
        found = [np.array([[len(text)]]) if self.tokens else [len(text)] for text in rows.samples()]
        return found if self.tokens else np.array(found)


@pytest.mark.parametrize("rows", [[1, 2], [10, 14], [3, 7, 10, 12]])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_pool_gives_inputs_without_targets_labelled_ones_unlabelled_ones_and_both(rows, tokens):
    data, other = texts(10), texts(5, seed=1).without("target")
    pool = Pool(data, other, None)
    found = pool.outputs(Echo(tokens), np.array(rows))
    both = [*data.samples(), *other.samples()]
    assert [int(np.ravel(value)[0]) for value in found] == [len(both[row]) for row in rows]


def test_a_method_predicts_the_labelled_rows_that_it_left_out_as_well():
    data, other = texts(160), texts(40, seed=1)
    problem, _ = fit(data)
    pool = Pool(data, other.without("target"), problem.task.encode(data.targets()))
    rows, others = np.arange(0, 160, 2), np.concatenate([np.arange(1, 160, 2), 160 + np.arange(40)])
    found = MethodLearner(problem, pool, Baseline()).fit(rows, others, 0).outputs
    truth = problem.task.encode([*data.select(range(1, 160, 2)).targets(), *other.targets()])
    assert problem.task.score(found, truth) > 0.8


def test_frozen_token_rows_keep_their_lengths():
    design = Frozen(np.arange(12.0).reshape(6, 2), np.array([1, 3, 2]))
    view = design.cut(np.array([0, 2]))
    assert view.X.tolist() == [[0, 1], [8, 9], [10, 11]]
    assert design.owner(np.array([0, 2])).tolist() == [0, 1, 1]
    found = view.outputs(np.array([[1.0, 0.0]]), np.array([0.5]), np.array([1]))
    assert len(found) == 1 and found[0].ravel().tolist() == [2.5, 4.5, 6.5]
    assert view.outputs(np.array([[1.0, 0.0]]), np.array([0.5]), np.array([], int)) == []
