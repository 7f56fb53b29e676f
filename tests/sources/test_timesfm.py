"""TimesFM as a source: how often values come, what stays above zero, weights that do not fit, and every method."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headstart import catalog
from headstart.datasets.read import read
from headstart.errors import SourceError
from headstart.evidence.splits import split
from headstart.methods.base import Problem, load_part, save_part
from headstart.runtime import Extractor
from headstart.sources.shelf import open_source
from tests.conformance.examples import histories, saved_timesfm, tiny_chronos, tiny_timesfm


def dated(step: int, count: int = 40):
    """One series with a value every so many months."""
    stamps = [f"{1990 + k * step // 12}-{k * step % 12 + 1:02d}-01" for k in range(count)]
    rows = {"t": stamps, "v": np.sin(np.arange(count)).tolist()}
    return read(rows, target="v", roles={"t": "step"}, horizon=3)


def test_it_is_told_how_often_values_come(tmp_path):
    source = open_source(str(saved_timesfm(tmp_path, "timesfm")))
    monthly, quarterly = source.settled(dated(1)), source.settled(dated(3))
    assert [each.settings()["frequency"] for each in (source.settled(histories()), monthly, quarterly)] == [0, 1, 2]
    sample = [np.sin(np.arange(20))[None]]
    with torch.inference_mode():
        found = [each.forward(each.preprocess(sample)).pooled for each in (monthly, quarterly)]
    assert not torch.allclose(*found, atol=1e-4)


def test_what_never_was_below_zero_is_not_forecast_below_zero(tmp_path):
    source = tiny_timesfm(tmp_path)
    series = [1.0 + np.sin(np.arange(40))[None], 3.0 * np.sin(np.arange(40))[None]]
    with torch.inference_mode():
        batch = source.preprocess(series)
        found = source.forward(batch).pooled
        source.sizes["config"]["infer_is_positive"] = False
        free = source.forward(source.preprocess(series)).pooled
    low = -series[0].min() / np.ptp(series[0])
    assert found[0].min() == pytest.approx(low, abs=1e-6) and free[0].min() < low - 0.01
    assert torch.equal(found[1], free[1])


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    folder = saved_timesfm(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if name.startswith("output_projection_point"))
    save_file({name: each for name, each in tensors.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(SourceError, match=rf"HS-SOURCE-004.*{gone}"):
        open_source(f"hf:{folder}")


def test_a_model_without_the_nine_quantiles_is_refused(tmp_path):
    folder = saved_timesfm(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantiles": [0.1, 0.5, 0.9]}))
    with pytest.raises(SourceError, match=r"HS-SOURCE-007.*0\.2"):
        open_source(str(folder))


@pytest.mark.parametrize("tiny", [pytest.param(tiny_timesfm, marks=pytest.mark.slow), tiny_chronos])
def test_it_forecasts_as_it_is_trains_starts_fresh_and_is_weighted(tmp_path, tiny):
    rows = histories(24, horizon=10)  # it forecasts 8 at a time
    parts = split(rows, seed=0)
    task = catalog.find("tasks", "forecasting").learn(rows)
    source = tiny(tmp_path).settled(rows)
    problem = Problem(parts.train, parts.valid, task, source, Extractor(source, cache=False))
    zero = catalog.find("methods", "zeroshot")().fit(problem)
    blind = parts.train.without("target")
    with torch.inference_mode():
        own = source.forward(source.preprocess(blind.samples())).pooled.numpy()
    assert np.allclose(zero.outputs(blind), own, atol=1e-4)

    def loss(fitted):
        target = task.collate(task.encode(parts.train.targets()))
        return float(task.loss(torch.as_tensor(fitted.outputs(blind), dtype=torch.float32), target)["loss"])

    tuned = catalog.find("methods", "finetune")(epochs=4, learning_rate=1e-2, patience=4).fit(problem)
    moved = [layer for layer in tuned.trained() if layer.change and layer.layer != "head"]
    assert loss(tuned) < 0.9 * loss(zero) and len(moved) > 3
    fresh = catalog.find("methods", "scratch")(epochs=1, learning_rate=1e-3).fit(problem)
    assert np.isfinite(fresh.outputs(blind)).all()
    gate = catalog.find("methods", "gate")(effort="quick").fit(problem)
    assert gate.members[-1].method.name == "zeroshot" and np.isfinite(gate.outputs(blind)).all()
    (tmp_path / "saved").mkdir()
    facts = save_part(tuned, tmp_path / "saved" / "part")
    again = load_part(facts, tmp_path / "saved" / "part", task)
    assert np.allclose(again.outputs(blind), tuned.outputs(blind), atol=1e-5)
