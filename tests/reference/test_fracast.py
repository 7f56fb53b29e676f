"""The forecaster against the code of the wheel it comes from, run from the wheel without being installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from headstart.errors import SourceError
from headstart.sources import wheel
from headstart.sources.shelf import info, open_source

FILES = ["fracast/__init__.py", "fracast/inference.py", "fracast/_core/", "fracast/weights/"]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """The model of the wheel, in fp32."""
    folder = tmp_path_factory.mktemp("fracast")
    digest = "54a2c442ffeb8e1763733d37415326df122e0580640d6c3d02211883429fb892"
    try:
        wheel.fetch_member("fracast", "0.1.0", digest, FILES, folder)
        source = open_source("fracast")
    except SourceError as error:
        pytest.skip(str(error))
    sys.path.insert(0, str(folder))
    try:
        from fracast.inference import FracastModel

        yield FracastModel.from_pretrained(weights="fp32"), source
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "fracast"]:
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize(("length", "horizon"), [(9, 48), (144, 12), (700, 60), (2500, 48)])
def test_forecasts_are_those_of_the_wheel(peer, length, horizon):
    model, source = peer
    generator, at = np.random.default_rng(length), np.arange(length)
    series = (5 + 3 * np.sin(2 * np.pi * at / 12) + 0.02 * at + generator.normal(size=length)).astype(np.float32)
    expected = model.forecast(series, horizon=horizon)
    source.horizon = horizon
    kept = series[-2048:]
    with torch.inference_mode():
        found = source.forward(source.preprocess([kept[None]])).pooled.numpy().reshape(horizon, 9)
    low, size = float(kept.min()), float(np.ptp(kept))
    assert np.abs(low + size * found - expected).max() < 1e-3 * size


@pytest.mark.slow
def test_its_parameters_are_counted_on_the_shelf(peer):
    assert sum(p.numel() for p in peer[1].network.parameters()) == info("fracast")["parameters"] == 85_001
