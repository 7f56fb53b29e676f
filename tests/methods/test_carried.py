"""A source of another catalogue: no identifier in common, or the same numbers for other things; texts tell."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import headstart
from headstart.errors import SourceError
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease, carried_prior
from headstart.methods.item_models import word_vectors
from headstart.ranking.measure import open_for
from headstart.sources.items import Items, Reading, of_table
from headstart.sources.sasrec import Sequences
from tests.conformance.examples import tiny_bert
from tests.methods.test_items import CLUB, CLUBS, people, problem, score, told

COUNT = CLUBS * CLUB
SAID = [f"club {'abcdef'[n // CLUB]} of old" for n in range(COUNT)]


def other(ids=None, texts=SAID) -> Items:
    """A source that knows the clubs by other things."""
    return of_table(
        [f"x{n}" for n in range(COUNT)] if ids is None else ids, told(), name="elsewhere", holds="weights",
        popularity=np.full(COUNT, 0.1), origin="", licence="", description="", texts=texts,
    )  # fmt: skip


def test_weights_reach_another_catalogue_through_its_texts():
    few, others = people(12, 0), people(200, 1)
    plain = Ease().fit(problem(few, source=other(texts=())))
    drawn = Ease().fit(problem(few, source=other()))
    assert score(drawn, others) > score(Baseline(recipe="EASE").fit(problem(few)), others) + 0.1
    assert score(drawn, others) > score(plain, others)
    assert "elsewhere by TF-IDF" in drawn.description and "stand-ins" in drawn.history[-1]
    assert "elsewhere" not in plain.description, "nothing of the source is known here"


def test_an_item_that_is_known_by_name_stands_for_itself():
    rows = people(20, 0)
    ids = [str(n) if n < 5 else f"x{n}" for n in range(COUNT)]
    source = other(ids, [f"club {'abcdef'[n // CLUB]} thing {n}" for n in range(COUNT)])
    vectors = word_vectors([*source.texts, *rows.items.texts])
    prior = carried_prior(source, problem(rows), vectors[:COUNT], vectors[COUNT:], 3.0)
    places = [rows.items.ids.index(str(n)) for n in range(5)]
    ratio = prior.weights[np.ix_(places, places)] / np.where(told()[:5, :5] == 0, 1, told()[:5, :5])
    off = ratio[~np.eye(5, dtype=bool)]
    np.testing.assert_allclose(off, off[0], rtol=1e-4)
    assert off[0] > 0 and prior.popularity.shape == (COUNT,)


def test_numbers_of_two_catalogues_are_no_match():
    rows = people(20, 0)
    ids = [str(n) for n in range(COUNT)]
    same = other(ids, [f"club {'abcdef'[n // CLUB]} thing {n}" for n in range(COUNT)]).settled(rows)
    assert len(same.known(rows.items.ids)[0]) == COUNT and not same.foreign(rows.items) and not same.notes
    subjects = ["stars", "moons", "ships", "trees", "birds", "stones"]
    moved = other(ids, [f"novel about {subjects[n // CLUB]}" for n in range(COUNT)])
    assert not moved.foreign(rows.items)
    settled = moved.settled(rows)
    assert len(settled.known(rows.items.ids)[0]) == 0 and settled.foreign(rows.items)
    assert f"{COUNT} have an identifier that elsewhere knows for something else" in settled.notes[0]
    beside = Sequences.fresh(ids, "sequences", 0, width=8, blocks=1, heads=1, length=4)
    beside.items = moved
    assert beside.settled(rows).codes(ids) == [] and beside.codes(ids[:2]) == [0, 1]
    beside.items = same
    assert beside.settled(rows) is beside


def test_a_text_source_reads_both_catalogues(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    tiny_bert(tmp_path).save(tmp_path / "reader")
    monkeypatch.setattr("headstart.ranking.measure.READER", str(tmp_path / "reader"))
    rows = people(20, 0)
    read = open_for(rows, other())
    assert read.reading.own.shape[0] == read.reading.others.shape[0] == COUNT and read.reading.ids == rows.items.ids
    np.testing.assert_allclose(np.linalg.norm(read.reading.others, axis=1), 1, rtol=1e-4)
    assert len({recipe.kind for recipe in Ease()._recipes(problem(rows), read)}) == 6
    known = other([str(n) for n in range(COUNT)], rows.items.texts)
    assert open_for(rows, known).reading is None, "identifiers are enough"
    monkeypatch.setattr("headstart.ranking.measure.READER", "nowhere")
    with pytest.raises(SourceError, match="HS-SOURCE-001"):
        open_for(rows, other())


def test_a_transformer_gets_the_embeddings_of_stand_ins():
    rows = people(20, 0)
    items = other()
    source = Sequences.fresh(items.ids, "sequences", 0, width=8, blocks=1, heads=1, length=4)
    clubs = np.eye(CLUBS, dtype=np.float32)[np.arange(COUNT) // CLUB]
    with torch.no_grad():
        table = clubs @ np.random.default_rng(0).normal(size=(CLUBS, 8))
        source.reader.items.weight.copy_(torch.from_numpy(table))
    own = clubs - clubs.mean(axis=0)
    source.items = items.read(Reading("words", own, rows.items.ids, own))
    made = source.for_items(rows.items.ids, np.zeros(COUNT), seed=0).reader.items.weight.detach()
    near = torch.nn.functional.cosine_similarity(made, source.reader.items.weight.detach())
    assert float(near.min()) > 0.9
    drawn = source.for_items(rows.items.ids, np.zeros(COUNT), seed=0, fresh=True).reader.items.weight.detach()
    assert float(torch.nn.functional.cosine_similarity(drawn, made).mean()) < 0.5


def test_texts_are_kept_with_the_weights(tmp_path):
    log = {"user": [], "item": [], "when": []}
    rows = people(40, 5, known=6)
    for user, past in zip(rows.values("user"), rows.values("past")):
        for when, item in enumerate(past):
            log["user"].append(user), log["item"].append(item), log["when"].append(when)
    told_of = {"item": [str(n) for n in range(COUNT)], "what": SAID}
    roles = {"user": "user", "item": "item", "when": "step"}
    made = headstart.pretrain(log, tmp_path / "mine", roles=roles, items=told_of)
    again = Items.load(tmp_path / "mine")
    assert again.texts == made.source.texts and again.texts[0] == SAID[int(again.ids[0])]
    (tmp_path / "mine" / "texts.json").write_text(json.dumps(["?"] * len(again.ids)), encoding="utf-8")
    with pytest.raises(SourceError, match=r"HS-SOURCE-002.*texts\.json was changed"):
        Items.load(tmp_path / "mine")
