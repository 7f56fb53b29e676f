"""Metrics from summed statistics equal the metrics of scikit-learn, whatever the rows."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.token_labels import TokenLabels


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def resampled(task, output, target, rng):
    """Scores of 4 resamples by one matrix product, and the slow way."""
    rows = rng.integers(0, len(target), size=(4, len(target)))
    counts = np.stack([np.bincount(row, minlength=len(target)) for row in rows])
    return task.combine(counts @ task.statistics(output, target)), [(output[row], target[row]) for row in rows]


@pytest.mark.parametrize("classes", [2, 5])
def test_classification(rng, classes):
    task = Classification([f"c{i}" for i in range(classes)])
    output, target = rng.normal(size=(80, classes)), rng.integers(0, classes, 80)
    found = output.argmax(axis=1)
    measured = task.metrics(output, target)
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(target, found))
    assert measured["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(target, found))
    assert measured["macro_f1"] == pytest.approx(reference.f1_score(target, found, average="macro"))
    chances = task.decode(output).probabilities
    assert measured["log_loss"] == pytest.approx(reference.log_loss(target, chances))
    assert ("auc" in measured) == (classes == 2)
    if classes == 2:
        assert measured["auc"] == pytest.approx(reference.roc_auc_score(target, chances[:, 1]))
    fast, slow = resampled(task, output, target, rng)
    assert fast == pytest.approx([reference.accuracy_score(t, o.argmax(axis=1)) for o, t in slow])


def test_log_loss_of_certain_mistakes_is_finite():
    measured = Classification(["a", "b"]).metrics(np.asarray([[1e4, -1e4]]), np.asarray([1]))
    assert np.isfinite(measured["log_loss"]) and "auc" not in measured


def test_multilabel(rng):
    task = Multilabel(list("abcd"))
    output, target = rng.normal(size=(60, 4)), (rng.random((60, 4)) < 0.4).astype(np.float32)
    found = output > 0
    measured = task.metrics(output, target)
    assert measured["micro_f1"] == pytest.approx(reference.f1_score(target, found, average="micro"))
    assert measured["macro_f1"] == pytest.approx(reference.f1_score(target, found, average="macro"))
    assert measured["subset_accuracy"] == pytest.approx(reference.accuracy_score(target, found))
    assert measured["hamming_accuracy"] == pytest.approx(1 - reference.hamming_loss(target, found))
    fast, slow = resampled(task, output, target, rng)
    assert fast == pytest.approx([reference.f1_score(t, o > 0, average="micro") for o, t in slow])


def test_multilabel_without_any_label_is_perfect_where_none_is_predicted():
    task = Multilabel(["a"])
    assert task.score(np.asarray([[-1.0], [-2.0]]), np.zeros((2, 1))) == 1.0
    assert task.score(np.asarray([[1.0], [-2.0]]), np.zeros((2, 1))) == 0.0


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1e9, 1.0), (-3.0, 1e-9), (0.0, 1e150)])
def test_regression_is_stable_far_from_zero(rng, mean, scale):
    values = mean + scale * rng.normal(size=50)
    task = Regression(values.mean(), values.std())
    target = task.encode(values)
    output = target + rng.normal(size=(50, 1)) * 0.5
    measured = task.metrics(output, target)
    truth, guess = target.ravel(), output.ravel()
    assert measured["r2"] == pytest.approx(reference.r2_score(truth, guess), abs=1e-9)
    assert measured["mae"] == pytest.approx(reference.mean_absolute_error(truth, guess) * task.scale)
    assert measured["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, guess) * task.scale)
    fast, slow = resampled(task, output, target, rng)
    assert fast == pytest.approx([reference.r2_score(t, o) for o, t in slow], abs=1e-9)
    assert task.decode(output).values == pytest.approx((guess * task.scale + task.mean).tolist())


def test_regression_with_equal_targets_or_broken_outputs():
    task = Regression(2.0, 1.0)
    same = np.ones((3, 1))
    assert task.score(same, same) == 1.0 and task.score(same + 1, same) == 0.0
    target = np.asarray([[0.0], [1.0], [2.0]])
    for bad in (np.nan, np.inf, -np.inf):
        broken = np.asarray([[0.0], [1.0], [bad]])
        assert np.isfinite(task.score(broken, target)) and task.score(broken, target) < -1e6


def test_losses_meet_their_formulas(rng):
    logits = torch.tensor(rng.normal(size=(6, 3)), dtype=torch.float32)
    target = torch.tensor([0, 1, 2, 2, 1, 0])
    found = Classification(["a", "b", "c"]).loss(logits, target)["loss"]
    assert found.item() == pytest.approx(-torch.log_softmax(logits, 1)[torch.arange(6), target].mean().item())
    task = TokenLabels(["O", "B-X", "I-X"])
    padded = task.collate([np.asarray([0, 1]), np.asarray([2]), np.asarray([1, 2, 0, 0])], 3)
    assert padded.tolist() == [[0, 1, -100], [2, -100, -100], [1, 2, 0]]
    several = torch.tensor(rng.normal(size=(3, 3, 3)), dtype=torch.float32)
    seen = padded != -100
    expected = torch.nn.functional.cross_entropy(several[seen], padded[seen])
    assert task.loss(several, padded)["loss"].item() == pytest.approx(expected.item())
    assert task.loss(several, torch.full((3, 3), -100))["loss"].item() == 0.0
