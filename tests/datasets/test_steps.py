"""Stamps as steps, steps as stamps, and the season."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from headstart.datasets.steps import season_of, steps_of


def dates(first: datetime, count: int, **step: float) -> list[datetime]:
    return [first + k * timedelta(**step) for k in range(count)]


@pytest.mark.parametrize(
    ("stamps", "season", "ahead"),
    [
        ([datetime(2000 + k // 12, k % 12 + 1, 1) for k in range(30)], 12, "2002-07-01"),
        ([datetime(2000 + k // 4, 3 * (k % 4) + 1, 1) for k in range(9)], 4, "2002-04-01"),
        ([datetime(1990 + k, 1, 1) for k in range(9)], 1, "1999-01-01"),
        ([datetime(2001, 1, 31), datetime(2001, 2, 28), datetime(2001, 3, 31)], 12, "2001-04-30"),
        (dates(datetime(2001, 2, 27), 9, days=1), 7, "2001-03-08"),
        (dates(datetime(2001, 1, 1), 30, hours=1), 24, "2001-01-02 06:00:00"),
        ([1.0, 2.0, 3.0], 1, 4),
        ([0.5, 1.0, 1.5, 2.5], 1, 3),
    ],
)
def test_steps(stamps, season, ahead):
    steps = steps_of(stamps)
    places, off = steps.places(stamps)
    assert steps.season == season and off < 0.01
    assert steps.stamp(int(places[-1]) + 1) == ahead
    written = [steps.stamp(int(place)) for place in places]
    assert [str(stamp) if isinstance(stamp, str) else float(stamp) for stamp in written] == [
        (stamp.isoformat(sep=" ") if steps.text == "time" else stamp.date().isoformat())
        if isinstance(stamp, datetime)
        else stamp
        for stamp in stamps
    ]


def test_the_season_is_the_lag_at_which_a_series_repeats_itself():
    generator, at = np.random.default_rng(0), np.arange(240)
    noise = generator.normal(size=240)
    assert season_of(np.sin(2 * np.pi * at / 11) + 0.3 * noise + 0.1 * at) == 11
    assert season_of(noise) == 1 and season_of(0.5 * at) == 1 and season_of(np.ones(240)) == 1
    assert season_of(np.cumsum(noise)) == 1
