"""Which column of one table is which of another."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart.errors import DataError, UsageError
from headstart.sources import schema_matching
from headstart.sources.schema_matching import Profile, inside, match, names_alike, values_alike, words


def profiles(columns):
    rows = headstart.read(columns, input=list(columns), for_prediction=True)
    return [Profile.of(rows, column) for column in rows.inputs]


def no_names(ours, theirs):
    return np.zeros((len(ours), len(theirs)))


@pytest.fixture
def people():
    generator = np.random.default_rng(0)
    return {
        "age": generator.integers(20, 80, 300).tolist(),
        "income": generator.lognormal(10, 1, 300).round(2).tolist(),
        "hours-per-week": generator.choice([20, 38, 40, 40, 40, 60], 300).tolist(),
        "town": generator.choice(["Oslo", "Rome", "Bonn"], 300, p=[0.6, 0.3, 0.1]).tolist(),
        "sex": generator.choice(["male", "female"], 300).tolist(),
    }


def test_values_alone_find_renamed_and_shuffled_columns(people):
    renamed = {name[::-1]: values[50:] for name, values in reversed(people.items())}
    pairs = match(profiles(people), profiles(renamed), alike=no_names)
    assert {pair.source: pair.target for pair in pairs} == {name: name[::-1] for name in people}
    assert [pair.source for pair in pairs] == list(people)


def test_equal_names_ask_no_model(people, monkeypatch):
    monkeypatch.setattr(schema_matching, "embeddings", lambda texts: pytest.fail("the model was asked"))
    renamed = {"Hours per Week": people["hours-per-week"], "AGE": people["age"]}
    pairs = match(profiles(people), profiles(renamed))
    assert {(pair.source, pair.target, pair.doubtful) for pair in pairs} == {
        ("hours-per-week", "Hours per Week", False), ("age", "AGE", False)
    }  # fmt: skip


def test_what_is_not_sure_is_said_to_be_doubtful(people):
    twins = {"first": people["age"], "second": [value + 1 for value in people["age"]]}
    (pair,) = match(profiles({"age": people["age"]}), profiles(twins), alike=no_names)
    assert pair.target == "first" and pair.doubtful and "?" in str(pair)
    assert match(profiles({"age": people["age"]}), profiles({"sex": people["sex"]}), alike=no_names) == []


def test_what_the_user_says_comes_first(people):
    ours, theirs = profiles(people), profiles({"age": people["age"], "years": people["income"]})
    pairs = match(ours, theirs, {"income": "age", "age": ""}, alike=no_names)
    assert ("income", "age", True) in {(pair.source, pair.target, pair.said) for pair in pairs}
    assert "age" not in {pair.source for pair in pairs}


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ({"agee": "years"}, UsageError, 'HS-USAGE-001.*no column "agee".*Did you mean "age"'),
        ({"age": "yeers"}, UsageError, 'HS-USAGE-001.*no input column "yeers".*Did you mean "years"'),
        ({"age": "years", "income": "years"}, UsageError, 'HS-USAGE-001.*names "years" twice'),
        ({"sex": "years"}, DataError, 'HS-DATA-020.*"years" holds number; "sex".*category'),
    ],
)
def test_what_cannot_be_aligned_is_refused(people, said, error, told):
    with pytest.raises(error, match=told):
        match(profiles(people), profiles({"years": people["age"]}), said, alike=no_names)


def test_names(monkeypatch):
    assert words("hoursPerWeek_2") == ["hours", "per", "week", "2"]
    monkeypatch.setattr(schema_matching, "embeddings", lambda texts: None)
    found = names_alike(["educ", "capital-gain"], ["education", "gain of capital", "town"])
    assert found[0].tolist() == [1, 0, 0] and found[1, 1] == pytest.approx(2 / 3)


def test_values():
    generator = np.random.default_rng(0)
    one, other, far = (
        profiles({"x": values.tolist()})[0]
        for values in (generator.normal(size=200), generator.normal(size=300), generator.normal(5, 1, 200))
    )
    assert values_alike(one, other) > 0.9 and values_alike(one, far) < 0.1
    assert inside(one, other) > 0.85 and inside(one, far) == 0
    kinds = profiles({"a": ["x", "y"] * 9, "b": ["X", "y "] * 9, "c": ["p", "q"] * 9})
    assert values_alike(kinds[0], kinds[1]) == pytest.approx(1) and values_alike(kinds[0], kinds[2]) == 0


@pytest.mark.slow
def test_meaning_of_names_by_minilm():
    found = names_alike(["hours-per-week", "sex", "native-country"], ["country of birth", "weekly hours", "gender"])
    assert found.argmax(axis=1).tolist() == [1, 2, 0] and found.max(axis=1).min() > 0.5
