"""Broken interactions: each gives the documented code, or is rejected with its row and reason."""

import json

import pytest

import headstart
from headstart import cli
from headstart.datasets.read import read
from headstart.errors import HeadstartError

ROLES = {"user": "user", "item": "item", "when": "step"}


def table(rows=20, **changes):
    made = {
        "user": [str(n % 4) for n in range(rows)],
        "item": [str(n // 4) for n in range(rows)],
        "when": list(range(rows)),
    }
    for name, cells in changes.items():
        for row, value in cells.items():
            made[name][row] = value
    return made


BROKEN = [
    ({"roles": {"user": "user"}}, {}, "HS-USAGE-001", "--item"),
    (
        {"roles": {"item": "item"}},
        {},
        "HS-USAGE-001",
        '"item" holds items, and no column says whose. Name it with --user',
    ),
    ({"roles": {"usr": "user", "item": "item"}}, {}, "HS-DATA-003", 'Did you mean "user"'),
    ({"roles": {**ROLES, "when": "user"}}, {}, "HS-USAGE-001", "several columns have the role user"),
    ({"roles": ROLES}, {"when": dict.fromkeys(range(9), "soon")}, "HS-DATA-010", 'row 1: "when" holds "soon"'),
    ({"roles": ROLES, "items": {"id": ["x"], "title": ["X"]}}, {}, "HS-DATA-003", "names none of the items"),
    ({"roles": ROLES, "items": {"id": ["1"], "split": ["tset"]}}, {}, "HS-DATA-014", "tset"),
    ({"roles": ROLES}, {"user": dict.fromkeys(range(20), None)}, "HS-DATA-002", '"user" is missing'),
    ({"roles": ROLES}, {"item": dict.fromkeys(range(9), None)}, "HS-DATA-010", '"item" is missing'),
    ({"kinds": {"item": "items"}, "input": "item", "target": "user"}, {}, "HS-DATA-020", "roles user and item"),
]


@pytest.mark.parametrize(("asked", "changes", "code", "words"), BROKEN)
def test_broken_interactions(asked, changes, code, words):
    made = table(**changes)
    if "when" in changes:
        made["when"] = [str(value) for value in made["when"]]
    with pytest.raises(HeadstartError) as caught:
        read(made, **asked)
    assert str(caught.value).startswith(code) and words in str(caught.value), caught.value


def test_a_typo_costs_its_row(tmp_path):
    made = table(40)
    made["when"][3], made["stars"] = "2O", [5] * 40
    made["stars"][7] = "five"
    rows = read({**made, "when": list(map(str, made["when"])), "stars": list(map(str, made["stars"]))},
                roles={**ROLES, "stars": "rating"})  # fmt: skip
    assert [(reject.row, reject.reason) for reject in rows.rejects] == [
        (4, '"when" holds "2O"; expected a time'),
        (8, '"stars" holds "five"; expected a number'),
    ]


def test_decimals_are_no_identifiers():
    made = table()
    made["item"] = [float(value) for value in made["item"]]
    made["item"][5] = 1.5
    rows = read(made, roles=ROLES)
    assert [(reject.row, "decimal 1.5" in reject.reason) for reject in rows.rejects] == [(6, True)]
    assert "0" in rows.items.ids and "0.0" not in rows.items.ids


def test_rows_of_lists_without_a_next_item_are_rejected():
    rows = read(
        {"past": [["1"]] * 9 + [[]], "then": [["2"]] * 8 + [[], ["1"]]}, input="past", target="then",
        kinds={"past": "items", "then": "items"},
    )  # fmt: skip
    assert [(reject.row, reject.reason) for reject in rows.rejects] == [(9, 'the target "then" names no item')]
    assert len(rows) == 9  # an empty history is a row


def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    place = tmp_path / "log.csv"
    place.write_text("user,item\n" + "".join(f"{n % 4},{n // 4}\n" for n in range(20)), encoding="utf-8")
    assert cli.main(["fit", str(place), "--user", "usr", "--item", "item", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "HS-DATA-003" and "usr" in error["message"]


def test_sources_are_not_ranked_for_items():
    with pytest.raises(HeadstartError, match=r"HS-METHOD-003: rankers score features"):
        headstart.rank(table(), roles=ROLES)


def test_methods_that_end_in_a_head_refuse(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    with pytest.raises(HeadstartError, match=r"HS-METHOD-003: probe cannot do recommendation"):
        headstart.fit(table(), roles=ROLES, method="probe", out=tmp_path / "run")
