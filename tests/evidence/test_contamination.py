"""Rows that the source has learned from judge nothing; rows that are equal by chance stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import headstart
from headstart.errors import DataError
from headstart.evidence.contamination import alone, by_chance, copies, uncontaminated
from headstart.evidence.splits import split
from headstart.nn.row_hashes import cells, repeated, rows
from headstart.sources.base import Seen
from headstart.sources.table import Table
from tests.conformance import examples
from tests.conformance.examples import people


def population(count, seed):
    """People of whom no two are equal."""
    columns = people(count, seed=seed)
    columns["age"] = np.random.default_rng(seed + 100).uniform(20, 80, count).tolist()
    return columns


KNOWN = population(60, seed=1)


@pytest.fixture
def source():
    """It keeps the rows of people(60, seed=1), and has hashes of those in KNOWN."""
    source = Table.load(examples._tables() / "people")
    kinds = {profile.name: profile.kind for profile in source.profiles}
    source.hashes = np.sort(rows([cells(name, kinds[name], KNOWN[name]) for name in kinds]))
    return source


def hashed(source):
    """The same without the rows."""
    source.rows_at = None
    return source


def rows_with(known, count, test=0):
    """``count`` people, the last ``known`` of whom are among those the source has learned from."""
    ours = population(count, seed=5)
    columns = {name: [*ours[name][: count - known], *KNOWN[name][:known]] for name in ours}
    if test:
        columns["split"] = ["train"] * (count - test) + ["test"] * test
    return headstart.read(columns, target="label")


def test_it_knows_its_own_rows(source):
    found = source.seen(rows_with(20, 50).without("target"))
    assert found.rows.tolist() == [False] * 30 + [True] * 20 and found.among == 60 and found.repeated == 0
    assert len(np.unique(found.hashes)) == 50


@pytest.mark.parametrize("kept", [True, False])
def test_columns_that_are_missing_or_have_other_names(source, kept):
    columns = people(60, seed=1) if kept else KNOWN
    source.hashes = None if kept else source.hashes
    there = headstart.read({"home town": columns["town"], "age": columns["age"]}, for_prediction=True)
    settled = (source if kept else hashed(source)).settled(there, {"town": "home town"})
    assert settled.seen(there).rows.all()
    ages = headstart.read({"age": columns["age"]}, input=["age"], for_prediction=True)
    assert settled.settled(ages).seen(ages).rows.all(), "every town that it has seen is tried"
    towns = headstart.read({"town": columns["town"]}, input=["town"], for_prediction=True)
    lacking = settled.settled(towns)
    if kept:
        assert lacking.seen(towns).rows.all()
    else:
        assert lacking.seen(towns) is None and "cannot be told: it keeps no rows, and age is not here" in str(
            lacking.notes
        )


def test_numbers_that_it_is_not_shown_tell_rows_apart(source):
    columns = KNOWN
    ages = [age + 1000 for age in columns["age"][:40]] + columns["age"][40:]
    given = headstart.read({"age": ages, "town": columns["town"]}, for_prediction=True)
    settled = hashed(source).settled(given)
    assert settled.names["age"] is None and settled.seen(given).rows.tolist() == [False] * 40 + [True] * 20


def test_what_leaves_the_source_has_nothing_of_its_rows(source, tmp_path):
    assert source.clone().hashes is None and source.untrained(1).hashes is None
    source.save(tmp_path / "copy")
    again = Table.load(tmp_path / "copy")
    assert np.array_equal(again.hashes, source.hashes)
    made = Table.load(examples._tables() / "people").hashes
    assert len(made) == 60 and (made[1:] >= made[:-1]).all(), "their order is not that of the rows"


def test_test_rows_that_it_knows_join_train_or_are_left_out(source):
    parts = split(rows_with(30, 2200), None, seed=0)
    inside = set(rows_with(30, 2200).fingerprints()[-30:])
    known = [digest in inside for digest in parts.test.fingerprints()]
    after = uncontaminated(parts, source)
    assert 0 < sum(known) == after.known and len(after.test) == len(parts.test) - sum(known) == len(after.sealed)
    assert not inside & {*after.test.fingerprints(), *(after.valid.fingerprints() if after.valid else ())}
    assert len(after.labelled()) + len(after.test) == 2200, "nothing is lost"
    assert f"people has learned from {sum(known)} of the {len(parts.test)} test rows" in after.notes[-1]
    fixed = uncontaminated(split(rows_with(30, 500, test=100), None, seed=0), source)
    assert len(fixed.test) == 70 and len(fixed.labelled()) == 400 and "left out of the test" in fixed.notes[-1]


def test_in_folds_they_train_and_judge_nothing(source):
    given = rows_with(20, 80)
    parts = split(given, None, seed=0)
    assert parts.procedure == "cross-validation"
    after = uncontaminated(parts, source)
    labelled, inside = after.labelled().fingerprints(), set(given.fingerprints()[-20:])
    assert len(labelled) == 80 and after.known == 20
    assert [digest not in inside for digest in labelled] == after.judges.tolist()
    everything = np.arange(80)
    ((train, test),) = after.judging([(everything[:40], everything[40:])])
    assert len(train) == 40 and all(labelled[row] not in inside for row in test)


def test_a_source_that_knows_every_row_is_refused(source):
    with pytest.raises(DataError, match=r"HS-DATA-012: people has learned from 60 of the 60 rows"):
        uncontaminated(split(rows_with(60, 60), None, seed=0), source)
    parts = split(rows_with(60, 60), None, seed=0)
    after = uncontaminated(parts, source, verdict=False)
    assert after.train is parts.train and after.known == 60 and "the score says little" in after.notes[-1]


def test_other_rows_change_nothing(source):
    parts = split(rows_with(0, 80), None, seed=0)
    assert uncontaminated(parts, source) is parts and uncontaminated(parts, None) is parts


class Knows:
    """A source that has learned from rows with these hashes."""

    def __init__(self, drawn):
        self.drawn, self.card = drawn, replace(examples.glyph(None).card, name="knows")

    def seen(self, rows):
        hashes = np.array(rows.values("a"), np.uint64)
        return Seen(np.isin(hashes, self.drawn), hashes, len(self.drawn), repeated(self.drawn))


def drawn(count, values, seed):
    """Values that are more and less frequent, as words are."""
    rng = np.random.default_rng(seed)
    return (values * rng.random(count) ** 3).astype(np.uint64)


@pytest.mark.parametrize("values", [20, 3_000, 300_000])
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_equal_by_chance_stay(values, seed):
    ours = drawn(1000, values, seed)
    given = headstart.read({"a": ours.tolist(), "y": ["a", "b"] * 500}, target="y", input="a")
    parts = split(given, None, seed=0)
    after = uncontaminated(parts, Knows(drawn(2000, values, seed + 10)))
    assert after.known == 0 and len(after.labelled()) == len(parts.labelled())
    assert values > 3_000 or "no more than are equal by chance" in after.notes[-1]


def test_the_estimate_of_chance():
    """4 rows unlike all others, 1 value twice: 4 * 3 f = 1 of three rows more, and three standard errors of it; or, by
    the source, 4 * 0.25 and three of that."""
    hashes = np.array([1, 2, 3, 4, 5, 5])
    assert by_chance(hashes, 3, 1.0) == pytest.approx(1 + 3 * np.sqrt(2))
    assert by_chance(hashes, 3000, 0.25) == pytest.approx(1 + 3)
    assert by_chance(hashes, 3000, 0.0) == 0 == by_chance(np.arange(9), 9, 1.0)
    assert alone(hashes).tolist() == [True] * 4 + [False] * 2


def test_rows_in_both_are_told_from_rows_that_are_equal_by_chance():
    """A third of the rows are in the source as well; of the others some are equal to its rows by chance."""
    theirs = drawn(2000, 100_000, 1)
    ours = np.concatenate([drawn(667, 100_000, 0), theirs[:333]])
    given = headstart.read({"a": ours.tolist(), "y": ["a", "b"] * 500}, target="y", input="a")
    after = uncontaminated(split(given, None, seed=0), Knows(theirs))
    assert 250 < after.known < 450
    twice = uncontaminated(split(given, None, seed=0), Knows(np.tile(theirs, 2)))
    assert twice.known == after.known, "rows that stand twice in the source hide nothing"


def table(values, labelled: bool):
    columns = {"a": values.tolist(), **({"y": ["a", "b"] * (len(values) // 2)} if labelled else {})}
    return headstart.read(columns, target="y" if labelled else None, input="a", for_prediction=not labelled)


def test_rows_to_adapt_to_that_are_labelled_rows_as_well_are_found():
    ours = drawn(2000, 100_000, 1)
    theirs = np.concatenate([drawn(667, 100_000, 0), ours[:333]])
    found, notes = copies(table(ours, True).without("target"), table(theirs, False))
    assert found[667:].sum() > 270 and found[:667].sum() < 50  # a few of the others are equal by chance
    assert notes == [f"Rows: {found.sum()} of the 1,000 rows to adapt to stand among the labelled rows "
                     f"({found.mean():.1%}): they judge nothing."]  # fmt: skip


def test_rows_to_adapt_to_that_are_equal_by_chance_stay():
    found, notes = copies(table(drawn(2000, 3000, 1), True).without("target"), table(drawn(1000, 3000, 0), False))
    assert not found.any() and notes[0].endswith("no more than are equal by chance; they stay.")
    found, notes = copies(table(np.arange(100), True), table(np.arange(1000, 1050), False))
    assert not found.any() and not notes


def test_where_all_rows_to_adapt_to_are_labelled_ones_the_note_says_so():
    found, notes = copies(table(np.arange(100), True).without("target"), table(np.arange(52), False))
    assert not found.any() and notes[0].endswith("of new rows the score says little.")


def test_a_text_that_stands_in_both_domains_judges_nothing():
    ours = headstart.read({"t": [f"word {n} of many here" for n in range(30)], "y": ["a", "b"] * 15}, target="y")
    theirs = headstart.read({"t": [f"word {n} of many here" for n in range(25, 60)]}, input="t", for_prediction=True)
    found, _ = copies(ours.without("target"), theirs)
    assert np.flatnonzero(found).tolist() == [0, 1, 2, 3, 4]
