"""Factors of items from a source: what is carried over, what is saved, what is refused, and the control without it."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import MethodError
from headstart.methods.auto import Auto, planned
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease
from headstart.methods.factors import Factors
from headstart.methods.item_models import ALS, classical
from headstart.methods.items import ItemsFitted, encoded, joined
from headstart.nn.item_factors import ItemFactors
from headstart.nn.item_weights import matrix
from headstart.sources.items import of_table
from headstart.sources.shelf import open_source
from headstart.tasks.recommendation import Recommendation
from headstart.testing import check_source
from tests.conformance.examples import tiny_factors
from tests.methods.test_items import CLUB, CLUBS, log_of, people, problem, score
from tests.methods.test_items import source as weights


def clubs(ids=None, beside=None):
    """Factors that know the clubs: one dimension for each."""
    every = [str(n) for n in range(CLUBS * CLUB)] if ids is None else ids
    table = np.kron(np.eye(CLUBS), np.ones((CLUB, 1))).astype(np.float32)
    return of_table(
        every, table, name="clubs", holds="factors", popularity=np.full(len(every), 0.1), origin="", licence="",
        description="", learned={"alpha": 3.0, "ridge": 1.0}, items=beside,
    )  # fmt: skip


def test_few_users_gain_from_factors_that_know_the_items():
    few, others = people(12, 0), people(200, 1)
    alone, drawn = Baseline().fit(problem(few)), Factors().fit(problem(few, source=clubs()))
    assert score(drawn, others) > score(alone, others) + 0.05
    assert drawn.description == "ALS towards the factors of clubs"
    own = Baseline(recipe="ALS").fit(problem(few))  # the same model from scratch
    assert own.description == "ALS" and score(drawn, others) > score(own, others) + 0.05


def test_items_are_matched_by_name_and_unknown_ones_learn_from_the_target():
    rows = people(150, 0, known=5)
    names = [str(n) for n in range(CLUBS * CLUB)]
    half = [name if int(name) % CLUB else f"x{name}" for name in names]  # one item of each club is not known
    fitted = Factors(strength=100.0).fit(problem(rows, source=clubs(half)))
    table, task = fitted.model.weights.table, fitted.task
    place = {task.items[row]: at for at, row in enumerate(fitted.model.rows)}
    for club in range(CLUBS):
        assert table[place[str(CLUB * club + 1)]].argmax() == club  # the source's
        assert table[place[str(CLUB * club)]].argmax() == club  # the target's
    strange = Factors().fit(problem(rows, source=clubs([f"x{name}" for name in names])))
    assert np.isfinite(strange.outputs(rows)).all()


def test_a_model_of_factors_is_saved_and_read(tmp_path):
    rows = people(60, 0)
    fitted = Factors().fit(problem(rows, source=clubs()))
    fitted.save(tmp_path)
    again = ItemsFitted.load(tmp_path, fitted.task, fitted.method)
    assert isinstance(again.model.weights, ItemFactors)
    np.testing.assert_array_equal(again.outputs(rows), fitted.outputs(rows))
    assert fitted.trained()[0].parameters == fitted.model.weights.table.size


def test_als_speaks_of_all_items_and_a_control_tries_it_by_name_only(monkeypatch):
    rows = people(60, 0)
    task = Recommendation.learn(rows)
    X = matrix(joined(*encoded(rows, task)), task.width)
    monkeypatch.setattr("headstart.methods.item_models.MOST", 5)
    assert len(ALS(0.1, 1.0).build(X).columns) == (X.sum(axis=0) > 0).sum() > 5
    assert "ALS" not in {recipe.kind for recipe in classical(rows)}


def test_a_source_of_factors_is_a_source(tmp_path):
    check_source(tiny_factors(tmp_path))


def test_auto_tries_weights_and_factors():
    rows = people(40, 0)
    given = problem(rows, source=clubs(beside=weights()))
    assert planned(given, "quick") == ["ease", "factors"]
    fitted = Auto(effort="quick", folds=2).fit(given)
    assert {each.name for each in fitted.tried} == {"ease", "factors"}
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*ease needs a source of items"):
        Ease().fit(problem(rows, source=clubs()))  # nothing stands beside them
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*factors needs a source with factors"):
        Factors().admit(Recommendation.learn(rows), weights(), rows)


def test_pretrain_makes_factors_with_weights_beside_them(tmp_path, monkeypatch):
    import headstart

    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    every = people(150, 5, known=6)
    log = log_of(every)
    roles = {"user": "user", "item": "item", "when": "step"}
    made = headstart.pretrain(log, tmp_path / "mine", roles=roles, objective="factors")
    assert made.facts["objective"] == "factors" and made.facts["ndcg@10"] > 0.5 and "factors on" in made.text()
    opened = open_source(str(tmp_path / "mine"))
    assert opened.holds == "factors" and set(opened.ids) == set(log["item"])
    assert opened.learned["alpha"] == made.facts["alpha"] and opened.learned["ridge"] > 0
    assert opened.items.holds == "weights" and set(opened.items.ids) == set(log["item"])
    few, others = people(12, 0), people(200, 1)
    alone = score(Baseline().fit(problem(few)), others)
    assert score(Factors().fit(problem(few, source=opened)), others) > alone
    assert score(Ease().fit(problem(few, source=opened)), others) > alone
