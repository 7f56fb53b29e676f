"""Range-based precision-recall area and VUS-PR, equal to aeon 1.6.0 (``range_pr_auc_score``, ``range_pr_vus_score``).

The numbers in range_metrics.json were computed with aeon on the same labels and scores, ties and edges among them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from headstart.nn.range_metrics import events, range_pr, sloped, vus_pr
from headstart.tasks.anomalies import Anomalies

ROWS = json.loads((Path(__file__).parent / "range_metrics.json").read_text())


def case(row):
    generator, labels = np.random.default_rng(row["seed"]), np.zeros(row["steps"], int)
    for first, after in row["events"]:
        labels[first:after] = 1
    scores = generator.normal(size=row["steps"]) + 2 * labels
    return labels, np.round(scores, 1) if row["rounded"] else scores


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"seed {row['seed']}")
def test_equal_to_aeon(row):
    labels, scores = case(row)
    for buffer, expected in row["range_pr"].items():
        assert range_pr(labels, scores, int(buffer)) == pytest.approx(expected, abs=1e-12)
    assert vus_pr(labels, scores, 25) == pytest.approx(row["vus_pr"], abs=1e-12)


def test_perfect_scores_and_scores_that_do_not_vary():
    labels = np.repeat([0, 1, 0], [40, 6, 54])
    assert range_pr(labels, labels.astype(float), 0) == pytest.approx(1)
    assert vus_pr(labels, np.ones(100), 6) == 0


def test_slopes_fall_off_on_both_sides():
    soft = sloped(np.repeat([0, 1, 0], [20, 5, 20]), 10)
    assert (soft[20:25] == 1).all() and soft[15] == pytest.approx(np.sqrt(0.5)) and soft[14] == 0
    assert soft[25] == pytest.approx(np.sqrt(0.9)) and soft[29] == 0 and events(soft) == [(15, 29)]


def test_one_lucky_step_is_not_a_whole_anomaly():
    """With point adjustment these scores would be perfect."""
    labels, scores = np.repeat([0, 1, 0], [100, 20, 180]), np.random.default_rng(0).random(300)
    scores[110] = 2
    metrics = Anomalies().metrics([scores[:, None]], [labels])
    assert metrics["vus_pr"] < 0.4 and metrics["average_precision"] < 0.4
    assert metrics["event_recall"] == 1 and metrics["precision"] == 1


def test_average_precision_and_series_without_anomalies():
    labels, scores = case(ROWS[0])
    task = Anomalies()
    quiet = np.zeros(50, int), np.linspace(0, 2, 50)
    outputs, targets = [scores[:, None], quiet[1][:, None]], [labels, quiet[0]]
    metrics = task.metrics(outputs, targets)
    assert metrics["average_precision"] == pytest.approx(average_precision_score(labels, scores))
    assert metrics["vus_pr"] == pytest.approx(task.metrics(outputs[:1], targets[:1])["vus_pr"])
    flagged = (scores > 1).sum() + (quiet[1] > 1).sum()
    assert metrics["precision"] == pytest.approx(((scores > 1) & (labels > 0)).sum() / flagged)
