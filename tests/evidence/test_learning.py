"""Which sizes the learning curves are measured at, and what they may look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from headstart.evidence import learning
from headstart.evidence.curves import Drawn, sizes
from headstart.evidence.learners import Pool, Small
from headstart.evidence.learning import Curves, Track, next_sizes
from headstart.tasks.classification import Classification
from headstart.testing import dataset_with

ROWS, TEST = 1_600, 1_000
TASK = Classification(["no", "yes"])


def power_law(labels: float) -> float:
    return float(np.clip(0.95 - 1.5 * labels**-0.35, 0.0, 1.0))


@dataclass
class World:
    """Rows of which each is right up to a level of its own, the same for all models: their errors fall together."""

    seed: int
    flips: float = 0.05
    ease: np.ndarray = field(init=False)
    truth: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        self.ease, self.truth = rng.random(ROWS + TEST), rng.integers(0, 2, ROWS + TEST)

    def outputs(self, rows: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        right = np.where(rng.random(len(rows)) < self.flips, rng.random(len(rows)) < level, self.ease[rows] < level)
        return np.eye(2)[np.where(right, self.truth[rows], 1 - self.truth[rows])]


class Simulated:
    """A learner whose accuracy follows the power law; it works as if it had ``multiplier`` times the labels."""

    light = True

    def __init__(self, world: World, multiplier: float, number: int, spread: float = 0.01) -> None:
        self.world, self.multiplier, self.number, self.spread = world, multiplier, number, spread
        self.sizes: list[int] = []

    def fit(self, train: np.ndarray, others: np.ndarray, seed: int) -> Small:
        self.sizes.append(len(train))
        rng = np.random.default_rng([self.world.seed, self.number, len(train), seed])
        level = power_law(len(train) * self.multiplier) + self.spread * rng.normal()
        return Small(self.world.outputs(train, level, rng), self.world.outputs(others, level, rng))


def contest(multiplier: float, seed: int = 0) -> tuple[Curves, list[Simulated], World]:
    world = World(seed)
    labels = [TASK.classes[i] for i in world.truth[:ROWS]]
    pool = Pool(dataset_with([f"{i}" for i in range(ROWS)], labels, "category"), None, world.truth[:ROWS])
    learners = [Simulated(world, multiplier, 0), Simulated(world, 1.0, 1)]
    known, unseen = np.arange(ROWS), ROWS + np.arange(TEST)
    tracks = []
    for name, learner in zip(("t", "c"), learners):
        whole = learner.fit(known, unseen, 0)
        tracks.append(Track(name, learner, [whole.outputs], whole.inside))
        learner.sizes.clear()
    return Curves(TASK, pool, [(known, unseen)], (tracks[0], tracks[1]), seed=seed), learners, world


def read(curves: Curves, world: World):
    truth = world.truth[ROWS:]
    return curves.head_start([truth], [np.arange(TEST)], TEST, None)


def test_sizes_are_spent_where_the_curves_cross():
    curves, (transfer, control), world = contest(8)
    curves.run()
    start = read(curves, world)
    assert start.bound == "exact" and 4 < start.multiplier < 16
    assert {100, 200, 400} <= set(transfer.sizes) and 800 in control.sizes
    assert len(transfer.sizes) < len(sizes(ROWS)) * 9 and 50 in transfer.sizes
    assert all(transfer.sizes.count(size) >= learning.SEEDS for size in set(transfer.sizes))
    assert start.transfer.sizes[-1] == start.control.sizes[-1] == ROWS


def test_what_is_clear_costs_less_than_every_size():
    """A transfer that is far ahead is measured at few labels, the control at many."""
    curves, (transfer, control), _ = contest(25)
    curves.run()
    assert 800 not in transfer.sizes
    assert sum(transfer.sizes) + sum(control.sizes) < 2 * 3 * sum(sizes(ROWS)[:-1])


def test_a_transfer_that_begins_at_the_level_is_tried_with_fewer_labels():
    curves, (transfer, _), world = contest(200)
    curves.run()
    assert min(transfer.sizes) < 50
    start = read(curves, world)
    assert start.multiplier > 32 or start.bound == "more than"


def test_the_allowance_bounds_the_rows(monkeypatch):
    monkeypatch.setattr(learning, "ROWS", 3.0)
    monkeypatch.setattr(learning, "LEAST_ROWS", 0.0)
    curves, learners, _ = contest(8)
    curves.run()
    assert sum(sum(learner.sizes) for learner in learners) == curves.spent <= 3.0 * ROWS


def test_past_the_deadline_the_first_sizes_are_measured_and_no_more():
    curves, (transfer, control), world = contest(8)
    curves.guard = 0.0
    curves.run()
    assert transfer.sizes == control.sizes == [50] * 3 + [400] * 3
    assert read(curves, world).interval is not None


def test_the_same_data_give_the_same_curves():
    results = []
    for _ in range(2):
        curves, _, world = contest(4)
        curves.run()
        results.append(read(curves, world))
    assert results[0] == results[1]


def test_the_sizes_do_not_depend_on_test_targets():
    """Other test rows, other outputs on them, the same labelled rows: the same sizes."""
    found = []
    for flip in (False, True):
        curves, (transfer, control), world = contest(4)
        if flip:
            world.ease[ROWS:] = 1 - world.ease[ROWS:]
            world.truth[ROWS:] = 1 - world.truth[ROWS:]
        curves.run()
        found.append((transfer.sizes, control.sizes))
    assert found[0] == found[1]


def test_a_curve_that_cannot_be_scored_on_labelled_rows_has_fixed_sizes():
    curves, (transfer, control), world = contest(4)
    control.light = False
    curves.tracks[1].sizes, curves.tracks[1].inside = [100, 400], None
    curves.run()
    assert sorted(set(control.sizes)) == [100, 400] and sorted(set(transfer.sizes)) == sizes(ROWS)[:-1]
    assert read(curves, world).control.sizes == [100, 400, ROWS]


# measured with 60 each: 58 for 2, 59 for 8; 47 to 49 where the one fit with all labels is taken as certain
@pytest.mark.parametrize("multiplier", [2, 8])
def test_choosing_sizes_keeps_the_interval_honest(multiplier):
    covered, estimates, trials = 0, [], 24
    for seed in range(trials):
        curves, _, world = contest(multiplier, seed)
        curves.run()
        start = read(curves, world)
        low, high = start.interval
        covered += (low <= multiplier or start.open[0]) and (multiplier <= high or start.open[1])
        estimates.append(start.multiplier)
    assert covered >= 0.9 * trials
    assert np.median(estimates) == pytest.approx(multiplier, rel=0.2)


def drawn(transfer: list[float], control: list[float], begins: bool = False) -> Drawn:
    needs = np.array(transfer), np.array(control)
    return Drawn(needs[1] / needs[0], (np.full(len(transfer), begins), np.zeros(len(control), bool)), needs)


def test_the_next_size_is_in_the_gap_that_holds_the_level():
    grid, used = [50, 100, 200, 400, 800, 1600], [[50, 400, 1600], [50, 400, 1600]]
    assert next_sizes(grid, used, drawn([210.0] * 9, [1600.0] * 9)) == [(0, 200)]
    assert next_sizes(grid, used, drawn([90.0] * 9, [390.0] * 9)) in ([(0, 100)], [(1, 200)])
    used = [[50, 100, 200, 400, 1600], [50, 400, 800, 1600]]
    assert next_sizes(grid, used, drawn([150.0, 170.0], [1600.0, 1600.0])) == [(0, 100), (0, 200)], "more seeds"
    assert next_sizes(grid, used, drawn([150.0, 150.0], [900.0, 1600.0])) == [(1, 800)], "all labels have one seed"
    low = next_sizes([12, 25, *grid], used, drawn([50.0] * 4, [1600.0] * 4, begins=True))
    assert low == [(0, 12)], "fewer labels than the smallest size"
