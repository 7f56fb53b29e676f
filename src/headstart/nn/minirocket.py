"""MiniRocket: about ten thousand numbers of a time series, from fixed kernels; a linear model on them is hard to beat.

All 84 kernels of length 9 with three weights 2 and six weights -1, at exponentially spaced dilations. Each convolution
is asked for its share of positive values (PPV) above biases that are quantiles of the convolution of a training series:

    feature = mean over t of [ (w * x)(t) > b ]

Dempster, Schmidt & Webb 2021, arXiv:2012.08791; with several channels each pair of kernel and dilation sums some that
were drawn. Series of other lengths are stretched to that of the longest training series (straight lines). Equal to
aeon 1.6.0 up to the draws of training series and channels (tests/reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.nn.featurizers import Featurizer
from headstart.types import Json

Array: TypeAlias = np.ndarray

KERNELS = np.array(list(combinations(range(9), 3)))
"""Places of the weights 2, [84,3]."""

FEATURES, DILATIONS = 9996, 32
"""Features in all (119 a kernel), dilations at most."""

MOST_CHANNELS = 9
SHORTEST = 9  # the length of a kernel
_CELLS = 1 << 16  # numbers of a convolution held at once


class MiniRocket:
    """Kernels with their dilations and biases, for series [C,T].

    length: T. dilations: [J]. counts: features of each kernel at each dilation [J]. biases: [D], one dilation after the
    other, in it one kernel after the other. picks: 0/1 [J 84,C], the channels that each kernel sums at each dilation.
    """

    def __init__(self, length: int, dilations: Array, counts: Array, biases: Array, picks: Array) -> None:
        self.length, self.dilations, self.counts = int(length), np.asarray(dilations), np.asarray(counts)
        self.biases, self.picks = np.asarray(biases, np.float32), np.asarray(picks, np.float32)
        if len(self.dilations) != len(self.counts) or len(self.picks) != 84 * len(self.counts):
            raise ValueError("misshapen kernels")
        if len(self.biases) != 84 * int(self.counts.sum()):
            raise ValueError("misshapen biases")

    @classmethod
    def fit(cls, X: Array, features: int = FEATURES, seed: int = 0) -> MiniRocket:
        """Biases from the series X [N,C,T], T of 9 or more; the targets are not read."""
        generator = np.random.default_rng(seed)
        count, channels, length = X.shape
        dilations, counts = spaced(length, features)
        combos = 84 * len(dilations)
        most = np.log2(min(channels, MOST_CHANNELS) + 1)
        picks = np.zeros((combos, channels), np.float32)
        for row, number in enumerate((2 ** generator.uniform(0, most, combos)).astype(int)):
            picks[row, generator.choice(channels, number, replace=False)] = 1
        quantiles = (np.arange(1, 84 * counts.sum() + 1) * ((np.sqrt(5) + 1) / 2) % 1).astype(np.float32)
        biases = np.zeros(len(quantiles), np.float32)
        start = 0
        for place, dilation in enumerate(dilations):
            drawn = generator.integers(count, size=84)
            for kernel in range(84):
                series = picks[84 * place + kernel] @ X[drawn[kernel]]
                end = start + counts[place]
                biases[start:end] = np.quantile(convolved(series[None], dilation, kernel)[0], quantiles[start:end])
                start = end
        return cls(length, dilations, counts, biases, picks)

    def transform(self, X: Array) -> Array:
        """The features [N,D] of series [N,C,T], float32 in 0..1."""
        made = np.empty((len(X), len(self.biases)), np.float32)
        step = max(1, _CELLS // self.length)
        for start in range(0, len(X), step):
            made[start : start + step] = self._some(np.asarray(X[start : start + step], np.float32))
        return made

    def _some(self, X: Array) -> Array:
        made, start = np.empty((len(X), len(self.biases)), np.float32), 0
        alone = X[:, 0] if X.shape[1] == 1 else None
        for place, (dilation, count) in enumerate(zip(self.dilations.tolist(), self.counts.tolist())):
            shared = shifted(alone, dilation) if alone is not None else None
            edge = 4 * dilation
            for kernel in range(84):
                if shared is None:
                    series = np.einsum("c,nct->nt", self.picks[84 * place + kernel], X)
                    values = convolved(series, dilation, kernel)
                else:
                    values = summed(*shared, kernel)
                if (place + kernel) % 2:  # every other one leaves out the ends, where the kernel hangs over
                    values = values[:, edge : values.shape[1] - edge]
                for bias in self.biases[start : start + count]:
                    made[:, start] = np.count_nonzero(values > bias, axis=1) / values.shape[1]
                    start += 1
        return made


def spaced(length: int, features: int = FEATURES) -> tuple[Array, Array]:
    """The dilations for series of this length, and how many features a kernel has at each; [J], [J]."""
    each = features // 84
    most = min(each, DILATIONS)
    exponents = np.logspace(0, np.log2((length - 1) / 8), most, base=2).astype(np.int32)
    dilations, found = np.unique(exponents, return_counts=True)
    counts = (found * (each / most)).astype(np.int32)
    for extra in range(each - int(counts.sum())):
        counts[extra % len(counts)] += 1
    return dilations, counts


def shifted(series: Array, dilation: int) -> tuple[Array, Array]:
    """Minus the sum of the nine shifts of series [N,T] by multiples of the dilation, and three times each [9,N,T]."""
    length = series.shape[1]
    moved = np.zeros((9, *series.shape), np.float32)
    for place in range(9):
        by = (place - 4) * dilation
        if by < 0:
            moved[place, :, -by:] = series[:, :by]
        else:
            moved[place, :, : length - by] = series[:, by:]
    return -moved.sum(axis=0), 3 * moved


def summed(base: Array, tripled: Array, kernel: int) -> Array:
    """The convolution [N,T] of one kernel, from what `shifted` made."""
    one, two, three = KERNELS[kernel]
    values: Array = base + tripled[one] + tripled[two] + tripled[three]
    return values


def convolved(series: Array, dilation: int, kernel: int) -> Array:
    """The convolution of series [N,T] with one dilated kernel, zeros outside; [N,T]."""
    return summed(*shifted(series, dilation), kernel)


def stretched(series: Array, length: int) -> Array:
    """A series [C,T] at ``length`` even points of the same span, on straight lines; float32 [C,length]."""
    count = series.shape[1]
    if count == length:
        return np.asarray(series, np.float32)
    points = np.linspace(0, count - 1, length)
    left = np.minimum(points.astype(np.int64), max(count - 2, 0))
    share = (points - left).astype(np.float32)
    right = np.minimum(left + 1, count - 1)
    return np.asarray(series[:, left] * (1 - share) + series[:, right] * share, np.float32)


class SeriesFeatures(Featurizer):
    """MiniRocket's features of time series, each divided by its spread over the training rows [D]."""

    kind = "series"

    def __init__(self, rocket: MiniRocket, spread: Array) -> None:
        self.rocket, self.spread = rocket, np.asarray(spread, np.float32)
        if self.spread.shape != self.rocket.biases.shape:
            raise ValueError("misshapen spread")

    @classmethod
    def fit(cls, train: Dataset) -> SeriesFeatures:
        """Biases and spreads of the training rows."""
        return cls.fit_transform(train)[0]

    @classmethod
    def fit_transform(cls, train: Dataset) -> tuple[SeriesFeatures, Array]:
        """`fit` and the features of the same rows, at the price of one."""
        samples = train.samples()
        length = max(SHORTEST, *(sample.shape[1] for sample in samples))
        X = stacked(samples, length)
        rocket = MiniRocket.fit(X)
        raw = rocket.transform(X)
        features = cls(rocket, spread(raw))
        return features, raw / features.spread

    def transform(self, dataset: Dataset) -> Array:
        """Dense float32 [N,D]."""
        return self.raw(dataset) / self.spread

    def raw(self, dataset: Dataset) -> Array:
        """The shares of positive values as they are, [N,D]."""
        return self.rocket.transform(stacked(dataset.samples(), self.rocket.length))

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return len(self.rocket.biases)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """The length; kernels and spreads as arrays."""
        rocket = self.rocket
        arrays = {"dilations": rocket.dilations, "counts": rocket.counts, "biases": rocket.biases}
        return {"length": rocket.length}, {**arrays, "picks": rocket.picks, "spread": self.spread}

    @classmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> SeriesFeatures:
        """The featurizer that gave this `state`."""
        kernels = [arrays[name] for name in ("dilations", "counts", "biases", "picks")]
        return cls(MiniRocket(data["length"], *kernels), arrays["spread"])


def spread(raw: Array) -> Array:
    """The deviation of each column of [N,D]; 1 where it does not vary, which rounding would make a tiny deviation."""
    varies = raw.max(axis=0) > raw.min(axis=0)
    return np.asarray(np.where(varies, raw.std(axis=0), 1.0), np.float32)


def stacked(samples: Sequence[Array], length: int) -> Array:
    """Series [C,T_i] as float32 [N,C,length]."""
    return np.stack([stretched(sample, length) for sample in samples])
