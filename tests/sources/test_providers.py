"""Every provider with small random networks: save, load, untrained, layers, cuts, damaged folders. No network."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from headstart.errors import SourceError
from headstart.sources import hf, shelf, timm, torchvision, trust, weights
from headstart.sources.base import pool
from headstart.sources.image import ImageReader

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "cat", "##s", "dog", "blue", "tree"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
READER = ImageReader(36, (32, 32), (0.5,) * 3, (0.5,) * 3)
CARD = {"name": "x", "architecture": "x", "origin": "test", "licence": "none", "description": ""}
TEXTS = ["a cat b", "dogs", "a b c d blue tree cats"]


def word_pieces(special=True):
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def text_folder(folder, model, special=True):
    torch.manual_seed(0)
    model.save_pretrained(folder)
    word_pieces(special).save_pretrained(folder)
    return folder


def bert(folder):
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **SMALL)
    return text_folder(folder, transformers.BertModel(config))


def distilbert(folder):
    config = transformers.DistilBertConfig(vocab_size=len(WORDS), dim=16, hidden_dim=32, n_layers=2, n_heads=2)
    return text_folder(folder, transformers.DistilBertModel(config))


def gpt2(folder):
    ends = {"bos_token_id": 3, "eos_token_id": 3}
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32, **ends)
    return text_folder(folder, transformers.GPT2Model(config), special=False)


def t5(folder):
    config = transformers.T5Config(vocab_size=len(WORDS), d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2)
    return text_folder(folder, transformers.T5Model(config))


def vit(folder):
    config = transformers.ViTConfig(image_size=32, patch_size=8, **SMALL)
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def hf_resnet(folder):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(folder)
    return folder


def of_torchvision(folder):
    tensors = weights.state(torchvision.build("resnet18"))
    torchvision.from_state("resnet18", tensors, READER, CARD).save(folder)
    return folder


def of_timm(folder):
    tensors = weights.state(timm.build("mobilenetv3_small_050", classes=1000))
    timm.from_state("mobilenetv3_small_050", tensors, READER, CARD).save(folder)
    return folder


MAKERS = [bert, distilbert, gpt2, t5, vit, hf_resnet, of_torchvision, of_timm]


def samples_for(source):
    if source.card.modality == "text":
        return TEXTS
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]


def pooled(source):
    with torch.no_grad():
        return source.forward(source.preprocess(samples_for(source))).pooled


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def source(request, tmp_path):
    return shelf.open_source(str(request.param(tmp_path / "given")))


def test_save_and_load_give_the_same_bits(source, tmp_path):
    source.save(tmp_path / "saved")
    assert not [p for p in (tmp_path / "saved").iterdir() if p.suffix not in (".json", ".safetensors")]
    state = torch.get_rng_state()
    loaded = shelf.open_source(str(tmp_path / "saved"))
    assert torch.equal(state, torch.get_rng_state()), "loading draws from the global generator"
    assert torch.equal(pooled(source), pooled(loaded))
    assert loaded.card == source.card and loaded.settings() == source.settings()
    assert loaded.digest() == source.card.digest
    assert pooled(source).shape == (3, source.card.width)
    assert source.card.parameters == sum(p.numel() for p in source.network.parameters())


def test_untrained_is_fresh_and_deterministic(source):
    first, again, other = source.untrained(1), source.untrained(1), source.untrained(2)
    assert torch.equal(pooled(first), pooled(again)) and not torch.equal(pooled(first), pooled(other))
    assert not torch.allclose(pooled(first), pooled(source))
    shapes = [{k: v.shape for k, v in weights.state(s.network).items()} for s in (source, first)]
    assert shapes[0] == shapes[1] and first.card.digest != source.card.digest == source.digest()


def test_layers_hold_all_and_cuts_are_finite(source):
    layers = source.layers()
    held = [id(p) for layer in layers for p in layer.module.parameters()]
    assert sorted(held) == sorted({id(p) for p in source.network.parameters()})
    batch = source.preprocess(samples_for(source))
    with torch.no_grad():
        features = source.features(batch, [layer.name for layer in layers])
    assert all(cut.ndim == 2 and len(cut) == 3 and torch.isfinite(cut).all() for cut in features.cuts.values())
    assert torch.equal(features.pooled, pooled(source))
    with pytest.raises(SourceError, match="HS-SOURCE-007"):
        source.features(batch, ["nowhere"])


def test_clone_is_independent_and_gradients_flow(source):
    before, copy = pooled(source), source.clone()
    copy.forward(copy.preprocess(samples_for(copy))).pooled.sum().backward()
    assert all(p.grad is None for p in source.network.parameters())
    with torch.no_grad():
        for parameter in copy.network.parameters():
            parameter.add_(1)
    assert torch.equal(before, pooled(source)) and copy.digest() != source.digest()


def test_networks_in_bf16_take_fp32_batches(source):
    low = source.clone()
    low.network = low.network.to(torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(pooled(low).float(), pooled(source)).min() > 0.98


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    content = json.loads((folder / "source.json").read_text())
    content["card"]["digest"] = weights.digest(tensors)
    (folder / "source.json").write_text(json.dumps(content))


def test_tensors_that_do_not_fit_are_listed(source, tmp_path):
    source.save(tmp_path / "s")
    key = next(name for name, tensor in weights.state(source.network).items() if tensor.ndim >= 2)
    edit(tmp_path / "s", lambda t: (t.update(extra=torch.ones(1), other=torch.ones(1)), t.pop(key)))
    with pytest.raises(SourceError, match="HS-SOURCE-004") as error:
        shelf.open_source(str(tmp_path / "s"))
    assert f"1 missing ({key})" in str(error.value) and "2 unexpected (extra, other)" in str(error.value)
    source.save(tmp_path / "t")
    edit(tmp_path / "t", lambda t: t.update({key: torch.ones(1)}))
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*1 misshapen"):
        shelf.open_source(str(tmp_path / "t"))


# --- what is special to transformers ---------------------------------------------------------------------------------


def test_pooling_is_found_by_looking(tmp_path):
    found = {maker.__name__: hf.open_model(str(maker(tmp_path / maker.__name__))) for maker in MAKERS[:6]}
    assert {name: source.settings()["pooling"] for name, source in found.items()} == {
        "bert": "mean", "distilbert": "mean", "gpt2": "last", "t5": "mean", "vit": "first", "hf_resnet": "mean",
    }  # fmt: skip
    assert found["t5"].settings()["part"] == "encoder" and found["bert"].settings()["pooler"] is False
    assert found["hf_resnet"].forward(found["hf_resnet"].example()).maps[0].ndim == 4


def test_last_token_pooling_ignores_padding(tmp_path):
    source = hf.open_model(str(gpt2(tmp_path)))
    together = pooled(source)
    with torch.no_grad():
        alone = torch.cat([source.forward(source.preprocess([text])).pooled for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)


def test_words_are_aligned(tmp_path):
    source = hf.open_model(str(bert(tmp_path)))
    words = [["cats", "a"], ["blue", "", "dogs", "tree"], [], ["a"] * 30]
    batch = source.preprocess(words)
    features = source.forward(batch)
    assert features.tokens.shape == (4, 30, 16) and features.mask.shape == (4, 30)
    assert features.mask.sum(1).tolist() == [2, 3, 0, 14] and features.mask[1, :4].tolist() == [True, False, True, True]
    hidden = source.network(input_ids=batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])[0]
    assert torch.equal(features.tokens[0, 1], hidden[0, 3]), "[CLS] cat ##s a: the second word starts at 3"
    assert (features.tokens[~features.mask] == 0).all()
    assert source.forward(source.preprocess(TEXTS)).tokens is None


def test_texts_of_every_kind(tmp_path):
    source = hf.open_model(str(gpt2(tmp_path)))
    with torch.no_grad():
        features = source.forward(source.preprocess(["", None, "\udc80 a", "a " * 5000]))
    assert torch.isfinite(features.pooled).all()
    assert source.preprocess(["a " * 5000]).inputs["input_ids"].shape[1] == 32
    assert source.cost("abc") == 3 and source.cost(["ab", "c"]) == 5
    for wrong in ({"a": 1}, 3.5, b"bytes"):
        with pytest.raises(SourceError, match="HS-SOURCE-005"):
            source.preprocess([wrong])


def test_batches_are_padded_to_the_longest(tmp_path):
    source = hf.open_model(str(bert(tmp_path)))
    inputs = source.preprocess(["a", "a b c"]).inputs
    assert inputs["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]] and len(inputs) == 2


def test_byte_level_words_see_their_blank(tmp_path):
    from headstart.sources.text import TextReader

    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(["the red cat and the red dog"] * 20, trainer)
    reader = TextReader(tokenizer, 32, 0, False)
    joined = reader([" red cat"]).inputs["input_ids"]
    assert torch.equal(joined, reader([["red", "cat"]]).inputs["input_ids"])


def test_sentence_transformers_folders_are_followed(tmp_path):
    folder = bert(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Normalize"}]')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    source = hf.open_model(str(folder))
    assert pooled(source).norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert source.settings()["pooling"] == "first" and source.settings()["reader"]["max_length"] == 6


def test_image_reader_equals_the_library_s_processor(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    for processor in (
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
        transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    ):
        reader = hf._image_reader(processor.to_dict())
        expected = processor(image, return_tensors="pt")["pixel_values"]
        assert (reader([image]).inputs["pixel_values"] - expected).abs().mean() < 0.02, type(processor).__name__


def test_encoder_of_bart_and_image_half_of_clip(tmp_path):
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ends = {
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }
    config = transformers.BartConfig(
        vocab_size=len(WORDS), d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, **layers, **ends
    )
    bart = hf.open_model(str(text_folder(tmp_path / "bart", transformers.BartModel(config))))
    assert bart.card.width == 16 and bart.settings()["part"] == "encoder"
    half = {**SMALL, "vocab_size": 20, "image_size": 32, "patch_size": 8, "projection_dim": 8}
    config = transformers.CLIPConfig(text_config=half, vision_config=half, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(tmp_path / "clip")
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(tmp_path / "clip")
    clip = hf.open_model(str(tmp_path / "clip"))
    assert clip.card.modality == "image" and clip.settings()["part"] == "vision_model"
    assert clip.settings()["pooling"] == "first" and clip.layers()[-1].name == "encoder.layers.1"
    clip.save(tmp_path / "saved")
    assert torch.equal(pooled(hf.HF.load(tmp_path / "saved")), pooled(clip))


def test_models_of_other_inputs_are_refused(tmp_path):
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    config = transformers.WhisperConfig(
        vocab_size=len(WORDS), d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, suppress_tokens=None,
        begin_suppress_tokens=None, **layers, **ends,
    )  # fmt: skip
    folder = text_folder(tmp_path, transformers.WhisperModel(config))
    with pytest.raises(SourceError, match="HS-SOURCE-007"):
        shelf.open_source(str(folder))


def test_weights_that_the_network_lacks_are_listed(tmp_path):
    folder = bert(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*encoder\.layer\.1\.output\.dense\.weight"):
        shelf.open_source(str(folder))


def test_torchvision_without_a_network(monkeypatch, tmp_path):
    from urllib.error import URLError

    def refuse(*args, **options):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*no route to host") as error:
        shelf.open_source("torchvision:squeezenet1_1")
    assert "\n" not in str(error.value)


def test_torchvision_with_a_network(monkeypatch):
    whole = torchvision.build("resnet18")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **b: whole.state_dict())
    source = shelf.open_source("torchvision:resnet18")
    x = source.example()
    with torch.no_grad():
        assert torch.equal(whole.fc(source.forward(x).pooled), whole(x.inputs["pixel_values"]))
    assert source.reader.crop == (224, 224) and source.reader.resize == 256


def test_remote_code_never_runs_unasked(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "made_up", "auto_map": {"AutoConfig": "c.C", "AutoModel": "c.M"}})
    )
    (tmp_path / "c.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for other in (None, "someone/else"):
        with pytest.raises(SourceError, match=r"HS-SOURCE-006.*--trust-remote-code"):
            shelf.open_source(f"hf:{tmp_path}", trust_remote_code=other)
    assert not (tmp_path / "ran").exists()


MODEL = """
import transformers


