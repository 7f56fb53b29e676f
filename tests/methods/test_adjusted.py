"""A forecaster of what is left when the effect of columns known ahead is taken off, alone and among the members."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headstart import catalog
from headstart.datasets import known
from headstart.datasets.read import read
from headstart.evidence.splits import split
from headstart.methods.adjusted import AdjustedFitted, taken_off
from headstart.methods.base import Problem, load_part, save_part
from headstart.methods.statistical import Statistical, StatisticalFitted
from headstart.nn import local_forecasts as local
from headstart.runtime import Extractor
from tests.conformance.examples import tiny_forecaster


@pytest.fixture(scope="module")
def rows():
    """Windows of two random walks, each moved by a column of noise; another column never changes."""
    generator = np.random.default_rng(0)
    price, walk = generator.normal(size=(2, 60)), generator.normal(size=(2, 60)).cumsum(axis=1)
    data = {
        "name": np.repeat(["a", "b"], 60).tolist(), "value": (50 + 0.3 * walk + 4 * price).ravel().tolist(),
        "price": price.ravel().tolist(), "flat": [1.0] * 120,
    }  # fmt: skip
    roles = {"name": "series", "price": "known", "flat": "known"}
    return read(data, target="value", roles=roles, horizon=3, season=1)


def drift(rows):
    return StatisticalFitted(Statistical(), catalog.find("tasks", "forecasting").learn(rows), "drift")


def test_it_forecasts_what_is_left_and_adds_the_effect(rows):
    inner = drift(rows)
    few = rows.select([0, len(rows) - 1]).without("target")
    task, found = inner.task, AdjustedFitted(inner).outputs(few)
    for row, (sample, lines) in enumerate(zip(few.samples(), known.ahead(few), strict=True)):
        history = sample[0].astype(float)
        effect = local.effect(history, lines, 1)
        own = local.drift((history - effect[:-3]).astype(np.float32).astype(float), 1, 3) + effect[-3:, None]
        assert np.allclose(task.in_units(found, few)[row], own, atol=1e-4)


def test_with_the_effect_of_a_column_the_forecasts_are_nearer(rows):
    inner, targets = drift(rows), rows.targets()
    task, blind = inner.task, rows.without("target")
    plain, adjusted = (
        task.metrics(each.outputs(blind), task.encode(targets)) for each in (inner, AdjustedFitted(inner))
    )
    assert adjusted["mase"] < 0.5 * plain["mase"]


def test_a_column_that_never_changed_leaves_the_forecaster_as_it_is(rows):
    flat = rows.assign(unused="price").without("target").select([3, 40])
    rest, added = taken_off(flat, 3)
    assert not added.any() and all(np.array_equal(*pair) for pair in zip(rest.samples(), flat.samples(), strict=True))


def test_the_gate_has_the_network_less_the_effect_and_saves_it_once(rows, tmp_path):
    parts = split(rows, seed=0)
    source = tiny_forecaster(tmp_path).settled(rows)
    task = catalog.find("tasks", "forecasting").learn(rows)
    problem = Problem(parts.train, parts.valid, task, source, Extractor(source, cache=False))
    fitted = catalog.find("methods", "gate")(effort="quick", sharpness=0.0).fit(problem)  # every member has a weight
    assert {"zeroshot", "zeroshot_known"} <= {each.name for each in fitted.tried}
    facts = save_part(fitted, tmp_path / "gate")
    members = json.loads((tmp_path / "gate" / "gate.json").read_text())["members"]
    assert [part for part in members.values() if "adjusts" in part] == [{"adjusts": f"member-{len(members) - 2}"}]
    blind = rows.without("target")
    assert np.allclose(load_part(facts, tmp_path / "gate", task).outputs(blind), fitted.outputs(blind), atol=1e-5)
    alone = AdjustedFitted(fitted.members[-2])
    facts = save_part(alone, tmp_path / "alone")
    assert np.allclose(load_part(facts, tmp_path / "alone", task).outputs(blind), alone.outputs(blind), atol=1e-5)
