"""Losses and corruptions without labels, against the formulas and rates of their papers computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart.nn import mae, mlm, self_supervised, simcse, simsiam, tsdae, vicreg, views
from headstart.nn.self_supervised import deviation


def rows(count, width, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def test_info_nce_is_the_formula_of_the_paper():
    one, other = rows(5, 7), rows(5, 7, 1)
    units = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (one, other)]
    alike = np.exp(units[0] @ units[1].T / 0.05)
    wanted = -np.mean(np.log(np.diag(alike) / alike.sum(axis=1)))
    assert float(simcse.info_nce(torch.tensor(one), torch.tensor(other))) == pytest.approx(wanted, rel=1e-9)


def test_info_nce_is_near_zero_where_pairs_agree_and_log_b_where_all_rows_are_alike():
    basis = torch.eye(6)
    assert float(simcse.info_nce(basis, basis)) < 1e-6
    same = torch.ones(6, 4)
    assert float(simcse.info_nce(same, same)) == pytest.approx(np.log(6), rel=1e-6)


def test_the_terms_of_vicreg():
    one, other = rows(9, 4), 0.3 * rows(9, 4, 1)
    found = {name: float(value) for name, value in vicreg.terms(torch.tensor(one), torch.tensor(other)).items()}
    stds = [np.sqrt(z.var(axis=0, ddof=1) + 1e-4) for z in (one, other)]
    squares = [np.cov(z.T) ** 2 for z in (one, other)]
    assert found["invariance"] == pytest.approx(np.mean((one - other) ** 2))
    assert found["variance"] == pytest.approx(sum(np.maximum(0, 1 - std).mean() for std in stds) / 2)
    assert found["covariance"] == pytest.approx(sum((s.sum() - np.trace(s)) / 4 for s in squares))


def test_vicreg_of_one_row_is_finite():
    single = torch.tensor(rows(1, 4))
    assert all(torch.isfinite(value) for value in vicreg.terms(single, single + 1).values())


def test_simsiam_stops_the_gradient_at_the_target():
    prediction, target = (torch.tensor(rows(4, 3, seed), requires_grad=True) for seed in (0, 1))
    loss = simsiam.negative_cosine(prediction, target)
    loss.backward()
    assert target.grad is None
    assert prediction.grad is not None and float(prediction.grad.abs().sum()) > 0
    cosines = (prediction * target).sum(1) / (prediction.norm(dim=1) * target.norm(dim=1))
    assert loss.item() == pytest.approx(-cosines.mean().item())


def test_masking_is_15_percent_of_which_80_10_10():
    torch.manual_seed(0)
    ids = torch.randint(10, 1000, (200, 500))
    candidates = torch.rand(ids.shape) < 0.9
    ordinary = torch.arange(1000, 2000)  # so that a swapped token is seen
    seen, chosen = mlm.corrupt(ids, candidates, mask=3, ordinary=ordinary)
    assert not (chosen & ~candidates).any()
    assert (seen[~chosen] == ids[~chosen]).all()
    share = chosen.sum() / candidates.sum()
    masked, swapped = (seen == 3).sum() / chosen.sum(), (seen >= 1000).sum() / chosen.sum()
    assert float(share) == pytest.approx(0.15, abs=0.005)
    assert float(masked) == pytest.approx(0.8, abs=0.015)
    assert float(swapped) == pytest.approx(0.1, abs=0.015)


def test_one_token_is_masked_at_least_and_none_where_none_may_be():
    ids = torch.tensor([[5, 6]])
    one = mlm.corrupt(ids, torch.tensor([[False, True]]), 3, torch.tensor([9]), rate=0.0)
    assert one.chosen.tolist() == [[False, True]]
    none = mlm.corrupt(ids, torch.zeros(1, 2, dtype=torch.bool), 3, torch.tensor([9]), rate=1.0)
    assert not none.chosen.any() and (none.ids == ids).all()


def test_positions_of_the_chosen_tokens():
    chosen = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert mlm.positions(chosen).tolist() == [[1, 3], [-1, -1], [0, -1]]


def test_deletion_is_60_percent_and_leaves_special_tokens_and_one_of_a_row():
    torch.manual_seed(0)
    valid = torch.arange(400) < torch.randint(100, 400, (300, 1))
    candidates = valid & (torch.arange(400) > 0)  # the first is special
    keep = tsdae.kept(candidates, valid)
    assert keep[:, 0].all() and not (keep & ~valid).any()
    assert float((candidates & ~keep).sum() / candidates.sum()) == pytest.approx(0.6, abs=0.01)
    lonely = torch.zeros(50, 3, dtype=torch.bool)
    lonely[:, 1] = True
    assert tsdae.kept(lonely, lonely)[:, 1].all()


def test_what_is_left_moves_together():
    tensor = torch.tensor([[7, 8, 9, 1], [4, 5, 6, 2]])
    keep = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1]], dtype=torch.bool)
    assert self_supervised.packed(tensor, keep, fill=0).tolist() == [[7, 9, 0], [5, 6, 2]]


def test_patches_are_cut_in_the_order_of_the_tokens_and_normalised():
    pixels = torch.tensor(rows(2, 3 * 8 * 8)).view(2, 3, 8, 8).float()
    found = mae.cut(pixels, 4)
    patch = pixels[1, :, 0:4, 4:8].flatten()  # the second of the first row
    wanted = (patch - patch.mean()) / patch.std()
    assert found.shape == (2, 4, 48)
    assert torch.allclose(found[1, 1], wanted, atol=1e-4)
    convolution = nn.Conv2d(3, 1, 4, 4, bias=False)
    tokens = convolution(pixels).flatten(2).transpose(1, 2)  # how a ViT cuts
    raw = nn.functional.unfold(pixels, 4, stride=4).transpose(1, 2)
    assert torch.allclose(raw @ convolution.weight.flatten(), tokens[..., 0], atol=1e-4)


def test_views_differ_keep_their_shape_and_come_from_the_image():
    torch.manual_seed(0)
    flat = torch.full((3, 3, 16, 16), 0.5)
    assert torch.allclose(views.cropped(flat), flat, atol=1e-6)
    ramp = torch.linspace(-1, 1, 16).expand(8, 3, 16, 16).contiguous()
    parts = views.cropped(ramp)
    widths = parts[:, 0, 0, -1] - parts[:, 0, 0, 0]  # of the part of the ramp that is seen
    assert (widths > 0).all() and (widths < 2).all() and float(widths.std()) > 0.01  # never mirrored
    assert (parts.diff(dim=2).abs() < 1e-5).all()
    assert not torch.equal(views.view(ramp), views.view(ramp))


def test_the_spread_of_features_is_that_of_simsiam():
    assert deviation(torch.ones(10, 6)) == 0.0
    everywhere = torch.tensor(rows(20_000, 16))
    assert deviation(everywhere) == pytest.approx(1 / 16**0.5, rel=0.01)