class MadeConfig(transformers.BertConfig):
    model_type = "made_up"


class Made(transformers.BertModel):
    config_class = MadeConfig
"""


def test_remote_code_of_the_named_repository_runs(tmp_path, monkeypatch):
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    given = bert(tmp_path / "given")
    config = json.loads((given / "config.json").read_text()) | {"model_type": "made_up", "architectures": ["Made"]}
    config["auto_map"] = {"AutoConfig": "c.MadeConfig", "AutoModel": "c.Made"}
    (given / "config.json").write_text(json.dumps(config))
    (given / "c.py").write_text(MODEL)
    with pytest.raises(SourceError, match="HS-SOURCE-006"):
        shelf.open_source(str(given))
    with trust.trusting(f"hf:{given}"):
        source = shelf.open_source(str(given))
        assert type(source.network).__name__ == "Made"
        source.save(tmp_path / "saved")
        assert torch.equal(pooled(shelf.open_source(str(tmp_path / "saved"))), pooled(source))
    with pytest.raises(SourceError, match="HS-SOURCE-006"):
        shelf.open_source(str(tmp_path / "saved"))
    with trust.trusting("someone/else"), pytest.raises(SourceError, match="HS-SOURCE-006"):
        shelf.open_source(str(tmp_path / "saved"))


# --- what is special to torchvision and timm -------------------------------------------------------------------------


def test_inception_without_auxiliary_classifier():
    tensors = {**weights.state(torchvision.build("inception_v3")), "AuxLogits.fc.weight": torch.ones(1)}
    reader = ImageReader(342, (299, 299), (0.5,) * 3, (0.5,) * 3)
    source = torchvision.from_state("inception_v3", tensors, reader, CARD, transform_input=True)
    assert source.card.width == 2048 and source.network.transform_input and source.network.AuxLogits is None
    assert source.preprocess([np.zeros((20, 20, 3), np.uint8)]).inputs["pixel_values"].shape == (1, 3, 299, 299)


@pytest.mark.parametrize(
    ("name", "width"), [("vgg11", 4096), ("resnet18", 512), ("mobilenet_v2", 1280), ("efficientnet_b0", 1280)]
)
def test_the_last_layer_goes(name, width):
    network = torchvision.headless(torchvision.build(name))
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, width)


def test_unknown_models_get_a_suggestion():
    with pytest.raises(SourceError, match=r'HS-SOURCE-001.*"resnet50"'):
        shelf.open_source("torchvision:resnet500")
    with pytest.raises(SourceError, match=r'HS-SOURCE-001.*Did you mean "resnet50'):
        shelf.open_source("timm:resnet50zz")


def test_timm_folder(tmp_path):
    network = timm.build("resnet10t", classes=5)
    save_file(weights.state(network), tmp_path / "model.safetensors")
    config = {"architecture": "resnet10t", "num_classes": 5, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = shelf.open_source(str(tmp_path))
    batch = source.preprocess(samples_for(source))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(batch.inputs["pixel_values"]), pre_logits=True)
        assert torch.equal(source.forward(batch).pooled, expected)
    assert torch.equal(source.classifier.weight, network.get_classifier().weight) and source.classes == ()
    head = {"fc.weight", "fc.bias"}  # a file without the classifier is a source all the same
    save_file({k: v for k, v in weights.state(network).items() if k not in head}, tmp_path / "model.safetensors")
    bare = shelf.open_source(str(tmp_path))
    assert bare.classifier is None and bare.card.digest == source.card.digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"), [(torchvision, "resnet18"), (torchvision, "vgg11"), (timm, "mobilenetv3_small_050")]
)
def test_the_classifier_of_the_source_is_kept_beside_it(module, name, tmp_path):
    whole = module.build(name, classes=1000)
    source = module.from_state(name, weights.state(whole), READER, CARD)
    batch = source.preprocess(samples_for(source))
    with torch.no_grad():
        logits = source.classifier(source.forward(batch).pooled)
        torch.testing.assert_close(logits, whole(batch.inputs["pixel_values"]), rtol=1e-4, atol=1e-5)
    assert len(source.classes) == 1000 and source.classes[0].startswith("tench")
    source.save(tmp_path / "saved")
    loaded = shelf.open_source(str(tmp_path / "saved"))
    assert torch.equal(loaded.classifier.weight, source.classifier.weight) and loaded.classes == source.classes
    assert loaded.card == source.card == module.from_state(name, weights.state(whole), READER, CARD).card
    assert not any(parameter.requires_grad for parameter in loaded.classifier.parameters())


def test_a_changed_or_lost_classifier_is_noticed(tmp_path):
    source = torchvision.from_state("resnet18", weights.state(torchvision.build("resnet18")), READER, CARD)
    source.save(tmp_path)
    with torch.no_grad():
        source.classifier.weight[0, 0] += 1
    save_file(weights.state(source.classifier), tmp_path / "classifier.safetensors")
    with pytest.raises(SourceError, match=r"HS-SOURCE-002.*classifier"):
        shelf.open_source(str(tmp_path))
    (tmp_path / "classifier.safetensors").unlink()
    with pytest.raises(SourceError, match=r"HS-SOURCE-008.*classifier"):
        shelf.open_source(str(tmp_path))


def test_what_is_no_linear_layer_on_the_features_is_no_classifier(tmp_path):
    tensors = weights.state(torchvision.build("squeezenet1_1"))
    assert torchvision.from_state("squeezenet1_1", tensors, READER, CARD).classifier is None
    source = torchvision.from_state("resnet18", weights.state(torchvision.build("resnet18")), READER, CARD)
    last, source.classifier = source.classifier, None
    source.adopt(last, torch.zeros(2, 1000), ())
    assert source.classifier is None


def test_changed_weights_have_no_classifier(tmp_path):
    source = torchvision.from_state("resnet18", weights.state(torchvision.build("resnet18")), READER, CARD)
    for other in (source.clone(), source.untrained(0)):
        assert other.classifier is None and other.classes == ()
        other.save(tmp_path / "saved")
        assert not (tmp_path / "saved" / "classifier.safetensors").exists()


def test_by_order_refuses_other_shapes():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    tensors = {f"x.{i}.{k.rsplit('.')[-1]}": v for i, (k, v) in enumerate(network.state_dict().items())}
    renamed = timm.by_order(network, tensors, "x")
    assert list(renamed) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with pytest.raises(SourceError, match="HS-SOURCE-004"):
        timm.by_order(network, dict(reversed(tensors.items())), "x")


# --- pooling and digests ---------------------------------------------------------------------------------------------


def test_pool():
    maps, tokens = torch.arange(16.0).view(1, 4, 2, 2), torch.tensor([[[1.0], [3.0], [100.0]]])
    assert pool(maps, None).tolist() == [[1.5, 5.5, 9.5, 13.5]]
    assert pool(tokens, torch.tensor([[1, 1, 0]])).tolist() == [[2.0]]
    assert pool(tokens, None).tolist() == [[pytest.approx(104 / 3)]]


def test_digest_depends_on_names_shapes_types_and_values():
    base = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    assert weights.digest(base) == weights.digest(dict(reversed(base.items())))
    others = [
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"c": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32), "b": torch.tensor(3)},
    ]
    assert len({weights.digest(tensors) for tensors in [base, *others]}) == 5
