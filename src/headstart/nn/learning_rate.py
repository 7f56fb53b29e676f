"""A learning rate from a sweep: the rate grows exponentially from step to step, and the loss says where it is good.

The loss of a step depends on its batch more than on the rate, so each is compared with the loss that the network had
before the sweep on the same batch (with the same dropout): y(rate) = loss now - loss at the start, lightly smoothed.
Smith 2015, Cyclical learning rates, arXiv:1506.01186, section 3.3; the rate is taken where the loss falls fastest in
log(rate), and never above a tenth of the rate at which it diverges, as practitioners do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headstart.types import Json

LOW, HIGH = 1e-6, 1.0
"""The rates of a whole sweep."""

MOST, LEAST, SHARE = 100, 20, 0.2
"""Steps of a sweep: this share of the training's, but no more than MOST and no fewer than LEAST; a step costs a third
more than one of the training, so a sweep that is not held at LEAST costs about a quarter of it or less."""

DIVERGED = 0.5
"""Part of the loss at the start by which the loss may rise above its lowest before the sweep ends."""

CLEAR = 0.02
"""Part of the loss at the start by which it must fall for the place of the steepest descent to mean something."""

SAFE = 0.1
"""Part of the rate of divergence that is never exceeded."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep saw. rates: [n], geometric. gains: smoothed loss minus the loss at the start [n]; start: its mean.

    diverged: whether the last rate is where it diverged; the gain there may be infinite.
    """

    rates: list[float]
    gains: list[float]
    start: float
    diverged: bool

    def to_json(self) -> Json:
        """The rate that it finds and the curve, for a fit's history."""
        shown = [gain for gain in self.gains if np.isfinite(gain)]
        curve = {"rates": self.rates[: len(shown)], "gains": shown}
        return {"found rate": choose(self), "steps": len(self.rates), "sweep": curve}


def steps(training: int) -> int:
    """How many steps a sweep takes before a training of so many."""
    return int(np.clip(int(SHARE * training), LEAST, MOST))


def sweep(step: Callable[[int, float], tuple[float, float]], count: int, seconds: float | None = None) -> Sweep:
    """Sweep over ``count`` rates. step: (number, rate) -> loss of this step's batch now, and as it was at the start.

    ``step`` takes both losses before it changes the weights. It ends where the loss diverges. seconds: what the sweep
    may take; after its first step it goes on in as many as that allows, but in no fewer than `LEAST`.
    """
    weight = float(np.clip(10.0 / count, 0.1, 0.5))  # of the newest value in the running mean
    mean = total = 0.0
    rates: list[float] = []
    gains: list[float] = []
    starts: list[float] = []
    ahead = np.geomspace(LOW, HIGH, count).tolist()
    begun = time.monotonic()
    while ahead:
        number, rate = len(rates), ahead.pop(0)
        now, before = step(number, rate)
        if number == 0 and seconds is not None:
            allowed = int(max(LEAST, seconds / max(time.monotonic() - begun, 1e-9)))
            ahead = ahead if len(ahead) < allowed else np.geomspace(LOW, HIGH, allowed).tolist()[1:]
        rates.append(rate)
        if not np.isfinite(now):
            gains.append(float("inf"))
            return Sweep(rates, gains, float(np.mean(starts)) if starts else 0.0, True)
        starts.append(before)
        mean, total = (1 - weight) * mean + weight * (now - before), (1 - weight) * total + weight
        gains.append(mean / total)
        start = abs(float(np.mean(starts)))
        if gains[-1] > min(gains) + DIVERGED * max(start, 1e-6):
            return Sweep(rates, gains, start, True)
    return Sweep(rates, gains, abs(float(np.mean(starts))), False)


def choose(found: Sweep) -> float:
    """The rate of the steepest descent, but at most a tenth of the rate of divergence.

    Without a clear descent (the head was at its optimum already) it is a tenth of the rate of divergence.
    """
    limit = SAFE * found.rates[-1]
    lowest = int(np.argmin(found.gains))
    if lowest < 2 or found.gains[lowest] > -CLEAR * found.start:
        return limit
    slope = np.gradient(np.asarray(found.gains[: lowest + 1]), np.log(found.rates[: lowest + 1]))
    return min(limit, found.rates[int(np.argmin(slope))])
