"""The soup: means of weights, the greedy recipe, the ends of the interpolation, batch norms, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart import catalog, engine
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.network import Network
from headstart.methods.probe import Probe
from headstart.methods.soup import Pot, Soup, average, blend, copied, estimate_statistics, greedy
from headstart.runtime import Extractor
from headstart.types import Batch
from tests.conformance.examples import images, texts, tiny_bert, tiny_timm

QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 2e-3}


@pytest.fixture
def bert(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tiny_bert(tmp_path)


def problem_of(source, data, valid=None, **rest) -> Problem:
    extractor = Extractor(source, cache=False, precision="fp32")
    task = catalog.find("tasks", "classification").learn(data)
    return Problem(data, valid, task, source, extractor, options={"precision": "fp32"}, **rest)


def noisy_halves(count: int = 48):
    """Rows to train and to judge, a fifth of the labels wrong, so that no score is perfect."""
    from headstart.testing import dataset_with

    rows = texts(count)
    labels = [("no" if label == "yes" else "yes") if at % 5 == 0 else label for at, label in enumerate(rows.targets())]
    rows = dataset_with(rows.values("input"), labels, "category")
    return rows.select(range(count // 2)), rows.select(range(count // 2, count))


def states(count: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Weights of networks of the same structure, with a batch norm's counter among them."""
    found = []
    for number in range(count):
        torch.manual_seed(seed + number)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        network[1].num_batches_tracked += 7
        found.append({name: value.clone() for name, value in network.state_dict().items()})
    return found


# --- means ---------------------------------------------------------------------------------------------------------


def test_the_mean_of_weights_is_the_mean_of_each_parameter():
    three = states(3)
    found = average(three)
    for name, value in found.items():
        if value.is_floating_point():
            expected = np.mean([state[name].numpy().astype(np.float64) for state in three], axis=0)
            assert np.allclose(value.numpy(), expected, atol=1e-7)
        assert value.dtype == three[0][name].dtype
    assert int(found["1.num_batches_tracked"]) == 7


def test_it_is_what_torch_averages():
    """torch.optim.swa_utils.AveragedModel with its equal average."""
    networks = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(4)]
    peer = torch.optim.swa_utils.AveragedModel(networks[0])
    for network in networks:
        peer.update_parameters(network)
    found = average([network.state_dict() for network in networks])
    for name, value in peer.module.state_dict().items():
        assert torch.allclose(value, found[name], atol=1e-6)


def test_the_ends_of_the_interpolation_are_the_source_and_the_soup():
    start, *soup = states(4)
    for alpha, ends in ((0.0, start), (1.0, average(soup))):
        found, averaged = blend(start, soup, alpha)
        assert all(torch.equal(found[name], ends[name]) for name in ends)
        assert averaged == (alpha == 1.0), "the mean of three has no batch norm statistics of its own, the source has"
    middle, averaged = blend(start, soup[:1], 0.3)
    name = "0.weight"
    assert averaged and torch.allclose(middle[name], 0.7 * start[name] + 0.3 * soup[0][name], atol=1e-6)
    assert blend(start, soup[:1], 1.0) == (soup[0], False), "a single member keeps its own statistics"


# --- the recipe ----------------------------------------------------------------------------------------------------


def recipe(values: list[float]) -> tuple[list[int], float]:
    """Recipe 1 of the paper, in its words, for states that are numbers and the score -|mean|."""
    order, ingredients = values, []
    for value in order:
        if not ingredients or -abs(np.mean([*ingredients, value])) >= -abs(np.mean(ingredients)):
            ingredients.append(value)
    return [order.index(value) for value in ingredients], -abs(float(np.mean(ingredients)))


@pytest.mark.parametrize("seed", range(6))
def test_the_greedy_soup_follows_the_recipe_and_is_never_worse_than_its_best_member(seed):
    values = sorted(np.random.default_rng(seed).normal(size=9).tolist(), key=abs)
    members = [{"w": torch.tensor([value], dtype=torch.float64)} for value in values]
    seen = []

    def score(state, averaged):
        seen.append(averaged)
        return -abs(float(state["w"]))

    used, best = greedy(members, [-abs(value) for value in values], score)
    expected, level = recipe(values)
    assert used == expected and best == pytest.approx(level)
    assert best >= -abs(values[0]) and all(seen) and len(seen) == 8
    assert greedy(members, [0.0] * 9, score, late=lambda: True) == ([0], 0.0)


