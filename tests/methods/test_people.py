"""Features of users: who has no history is ranked by what is popular with the likes of them, if that is better."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import headstart
from headstart import cli
from headstart.datasets.base import Column, Dataset
from headstart.methods.baseline import Baseline
from headstart.methods.items import ItemsFitted, encoded, joined
from headstart.methods.people import People, chosen_strength
from headstart.methods.sasrec_scratch import SASRecScratch
from headstart.methods.sequences import SequenceFitted
from headstart.nn.item_weights import matrix
from headstart.sources.sasrec import Sequences
from tests.methods.test_items import CLUB, CLUBS, people, problem, score


def featured(count: int, seed: int, telling: bool = True) -> Dataset:
    """Users whose age and town tell the club, or tell nothing."""
    rows = people(count, seed)
    clubs = np.array([int(items[0]) // CLUB for items in rows.values("then")])
    clubs = clubs if telling else np.random.default_rng(seed).permutation(clubs)
    table = rows.table.add_column("town", [f"town {club}" for club in clubs])
    table = table.add_column("age", [float(20 + club) for club in clubs])
    columns = [*rows.columns, Column("town", "feature", "category"), Column("age", "feature", "number")]
    return Dataset(table, columns, items=rows.items)


def without_history(rows: Dataset) -> Dataset:
    table = rows.table.map(lambda row: {"past": []}, features=rows.table.features)
    return Dataset(table, rows.columns, items=rows.items)


def test_features_rank_users_without_a_history():
    others = without_history(featured(150, 1))
    fitted = Baseline().fit(problem(featured(120, 0)))
    plain = Baseline().fit(problem(people(120, 0)))
    assert score(fitted, others) > score(plain, others) + 0.15
    facts = fitted.history[-1]["features"]
    assert facts["with features"] > facts["popularity alone"]
    unknown = Dataset(others.table, [c for c in others.columns if c.role != "feature"], items=others.items)
    np.testing.assert_array_equal(fitted.outputs(unknown)[..., 0], plain.outputs(unknown)[..., 0])


def test_features_of_one_user_are_missing():
    fitted = Baseline().fit(problem(featured(120, 0)))
    rows = without_history(featured(2, 3))
    table = rows.table.map(lambda row, n: {"town": None, "age": None} if n else {}, with_indices=True,
                           features=rows.table.features)  # fmt: skip
    first, second = fitted.predict(Dataset(table, rows.columns, items=rows.items)).values
    order = np.argsort(-fitted.model.popularity, kind="stable")[:10]
    assert second == [fitted.task.items[place] for place in order] != first


def test_features_that_tell_nothing_are_left_out_or_shrunk():
    rows = featured(90, 0, telling=False)
    task = problem(rows).task
    items = joined(*encoded(rows, task))
    found = chosen_strength(rows, matrix(items, task.width), items, task, 0, 300)
    assert found is None or found[1]["with features"] < found[1]["popularity alone"] + 0.03
    assert chosen_strength(people(90, 0), matrix(items, task.width), items, task, 0, 300) is None


def test_the_weights_are_a_ridge_regression():
    rows = featured(40, 5)
    task = problem(rows).task
    X = matrix(task.encode(rows.targets()), task.width)
    made = People.fit(rows, X, 7.0)
    F = made.reader.transform(
        Dataset(rows.table, [Column("town", "input", "category"), Column("age", "input", "number")])
    )
    dense = X.toarray()
    mean = dense.mean(axis=0)
    by_hand = np.linalg.solve(F.T @ F + 7.0 * np.eye(F.shape[1]), F.T @ (dense - mean)) / mean.max()
    np.testing.assert_allclose(made.weights, by_hand, atol=1e-4)


def test_the_more_is_on_record_the_less_features_count():
    rows = featured(40, 5)
    task = problem(rows).task
    X = matrix(task.encode(rows.targets()), task.width)
    told, popularity = People.fit(rows, X, 7.0).told(rows)[:3], np.linspace(0, 1, CLUBS * CLUB)
    made = People.fit(rows, X, 7.0, half=1.0).added(told, np.array([0, 1, 3]), popularity, 0.3)
    np.testing.assert_allclose(made[0], popularity + told[0], atol=1e-6)
    np.testing.assert_allclose(made[1], 0.5 * told[1] + 0.3 * popularity, atol=1e-6)
    np.testing.assert_allclose(made[2], 0.25 * told[2] + 0.3 * popularity, atol=1e-6)
    none = People.fit(rows, X, 7.0).added(told, np.array([1, 3, 5]), popularity, 0.3)
    np.testing.assert_allclose(none, np.tile(0.3 * popularity, (3, 1)), atol=1e-6)


def test_features_are_saved(tmp_path):
    rows, others = featured(60, 0), without_history(featured(20, 1))
    fitted = Baseline().fit(problem(rows))
    source = Sequences.fresh(rows.items.ids, "s", 0, width=8, blocks=1, heads=1, length=4)
    sequences = SASRecScratch(epochs=1).fit(problem(rows, source=source))
    assert score(sequences, others) > 0.15
    for place, model, kind in (("a", fitted, ItemsFitted), ("b", sequences, SequenceFitted)):
        assert model.people is not None
        (tmp_path / place).mkdir()
        model.save(tmp_path / place)
        again = kind.load(tmp_path / place, model.task, model.method)
        np.testing.assert_array_equal(again.outputs(others), model.outputs(others))


# --- from files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("people")
    rows = featured(60, 0)
    with (place / "log.csv").open("w", encoding="utf-8", newline="") as log:
        writer = csv.writer(log)
        writer.writerow(("who", "what", "when"))
        for user, past, then in zip(rows.values("user"), rows.values("past"), rows.values("then")):
            writer.writerows((user, item, when) for when, item in enumerate([*past, *then]))
    with (place / "people.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("who", "town", "age"))
        writer.writerows(zip(rows.values("user"), rows.values("town"), rows.values("age")))
        writer.writerow(("newcomer", "town 2", 22))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_HOME", str(place / "home"))
        patch.setattr("headstart.methods.item_models.STRENGTHS", (10.0,))
        headstart.fit(
            place / "log.csv", roles={"who": "user", "what": "item", "when": "step"}, users=place / "people.csv",
            method="baseline", control=False, out=place / "run",
        )  # fmt: skip
    return place / "run"


def test_a_newcomer_gets_what_their_like_choose(run, capsys):
    assert cli.main(["recommend", str(run), "--user", "newcomer", "--user", "nobody", "-k", "5"]) == 0
    told = capsys.readouterr().out
    assert "newcomer is not on record: these are popular with users of such features." in told
    assert "nobody is not on record: these are the most popular items." in told
    assert cli.main(["recommend", str(run), "--user", "newcomer", "-k", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["recommendations"][0]
    assert found["basis"] == "features" and {int(item) // CLUB for item in found["items"]} == {2}


def test_a_table_of_users_names_whom_to_answer(run, tmp_path):
    table = tmp_path / "more.csv"
    table.write_text("who,town,age\nann,town 1,21\n3,town 0,20\n", encoding="utf-8")
    found = {each.user: each for each in headstart.recommend(run, user_table=table)}
    assert len(found) == 61 and found["ann"].basis == "features" and found["3"].basis == "history"
    assert {int(item) // CLUB for item in found["ann"].items[:5]} == {1}


def test_the_run_knows_its_command_and_does_without_the_table(run):
    loaded = headstart.load(run)
    assert "--users" in loaded.record.command and loaded.users_table() is not None
    assert {column.role for column in loaded.columns} >= {"feature", "user", "input", "target"}
    loaded.record.data["users"] = "gone.csv"
    found = next(iter(headstart.recommend(loaded, users=["newcomer"])))
    assert found.basis == "popularity"
