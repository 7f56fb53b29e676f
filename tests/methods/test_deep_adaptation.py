"""Adaptation through the backbone: what a step sees, how the second loss grows, resuming, and that it helps."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from headstart import catalog, engine
from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.cdan import Cdan
from headstart.methods.dann import Dann
from headstart.methods.deep_adaptation import Bridge, DeepAdaptation, RowsBeside, Sides
from headstart.methods.deepadapt import Deepadapt
from headstart.methods.fixmatch import Fixmatch
from headstart.methods.mcc import Mcc
from headstart.methods.mcd import Mcd
from headstart.methods.mdd import Mdd
from headstart.methods.sourcetuned import Sourcetuned
from headstart.nn.confusion import information
from headstart.sources.glyph import Glyph
from headstart.tasks.classification import Classification
from headstart.testing import dataset_with

DEEP = [
    name for name in catalog.names("methods") if issubclass(catalog.find("methods", name), DeepAdaptation)
    and catalog.find("methods", name).role == "transfer" and catalog.find("methods", name).looks
]  # fmt: skip


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def digits(count, classes=(0, 1, 7), target=False):
    """Digits of three classes; those of the target are slanted and thinner. Also their labels."""
    data = load_digits()
    rows = np.flatnonzero(np.isin(data.target, classes))
    rows = rows[200 : 200 + count] if target else rows[:count]
    pictures = (data.images[rows] * 255 / 16).astype(np.uint8)
    if target:
        pictures = np.stack(
            [np.stack([np.roll(line, (3 - at) // 2) for at, line in enumerate(one)]) for one in pictures]
        )
        pictures = np.where(pictures > 150, pictures, 0).astype(np.uint8)
    return dataset_with([png(one) for one in pictures], [str(data.target[row]) for row in rows], "category", "image")


def problem(count=150, **more):
    train, there = digits(count), digits(120, target=True)
    found = Problem(
        train, None, Classification.learn(train), Glyph(), None, domain=there.without("target"),
        options={"drift": False, "precision": "fp32"}, **more,
    )  # fmt: skip
    return found, there


def accuracy(fitted, there):
    return fitted.task.score(fitted.outputs(there.without("target")), fitted.task.encode(there.targets()))


def test_all_are_there():
    assert {"dann", "cdan", "deepcoral", "dan", "jan", "mcd", "mcc", "mdd", "fixmatch"} <= set(DEEP)


def test_a_step_sees_target_rows_beside_without_labels():
    given, _ = problem()
    rows = RowsBeside(given, Glyph(), 2.0, plain=True)
    torch.manual_seed(0)
    batch, target = rows.batch(np.arange(10), True)
    assert len(batch) == len(target) == 10
    augmented, plain = batch.beside
    assert len(augmented) == len(plain) == 20
    assert not torch.equal(augmented.inputs["ink"], plain.inputs["ink"])
    assert rows.domain.target is None
    assert rows.batch(np.arange(10), False)[0].beside == [], "scoring looks at no target row"
    moved = batch.to("cpu")
    assert torch.equal(moved.beside[1].inputs["ink"], plain.inputs["ink"])


def test_the_weight_grows_from_nothing_to_one():
    bridge = Bridge(100, 1e-3, 0.0)
    ramp = []
    for step in (0, 50, 100, 200):
        bridge.step.fill_(step)
        ramp.append(bridge.ramp())
    assert ramp[0] == 0
    assert ramp[1] == pytest.approx(2 / (1 + np.exp(-5)) - 1)
    assert ramp[2] == ramp[3] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("method", [Dann(), Cdan(), Mcd(), Mdd()], ids=lambda each: each.name)
def test_an_adversary_and_the_features_pull_in_opposite_ways(method):
    """One step along the gradient of the features makes the adversary's loss larger, one of its own smaller."""
    torch.manual_seed(0)
    ours, theirs = torch.randn(32, 6) + 0.5, torch.randn(32, 6) - 0.5
    head, target = torch.nn.Linear(6, 3), torch.randint(0, 3, (32,))
    parts = method.parts(6, Classification(["a", "b", "c"]))
    ours.requires_grad_(True)
    theirs.requires_grad_(True)

    def value():
        return method.between(Sides(ours, theirs, head(ours), head(theirs), target, None), parts, 1.0)

    before = value()
    own = [p for part in parts.values() for p in part.parameters()]
    gradients = torch.autograd.grad(before, [theirs, *own])
    with torch.no_grad():
        theirs -= 0.5 * gradients[0] / gradients[0].norm()
        assert value() > before, "what trains the network works against the adversary"
        theirs += 0.5 * gradients[0] / gradients[0].norm()
        for p, g in zip(own, gradients[1:]):
            p -= 0.02 * g / torch.stack([each.norm() for each in gradients[1:]]).norm()
        assert value() < before


