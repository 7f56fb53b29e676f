"""A transformer over histories: order counts, items are matched by name, and others' histories are worth something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import headstart
from headstart.datasets.base import Column, Dataset, Items
from headstart.errors import MethodError, UsageError
from headstart.methods.auto import planned
from headstart.methods.base import Problem
from headstart.methods.ease import Ease
from headstart.methods.sasrec import SASRec
from headstart.methods.sasrec_scratch import SASRecScratch
from headstart.methods.sequences import Histories
from headstart.sources.sasrec import Sequences
from headstart.tasks.recommendation import Recommendation
from tests.methods.test_items import source as clubs

RING, STEPS = 12, 5
SMALL = {"width": 16, "blocks": 1, "heads": 2, "length": 6, "dropout": 0.0}
EVERY = [f"i{n}" for n in range(RING)]
COUNTS = np.ones(RING + 1)


def walkers(count: int, seed: int) -> Dataset:
    """Users who walk around a ring one way or the other: only the order of a history tells which end comes next."""
    import datasets

    rng = np.random.default_rng(seed)
    walks = [
        [EVERY[(start + way * step) % RING] for step in range(STEPS)]
        for start, way in zip(rng.integers(0, RING, count), rng.choice([-1, 1], count))
    ]
    rows = {"user": [f"{seed}/{n}" for n in range(count)], "past": [walk[:-1] for walk in walks],
            "then": [walk[-1:] for walk in walks]}  # fmt: skip
    columns = [Column("user", "user", "category"), Column("past", "input", "items"), Column("then", "target", "items")]
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="memory", items=Items(tuple(EVERY), ("",) * RING))


def problem(rows: Dataset, source: Sequences, valid: Dataset | None = None) -> Problem:
    options = {"precision": "fp32", "drift": False}
    return Problem(rows, valid, Recommendation.learn(rows), source, None, options=options)


def score(fitted, rows: Dataset) -> float:
    return fitted.task.score(fitted.outputs(rows), fitted.task.encode(rows.targets()))


@pytest.fixture(scope="module")
def taught() -> Sequences:
    """A source that learned the ring from other walkers."""
    start = Sequences.fresh(EVERY, "ring", 0, **SMALL)
    fitted = SASRecScratch(epochs=12, learning_rate=1e-2).fit(problem(walkers(96, 0), start, walkers(24, 1)))
    fitted.source.pretrained = True
    return fitted.source


def test_the_order_of_a_history_counts(taught):
    others = walkers(60, 2)
    fitted = SASRecScratch(epochs=12, learning_rate=1e-2).fit(problem(walkers(96, 0), taught, walkers(24, 1)))
    assert score(fitted, others) > 0.9
    back = others.table.map(lambda row: {"past": row["past"][::-1]}, features=others.table.features)
    assert score(fitted, Dataset(back, others.columns, items=others.items)) < 0.75, "it looks at the other end"


def test_few_users_gain_from_a_source(taught):
    few, others = walkers(8, 3), walkers(60, 4)
    drawn, alone = (kind(epochs=3).fit(problem(few, taught)) for kind in (SASRec, SASRecScratch))
    assert score(drawn, others) > score(alone, others) + 0.3
    assert (drawn.description, alone.description) == ("SASRec", "SASRec from fresh weights")


def test_the_start_is_kept_where_no_epoch_is_better(taught):
    fitted = SASRec(epochs=1, learning_rate=0.5).fit(problem(walkers(8, 3), taught, walkers(40, 5)))
    assert fitted.history[0]["epoch"] == 0 and fitted.history[0]["validation"] > 0.9 > fitted.history[1]["validation"]
    assert score(fitted, walkers(60, 4)) > 0.9


def test_items_are_matched_by_name_not_by_place(taught):
    order = np.random.default_rng(0).permutation(RING)
    moved = taught.for_items([EVERY[n] for n in order], COUNTS, seed=0)
    walk = {"past": EVERY[3:6]}
    for one, other in ((taught, moved), (moved, moved.for_items(EVERY, COUNTS, seed=1))):
        found = [each.forward(each.preprocess([walk])).pooled for each in (one, other)]
        torch.testing.assert_close(found[0], found[1])
    new = taught.for_items([*EVERY, "new"], COUNTS, seed=0)
    assert new.codes(["new", "i0", "never"]) == [RING, 0]
    again = taught.for_items([*EVERY, "new"], COUNTS, seed=0, fresh=True)
    assert not torch.equal(again.reader.places.weight, taught.reader.places.weight) and not again.pretrained


def test_every_step_of_a_history_is_learned(taught):
    rows = walkers(5, 6)
    histories = Histories(rows, Recommendation.learn(rows), taught)
    batch, target = histories.batch(np.arange(5), True)
    assert batch.inputs["items"].shape == target.shape == (5, STEPS - 1)
    assert torch.isin((target - batch.inputs["items"]) % RING, torch.tensor([1, RING - 1])).all()
    given, method = problem(rows, taught), SASRec()
    source, head, outputs = method.prepare(given)
    from headstart.methods.network import Network

    found = method.loss(Network(source, head, outputs), batch, target, given)["loss"]
    network = source.reader.eval()
    logs = torch.log_softmax(network(batch.inputs["items"]) @ network.items.weight.T + network.bias, dim=-1)
    by_hand = -logs.gather(2, target[..., None]).mean()
    torch.testing.assert_close(found, by_hand)


def test_a_long_history_is_learned_in_stretches():
    rows = walkers(3, 7)
    short = Sequences.fresh(EVERY, "short", 0, **{**SMALL, "length": 2})
    histories = Histories(rows, Recommendation.learn(rows), short)
    seen = {tuple(histories.batch(np.arange(1), True)[0].inputs["items"][0].tolist()) for _ in range(40)}
    assert len(seen) == STEPS - 2
    assert histories.batch(np.arange(1), False)[1][0, -1] == histories.rows[0][-1]
    assert histories.costs.tolist() == [3, 3, 3]


def test_nobody_gets_what_is_popular_and_nothing_known_comes_back(taught):
    rows = walkers(30, 8)
    fitted = SASRec(epochs=1).fit(problem(rows, taught))
    empty = rows.table.map(lambda row: {"past": []}, features=rows.table.features)
    first = fitted.predict(Dataset(empty, rows.columns, items=rows.items)).values[0]
    order = np.argsort(-fitted.popularity, kind="stable")[:10]
    assert first == [fitted.task.items[place] for place in order]
    assert all(not set(past) & set(found) for past, found in zip(rows.values("past"), fitted.predict(rows).values))


def test_items_beyond_the_network_come_last(taught, monkeypatch):
    monkeypatch.setattr("headstart.methods.sequences.MOST", 8)
    fitted = SASRecScratch(epochs=1).fit(problem(walkers(30, 9), taught))
    assert len(fitted.source.ids) == 8
    assert set(fitted.predict(walkers(1, 9)).values[0][-2:]) <= set(EVERY) - set(fitted.source.ids)


def test_other_sources_are_refused_by_name():
    rows = walkers(20, 0)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*sasrec needs a (network|source that reads histories)"):
        SASRec().admit(Recommendation.learn(rows), clubs(), rows)


def test_auto_weighs_weights_and_transformer(taught):
    rows = walkers(20, 0)
    assert planned(problem(rows, taught), "balanced") == ["ease", "factors", "sasrec", "two_tower"]
    assert planned(problem(rows, taught), "quick") == ["ease", "factors"]
    with pytest.raises(MethodError, match="HS-METHOD-003"):
        Ease().admit(Recommendation.learn(rows), taught, rows)  # nothing stands beside this one


def table(count: int, seed: int) -> dict[str, list]:
    rows = walkers(count, seed)
    log: dict[str, list] = {"user": [], "item": [], "when": []}
    for user, past, then in zip(rows.values("user"), rows.values("past"), rows.values("then")):
        for when, item in enumerate([*past, *then]):
            log["user"].append(user), log["item"].append(item), log["when"].append(when)
    return log


ROLES = {"user": "user", "item": "item", "when": "step"}


@pytest.mark.slow
def test_pretrain_and_fit_with_a_verdict(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    made = headstart.pretrain(
        table(150, 0), tmp_path / "ring", roles=ROLES, objective="sasrec", epochs=10, learning_rate=1e-2
    )
    assert made.facts["objective"] == "sasrec" and made.facts["ndcg@10"] > 0.9 and "NDCG@10" in made.text()
    run = headstart.fit(table(40, 1), roles=ROLES, source=str(tmp_path / "ring"), out=tmp_path / "run")
    names = {each.name: each for each in run.record.candidates}
    assert {"ease", "sasrec", "baseline", "sasrec_scratch"} <= set(names)
    assert run.record.chosen_transfer == "sasrec" and run.record.verdict is not None
    again = headstart.load(tmp_path / "run")
    rows = walkers(10, 3)
    assert again.fitted.predict(rows).values == run.fitted.predict(rows).values


def test_an_unknown_objective_is_told(tmp_path):
    with pytest.raises(UsageError, match=r'HS-USAGE-001.*"sasrek".*sasrec'):
        headstart.pretrain(table(4, 0), tmp_path / "x", roles=ROLES, objective="sasrek")
