"""Losses between domains against skada.deep 0.6 on the same input, closed forms and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from headstart.nn.adversary import Discriminator, Multilinear, certainty, domain_loss, reverse
from headstart.nn.confusion import class_confusion, diversity, entropy, information
from headstart.nn.disparity import head_discrepancy, margin_disparity
from headstart.nn.matching import coral_loss, joint_mmd_loss, mmd_loss
from headstart.sources import torchvision_compat

torchvision_compat.heal()
pytest.importorskip("skorch")
losses = pytest.importorskip("skada.deep.losses")
adversarial = pytest.importorskip("skada.deep._adversarial")


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), 1.5 * torch.randn(30, 6, generator=generator) + 0.3


def test_coral(sides):
    assert torch.allclose(coral_loss(*sides), losses.deepcoral_loss(*sides), rtol=1e-5)
    assert coral_loss(sides[0][:1], sides[1]) == 0, "one row has no covariance"


def test_class_confusion(sides):
    for temperature in (1.0, 2.5):
        ours, theirs = class_confusion(sides[0], temperature), losses.mcc_loss(sides[0], T=temperature)
        assert torch.allclose(ours, theirs, rtol=1e-5)
    assert class_confusion(100 * torch.eye(4)) < 1e-6, "sure and different: nothing is confused"
    assert class_confusion(torch.zeros(8, 4)) == pytest.approx(1 - 1 / 4)


def test_one_kernel_is_the_closed_form(sides):
    """The mean over all pairs, rows with themselves included; skada's dan_loss has |x - z| in its kernel, no square."""
    both = torch.cat(sides)
    kernel = rbf_kernel(both.numpy(), gamma=1 / float(torch.cdist(both, both).square().mean()))
    biased = kernel[:40, :40].mean() + kernel[40:, 40:].mean() - 2 * kernel[:40, 40:].mean()
    assert float(mmd_loss(*sides, widths=[1.0])) == pytest.approx(biased, rel=1e-4)
    apart = torch.cdist(both, both)
    laplacian = torch.exp(-apart / 0.7)
    by_hand = laplacian[:40, :40].mean() + laplacian[40:, 40:].mean() - 2 * laplacian[:40, 40:].mean()
    assert torch.allclose(losses.dan_loss(*sides, sigmas=[0.7]), by_hand, atol=1e-6)


def test_several_widths_are_their_mean_and_layers_multiply(sides):
    parts = [float(mmd_loss(*sides, widths=[width])) for width in (0.5, 2.0)]
    assert float(mmd_loss(*sides, widths=(0.5, 2.0))) == pytest.approx(np.mean(parts), rel=1e-4)
    ours, theirs = sides
    assert torch.allclose(joint_mmd_loss([ours], [theirs]), mmd_loss(ours, theirs))
    # exp(-a) exp(-a) = exp(-2 a): a layer twice is the kernel of half the width
    twice = joint_mmd_loss([ours, ours], [theirs, theirs], widths=[1.0])
    assert torch.allclose(twice, mmd_loss(ours, theirs, widths=[0.5]), rtol=1e-4)


def test_margin_disparity():
    """skada's takes the second part of every row with the label of every row (it indexes by ``[..., labels]``), smooths
    it and has the network maximise it; the paper's, and ours, takes each row with its own label."""
    generator = torch.Generator().manual_seed(1)
    first, second, one, other = (torch.randn(20, 4, generator=generator) for _ in range(4))
    agree = torch.nn.functional.cross_entropy(second, first.argmax(dim=1))
    chances, label = torch.softmax(other, dim=1), one.argmax(dim=1)
    own = torch.log(1 - chances.gather(1, label[:, None])).mean()
    assert torch.allclose(margin_disparity(first, second, one, other, 4.0), 4.0 * agree - own, rtol=1e-5)
    peer = adversarial.MDDLoss(gamma=4.0)
    peer.disc_criterion_t.smoothing = 0.0
    assert torch.allclose(peer(first, one, second, other), 4.0 * agree - torch.log(1 - chances[:, label]).mean())


def test_head_discrepancy():
    one, other = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]])
    assert head_discrepancy(one, one) == 0
    assert head_discrepancy(one, other) == pytest.approx(1.0)


def test_reversal_turns_the_gradient():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    reverse(x, 0.3).square().sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, -0.3 * 2 * x.detach())


def test_domain_loss_is_the_cross_entropy():
    ours, theirs = torch.tensor([0.3, -1.0]), torch.tensor([0.5])
    by_hand = 0.5 * (torch.nn.functional.softplus(-ours).mean() + torch.nn.functional.softplus(theirs).mean())
    assert torch.allclose(domain_loss(ours, theirs), by_hand)
    weighed = domain_loss(ours, theirs, (torch.tensor([1.0, 0.0]), torch.tensor([2.0])))
    assert torch.allclose(
        weighed, 0.5 * (torch.nn.functional.softplus(-ours[0]) + torch.nn.functional.softplus(theirs[0]))
    )
    peer = adversarial.DANNLoss()(torch.sigmoid(-ours), torch.sigmoid(-theirs))
    assert torch.allclose(2 * domain_loss(ours, theirs), peer, rtol=1e-5), "theirs calls the target domain 1"


def test_multilinear():
    """All products, or random ones whose inner products are those of all, in the mean (CDAN, equation 6)."""
    generator = torch.Generator().manual_seed(2)
    f, g = torch.randn(5, 4, generator=generator), torch.softmax(torch.randn(5, 3, generator=generator), dim=1)
    assert torch.allclose(Multilinear(4, 3)(f, g)[1], torch.outer(f[1], g[1]).flatten())
    exact = Multilinear(4, 3)(f, g)
    drawn = Multilinear(4, 3, most=11)
    assert drawn.random and drawn.width == 11
    inner = torch.stack([Multilinear(4, 3, most=11, seed=seed)(f, g) for seed in range(4000)])
    assert torch.allclose((inner @ inner.transpose(1, 2)).mean(dim=0), exact @ exact.T, atol=0.12)


def test_information():
    sure = 100 * torch.eye(4)
    assert information(sure) == pytest.approx(np.log(4), abs=1e-5)
    assert information(sure[:1].expand(4, -1)) == pytest.approx(0, abs=1e-5)
    assert entropy(torch.zeros(2, 4)).tolist() == pytest.approx([np.log(4)] * 2)
    assert diversity(torch.zeros(2, 4)) == pytest.approx(np.log(4))
    assert certainty(torch.eye(2)).tolist() == pytest.approx([2.0, 2.0])


def test_a_discriminator_learns_to_tell():
    torch.manual_seed(0)
    tell, ours, theirs = Discriminator(3, 16), torch.randn(60, 3) + 2, torch.randn(60, 3)
    optimiser = torch.optim.Adam(tell.parameters(), 1e-2)
    first = float(domain_loss(tell(ours), tell(theirs)).detach())
    for _ in range(60):
        optimiser.zero_grad()
        domain_loss(tell(ours), tell(theirs)).backward()
        optimiser.step()
    assert float(domain_loss(tell(ours), tell(theirs)).detach()) < 0.5 * first
