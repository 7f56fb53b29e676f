"""Whether the features of the best sources side by side beat the best of them alone, by cross-validation.

The two or three best sources, each scaled to the same mean norm, under the linear head of the probe: the same folds for
all, so the rows' differences are paired. Side by side is offered where it gains more than its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.nn.linear import LinearFit, fit_linear
from headstart.sources.concatenated import SIGN
from headstart.tasks.base import Array, Task

DRAWS = 1000


@dataclass(frozen=True)
class Concatenation:
    """Features side by side. score, alone: their cross-validated metric, and that of the best one, ``single``.

    error: the standard error of the difference.
    """

    names: tuple[str, ...]
    single: str
    score: float
    alone: float
    error: float

    @property
    def helps(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.score - self.alone > self.error

    def sentence(self, metric: str) -> str:
        """One line for the table."""
        words = " + ".join(self.names)
        figures = f"{metric} {self.score:.3f} against {self.alone:.3f} of {self.single} alone, cross-validated"
        gain = f"{self.score - self.alone:+.3f}, standard error {self.error:.3f}"
        use = f" Use them so: headstart fit ... --source {SIGN.join(self.names)}" if self.helps else ""
        return f"Side by side {'helps' if self.helps else 'does not help'}: {words}, {figures} ({gain}).{use}"


def concatenation(
    task: Task,
    candidates: Sequence[tuple[str, Array]],
    targets: Array,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> Concatenation | None:
    """The best of the pair and the triple of the first candidates, against the best one of them alone.

    candidates: (name, features [N,D]), best first; None where there are fewer than two or too few rows to fold. groups:
    integers [N]; rows of a group share a fold.
    """
    blocks = [(name, _scaled(features)) for name, features in candidates[:3]]
    if len(blocks) < 2:
        return None
    fits = [(name, _fit(task, block, targets, groups, seed)) for name, block in blocks]
    if any(fit.cv_outputs is None for _, fit in fits):
        return None
    single, alone = max(fits, key=lambda pair: pair[1].cv_score)
    found = []
    for count in range(2, len(blocks) + 1):
        fit = _fit(task, np.concatenate([block for _, block in blocks[:count]], axis=1), targets, groups, seed)
        error = _error(task, fit, alone, targets, seed)
        names = tuple(name for name, _ in blocks[:count])
        found.append(Concatenation(names, single, fit.cv_score, alone.cv_score, error))
    return max(found, key=lambda each: each.score)


def _fit(task: Task, features: Array, targets: Array, groups: Array | None, seed: int) -> LinearFit:
    return fit_linear(task, features, targets, groups=groups, seed=seed)


def _scaled(features: Array) -> Array:
    spread = float(np.sqrt(features.var(axis=0, dtype=np.float64).sum()))
    return features / spread if spread > 1e-12 else features


def _error(task: Task, first: LinearFit, second: LinearFit, targets: Array, seed: int) -> float:
    """The standard error of the difference of two scores on the same rows, by a paired bootstrap."""
    rows = len(targets)
    draws = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=DRAWS)
    scores = [task.combine(draws @ task.statistics(fit.cv_outputs, targets)) for fit in (first, second)]
    return float(np.std(scores[0] - scores[1]))
