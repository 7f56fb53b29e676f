"""Two towers: what was learned of one catalogue through its texts holds for another one, and for new items."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import headstart
from headstart.datasets.base import Column, Dataset, Items
from headstart.errors import MethodError, SourceError
from headstart.evidence.controls import controls
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.network import Network as Backbone
from headstart.methods.sequences import SequenceFitted
from headstart.methods.two_tower import TwoTower
from headstart.methods.two_tower_scratch import TwoTowerScratch
from headstart.nn.two_tower import TwoTower as Network
from headstart.ranking.measure import open_for
from headstart.sources.items import of_table
from headstart.sources.sasrec import Sequences
from headstart.sources.two_tower import TwoTowers
from headstart.tasks.recommendation import Recommendation
from tests.conformance.examples import WORDS, tiny_bert

KINDS, EACH = 6, 8
COUNT = KINDS * EACH


def vectors(seed: int) -> np.ndarray:
    """What is said of the items of a catalogue: their kind, with something of each besides."""
    kinds = np.random.default_rng(7).normal(size=(KINDS, 48))
    made = kinds[np.arange(COUNT) // EACH] + np.random.default_rng(seed).normal(0, 0.3, (COUNT, 48))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def users(count: int, seed: int, catalogue: str, each: int = EACH) -> Dataset:
    """Users who have taken a thing of one kind, and take two of another kind next, always the same for a kind: no
    likeness of texts tells which. each: items of a kind that are taken.
    """
    import datasets

    rng = np.random.default_rng(seed)
    past, then = [], []
    for kind in rng.integers(0, KINDS, count):
        past.append([f"{catalogue}{EACH * kind + rng.integers(each)}"])
        then.append([f"{catalogue}{EACH * ((kind + 2) % KINDS) + n}" for n in rng.permutation(each)[:2]])
    rows = {"user": [str(n) for n in range(count)], "past": past, "then": then}
    columns = [Column("user", "user", "category"), Column("past", "input", "items"), Column("then", "target", "items")]
    items = Items(tuple(names(catalogue)), tuple(f"{catalogue} kind {'abcdef'[n // EACH]}" for n in range(COUNT)))
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="memory", items=items)


def names(catalogue: str) -> list[str]:
    return [f"{catalogue}{n}" for n in range(COUNT)]


def problem(rows: Dataset, source: TwoTowers, valid: Dataset | None = None) -> Problem:
    options = {"precision": "fp32", "drift": False}
    return Problem(rows, valid, Recommendation.learn(rows), source, None, options=options)


def hits(fitted, rows: Dataset, first: int = 8) -> float:
    """The share of the first items of each row that are of the kind that comes next."""
    kinds = [[int(item[1:]) // EACH for item in found[:first]] for found in fitted.predict(rows).values]
    past = [int(row[0][1:]) // EACH for row in rows.values("past")]
    return float(np.mean([np.mean(np.array(found) == (kind + 2) % KINDS) for found, kind in zip(kinds, past)]))


@pytest.fixture(scope="module")
def taught() -> TwoTowers:
    """A source that learned from another catalogue."""
    start = TwoTowers.of_texts(names("x"), vectors(0), "elsewhere", "minilm", 0)
    fitted = TwoTowerScratch(epochs=30, learning_rate=1e-2).fit(problem(users(200, 0, "x"), start, users(40, 1, "x")))
    return fitted.source


def test_what_was_learned_of_one_catalogue_holds_for_another(taught):
    few, others = users(12, 2, "y"), users(100, 3, "y")
    source = taught.read(names("y"), vectors(1))
    drawn, alone = (kind(epochs=3).fit(problem(few, source)) for kind in (TwoTower, TwoTowerScratch))
    assert hits(drawn, others) > 0.7 > 0.5 > hits(alone, others)
    assert (drawn.description, alone.description) == ("two towers", "two towers from fresh weights")


def test_new_items_are_known_by_their_texts(taught):
    """The last three of each kind are in no training row."""
    few, others = users(40, 2, "y", EACH - 3), users(100, 3, "y")
    fitted = TwoTower(epochs=3).fit(problem(few, taught.read(names("y"), vectors(1))))
    order = [
        [int(fitted.task.items[item][1:]) for item in row if item >= 0]
        for row in fitted.outputs(others)[:, 0, :, 0].astype(int)
    ]
    new = [[item // EACH for item in row if item % EACH >= EACH - 3][:3] for row in order]
    kinds = [(int(row[0][1:]) // EACH + 2) % KINDS for row in others.values("past")]
    assert np.mean([found == [kind] * 3 for found, kind in zip(new, kinds)]) > 0.7
    silent = vectors(1)
    silent[np.arange(COUNT) % EACH >= EACH - 3] = 0
    fitted = TwoTower(epochs=1).fit(problem(few, taught.read(names("y"), silent)))
    assert len(fitted.source.ids) == KINDS * (EACH - 3), "nothing is said of the new ones"


def test_a_source_has_no_terms_of_single_items(taught):
    assert taught.pretrained and not taught.sizes["own"] and taught.network.bias is None
    counts = np.arange(COUNT, dtype=np.float32)
    made = taught.read(names("y"), vectors(1)).for_items(names("y"), counts, seed=0)
    np.testing.assert_allclose(made.network.bias.detach(), np.log1p(counts))
    assert not made.network.items.own.any() and made.sizes["own"]
    torch.testing.assert_close(made.network.items.adaptor.weight, taught.network.items.adaptor.weight)
    fresh = taught.read(names("y"), vectors(1)).for_items(names("y"), counts, seed=0, fresh=True)
    assert not torch.equal(fresh.network.items.adaptor.weight, taught.network.items.adaptor.weight)
    torch.testing.assert_close(fresh.network.items.vectors, made.network.items.vectors)


def test_the_middle_of_the_way_is_taken_unless_another_share_is_clearly_better(taught):
    ids, counts = names("y"), np.zeros(COUNT)
    before, after = (
        taught.read(ids, vectors(1)).for_items(ids, counts, seed=0, fresh=fresh) for fresh in (True, False)
    )
    start, end = (each.network.user[0].weight.detach() for each in (before, after))

    def rising(*gains: float):
        """Rows whose scores rise along the way by these gains."""

        def grade(network) -> np.ndarray:
            share = float((network.user[0].weight.detach() - start).norm() / (end - start).norm())
            return share * np.array(gains)

        return grade

    made, first, told = TwoTower().along(before, after, rising(0.5, 0.6, 0.4))
    assert told["share"] == 1.0 and first < told["chosen"]
    torch.testing.assert_close(made.network.user[0].weight.detach(), end)
    made, _, told = TwoTower().along(before, after, rising(1.0, -1.0, 0.3))
    assert told["share"] == 0.5
    torch.testing.assert_close(made.network.user[0].weight.detach(), (start + end) / 2)
    assert made.card.digest == made.digest() != after.card.digest


def test_new_items_take_no_part_in_the_loss(taught):
    rows = users(20, 2, "y", EACH - 3)
    task = Recommendation(names("y"), [2 if n % EACH >= EACH - 3 else 0 for n in range(COUNT)])
    given = problem(rows, taught.read(names("y"), vectors(1))).replace(task=task)
    source, head, outputs = TwoTower().prepare(given)
    assert len(source.ids) == COUNT and source.reader.unseen.tolist() == (task.parts > 0).tolist()
    batch, target = TwoTower().rows(given, source).batch(np.arange(20), True)
    network = Backbone(source, head, outputs)
    TwoTower().loss(network.train(), batch, target, given)["loss"].backward()
    moved = source.network.bias.grad != 0
    assert not moved[source.reader.unseen].any() and moved[~source.reader.unseen].all()


def test_towers_by_hand():
    torch.manual_seed(0)
    network = Network(5, 3, 4, 0.5, True).eval()
    network.items.vectors.normal_()
    for value in (network.items.own, network.bias):
        value.data.normal_()
    E = network.items.vectors @ network.items.adaptor.weight.T + network.items.adaptor.bias + network.items.own
    x = (E[1] + E[4] + E[2]) / 3**0.5
    hidden = network(torch.tensor([[1, 4, 2, 0]]))
    torch.testing.assert_close(hidden[0, 2], network.norm(x + network.user(x)))
    torch.testing.assert_close(network.scores(hidden[0]), hidden[0] @ E.T + network.bias)
    torch.testing.assert_close(hidden[:, :2], network(torch.tensor([[1, 4]])))


def test_a_run_holds_what_is_said_of_the_items(taught, tmp_path):
    rows = users(20, 2, "y")
    fitted = TwoTower(epochs=1).fit(problem(rows, taught.read(names("y"), vectors(1))))
    fitted.save(tmp_path)
    again = type(fitted).load(tmp_path, fitted.task, fitted.method)
    np.testing.assert_array_equal(again.outputs(rows), fitted.outputs(rows))
    assert isinstance(again.source, TwoTowers) and again.source.sizes["text_source"] == "minilm"
    (tmp_path / "source" / "items.json").write_text(json.dumps(["?"] * len(fitted.source.ids)))
    with pytest.raises(SourceError, match=r"HS-SOURCE-002.*items\.json was changed"):
        type(fitted).load(tmp_path, fitted.task, fitted.method)


def test_without_texts_it_is_refused(taught, tmp_path):
    rows = users(20, 2, "y")
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*two_tower needs what is known of the items.*--items"):
        TwoTower().admit(Recommendation.learn(rows), taught, rows)
    log = {"user": ["a", "a", "b", "b"], "item": ["1", "2", "2", "1"], "when": [1, 2, 3, 4]}
    roles = {"user": "user", "item": "item", "when": "step"}
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*two_tower needs what is known of the items.*--items"):
        headstart.pretrain(log, tmp_path / "x", roles=roles, objective="two_tower")
    assert not (tmp_path / "x").exists()
    sequences = Sequences.fresh(names("y"), "s", 0)
    with pytest.raises(MethodError, match=r"two_tower needs a source that reads histories \(two towers\)"):
        TwoTower().admit(Recommendation.learn(rows), sequences, rows)


def test_users_without_a_history_get_what_is_popular(taught):
    rows = users(30, 2, "y")
    fitted = TwoTower(epochs=1).fit(problem(rows, taught.read(names("y"), vectors(1))))
    empty = rows.table.map(lambda row: {"past": []}, features=rows.table.features)
    first = fitted.predict(Dataset(empty, rows.columns, items=rows.items)).values[0]
    assert first == [fitted.task.items[place] for place in np.argsort(-fitted.popularity, kind="stable")[:10]]


def log(rows: Dataset) -> dict[str, list]:
    made: dict[str, list] = {"user": [], "item": [], "when": []}
    for user, past, then in zip(rows.values("user"), rows.values("past"), rows.values("then")):
        for when, item in enumerate([*past, *then]):
            made["user"].append(user), made["item"].append(item), made["when"].append(when)
    return made


@pytest.mark.slow
def test_pretrain_and_fit_with_a_verdict(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    tiny_bert(tmp_path).save(tmp_path / "reader")
    for module in ("headstart.ranking.measure", "headstart.item_pretraining"):
        monkeypatch.setattr(f"{module}.READER", str(tmp_path / "reader"))
    roles, seen = {"user": "user", "item": "item", "when": "step"}, []

    def told_of(catalogue: str) -> dict[str, list]:
        return {"item": names(catalogue), "what": [WORDS[4 + n // EACH] for n in range(COUNT)]}

    made = headstart.pretrain(
        log(users(200, 0, "x")), tmp_path / "mine", roles=roles, items=told_of("x"), objective="two_tower", epochs=20,
        learning_rate=1e-2, report=lambda stage, done, total: seen.append(stage),
    )  # fmt: skip
    assert made.facts["objective"] == "two_tower" and made.facts["passes"] <= 20 and "two_tower_scratch" in seen
    run = headstart.fit(
        log(users(60, 1, "y")), roles=roles, items=told_of("y"), source=str(tmp_path / "mine"), out=tmp_path / "run"
    )
    found = {each.name: each for each in run.record.candidates}
    assert {"ease", "two_tower", "baseline", "two_tower_scratch"} <= set(found) and "sasrec_scratch" not in found
    assert run.record.chosen_transfer == "two_tower" and run.record.verdict.label == "positive"
    rows = users(10, 3, "y")
    monkeypatch.setattr("headstart.ranking.measure.READER", "nowhere")
    (tmp_path / "reader").rename(tmp_path / "gone")
    assert headstart.load(tmp_path / "run").fitted.predict(rows).values == run.fitted.predict(rows).values


def test_the_control_has_the_network_of_the_source(taught, tmp_path, monkeypatch):
    rows = users(20, 2, "y")
    source = taught.read(names("y"), vectors(1))
    task = Recommendation.learn(rows)
    assert [each.name for each in controls(source, "balanced", task, rows)] == ["baseline", "two_tower_scratch"]
    assert [each.name for each in controls(taught, "balanced", task, rows)] == ["baseline"], "nothing was read"
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    tiny_bert(tmp_path).save(tmp_path / "reader")
    width = tiny_bert(tmp_path).card.width
    own = np.random.default_rng(0).normal(size=(COUNT, width)).astype(np.float32)
    made = TwoTowers.of_texts(names("x"), own, "elsewhere", str(tmp_path / "reader"), 0)
    read = open_for(rows, made)
    assert read.vectors(names("y")).shape == (COUNT, width) and read.tells(names("y"), False) == set(names("y"))


def test_beside_weights_between_items_the_control_reads_the_words(tmp_path):
    rows = users(200, 0, "a", each=6)
    task = Recommendation.learn(rows)
    weights = of_table(names("a"), np.zeros((COUNT, COUNT)), name="w", holds="weights", origin="", licence="",
                       description="")  # fmt: skip
    assert [each.name for each in controls(weights, "balanced", task, rows)] == ["baseline", "two_tower_scratch"]
    bare = Dataset(rows.table, rows.columns, origin="memory", items=Items(rows.items.ids, ("",) * COUNT))
    assert [each.name for each in controls(weights, "balanced", task, bare)] == ["baseline"]
    with pytest.raises(MethodError, match="in words"):
        TwoTowerScratch().admit(task, weights, bare)
    fitted = TwoTowerScratch().fit(Problem(rows, None, task, weights, None, options={"drift": False}))
    others = users(100, 1, "a", each=6)
    score = task.score(fitted.outputs(others), task.encode(others.targets()))
    popular = Baseline(recipe="popularity").fit(Problem(rows, None, task, None, None))
    assert score > task.score(popular.outputs(others), task.encode(others.targets())) + 0.3
    fitted.save(tmp_path)
    again = SequenceFitted.load(tmp_path, task, fitted.method)
    np.testing.assert_array_equal(again.outputs(others), fitted.outputs(others))


def test_words_are_brought_to_as_many_numbers_as_are_read(monkeypatch):
    from headstart.methods import two_tower_scratch as module

    rows = users(60, 0, "a")
    task = Recommendation.learn(rows)
    monkeypatch.setattr(module, "TOLD", 4)
    fitted = TwoTowerScratch(epochs=1).fit(Problem(rows, None, task, None, None, options={"drift": False}))
    assert fitted.source.sizes["told"] == 4
