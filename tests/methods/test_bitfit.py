"""Which parameters bitfit trains, by the structure of the network."""

from __future__ import annotations

import pytest
from torch import nn

from headstart.errors import HeadstartError
from headstart.methods.bitfit import Bitfit, shifts
from headstart.methods.network import layer_rows
from headstart.tasks.base import infer_task
from tests.conformance.examples import texts, tiny_bert, tiny_timm
from tests.methods.toy import Toy


def names(source):
    """The names of what trains."""
    chosen = {id(p) for found in shifts(source).values() for p in found}
    return {name for name, p in source.network.named_parameters() if id(p) in chosen}


def test_a_transformer_trains_its_biases(tmp_path):
    source = tiny_bert(tmp_path)
    assert names(source) == {name for name, _ in source.network.named_parameters() if name.endswith("bias")}
    head = nn.Linear(32, 2)
    rows = {row.layer: row for row in layer_rows(source, head, Bitfit(learning_rate=0.01).groups(source, head))}
    block = rows["encoder.layer.0"]
    assert block.share == pytest.approx((6 * 32 + 64 + 32) / block.parameters) and block.rate == pytest.approx(0.01)
    assert rows["head"].share == 1


def test_where_kernels_have_no_bias_the_scales_of_the_norms_train_as_well(tmp_path):
    source = tiny_timm(tmp_path)
    norms = {n for n, m in source.network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")} <= names(source)
    assert all(p.ndim == 1 for n, p in source.network.named_parameters() if n in names(source))


def test_biases_of_recurrent_layers_and_of_attention():
    assert names(Toy(nn.Sequential(nn.GRU(8, 8)), (2, 3, 8))) == {"0.bias_ih_l0", "0.bias_hh_l0"}
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert "0.self_attn.in_proj_bias" in names(Toy(nn.Sequential(layer, nn.LayerNorm(8)), (2, 3, 8)))


def test_biases_are_not_pulled_to_zero(tmp_path):
    source, head = tiny_bert(tmp_path), nn.Linear(32, 2)
    groups = Bitfit(weight_decay=0.5).groups(source, head)
    assert {group.name: group.decay for group in groups}["head"] == 0.5
    assert {group.decay for group in groups[:-1]} == {0.0}


def test_a_source_with_nothing_to_shift_is_refused():
    rows = texts()
    with pytest.raises(HeadstartError, match=r"HS-METHOD-003: bitfit.*neither biases nor norms"):
        Bitfit().admit(infer_task(rows), Toy(nn.Sequential(nn.Linear(8, 8, bias=False))), rows)
