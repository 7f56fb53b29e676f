"""Augmented copies of training rows: what they depend on, and what the heads make of them."""

from __future__ import annotations

import numpy as np
import pytest

from headstart import augmented
from headstart.errors import MethodError
from headstart.evidence.learners import MethodLearner, Pool, learner_of
from headstart.methods.base import Problem
from headstart.methods.probe import Probe
from headstart.methods.prototypes import Prototypes
from headstart.runtime import Extractor
from headstart.tasks.classification import Classification
from headstart.tasks.token_labels import TokenLabels
from headstart.testing import dataset_with
from tests.conformance.examples import images, sounds, tiny_bert, tiny_timm, tiny_whisper


@pytest.fixture
def rows():
    return sounds(12)


@pytest.fixture
def extractor(tmp_path):
    return Extractor(tiny_whisper(tmp_path), precision="fp32", cache=False)


def test_a_copy_depends_on_its_row_and_its_number_alone(rows, extractor, tmp_path):
    inputs = rows.without("target")
    pooled, first = augmented.copies(extractor, inputs, ["pooled", "conv1"], 2)
    assert pooled.shape == (24, 64) and first.shape == (24, 64)
    fresh = Extractor(tiny_whisper(tmp_path), precision="fp32", cache=False)
    some = augmented.copies(fresh, inputs.select([7, 3]), ["pooled"], 2)[0]
    assert np.allclose(some, pooled[[7, 3, 19, 15]], atol=1e-5)
    plain = extractor.matrix(inputs)
    assert np.abs(pooled[:12] - plain).max(axis=1).min() > 1e-3 and not np.allclose(pooled[:12], pooled[12:])


def test_copies_are_computed_once(rows, extractor, monkeypatch):
    inputs = rows.without("target")
    before = augmented.copies(extractor, inputs, ["pooled"], 2)[0]
    monkeypatch.setattr(augmented, "_run", lambda *given: pytest.fail("computed again"))
    assert np.array_equal(augmented.copies(extractor, inputs.select([1, 0]), ["pooled"], 1)[0], before[[1, 0]])


@pytest.mark.parametrize(
    "method", [Probe(augment=2, layers="last"), Prototypes(augment=2)], ids=["probe", "prototypes"]
)
def test_heads_are_fitted_on_rows_and_copies_and_answer_for_rows(rows, extractor, method):
    task = Classification.learn(rows)
    problem = Problem(rows, None, task, extractor.source, extractor)
    fitted = method.fit(problem)
    assert fitted.method.augment == 2 and fitted.cv_outputs.shape == (12, task.width)
    plain = type(method)(**{**method.hyperparameters(), "augment": 0}).fit(problem)
    inputs = rows.without("target")
    assert not np.allclose(fitted.outputs(inputs), plain.outputs(inputs))
    assert isinstance(learner_of(problem, Pool(rows, None, task.encode(rows.targets())), fitted), MethodLearner)


def test_pictures_have_copies_too(tmp_path):
    rows = images(8)
    extractor = Extractor(tiny_timm(tmp_path), precision="fp32", cache=False)
    pooled = augmented.copies(extractor, rows.without("target"), ["pooled"], 2)[0]
    assert pooled.shape[0] == 16 and not np.allclose(pooled[:8], pooled[8:])


def test_words_have_none(tmp_path):
    rows = dataset_with([["good", "bad"], ["bad"]] * 4, [["A", "O"], ["O"]] * 4, "tags")
    extractor = Extractor(tiny_bert(tmp_path), precision="fp32", cache=False)
    problem = Problem(rows, None, TokenLabels.learn(rows), extractor.source, extractor)
    with pytest.raises(MethodError, match="no augmented copies"):
        Probe(augment=1).fit(problem)
