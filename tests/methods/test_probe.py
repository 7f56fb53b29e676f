"""The probe: which layers it reads."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.methods.base import Problem
from headstart.methods.probe import Probe
from headstart.runtime import Extractor
from headstart.sources.base import Card
from headstart.tasks.classification import Classification
from headstart.types import Batch
from tests.methods.toy import Toy


class Deep(Toy):
    """Six layers [B,8], each of which passes on some of the numbers of a row: gains [6,8]."""

    provider = "deep"
    depths = True

    def __init__(self, gains):
        layers = [nn.Linear(8, 8, bias=False) for _ in gains]
        for layer, gain in zip(layers, gains):
            layer.weight.data = torch.diag(torch.as_tensor(gain, dtype=torch.float32))
        super().__init__(nn.Sequential(*layers))
        self.card = Card("deep", "text", "", 8, 0, "", "", "deep")

    def preprocess(self, samples, train=False):
        return Batch({"x": torch.tensor([[float(x) for x in sample.split(",")] for sample in samples])})


def problem(source, numbers, labels, groups=None):
    table = {"input": [",".join(f"{x:.6f}" for x in row) for row in numbers], "target": list(labels)}
    columns = [Column("input", "input", "text"), Column("target", "target", "category")]
    if groups is not None:
        table["voice"] = [f"v{group}" for group in groups]
        columns.append(Column("voice", "group", "category"))
    rows = Dataset(datasets.Dataset.from_dict(table), columns, origin="memory")
    return Problem(rows, None, Classification(["no", "yes"]), source, Extractor(source, precision="fp32", cache=False))


def chosen(given, **settings):
    return Probe(**settings).fit(given).history[-1]


def test_the_best_depth_is_found_where_the_last_layers_have_lost_what_tells_the_target():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(80, 8))
    deaf = [0, 1, 1, 1, 1, 1, 1, 1]
    source = Deep([[1] * 8, [8, 1, 1, 1, 1, 1, 1, 1], deaf, deaf, deaf, deaf])
    given = problem(source, X, np.where(X[:, 0] > 0, "yes", "no"))
    found = chosen(given)
    assert found["outputs"] in (["0"], ["1"]) and found["cross-validation"] > 0.9
    assert list(found["depths"]) == ["pooled", "4", "3", "2", "1", "0"] and found["depths"]["pooled"] < 0.7
    assert Probe().outputs_read(given.extractor, given.task) == ["pooled", "4", "3", "2", "1", "0"]
    assert Probe(layers="2").outputs_read(given.extractor, given.task) == ["2"]


def test_of_equal_depths_the_last_one_is_read():
    X = np.random.default_rng(0).normal(size=(60, 8))
    found = chosen(problem(Deep([[1] * 8] * 6), X, np.where(X[:, 0] > 0, "yes", "no")))
    assert found["outputs"] == ["pooled"] and len(set(found["depths"].values())) == 1


def test_where_rows_have_a_group_no_depth_wins_by_telling_the_groups():
    """Ten voices, each with one label: the first layer tells the voice, the others the label, less surely."""
    generator = np.random.default_rng(1)
    voice = np.repeat(np.arange(10), 8)
    labels = np.where(voice % 2, "yes", "no")
    X = 4 * generator.normal(size=(10, 8))[voice] + 0.1 * generator.normal(size=(80, 8))
    X[:, 0] = (voice % 2) - 0.5 + 0.4 * generator.normal(size=80)
    source = Deep([[1] * 8, *[[1, 0, 0, 0, 0, 0, 0, 0]] * 5])
    alone, apart = chosen(problem(source, X, labels)), chosen(problem(source, X, labels, voice))
    assert alone["outputs"] == ["0"] and alone["cross-validation"] == 1.0
    assert apart["outputs"] == ["pooled"] and apart["depths"]["0"] < apart["depths"]["pooled"] < 1.0


def test_sources_whose_depths_are_not_ranked_read_the_last_three_at_most():
    X = np.random.default_rng(0).normal(size=(60, 8))
    source = Deep([[1] * 8] * 6)
    source.depths = False
    given = problem(source, X, np.where(X[:, 0] > 0, "yes", "no"))
    assert Probe().outputs_read(given.extractor, given.task) == ["pooled", "4", "3"]
    assert "depths" not in chosen(given)


def test_too_few_rows_or_one_class_are_not_ranked():
    X = np.random.default_rng(0).normal(size=(6, 8))
    given = problem(Deep([[1] * 8] * 6), X, ["yes", "no"] * 3)
    few = given.replace(train=given.train.select([0, 1, 2]))
    assert "depths" not in chosen(few) and "depths" in chosen(replace(given))
