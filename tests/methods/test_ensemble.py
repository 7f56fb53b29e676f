"""The mean of several models: what is averaged, what is refused, and when the search takes it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from headstart.errors import MethodError
from headstart.methods.auto import Auto, Trial, told_apart
from headstart.methods.base import Problem
from headstart.methods.ensemble import Ensemble, EnsembleFitted, equally_sure, mean
from headstart.methods.probe import Probe
from headstart.runtime import Extractor
from headstart.tasks.base import infer_task
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, texts, tiny_bert


@pytest.fixture
def bert(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tiny_bert(tmp_path)


def problem(source, rows):
    extractor = Extractor(source, cache=False, precision="fp32")
    return Problem(rows, None, infer_task(rows), source, extractor, seed=1, options={"precision": "fp32"})


def noise(count):
    """Rows whose labels do not depend on the words."""
    generator = np.random.default_rng(3)
    inputs = [f"{row} " + " ".join(generator.choice(WORDS, 6)) for row in range(count)]
    return dataset_with(inputs, generator.permutation(np.arange(count) % 2).astype(str).tolist(), "category")


def test_chances_are_averaged():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)) * 4
    classes = mean(Classification([0, 1, 2]), [a, b])
    assert np.allclose(softmax(classes, axis=1), (softmax(a, axis=1) + softmax(b, axis=1)) / 2)
    assert np.allclose(expit(mean(Multilabel([0, 1, 2]), [a, b])), (expit(a) + expit(b)) / 2)
    assert np.allclose(mean(Regression(0, 1), [a[:, :1], b[:, :1]]), (a[:, :1] + b[:, :1]) / 2)
    assert np.isfinite(mean(Classification([0, 1, 2]), [np.array([[900.0, -900, 0]])] * 2)).all()


def test_models_that_are_less_sure_are_heard_as_well():
    task, given = Classification([0, 1, 2]), np.random.default_rng(0).normal(size=(50, 3))
    quiet, loud = equally_sure(task, [given, 10 * given])
    assert quiet == pytest.approx(10 * loud, rel=1e-3), "in the end they say the same"
    sizes = [-(np.exp(p) * p).sum(axis=1).mean() for p in (log_softmax(f * given, axis=1) for f in (1, 10, quiet))]
    assert sizes[2] == pytest.approx((sizes[0] + sizes[1]) / 2)
    assert equally_sure(Regression(0, 1), [given[:, :1]] * 2) == [1.0, 1.0]
    assert equally_sure(task, [np.zeros((4, 3)), given]) == [1.0, 1.0], "what says nothing stays as it is"


@pytest.mark.parametrize("of", ["probe", "probe,probe", "probe,ensemble", "probe,baseline", "probe,multitask"])
def test_what_cannot_be_a_part_is_refused(of):
    with pytest.raises(MethodError, match=r"HS-METHOD-002.*ensemble"):
        Ensemble(of=of)


def test_the_outputs_are_those_of_the_parts(bert):
    given = problem(bert, texts(24))
    fitted = Ensemble(of="prototypes,probe").fit(given)
    assert [each.method.name for each in fitted.models] == ["prototypes", "probe"]
    alone = [each.outputs(given.train.without("target")) for each in fitted.models]
    assert fitted.factors == [1.0, 1.0], "no other rows are there to see how sure they are"
    assert np.array_equal(fitted.outputs(given.train.without("target")), mean(given.task, alone))
    more = Ensemble(of="prototypes,probe").fit(given.replace(unlabelled=texts(36).without("target")))
    assert more.factors == pytest.approx(equally_sure(given.task, [m.outputs(texts(36)) for m in more.models]))
    scaled = [factor * each for factor, each in zip(more.factors, alone)]
    assert np.allclose(more.outputs(given.train.without("target")), mean(given.task, scaled))
    assert np.array_equal(alone[1], Probe().fit(given).outputs(given.train.without("target")))
    assert {row.layer.split(":")[0] for row in fitted.trained()} == {"prototypes", "probe"}


def test_standard_errors_are_of_the_paired_difference():
    task, targets = Classification(["a", "b"]), np.zeros(100, dtype=int)

    def trial(wrong):
        outputs = np.tile([1.0, 0.0], (100, 1))
        outputs[wrong] = [0.0, 1.0]
        return Trial(None, 1 - len(wrong) / 100, 0.0, 0.0, None, outputs)

    none, some, many = trial([]), trial(list(range(4))), trial(list(range(40)))
    assert told_apart(task, targets, none, none) == 0
    # 4 of 100 rows differ: 0.04 over sqrt(0.04 * 0.96 / 100)
    assert told_apart(task, targets, none, some) == pytest.approx(0.04 / np.sqrt(0.04 * 0.96 / 100), rel=0.15)
    assert told_apart(task, targets, many, none) < -6


@pytest.mark.slow
def test_few_labels_that_tell_nothing_apart_get_the_mean(bert):
    given = problem(bert, noise(60))
    fitted = Auto(among="probe,prototypes,contrastive").fit(given)
    assert isinstance(fitted, EnsembleFitted) and "contrastive" in fitted.method.of
    names = [each.name for each in fitted.tried]
    assert names == ["probe", "prototypes", "contrastive", "ensemble"] and "do not tell" in given.notes[-1]
    narrowed = Auto(among="probe,prototypes,contrastive").settled(fitted)
    assert narrowed.among == "probe,prototypes,contrastive", "the trained part is needed in every fold"


@pytest.mark.slow
def test_a_head_that_is_never_wrong_stays_alone(bert):
    fitted = Auto(among="probe,contrastive").fit(problem(bert, texts(60)))
    assert fitted.method.name == "probe"
