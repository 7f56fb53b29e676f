"""Cut a network into layers, input to output, by its structure and by one pass through it.

Three observations replace a table of architectures:

- A *block* holds at least two weighted operations (a transformer layer, a residual block). A *stage* is a sequence in
  which two blocks or more are of one class. A module that holds a stage somewhere is opened; a block is not.
- The outermost sequence of a network (VGG's and MobileNet's ``features``) is opened into its weighted members.
- What carries no matrix of its own (a norm, a position embedding) belongs to a neighbour: a norm to the layer that ran
  before it, a loose parameter (class token, positions) to the first layer that runs inside its module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_SEQUENCES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Layer:
    """One step from input to output. name: dotted name of its first module. module: all it holds.

    parts: dotted names, in the network, of the modules and loose parameters it holds; for a layer of one part,
    ``module`` is that very module, otherwise a `Group` of them. last: the module whose output is the layer's.
    """

    name: str
    module: nn.Module
    parts: tuple[str, ...]
    last: nn.Module

    @property
    def parameters(self) -> int:
        """Number of parameters in the layer."""
        return sum(p.numel() for p in self.module.parameters())


class Group(nn.Module):
    """Modules and loose parameters that make one layer. It only holds them; the network calls them itself."""

    def __init__(self, parts: Sequence[nn.Module | nn.Parameter]) -> None:
        super().__init__()
        for i, part in enumerate(parts):
            if isinstance(part, nn.Parameter):
                self.register_parameter(str(i), part)
            else:
                self.add_module(str(i), part)


def ordered_layers(network: nn.Module, run: Callable[[], object]) -> list[Layer]:
    """The layers in the order in which a pass, performed by ``run()``, first reaches them.

    Modules that the pass never reaches are left out; every parameter of the others is in exactly one layer.
    """
    units: dict[str, nn.Module] = {}
    loose: list[str] = []
    _open("", network, True, units, loose)
    order = _untied(_reached(units, run), units)
    groups: list[list[str]] = []
    waiting: list[str] = []
    for name in order:
        if _heavy(units[name]):
            groups.append([*waiting, name])
            waiting = []
        elif groups:
            groups[-1].append(name)
        else:
            waiting.append(name)
    if waiting:
        groups.append(waiting)
    return [_layer(network, units, group) for group in _with_loose(groups, loose)]


def located(network: nn.Module, name: str, parts: Sequence[str]) -> Layer:
    """The layer of these parts (dotted names of modules and loose parameters) as it now stands in the network."""
    held = dict(network.named_modules(remove_duplicate=False))
    found = [held[part] if part in held else network.get_parameter(part) for part in parts]
    modules = [part for part in found if isinstance(part, nn.Module)]
    return Layer(name, modules[0] if len(found) == 1 else Group(found), tuple(parts), modules[-1])


def is_channels_last(module: nn.Module, output: torch.Tensor) -> bool:
    """Whether a 4-D output [B,H,H,C] has its channels last: the module normalises over an axis that is not axis 1."""
    norms = [m for m in module.modules() if type(m) is nn.LayerNorm]
    sizes = {norm.normalized_shape[-1] for norm in norms if len(norm.normalized_shape) == 1}
    return output.ndim == 4 and output.shape[1] not in sizes and output.shape[1] == output.shape[2] and bool(sizes)


def _reached(units: dict[str, nn.Module], run: Callable[[], object]) -> list[str]:
    order: dict[str, None] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            order.setdefault(name)

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in units.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(order)


def _untied(order: list[str], units: dict[str, nn.Module]) -> list[str]:
    """The units without those whose parameters all belong to earlier ones: embeddings that are tied."""
    kept, held = [], set[int]()
    for name in order:
        own = {id(parameter) for parameter in units[name].parameters()}
        if not own <= held:
            kept.append(name)
        held |= own
    return kept


def _with_loose(groups: list[list[str]], loose: list[str]) -> list[list[str]]:
    """Add each loose parameter to the first group that runs inside the parameter's module."""
    for name in reversed(loose):
        home = name.rpartition(".")[0]
        inside = [group for group in groups if any(f"{part}.".startswith(f"{home}." if home else "") for part in group)]
        if inside:
            inside[0].append(name)
    return groups


def _layer(network: nn.Module, units: dict[str, nn.Module], names: list[str]) -> Layer:
    modules = [name for name in names if name in units]
    return located(network, next((name for name in modules if _heavy(units[name])), modules[0]), names)


def _open(prefix: str, module: nn.Module, outermost: bool, units: dict[str, nn.Module], loose: list[str]) -> None:
    """Collect the units below a module that is to be opened, and the parameters that stand loose in it."""
    loose += [f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)]
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    weighted = [child for _, child in children if _heavy(child)]
    for name, child in children:
        path = f"{prefix}.{name}" if prefix else name
        alone = outermost and len(weighted) == 1 and child is weighted[0] and bool(list(child.children()))
        if _opens(child) or alone or (isinstance(child, _SEQUENCES) and _is_sequence_of_steps(child, outermost)):
            _open(path, child, alone, units, loose)
        else:
            units[path] = child


def _opens(module: nn.Module) -> bool:
    """Whether the module is a stage or holds one."""
    return _is_stage(module) or any(_opens(child) for child in module.children())


def _is_stage(module: nn.Module) -> bool:
    if not isinstance(module, _SEQUENCES):
        return False
    kinds = [type(child) for child in module.children() if _operations(child) >= 2]
    return any(kinds.count(kind) >= 2 for kind in kinds)


def _is_sequence_of_steps(module: nn.Module, outermost: bool) -> bool:
    """A container directly below the network with several weighted members, or one that cannot run as a whole."""
    weighted = sum(_heavy(child) for child in module.children())
    return (outermost and weighted >= 2) or (isinstance(module, nn.ModuleList | nn.ModuleDict) and weighted >= 1)


def _heavy(module: nn.Module) -> bool:
    """Whether the module holds a matrix or a kernel."""
    return any(parameter.ndim >= 2 for parameter in module.parameters())


def _operations(module: nn.Module) -> int:
    """How many modules inside hold a matrix or a kernel of their own."""
    return sum(any(p.ndim >= 2 for p in part.parameters(recurse=False)) for part in module.modules())
