"""What users took elsewhere: who has no history here is ranked by it, and a source that knows those items reads it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import headstart
from headstart.datasets.base import Column, Dataset
from headstart.datasets.read import read
from headstart.errors import ArtefactError, MethodError, UsageError
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease
from headstart.methods.elsewhere import WIDEST, Elsewhere, beside, by_source, plain
from headstart.methods.item_models import Ridge
from headstart.methods.items import ItemsFitted, encoded, joined
from headstart.nn.item_weights import matrix
from headstart.recommending import recommend
from headstart.sources.items import of_table
from tests.methods.test_items import CLUB, CLUBS, people, problem, score

SHELVES = 40
"""Books of each club."""


def readers(count: int, seed: int, books: int = 3, known: int = 3) -> Dataset:
    """Users whose books are of the club of their items; so many books that two users hardly have one in common."""
    rng, rows = np.random.default_rng([seed, 1]), people(count, seed, known)
    clubs = [int(items[0]) // CLUB for items in rows.values("then")]
    lists = [[f"b{SHELVES * club + n}" for n in rng.permutation(SHELVES)[:books]] for club in clubs]
    columns = [*rows.columns, Column("books", "feature", "items")]
    return Dataset(rows.table.add_column("books", lists), columns, origin="memory", items=rows.items)


def without_history(rows: Dataset) -> Dataset:
    table = rows.table.map(lambda row: {"past": []}, features=rows.table.features)
    return Dataset(table, rows.columns, items=rows.items)


def library():
    """A source that knows which books go together."""
    ids = [f"b{n}" for n in range(CLUBS * SHELVES)]
    table = np.kron(np.eye(CLUBS), np.ones((SHELVES, SHELVES))) / SHELVES
    table[np.diag_indices(len(table))] = 0
    return of_table(
        ids, table, name="library", holds="weights", popularity=np.full(len(ids), 0.1), origin="", licence="",
        description="",
    )  # fmt: skip


def test_a_source_that_knows_the_books_ranks_users_without_a_history():
    few, others = readers(30, 0), without_history(readers(200, 1))
    drawn = Ease().fit(problem(few, source=library()))
    assert drawn.description == "EASE with books by library" and drawn.elsewhere.table is not None
    alone, as_they_are = Baseline(recipe="EASE").fit(problem(few)), Baseline().fit(problem(few))
    without = drawn.history[-1]["without a history"]
    assert without[drawn.description] == max(without.values()) and "without a history" not in alone.history[-1]
    assert score(drawn, others) > score(as_they_are, others) + 0.2
    assert score(drawn, others) > score(alone, others) + 0.2


def test_what_users_took_elsewhere_is_read_by_the_control_as_it_is():
    many, others = readers(300, 0, books=12), without_history(readers(200, 1, books=12))
    control = Baseline().fit(problem(many))
    assert control.description == "EASE with books" and control.elsewhere.table is None
    assert score(control, others) > score(Baseline(recipe="EASE").fit(problem(many)), others) + 0.3


def test_the_model_is_two_ridges():
    rows = readers(40, 3)
    task = problem(rows).task
    X = matrix(joined(*encoded(rows, task)), task.width).toarray()
    reading = plain(rows)[0]
    F, s, t = reading.read(rows).toarray(), 50.0, 2.0
    model = Ridge(s, elsewhere=reading, apart=t).build(beside(matrix(joined(*encoded(rows, task)), task.width),
                                                              reading, rows))  # fmt: skip
    kept = np.flatnonzero(X.sum(axis=0))
    assert model.rows.tolist() == [*kept, *range(task.width, task.width + reading.width)]
    J, penalty = np.concatenate([X[:, kept], F], axis=1), np.diag([s] * len(kept) + [t] * reading.width)
    for place in range(len(kept)):  # each column alone, without its own item
        rest = [n for n in range(J.shape[1]) if n != place]
        by_hand = np.linalg.solve(J[:, rest].T @ J[:, rest] + penalty[np.ix_(rest, rest)], J[:, rest].T @ J[:, place])
        np.testing.assert_allclose(model.weights[rest, place], by_hand, atol=1e-4)
        assert model.weights[place, place] == 0


def test_the_ridge_is_drawn_to_a_prior_beside_what_was_taken_elsewhere():
    from headstart.methods.item_models import Prior
    from tests.methods.test_items import told

    rows, none = readers(12, 3), readers(12, 3, books=0)
    task = problem(rows).task
    prior = Prior(told().astype(np.float32), np.arange(CLUBS * CLUB), np.full(CLUBS * CLUB, 0.1, np.float32))
    reading = plain(readers(200, 0))[0]
    X = matrix(joined(*encoded(none, task)), task.width)
    both = Ridge(30.0, prior=prior, told="x", elsewhere=reading, apart=1.0).build(beside(X, reading, none))
    one = Ridge(30.0, prior=prior, told="x").build(X)
    np.testing.assert_allclose(both.weights[: len(one.rows)], one.weights, atol=1e-4)  # nobody took anything there
    assert not both.weights[len(one.rows) :].any()


def test_rows_are_of_unit_length_and_wide_sources_are_narrowed():
    rows = readers(60, 0)
    source = library()
    assert source.table.table.shape[1] == CLUBS * SHELVES < WIDEST
    whole = by_source(rows, source)[0]
    np.testing.assert_allclose(np.linalg.norm(whole.read(rows).toarray(), axis=1), 1, atol=1e-5)
    ids = [f"b{n}" for n in range(400)]
    told = np.random.default_rng(0).normal(size=(400, 8)) @ np.random.default_rng(1).normal(size=(8, 400))
    wide = of_table(ids, told, name="wide", holds="weights", origin="", licence="", description="")
    narrow = by_source(rows, wide)[0]
    assert narrow.width == WIDEST
    F = Elsewhere("books", tuple(ids), told, "").read(rows).toarray()
    G = narrow.read(rows).toarray()
    np.testing.assert_allclose(F @ F.T, G @ G.T, atol=1e-3)


def test_unknown_books_and_users_are_nothing():
    rows = readers(40, 0)
    drawn = Ease().fit(problem(rows, source=library()))
    strange = Dataset(
        rows.table.map(lambda row, n: {"past": [], "books": ["never seen"] if n % 2 else None}, with_indices=True,
                       features=rows.table.features), rows.columns, items=rows.items,
    )  # fmt: skip
    assert not drawn.elsewhere.knows(strange).any() and not drawn.elsewhere.read(strange).nnz
    lacking = Dataset(strange.table, [c for c in strange.columns if c.role != "feature"], items=rows.items)
    order = np.argsort(-drawn.model.popularity, kind="stable")[:10]
    for each in (strange, lacking):
        assert drawn.predict(each).values[0] == [drawn.task.items[place] for place in order]
    assert by_source(rows, of_table(["x"], np.ones((1, 1)), name="x", holds="weights", origin="", licence="",
                                    description="")) == []  # fmt: skip
    with pytest.raises(MethodError, match="recipe"):
        Baseline(recipe="EASE with books").fit(problem(people(40, 0)))


def test_what_reads_it_is_saved(tmp_path):
    rows, others = readers(60, 0), without_history(readers(30, 1))
    for place, fitted in (("a", Ease().fit(problem(rows, source=library()))), ("b", Baseline().fit(problem(rows)))):
        (tmp_path / place).mkdir()
        fitted.save(tmp_path / place)
        again = ItemsFitted.load(tmp_path / place, fitted.task, fitted.method)
        np.testing.assert_array_equal(again.outputs(others), fitted.outputs(others))
        assert again.elsewhere.ids == fitted.elsewhere.ids
        arrays = load_file(tmp_path / place / "items.safetensors")
        save_file({name: value[:-1] for name, value in arrays.items()}, tmp_path / place / "items.safetensors")
        with pytest.raises(ArtefactError, match=r"misshapen|out of range"):
            ItemsFitted.load(tmp_path / place, fitted.task, fitted.method)


# --- from tables -----------------------------------------------------------------------------------------------------


def tables(folder, count: int, seed: int = 0, books: int = 6):
    """A log of items and one of books, of the same users; the last fifth of them have no items."""
    rows = readers(count, seed, books)
    logs = {"items.csv": [("user", "item")], "books.csv": [("user", "book", "rating")]}
    for user, past, then, shelf in zip(
        rows.values("user"), rows.values("past"), rows.values("then"), rows.values("books")
    ):
        if int(user) < 0.8 * count:
            logs["items.csv"] += [(user, item) for item in past + then]
        logs["books.csv"] += [(f"{user}.0", book, "5") for book in shelf]
    for name, lines in logs.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder / "items.csv", folder / "books.csv", rows


ROLES = {"user": "user", "item": "item"}


def test_a_log_of_another_catalogue_is_folded(tmp_path):
    items, books, rows = tables(tmp_path, 50)
    data = read(items, roles=ROLES, users=books, kinds={"book": "items"})
    assert [(c.name, c.kind) for c in data.with_role("feature")] == [("book", "items")]
    assert dict(zip(data.values("user"), data.values("book"))) == {
        user: shelf for user, shelf in zip(rows.values("user"), rows.values("books")) if int(user) < 40
    }
    assert not [note for note in data.notes if "Users" in note]
    text = books.read_text() + "3.0,,5\n,b1,4\n"
    books.write_text(text)
    again = read(items, roles=ROLES, users=books, kinds={"book": "items"})
    assert again.values("book") == data.values("book")
    assert "Users: 2 rows of the table of users lack the user or the item." in again.notes


def test_a_log_that_is_not_said_to_be_one_is_told(tmp_path):
    items, books, _ = tables(tmp_path, 50)
    with pytest.raises(UsageError, match=r"300 rows for 50 users.*--kind COLUMN=items"):
        read(items, roles=ROLES, users=books)
    lines = books.read_text().splitlines()
    books.write_text("\n".join([*lines[:1], *lines[1::6], lines[1]]) + "\n")
    (note,) = [note for note in read(items, roles=ROLES, users=books).notes if "Users" in note]
    assert note.startswith("Users: 1 rows of the table of users")


def test_lists_of_a_table_of_users_are_items(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    items, _, rows = tables(tmp_path, 50)
    shelves = [[int(book[1:]) for book in shelf] or None for shelf in rows.values("books")]
    parquet.write_table(
        pa.table({"user": rows.values("user"), "books": shelves, "size": [[0.5]] * 50}), tmp_path / "u.parquet"
    )
    data = read(items, roles=ROLES, users=tmp_path / "u.parquet")
    assert [(c.name, c.kind) for c in data.with_role("feature")] == [("books", "items")]
    assert data.values("books")[0] == [str(book) for book in shelves[int(data.values("user")[0])]]


def test_a_fit_a_saved_run_and_new_users(tmp_path):
    items, books, rows = tables(tmp_path, 160)
    source = tmp_path / "source"
    library().save(source)
    run = headstart.fit(
        items,
        roles=ROLES,
        users=books,
        kinds={"book": "items"},
        source=str(source),
        out=tmp_path / "run",
        method="ease",
    )
    assert "book by library" in run.fitted.description
    assert run.record.verdict is not None
    again = headstart.load(tmp_path / "run")
    newcomer = str(rows.values("user")[150])
    (found,) = recommend(again, users=[newcomer], user_table=books)
    club = int(rows.values("then")[150][0]) // CLUB
    assert found.basis == "elsewhere" and found.unknown
    assert np.mean([int(item) // CLUB == club for item in found.items[:5]]) > 0.5
    (nobody,) = recommend(again, users=["no such user"], user_table=books)
    assert nobody.basis == "popularity"
    known = next(recommend(again, user_table=books))
    assert known.basis == "history"
