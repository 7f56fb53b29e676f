"""Fold batch norm into the convolution before it, by what one pass shows and not by names.

In evaluation y = gamma (conv(x) - mean) / sqrt(var + eps) + beta is a convolution with other weights. A pair is fused
when the tensor that enters the norm is the very tensor a convolution returned, and nothing else read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fuse_batchnorm(network: nn.Module, run: Callable[[], Any]) -> int:
    """Fuse in place every convolution + `BatchNorm2d` pair that ``run()`` shows; returns how many were fused.

    A subclass of BatchNorm2d with its own activation (timm's) keeps the activation. ``network`` must be in eval mode.
    """
    made: dict[int, tuple[nn.Conv2d, int]] = {}  # what a convolution returned: itself, the tensor's version
    readers: dict[int, int] = {}
    pairs: list[tuple[nn.Conv2d, str, nn.BatchNorm2d, int]] = []
    alive: list[torch.Tensor] = []  # keeps ids unique during the pass

    def before(name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            for value in args:
                if isinstance(value, torch.Tensor):
                    readers[id(value)] = readers.get(id(value), 0) + 1
                    conv, version = made.get(id(value), (None, 0))
                    if isinstance(module, nn.BatchNorm2d) and conv is not None and value._version == version:
                        pairs.append((conv, name, module, id(value)))

        return hook

    def after(module: nn.Conv2d, args: tuple[Any, ...], output: torch.Tensor) -> None:
        alive.append(output)
        made[id(output)] = module, output._version
        readers[id(output)] = 0  # a tensor that is gone may have had this id

    hooks: list[Any] = []
    for name, module in network.named_modules():
        if not any(True for _ in module.children()) or isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(before(name, module)))
        if type(module) is nn.Conv2d or (isinstance(module, nn.Conv2d) and not list(module.children())):
            hooks.append(module.register_forward_hook(after))
    try:
        with torch.inference_mode(False), torch.no_grad():  # in inference mode tensors have no version
            run()
    finally:
        for hook in hooks:
            hook.remove()
    calls = [conv for conv, _, _, _ in pairs]
    fused = 0
    for conv, name, norm, tensor in pairs:
        # a batch norm with children is read twice at most: by itself and never by another module
        if readers[tensor] > 1 or sum(other is conv for other in calls) > 1 or norm.running_var is None:
            continue
        _fold(conv, norm)
        _replace(network, name, norm)
        fused += 1
    return fused


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = weight, bias


def _replace(network: nn.Module, name: str, norm: nn.BatchNorm2d) -> None:
    rest = [child for key, child in norm.named_children() if not isinstance(child, nn.Identity)]
    parent = network.get_submodule(name.rpartition(".")[0]) if "." in name else network
    setattr(parent, name.rpartition(".")[2], nn.Sequential(*rest) if rest else nn.Identity())
