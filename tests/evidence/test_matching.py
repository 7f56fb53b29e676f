"""How many labels a probe needs to match a transfer that reads none."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart import catalog, transfer
from headstart.evidence import matching
from headstart.evidence.learners import Pool, Small
from headstart.evidence.matching import Matching
from headstart.methods.base import Problem
from headstart.testing import dataset_with
from tests.conformance.examples import texts, tiny_bert


class Stub:
    """Right on a known part of the rows by the number of labels: accuracy = 0.5 + 0.1 log2(labels / 2)."""

    light = True

    def __init__(self, targets, rows):
        self.targets, self.asked = targets, []
        self.luck = np.random.default_rng(0).permutation(rows) / rows

    def fit(self, train, others, seed):
        self.asked.append(len(train))
        share = 0.5 + 0.1 * np.log2(len(train) / 2)
        right = self.luck[others] < share
        said = np.where(right, self.targets[others], 1 - self.targets[others])
        return Small(None, np.eye(2)[said])


def measured(level: float, rows: int = 4000, labelled: int = 512) -> tuple[Matching, Stub]:
    """Labelled rows, then test rows; a transfer that is right on ``level`` of both."""
    targets = np.arange(rows) % 2
    pool = Pool(
        dataset_with([str(i) for i in range(labelled)], targets[:labelled].tolist(), "category"),
        None,
        targets[:labelled],
    )
    task = catalog.find("tasks", "classification")([0, 1])
    stub = Stub(targets, rows)
    luck = np.random.default_rng(1).permutation(rows) / rows
    said = np.eye(2)[np.where(luck < level, targets, 1 - targets)]
    ways = [(np.arange(labelled), np.arange(labelled, rows))]
    found = Matching(
        Problem(pool.labelled, None, task, None, None), pool, ways, [said[labelled:]], said[:labelled], stub, "mine", 60
    )
    found.run()
    test = np.arange(rows - labelled)
    assert found.head_start([targets[labelled:]], [test], len(test), None) is None
    return found, stub


def test_the_labels_that_match_are_read_off_the_curve():
    """An accuracy of 0.75 is reached at 2 * 2^2.5 = 11.3 labels, and no more is fitted than is needed to see it."""
    found, stub = measured(0.75)
    assert found.matched["bound"] == "exact"
    assert found.matched["labels"] == pytest.approx(2 * 2**2.5, rel=0.08)
    low, high = found.matched["interval"]
    assert low < 2 * 2**2.5 < high and high < 2 * low
    assert max(stub.asked) == 32 and min(stub.asked) == 2
    assert matching.sentence(found.matched).startswith("mine used no label; a probe needs about 11 to match it [")


def test_what_the_sizes_cannot_show_is_a_bound():
    low, _ = measured(0.3)
    assert low.matched["bound"] == "less than" and low.matched["labels"] == 2
    high, _ = measured(0.99, labelled=16)
    assert high.matched["bound"] == "more than" and high.matched["labels"] == pytest.approx(16)
    assert "more than 16" in matching.sentence(high.matched)


def test_sizes_double_and_end_with_all():
    assert matching.doubling(6, 100) == [6, 12, 24, 48, 96, 100]
    assert matching.doubling(6, 12) == [6, 12]
    assert matching.doubling(6, 4) == [4]


@pytest.mark.slow
@pytest.mark.parametrize("count", [90, 2300])
def test_a_contest_with_labels_says_how_many_match(count, tmp_path, monkeypatch):
    """By folds and by holdout: a verdict against controls, no multiplier, and the labels of a probe."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(transfer, "controls", lambda *given: [catalog.find("methods", "baseline")()])
    rows = texts(count)
    inputs = [f"{text} {number}" for number, text in enumerate(rows.samples())]
    run = headstart.fit(
        {"text": inputs, "label": rows.targets()}, "label", method="zeroshot", labels={"yes": "good", "no": "bad"},
        source=tiny_bert(tmp_path), effort="quick", precision="fp32", out=tmp_path / "run",
    )  # fmt: skip
    record = run.record
    assert record.verdict is not None and record.head_start is None and record.labelling is None
    assert record.matched["by"] == "probe" and 2 <= record.matched["labels"] <= count
    assert "zeroshot used no label; a probe needs" in run.summary()
    assert "used no label" in (tmp_path / "run" / "report.html").read_text()
    assert headstart.load(tmp_path / "run").record.matched == record.matched
