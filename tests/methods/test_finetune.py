"""Fine-tuning against the formulas of its papers: rates by layer, the pulls of L2-SP, surgical blocks, found rates."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from headstart import catalog, engine
from headstart.errors import MethodError
from headstart.methods import finetune as module
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.network import Network
from headstart.runtime import Extractor
from tests.conformance.examples import texts, tiny_bert


@pytest.fixture
def bert(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tiny_bert(tmp_path)


def problem_of(source, data=None, valid=None, **rest) -> Problem:
    data = data or texts(24)
    extractor = Extractor(source, cache=False, precision="fp32")
    task = catalog.find("tasks", "classification").learn(data)
    return Problem(data, valid, task, source, extractor, options={"precision": "fp32"}, **rest)


def halves(count: int = 48):
    rows = texts(count)
    return rows.select(range(count // 2)), rows.select(range(count // 2, count))


# --- ULMFiT: discriminative rates ----------------------------------------------------------------------------------


def test_the_rate_of_a_layer_is_that_of_the_next_over_2_6(bert):
    """Howard & Ruder 2018, section 3.2: the rate of layer l - 1 is that of l divided by 2.6."""
    method = Finetune(learning_rate=0.01, layer_decay=1 / 2.6, head_rate=1.0)
    groups = method.groups(bert.clone(), bert.network)
    rates = [group.rate for group in groups]
    assert [group.name for group in groups[:-1]] == [layer.name for layer in bert.layers()]
    assert rates[-1] == rates[-2] == 0.01
    assert [above / below for below, above in pairwise(rates[:-1])] == pytest.approx([2.6] * (len(rates) - 2))


def test_layers_that_are_never_unfrozen_are_shown_as_frozen(bert):
    """One layer an epoch: after two epochs the head and the last layer have trained."""
    rows = Finetune(epochs=2, batch_size=8, gradual=True, patience=9).fit(problem_of(bert)).trained()
    assert [row.share for row in rows] == [0.0] * (len(rows) - 2) + [1.0, 1.0]
    assert [row.change == 0.0 for row in rows] == [True] * (len(rows) - 2) + [False, False]


# --- L2-SP ---------------------------------------------------------------------------------------------------------


def test_the_pulls_have_the_gradient_of_the_paper(bert):
    """Li et al. 2018, equation 2: the gradient is alpha (w - w_0) on the layers and beta w on the head."""
    problem, alpha, beta = problem_of(bert), 0.3, 0.7
    method = Finetune(l2sp=alpha, l2sp_head=beta)
    source, head, outputs = method.prepare(problem)
    network = Network(source, head, outputs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    pull = method.pull(network, problem)
    pull.backward()
    origin = dict(bert.network.named_parameters())
    value = 0.0
    for name, parameter in network.backbone.named_parameters():
        away = parameter.detach() - origin[name].detach()
        assert torch.allclose(parameter.grad, alpha * away, atol=1e-6)
        value += 0.5 * alpha * float(away.double().square().sum())
    for parameter in network.head.parameters():
        assert torch.allclose(parameter.grad, beta * parameter.detach(), atol=1e-6)
        value += 0.5 * beta * float(parameter.detach().double().square().sum())
    assert float(pull.detach()) == pytest.approx(value, rel=1e-5)
    assert all(parameter.grad is None for parameter in bert.network.parameters()), "the source takes no gradient"


def test_the_pull_is_part_of_the_loss_and_leaves_frozen_layers_out(bert):
    problem = problem_of(bert)
    method = Finetune(l2sp=2.0)
    source, head, outputs = method.prepare(problem)
    network = Network(source, head, outputs).eval()
    batch = source.preprocess(["good text", "bad text"])
    target = torch.tensor([0, 1])
    plain = Finetune().loss(network, batch, target, problem)["loss"]
    held = method.loss(network, batch, target, problem)["loss"]
    assert float(held.detach()) == pytest.approx(float(plain.detach())), "not moved yet"
    first = next(iter(source.layers()[0].module.parameters()))
    with torch.no_grad():
        first += 1.0
    moved = float(method.pull(network, problem).detach())
    assert moved == pytest.approx(first.numel())
    first.requires_grad_(False)
    assert float(method.pull(network, problem).detach()) == pytest.approx(0.0)


def test_the_pulls_take_the_place_of_weight_decay(bert):
    def decays(**settings):
        return [group.decay for group in Finetune(weight_decay=0.05, **settings).groups(bert.clone(), bert.network)]

    layers = len(bert.layers())
    assert decays() == [0.05] * (layers + 1)
    assert decays(l2sp=1.0) == [0.0] * layers + [0.05]
    assert decays(l2sp_head=1.0) == [0.05] * layers + [0.0]


# --- blocks --------------------------------------------------------------------------------------------------------


def test_blocks_are_contiguous_and_cut_the_layers(bert):
    names = [layer.name for layer in bert.layers()]
    for blocks in range(1, len(names) + 1):
        found = []
        for number in range(1, blocks + 1):
            groups = Finetune(tune=f"{number}/{blocks}", learning_rate=1e-3).groups(bert.clone(), bert.network)
            found += [group.name for group in groups[:-1]]
            assert groups[-1].name == "head" and groups[-2].rate == 1e-3, "the end of the block has the whole rate"
        assert found == names


@pytest.mark.parametrize("tune", ["4/3", "0/2", "1/99", "middle", "1/", "-1/2", ""])
def test_a_block_that_is_none_is_refused_by_name(bert, tune):
    with pytest.raises(MethodError, match=f'HS-METHOD-002.*tune is "{tune}"'):
        Finetune(tune=tune).groups(bert.clone(), bert.network)


def test_more_blocks_than_layers_are_refused_by_name(bert):
    with pytest.raises(MethodError, match="HS-METHOD-002: finetune: surgical is 50; the source has"):
        Finetune(surgical=50).fit(problem_of(bert))


def test_surgery_tunes_the_block_whose_trial_was_best_and_records_the_scores(bert, monkeypatch):
    """The trials are as they are on validation; here their scores are set, and the fit has to follow them."""
    blocks = len(bert.layers())
    scores = {f"{number + 1}/{blocks}": 0.9 if number == 1 else 0.5 for number in range(blocks)}
    monkeypatch.setattr(Finetune, "_trials", lambda self, problem: {"scores": scores})
    train, valid = halves()
    fitted = Finetune(surgical=blocks, epochs=1, batch_size=8, learning_rate=1e-3).fit(problem_of(bert, train, valid))
    assert fitted.method.tune == f"2/{blocks}" and fitted.method.surgical == 0
    assert fitted.history[:blocks] == [{"trial": block, "score": score} for block, score in scores.items()]
    changed = [row.change > 0 for row in fitted.trained()]
    assert changed == [number == 1 for number in range(blocks)] + [True], "the block and the head, nothing else"


@pytest.mark.slow
def test_trials_are_short_scored_on_validation_and_of_one_block_each(bert, monkeypatch):
    seen = []
    honest = Finetune.fit

    def fit(self, problem):
        if not self.surgical:
            seen.append((self.tune, self.epochs, len(problem.train), problem.valid))
        return honest(self, problem)

    monkeypatch.setattr(Finetune, "fit", fit)
    monkeypatch.setattr(module, "LEAST", 8)
    train, valid = halves(96)
    fitted = Finetune(surgical=2, epochs=1, batch_size=8, learning_rate=1e-3).fit(problem_of(bert, train, valid))
    trials, (last, epochs, rows, _) = seen[:-1], seen[-1]
    assert [block for block, *_ in trials] == ["1/2", "2/2"] and all(part is valid for *_, part in trials)
    assert sum(each[1] * each[2] for each in trials) <= 0.5 * epochs * rows, "both cost half of the training at most"
    scores = {row["trial"]: row["score"] for row in fitted.history if "trial" in row}
    assert list(scores) == ["1/2", "2/2"] and scores[last] == max(scores.values())
    again = Finetune(surgical=2, epochs=1, batch_size=8, learning_rate=1e-3).fit(problem_of(bert, train, valid))
    assert again.history == fitted.history


def test_surgery_without_a_validation_part_sets_rows_aside_for_the_choice_alone(bert, monkeypatch):
    seen = []
    honest = Finetune.fit

    def fit(self, problem):
        seen.append((len(problem.train), None if problem.valid is None else len(problem.valid)))
        return honest(self, problem)

    monkeypatch.setattr(Finetune, "fit", fit)
    Finetune(surgical=2, epochs=1, batch_size=8).fit(problem_of(bert, texts(24)))
    assert seen == [(24, None), (20, 4), (20, 4), (24, None)]


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.slow
def test_a_killed_surgery_goes_on_with_the_block_that_was_chosen(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    train, valid = halves()
    method = Finetune(surgical=2, epochs=2, batch_size=8, learning_rate=1e-3)
    whole = method.fit(problem_of(bert, train, valid))

    def kill(stage, done, total):
        if stage == "finetune" and done == 5:
            raise Stop

    with pytest.raises(Stop):
        method.fit(problem_of(bert, train, valid, folder=tmp_path / "work", report=kill))
    monkeypatch.setattr(Finetune, "_trials", None)  # they are not made again
    said = []
    problem = problem_of(bert, train, valid, folder=tmp_path / "work", report=lambda *now: said.append(now[:2]))
    again = method.fit(problem)
    assert again.history == whole.history and again.method == whole.method
    assert [now for now in said if now[0] == "finetune"] == [("finetune", 5), ("finetune", 6)]
    assert np.array_equal(again.outputs(valid), whole.outputs(valid))


# --- found rate ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_rate_of_zero_is_found_recorded_and_kept_for_a_resumed_fit(bert, tmp_path, monkeypatch):
    train, valid = halves()
    first = Finetune(epochs=1, batch_size=8, learning_rate=0.0).fit(
        problem_of(bert, train, valid, folder=tmp_path / "w")
    )
    found = first.history[0]
    assert first.method.learning_rate == found["found rate"] > 0
    assert len(found["sweep"]["rates"]) == len(found["sweep"]["gains"]) <= found["steps"] <= 20
    json.dumps(found)
    assert max(row.rate for row in first.trained()[:-1]) == found["found rate"]
    monkeypatch.setattr(module.GradientMethod, "loss", None)  # a second sweep would need it
    kept = json.loads((tmp_path / "w/finetune-rate.json").read_text())
    assert kept["found"] == found
    monkeypatch.undo()
    monkeypatch.setattr("headstart.methods.network.found_rate", None)
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    again = Finetune(epochs=1, batch_size=8, learning_rate=0.0).fit(
        problem_of(bert, train, valid, folder=tmp_path / "w")
    )
    assert np.array_equal(again.outputs(valid), first.outputs(valid))


@pytest.mark.slow
def test_the_sweep_leaves_the_source_alone_and_does_not_depend_on_the_random_state(bert):
    from headstart.methods.network import found_rate

    before = {name: value.clone() for name, value in bert.network.state_dict().items()}
    method, problem = Finetune(epochs=1, batch_size=8, learning_rate=0.0), problem_of(bert)
    first = found_rate(method, problem)
    torch.manual_seed(123)
    assert found_rate(method, problem) == first
    assert all(torch.equal(value, before[name]) for name, value in bert.network.state_dict().items())
