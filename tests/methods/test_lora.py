"""What lora adapts, saves and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import headstart
from headstart.errors import HeadstartError
from headstart.methods.base import Problem
from headstart.methods.lora import Adapter, Lora, LoraFitted, targets
from headstart.runtime import Extractor
from headstart.sources import hf
from headstart.sources.base import Card
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, images, texts, tiny_bert, tiny_torchvision
from tests.methods.toy import Toy

SHORT = {"epochs": 1, "batch_size": 8, "learning_rate": 0.02}


class Scaled(nn.Linear):
    """A linear map that computes something else than its weights say."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)


class Mixed(nn.Module):
    """Maps that a pass calls, one whose weights it only reads, and one that is none of the plain kinds."""

    def __init__(self):
        super().__init__()
        self.called, self.read, self.odd = nn.Linear(8, 8), nn.Linear(8, 8), Scaled(8, 8)

    def forward(self, x):
        return self.odd(nn.functional.linear(self.called(x), self.read.weight))


def fitted_on(source, rows, method, seed=0):
    task = infer_task(rows)
    extractor = Extractor(source, precision="fp32", cache=False)
    return method.fit(Problem(rows, None, task, source, extractor, seed=seed, options={"precision": "fp32"}))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def fitted(bert):
    return fitted_on(bert, texts(), Lora(**SHORT))


# --- what is adapted ---------------------------------------------------------------------------------------------


def test_every_linear_map_of_a_transformer(bert):
    maps = {name for name, module in bert.network.named_modules() if isinstance(module, nn.Linear)}
    assert set(targets(bert)) == maps and len(maps) == 12
    assert {name.split(".")[2] for name in targets(bert, last=1)} == {"1"}


def test_convolutions_but_not_depthwise_ones(tmp_path):
    source = tiny_torchvision(tmp_path)
    kinds = {name: module for name, module in source.network.named_modules() if isinstance(module, nn.Conv2d)}
    depthwise = {name for name, module in kinds.items() if module.groups > 1}
    assert depthwise and set(targets(source)) == kinds.keys() - depthwise


def test_a_map_that_is_not_called_or_computes_something_else_is_left_out():
    assert targets(Toy(Mixed())) == ["called"]


def test_the_maps_of_gpt_stand_the_other_way_round_and_merge(bert):
    import transformers

    config = transformers.GPT2Config(vocab_size=19, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    network = transformers.GPT2Model(config).eval()
    source = hf.HF(Card("gpt", "text", "", 16, 0, "", "", ""), network, bert.reader, {"pooling": "last", **PLAIN})
    assert len(targets(source)) == 4
    adapter = random_adapter(source)
    query = source.network.get_submodule("h.0.attn.c_attn").weight
    merged = adapter.onto(source).network.get_submodule("h.0.attn.c_attn").weight
    down, up = (adapter.tensors[f"h.0.attn.c_attn.lora_{side}.weight"] for side in "AB")
    assert torch.allclose(merged, query + 4.0 * (up @ down).T, atol=1e-6)


PARTS = ["train"] * 6 + ["valid"] * 2 + ["test"] * 4
PLAIN = {"normalise": False, "config": {}, "part": "", "pooler": True, "trust": None}


def random_adapter(source, digest=""):
    generator = torch.Generator().manual_seed(1)
    network = Lora().adapted(source).network
    tensors = {
        name.replace(".default", ""): torch.randn(p.shape, generator=generator)
        for name, p in network.named_parameters()
        if "lora_" in name
    }
    return Adapter({"r": 4, "lora_alpha": 16.0}, tensors, digest)


# --- what trains -------------------------------------------------------------------------------------------------


def test_biases_norms_and_embeddings_stay(bert, fitted):
    before, after = bert.network.state_dict(), fitted.source.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in targets(bert)}


@pytest.mark.slow
def test_statistics_of_batch_norms_stay(tmp_path):
    source = tiny_torchvision(tmp_path)
    fitted = fitted_on(source, images(), Lora(**SHORT))
    before, after = source.network.state_dict(), fitted.source.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in targets(source)}


def test_the_table_counts_the_adapters_and_the_dry_run_says_the_same(bert, fitted):
    """A map from I to O numbers has rank * (I + O) in its adapter: 1 024 + 1 536 a layer of this BERT at rank 4."""
    rows = {row.layer: row for row in fitted.trained()}
    block = rows["encoder.layer.0"]
    plain = {layer.name: layer.parameters for layer in bert.layers()}["encoder.layer.0"]
    adapters = 4 * (4 * (32 + 32) + 2 * (32 + 64))
    assert block.parameters == plain + adapters
    assert block.share == pytest.approx(adapters / block.parameters) and block.rate == pytest.approx(0.02)
    assert rows["embeddings"].share == 0 and rows["embeddings"].change == 0
    assert block.change > 0 and rows["head"].share == 1
    planned = headstart.fit(texts(), source=bert, method="lora", settings=SHORT, dry_run=True).rows
    facts = [(row.layer, row.parameters, row.share, row.rate) for row in fitted.trained()]
    assert [(row.layer, row.parameters, row.share, row.rate) for row in planned] == facts


