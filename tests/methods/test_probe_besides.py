"""What a source has besides its layers is read by the probe, unless that cross-validates worse."""

from __future__ import annotations

import numpy as np
import pytest

from headstart import catalog
from headstart.methods.base import Problem
from headstart.methods.network import NetworkFitted
from headstart.runtime import Extractor
from headstart.sources.series import Series
from headstart.testing import dataset_with


@pytest.mark.parametrize(("told", "read"), [("place", True), ("pace", False)])
def test_where_it_helps(told, read, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator, series, labels = np.random.default_rng(0), [], []
    for row in range(80):
        steps, own = np.arange(60), row % 2
        values = np.sin(steps / (3.2 if own else 4) + generator.uniform(0, 6)) + 0.3 * generator.normal(size=60)
        if told == "place":  # a small bump, early or late, in noise
            values = generator.normal(size=60) + 1.5 * np.exp(-((steps - (22 if own else 26)) ** 2) / 8)
        series.append(values.tolist())
        labels.append("yes" if own else "no")
    rows = dataset_with(series, labels, "category", "series")
    task, source = catalog.find("tasks", "classification").learn(rows), Series()
    problem = Problem(rows, None, task, source, Extractor(source, cache=False, precision="fp32"))
    fitted = catalog.find("methods", "probe")().fit(problem)
    assert ("shape" in fitted.outputs_used) == read and fitted.outputs_used[0] == "pooled"
    fitted.save(tmp_path)
    again = NetworkFitted.load(tmp_path, task, fitted.method)
    assert np.allclose(again.outputs(rows), fitted.outputs(rows), atol=1e-4)