def test_what_its_own_labels_are_is_drawn_to_equal_shares():
    """A class that gets most of the chance of every row keeps the rows in which it stands out."""
    plain = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.9, 0.1]]).log()
    sides = Sides(torch.zeros(1, 2), torch.zeros(4, 2), torch.zeros(1, 2), torch.zeros(4, 2), torch.zeros(1), plain)
    every = Fixmatch(threshold=0.0)
    taught = torch.zeros(4, 2, requires_grad=True)
    every.between(sides._replace(theirs_out=taught), {}, 1.0).backward()
    assert taught.grad is not None
    assert (-taught.grad).argmax(dim=1).tolist() == [0, 1, 1, 0]
    plainly = torch.zeros(4, 2, requires_grad=True)
    dataclasses.replace(every, aligned=False).between(sides._replace(theirs_out=plainly), {}, 1.0).backward()
    assert plainly.grad is not None
    assert (-plainly.grad).argmax(dim=1).tolist() == [0, 0, 0, 0]
    sure = Fixmatch(threshold=0.999).between(sides, {}, 1.0)
    assert sure == 0, "no row is as sure as that"


def test_its_ablation_is_the_network_of_the_labelled_rows():
    plain = Mcc(epochs=3, batch_size=16, learning_rate=1e-3, trade_off=2.0).ablation()
    assert plain == Sourcetuned(epochs=3, batch_size=16, learning_rate=1e-3)
    assert plain.ablation() is None


def test_passes_and_rate_follow_the_source(tmp_path):
    given, _ = problem()
    fresh = dataclasses.replace(Sourcetuned(), epochs=2).fit(given)
    rates = {row.rate for row in fresh.trained() if row.rate}
    assert rates == {3e-3}
    assert fresh.method.epochs == 2
    tuned = dataclasses.replace(Sourcetuned(), epochs=1).fit(
        problem()[0].replace(source=fresh.source, options={"drift": False, "precision": "fp32", "head": fresh.head})
    )
    assert max(row.rate for row in tuned.trained() if row.rate) == pytest.approx(5e-4), (
        "the head of a pretrained source"
    )


def test_a_missing_domain_is_named():
    given, _ = problem()
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*mcc needs rows of a domain"):
        Mcc().fit(given.replace(domain=None))


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    method = Dann(epochs=2, batch_size=32)
    whole = method.fit(problem(folder=tmp_path / "whole")[0])

    class Killed(Exception):
        pass

    def kill(stage, done, total):
        if done == 6:
            raise Killed

    with pytest.raises(Killed):
        method.fit(problem(folder=tmp_path / "killed", report=kill)[0])
    again = method.fit(problem(folder=tmp_path / "killed")[0])
    for one, other in zip(whole.source.network.state_dict().values(), again.source.network.state_dict().values()):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_it_helps_where_the_domains_differ():
    given, there = problem()
    alone = accuracy(Sourcetuned(epochs=20, batch_size=32).fit(given), there)
    for method in (Mcc(epochs=20, batch_size=32), Fixmatch(epochs=20, batch_size=32)):
        assert accuracy(method.fit(given), there) >= alone - 0.01


def test_the_choice_is_among_methods_and_settings():
    found = Deepadapt(of="mcc, mcc temperature=1 beside=3,dann", epochs=2).candidates()
    assert list(found) == ["sourcetuned", "mcc", "mcc temperature=1 beside=3", "dann"]
    assert found["mcc temperature=1 beside=3"] == Mcc(temperature=1.0, beside=3.0, epochs=2)
    assert found["sourcetuned"] == Sourcetuned(epochs=2)
    for of, why in (
        ("finetune", "does not adapt a network"), ("sourcetuned", "does not adapt"), ("mcc temperature=x", "a number"),
        ("mcc heat=1", "no hyperparameter"), ("mcc temperature=-1", "expected"), ("", "no method"),
    ):  # fmt: skip
        with pytest.raises(MethodError, match=why):
            Deepadapt(of=of).candidates()


@pytest.mark.slow
def test_it_abstains_where_nothing_is_to_be_gained():
    """Target rows of the labelled domain itself: every network is right, none is ahead, and the control ships."""
    rows = digits(200)
    there = rows.select(range(140, 200))
    given = Problem(
        rows.select(range(140)), None, Classification.learn(rows), Glyph(), None, domain=there.without("target"),
        options={"drift": False, "precision": "fp32"},
    )  # fmt: skip
    fitted = Deepadapt(of="mcc", runs=1, epochs=8, batch_size=32).fit(given)
    last = fitted.history[-1]
    assert last["chosen"] == "sourcetuned" and last["because"].startswith("abstained")
    assert last["compared"][1]["why"]
    assert np.array_equal(fitted.outputs(there.without("target")), fitted.control.outputs(there.without("target")))


@pytest.mark.slow
def test_the_checkpoint_whose_predictions_tell_most_is_kept():
    method, given = Mcc(epochs=4, batch_size=32, checkpoint="information"), problem(90)[0]
    fitted = method.fit(given)
    told = [row["validation"] for row in fitted.history]
    assert len(told) == 4, "the schedule is run to its end"
    kept = float(information(torch.from_numpy(np.asarray(fitted.outputs(given.domain)))))
    assert kept == pytest.approx(max(told), abs=1e-3)
    assert 0 <= kept <= np.log(3)
    assert all("validation" not in row for row in Mcc(epochs=1, batch_size=32).fit(given).history)
    assert method.ablation().checkpoint == "information", "the control is chosen as well"
