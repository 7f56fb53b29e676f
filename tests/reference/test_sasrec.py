"""SASRec against PyTorch's own transformer layer with the same weights."""

import torch
from torch import nn

from headstart.nn.sasrec import Block, SASRec


def test_a_block_is_a_causal_transformer_layer_with_norms_first():
    torch.manual_seed(0)
    block = Block(16, 4, 0.0).eval()
    peer = nn.TransformerEncoderLayer(16, 4, 16, 0.0, "relu", batch_first=True, norm_first=True).eval()
    names = {
        "self_attn.in_proj_weight": block.mixed.weight, "self_attn.in_proj_bias": block.mixed.bias,
        "self_attn.out_proj.weight": block.out.weight, "self_attn.out_proj.bias": block.out.bias,
        "linear1.weight": block.inner[0].weight, "linear1.bias": block.inner[0].bias,
        "linear2.weight": block.inner[3].weight, "linear2.bias": block.inner[3].bias,
        "norm1.weight": block.first_norm.weight, "norm1.bias": block.first_norm.bias,
        "norm2.weight": block.second_norm.weight, "norm2.bias": block.second_norm.bias,
    }  # fmt: skip
    peer.load_state_dict({name: value.detach() for name, value in names.items()})
    x = torch.randn(3, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    torch.testing.assert_close(block(x), peer(x, src_mask=mask, is_causal=True), rtol=1e-5, atol=1e-5)


def test_a_step_does_not_see_what_comes_after_it():
    torch.manual_seed(0)
    network = SASRec(20, 8, 2, 2, 10, 0.5).eval()
    items = torch.randint(20, (2, 10))
    later = items.clone()
    later[:, 6:] = (later[:, 6:] + 1) % 20
    torch.testing.assert_close(network(items)[:, :6], network(later)[:, :6])
    assert not torch.allclose(network(items)[:, 6:], network(later)[:, 6:])
    torch.testing.assert_close(network(items)[:, :6], network(items[:, :6]))  # nor does padding at the end matter
