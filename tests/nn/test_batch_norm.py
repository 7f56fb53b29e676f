"""Statistics of batch norms computed anew: those of the rows, with everything else as it was."""

from __future__ import annotations

import torch
from torch import nn

from headstart.nn.batch_norm import batch_norms, recomputed


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.LayerNorm(4))


def test_the_statistics_are_those_of_the_rows():
    net = network()
    rows = torch.randn(600, 3) * 5 + 2
    weights = {name: value.clone() for name, value in net.named_parameters()}
    assert recomputed(net, rows.split(100), net) == 2
    inside = net[0](rows)
    assert torch.allclose(net[1].running_mean, inside.mean(dim=0), atol=1e-4)
    assert torch.allclose(net[1].running_var, inside.var(dim=0), rtol=0.1)
    assert all(torch.equal(weights[name], value) for name, value in net.named_parameters())
    assert not any(module.training for module in net.modules())
    assert [layer.momentum for layer in batch_norms(net)] == [0.1, 0.1]


def test_dropout_is_off_and_batches_count_alike():
    one, other = network(), network()
    rows = torch.randn(64, 3)
    recomputed(one, rows.split(16), one)
    recomputed(other, rows.flip(0).split(16), other)
    for ours, theirs in zip(batch_norms(one), batch_norms(other)):
        assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-6)


def test_without_batch_norm_there_is_nothing_to_do():
    assert recomputed(nn.Linear(3, 4), [torch.zeros(2, 3)], lambda batch: batch) == 0
    assert batch_norms(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))) == []
