"""Fingerprints are computed once and follow their rows through selections and copies, but not to other inputs."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.datasets import base
from headstart.datasets.base import fingerprint
from headstart.datasets.read import read

TABLE = {"text": ["one", "two", "three", "two"], "other": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]}


@pytest.fixture
def rows(monkeypatch):
    dataset = read(TABLE, target="label", input="text")
    count: list[object] = []
    monkeypatch.setattr(base, "fingerprint", lambda sample: (count.append(sample), fingerprint(sample))[1])
    return dataset, count


def test_they_are_computed_once_for_a_dataset_and_all_that_is_made_of_it(rows):
    dataset, count = rows
    bare = dataset.without("target")
    expected = [fingerprint(text) for text in TABLE["text"]]
    assert dataset.fingerprints() == expected and len(count) == 4
    assert bare.fingerprints() == expected == dataset.assign(weight="other").fingerprints()
    assert dataset.fingerprints([3, 0]) == bare.fingerprints(np.array([3, 0])) == [expected[3], expected[0]]
    chosen = bare.select([2, 1])
    assert chosen.fingerprints() == [expected[2], expected[1]] and chosen.select([1]).fingerprints() == [expected[1]]
    both = chosen.followed_by(bare.select([0]))
    assert both.fingerprints() == [expected[2], expected[1], expected[0]] and both.numbers == [3, 2, 1]
    assert both.samples() == ["three", "two", "one"]
    assert len(count) == 4


def test_other_inputs_have_other_fingerprints(rows):
    dataset, _ = rows
    dataset.fingerprints()
    other = dataset.assign(input="other", unused="text")
    assert other.fingerprints() == [fingerprint(text) for text in TABLE["other"]]


def test_a_few_rows_are_not_paid_for_with_all(rows):
    dataset, count = rows
    assert dataset.fingerprints([1]) == [fingerprint("two")] and len(count) == 1


def test_a_text_that_names_a_picture_counts_by_its_bytes(tmp_path):
    place = tmp_path / "a.PNG"
    place.write_bytes(b"1")
    first = fingerprint(str(place))
    place.write_bytes(b"2")
    assert fingerprint(str(place)) != first
    assert fingerprint("there is no such.png") != fingerprint("there is no such.gif")


def test_chosen_rows_of_a_column_are_the_same_taken_at_once_or_from_large_columns(monkeypatch):
    dataset = read(TABLE, target="label", input="text")
    chosen = dataset.select([3, 0, 2]).followed_by(dataset.select([1])).select([3, 0, 0])
    at_once = chosen.samples(), chosen.targets(), chosen.select([]).samples()
    assert at_once == (["two", "two", "two"], ["y", "y", "y"], [])
    monkeypatch.setattr(base, "_TAKEN_AT_ONCE", 0)
    assert (chosen.samples(), chosen.targets(), chosen.select([]).samples()) == at_once
