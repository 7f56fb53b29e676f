"""The table of users: features beside the histories."""

import pytest

from headstart.datasets.read import read
from headstart.errors import DataError, UsageError

ROLES = {"user": "user", "item": "item", "when": "step"}
LOG = {"user": [1, 1, 1, 2, 2, 2], "item": [7, 8, 9, 8, 7, 5], "when": [1, 2, 3, 1, 2, 3]}
PEOPLE = {"user": [2.0, 5.0, 1.0, 2.0], "age": [30, 9, 51, 99], "sex": ["f", "m", "f", "m"],
          "about": ["likes long walks on beaches and rain", "has three cats and a dog at home", "writes books on chess",
                    "sings in the choir of the town"]}  # fmt: skip


def test_features_stand_beside_the_histories():
    rows = read(LOG, roles=ROLES, users=PEOPLE)
    assert [(c.name, c.role, c.kind) for c in rows.with_role("feature")] == [
        ("age", "feature", "number"), ("sex", "feature", "category"),
    ]  # fmt: skip
    assert dict(zip(rows.values("user"), rows.values("age"))) == {"1": 51, "2": 30}, "the first row of a user counts"
    assert rows.modality == "interactions" and rows.samples([0])[0].keys() == {"item", "user"}


def test_a_user_who_is_not_in_the_table_has_none_and_is_told():
    rows = read(LOG, roles=ROLES, users={"user": [1, 9], "age": [51, 3]})
    assert rows.values("age") == [51, None] and len(rows) == 2
    assert "Users: 1 of 2 are not in the table of users." in rows.notes
    later = read(LOG, roles=ROLES, users={"user": [9], "age": [3]}, for_prediction=True)
    assert later.values("age") == [None, None] and not later.notes


def test_lists_get_features_too():
    table = {"who": ["a", "b"], "past": [["1"], []], "then": [["2"], ["1"]]}
    roles = {"who": "user", "past": "item", "then": "target"}
    rows = read(table, roles=roles, kinds={"then": "items"}, users={"who": ["b", "a"], "age": [1, 2]})
    assert rows.values("age") == [2, 1]


def test_what_cannot_be_joined_is_told():
    with pytest.raises(DataError, match=r'HS-DATA-003.*"user" names none of the users.*"1"'):
        read(LOG, roles=ROLES, users={"user": [8, 9], "age": [1, 2]})
    with pytest.raises(DataError, match=r'HS-DATA-015.*lacks the column "age"'):
        read(LOG, roles={**ROLES, "age": "feature"}, users={"user": [1, 2], "aeg": [1, 2]}, for_prediction=True)
    with pytest.raises(UsageError, match=r'HS-USAGE-001.*column "next"'):
        read(LOG, roles=ROLES, users={"user": [1, 2], "next": [1, 2]})
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*--user"):
        read({"x": [1, 2], "label": ["a", "b"]}, users={"user": [1, 2], "age": [1, 2]})
