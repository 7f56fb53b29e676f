"""Tent: what adapts, what it gains on a shifted stream, and how a stream that would ruin it is survived."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import headstart
from headstart.adapting.tent import PATIENCE, Tent, contradicted, prepared
from headstart.cli import main
from headstart.errors import MethodError
from headstart.testing import dataset_with
from tests.methods.signs import SIDE, digits, reader

ROWS = np.arange(900, 1540)


def share_right(model, rows, counted=None, **settings):
    """(accuracy of the adapting model, of the frozen one, the report), of the rows that count."""
    blind, truth = rows.without("target"), np.array(rows.targets())
    counted = np.ones(len(rows), bool) if counted is None else counted
    found, report = Tent(model, **settings).predict(blind)
    frozen = model.predict(blind)
    right = [(np.array(each.values) == truth)[counted].mean() for each in (found, frozen)]
    return *right, report


def by_class(rows):
    """The rows of the digits, one class after the other."""
    truth = np.array(digits(rows).targets())
    return rows[np.argsort(truth, kind="stable")]


def bad_stream(shear=0.0):
    """Digits one class after the other, noise and empty pictures in the middle; and which rows are digits."""
    signs, generator = digits(by_class(ROWS), shear), np.random.default_rng(0)
    junk = []
    for number in range(192):
        flat = np.full((SIDE, SIDE), 90, np.uint8)
        stream = io.BytesIO()
        pixels = generator.integers(0, 256, flat.shape, dtype=np.uint8) if number % 2 else flat
        Image.fromarray(pixels).save(stream, "PNG")
        junk.append(stream.getvalue())
    half = len(signs) // 2
    images, labels = signs.values("input"), signs.targets()
    counted = np.ones(len(signs) + len(junk), bool)
    counted[half : half + len(junk)] = False
    rows = [*images[:half], *junk, *images[half:]], [*labels[:half], *["0"] * len(junk), *labels[half:]]
    return dataset_with(*rows, "category", "image"), counted


def test_scales_and_shifts_of_normalisation_layers_train_and_nothing_else():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Flatten(), nn.Dropout(0.5))
    net.append(nn.LayerNorm(4, elementwise_affine=False))
    found = prepared(net.train())
    assert [id(p) for p in found] == [id(p) for module in (net[1], net[2]) for p in module.parameters()]
    assert not net[0].weight.requires_grad and not net[4].training
    before = net[1].running_mean.clone()
    one = net(torch.randn(6, 1, 3, 3) + 5)
    assert torch.equal(net[1].running_mean, before), "its own statistics stay"
    assert one.abs().max() < 5, "those of the batch are read"


@pytest.mark.slow
def test_a_shifted_stream_gains():
    """Measured on 640 slanted digits: 0.65 frozen, 0.80 adapting."""
    before = {name: value.clone() for name, value in reader().source.network.state_dict().items()}
    ours, frozen, report = share_right(reader(), digits(ROWS, shear=1.0))
    assert ours > frozen + 0.08
    assert report.batches == 10 and report.adapted >= 8 and not report.stopped
    assert all(torch.equal(value, before[name]) for name, value in reader().source.network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("shear", [0.0, 1.0])
def test_a_stream_that_ruins_it_is_noticed(shear):
    """Unguarded it falls to a third of the digits; guarded it stays within a point of the model that never adapts."""
    rows, counted = bad_stream(shear)
    naive, frozen, _ = share_right(reader(), rows, counted, guard=False)
    ours, _, report = share_right(reader(), rows, counted)
    assert naive < frozen - 0.2
    assert ours > frozen - 0.015
    assert report.rolled_back >= PATIENCE and report.stopped
    assert "rolled back" in str(report) and "it stopped adapting" in str(report)


@pytest.mark.slow
def test_a_fallen_batch_leaves_no_trace():
    """Outputs that are not finite: the frozen model answers, and the last good scales and shifts are back."""
    tent, rows = Tent(reader(), learning_rate=1e-2), digits(ROWS[:64], shear=0.8).without("target")
    tent.answer(rows)
    good = [value.clone() for value in tent.good]
    moved = [value.detach().clone() for value in tent.trained]
    assert any(not torch.equal(one, other) for one, other in zip(good, moved))
    with torch.no_grad():
        tent.trained[0].fill_(torch.nan)
    assert np.array_equal(tent.answer(rows), reader().outputs(rows))
    assert tent.report.why == {"outputs that are not finite": 1}
    assert all(torch.equal(one, other) for one, other in zip(tent.trained, good))
    tent.answer(rows)
    assert tent.fallen == 0 and tent.report.adapted == 2, "it adapts again"


def test_rows_gathered_in_few_classes_are_noticed():
    """A model whose scales point all rows to one class, surer than before: only the classes in use give it away."""
    tent, rows = Tent(reader()), digits(ROWS[:64]).without("target")
    frozen = np.asarray(reader().outputs(rows))
    one = np.full_like(frozen, -20.0)
    one[:, 3] = 20.0
    assert tent._fallen(one, frozen) == "few classes left"
    assert contradicted(one, 10 * frozen) > 0.5 and contradicted(frozen, frozen) == 0


def test_few_rows_are_answered_by_the_frozen_model():
    rows = digits(ROWS[:5]).without("target")
    tent = Tent(reader())
    assert np.array_equal(tent.answer(rows), reader().outputs(rows))
    assert tent.report.batches == 1 and tent.report.adapted == tent.report.rolled_back == 0


def test_the_command_says_what_happened(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for place, shear in (("upright", 0.0), ("slanted", 0.6)):
        found = digits(range(60), shear)
        for number, (image, label) in enumerate(zip(found.values("input"), found.targets())):
            path = tmp_path / place / (label if place == "upright" else "")
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{number:03d}.png").write_bytes(image)
    headstart.adapt("upright", "slanted", source="glyph", method="sourcetuned", settings={"epochs": 3}, out="run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["predict", "run", "slanted", "--adapt", "tent", "-o", "out.csv"]) == 0
    assert "tent: " in capsys.readouterr().err
    assert main(["predict", "run", "slanted", "--adapt", "tent", "-o", "out.csv", "-q", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["adapted"]
    assert told["batches"] == 1 and told["adapted"] + told["rolled_back"] == 1
    assert len(pd.read_csv("out.csv")) == 60
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert main(["predict", "run", "slanted", "--adapt", "tint"]) == 2


def test_what_it_needs_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    a = np.arange(60) / 10
    table = pd.DataFrame({"a": a, "y": np.where(a > 3, "yes", "no")})
    table.to_csv(tmp_path / "table.csv", index=False)
    path = tmp_path / "table.csv"
    run = headstart.adapt(path, path, target="y", method="sourceonly", out=tmp_path / "run")
    with pytest.raises(
        MethodError, match=r"HS-METHOD-003.*tent needs a network that classifies; .* sourceonly is none"
    ):
        Tent(run.fitted)
