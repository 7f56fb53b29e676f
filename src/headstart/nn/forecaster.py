"""Fracast: a convolutional forecaster whose one block is used at every scale, after the wheel fracast 0.1.0
(Apache-2.0).

The last W values of a series, between 0 and 1, go through the same causal block at dilations 1, 2, 4, ...; a small
vector that depends on the dilation alone scales and shifts what enters it. Periods that stand out of the periodogram
(Tiny-Cast's test, Bonferroni at 5 %) give every step its phase. The head reads the mean and the last of the states,
asks once for every step ahead, and adds what the same kind of block makes of the states followed by the mean value at
each phase. Output are quantiles of the next H values. Names of tensors are those of the wheel; equal to its code
(tests/reference).

Axis letters: B batch, W context, H horizon, D width, Q quantiles, P periods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

RECENCY = 5
"""Channels that say how far a step is from the end of the context."""

BINS = 16
"""Parts of a period over which the mean value is taken."""

ALPHA = 0.05
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class SwiGLU(nn.Module):
    """Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[...,D] -> [...,D]."""
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * value)  # type: ignore[no-any-return]


class Causal(nn.Module):
    """A depthwise convolution over steps that sees the past alone."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.width = width
        self.dw_weight = nn.Parameter(torch.empty(width, 1, kernel))
        self.dw_bias = nn.Parameter(torch.zeros(width))
        nn.init.kaiming_uniform_(self.dw_weight, a=5**0.5)

    def convolved(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]. Sums of shifted copies: on a CPU several times faster than a grouped convolution."""
        taps, steps = self.dw_weight.shape[2], x.shape[1]
        padded = functional.pad(x, (0, 0, (taps - 1) * dilation, 0))
        found: torch.Tensor = self.dw_bias
        for tap in range(taps):
            found = torch.addcmul(found, padded[:, tap * dilation : tap * dilation + steps], self.dw_weight[:, 0, tap])
        return found


class Block(Causal):
    """The block that serves every dilation: convolution and SwiGLU, each with a norm behind its sum."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.pw = nn.Linear(width, width)
        self.ffn = SwiGLU(width, int(1.5 * width))
        self.norm1 = nn.RMSNorm(width)
        self.norm2 = nn.RMSNorm(width)

    def forward(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]."""
        x = self.norm1(x + self.pw(self.convolved(x, dilation)))
        return self.norm2(x + self.ffn(x))  # type: ignore[no-any-return]


class Smooth(Causal):
    """A convolution over the steps ahead."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__(width)
        self.dilation = dilation
        self.norm = nn.RMSNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,H,D] -> [B,H,D]."""
        return self.norm(x + self.convolved(x, self.dilation))  # type: ignore[no-any-return]


class Scale(nn.Module):
    """Factor and shift of the channels by the dilation (FiLM); one and zero at first."""

    def __init__(self, width: int, frequencies: int = 4) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.to_gb = nn.Linear(2 * frequencies, 2 * width)
        nn.init.zeros_(self.to_gb.weight)
        nn.init.zeros_(self.to_gb.bias)

    def forward(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]."""
        steps = torch.arange(self.frequencies, device=x.device, dtype=torch.float32)
        angle = math.log2(dilation) / 2**steps * math.pi
        factor, shift = self.to_gb(torch.cat([angle.sin(), angle.cos()]).to(x.dtype)).chunk(2, dim=-1)
        return torch.as_tensor(x * (1 + factor) + shift)


class Phases(nn.Module):
    """Sine and cosine of the phase in each period that was found, through a matrix."""

    def __init__(self, width: int, periods: int) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * periods, width)

    def forward(self, periods: torch.Tensor, steps: int) -> torch.Tensor:
        """periods [B,P] to [B,T,D]; a period of 0 gives zeros."""
        at = torch.arange(steps, device=periods.device).view(1, steps, 1).float()
        angle = 2 * math.pi * at / periods.clamp(min=1).unsqueeze(1).float()
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1) * (periods > 0)[:, None, :, None]
        return self.proj(waves.flatten(2).to(self.proj.weight.dtype))  # type: ignore[no-any-return]