def test_no_choice_is_worse_on_validation_than_the_one_before_it(bert):
    train, valid = noisy_halves()
    problem = problem_of(bert, train, valid)
    fitted = Soup(members=3, spread=4.0, **QUICK).fit(problem)
    members = [row for row in fitted.history if "member" in row]
    alphas = {row["alpha"]: row["validation"] for row in fitted.history if "alpha" in row}
    targets = problem.task.encode(valid.targets())
    score = problem.task.score(fitted.outputs(valid.without("target")), targets)
    assert score == pytest.approx(max(alphas.values())) and sorted(alphas) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert max(alphas.values()) >= alphas[1.0] >= max(row["validation"] for row in members)
    assert [row["learning rate"] for row in members] == pytest.approx([2e-3, 8e-3, 5e-4])
    assert [row["layer decay"] for row in members] == pytest.approx([0.9, 0.81, 1.0])
    assert len({row["seed"] for row in members}) == 3 and any(row["in the soup"] for row in members)
    probe = Probe(layers="last").fit(problem.replace(valid=None))
    assert alphas[0.0] == problem.task.score(probe.outputs(valid.without("target")), targets), (
        "the source and its probe"
    )
    assert all(row.change is not None for row in fitted.trained())


def test_a_soup_of_one_without_interpolation_is_the_fine_tuning(bert):
    train, valid = noisy_halves()
    problem = problem_of(bert, train, valid)
    soup = Soup(members=1, interpolation=0, **QUICK)
    one, other = soup.fit(problem), soup.ablation().fit(problem)
    assert isinstance(soup.ablation(), Finetune) and soup.ablation().learning_rate == QUICK["learning_rate"]
    pairs = zip(one.source.network.state_dict().values(), other.source.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [(row.layer, row.change) for row in one.trained()] == [(row.layer, row.change) for row in other.trained()]


def test_without_a_validation_part_one_is_cut_the_same_in_every_fit(bert, monkeypatch):
    seen = []
    honest = Finetune.fit

    def fit(self, problem):
        seen.append((problem.train.fingerprints(), problem.valid.fingerprints()))
        return honest(self, problem)

    monkeypatch.setattr(Finetune, "fit", fit)
    for _ in range(2):
        Soup(members=1, interpolation=0, **QUICK).fit(problem_of(bert, texts(24)))
    assert seen[0] == seen[1] and [len(part) for part in seen[0]] == [20, 4]


# --- batch norms ---------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.norm(self.first(batch.inputs["x"]))


def test_statistics_are_those_of_the_rows():
    network = Normed().eval()
    network.norm.running_mean += 100.0
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    estimate_statistics(network, lambda: [Batch({"x": rows[:30]}), Batch({"x": rows[30:]})])
    with torch.no_grad():
        inside = network.first(rows)
    assert torch.allclose(network.norm.running_mean, inside.mean(dim=0), atol=1e-5)
    halves = torch.stack([inside[:30].var(dim=0), inside[30:].var(dim=0)]).mean(dim=0)
    assert torch.allclose(network.norm.running_var, halves, atol=1e-5)
    assert not network.norm.training and network.norm.momentum == 0.1


def test_a_mean_of_networks_with_batch_norms_gets_new_statistics_and_a_member_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    source = tiny_timm(tmp_path)
    rows = images(12)
    problem = problem_of(source, rows, rows)
    made, head, outputs = Soup().prepare(problem)
    network = Network(made, head, outputs)
    start = copied(network)
    other = {name: 1.1 * value if name.endswith("weight") else value for name, value in start.items()}
    pot = Pot(network, made, problem, bf16=False)
    pot.fill(*blend(start, [other], 1.0))
    assert all(torch.equal(value, other[name]) for name, value in network.state_dict().items())
    mean, averaged = blend(start, [other], 0.5)
    pot.fill(mean, averaged)
    statistics = [name for name in mean if name.endswith("running_mean")]
    after = network.state_dict()
    assert statistics and all(not torch.equal(after[name], mean[name]) for name in statistics)
    assert all(torch.equal(after[name], value) for name, value in mean.items() if name.endswith("weight"))
    again = copied(network)
    pot.fill(mean, averaged)
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())


# --- resuming ------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """Stands for a kill."""


def test_a_killed_soup_goes_on_in_the_member_where_it_was(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    train, valid = noisy_halves()
    soup = Soup(members=2, **{**QUICK, "epochs": 2})
    whole = soup.fit(problem_of(bert, train, valid))
    said: list[tuple[str, int]] = []

    def kill(stage, done, total):
        said.append((stage, done))
        if stage == "soup, fine-tuning 2 of 2" and done == 4:
            raise Stop

    with pytest.raises(Stop):
        soup.fit(problem_of(bert, train, valid, folder=tmp_path / "work", report=kill))
    said.clear()
    again = soup.fit(problem_of(bert, train, valid, folder=tmp_path / "work", report=lambda *now: said.append(now[:2])))
    trained = [step for step in said if step[0].startswith("soup")]
    assert trained == [("soup, fine-tuning 2 of 2", step) for step in range(4, 7)], "no step is done twice"
    assert again.history == whole.history
    pairs = zip(again.source.network.state_dict().values(), whole.source.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_where_the_time_runs_out_fewer_members_make_the_soup(bert):
    train, valid = noisy_halves()
    problem = problem_of(bert, train, valid, deadline=0.0)
    fitted = Soup(members=4, **QUICK).fit(problem)
    assert len([row for row in fitted.history if "member" in row]) == 1
    assert "soup: the time sufficed for 1 of 4 fine-tunings." in problem.notes
