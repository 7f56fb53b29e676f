"""From interactions to recommendations: fit, recommend, evaluate, on the command line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import headstart
from headstart import cli
from headstart.errors import DataError, UsageError

CLUBS, CLUB, USERS = 5, 8, 40


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Interactions of users who take items of one club."""
    place = tmp_path_factory.mktemp("log") / "log.csv"
    rng = np.random.default_rng(0)
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("who", "what", "when", "title"))
        for user in range(USERS):
            club = rng.integers(CLUBS)
            for when, item in enumerate(rng.permutation(CLUB)[:5]):
                name = CLUB * club + item
                writer.writerow((user, f"{name}", 1_000_000_000 + 100 * user + when, f"Thing {name} of club {club}"))
    return place


@pytest.fixture(scope="module")
def run(log):
    place = log.parent / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_HOME", str(log.parent / "home"))
        patch.setattr("headstart.methods.item_models.STRENGTHS", (10.0,))
        patch.setattr("headstart.methods.item_models.CONTENT_STRENGTHS", (10.0,))
        roles = {"who": "user", "what": "item", "when": "step"}
        headstart.fit(log, roles=roles, method="baseline", source=own(log), control=False, out=place)
    return place


def own(log):
    """A source that was learned from the same clubs."""
    roles = {"who": "user", "what": "item", "when": "step"}
    return headstart.pretrain(log, log.parent / "clubs", roles=roles).source


def test_a_dry_run_shows_the_weights_that_a_fit_would_learn(log, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    settings = {"roles": {"who": "user", "what": "item", "when": "step"}, "source": own(log), "method": "ease"}
    planned = headstart.fit(log, dry_run=True, **settings).rows
    fitted = headstart.fit(log, control=False, settings={"strength": 10.0}, out=tmp_path / "run", **settings)
    assert [(row.layer, row.parameters, row.share) for row in planned] == [
        (row.layer, row.parameters, row.share) for row in fitted.fitted.trained()
    ]


def ask(capsys, *words):
    status = cli.main(["recommend", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_known_users_get_items_of_their_club_that_they_do_not_have(run, log, capsys):
    status, answer = ask(capsys, run, "--user", "3", "--user", "7", "-k", "3")
    assert status == 0
    with log.open(encoding="utf-8") as file:
        taken = list(csv.DictReader(file))
    for each in answer["recommendations"]:
        own = {row["what"] for row in taken if row["who"] == each["user"]}
        assert each["basis"] == "history" and len(each["items"]) == 3 and not own & set(each["items"])
        assert {int(item) // CLUB for item in each["items"]} == {int(item) // CLUB for item in own}
        assert all(text.startswith("Thing") for text in each["texts"])


def test_a_new_user_gets_what_is_popular_and_is_told_so(run, capsys):
    assert cli.main(["recommend", str(run), "--user", "nobody"]) == 0
    assert "nobody is not on record: these are the most popular items." in capsys.readouterr().out
    _, answer = ask(capsys, run, "--user", "nobody", "--user", "else")
    assert [each["basis"] for each in answer["recommendations"]] == ["popularity"] * 2
    assert answer["recommendations"][0]["items"] == answer["recommendations"][1]["items"]


def test_other_interactions_may_be_given_with_users_and_items_never_seen(run, tmp_path):
    place = tmp_path / "new.csv"
    place.write_text("who,what,when\nann,1,5\nann,2,6\nbob,never,7\n", encoding="utf-8")
    found = {each.user: each for each in headstart.recommend(run, place)}
    assert found["ann"].basis == "history" and found["bob"].basis == "popularity" and not found["bob"].unknown
    assert not {"1", "2"} & set(found["ann"].items)


def test_everybody_goes_to_a_file(run, tmp_path, capsys):
    place = tmp_path / "top.csv"
    assert cli.main(["recommend", str(run), "-o", str(place), "-k", "4"]) == 0
    assert f"4 items for {USERS} users" in capsys.readouterr().out
    with place.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * USERS and [row["rank"] for row in rows[:4]] == ["1", "2", "3", "4"]
    assert cli.main(["recommend", str(run)]) == 2


def test_bad_requests_are_told(run, log, tmp_path):
    with pytest.raises(UsageError, match="HS-USAGE-001: 51 items"):
        headstart.recommend(run, count=51)
    (tmp_path / "odd.csv").write_text("user,what,when\n1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'HS-DATA-015.*"who"'):
        headstart.recommend(run, tmp_path / "odd.csv")
    loaded = headstart.load(run)
    loaded.record.data["path"] = str(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="HS-DATA-001"):
        headstart.recommend(loaded)


def test_a_run_predicts_and_evaluates_interactions(run, log, capsys, tmp_path):
    loaded = headstart.load(run)
    assert len(loaded.predict(log)) == USERS
    metrics = loaded.evaluate(log)
    assert list(metrics) == ["ndcg@10", "recall@10", "recall@50", "coverage@10"] and metrics["ndcg@10"] > 0.5
    assert cli.main(["predict", str(run), str(log), "-o", str(tmp_path / "out.csv")]) == 0
    assert cli.main(["report", str(run), "-o", str(tmp_path / "report.html")]) == 0


@pytest.mark.slow
def test_a_whole_contest(log, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    for name in ("STRENGTHS", "CONTENT_STRENGTHS"):
        monkeypatch.setattr(f"headstart.methods.item_models.{name}", (10.0,))
        monkeypatch.setattr(f"headstart.methods.ease.{name}", (10.0,))
    roles = {"who": "user", "what": "item", "when": "step"}
    found = headstart.fit(log, roles=roles, source=own(log), out=tmp_path / "run")
    record = found.record
    assert record.verdict is not None and record.head_start is not None
    assert {each.name for each in record.candidates} == {"ease", "baseline", "two_tower_scratch"}
    assert "same net" not in found.summary()  # of weights between items there is none
    assert all("Thing" in each.truth and "the last: Thing" in each.text for each in record.mistakes)
    assert record.task["metric"] == "ndcg@10" and record.source["name"] == "clubs"