class Core(nn.Module):
    """The context to states [B,W,D]."""

    def __init__(self, width: int, stages: int, periods: int) -> None:
        super().__init__()
        self.stages = stages
        self.in_proj = nn.Linear(2 + RECENCY, width)
        self.periodic = Phases(width, periods)
        self.block = Block(width)
        self.scale = Scale(width)
        self.norm = nn.RMSNorm(width)

    def forward(self, values: torch.Tensor, valid: torch.Tensor, periods: torch.Tensor) -> torch.Tensor:
        """values [B,W] (0 where not ``valid``), periods [B,P] to [B,W,D]."""
        length = values.shape[1]
        now = recency(torch.arange(length, device=values.device), length).expand(len(values), -1, -1)
        parts = [values.unsqueeze(-1), valid.to(values.dtype).unsqueeze(-1), now.to(values.dtype)]
        x = self.in_proj(torch.cat(parts, dim=-1)) + self.periodic(periods, length)
        for stage in range(self.stages):
            x = self.block(self.scale(x, 2**stage), 2**stage)
        return self.norm(x)  # type: ignore[no-any-return]


class Ahead(nn.Module):
    """States of the steps ahead: the last states, followed by what the mean at each phase says."""

    def __init__(self, width: int, layers: int, seed: int) -> None:
        super().__init__()
        self.layers, self.seed = layers, seed
        self.in_proj = nn.Linear(1 + RECENCY, width)
        self.block = Block(width)
        self.out_proj = nn.Linear(width, width)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, states: torch.Tensor, fill: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """states [B,W,D], fill [B,H], distance [B,H,5] to [B,H,D]."""
        new = self.in_proj(torch.cat([fill.unsqueeze(-1), distance], dim=-1).to(states.dtype))
        x = torch.cat([states[:, -self.seed :], new], dim=1)
        for layer in range(self.layers):
            x = self.block(x, 2**layer)
        return self.out_proj(x[:, -fill.shape[1] :])  # type: ignore[no-any-return]


