"""LoRA against its equation and against peft's own loader; BitFit against the list of what it may touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart.methods.base import Problem
from headstart.methods.bitfit import Bitfit
from headstart.methods.lora import Adapter, Lora, targets
from headstart.methods.network import Network
from headstart.runtime import Extractor
from headstart.tasks.base import infer_task
from tests.conformance.examples import images, texts, tiny_bert, tiny_pair, tiny_timm, tiny_torchvision

SOURCES = {"bert": tiny_bert, "torchvision": tiny_torchvision, "timm": tiny_timm, "side by side": tiny_pair}
DEPRECATED = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers
ROWS = {"bert": texts, "torchvision": images, "timm": images}


@pytest.fixture
def source(request, tmp_path):
    return SOURCES[request.param](tmp_path)


def pooled(source):
    with torch.no_grad():
        return source.forward(source.example()).pooled


def gap(one, other):
    """The largest difference of two sources' features over the largest feature; those of tiny networks are tiny."""
    return float((pooled(one) - pooled(other)).abs().max() / pooled(other).abs().max())


def shaken(adapted, scale=0.1):
    """The source with its adapters at random values, and these."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    with torch.no_grad():
        for name, parameter in adapted.network.named_parameters():
            if "lora_" in name:
                change = scale * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(parameter + change if "magnitude" in name else change)
                key = name.replace(".default", "")
                found[key.removesuffix(".weight") if "magnitude" in key else key] = parameter.clone()
    return found


def settings(**more):
    return {"r": 4, "lora_alpha": 6.0, "lora_dropout": 0.0, "use_rslora": False, "use_dora": False, **more}


@pytest.mark.parametrize("variant", ["plain", "rslora", "dora"])
@pytest.mark.parametrize("source", ["bert", "torchvision"], indirect=True)
def test_fresh_adapters_change_nothing(source, variant):
    adapted = Lora(variant=variant).adapted(source)
    assert sum("lora_B" in name for name, _ in adapted.network.named_parameters()) == len(targets(source))
    assert gap(adapted, source) < 1e-6


@pytest.mark.parametrize(("variant", "scale"), [("plain", 6.0 / 4), ("rslora", 6.0 / 2)])
def test_a_linear_map_becomes_w_plus_scaled_b_a(tmp_path, variant, scale):
    """Hu et al. 2021, equation 3: h = W x + (alpha / r) B A x; rsLoRA divides by the root of r = 4."""
    source = tiny_bert(tmp_path)
    adapted = Lora(rank=4, lora_alpha=6.0, variant=variant).adapted(source)
    tensors = shaken(adapted)
    name = "encoder.layer.1.attention.self.query"
    plain, layer = source.network.get_submodule(name), adapted.network.get_submodule(name)
    x = torch.randn(7, 32, generator=torch.Generator().manual_seed(2))
    down, up = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]  # [r,I], [O,r]
    with torch.no_grad():
        expected = x @ plain.weight.T + plain.bias + scale * (x @ down.T) @ up.T
        assert torch.allclose(layer(x), expected, atol=1e-6)
        merged = Adapter(settings(use_rslora=variant == "rslora"), tensors).onto(source).network.get_submodule(name)
        assert torch.allclose(merged.weight, plain.weight + scale * up @ down, atol=1e-6)
        assert torch.equal(merged.bias, plain.bias)


def test_a_convolution_becomes_its_sum_with_a_thin_one_and_a_1_x_1(tmp_path):
    source = tiny_torchvision(tmp_path)
    adapted = Lora(rank=4, lora_alpha=6.0).adapted(source)
    tensors = shaken(adapted)
    plain, layer = source.network.get_submodule("conv1.0"), adapted.network.get_submodule("conv1.0")
    down, up = tensors["conv1.0.lora_A.weight"], tensors["conv1.0.lora_B.weight"]  # [r,I,3,3], [O,r,1,1]
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        thin = nn.functional.conv2d(x, down, stride=plain.stride, padding=plain.padding)
        expected = plain(x) + 6.0 / 4 * nn.functional.conv2d(thin, up)
        assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["plain", "rslora", "dora"])
@pytest.mark.parametrize("source", SOURCES, indirect=True)
def test_the_merged_network_says_the_same(source, variant):
    adapted = Lora(rank=4, lora_alpha=6.0, variant=variant).adapted(source)
    tensors = shaken(adapted)
    config = settings(use_rslora=variant == "rslora", use_dora=variant == "dora")
    merged = Adapter(config, tensors).onto(source)
    assert [layer.name for layer in adapted.layers()] == [layer.name for layer in source.layers()]
    assert gap(adapted, source) > 1e-2, "the adapters do something"
    assert gap(merged, adapted) < 1e-5
    assert merged.network.state_dict().keys() == source.network.state_dict().keys()
    assert {type(m) for m in merged.network.modules()} == {type(m) for m in source.network.modules()}


@DEPRECATED
@pytest.mark.parametrize("source", ["bert", "torchvision"], indirect=True)
def test_peft_reads_the_saved_adapter(source, tmp_path):
    import peft

    adapted = Lora(rank=4, lora_alpha=6.0).adapted(source)
    Adapter(settings(), shaken(adapted)).save(tmp_path / "adapter")
    theirs = source.clone()
    theirs.network = peft.PeftModel.from_pretrained(theirs.network, str(tmp_path / "adapter")).base_model.model.eval()
    assert gap(theirs, adapted) < 1e-6
    assert gap(theirs, source) > 1e-2


@DEPRECATED
@pytest.mark.parametrize("kind", ["bert", "torchvision"])
def test_an_adapter_of_pefts_own_is_loaded(kind, tmp_path):
    import peft

    source = SOURCES[kind](tmp_path)
    theirs = source.clone()
    names = {"bert": ["query", "value"], "torchvision": ["conv5.0"]}[kind]
    wrapped = peft.get_peft_model(theirs.network, peft.LoraConfig(r=4, lora_alpha=6, target_modules=names))
    shaken(theirs)
    wrapped.save_pretrained(str(tmp_path / "theirs"), save_embedding_layers=False)
    ours = Adapter.load(tmp_path / "theirs").onto(source)
    wrapped.eval()
    assert gap(ours, theirs) < 1e-5
    assert gap(ours, source) > 1e-3


@pytest.mark.parametrize("kind", ["bert", "torchvision"])
def test_bitfit_changes_the_biases_and_the_head_alone(kind, tmp_path, monkeypatch):
    """Shufflenet's convolutions have no bias: there the scales of the norms train as well, and their statistics run."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    source, rows = SOURCES[kind](tmp_path), ROWS[kind]()
    task = infer_task(rows)
    extractor = Extractor(source, precision="fp32", cache=False)
    problem = Problem(rows, None, task, source, extractor, options={"precision": "fp32"})
    method = Bitfit(epochs=2, batch_size=8, learning_rate=1e-2)
    head = method.prepare(problem)[1].weight.detach().clone()
    fitted = method.fit(problem)
    before = dict(source.network.named_parameters())
    changed = {name for name, p in fitted.source.network.named_parameters() if not torch.equal(p, before[name])}
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    of_norms = {f"{name}.weight" for name, module in source.network.named_modules() if isinstance(module, norms)}
    biases = {name for name in before if name.endswith(".bias")}
    assert biases and of_norms
    # the bias of a key shifts all scores of a query alike, and softmax does not see it
    unseen = {name for name in biases if name.endswith("key.bias")}
    expected = biases | (of_norms if kind == "torchvision" else set())
    assert expected - unseen <= changed <= expected
    assert not np.allclose(head, fitted.head.weight.detach())


def test_adapters_hear_the_loss(tmp_path):
    """Every adapter gets a gradient: none stands where a pass does not come by."""
    source, rows = tiny_bert(tmp_path), texts()
    task = infer_task(rows)
    adapted = Lora().adapted(source)
    shaken(adapted)
    network = Network(adapted, task.head(source.card.width), ("pooled",))
    network(source.preprocess(rows.samples())).square().sum().backward()
    silent = [n for n, p in adapted.network.named_parameters() if "lora_" in n and (p.grad is None or not p.grad.any())]
    assert silent == []
