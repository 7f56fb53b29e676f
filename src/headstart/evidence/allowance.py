"""How much of the time that is left each fit of a contest may take. Closed forms take what they take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headstart.evidence.controls import SCRATCH_SECONDS
from headstart.methods.base import Method, Problem

LEAST_TRAINING = 5.0  # seconds that must be left to train a network


def limited(problem: Problem, method: Method, spent: float, effort: str) -> Problem:
    """The problem with this method's share of the time that is left."""
    left = problem.seconds_left
    if not method.gradients:
        return problem
    if method.role == "control":
        limit = max(spent, SCRATCH_SECONDS[effort])
        return problem.replace(
            deadline=time.monotonic() + (limit if left is None else max(1.0, min(limit, 0.4 * left)))
        )
    return problem if left is None else problem.replace(deadline=time.monotonic() + max(1.0, 0.5 * left))


def before_folds(problem: Problem, method: Method) -> Problem:
    """The problem of the fit on all rows, before the folds: a search gets its share only, as it is to be repeated."""
    left = problem.seconds_left
    if left is None or method.name != "auto":
        return problem
    return problem.replace(deadline=time.monotonic() + max(1.0, left / 7))


def of_fold(problem: Problem, method: Method, fits: int, effort: str) -> Problem:
    """The problem of one fold. fits: how many fits that take time are to come, of this and of other methods.

    All of them have an equal share of 0.8 of the time that is left; a network from scratch no more than its limit.
    """
    left = problem.seconds_left
    seconds = None if left is None else max(1.0, 0.8 * left / max(1, fits))
    if method.gradients and method.role == "control":
        seconds = SCRATCH_SECONDS[effort] if seconds is None else min(seconds, SCRATCH_SECONDS[effort])
    return problem if seconds is None else problem.replace(deadline=time.monotonic() + seconds)


def of_networks(problem: Problem, networks: int, left: int) -> Problem:
    """The problem with the time of ``networks`` of the ``left`` networks that share nine tenths of what is left."""
    seconds = problem.seconds_left
    if seconds is None or networks == 0:
        return problem
    return problem.replace(deadline=time.monotonic() + max(1.0, 0.9 * seconds * networks / max(networks, left)))


def takes_time(method: Method) -> bool:
    """Whether the fits of a method go by the clock: it trains a network, or searches for what to do."""
    return method.gradients or method.name == "auto"


def late(problem: Problem, seconds: float = 0.0) -> bool:
    """Whether fewer than ``seconds`` are left."""
    return problem.seconds_left is not None and problem.seconds_left < seconds


def affordable(problem: Problem, method: Method, methods: Sequence[Method]) -> bool:
    """Whether there is time to train; closed forms are always fitted, and so is the only method of its role.

    A network trained for a second would be a control of straw, and then predict the test rows for many.
    """
    rivals = [other for other in methods if other.role == method.role and not other.gradients]
    if not method.gradients or not rivals or not late(problem, LEAST_TRAINING):
        return True
    problem.notes.append(f"{method.name} was left out: the budget was spent.")
    return False
