"""One source of each kind of network, in the format of the transformers library, made here: each probed and fine-tuned.

A recurrent network (RWKV), the encoder of an encoder-decoder (T5), a decoder read at its last token (GPT-2) and a
convolutional network (ResNet). Nothing in Headstart knows these names: layers, pooling and the half that makes
features are found by looking.
"""

from __future__ import annotations

import pytest
import torch

from headstart import catalog
from headstart.methods.finetune import Finetune
from headstart.methods.probe import Probe
from headstart.sources import hf
from headstart.sources.torchvision_compat import heal
from headstart.testing import check_method, check_source
from tests.conformance.examples import WORDS, images, texts

heal()  # transformers imports torchvision
import tokenizers  # noqa: E402
import transformers  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]"]
SIZE = len(SPECIAL) + len(WORDS)


def rwkv():
    config = transformers.RwkvConfig(
        vocab_size=SIZE, context_length=32, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16
    )
    return transformers.RwkvModel(config)


def t5():
    config = transformers.T5Config(vocab_size=SIZE, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return transformers.T5Model(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=SIZE, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    return transformers.GPT2Model(config)


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", hidden_act="relu"
    )
    return transformers.ResNetModel(config)


def saved(make, folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    model.save_pretrained(folder)
    if make is resnet:
        processor = transformers.ViTImageProcessor
        processor(size={"height": 32, "width": 32}).save_pretrained(folder)
        return hf.open_model(str(folder))
    words = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    return hf.open_model(str(folder))


KINDS = {
    "recurrent": (rwkv, "last"),
    "encoder of an encoder-decoder": (t5, "mean"),
    "decoder": (gpt2, "last"),
    "convolutional": (resnet, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_each_kind_is_a_source(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    make, pooling = KINDS[kind]
    source = saved(make, tmp_path / "model")
    if pooling is not None:
        assert source.settings()["pooling"] == pooling
    assert len(source.layers()) >= 3
    check_source(source)
    rows = images() if make is resnet else texts()
    task = catalog.find("tasks", "classification")
    check_method(Probe(folds=2), rows, task, source)
    check_method(Finetune(epochs=2, batch_size=8, learning_rate=1e-3), rows, task, source)
