"""AdaBN: the weights of the labelled rows, the statistics of the target rows."""

from __future__ import annotations

import pytest
import torch

from headstart import catalog
from headstart.errors import MethodError
from headstart.methods.adabn import Adabn
from headstart.methods.base import Problem
from headstart.nn.batch_norm import batch_norms
from headstart.sources.glyph import Glyph
from tests.conformance.examples import texts, tiny_bert
from tests.methods.signs import digits

OPTIONS = {"precision": "fp32", "drift": False}


def problem(domain):
    rows = digits(range(60))
    task = catalog.find("tasks", "classification").learn(rows)
    return Problem(rows, None, task, Glyph(), None, options=OPTIONS, domain=domain.without("target"))


def test_only_the_statistics_differ_from_the_control():
    method = Adabn(epochs=2)
    given = problem(digits(range(100, 180), shear=1.0))
    ours, plain = method.fit(given), method.ablation().fit(given)
    assert plain.method.name == "sourcetuned"
    for (name, one), (_, other) in zip(ours.source.network.named_parameters(), plain.source.network.named_parameters()):
        assert torch.equal(one, other), name
    layers = list(zip(batch_norms(ours.source.network), batch_norms(plain.source.network)))
    assert len(layers) == 5 == ours.history[-1]["batch norms"]
    assert all(not torch.allclose(one.running_mean, other.running_mean) for one, other in layers)
    assert ours.source.card.digest == ours.source.digest() != plain.source.card.digest


def test_the_statistics_are_of_all_target_rows():
    """A last batch of one row, of which no variance can be computed, does not come up."""
    fitted = Adabn(epochs=1, batch_size=8).fit(problem(digits(range(100, 117))))
    assert all(torch.isfinite(layer.running_var).all() for layer in batch_norms(fitted.source.network))
    assert [Adabn(batch_size=8).parts_of(rows) for rows in (2, 3, 8, 9, 17)] == [1, 1, 1, 2, 3]
    with pytest.raises(MethodError, match="two target rows"):
        Adabn(epochs=1).fit(problem(digits([100])))


def test_a_source_without_batch_norm_is_refused(tmp_path):
    rows = texts()
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*adabn needs a network with batch norm"):
        Adabn().admit(catalog.find("tasks", "classification").learn(rows), tiny_bert(tmp_path), rows, ["domain"])
