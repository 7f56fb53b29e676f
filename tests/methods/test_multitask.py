"""Multitask: every weighting fits, saves, loads, repeats and resumes on text and images; its gradients are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart import catalog
from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.multitask import Balance, Multitask
from headstart.methods.network import Network, Rows
from headstart.runtime import Extractor
from headstart.tasks.base import infer_task
from headstart.testing import check_method, dataset_with
from tests.conformance.examples import images, texts, tiny_bert, tiny_torchvision

SHORT = {"epochs": 2, "batch_size": 8, "affinity": 2}


def two_targets(kind: str = "text", count: int = 24):
    """The example's labels, and numbers that follow them."""
    rows = texts(count) if kind == "text" else images(count)
    noise = 0.3 * np.random.default_rng(5).normal(size=count)
    numbers = [2.0 * (label == "yes") + float(more) for label, more in zip(rows.targets(), noise)]
    return dataset_with(
        rows.values("input"), list(zip(rows.targets(), numbers)), ("category", "number"), rows.inputs[0].kind
    )


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "gradnorm", "pcgrad"])
def test_conformance_on_text(weighting, tmp_path):
    method = Multitask(weighting=weighting, accumulate=2 if weighting == "pcgrad" else 1, **SHORT)
    check_method(method, two_targets(), catalog.find("tasks", "several"), tiny_bert(tmp_path))


@pytest.mark.slow
def test_conformance_on_images(tmp_path):
    method = Multitask(weighting="gradnorm", **SHORT)
    check_method(method, two_targets("image"), catalog.find("tasks", "several"), tiny_torchvision(tmp_path))


def test_one_target_is_refused_by_name(tmp_path):
    rows = texts()
    with pytest.raises(MethodError, match=r"HS-METHOD-003: multitask needs two targets or more.*--target"):
        Multitask().admit(infer_task(rows), tiny_bert(tmp_path), rows)


def problem(source, rows, **more) -> Problem:
    extractor = Extractor(source, cache=False, precision="fp32")
    return Problem(rows, None, infer_task(rows), source, extractor, options={"precision": "fp32"}, **more)


def test_the_heads_start_from_the_probe_of_each_target(tmp_path):
    rows = two_targets()
    given = problem(tiny_bert(tmp_path), rows)
    _, head, outputs = Multitask().prepare(given)
    probe = catalog.find("methods", "probe")(layers="last")
    for column, part in given.task.parts.items():
        own = probe.fit(given.replace(train=rows.aim(column), task=part)).head
        assert torch.equal(head.weight[given.task.outputs_of[column]], own.weight)
    assert outputs == ("pooled",)


def test_the_single_fits_have_the_same_settings():
    single = Multitask(epochs=7, learning_rate=3e-5, batch_size=5, layer_decay=0.7, head_rate=2.0, clip=0.3).ablation()
    assert single.name == "finetune"
    wanted = {"epochs": 7, "learning_rate": 3e-5, "batch_size": 5, "layer_decay": 0.7, "head_rate": 2.0, "clip": 0.3}
    assert wanted.items() <= single.hyperparameters().items()


# --- the gradients of a step -------------------------------------------------------------------------------------


class Step:
    """A network of two targets with one batch, in fp32 and without dropout."""

    def __init__(self, tmp_path, **settings) -> None:
        self.rows = two_targets()
        self.given = problem(tiny_bert(tmp_path), self.rows)
        self.method = Multitask(**{"affinity": 0, **settings})
        source, head, outputs = self.method.prepare(self.given)
        self.network = Network(source, head, outputs).eval()
        self.network.companion = self.method.companion(self.given, self.network.head)
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)
        self.batch, self.target = Rows(self.rows, self.given.task, source).batch(np.arange(8), False)

    def backward(self) -> Balance:
        losses = self.method.loss(self.network, self.batch, self.target, self.given)
        balance = self.network.companion
        assert isinstance(balance, Balance)
        balance.backward(self.network, self.batch, self.target, losses, True)
        return balance

    def gradients(self, part) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])

    def plain(self) -> dict[str, torch.Tensor]:
        """The gradient of each target on the trunk."""
        trunk = list(self.network.backbone.parameters())
        losses = self.given.task.losses(self.network(self.batch).float(), self.target)
        return {
            column: torch.cat(
                [
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for p, g in zip(trunk, torch.autograd.grad(loss, trunk, retain_graph=True, allow_unused=True))
                ]
            )
            for column, loss in losses.items()
        }


@pytest.mark.slow
def test_pcgrad_projects_on_the_trunk_and_leaves_the_heads(tmp_path):
    step = Step(tmp_path, weighting="pcgrad")
    one, two = step.plain().values()
    step.backward()
    merged = torch.cat([p.grad.flatten() for p in step.network.backbone.parameters()])
    dot = torch.dot(one, two)
    expected = one + two
    if dot < 0:
        expected = expected - dot / two.square().sum() * two - dot / one.square().sum() * one
    assert torch.allclose(merged, expected, atol=1e-6)
    heads = step.gradients(step.network.head)
    other = Step(tmp_path, weighting="equal")
    other.backward()
    assert torch.allclose(heads, other.gradients(other.network.head), atol=1e-6)


def test_pcgrad_without_conflict_is_the_plain_gradient_and_with_it_is_not(tmp_path):
    """Targets that ask for the same thing, and for the opposite: numbers that rise, and fall, with the label."""
    step = Step(tmp_path, weighting="pcgrad")
    with torch.no_grad():
        step.network.head.weight[2].copy_(-step.network.head.weight[2])  # the number's head turned round
    one, two = step.plain().values()
    assert float(torch.dot(one, two)) != 0
    step.backward()
    merged = torch.cat([p.grad.flatten() for p in step.network.backbone.parameters()])
    same = torch.allclose(merged, one + two, atol=1e-7)
    assert same == (float(torch.dot(one, two)) > 0)


def test_gradnorm_weights_move_in_a_step_and_sum_to_the_targets(tmp_path):
    step = Step(tmp_path, weighting="gradnorm")
    balance = step.backward()
    assert float(balance.weights.sum()) == pytest.approx(2.0, abs=1e-5)
    assert not torch.allclose(balance.weights, torch.ones(2), atol=1e-6)
    assert bool((balance.initial > 0).all())


def test_the_affinity_changes_neither_weights_nor_gradients(tmp_path):
    with_, without = Step(tmp_path, affinity=1), Step(tmp_path, affinity=0)
    before = [p.detach().clone() for p in with_.network.parameters()]
    balance = with_.backward()
    without.backward()
    assert int(balance.affinity.measured) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, with_.network.parameters()))
    assert torch.equal(with_.gradients(with_.network.backbone), without.gradients(without.network.backbone))


@pytest.mark.slow
def test_what_was_learned_is_in_the_history(tmp_path):
    rows = two_targets(count=48)
    settings = {**SHORT, "affinity": 1}
    for weighting in ("uncertainty", "gradnorm"):
        fitted = Multitask(weighting=weighting, **settings).fit(problem(tiny_bert(tmp_path), rows))
        last = fitted.history[-1]
        assert set(last["weights"]) == {"target_1", "target_2"}
        assert all(value > 0 and value != 1.0 for value in last["weights"].values())
        facts = last["affinity"]
        assert facts["targets"] == ["target_1", "target_2"] and facts["measured"] == 12
        assert sorted(name for group in facts["together"] for name in group) == ["target_1", "target_2"]
