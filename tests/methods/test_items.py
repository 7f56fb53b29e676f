"""Recommending items: what is chosen, what is carried over, and what a new user gets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from headstart.datasets.base import Column, Dataset, Items
from headstart.datasets.read import read
from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease
from headstart.methods.item_models import Neighbours, Popular, Prior, Ridge, classical
from headstart.methods.items import encoded, joined
from headstart.nn.item_weights import ItemWeights, matrix
from headstart.sources.items import of_table
from headstart.sources.shelf import open_source
from headstart.tasks.recommendation import Recommendation

CLUBS, CLUB = 6, 8


def people(count: int, seed: int, known: int = 3) -> Dataset:
    """Users who take items of one club of eight: ``known`` before, and one after."""
    import datasets

    rng = np.random.default_rng(seed)
    taken = [[f"{CLUB * club + n}" for n in rng.permutation(CLUB)] for club in rng.integers(0, CLUBS, count)]
    rows = {"user": [str(n) for n in range(count)], "past": [row[:known] for row in taken],
            "then": [row[known : known + 1] for row in taken]}  # fmt: skip
    columns = [Column("user", "user", "category"), Column("past", "input", "items"), Column("then", "target", "items")]
    every = [str(n) for n in range(CLUBS * CLUB)]
    words = tuple(f"club {'abcdef'[int(item) // CLUB]} thing {item}" for item in every)
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="memory", items=Items(tuple(every), words))


def told() -> np.ndarray:
    """Weights that know the clubs."""
    table = np.kron(np.eye(CLUBS), np.ones((CLUB, CLUB))) / CLUB
    table[np.diag_indices(len(table))] = 0
    return table


def source(ids=None):
    every = [str(n) for n in range(CLUBS * CLUB)] if ids is None else ids
    return of_table(
        every, told(), name="clubs", holds="weights", popularity=np.full(len(every), 0.1), origin="", licence="",
        description="",
    )  # fmt: skip


def log_of(rows: Dataset) -> dict[str, list]:
    """The rows as a table of interactions."""
    log: dict[str, list] = {"user": [], "item": [], "when": []}
    for user, past, then in zip(rows.values("user"), rows.values("past"), rows.values("then")):
        for when, item in enumerate(past + then):
            log["user"].append(user), log["item"].append(item), log["when"].append(when)
    return log


def problem(rows: Dataset, **more) -> Problem:
    return Problem(rows, None, Recommendation.learn(rows), more.pop("source", None), None, **more)


def score(fitted, rows: Dataset) -> float:
    return fitted.task.score(fitted.outputs(rows), fitted.task.encode(rows.targets()))


def test_few_users_gain_from_a_source_that_knows_the_items():
    few, others = people(12, 0), people(200, 1)
    alone = Baseline().fit(problem(few))
    drawn = Ease().fit(problem(few, source=source()))
    assert score(drawn, others) > score(alone, others) + 0.05
    assert "clubs" in drawn.description


def test_items_are_matched_by_name_not_by_place():
    few, others = people(12, 0), people(200, 1)
    rng = np.random.default_rng(0)
    order = rng.permutation(CLUBS * CLUB)
    shuffled = of_table(
        [str(n) for n in order], told()[np.ix_(order, order)], name="clubs", holds="weights",
        popularity=np.full(len(order), 0.1), origin="", licence="", description="",
    )  # fmt: skip
    one, other = (Ease().fit(problem(few, source=each)) for each in (source(), shuffled))
    np.testing.assert_allclose(one.outputs(others), other.outputs(others), atol=1e-5)


def test_a_source_of_other_items_changes_nothing_much():
    few, others = people(60, 0), people(200, 1)
    strange = Ease().fit(problem(few, source=source([f"x{n}" for n in range(CLUBS * CLUB)])))
    assert score(strange, others) > 0.9 * score(Baseline().fit(problem(few)), others)


def test_contents_reach_items_without_interactions():
    """The last two items of each club are in no row; the words of the items tell their club."""
    rows = people(80, 0, known=4)
    past, later = rows.values("past"), rows.values("then")
    new = {f"{CLUB * club + n}" for club in range(CLUBS) for n in (6, 7)}
    task = Recommendation.learn(rows)
    kept = [[item for item in a + b if item not in new] for a, b in zip(past, later)]
    X = matrix(task.encode(kept), task.width)
    clubs = np.array([int(item) // CLUB for item in task.items])
    vectors = np.eye(CLUBS, dtype=np.float32)[clubs]
    model = Ridge(10.0, prior=Prior(vectors=vectors), shift=0.1).build(X)
    scores = next(model.scores(X))
    places = np.array([task.items.index(item) for item in sorted(new)])
    hits = [clubs[places[np.argmax(row[places])]] == clubs[task.items.index(items[0])]
            for row, items in zip(scores, kept) if items]  # fmt: skip
    assert np.mean(hits) > 0.95
    assert Popular().build(X).popularity[places].sum() == 0


def test_neighbours_rank_like_implicit():
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
    from scipy.sparse import csr_matrix

    rows = people(100, 3)
    task = Recommendation.learn(rows)
    X = matrix(joined(*encoded(rows, task)), task.width)
    for name, kind in (("cosine", CosineRecommender), ("BM25", BM25Recommender)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = kind(K=20, num_threads=1)
            peer.fit(csr_matrix(X, dtype=np.float64), show_progress=False)
        _, told_scores = peer.recommend(np.arange(20), csr_matrix(X[:20]), N=3)
        model = Neighbours(name, 20).build(X)
        ours = task.best(next(model.scores(X[:20])) * model.scale)
        np.testing.assert_allclose(ours[:, 0, :3, 1], told_scores, rtol=1e-4)


def test_the_control_tries_all_that_people_use_and_chooses_on_validation_rows():
    rows = people(60, 0)
    kinds = {recipe.kind for recipe in classical(rows)}
    assert kinds == {"popularity", "item-kNN", "EASE", "EASE towards TF-IDF of contents"}
    fitted = Baseline().fit(problem(rows).replace(valid=people(40, 9)))
    tried = fitted.history[-1]["on validation"]
    assert set(tried) == kinds and tried[fitted.description] == max(tried.values()) > tried["popularity"]
    assert fitted.method.recipe == fitted.description  # small fits of the learning curve choose within that
    again = Baseline().refitted(fitted, problem(people(100, 4)))
    assert again.history == fitted.history and not np.array_equal(again.model.popularity, fitted.model.popularity)


def test_a_kind_of_model_may_be_named():
    rows = people(40, 0)
    fitted = Baseline(recipe="EASE", near=100.0).fit(problem(rows))
    assert fitted.description == "EASE" and fitted.history[-1]["strength"] in (30.0, 100.0, 300.0)
    with pytest.raises(MethodError, match=r'HS-METHOD-002.*recipe is "EASY"'):
        Baseline(recipe="EASY").fit(problem(rows))


def test_without_a_known_item_the_most_popular_ones_come():
    rows = people(60, 0)
    fitted = Ease().fit(problem(rows, source=source()))
    nobody = people(1, 0)
    empty = Dataset(
        nobody.table.map(lambda row: {"past": []}, features=nobody.table.features), nobody.columns, items=rows.items
    )
    found = fitted.predict(empty).values[0]
    order = np.argsort(-fitted.model.popularity, kind="stable")[:10]
    assert found == [fitted.task.items[place] for place in order]


def test_scores_come_in_blocks(monkeypatch):
    rows = people(50, 0)
    fitted = Ease().fit(problem(rows, source=source()))
    whole = fitted.outputs(rows)
    monkeypatch.setattr("headstart.nn.item_weights.BLOCK", 7)
    np.testing.assert_array_equal(whole, fitted.outputs(rows))
    assert fitted.outputs(rows.select([])).shape[0] == 0


def test_a_damaged_model_is_refused():
    model = ItemWeights(np.arange(3), np.arange(3), np.zeros((3, 3), np.float32), np.zeros(5, np.float32))
    facts, arrays = model.state()
    assert ItemWeights.restore(facts, arrays, 5).scale == 1.0
    for name, wrong in (("rows", np.arange(3) + 9), ("weights", np.zeros((2, 3), np.float32))):
        with pytest.raises(ValueError):
            ItemWeights.restore(facts, {**arrays, name: wrong}, 5)


def test_pretrain_makes_a_source_that_fit_takes(tmp_path, monkeypatch):
    import headstart

    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    every = people(150, 5, known=6)
    log = log_of(every)
    roles = {"user": "user", "item": "item", "when": "step"}
    made = headstart.pretrain(log, tmp_path / "mine", roles=roles)
    assert made.facts["objective"] == "ease" and made.facts["rows"] == 150 and "NDCG@10" in made.text()
    assert not any("user" in path.read_text(errors="ignore") for path in (tmp_path / "mine").glob("items.json"))
    opened = open_source(str(tmp_path / "mine"))
    assert set(opened.ids) == set(log["item"]) and opened.holds == "weights"
    assert len(read(log, roles=roles)) == 150
    few, others = people(12, 0), people(200, 1)
    assert score(Ease().fit(problem(few, source=opened)), others) > score(Baseline().fit(problem(few)), others)
