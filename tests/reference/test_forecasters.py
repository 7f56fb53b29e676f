"""Forecasters of other people against the code they come from, on the same folder: TimesFM against the library's own
forward pass, one series at a time and in its own units; Chronos-Bolt against the package's pipeline.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from headstart.sources.shelf import open_source
from tests.conformance.examples import saved_chronos, saved_timesfm

LENGTHS = (5, 17, 64, 150)


def series(length: int, low: float = 3.0) -> np.ndarray:
    generator = np.random.default_rng(length)
    wave = 10 * np.sin(np.arange(length) / 3) + generator.normal(size=length)
    return (wave - wave.min() + low).astype(np.float32)


@pytest.mark.parametrize("kind", ["timesfm", "timesfm2_5"])
def test_forecasts_of_timesfm_are_those_of_the_library(tmp_path, kind):
    import transformers

    folder = saved_timesfm(tmp_path, kind)
    model = transformers.AutoModelForTimeSeriesPrediction.from_pretrained(folder).eval()
    source, every = open_source(str(folder)), [series(length, low) for length in LENGTHS for low in (3.0, -40.0)]
    with torch.inference_mode():
        found = source.forward(source.preprocess([each[None] for each in every])).pooled.numpy()
        own = [model(past_values=[torch.from_numpy(each)]).full_predictions[0, :, 1:].numpy() for each in every]
    for each, ours, theirs in zip(every, found.reshape(len(every), 8, 9), own, strict=True):
        assert np.abs(each.min() + np.ptp(each) * ours - theirs).max() < 1e-4 * np.ptp(each)
        assert np.ptp(theirs) > 1e-3 * np.ptp(each)  # the comparison says something


@pytest.mark.parametrize("kind", ["timesfm", "timesfm2_5"])
def test_beyond_its_own_horizon_timesfm_goes_on_from_its_line(tmp_path, kind):
    import transformers

    folder = saved_timesfm(tmp_path, kind)
    model = transformers.AutoModelForTimeSeriesPrediction.from_pretrained(folder).eval()
    source, given = open_source(str(folder)), series(30, -40.0)
    source.horizon = 20
    with torch.inference_mode():
        ours = source.forward(source.preprocess([given[None]])).pooled.numpy().reshape(20, 9)
        past, theirs = torch.from_numpy(given), []
        for _ in range(3):
            answer = model(past_values=[past])
            theirs.append(answer.full_predictions[0, :, 1:])
            past = torch.cat([past, answer.mean_predictions[0]])
    assert np.abs(given.min() + np.ptp(given) * ours - torch.cat(theirs)[:20].numpy()).max() < 1e-3 * np.ptp(given)


@pytest.mark.parametrize("horizon", [5, 8, 21])
def test_forecasts_of_chronos_bolt_are_those_of_the_pipeline(tmp_path, horizon):
    from chronos import ChronosBoltPipeline

    folder = saved_chronos(tmp_path)
    generator = np.random.default_rng(0)
    every = [50 + 10 * np.sin(np.arange(n) / 3) + generator.normal(size=n) for n in (5, 17, 64, 150)]
    source = open_source(str(folder))
    source.horizon = horizon
    with torch.inference_mode():
        found = source.forward(source.preprocess([each[None] for each in every])).pooled.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a longer horizon than it was trained on
        pipeline = ChronosBoltPipeline.from_pretrained(str(folder))
        contexts = [torch.tensor(each, dtype=torch.float32) for each in every]
        theirs, _ = pipeline.predict_quantiles(contexts, prediction_length=horizon)
    for each, ours, other in zip(every, found.reshape(len(every), horizon, 9), theirs.numpy(), strict=True):
        assert np.abs(each.min() + np.ptp(each) * ours - other).max() < 1e-4 * max(np.ptp(each), np.abs(other).max())
        assert np.ptp(other) > 1e-2 * np.ptp(each)
