"""Folding batch norm into convolutions changes nothing but the speed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.nn.fuse import fuse_batchnorm
from headstart.sources.torchvision_compat import heal

heal()

NETWORKS = {  # name: size of the input, convolutions with a batch norm after them
    "torchvision:mobilenet_v2": (96, 52),
    "torchvision:resnet18": (96, 20),
    "timm:tf_efficientnet_lite0": (96, 49),
}


def build(name: str) -> nn.Module:
    library, _, model = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if library == "torchvision":
            import torchvision

            network = torchvision.models.get_model(model, weights=None)
        else:
            import timm

            network = timm.create_model(model, pretrained=False)
        for module in network.modules():  # statistics as of a trained network, not 0 and 1
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_fused_equals_unfused(name):
    size, pairs = NETWORKS[name]
    network = build(name)
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = network(image)
        assert fuse_batchnorm(network, lambda: network(image)) == pairs
        after = network(image)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    again = build(name)
    with torch.inference_mode():
        assert fuse_batchnorm(again, lambda: again(torch.zeros(2, 3, size, size))) == pairs
    assert before.std() > 1e-3, "an output without a scale compares nothing"
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()


class Shared(nn.Module):
    """One convolution that two norms read, one that is called twice, and one whose output is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.plain = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.a, self.b, self.c, self.d, self.e = (nn.BatchNorm2d(3) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.one(x)
        twice = self.c(self.two(x)) + self.c(self.two(shared))
        changed = self.three(x)
        changed += x
        return self.a(shared) + self.b(shared) + twice + self.d(changed) + self.e(self.plain(x))


def test_only_what_may_be_folded_is_folded():
    torch.manual_seed(0)
    network = Shared().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.2, 3.0)
            nn.init.normal_(module.running_mean)
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        before = network(x)
        assert fuse_batchnorm(network, lambda: network(x)) == 1
        assert torch.allclose(network(x), before, atol=1e-5)
    assert isinstance(network.e, nn.Identity) and isinstance(network.d, nn.BatchNorm2d)
