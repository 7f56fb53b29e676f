"""Shares of the time: what trains in the folds has as much as any other, and a search leaves time for its folds."""

from __future__ import annotations

import time

import pytest

from headstart.evidence import allowance
from headstart.methods.auto import Auto
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.probe import Probe
from headstart.methods.scratch import Scratch
from headstart.tasks.base import infer_task
from tests.conformance.examples import texts


def problem(seconds: float | None) -> Problem:
    rows = texts(12)
    deadline = None if seconds is None else time.monotonic() + seconds
    return Problem(rows, None, infer_task(rows), None, None, deadline=deadline)


def left(given: Problem) -> float:
    assert given.seconds_left is not None
    return given.seconds_left


def test_every_fit_of_the_folds_has_an_equal_share():
    """Five folds of a transfer and five of the control from scratch share 0.8 of 100 s, whichever comes first."""
    transfer = left(allowance.of_fold(problem(100), Finetune(), 10, "balanced"))
    control = left(allowance.of_fold(problem(100 - 5 * transfer), Scratch(), 5, "balanced"))
    assert transfer == pytest.approx(8, abs=0.1)
    assert control > transfer, "the control that comes last has at least as much"


def test_a_network_from_scratch_has_a_limit_also_where_there_is_no_budget():
    assert left(allowance.of_fold(problem(None), Scratch(), 5, "quick")) == pytest.approx(20, abs=0.1)
    assert left(allowance.of_fold(problem(10_000), Scratch(), 2, "quick")) == pytest.approx(20, abs=0.1)
    assert allowance.of_fold(problem(None), Finetune(), 5, "thorough").deadline is None


def test_a_search_on_all_rows_leaves_time_for_its_folds():
    assert left(allowance.before_folds(problem(70), Auto())) == pytest.approx(10, abs=0.1)
    assert left(allowance.before_folds(problem(70), Probe())) == pytest.approx(70, abs=0.1)
    assert allowance.takes_time(Auto()) and allowance.takes_time(Finetune()) and not allowance.takes_time(Probe())


def test_without_time_a_network_is_left_out_unless_it_is_alone():
    given = problem(1)
    assert not allowance.affordable(given, Finetune(), [Probe(), Finetune()])
    assert given.notes == ["finetune was left out: the budget was spent."]
    assert allowance.affordable(given, Finetune(), [Finetune()]) and allowance.affordable(given, Probe(), [Probe()])
