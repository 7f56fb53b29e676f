"""The small network for signs: one view of every sign, whatever its paper; no knowledge until it is trained."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from headstart.errors import DataError
from headstart.sources import shelf
from headstart.sources.glyph import Glyph, bent, canonical


def sign(size=32, place=(6, 4), paper=255, ink=0, thick=3):
    """A seven."""
    image = Image.new("L", (size, size), paper)
    left, top = place
    ImageDraw.Draw(image).line(
        [(left, top), (left + 12, top), (left + 5, top + 18)], fill=ink, width=thick, joint="curve"
    )
    return image


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_place_paper_and_container_make_no_difference(tmp_path):
    first = canonical(sign())
    assert first.shape == (20, 20)
    assert first.max() == pytest.approx(1)
    assert first[:2].max() == 0, "a margin"
    sign().save(tmp_path / "seven.png")
    for other in (
        sign(place=(15, 10)), sign(size=48), sign(paper=0, ink=255), sign(paper=200, ink=90).convert("RGB"),
        np.asarray(sign()), png(sign()), str(tmp_path / "seven.png"),
    ):  # fmt: skip
        assert np.abs(canonical(other) - first).max() < 0.02


def test_size_makes_little_difference():
    large = sign().resize((128, 128), Image.Resampling.BICUBIC)
    assert np.corrcoef(canonical(large).ravel(), canonical(sign()).ravel())[0, 1] > 0.97


def test_an_empty_picture_is_an_empty_view():
    assert canonical(np.full((9, 9), 77, np.uint8)).max() == 0


def test_a_file_that_changes_is_read_again(tmp_path):
    source, path = Glyph(), tmp_path / "sign.png"
    sign().save(path)
    first = source.preprocess([str(path)]).inputs["ink"]
    assert torch.equal(source.preprocess([str(path)]).inputs["ink"], first)
    Image.new("L", (20, 20), 0).save(path)
    assert source.preprocess([str(path)]).inputs["ink"].max() == 0
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="HS-DATA-013"):
        source.preprocess([str(path)])


def test_augmentation_is_drawn_from_the_global_generator():
    pixels = torch.from_numpy(canonical(sign()))[None, None].repeat(4, 1, 1, 1)
    torch.manual_seed(3)
    first = bent(pixels)
    torch.manual_seed(3)
    assert torch.equal(bent(pixels), first)
    assert not torch.equal(bent(pixels), first)
    assert not torch.equal(first[0], first[1]), "every row another"
    assert first.shape == pixels.shape


def test_it_knows_nothing_until_it_is_trained(tmp_path):
    source = shelf.open_source("glyph")
    assert not source.pretrained
    assert not source.untrained(3).pretrained
    source.save(tmp_path / "fresh")
    assert not shelf.open_source(str(tmp_path / "fresh")).pretrained
    trained = source.clone()
    with torch.no_grad():
        next(trained.network.parameters()).add_(0.1)
    trained.save(tmp_path / "trained")
    assert shelf.open_source(str(tmp_path / "trained")).pretrained


def test_it_is_not_offered_where_knowledge_is_wanted():
    assert "glyph" in shelf.names()
    assert "glyph" not in shelf.reading("image")
    assert "mobilenet_v2" in shelf.reading("image")
