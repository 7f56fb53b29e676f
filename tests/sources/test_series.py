"""The encoder of time series: what it sees does not depend on length, level or size; channels stand side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.errors import DataError
from headstart.sources import shelf
from headstart.sources.series import (
    LEVEL,
    LEVEL_POINTS,
    PLACE,
    SHAPE_POINTS,
    STAGES,
    STEM,
    Series,
    parts,
    standard,
    stretch,
    view,
    width,
)
from headstart.testing import dataset_with
from tests.conformance.examples import waves


def wave(count, pace=1.0):
    return np.sin(np.linspace(0, 12 * pace, count))[None].astype(np.float32)


def features(source, *samples):
    with torch.no_grad():
        return source.forward(source.preprocess(samples)).pooled


def test_length_level_and_size_are_taken_away_and_told_apart():
    source = Series()
    found = features(source, wave(200), wave(400), 5 * wave(200) + 3)
    seen = found[:, :-LEVEL]
    assert torch.allclose(seen[0], seen[1], atol=0.02)
    assert torch.allclose(seen[0], seen[2], atol=1e-3)
    level = found[2, -LEVEL:]
    assert torch.allclose(
        level, torch.arcsinh(torch.tensor([3 + 5 * wave(200).mean(), 5 * wave(200).std()])), atol=1e-3
    )


def test_besides_the_layers_stand_shape_and_level():
    source, high = Series(), 5 * wave(200) + 3
    found = source.features(source.preprocess([wave(200), high]), ["level", "stages.2", "shape"])
    assert list(found.cuts) == ["level", "stages.2", "shape"]
    assert found.cuts["shape"].shape == (2, SHAPE_POINTS) and found.cuts["level"].shape == (2, LEVEL_POINTS)
    assert torch.allclose(found.cuts["shape"][0], found.cuts["shape"][1], atol=1e-4)
    assert torch.allclose(found.cuts["shape"].norm(dim=1), torch.ones(2))
    came = parts(stretch(torch.from_numpy(high)), LEVEL_POINTS)[0]
    assert torch.allclose(found.cuts["level"][1], torch.arcsinh(came), atol=1e-5)
    assert torch.equal(found.pooled, source.forward(source.preprocess([wave(200), high])).pooled)


def test_a_series_that_stands_still_has_finite_features():
    assert torch.isfinite(features(Series(), np.full((1, 40), 7.0), np.zeros((1, 2)))).all()


def test_the_blocks_of_every_stage_have_unit_length():
    found = features(Series(), wave(300))[0, :-LEVEL]
    start = 0
    for wide in [STEM[0], *(after for after, _, _ in STAGES)]:
        for _ in range(3):
            length = float(found[start : start + wide].norm())
            assert length == pytest.approx(1, abs=1e-4) or length == 0  # nothing is large where nothing was learned
            start += wide
    assert float(found[start:].norm()) == pytest.approx(PLACE, abs=1e-4)


@pytest.mark.parametrize(("steps", "length"), [(40, 256), (300, 256), (301, 512), (701, 1024), (5000, 1024)])
def test_long_series_are_read_at_more_points(steps, length, tmp_path):
    rows = dataset_with([np.zeros(20).tolist(), np.zeros(steps).tolist(), np.zeros(steps).tolist()], ["a"] * 3,
                        "category", "series")  # fmt: skip
    source = Series().settled(rows)
    assert source.length == length and source.preprocess([wave(steps)]).inputs["series"].shape == (1, 1, length)
    source.save(tmp_path / "saved")
    assert shelf.open_source(str(tmp_path / "saved")).length == length


def test_channels_stand_side_by_side():
    one = Series()
    rows = dataset_with([wave(50)[0].tolist()], ["a"], "category", "series")
    assert one.settled(rows) is one
    two = Series(one.network, one.card, 1)
    both = rows.table.add_column("other", [wave(50, 2.0)[0].tolist()])
    column = type(rows.columns[0])("other", "input", "series")
    two = two.settled(type(rows)(both, [*rows.columns, column]))
    assert two.channels == 2 and two.card.width == width(2) and one.channels == 1
    found = features(two, np.concatenate([wave(50), wave(50, 2.0)]))
    alone = torch.cat([features(one, wave(50)), features(one, wave(50, 2.0))])
    seen = width(1) - LEVEL
    assert torch.allclose(found[0, :seen], alone[0, :seen], atol=1e-5)
    assert torch.allclose(found[0, seen : 2 * seen], alone[1, :seen], atol=1e-5)
    assert torch.allclose(found[0, -LEVEL:], alone[1, -LEVEL:], atol=1e-5)
    with pytest.raises(DataError, match=r"HS-DATA-020.*1 channels; expected 2"):
        two.preprocess([wave(50)])


def test_layers_run_from_the_stem_to_the_last_stage():
    assert [layer.name for layer in Series().layers()] == ["stem", "stages.0", "stages.1", "stages.2"]


def test_saved_with_its_channels(tmp_path):
    source = Series(channels=3)
    source.save(tmp_path / "saved")
    again = shelf.open_source(str(tmp_path / "saved"))
    assert again.channels == 3 and not again.pretrained and again.card == source.card


def test_it_is_no_source_that_auto_would_take():
    assert "series" in shelf.names() and shelf.reading("series") == []


def test_a_view_is_a_stretch_of_the_series():
    torch.manual_seed(0)
    series = standard(torch.stack([stretch(torch.from_numpy(wave(100)))] * 4))
    seen = view(series, 0.6)
    assert seen.shape == series.shape and torch.allclose(seen.std(dim=-1, unbiased=False), torch.ones(4, 1), atol=1e-4)
    assert not torch.allclose(seen[0], seen[1], atol=0.1)


def test_the_rows_of_the_examples_are_read():
    data = waves()
    assert features(Series(), *data.samples()).shape == (24, width(1))
