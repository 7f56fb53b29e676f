"""Forecasts of one series from its own history, as people make them without a network: the controls of forecasting.

    seasonal_naive   the last season again
    drift            the same, with the mean change over a season going on
    ridge            autoregression of the change over a season on the last two seasons and the level, ridge by
                     generalised cross-validation; shrunk fully it is ``drift``
    ridge_known      the same of what is left when the effect of columns known ahead is taken off; the effect is
                     linear, estimated on what the autoregression leaves of them (Cochrane & Orcutt 1949), and added
                     again at the steps of the forecast
    autoets          exponential smoothing, its form by AICc (Hyndman et al. 2002), from statsforecast
    autotheta        Theta with its form by the error in sample (Fiorucci et al. 2016), from statsforecast

Each gives quantiles [H,Q] of the next H values: normal ones around the forecast, by the errors in sample.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from headstart.nn.forecaster import QUANTILES

Array: TypeAlias = np.ndarray

LONGEST = 600
"""Last values that the slow ones are fitted on."""

LARGEST_SEASON = 24
"""Season up to which exponential smoothing has seasonal states."""

ALPHAS = 10.0 ** np.arange(-3, 4)
WILD = 10.0
"""Ranges of the history beyond which an autoregression has run away."""

ROUNDS = 3
"""Times that effect and autoregression are estimated in turn."""


def seasonal_naive(history: Array, season: int, horizon: int) -> Array:
    """The last season again."""
    return _around(_repeated(history, season, horizon), _changes(history, season), season)


def drift(history: Array, season: int, horizon: int) -> Array:
    """The last season again, with the mean change."""
    changes = _changes(history, season)
    mean = float(changes.mean())
    seasons = np.arange(horizon) // season + 1
    return _around(_repeated(history, season, horizon) + mean * seasons, changes - mean, season)


def ridge(history: Array, season: int, horizon: int, known: Array | None = None) -> Array:
    """Autoregression; `drift` where the history is too short for one. known: [K,T+H], columns whose effect counts."""
    low, size = float(history.min()), float(np.ptp(history))
    lags = _lags(history, season)
    if not lags or size <= 0:
        return drift(history, season, horizon)
    moved = np.zeros(len(history) + horizon) if known is None else effect(history, known, season) / size
    x = (history - low) / size - moved[: len(history)]
    weight, bias, level, errors = _autoregression(x, season, lags)
    line = x.tolist()
    for _ in range(horizon):
        last = np.array(line[-lags:]) - line[-season]
        line.append(line[-season] + float(last @ weight[:-1]) + float(weight[-1]) * (line[-season] - level) + bias)
    found = np.array(line[-horizon:]) + moved[len(x) :]
    if not np.isfinite(found).all() or np.abs(found).max() > WILD:
        return drift(history, season, horizon)
    phi = weight[-2::-1].copy()  # of the last value first
    phi[season - 1] += 1 - weight[:-1].sum() + weight[-1]
    psi = [1.0]
    for step in range(1, horizon):
        reach = min(step, lags)
        psi.append(float(np.clip(np.dot(phi[:reach], psi[::-1][:reach]), -WILD, WILD)))
    spread = float(errors.std()) * np.sqrt(np.cumsum(np.square(psi)))
    return np.asarray(low + size * (found[:, None] + spread[:, None] * normal()))


def ridge_known(history: Array, season: int, horizon: int, known: Array) -> Array:
    """`ridge` with the columns known ahead [K,T+H]."""
    return ridge(history, season, horizon, known)


def effect(history: Array, known: Array, season: int) -> Array:
    """What columns known ahead [K,T+H] add to a history [T] and to the steps behind it, [T+H], in its units.

    A column that never changed in the history adds nothing, and where that is too short for `ridge` none does.
    """
    season = season if len(history) > season else 1
    low, size, lags = float(history.min()), float(np.ptp(history)), _lags(history, season)
    past = known[:, : len(history)]
    moves = np.ptp(past, axis=1) > 1e-9 * np.abs(past).max(axis=1, initial=0)
    found = np.zeros(known.shape[1])
    if not lags or size <= 0 or not moves.any():
        return found
    x = (history - low) / size
    units = (known[moves] - past[moves].mean(axis=1, keepdims=True)) / past[moves].std(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        weight = _autoregression(x - found[: len(x)], season, lags)[0]
        left = []
        for line in (x, *units[:, : len(x)]):
            X, y = _lagged(line, season, lags, 0.0)
            left.append(y - X @ weight)
        innovations = np.array(left) - np.mean(left, axis=1, keepdims=True)
        found = _generalised(innovations[1:].T, innovations[0])[0] @ units
    return size * found


def autoets(history: Array, season: int, horizon: int) -> Array:
    """Exponential smoothing; without a season where that is over `LARGEST_SEASON` or the history under two of them."""
    from statsforecast.models import AutoETS

    short = season > LARGEST_SEASON or len(history) < 2 * season + 1
    return _packaged(AutoETS(season_length=1 if short else season), history, season, horizon)


def autotheta(history: Array, season: int, horizon: int) -> Array:
    """Theta."""
    from statsforecast.models import AutoTheta

    return _packaged(AutoTheta(season_length=season if len(history) > 2 * season else 1), history, season, horizon)


MODELS: dict[str, Callable[..., Array]] = {
    each.__name__: each for each in (seasonal_naive, drift, ridge, ridge_known, autoets, autotheta)
}
PACKAGED = ("autoets", "autotheta")
READING = ("ridge_known",)
"""Models that read the columns known ahead."""


def available(known: bool = False) -> list[str]:
    """The models that this machine can fit, the quick ones first. known: whether there are columns known ahead."""
    there = importlib.util.find_spec("statsforecast") is not None
    return [name for name in MODELS if (there or name not in PACKAGED) and (known or name not in READING)]


def forecast(model: str, history: Array, season: int, horizon: int, known: Array | None = None) -> Array:
    """Quantiles [H,Q] of what follows a history [T], float64; what was computed is not computed again.

    known: [K,T+H], the columns known ahead, for the models that read them.
    """
    beside = known if known is not None and model in READING else np.empty((0, 0))
    content = (np.ascontiguousarray(each, np.float64).tobytes() for each in (history, beside))
    return _computed(model, *content, season, horizon)


@lru_cache(maxsize=20_000)
def _computed(model: str, content: bytes, beside: bytes, season: int, horizon: int) -> Array:
    history = np.frombuffer(content, np.float64)
    more = (np.frombuffer(beside, np.float64).reshape(-1, len(history) + horizon),) if model in READING else ()
    found = MODELS[model](history, season if len(history) > season else 1, horizon, *more)
    found.setflags(write=False)
    return found


def _packaged(model: object, history: Array, season: int, horizon: int) -> Array:
    """What a model of statsforecast says; `drift` where it cannot be fitted."""
    levels = sorted({round(100 * abs(1 - 2 * level)) for level in QUANTILES} - {0})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a candidate that divides by zero another one is chosen
            found = model.forecast(y=history[-LONGEST:], h=horizon, level=levels)  # type: ignore[attr-defined]
        columns = [
            found["mean"] if level == 0.5
            else found[f"{'lo' if level < 0.5 else 'hi'}-{round(100 * abs(1 - 2 * level))}"]
            for level in QUANTILES
        ]  # fmt: skip
        quantiles = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    except Exception:  # of whatever kind, on a series that is too short, flat or wild for it
        return drift(history, season, horizon)
    return quantiles if np.isfinite(quantiles).all() else drift(history, season, horizon)


def _lags(history: Array, season: int) -> int:
    """Last values that an autoregression reads, 0 where the history is too short for one."""
    lags = min(2 * season if season > 1 else 12, (len(history) - 1) // 3)
    return lags if lags >= season else 0


def _autoregression(x: Array, season: int, lags: int) -> tuple[Array, float, float, Array]:
    """Weights of the last values and the level, bias, level, and the residuals."""
    level = float(x.mean())
    X, y = _lagged(x, season, lags, level)
    middle, mean = X.mean(axis=0), float(y.mean())
    weight, errors = _generalised(X - middle, y - mean)
    return weight, mean - float(middle @ weight), level, errors


def _lagged(x: Array, season: int, lags: int, level: float) -> tuple[Array, Array]:
    """The last values and the level, less the value a season before [n,lags+1], and the change over a season [n]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, lags + 1)  # [n, lags + 1], the last one to be found
    base = windows[:, -1 - season]
    return np.column_stack([windows[:, :-1] - base[:, None], base - level]), windows[:, -1] - base


