"""Columns known ahead: what moves a series and is known before its values are, such as a price, a holiday or a law.

They have the role ``known`` and hold numbers. A row of windows (`headstart.datasets.windows`) carries each of them over
its history and over the steps to be forecast. A missing one inside a history lies on the straight line between its
neighbours; at the steps of a prediction none may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets import convert
from headstart.datasets.base import Role
from headstart.datasets.parsed import Parsed
from headstart.datasets.series import filled
from headstart.errors import DataError, UsageError

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset
    from headstart.datasets.windows import Whole

ROLE: Role = "known"


def check_horizon(roles: dict[str, str], horizon: int | None) -> None:
    """Raise UsageError HS-USAGE-001 where a column has the role and nothing is forecast."""
    if horizon is None and (name := next((name for name, role in roles.items() if role == ROLE), None)):
        raise UsageError(
            "HS-USAGE-001", f'the column "{name}" is known ahead, and nothing is forecast.', "Add --horizon STEPS."
        )


def columns(parsed: Parsed, names: Sequence[str], origin: str) -> np.ndarray:
    """The numbers of these columns [K,N], NaN where there is none. Raises DataError HS-DATA-020 for words."""
    found = np.empty((len(names), len(parsed.table)))
    for place, name in enumerate(names):
        values = convert.column(parsed.table.column(name), "number", name, origin, parsed.numbers)
        found[place] = values.to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


def mended(lines: np.ndarray, length: int) -> np.ndarray:
    """Lines [K,P] whose first ``length`` steps have no gaps."""
    lines = lines.copy()
    for line in lines:
        line[:length] = filled(line[:length])
    return lines


def check_ahead(wholes: Sequence[Whole], names: Sequence[str], horizon: int, value: str, origin: str) -> None:
    """Raise DataError HS-DATA-020 where a column is missing at a step to be predicted: the first, and how many more."""
    lost: list[tuple[str, str, str]] = []
    for whole in wholes:
        length = len(whole.values)
        ahead = whole.known[:, length : length + horizon]
        for place in range(horizon if names else 0):
            step = str(whole.steps.stamp(length + place))
            for number, name in enumerate(names):
                if place >= ahead.shape[1] or np.isnan(ahead[number, place]):
                    lost.append((name, step, whole.name))
    if lost:
        name, step, series = lost[0]
        of = f' of the series "{series}"' if series != "" else ""
        more = f" ({len(lost) - 1:,} more are missing)" if len(lost) > 1 else ""
        raise DataError(
            "HS-DATA-020", f'{origin}: "{name}" is missing at the step {step}{of}{more}.',
            f'Behind the last value add {horizon} rows a series with an empty "{value}" and "{name}" filled in.',
        )  # fmt: skip


def ahead(dataset: Dataset) -> list[np.ndarray]:
    """Of each row the columns known ahead [K,T+H], over its history and the steps behind it.

    Raises DataError HS-DATA-015 where there are none.
    """
    names = [column.name for column in dataset.with_role(ROLE)]
    if not names:
        raise DataError(
            "HS-DATA-015", f"{dataset.origin}: the model reads columns known ahead, and the rows have none.",
            "Read them with the same roles as for the fit.",
        )  # fmt: skip
    every: list[list[Any]] = [dataset.values(name) for name in names]
    return [np.array(row, np.float64) for row in zip(*every, strict=True)]
