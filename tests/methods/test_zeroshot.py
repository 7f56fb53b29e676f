"""Zero-shot on tiny models made here: similarity, entailment, image-text, composed classes; and fits without labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import headstart
from headstart import catalog
from headstart.errors import HeadstartError, MethodError, UsageError
from headstart.methods.base import Problem
from headstart.methods.zeroshot import ZeroShot, embedded, way_of
from headstart.nn import prompts
from headstart.runtime import Extractor
from headstart.sources import hf, pairs
from headstart.sources.torchvision_compat import heal
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, images, texts, tiny_bert, tiny_torchvision

LABELS = ["good", "bad"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def tokenizer(words=WORDS, **special):
    heal()
    import tokenizers
    import transformers

    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", **special
    )


def tiny_nli(folder: Path, labels=("contradiction", "neutral", "entailment")):
    """A BERT classifier of pairs of texts with random weights."""
    fast = tokenizer()
    import transformers

    config = transformers.BertConfig(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)},
        initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(folder / "nli")
    fast.save_pretrained(folder / "nli")
    return hf.open_model(str(folder / "nli"))


def tiny_clip(folder: Path):
    """A CLIP of two layers a half with random weights."""
    fast = tokenizer(eos_token="[SEP]")
    import transformers

    half = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **half, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 32, "eos_token_id": 3, "pad_token_id": 0,
        },
        vision_config={**half, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.CLIPModel(config)
    model.save_pretrained(folder / "clip")
    fast.save_pretrained(folder / "clip")
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder / "clip")
    return hf.open_model(str(folder / "clip")), model.eval()


def problem(source, rows, labels=LABELS) -> Problem:
    task = catalog.find("tasks", "classification")(list(labels))
    return Problem(rows, None, task, source, Extractor(source, precision="fp32", backend="torch"))


def saved(fitted, folder: Path):
    folder.mkdir()
    fitted.save(folder)
    return type(fitted).load(folder, fitted.task, fitted.method)


# --- the four ways ---------------------------------------------------------------------------------------------------


def test_similarity_is_the_cosine_of_text_and_label(home):
    source, rows = tiny_bert(home), texts(12)
    fitted = ZeroShot(adapt="none", template="a text of {} | {}").fit(problem(source, rows))
    texts_of = [[f"a text of {label}", label] for label in LABELS]
    vectors = np.stack([prompts.unit(embedded(source, tuple(two))).mean(axis=0) for two in texts_of])
    pooled = np.concatenate([embedded(source, (text,)) for text in rows.samples()])
    cosine = prompts.unit(pooled) @ prompts.unit(vectors).T
    scale = 0.25 * (cosine - cosine.mean(axis=0)).std()
    np.testing.assert_allclose(fitted.outputs(rows), cosine / scale, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(saved(fitted, home / "saved").outputs(rows), fitted.outputs(rows))


def test_no_training_label_is_read(home):
    source, rows = tiny_bert(home), texts(40)
    task = catalog.find("tasks", "classification").learn(rows)
    given = Problem(rows, None, task, source, Extractor(source, precision="fp32", backend="torch"))
    blind = ZeroShot().fit(given.replace(train=rows.without("target")))
    wrong = dataset_with(rows.samples(), list(reversed(rows.targets())), "category")
    np.testing.assert_array_equal(ZeroShot().fit(given).outputs(rows), blind.outputs(rows))
    np.testing.assert_array_equal(ZeroShot().fit(given.replace(train=wrong)).outputs(rows), blind.outputs(rows))


def test_entailment_asks_the_model_for_each_label(home):
    source, rows = tiny_nli(home), texts(12)
    assert way_of(source) == "entailment"
    fitted = ZeroShot(adapt="none", template="a text of {}").fit(problem(source, rows))
    model, fast = pairs.entailment(str(home / "nli")).model, tokenizer()
    expected = []
    for text in rows.samples():
        tokens = fast([text] * 2, [f"a text of {label}" for label in LABELS], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected.append(model(**tokens).logits.log_softmax(dim=1)[:, 2].numpy())
    np.testing.assert_allclose(fitted.outputs(rows), np.stack(expected), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(saved(fitted, home / "saved").outputs(rows), fitted.outputs(rows), rtol=1e-5, atol=1e-6)


def test_entailment_estimates_the_shares_of_the_labels(home):
    source, rows = tiny_nli(home), texts(40)
    fitted = ZeroShot().fit(problem(source, rows))
    shares = fitted.history[-1]["shares"]
    assert set(shares) == set(LABELS) and abs(sum(shares.values()) - 1) < 1e-3
    plain = ZeroShot(adapt="none").fit(problem(source, rows)).outputs(rows)
    shift = fitted.outputs(rows) - plain
    np.testing.assert_allclose(shift, np.tile(shift[:1], (len(rows), 1)), atol=1e-5)
    assert abs(shift[0, 0] - shift[0, 1]) > 1e-3


def test_an_image_text_model_scores_as_the_library_does(home):
    source, model = tiny_clip(home)
    assert way_of(source) == "image-text"
    rows = images(8)
    fitted = ZeroShot(adapt="none", template="a text of {}").fit(problem(source, rows))
    tokens = tokenizer()([f"a text of {label}" for label in LABELS], return_tensors="pt", padding=True)
    pixels = source.preprocess(rows.samples()).inputs["pixel_values"]
    with torch.no_grad():
        out = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
    cosine = out.logits_per_image.numpy() / float(model.logit_scale.detach().exp())
    scale = 0.25 * (cosine - cosine.mean(axis=0)).std()
    np.testing.assert_allclose(fitted.outputs(rows), cosine / scale, rtol=2e-3, atol=5e-3)
    np.testing.assert_array_equal(saved(fitted, home / "saved").outputs(rows), fitted.outputs(rows))


def test_composed_classes_are_equation_2_of_the_paper(home):
    """ConSE as a loop over images and their likeliest classes, against the fitted head."""
    source, encoder = tiny_torchvision(home), tiny_bert(home)
    with torch.no_grad():
        source.classifier.weight.mul_(1e5)  # random networks say nearly the same of every image
    rows = images(6)
    fitted = ZeroShot(adapt="none", top=3, encoder=f"hf:{home / 'bert'}").fit(problem(source, rows))
    names = prompts.unit(embedded(encoder, source.classes))
    labels = prompts.unit(embedded(encoder, tuple(LABELS)))
    with torch.no_grad():
        pooled = source.features(source.preprocess(rows.samples())).pooled
        chances = source.classifier(pooled).softmax(dim=1).numpy()
    expected = np.zeros((len(rows), names.shape[1]))
    for row, chance in enumerate(chances):
        total = 0.0
        for at in sorted(range(len(chance)), key=lambda place: -chance[place])[:3]:
            expected[row] += chance[at] * names[at]
            total += chance[at]
        expected[row] /= total
    with torch.no_grad():
        composed = fitted.head[1](fitted.head[0](pooled)).numpy()
    np.testing.assert_allclose(composed, expected, atol=1e-5)
    assert np.ptp(composed, axis=0).max() > 1e-3
    cosine = prompts.unit(expected) @ labels.T
    scale = 0.25 * (cosine - cosine.mean(axis=0)).std()
    np.testing.assert_allclose(fitted.outputs(rows) * scale, cosine, atol=1e-4)
    np.testing.assert_array_equal(saved(fitted, home / "saved").outputs(rows), fitted.outputs(rows))


@pytest.mark.parametrize("sharpness, told", [(1e-3, True), (1e9, False)])
def test_a_network_that_does_not_know_the_images_is_noted(home, sharpness, told):
    source = tiny_torchvision(home)
    tiny_bert(home)
    with torch.no_grad():
        source.classifier.weight.mul_(sharpness)
    given = problem(source, images(6))
    fitted = ZeroShot(encoder=f"hf:{home / 'bert'}").fit(given)
    assert (
        (fitted.history[-1]["own classes"] < 0.15) == told == any("at home elsewhere" in note for note in given.notes)
    )


def test_images_without_names_are_refused(home):
    source = tiny_torchvision(home)
    source.classes = ()
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*zeroshot.*have no names"):
        ZeroShot().admit(problem(source, images(4)).task, source, images(4))


def test_further_rows_change_the_outcome(home):
    source, rows = tiny_bert(home), texts(24)
    alone = ZeroShot().fit(problem(source, rows)).outputs(rows)
    more = ZeroShot().fit(problem(source, rows).replace(unlabelled=texts(60).without("target"))).outputs(rows)
    assert not np.allclose(alone, more)


# --- a fit without labels --------------------------------------------------------------------------------------------


def test_a_fit_without_labels_says_what_it_can(home):
    source, rows = tiny_bert(home), texts(60)
    data = {"input": rows.samples()}
    run = headstart.fit(data, labels=LABELS, source=source, out=home / "run", precision="fp32", settings={"top": 3})
    record = run.record
    assert record.verdict is None and record.head_start is None and record.metrics == {}
    shares = {each["label"]: each["share"] for each in record.labelling["labels"]}
    said = run.predict(data).values
    assert shares == {label: said.count(label) / 60 for label in LABELS}
    surest = record.labelling["labels"][0]["examples"][0]
    chance = run.predict(data).probabilities
    assert surest["confidence"] == pytest.approx(max(p.max() for p, s in zip(chance, said) if s == "good"))
    summary = run.summary()
    assert "no label was given, so there is no score" in summary and "good" in summary
    assert "accuracy" not in summary.split("no label was given")[0]
    page, card = (home / "run" / "report.html").read_text(), (home / "run" / "README.md").read_text()
    assert "No score" in page and "without a single label" in page and "without a single label" in card
    loaded = headstart.load(home / "run")
    assert loaded.predict(data).values == said
    assert loaded.record.labelling == json.loads(json.dumps(record.labelling))


def test_the_same_fit_without_labels_returns_what_is_there(home):
    source, data = tiny_bert(home), {"input": texts(30).samples()}
    first = headstart.fit(data, labels="good,bad", source=source, out=home / "run")
    again = headstart.fit(data, labels=["good", "bad"], source=source, out=home / "run")
    other = headstart.fit(data, labels={"good": "happy", "bad": "sad"}, source=source, out=home / "run")
    assert again.record.created == first.record.created and again.record.data == first.record.data
    assert other.record.data["digest"] != first.record.data["digest"]


def test_true_labels_that_come_later_are_evaluated(home):
    source, rows = tiny_bert(home), texts(30)
    run = headstart.fit({"input": rows.samples()}, labels={"yes": "good", "no": "bad"}, source=source, out=home / "run")
    said = run.predict({"input": rows.samples()}).values
    table = home / "later.csv"
    table.write_text("input,label\n" + "".join(f"{t},{v}\n" for t, v in zip(rows.samples(), rows.targets())))
    right = np.mean([one == other for one, other in zip(said, rows.targets())])
    assert run.evaluate(table)["accuracy"] == pytest.approx(right)


def test_labels_on_the_command_line(home, capsys):
    from headstart.cli import main

    tiny_bert(home)
    (home / "rows.csv").write_text("text\n" + "".join(f"a {word} text of few words\n" for word in WORDS * 2))
    (home / "labels.csv").write_text("label,description\ngood,happy\ngood,fine\nbad,sad\n")
    line = ["fit", str(home / "rows.csv"), "--labels", str(home / "labels.csv"), "--source", str(home / "bert")]
    assert main([*line, "--template", "a text of {}", "--out", str(home / "run"), "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    details = record["candidates"][0]["hyperparameters"]
    assert json.loads(details["labels"]) == {"good": ["happy", "fine"], "bad": ["sad"]}
    assert details["template"] == "a text of {}" and record["task"]["classes"] == ["good", "bad"]
    assert main(["fit", str(home / "rows.csv"), "--labels", "good", "--source", str(home / "bert"), "-q"]) == 2
    assert "HS-USAGE-001" in capsys.readouterr().err


def test_labels_need_a_method_that_reads_them(home):
    source, rows = tiny_bert(home), texts(24)
    data = {"input": rows.samples(), "target": rows.targets()}
    with pytest.raises(MethodError, match=r"HS-METHOD-002.*probe.*labels"):
        headstart.fit(data, "target", labels={"yes": "good"}, method="probe", source=source, out=home / "run")
    with pytest.raises(MethodError, match=r"HS-METHOD-002.*none of the classes"):
        headstart.fit(data, "target", labels={"yez": "good"}, method="zeroshot", source=source, out=home / "run")


# --- labels in words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled", ["a, b", ["a", "b"], {"a": None, "b": "b"}, '{"a": "a", "b": ["b"]}', [("a", "a"), "b"]]
)
def test_labels_of_any_spelling(spelled):
    assert prompts.parse(spelled) == {"a": ["a"], "b": ["b"]}
    assert prompts.canonical(spelled) == prompts.canonical("a,b")


def test_labels_in_files(tmp_path):
    (tmp_path / "l.csv").write_text("\ufefflabel,description\nsport,games and teams\nsport,players\n\nmoney\n")
    (tmp_path / "l.json").write_text(json.dumps({"sport": ["games and teams", "players"], "money": ""}))
    expected = {"sport": ["games and teams", "players"], "money": ["money"]}
    assert prompts.parse(str(tmp_path / "l.csv")) == expected
    assert prompts.parse(tmp_path / "l.json") == expected
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(HeadstartError, match=r"HS-DATA-013.*no\.json"):
        prompts.parse(tmp_path / "no.json")
    with pytest.raises(HeadstartError, match="HS-DATA-001"):
        prompts.parse("missing.csv")


@pytest.mark.parametrize("wrong", ["a,,b", "a,a", {"a": 3}, {"a": []}, 7, '{"a"', {"a": ["", "b"]}])
def test_bad_labels_are_told(wrong):
    with pytest.raises(UsageError, match="HS-USAGE-001"):
        prompts.parse(wrong)


def test_a_template_without_a_place_for_the_label_is_told(home):
    with pytest.raises(MethodError, match=r"HS-METHOD-002.*needs one"):
        source = tiny_bert(home)
        ZeroShot(template="no place").admit(problem(source, texts(4)).task, source, texts(4))
