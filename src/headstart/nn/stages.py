"""Small heads in stages, each known by a word and its sizes, so that they are saved as tensors and JSON.

{"kind": "linear", "inputs": D, "outputs": C}        x W' + b
{"kind": "normalise", "width": D}                    layer normalisation
{"kind": "unit"}                                     length 1
{"kind": "convex", "classes": Z, "width": E, "top": T}   ConSE, see `Convex`
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from headstart.types import Json


class Unit(nn.Module):
    """Rows at length 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N,D] -> [N,D]."""
        return nn.functional.normalize(x, dim=-1)


class Convex(nn.Module):
    """Class logits to a point in the space of the class names' embeddings: their mean, weighted by probability.

    f(x) = sum_t p_t s(y_t) / sum_t p_t over the T likeliest classes. Norouzi et al. 2013, Zero-shot learning by convex
    combination of semantic embeddings, arXiv:1312.5650, equation 2. names: [Z,E] embeddings s of the Z class names.
    """

    def __init__(self, classes: int, width: int, top: int) -> None:
        super().__init__()
        self.top = min(top, classes)
        self.names = nn.Parameter(torch.zeros(classes, width), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N,Z] -> [N,E]."""
        chances, where = x.softmax(dim=-1).topk(self.top, dim=-1)  # [N,T]
        chances = chances / chances.sum(dim=-1, keepdim=True)
        return torch.einsum("nt,nte->ne", chances, self.names[where])


def stage(kind: Json) -> nn.Module:
    """One stage with fresh weights. Raises ValueError for an unknown kind."""
    if kind["kind"] == "linear":
        return nn.Linear(kind["inputs"], kind["outputs"])
    if kind["kind"] == "normalise":
        return nn.LayerNorm(kind["width"], eps=kind["eps"])
    if kind["kind"] == "unit":
        return Unit()
    if kind["kind"] == "convex":
        return Convex(kind["classes"], kind["width"], kind["top"])
    raise ValueError(f'there is no stage "{kind["kind"]}"')


def build(kinds: Sequence[Json]) -> nn.Sequential:
    """The stages one after the other, with fresh weights."""
    return nn.Sequential(*(stage(kind) for kind in kinds))


def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """A linear stage with these weights [C,D] and bias [C] (zeros by default)."""
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return made


def describe(modules: Sequence[nn.Module]) -> list[Json]:
    """What `build` needs to make the same stages."""
    return [_kind(module) for module in modules]


def _kind(module: nn.Module) -> Json:
    if isinstance(module, nn.Linear):
        return {"kind": "linear", "inputs": module.in_features, "outputs": module.out_features}
    if isinstance(module, nn.LayerNorm):
        return {"kind": "normalise", "width": int(module.normalized_shape[0]), "eps": module.eps}
    if isinstance(module, Convex):
        return {"kind": "convex", "classes": module.names.shape[0], "width": module.names.shape[1], "top": module.top}
    assert isinstance(module, Unit)
    return {"kind": "unit"}
