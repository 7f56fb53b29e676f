"""Random views of the images in a batch: another crop, light and tint for every row, in a few tensor operations.

Works on normalised pixels [B,C,H,W] as the networks take them, so it serves every source. The crops are those of
Chen et al. 2020 (SimCLR, arXiv:2002.05709, appendix A): 20 to 100 % of the area, aspect 3/4 to 4/3; there is no flip,
since a mirrored digit or letter is another one. All draws come from torch's global generator.
"""

from __future__ import annotations

import math

import torch
from torch import nn

AREA = (0.2, 1.0)
ASPECT = (3 / 4, 4 / 3)
LIGHT = 0.4  # contrast and tint: up to +- this part; brightness: up to +- this many standard deviations
GREY = 0.2  # share of the views that lose their colours


def view(pixels: torch.Tensor) -> torch.Tensor:
    """One random view of every image, [B,C,H,W]."""
    return relit(cropped(pixels))


def cropped(pixels: torch.Tensor) -> torch.Tensor:
    """A random part of every image, brought to its size (bilinear)."""
    count = len(pixels)
    area = _between(AREA[0], AREA[1], count)
    aspect = _between(math.log(ASPECT[0]), math.log(ASPECT[1]), count).exp()
    wide, tall = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide, tall
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * _between(-1, 1, count), (1 - tall) * _between(-1, 1, count)
    grid = nn.functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    return nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def relit(pixels: torch.Tensor) -> torch.Tensor:
    """Other contrast, brightness and tint, and sometimes no colours, for every image."""
    count, channels = pixels.shape[:2]
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + LIGHT * _between(-1, 1, count).view(-1, 1, 1, 1)
    brightness = LIGHT * _between(-1, 1, count).view(-1, 1, 1, 1)
    tint = LIGHT / 2 * (2 * torch.rand(count, channels, 1, 1) - 1)
    lit = mean + (pixels - mean) * contrast + brightness + tint
    grey = (torch.rand(count) < GREY).view(-1, 1, 1, 1)
    return torch.where(grey, lit.mean(dim=1, keepdim=True).expand_as(lit), lit)


def _between(low: float, high: float, count: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(count)
