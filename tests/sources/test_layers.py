"""Layers in order for many architectures, found by structure alone. Random weights, small inputs."""

import pytest
import torch
import transformers
from torch import nn

from headstart.sources.layers import Group, is_channels_last, ordered_layers
from headstart.sources.timm import build as build_timm
from headstart.sources.torchvision import build, headless

TORCHVISION = {
    "resnet18": (32, 9, "conv1", "layer4.1"),
    "vgg11_bn": (32, 10, "features.0", "classifier.3"),
    "inception_v3": (80, 16, "Conv2d_1a_3x3", "Mixed_7c"),
    "googlenet": (64, 12, "conv1", "inception5b"),
    "mobilenet_v2": (32, 19, "features.0", "features.18"),
    "efficientnet_b0": (32, 18, "features.0", "features.8"),
    "convnext_tiny": (32, 22, "features.0", "features.7.2"),
    "swin_t": (64, 16, "features.0", "features.7.1"),
    "squeezenet1_1": (64, 9, "features.0", "features.12"),
}
TIMM = {
    "tf_efficientnet_lite0": (32, 18, "conv_stem", "conv_head"),
    "vit_tiny_patch16_224": (224, 13, "patch_embed", "blocks.11"),
    "convnext_atto": (32, 16, "stem", "stages.3.blocks.1"),
    "mobilenetv3_small_050": (32, 14, "conv_stem", "conv_head"),
}
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}


def check(network, inputs, count, first, last):
    with torch.no_grad():
        layers = ordered_layers(network.eval(), lambda: network(**inputs))
    assert [layers[0].name, layers[-1].name, len(layers)] == [first, last, count], [layer.name for layer in layers]
    held = [id(p) for layer in layers for p in layer.module.parameters()]
    assert len(held) == len(set(held)), "a parameter stands in two layers"
    assert set(held) == {id(p) for p in network.parameters()}, "a parameter stands in no layer"
    names = [part for layer in layers for part in layer.parts]
    assert len(names) == len(set(names))
    known = {name for name, _ in network.named_modules()} | {name for name, _ in network.named_parameters()}
    assert set(names) <= known
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    return layers


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    size, *expected = TORCHVISION[name]
    check(headless(build(name)), {"x": torch.zeros(2, 3, size, size)}, *expected)


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    size, *expected = TIMM[name]
    check(build_timm(name), {"x": torch.zeros(2, 3, size, size)}, *expected)


def test_text_encoders():
    ids = {"input_ids": torch.ones(2, 5, dtype=torch.long)}
    bert = transformers.BertModel(transformers.BertConfig(**SMALL), add_pooling_layer=False)
    check(bert, ids, 4, "embeddings", "encoder.layer.2")
    config = transformers.DistilBertConfig(dim=16, hidden_dim=32, n_layers=3, n_heads=2, vocab_size=50)
    check(transformers.DistilBertModel(config), ids, 4, "embeddings", "transformer.layer.2")
    config = transformers.GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=50, bos_token_id=0, eos_token_id=0)
    layers = check(transformers.GPT2Model(config), ids, 5, "wte", "h.2")
    assert layers[-1].parts == ("h.2", "ln_f")
    config = transformers.T5Config(d_model=16, d_ff=32, d_kv=8, num_layers=3, num_heads=2, vocab_size=50)
    check(transformers.T5Model(config).encoder, ids, 4, "embed_tokens", "block.2")
    check(transformers.LlamaModel(transformers.LlamaConfig(**SMALL)), ids, 4, "embed_tokens", "layers.2")


def test_class_token_and_positions_belong_to_the_input_side():
    network = headless(build("vit_b_16"))
    layers = check(network, {"x": torch.zeros(1, 3, 224, 224)}, 13, "conv_proj", "encoder.layers.encoder_layer_11")
    assert layers[0].parts == ("conv_proj", "class_token")
    assert "encoder.pos_embedding" in layers[1].parts
    assert layers[-1].last is network.encoder.ln


def test_order_is_that_of_execution_not_of_definition():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first, self.never = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.second(self.first(x))

    network = Swapped()
    layers = ordered_layers(network, lambda: network(torch.zeros(1, 4)))
    assert [layer.name for layer in layers] == ["first", "second"]
    assert layers[0].module is network.first


def test_a_group_only_holds_its_parts():
    norm, loose = nn.BatchNorm1d(3), nn.Parameter(torch.ones(2))
    group = Group([norm, loose])
    assert [id(p) for p in group.parameters()] == [id(loose), id(norm.weight), id(norm.bias)]


def test_channels_last_outputs_are_told_apart():
    swin = headless(build("swin_t"))
    block = swin.features[1][0]
    assert is_channels_last(block, torch.zeros(1, 8, 8, 96))
    convnext = headless(build("convnext_tiny"))
    assert not is_channels_last(convnext.features[1][0], torch.zeros(1, 96, 8, 8))
    assert not is_channels_last(nn.Conv2d(3, 8, 1), torch.zeros(1, 8, 4, 4))
