"""Interactions become rows: one user, the items of the past, those that came next."""

import time

import pytest

from headstart.datasets.items import identifiers, listed
from headstart.datasets.memory import parse
from headstart.datasets.read import read

ROLES = {"user": "user", "item": "item", "when": "step"}


def log(*rows, **more):
    """A table of (user, item, when)."""
    columns = dict(zip(("user", "item", "when"), map(list, zip(*rows))))
    return {**columns, **more}


def test_a_row_is_a_user_with_a_past_and_what_came_next():
    rows = read(log(("b", 3, 2), ("a", 1, 5), ("a", 2, 4), ("b", 1, 1), ("a", 3, 6)), roles=ROLES)
    assert {row["user"]: (row["item"], row["next"]) for row in rows.table} == {
        "a": (["2", "1"], ["3"]),
        "b": (["1"], ["3"]),
    }
    assert rows.modality == "interactions" and rows.target.name == "next"
    assert set(rows.items.ids) == {"1", "2", "3"}
    assert rows.samples([0])[0].keys() == {"item", "user"}


def test_a_fifth_comes_next():
    rows = read(log(*((1, item, item) for item in range(15))), roles=ROLES)
    assert len(rows.table[0]["item"]) == 12 and rows.table[0]["next"] == ["12", "13", "14"]


def test_repeated_pairs_count_once_and_are_told():
    rows = read(log((1, 7, 3), (1, 8, 1), (1, 8, 2), (1, 7, 9)), roles=ROLES)
    assert rows.table[0]["item"] == ["8"] and rows.table[0]["next"] == ["7"]
    assert any("2 repeat a user and an item" in note for note in rows.notes)


def test_users_with_one_interaction_are_left_out_and_told():
    rows = read(log((1, 7, 3), (2, 8, 1), (2, 7, 2)), roles=ROLES)
    assert rows.values("user") == ["2"] and any("1 users have too few" in note for note in rows.notes)


def test_low_ratings_do_not_count():
    table = log((1, 1, 1), (1, 2, 2), (1, 3, 3), stars=[5, 1, 4])
    rows = read(table, roles={**ROLES, "stars": "rating"})
    assert rows.table[0]["item"] == ["1"] and rows.table[0]["next"] == ["3"]
    assert any("1 rated under 3" in note for note in rows.notes)


def test_by_time_the_parts_follow_one_another():
    rows = read(
        log(*((user, item, 10 * item + user) for user in range(6) for item in range(10))),
        roles={**ROLES, "when": "time"},
    )
    parts = {part: [row for row in rows.table if row["split"] == part] for part in ("train", "valid", "test")}
    assert all(parts.values())
    last = max(int(item) for row in parts["train"] for item in row["next"])
    assert last <= min(int(item) for row in parts["valid"] for item in row["next"])
    assert all(set(row["item"]).isdisjoint(row["next"]) for row in rows.table)


def test_new_items_stand_in_no_history_and_no_training_target():
    films = {"item": list(range(10)), "title": [f"film {n}" for n in range(10)],
             "split": ["train"] * 6 + ["valid"] * 2 + ["test"] * 2}  # fmt: skip
    rows = read(log(*((user, item, item) for user in range(3) for item in range(10))), roles=ROLES, items=films)
    for row in rows.table:
        old = {str(n) for n in range(6)}
        assert set(row["item"]) <= old
        assert set(row["next"]) == {"train": {"5"}, "valid": {"6", "7"}, "test": {"8", "9"}}[row["split"]]
    assert dict(zip(rows.items.ids, rows.items.texts))["4"] == "film 4"


def test_what_never_differs_for_an_item_is_its_text():
    table = log(
        (1, 7, 1), (1, 8, 2), (2, 7, 1), (2, 8, 2), title=["A", "B", "A", "B"], town=["x", "x", "y", "y"],
        mood=["good", "bad", "bad", "good"],
    )  # fmt: skip
    rows = read(table, roles=ROLES)
    assert dict(zip(rows.items.ids, rows.items.texts)) == {"7": "A", "8": "B"}


def test_for_prediction_everything_is_past():
    rows = read(log((1, 7, 3), (2, 8, 1), (2, 7, 2)), roles=ROLES, for_prediction=True)
    assert {row["user"]: row["item"] for row in rows.table} == {"1": ["7"], "2": ["8", "7"]} and rows.target is None


def test_lists_are_taken_as_they_are():
    rows = read(
        {"who": ["a", "b"], "past": [["1", "2"], []], "then": [["3"], ["1"]]},
        roles={"who": "user", "past": "item", "then": "target"}, kinds={"then": "items"},
    )  # fmt: skip
    assert len(rows) == 2 and set(rows.items.ids) == {"1", "2", "3"} and not rows.rejects


def test_the_same_history_of_two_users_is_no_twin():
    rows = read(log((1, 7, 1), (1, 8, 2), (2, 7, 1), (2, 8, 2)), roles=ROLES)
    assert len(set(rows.fingerprints())) == 2


def test_identifiers_are_text():
    table = parse({"id": [1.0, 2.0, None]}).table
    ids, bad = identifiers(table.column("id"), "id")
    assert ids.to_pylist() == ["1", "2", None] and list(bad) == [2]
    ids, bad = identifiers(parse({"id": ["01", " 2.0 ", "x.0", ""]}).table.column("id"), "id")
    assert ids.to_pylist() == ["01", "2", "x.0", None] and list(bad) == [3]


def test_items_beside_the_table_are_kept():
    known = parse({"id": ["1", "2"], "title": ["A", None], "price": [1.5, 2.0]})
    found = listed(known, "item", ["2", "9"])
    assert found.ids == ("1", "2", "9") and found.texts == ("A", "", "") and found.parts == ()


@pytest.mark.parametrize("unit", [1, 1000])
def test_times_in_the_future_are_rejected(unit):
    now = int(time.time())
    rows = read(
        log(*((1, item, (now - 100 + item) * unit) for item in range(9)), (1, 99, (now + 10**7) * unit)), roles=ROLES
    )
    assert [reject.row for reject in rows.rejects] == [10] and "lies in the future" in rows.rejects[0].reason
    assert "99" not in rows.items.ids or "99" not in rows.table[0]["next"]
