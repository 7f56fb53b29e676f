"""What decides whether a checkpoint belongs to a fit."""

from __future__ import annotations

import pytest

from headstart.datasets.base import Column, Dataset
from headstart.methods import network
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.runtime import Extractor
from headstart.tasks.base import infer_task
from tests.conformance.examples import texts, tiny_bert


class Stop(Exception):
    """Ends a fit before it trains."""


@pytest.fixture
def key_of(tmp_path, monkeypatch):
    """The key of the checkpoint that a fit would write."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    source, seen = tiny_bert(tmp_path), []

    def trainer(*arguments, key, **rest):
        seen.append(key)
        raise Stop

    monkeypatch.setattr(network, "Trainer", trainer)

    def key(train, valid, options):
        extractor = Extractor(source, precision="fp32")
        problem = Problem(train, valid, infer_task(train), source, extractor, options=options)
        with pytest.raises(Stop):
            Finetune(epochs=1).fit(problem)
        return seen[-1]

    return key


def weighted(rows: Dataset, first: float) -> Dataset:
    """The rows with a weight column."""
    table = rows.table.add_column("w", [first, *[1.0] * (len(rows) - 1)])
    return Dataset(table, [*rows.columns, Column("w", "weight", "number")], origin=rows.origin)


def test_precision_weights_and_validation_rows_are_part_of_the_key(key_of):
    rows = texts()
    train, valid = rows.select(range(0, len(rows) - 4)), rows.select(range(len(rows) - 4, len(rows)))
    same = key_of(train, valid, {"precision": "fp32"})
    assert same == key_of(train, valid, {"precision": "fp32"})
    others = [
        key_of(train, valid, {"precision": "bf16"}),
        key_of(train, None, {"precision": "fp32"}),
        key_of(train, valid.select([0, 1, 2]), {"precision": "fp32"}),
        key_of(weighted(train, 3.0), valid, {"precision": "fp32"}),
        key_of(weighted(train, 2.0), valid, {"precision": "fp32"}),
    ]
    assert len({same, *others}) == 6
