"""Frozen passes: one pass a row, parity with fp32, what survives damage, refusals in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart import runtime
from headstart.backends.torch import freeze
from headstart.datasets.base import Dataset
from headstart.runtime import Extractor
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, texts, tiny_bert, tiny_timm, tiny_torchvision


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bert(tmp_path, home):
    return tiny_bert(tmp_path)


def distinct(count: int) -> Dataset:
    """Texts that differ, of different lengths."""
    lines = [" ".join([WORDS[row % 15], WORDS[row // 15], *WORDS[: row % 7]]) for row in range(count)]
    assert len(set(lines)) == count
    return dataset_with(lines, ["a"] * count, "category").without("target")


def plain(source, data: Dataset) -> np.ndarray:
    """Each row alone through the network as it is."""
    with torch.no_grad():
        return np.concatenate([source.forward(source.preprocess([s])).pooled.numpy() for s in data.samples()])


def test_rows_equal_the_plain_network(bert):
    data = distinct(70)
    extractor = Extractor(bert, precision="fp32", batch_size=16)
    assert np.allclose(extractor.matrix(data), plain(bert, data), atol=1e-4)
    assert extractor.forward_rows == 70 and extractor.matrix(data).shape == (70, bert.card.width)


def test_a_second_run_does_no_pass_and_a_new_row_costs_one(bert):
    first = Extractor(bert, precision="fp32")
    matrix = first.matrix(distinct(40))
    assert first.description.startswith("torch fp32")
    second = Extractor(bert, precision="fp32")
    assert np.array_equal(second.matrix(distinct(40)), matrix)
    assert second.forward_rows == 0 and second.description == "all features from the store"
    assert np.array_equal(second.matrix(distinct(41))[:40], matrix) and second.forward_rows == 1
    turned = distinct(41).select(range(40, -1, -1))
    assert np.array_equal(second.matrix(turned)[1:], matrix[::-1]) and second.forward_rows == 1


def test_equal_rows_are_computed_once(bert):
    data = distinct(10).select([0, 1, 2, 0, 1, 2, 0, 9])
    extractor = Extractor(bert, precision="fp32")
    matrix = extractor.matrix(data)
    assert extractor.forward_rows == 4
    assert np.array_equal(matrix[0], matrix[3]) and not np.array_equal(matrix[0], matrix[1])


def test_windows_and_batches_do_not_change_the_rows(bert, monkeypatch):
    data = distinct(50)
    whole = Extractor(bert, precision="fp32", cache=False).matrix(data)
    monkeypatch.setattr(runtime, "WINDOW", 8)
    steps = []
    small = Extractor(bert, precision="fp32", cache=False, batch_size=3, report=lambda *step: steps.append(step))
    assert np.allclose(small.matrix(data), whole, atol=1e-5)
    assert steps[-1] == ("features", 50, 50) and [done for _, done, _ in steps] == sorted(d for _, d, _ in steps)


def test_layers_stand_side_by_side(tmp_path, home):
    source = tiny_torchvision(tmp_path)
    data = pictures(6)
    extractor = Extractor(source, precision="fp32")
    cuts = extractor.cuts(2)
    matrix = extractor.matrix(data, ["pooled", *cuts])
    with torch.no_grad():
        features = source.features(source.preprocess(data.samples()), cuts)
    wanted = torch.cat([features.pooled, *(features.cuts[cut] for cut in cuts)], dim=1).numpy()
    assert len(cuts) == 2 and np.allclose(matrix, wanted, rtol=1e-3, atol=1e-4)
    assert extractor.forward_rows == 6, "one pass gives all outputs"


def pictures(count: int) -> Dataset:
    import io

    from PIL import Image

    generator, files = np.random.default_rng(0), []
    for _ in range(count):
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(stream, "PNG")
        files.append(stream.getvalue())
    return dataset_with(files, ["a"] * count, "category", "image").without("target")


def test_words_keep_their_rows(bert):
    words = [["good", "text"], ["bad"], ["a", "few", "more", "words"]]
    data = dataset_with(words, [["O"] * len(row) for row in words], "tags", "tokens").without("target")
    rows = Extractor(bert, precision="fp32").tokens(data)
    assert [row.shape for row in rows] == [(2, 32), (1, 32), (4, 32)]
    assert np.allclose(rows[1], Extractor(bert, precision="fp32", cache=False).tokens(data.select([1]))[0], atol=1e-5)


@pytest.mark.parametrize("make", [tiny_torchvision, tiny_timm])
def test_the_frozen_copy_agrees_and_leaves_the_source_alone(make, tmp_path, home):
    source = make(tmp_path)
    before = {name: value.clone() for name, value in source.network.state_dict().items()}
    batch = source.preprocess(pictures(3).samples())
    with torch.no_grad():
        truth = source.forward(batch).pooled
        fused = freeze(source, torch.device("cpu"), "fp32", fused=True).forward(batch).pooled
    assert (fused - truth).abs().max() <= 1e-4 * truth.abs().max()
    after = source.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_damaged_segment_is_computed_again(bert, home):
    data = distinct(20)
    matrix = Extractor(bert, precision="fp32").matrix(data)
    (segment,) = home.rglob("segment-*")
    segment.write_bytes(segment.read_bytes()[:-100])
    again = Extractor(bert, precision="fp32")
    assert np.allclose(again.matrix(data), matrix, atol=1e-6) and again.forward_rows == 20


def test_other_weights_and_settings_find_nothing_of_the_source(bert):
    data = distinct(20)
    matrix = Extractor(bert, precision="fp32").matrix(data)
    other = Extractor(bert.untrained(1), precision="fp32")
    assert not np.allclose(other.matrix(data), matrix, atol=1e-3) and other.forward_rows == 20


def test_features_without_a_cache_go_with_the_extractor(bert, home):
    extractor = Extractor(bert, precision="fp32", cache=False)
    extractor.matrix(texts(6))
    folder = extractor._folder
    assert folder.is_dir() and not home.exists()
    del extractor
    assert not folder.exists()


def test_prefetch_keeps_the_order_and_passes_errors_on():
    assert list(runtime.prefetch(lambda item: item * 2, list(range(20)))) == list(range(0, 40, 2))

    def fail(item):
        if item == 3:
            raise ValueError("row 3")
        return item

    with pytest.raises(ValueError, match="row 3"):
        list(runtime.prefetch(fail, list(range(9))))
