"""Pretraining: what it reads, what it may be asked, what comes out, and that a collapse is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import headstart
from headstart.errors import MethodError
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.network import NetworkFitted
from headstart.methods.pretrain import OBJECTIVES, Pretrain, passes
from headstart.methods.probe import Probe
from headstart.nn import mae
from headstart.nn.mlm import MaskedLanguage
from headstart.nn.self_supervised import spread
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, images, texts, tiny_bert, tiny_timm
from tests.methods.toy import Toy
from tests.test_transfer import sentiment

QUICK = {"epochs": 1, "batch_size": 12}


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Source:
    """The tiny BERT, its tokenizer with a mask token in the place of a word that no text uses."""
    source = tiny_bert(tmp_path_factory.mktemp("bert"))
    import tokenizers

    from headstart.sources.text import TextReader

    reader = source.reader
    content = reader._texts.to_str().replace('"one"', '"[MASK]"')
    tokenizer = tokenizers.Tokenizer.from_str(content)
    tokenizer.add_special_tokens(["[MASK]"])
    source.reader = TextReader(tokenizer, reader.max_length, reader.pad, reader.types)
    assert source.reader.vocabulary.mask == reader._texts.token_to_id("one")
    return source


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))


def problem(source, rows, **more):
    extractor = Extractor(source, cache=False, precision="fp32")
    options = {"precision": "fp32", "drift": False}
    return Problem(rows, None, infer_task(rows), source, extractor, seed=0, options=options, **more)


def weights(fitted):
    return fitted.source.card.digest


@pytest.mark.parametrize("objective", [name for name, kind in OBJECTIVES.items() if kind.modality == "text"])
def test_the_loss_of_a_text_objective_falls(bert, objective):
    rows = texts(48)
    method = Pretrain(objective=objective, epochs=8, batch_size=12, learning_rate=3e-3, head_rate=1.0, collapse=0.0)
    fitted = method.fit(problem(bert, rows))
    losses = [row["pretraining loss"] for row in fitted.history if "pretraining loss" in row]
    assert len(losses) == 8 and losses[-1] < 0.9 * losses[0]
    assert isinstance(fitted, NetworkFitted) and fitted.changed and fitted.method is method
    moved, head = fitted.trained()[:-1], fitted.trained()[-1]
    assert all(row.share == 1.0 and row.change > 0 for row in moved) and head.share == 1.0


def test_masked_words_are_found_where_the_text_tells_them(bert):
    """Texts that say one of two words again and again: the hidden one can be known, a fresh head learns it."""
    inputs = [" ".join([word] * 12) for word in WORDS[:2] * 16]
    rows = dataset_with(inputs, ["a", "b"] * 16, "category")
    method = Pretrain(objective="mlm", epochs=24, batch_size=8, learning_rate=3e-3, head_rate=1.0, collapse=0.0)
    fitted = method.fit(problem(bert, rows))
    losses = [row["pretraining loss"] for row in fitted.history if "pretraining loss" in row]
    assert losses[0] > 1.0 and losses[-1] < 0.62  # log 2 = 0.69 by the words' shares alone


def test_labels_and_validation_rows_are_not_read(bert):
    rows, valid = texts(24), texts(36)
    labels = rows.targets()
    turned = dataset_with(rows.samples(), labels[::-1], "category")
    first = Pretrain(**QUICK).fit(problem(bert, rows))
    assert weights(first) == weights(Pretrain(**QUICK).fit(problem(bert, turned)))
    assert weights(first) == weights(Pretrain(**QUICK).fit(problem(bert, rows).replace(valid=valid)))
    more = Pretrain(**QUICK).fit(problem(bert, rows, unlabelled=valid.without("target")))
    assert weights(first) != weights(more)
    facts = next(row for row in more.history if "objective" in row)
    assert facts["rows"] == 24 + 36 and facts["steps"] == 5


def test_it_is_compared_with_what_follows_alone():
    assert Pretrain().ablation() == Probe()
    assert Pretrain(then="finetune").ablation() == Finetune()


def test_a_run_reports_the_verdict_on_the_pretraining(bert, tmp_path):
    artefact = headstart.fit(
        sentiment(50), target="label", source=bert, method="pretrain", settings=QUICK, effort="quick",
        precision="fp32", out=tmp_path / "run", control=False, unlabelled={"text": sentiment(80, seed=1)["text"]},
    )  # fmt: skip
    record = artefact.record
    assert [(each.method, each.against) for each in record.comparisons] == [("pretrain", "probe")]
    assert {row.name for row in record.candidates} == {"pretrain", "probe"}
    assert record.comparisons[0].verdict.rows == 50
    texts = ["good happy text", "bad sad words"]
    assert headstart.load(tmp_path / "run").predict(texts).values == artefact.predict(texts).values


def test_fine_tuning_follows(bert):
    rows = texts(24)
    fitted = Pretrain(then="finetune", **QUICK).fit(problem(bert, rows))
    assert fitted.method.name == "pretrain"
    assert {"pass", "epoch"} <= {name for row in fitted.history for name in row}
    assert weights(fitted) != bert.card.digest


def test_heads_are_refitted_on_all_labels_with_the_pretrained_source(bert):
    rows, method = texts(36), Pretrain(**QUICK)
    whole = problem(bert, rows)
    first = method.fit(whole.replace(train=rows.select(range(24))))
    again = method.refitted(first, whole)
    assert again is not None and again.source is first.source and again.changed
    assert again.trained()[0].rate == method.learning_rate
    assert not np.allclose(again.head.weight.detach(), first.head.weight.detach())
    assert again.history[:2] == first.history[:2] and "pretraining loss" in again.history[1]
    tuned = replace(method, then="finetune")
    assert tuned.refitted(first, whole) is None


def test_a_collapse_is_noticed_and_the_source_used_as_it_is(bert, monkeypatch):
    def together(self, batch, target):
        return {"loss": self(batch).square().sum() + sum(p.square().sum() for p in self.backbone.parameters())}

    monkeypatch.setattr(MaskedLanguage, "loss", together)
    rows = texts(24)
    given = problem(bert, rows)
    method = Pretrain(objective="mlm", epochs=40, batch_size=12, learning_rate=0.1)
    fitted = method.fit(given)
    assert weights(fitted) == bert.card.digest and not fitted.changed
    assert "became alike" in given.notes[-1]
    collapsed = next(row for row in fitted.history if "collapsed" in row)
    assert collapsed["collapsed"] < method.collapse
    plain = Probe().fit(given)
    assert np.allclose(fitted.outputs(rows), plain.outputs(rows))


def test_looking_at_the_spread_leaves_the_network_as_it_was(bert):
    network = bert.clone()
    network.network.train()
    state = torch.get_rng_state()
    assert spread(network, texts(12).samples()) > 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in network.network.modules())


# --- images ------------------------------------------------------------------------------------------------------


def tiny_vit(model="test_vit"):
    from headstart.sources import timm
    from headstart.sources.image import ImageReader

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = timm.build(model, classes=1000).state_dict()
    size = int(timm.build(model).pretrained_cfg["input_size"][1])
    reader = ImageReader(size, (size, size), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    card = {"name": model, "architecture": model, "origin": "random weights", "licence": "none", "description": ""}
    return timm.from_state(model, state, reader, card)


@pytest.mark.parametrize("objective", ["simsiam", "vicreg", "mae"])
def test_the_loss_of_an_image_objective_falls(objective, tmp_path):
    source = tiny_vit() if objective == "mae" else tiny_timm(tmp_path)
    method = Pretrain(objective=objective, epochs=6, batch_size=12, learning_rate=1e-3, head_rate=1.0, collapse=0.0)
    fitted = method.fit(problem(source, images(24)))
    losses = [row["pretraining loss"] for row in fitted.history if "pretraining loss" in row]
    assert losses[-1] < losses[0] - 0.02 * abs(losses[0])


def test_a_masked_autoencoder_computes_on_the_seen_patches_alone():
    source = tiny_vit()
    patches = mae.found_patches(source)
    assert patches is not None and patches.count == (160 // 16) ** 2 and patches.prefix == 1
    pixels = torch.randn(2, 3, 160, 160)
    hidden = pixels.clone()
    hidden[:, :, 16:32, 32:48] = 9.0  # patch 12
    batch, outputs = source.example(), []
    for image in (pixels, hidden):
        keep = torch.tensor([[0, 5, 40, 99]] * 2)
        with torch.no_grad(), mae.only(patches, keep, outputs):
            source.forward(replace(batch, inputs={"pixel_values": image}))
    assert outputs[0].shape[1] == 1 + 4
    assert torch.equal(outputs[0], outputs[1])
    with torch.no_grad():
        seen = [source.forward(replace(batch, inputs={"pixel_values": image})).pooled for image in (pixels, hidden)]
    assert not torch.allclose(*seen)  # the hooks are gone


# --- refusals ----------------------------------------------------------------------------------------------------


def refusal(method, source, rows):
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*pretrain") as caught:
        method.admit(infer_task(rows), source, rows)
    return str(caught.value)


def test_objectives_are_refused_by_name(bert, tmp_path):
    picture = tiny_timm(tmp_path)
    assert "mlm: it reads text" in refusal(Pretrain(objective="mlm"), picture, images())
    assert "simsiam: it reads image" in refusal(Pretrain(objective="simsiam"), bert, texts())
    assert "mae: test_efficientnet lacks patch tokens" in refusal(Pretrain(objective="mae"), picture, images())
    assert "lacks a mask token" in refusal(Pretrain(objective="mlm"), tiny_bert(tmp_path), texts())
    still = bert.clone()
    for module in still.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert "lacks dropout" in refusal(Pretrain(objective="simcse"), still, texts())
    toy = Toy(nn.Linear(8, 8))
    assert "lacks a tokenizer" in refusal(Pretrain(objective="tsdae"), toy, texts())
    assert "lacks a tokenizer" in refusal(Pretrain(), toy, texts())


def test_what_cannot_follow_is_refused(bert):
    for name in ("scratch", "baseline", "auto", "pretrain"):
        assert f"{name} cannot follow" in refusal(Pretrain(then=name), bert, texts())
    with pytest.raises(MethodError, match="HS-METHOD-001"):
        Pretrain(then="finetun").admit(infer_task(texts()), bert, texts())


def test_words_are_learned_by_masks_alone(bert):
    rows = dataset_with([["good", "text"], ["bad", "words"]] * 6, [["O", "B"], ["O", "O"]] * 6, "tags", "tokens")
    assert "whole texts" in refusal(Pretrain(objective="tsdae"), bert, rows)
    fitted = Pretrain(epochs=1, batch_size=6).fit(problem(bert, rows))
    assert next(row for row in fitted.history if "objective" in row)["objective"] == "mlm"
    assert len(fitted.outputs(rows.without("target"))) == 12


def test_passes_by_the_number_of_rows():
    assert [passes(rows) for rows in (10, 7_000, 15_000, 1_000_000)] == [3, 2, 1, 1]
