"""Masked autoencoder: a quarter of an image's patches goes through the network, and a small decoder paints the others.

For networks of patch tokens (ViT and its kin). Patches are dropped where they enter the first block, behind their
position embedding, so that the network computes on a quarter of the tokens; a decoder of two layers gets the outputs
and a mask token for each missing patch. The loss is the squared error of the missing patches' pixels, each patch at
mean 0 and variance 1. He et al. 2021, arXiv:2111.06377. Where blocks and patches are is seen by running one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective
from headstart.nn.simsiam import lacks_pixels
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

RATE = 0.75
WIDEST = 512  # of the decoder
PREFIX = 8  # tokens before the patches (class, registers) at most


@dataclass(frozen=True)
class Patches:
    """How a network cuts images.

    block: the first module that patch tokens pass whole, last: the one that ends the pass. size: pixels of a patch's
    edge. count: patches of an image. prefix: tokens that stand before them. width: D.
    """

    block: nn.Module
    last: nn.Module
    size: int
    count: int
    prefix: int
    width: int


def found_patches(source: Source) -> Patches | None:
    """How the source's network cuts images, or None where it has no patch tokens."""
    convolutions = [m for m in source.network.modules() if isinstance(m, nn.Conv2d)]
    cut = next((m for m in convolutions if m.kernel_size == m.stride and m.stride[0] == m.stride[1] > 1), None)
    if lacks_pixels(source) is not None or cut is None:
        return None
    batch, last = source.example(), source.layers()[-1].last
    seen: list[tuple[nn.Module, torch.Size]] = []
    hooks = [layer.last.register_forward_hook(_keep_shape(seen)) for layer in source.layers()]
    try:
        with torch.no_grad():
            source.forward(batch)
    finally:
        for hook in hooks:
            hook.remove()
    blocks = [(module, shape) for module, shape in seen if len(shape) == 3]
    if not blocks or seen[-1][0] is not last or len(seen[-1][1]) != 3:
        return None
    (block, shape), pixels = blocks[0], next(iter(batch.inputs.values()))
    size = int(cut.stride[0])
    count = (pixels.shape[2] // size) * (pixels.shape[3] // size)
    prefix = shape[1] - count
    whole = pixels.shape[2] % size == 0 and pixels.shape[3] % size == 0
    if not (0 <= prefix <= PREFIX and whole):
        return None
    return Patches(block, last, size, count, prefix, int(seen[-1][1][2]))


def _keep_shape(seen: list[tuple[nn.Module, torch.Size]]) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        given = args[0] if args else None
        tokens = isinstance(given, torch.Tensor) and isinstance(first, torch.Tensor) and given.shape == first.shape
        if tokens:  # what keeps its tokens: a block, a norm
            seen.append((module, first.shape))

    return hook


@contextmanager
def only(patches: Patches, keep: torch.Tensor, outputs: list[torch.Tensor]) -> Iterator[None]:
    """Passes in this context see only some patches. keep: [B,k] numbers of those. outputs: gets the last tokens."""
    prefix = torch.arange(patches.prefix, device=keep.device).expand(len(keep), -1)
    index = torch.cat([prefix, keep + patches.prefix], dim=1).unsqueeze(-1)  # [B,prefix+k,1]

    def drop(module: nn.Module, args: Any) -> Any:
        return (args[0].gather(1, index.expand(-1, -1, args[0].shape[-1])), *args[1:])

    def keep_last(module: nn.Module, args: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple | list) else output)

    hooks = [patches.block.register_forward_pre_hook(drop), patches.last.register_forward_hook(keep_last)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def cut(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """The patches of images [B,C,H,W] in the order of the tokens, each at mean 0 and variance 1: [B,n,C size size]."""
    patches = nn.functional.unfold(pixels.float(), size, stride=size).transpose(1, 2)
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


class MaskedAutoencoder(Objective):
    """Missing patches are painted from the others."""

    name: ClassVar[str] = "mae"
    modality: ClassVar[Modality] = "image"
    paper: ClassVar[str] = "He et al. 2021, arXiv:2111.06377"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        patches = found_patches(source)
        assert patches is not None, "ask lacks() first"
        self._patches = [patches]  # in a list: its modules are the backbone's
        width = min(patches.width, WIDEST)
        heads = next(n for n in (8, 4, 2, 1) if width % n == 0)
        channels = next(iter(source.example().inputs.values())).shape[1]
        self.inward = nn.Linear(patches.width, width)
        self.missing = nn.Parameter(0.02 * torch.randn(width))
        self.place = nn.Parameter(0.02 * torch.randn(patches.count, width))
        self.decoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels * patches.size**2))

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """Patch tokens that may be dropped; tried on one batch."""
        lack, what = lacks_pixels(source), "patch tokens that it computes on one by one (it is no ViT)"
        patches = None if lack else found_patches(source)
        if patches is None:
            return lack or what
        keep, outputs = torch.arange(max(1, patches.count // 2)).expand(2, -1), []  # type: ignore[var-annotated]
        try:
            with torch.no_grad(), only(patches, keep, outputs):
                source.forward(source.example())
        except (RuntimeError, TypeError, IndexError, ValueError):  # positions in every block, windows
            return what
        return None if outputs and outputs[0].shape[1] == patches.prefix + keep.shape[1] else what

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """The images as they are; the target is an order of the patches [B,n], of which the first are seen."""
        order = torch.rand(len(samples), self._patches[0].count).argsort(dim=1)
        return self.source.preprocess(samples, train=True), order

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean squared error of the missing patches, about 1 for a decoder that knows nothing."""
        patches, outputs = self._patches[0], []  # type: ignore[var-annotated]
        seen = max(1, round((1 - RATE) * patches.count))
        with only(patches, target[:, :seen], outputs):
            self.source.forward(batch)
        tokens = self.inward(outputs[0][:, patches.prefix :])
        missing = self.missing.to(tokens.dtype).expand(len(tokens), patches.count - seen, -1)
        hidden = torch.cat([tokens, missing], dim=1) + self.place[target]  # in the order of the target
        for layer in self.decoder:
            hidden = layer(hidden)
        painted = self.outward(hidden[:, seen:]).float()
        pixels = cut(next(iter(batch.inputs.values())), patches.size)
        wanted = pixels.gather(1, target[:, seen:, None].expand(-1, -1, pixels.shape[2]))
        return {"loss": nn.functional.mse_loss(painted, wanted)}