def _generalised(X: Array, y: Array) -> tuple[Array, Array]:
    """Ridge weights of centred X [n,D], y [n] with the penalty of the least generalised cross-validation; residuals."""
    left, values, right = np.linalg.svd(X, full_matrices=False)
    inner, best = left.T @ y, (np.inf, np.zeros(X.shape[1]), y)
    usual = float(np.square(values).mean()) or 1.0
    for alpha in ALPHAS * usual:
        shrunk = np.square(values) / (np.square(values) + alpha)
        rest = y - left @ (shrunk * inner)
        score = float(rest @ rest) / max(1e-9, len(y) - 1 - float(shrunk.sum())) ** 2
        if score < best[0]:
            weight = right.T @ (values / (np.square(values) + alpha) * inner)
            best = (score, weight, rest * np.sqrt(len(y) / max(1.0, len(y) - 1 - float(shrunk.sum()))))
    return best[1], best[2]


def _repeated(history: Array, season: int, horizon: int) -> Array:
    return np.asarray(history[-season:][np.arange(horizon) % season])


def _changes(history: Array, season: int) -> Array:
    return np.asarray(history[season:] - history[:-season])


def _around(median: Array, errors: Array, season: int) -> Array:
    """Normal quantiles [H,Q] whose variance grows with every season."""
    seasons = np.arange(len(median)) // season + 1
    spread = float(np.sqrt(np.mean(np.square(errors)))) * np.sqrt(seasons)
    return np.asarray(median[:, None] + spread[:, None] * normal())


@lru_cache(maxsize=1)
def normal() -> Array:
    """Standard normal quantiles [Q]."""
    from scipy.stats import norm

    return np.asarray(norm.ppf(QUANTILES))
