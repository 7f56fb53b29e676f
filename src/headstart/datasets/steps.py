"""When the values of a series were: stamps become whole numbers of even steps, and steps ahead become stamps again.

Dates that lie whole months apart are counted in months, others and numbers in the usual (median) time between
neighbours. A value belongs to the nearest step; a step without a value is a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

SHORT, LONG = 28, 31
"""Days of a month."""

DAY = 86_400.0
SEASONS = {DAY: 7, 7 * DAY: 52, 3600.0: 24, 1800.0: 48, 900.0: 96, 600.0: 144, 60.0: 60}
"""Steps of a season by the seconds of a step: a week of days, a year of weeks, a day of hours, an hour of minutes."""


@dataclass(frozen=True)
class Steps:
    """Even steps. months: whole months in one, or 0; then ``size``: seconds in one, or units where stamps are numbers.

    first: the stamp of step 0. text: how a date is written: ``month``, ``day`` or ``time``.
    """

    first: Any
    months: int
    size: float
    text: str = ""

    @property
    def season(self) -> int:
        """Steps of the season that the calendar suggests, 1 where it suggests none."""
        if self.months:
            return 12 // self.months if 12 % self.months == 0 else 1
        return SEASONS.get(self.size, 1) if isinstance(self.first, datetime) else 1

    def places(self, stamps: Sequence[Any]) -> tuple[np.ndarray, float]:
        """The step of each stamp, and how far off the even steps they lie at most, in steps."""
        if self.months:
            return np.array([_month(each) - _month(self.first) for each in stamps]) // self.months, 0.0
        if isinstance(self.first, datetime):
            away = np.array([(each - self.first).total_seconds() for each in stamps], float) / self.size
        else:
            away = (np.array(stamps, float) - self.first) / self.size
        near = np.rint(away)
        return near.astype(np.int64), float(np.abs(away - near).max(initial=0.0))

    def stamp(self, place: int) -> str | int | float:
        """The stamp of a step, as it is written."""
        if not isinstance(self.first, datetime):
            value = self.first + place * self.size
            return int(value) if float(value).is_integer() else float(value)
        if self.months:
            year, month = divmod(_month(self.first) + place * self.months, 12)
            moment = self.first.replace(year=year, month=month + 1, day=min(self.first.day, SHORT))
            if self.first.day > SHORT:  # a last day of a month stays one, as far as the month has it
                after = (moment.replace(day=SHORT) + timedelta(days=4)).replace(day=1)
                moment = moment.replace(day=min(self.first.day, (after - timedelta(days=1)).day))
        else:
            moment = self.first + timedelta(seconds=place * self.size)
        return moment.date().isoformat() if self.text == "day" else moment.isoformat(sep=" ")


def steps_of(stamps: Sequence[Any]) -> Steps:
    """The steps of the ascending stamps of one series: datetimes, or numbers."""
    first = stamps[0]
    if not isinstance(first, datetime):
        gaps = np.diff(np.unique(np.array(stamps, float)))
        return Steps(first, 0, float(np.median(gaps)) if len(gaps) else 1.0)
    whole = all(each.hour == each.minute == each.second == each.microsecond == 0 for each in stamps)
    text = "day" if whole else "time"
    gaps = np.array([(b - a).total_seconds() for a, b in pairwise(stamps) if b > a])
    if not len(gaps):
        return Steps(first, 0, DAY, text)
    days = {each.day for each in stamps}
    if whole and gaps.min() >= SHORT * DAY and (len(days) == 1 or min(days) >= SHORT):
        months = np.diff([_month(each) for each in stamps])
        usual = int(np.median(months[months > 0])) if (months > 0).any() else 0
        if usual and not (np.array([_month(each) - _month(first) for each in stamps]) % usual).any():
            return Steps(first, usual, 0.0, text)
    return Steps(first, 0, float(np.median(gaps)), text)


def season_of(values: np.ndarray) -> int:
    """The lag at the highest peak of the autocorrelation of values [T] without their straight line; 1 where none is
    clear. Gaps count as the line.
    """
    count = len(values)
    there = np.isfinite(values)
    if there.sum() < 12:
        return 1
    at = np.arange(count)
    slope, level = np.polyfit(at[there], values[there], 1)
    rest = np.where(there, values - slope * at - level, 0.0)
    power = float(rest @ rest)
    if power <= 1e-12 * max(float(np.abs(values[there]).max()), 1e-300) ** 2 * count:
        return 1
    most = min(count // 3, 400)
    lags = np.arange(most + 2)
    found = np.array([float(rest[lag:] @ rest[: count - lag]) / power * count / (count - lag) for lag in lags])
    peaks = [
        lag for lag in range(2, most + 1)
        if found[lag] > found[lag - 1] and found[lag] >= found[lag + 1] and found[lag] > max(0.3, 3 / np.sqrt(count))
    ]  # fmt: skip
    if not peaks:
        return 1
    best = max(found[lag] for lag in peaks)
    return next(lag for lag in peaks if found[lag] > 0.9 * best)  # of a season and its multiples the season


def _month(stamp: datetime) -> int:
    return stamp.year * 12 + stamp.month - 1