def test_the_last_layers_alone(bert):
    adapted = Lora(last=1).adapted(bert)
    groups = Lora(last=1).groups(adapted, nn.Linear(32, 2))
    assert [group.name for group in groups] == ["encoder.layer.1", "head"]
    with pytest.raises(HeadstartError, match=r"HS-METHOD-002.*last is 9; the source has 3 layers"):
        Lora(last=9).adapted(bert)


def test_words_are_tagged(bert):
    words = [list(np.roll(WORDS, turn)[: 3 + turn % 4]) for turn in range(12)]
    tags = [["B-X" if word in ("good", "bad") else "O" for word in row] for row in words]
    fitted = fitted_on(bert, dataset_with(words, tags, "tags", "tokens"), Lora(**SHORT))
    assert [len(row) for row in fitted.predict(dataset_with(words, tags, "tags", "tokens")).values] == list(
        map(len, words)
    )


def test_a_source_of_recurrent_layers_is_refused():
    source = Toy(nn.Sequential(nn.GRU(8, 8, batch_first=True)), (2, 3, 8))
    rows = texts()
    with pytest.raises(HeadstartError, match=r"HS-METHOD-003: lora.*no linear map or convolution.*bitfit"):
        Lora().admit(infer_task(rows), source, rows)


# --- what is saved -----------------------------------------------------------------------------------------------


def test_the_adapter_alone_is_saved_beside_the_unchanged_source(bert, fitted, tmp_path):
    assert isinstance(fitted, LoraFitted)
    fitted.save(tmp_path)
    saved = load_file(tmp_path / "source" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in bert.network.state_dict().items() if name in saved)
    assert json.loads((tmp_path / "source" / "source.json").read_text())["card"]["digest"] == bert.card.digest
    held = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(value.numel() for value in held.values()) == 2 * 4 * (4 * (32 + 32) + 2 * (32 + 64))
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_an_adapter_travels_alone(bert, fitted, tmp_path):
    fitted.save_adapter(tmp_path / "alone")
    adapted = Adapter.load(tmp_path / "alone").onto(bert)
    with torch.no_grad():
        ours, theirs = (s.forward(s.example()).pooled for s in (adapted, fitted.source))
    assert torch.equal(ours, theirs)
    assert adapted.card.digest == fitted.source.card.digest != bert.card.digest


def test_merged_it_is_saved_as_a_network_that_says_the_same(bert, fitted, tmp_path):
    merged = fitted_on(bert, texts(), Lora(**SHORT, merge=True))
    assert merged.kind == "methods.network"
    merged.save(tmp_path)
    assert not (tmp_path / "adapter").exists()
    loaded = type(merged).load(tmp_path, merged.task, merged.method)
    blind = texts().without("target")
    assert np.allclose(loaded.outputs(blind), fitted.outputs(blind), atol=1e-5)


def test_an_adapter_of_other_weights_is_refused(bert, fitted):
    with pytest.raises(HeadstartError, match=r"HS-ARTEFACT-003.*not trained on the weights"):
        fitted.adapter.onto(bert.untrained(1))


@pytest.mark.parametrize("damage", ["lost", "alien", "misshapen", "empty"])
def test_an_adapter_that_does_not_fit_is_refused(bert, fitted, tmp_path, damage):
    fitted.save_adapter(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    first = next(iter(tensors))
    value = tensors.pop(first)
    if damage == "alien":
        tensors["base_model.model.encoder.layer.7.lora_A.weight"] = value
    if damage == "misshapen":
        tensors[first] = value[:, :-1].contiguous()
    save_file({} if damage == "empty" else tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(HeadstartError, match=r"HS-ARTEFACT-003.*does not fit"):
        Adapter.load(tmp_path).onto(bert)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init_lora_weights": "pissa"}, "HS-METHOD-003.*init_lora_weights = 'pissa'"),
        ({"peft_type": "VERA"}, "HS-METHOD-003.*peft_type"),
        ({"bias": "all"}, "HS-METHOD-003.*bias"),
        ({"megatron_core": "some.module"}, "HS-METHOD-003.*megatron_core"),
        ({"r": "4"}, "HS-ARTEFACT-004.*adapter_config.json"),
        ({"r": 0}, "HS-ARTEFACT-004.*adapter_config.json"),
        ({"alpha_pattern": 2}, "HS-ARTEFACT-004.*adapter_config.json"),
        (None, "HS-ARTEFACT-004.*adapter_config.json"),
    ],
)
def test_another_kind_of_adapter_is_refused(fitted, tmp_path, change, message):
    fitted.save_adapter(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text("[]" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(HeadstartError, match=message):
        Adapter.load(tmp_path)


def test_a_run_is_saved_and_loaded_whole(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    table = {**{name: texts(48).values(name) for name in ("input", "target")}, "split": PARTS * 4}
    given = {"source": bert, "method": "lora", "settings": SHORT, "control": False, "precision": "fp32"}
    run = headstart.fit(table, target="target", out=tmp_path / "run", **given)
    loaded = headstart.load(tmp_path / "run")
    assert isinstance(loaded.fitted, LoraFitted) and loaded.fitted.method == run.fitted.method
    asked = ["good words", "a bad text of more words"]
    assert np.allclose(loaded.predict(asked).probabilities, run.predict(asked).probabilities, atol=1e-6)
    assert (tmp_path / "run" / "model" / "adapter" / "adapter_model.safetensors").stat().st_size < 1_000_000
