"""Instance discrimination: its loss by its formula, and that it tells series apart after some steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headstart.nn.instances import Instances, contrast
from headstart.sources.series import Series
from tests.conformance.examples import tiny_bert, waves


def test_the_loss_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(5, 7, generator=generator), torch.randn(5, 7, generator=generator)
    z = torch.nn.functional.normalize(torch.cat([one, other]), dim=1)
    total = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        rest = sum(math.exp(float(z[i] @ z[j]) / 0.1) for j in range(10) if j != i)
        total -= math.log(math.exp(float(z[i] @ z[partner]) / 0.1) / rest)
    assert float(contrast(one, other)) == pytest.approx(total / 10, rel=1e-4)


def test_alike_rows_cost_the_logarithm_of_their_number():
    rows = torch.ones(6, 3)
    assert float(contrast(rows, rows)) == pytest.approx(math.log(11), rel=1e-5)


def test_it_needs_the_encoder_of_series(tmp_path):
    assert Instances.lacks(Series()) is None
    assert "series" in Instances.lacks(tiny_bert(tmp_path))


def test_views_of_several_channels_are_instances_of_their_own():
    torch.manual_seed(0)
    objective = Instances(Series(channels=2))
    samples = [sample.repeat(2, axis=0) for sample in waves(4).samples()]
    batch, target = objective.prepare(samples)
    assert batch.inputs["series"].shape[:2] == (8, 2) and len(target) == 4
    assert torch.isfinite(objective.loss(batch, target)["loss"])


def test_the_loss_falls():
    torch.manual_seed(0)
    objective = Instances(Series()).train()
    generator = np.random.default_rng(0)
    samples = [generator.normal(size=(1, 80)).cumsum(axis=1) for _ in range(24)]
    optimiser = torch.optim.AdamW(objective.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = objective.loss(*objective.prepare(samples))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
