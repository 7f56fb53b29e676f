"""Sources side by side: what each part computed is read again, and fits, predictions and saved runs hold them all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import headstart
from headstart.datasets.read import read
from headstart.errors import HeadstartError, SourceError, UsageError
from headstart.runtime import Extractor
from headstart.side_by_side import SideBySide
from headstart.sources import shelf
from headstart.sources.base import Source
from headstart.sources.concatenated import Concatenated, joined
from tests.conformance.examples import texts, tiny_bert, tiny_torchvision
from tests.test_transfer import COMMON, lines, sentiment


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def names(home) -> list[str]:
    """Two folders with sources of the same vocabulary and other weights, the second of features ten times as large."""
    first = tiny_bert(home)
    other = first.untrained(5)
    with torch.no_grad():
        last = other.network.encoder.layer[-1].output.LayerNorm
        last.weight.mul_(10)
        last.bias.mul_(10)
    other.card = replace(other.card, name="other", digest=other.digest())
    first.save(home / "one")
    other.save(home / "two")
    return [str(home / "one"), str(home / "two")]


@pytest.fixture
def pair(names) -> Concatenated:
    source = shelf.open_source("+".join(names))
    assert isinstance(source, Concatenated)
    return source


def test_pooled_features_stand_side_by_side_at_one_scale(pair):
    rows = texts(20)
    matrix = Extractor(pair, precision="fp32", cache=False).matrix(rows)
    own = [Extractor(part, precision="fp32", cache=False).matrix(rows) for part in pair.parts]
    assert matrix.shape == (20, pair.card.width) == (20, 64)
    left, right = np.split(matrix, 2, axis=1)
    for block, alone in ((left, own[0]), (right, own[1])):
        assert np.corrcoef(block.ravel(), alone.ravel())[0, 1] > 0.99999, "one factor for all of a part"
    sizes = [np.linalg.norm(block, axis=1).mean() for block in (*own, left, right)]
    assert sizes[1] > 5 * sizes[0] and 0.8 < sizes[3] / sizes[2] < 1.25
    with torch.no_grad():
        live = pair.forward(pair.preprocess(rows.samples())).pooled.numpy()
    assert np.allclose(live, matrix, atol=1e-4), "the frozen pass and the network agree"


def test_what_the_parts_have_stored_is_not_computed_again(pair, names):
    rows, cut = texts(30), pair.layers()[-2].name
    alone = [Extractor(shelf.open_source(name), precision="fp32") for name in names]
    own = [extractor.matrix(rows, ["pooled", extractor.cuts(1)[0]]) for extractor in alone]
    both = Extractor(pair, precision="fp32")
    assert isinstance(both, SideBySide) and both.cuts(1) == [cut]
    matrix, cuts = both.blocks(rows, ["pooled", cut])
    assert both.forward_rows == 0 and both.seconds == 0 and "from the store" in both.description
    assert np.array_equal(cuts, np.concatenate([each[:, 32:] for each in own], axis=1))
    factors = np.repeat(np.float32(pair.factors), 32)
    assert np.array_equal(matrix, np.concatenate([each[:, :32] for each in own], axis=1) * factors)
    more = texts(50)
    new = len(set(more.fingerprints()) - set(rows.fingerprints()))
    fresh = Extractor(pair, precision="fp32")
    assert fresh.matrix(more).shape == (50, 64) and fresh.forward_rows == new > 10 and fresh.seconds > 0
    third = Extractor(shelf.open_source(names[1]), precision="fp32")
    assert len(third.matrix(more)) == 50 and third.forward_rows == 0, "and the other way round"


def test_layers_of_the_same_depth_go_together(home, tmp_path):
    from tests.conformance.examples import tiny_pair

    source = tiny_pair(tmp_path)
    counts = [len(part.layers()) for part in source.parts]
    layers = source.layers()
    assert min(counts) < max(counts) == len(layers)
    assert layers[-1].name == "+".join(
        f"{key}.{part.layers()[-1].name}" for key, part in zip(source.keys, source.parts)
    )
    ends = [[name for name in layer.name.split("+") if name.startswith(source.keys[1])] for layer in layers]
    order = [f"{source.keys[1]}.{layer.name}" for layer in source.parts[1].layers()]
    assert [name for step in ends for name in step] == order, "each part keeps its own order"
    shares = [place / len(layers) for place, step in enumerate(ends, start=1) for _ in step]
    assert all(abs(share - place / len(order)) < 1 / len(layers) for place, share in enumerate(shares, start=1))
    for layer in layers:
        for part in layer.parts:
            assert part in dict(source.network.named_modules()) or part in dict(source.network.named_parameters())
    with pytest.raises(SourceError, match=r"HS-SOURCE-007.*has no layer"):
        source.features(source.example(), ["nowhere"])


def test_a_probe_is_fitted_saved_and_loaded(home, names):
    data = sentiment(90, 0.0)
    both = "+".join(names)
    run = headstart.fit(data, "label", source=both, method="probe", out=home / "run", control=False, **COMMON)
    assert run.record.source["name"].endswith("+other") and run.record.metrics["accuracy"] > 0.6
    kept = sorted(path.name for path in (home / "run" / "model" / "source").iterdir())
    assert kept == ["part-1", "part-2", "source.json"]
    before = run.predict(data["text"])
    for name in names:
        shutil.rmtree(name)
    after = headstart.load(home / "run").predict(data["text"])
    assert after.values == before.values and np.allclose(after.probabilities, before.probabilities, atol=1e-5)


def test_both_parts_are_tuned_and_nothing_stored_is_taken_for_the_tuned(home, names):
    data = sentiment(60, 0.0)
    options = {"source": "+".join(names), "out": home / "run", "control": False, **COMMON}
    settings = {"epochs": 2, "learning_rate": 1e-2, "freeze": 1}
    run = headstart.fit(data, "label", method="finetune", settings=settings, **options)
    tuned = run.fitted.source
    assert isinstance(tuned, Concatenated)
    for part, name in zip(tuned.parts, names):
        origin = shelf.open_source(name)
        assert part.card.digest != origin.card.digest
        first, last = (
            [torch.equal(p, q) for p, q in zip(ours.module.parameters(), theirs.module.parameters())]
            for ours, theirs in ((part.layers()[n], origin.layers()[n]) for n in (0, -1))
        )
        assert all(first) and not any(last), "the first layer of each is frozen, the last trains"
    rows = read({"text": data["text"]}, input="text", for_prediction=True)
    with torch.no_grad():
        live = tuned.forward(tuned.preprocess(data["text"])).pooled.numpy()
    assert np.allclose(Extractor(tuned, precision="fp32").matrix(rows), live, atol=1e-3)
    loaded = headstart.load(home / "run")
    assert loaded.fitted.source.card == tuned.card
    assert loaded.predict(data["text"]).values == run.predict(data["text"]).values
    assert run.record.trained[0].share == 0 and run.record.trained[-2].share == 1


def test_fresh_weights_are_other_features(pair):
    rows, own = texts(10), Extractor(pair, precision="fp32")
    fresh = pair.untrained(1)
    assert fresh.card.digest not in (pair.card.digest, pair.untrained(2).card.digest)
    assert fresh.card.digest == pair.untrained(1).card.digest == fresh.digest()
    matrix = own.matrix(rows)
    other = Extractor(fresh, precision="fp32")
    assert not np.allclose(other.matrix(rows), matrix, atol=1e-2) and other.forward_rows == 10


def test_saved_parts_that_were_exchanged_are_noticed(pair, home):
    pair.save(home / "pair")
    assert shelf.open_folder(home / "pair").card == pair.card
    (home / "pair" / "part-1").rename(home / "pair" / "kept")
    (home / "pair" / "part-2").rename(home / "pair" / "part-1")
    (home / "pair" / "kept").rename(home / "pair" / "part-2")
    with pytest.raises(SourceError, match="HS-SOURCE-002"):
        shelf.open_folder(home / "pair")
    shutil.rmtree(home / "pair" / "part-2")
    with pytest.raises(SourceError, match=r"HS-SOURCE-007.*part-2"):
        shelf.open_folder(home / "pair")


def test_a_folder_whose_name_has_the_sign_is_one_source(names, home):
    shutil.copytree(names[0], home / "a+b")
    assert not isinstance(shelf.open_source(str(home / "a+b")), Concatenated)


def test_names_that_one_module_cannot_bear_twice(names, home):
    one, two = (shelf.open_source(name) for name in names)
    for part in (one, two):
        part.card = replace(part.card, name="hf:owner/a.b")
    pair = joined([one, two])
    assert pair.keys == ["hf_owner_a_b", "hf_owner_a_b_2"] and pair.card.name == "hf:owner/a.b+hf:owner/a.b"
    one.card, two.card = replace(one.card, name="forward"), replace(two.card, name="keys")
    assert joined([one, two]).keys == ["forward_", "keys_"]


def test_embed_writes_both(names, home):
    data = {"text": [" ".join(row) for row in lines(12)]}
    out = headstart.embed(data, source="+".join(names), out=home / "out.parquet", precision="fp32")
    assert pq.read_table(out).schema.field("embedding").type.list_size == 64


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{0}+{0}", UsageError, r"HS-USAGE-001: .* stands there twice.*Name each source once"),
        ("{0}+", SourceError, r"HS-SOURCE-001: there is no source \"\""),
        ("{0}+minilmm", SourceError, r"HS-SOURCE-001: there is no source \"minilmm\".*minilm"),
        ("{0}+identity", SourceError, r"HS-SOURCE-005: .*bert.* reads text, identity reads table"),
    ],
)
def test_refusals(names, text, error, words):
    with pytest.raises(error, match=words) as told:
        shelf.open_source(text.format(*names))
    assert "\n" not in str(told.value)


def test_one_is_no_pair(names):
    with pytest.raises(UsageError, match="HS-USAGE-001"):
        joined([shelf.open_source(names[0])])


def test_other_kinds_of_input_and_words_are_refused_by_name(names, home, pair):
    both = "+".join(names)
    words = {"tokens": lines(30), "tags": [["B-X" if word == "good" else "O" for word in row] for row in lines(30)]}
    for call in (headstart.fit, headstart.rank):
        given = {"sources": [both]} if call is headstart.rank else {"source": both, "out": home / "run"}
        with pytest.raises(SourceError, match=r"HS-SOURCE-005: .*\+.*no features of words") as told:
            call(words, "tags", **given)
        assert "\n" not in str(told.value)
    with pytest.raises(HeadstartError, match="HS-SOURCE-005"):
        Extractor(pair).tokens(texts(3))
    with pytest.raises(HeadstartError, match="HS-SOURCE-005"):
        Extractor(pair).ensure(texts(3), ["tokens"])
    with pytest.raises(HeadstartError, match=r"mobilenet_v2 reads image.*is text"):
        headstart.rank(sentiment(40), "label", sources="mobilenet_v2+efficientnet_lite0")


def test_settings_are_plain_and_hold_what_each_part_does(pair, names):
    settings = json.loads(json.dumps(pair.settings()))
    assert [part.settings() for part in pair.parts] == pair.settings()["parts"] and len(settings["factors"]) == 2
    part: Source = pair.parts[0]
    assert pair.card.parameters == sum(each.card.parameters for each in pair.parts) and pair.classifier is None
    assert part.card.licence in pair.card.licence and pair.cost("a few words") == 2 * part.cost("a few words")


def test_classifiers_of_the_parts_are_not_one_of_the_whole(tmp_path):
    one = tiny_torchvision(tmp_path)
    assert one.classifier is not None and joined([one, one.untrained(1)]).classifier is None
