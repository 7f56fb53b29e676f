"""How far training moved a network: change and drift in closed form, and on networks that were moved by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.methods.network import layer_rows
from headstart.nn.alignment import linear_cka
from headstart.nn.drift import Origin, drift, pooled
from headstart.nn.spectrum import centred
from headstart.testing import samples_of
from tests.conformance.examples import tiny_bert, tiny_timm

GENERATOR = np.random.default_rng(0)
F = GENERATOR.normal(size=(60, 8))


def test_drift_is_zero_for_turned_and_scaled_features_and_one_for_others():
    """CKA does not change under rotations and scale (Kornblith et al. 2019, section 2)."""
    turn, _ = np.linalg.qr(GENERATOR.normal(size=(8, 8)))
    assert drift(F, F.copy()) == 0.0
    assert drift(F, 3.0 * F @ turn + 5.0) == pytest.approx(0.0, abs=1e-9)
    wide = GENERATOR.normal(size=(60, 500)), GENERATOR.normal(size=(60, 500))
    assert drift(*wide) > 0.9, "noise in many dimensions is not taken for likeness"
    plain = centred(wide[0]) @ centred(wide[0]).T, centred(wide[1]) @ centred(wide[1]).T
    biased = (plain[0] * plain[1]).sum() / np.sqrt((plain[0] ** 2).sum() * (plain[1] ** 2).sum())
    assert biased > 0.8, "the plain estimate takes it for that"


def test_drift_grows_with_what_is_added():
    noise = GENERATOR.normal(size=F.shape)
    found = [drift(F, F + scale * noise) for scale in (0.01, 0.1, 1.0)]
    assert 0 < found[0] < found[1] < found[2] < 1


def test_drift_is_none_where_it_does_not_exist():
    assert drift(F[:3], F[:3] + 1e-3 * F[3:6]) is None
    assert drift(F, np.zeros_like(F)) is None
    assert drift(F, np.full_like(F, np.nan)) is None
    assert linear_cka(centred(F), centred(F)) == pytest.approx(1.0)


@pytest.mark.parametrize("make", [tiny_bert, tiny_timm])
def test_what_was_moved_by_hand_is_what_is_measured(make, tmp_path):
    """One layer times 1.5: its change is 0.5; layers before it neither change nor drift, those after it drift."""
    source = make(tmp_path)
    samples = samples_of(source) * 2
    head = torch.nn.Linear(source.card.width, 2)
    source.network.requires_grad_(True)
    origin = Origin(source, head, samples, "cpu")
    layers = source.layers()
    with torch.no_grad():
        for parameter in layers[1].module.parameters():
            parameter *= 1.5
        head.weight *= 3.0
        head.bias *= 3.0
    rows = origin.moved(layer_rows(source, head, []))
    assert [row.layer for row in rows] == [*(layer.name for layer in layers), "head"]
    assert [row.change for row in rows] == pytest.approx([0.0, 0.5, *[0.0] * (len(layers) - 2), 2.0])
    assert rows[0].drift == 0.0 and rows[-1].drift is None
    assert all(row.drift > 0 for row in rows[2:-1])


def test_frozen_weights_are_not_copied_and_do_not_change(tmp_path):
    source = tiny_bert(tmp_path)
    head = torch.nn.Linear(source.card.width, 2)
    source.network.requires_grad_(False)
    origin = Origin(source, head, [], "cpu")
    assert sum(len(kept) for kept in origin._weights.values()) == 2, "the head alone"
    rows = origin.moved(layer_rows(source, head, []))
    assert [row.change for row in rows] == [0.0] * len(rows)
    assert [row.drift for row in rows] == [None] * len(rows), "without rows there is no drift"
    assert not origin._weights and not origin._features, "the copies are not kept"


def test_pooled_outputs_are_those_of_the_source_in_the_order_of_the_rows(tmp_path):
    source = tiny_bert(tmp_path)
    samples = [" ".join(["good"] * (1 + row % 7)) for row in range(70)]
    found = pooled(source, samples, "cpu")
    names = [layer.name for layer in source.layers()]
    with torch.no_grad():
        one = source.features(source.preprocess(samples[41:42]), names).cuts
    for name in names:
        assert found[name].shape[0] == 70
        assert np.allclose(found[name][41], one[name][0].numpy(), atol=1e-5)