class Head(nn.Module):
    """States to quantiles of the next H values [B,H,Q]."""

    def __init__(self, width: int, horizon: int, quantiles: int, seed: int, layers: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.summary_proj = nn.Linear(2 * width + RECENCY, width)
        self.queries = nn.Parameter(torch.zeros(horizon, width))
        nn.init.normal_(self.queries, std=width**-0.5)
        self.decoder_ffns = nn.ModuleList([SwiGLU(width, int(1.5 * width))])
        self.decoder_norms = nn.ModuleList([nn.RMSNorm(width)])
        self.fc_blocks = nn.ModuleList([Smooth(width, 1), Smooth(width, 2)])
        self.out_proj = nn.Linear(width, quantiles)
        self.future_conv = Ahead(width, layers, seed)

    def forward(
        self, states: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, periods: torch.Tensor
    ) -> torch.Tensor:
        """states [B,W,D], values and valid [B,W], periods [B,P] to [B,H,Q]."""
        rows, length = values.shape
        steps = torch.arange(length, length + self.horizon, device=values.device)
        distance = recency(steps, length).to(states.dtype).expand(rows, -1, -1)
        summary = torch.cat([states.mean(dim=1), states[:, -1]], dim=-1).unsqueeze(1).expand(-1, self.horizon, -1)
        x = self.summary_proj(torch.cat([distance, summary], dim=-1)) + self.queries
        for feed, norm in zip(self.decoder_ffns, self.decoder_norms, strict=True):
            x = norm(x + feed(x))
        for block in self.fc_blocks:
            x = block(x)
        x = x + self.future_conv(states, phase_means(values, valid, periods[:, :1], steps), distance)
        return self.out_proj(x)  # type: ignore[no-any-return]


class Forecaster(nn.Module):
    """Core and head. context W, horizon H, width D, stages: dilations of the core, seed: states that the head goes on
    from, layers: dilations of the head, periods: P that may be found.
    """

    def __init__(
        self, context: int, horizon: int, width: int, stages: int, seed: int, layers: int = 6, periods: int = 4,
        quantiles: Sequence[float] = QUANTILES,
    ) -> None:  # fmt: skip
        super().__init__()
        self.context, self.horizon, self.periods = context, horizon, periods
        self.quantiles = tuple(quantiles)
        self.core = Core(width, stages, periods)
        self.head = Head(width, horizon, len(self.quantiles), seed, layers)

    def forward(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """The last W values [B,W], 0 where not ``valid``, to quantiles [B,H,Q] in the same units."""
        with torch.no_grad():
            periods = significant_periods(filled(values, valid), self.periods)
        return self.head(self.core(values, valid, periods), values, valid, periods)  # type: ignore[no-any-return]


# --- what has no parameters ----------------------------------------------------------------------------------------


def recency(steps: torch.Tensor, length: int) -> torch.Tensor:
    """How far steps [T] are from the last of ``length``, in five bounded ways, [T,5]."""
    away = (steps.float() - (length - 1)) / length
    far = away.abs()
    log = away.sign() * far.log1p() / math.log(2)
    return torch.stack([away, log, (-0.5 * far).exp(), (-2 * far).exp(), (-8 * far).exp()], dim=-1)


def filled(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Values [B,W] with the mean of the valid ones where there is none."""
    known = valid.to(values.dtype)
    mean = (values * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid, values, mean)


def significant_periods(values: torch.Tensor, most: int) -> torch.Tensor:
    """The periods [B,most] at peaks of the periodogram of [B,W] that noise would not reach; 0 where there are fewer."""
    values = values.float()
    length = values.shape[1]
    size = 1 << math.ceil(math.log2(max(2, length)))
    power = torch.fft.rfft(values - values.mean(dim=1, keepdim=True), n=size).abs().square()[:, 1:]
    share = power / power.sum(dim=1, keepdim=True).clamp(min=1e-12)
    bins = share.shape[1]
    peak = torch.zeros_like(share, dtype=torch.bool)
    peak[:, 1:-1] = (share[:, 1:-1] > share[:, :-2]) & (share[:, 1:-1] > share[:, 2:])
    first, last = max(0, size // max(2, length // 2) - 1), min(bins - 1, size // 2 - 1)
    place = torch.arange(bins, device=values.device)
    peak &= (place >= first) & (place <= last)
    peak &= share >= math.log(bins / ALPHA) / bins
    scores, at = share.masked_fill(~peak, float("-inf")).topk(min(most, bins), dim=1)
    found = torch.round(size / (at + 1).float()).long()
    return torch.where(scores.isfinite(), found, torch.zeros_like(found))


def phase_means(values: torch.Tensor, valid: torch.Tensor, period: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The mean of the values [B,W] at the phase that each later step [H] has, in `BINS` parts of a period [B,1]."""
    known = valid.to(values.dtype)
    period = period.clamp(min=1).float()
    now = torch.arange(values.shape[1], device=values.device).float().unsqueeze(0)
    part = ((now % period) / period * BINS).long().clamp(max=BINS - 1)  # [B,W]
    total = values.new_zeros(len(values), BINS).scatter_add(1, part, values * known)
    count = values.new_zeros(len(values), BINS).scatter_add(1, part, known)
    mean = (values * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    means = torch.where(count > 0, total / count.clamp(min=1), mean)
    later = ((steps.float().unsqueeze(0) % period) / period * BINS).clamp(max=BINS - 1).long()
    return means.gather(1, later)


def pinball(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Twice the pinball loss of quantiles [...,Q] against values [...,1]; 0 where there is no value."""
    levels = torch.tensor(QUANTILES, device=found.device, dtype=found.dtype)
    error = torch.where(torch.isfinite(truth), truth - found, torch.zeros_like(found))
    return 2 * torch.maximum(levels * error, (levels - 1) * error)
