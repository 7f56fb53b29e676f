"""LoRA: the source stays as it is; beside each of its matrices a product of two thin ones is trained.

A map W [O,I] becomes W + (alpha / r) B A with A [r,I] and B [O,r] (Hu et al. 2021, arXiv:2106.09685, section 4.1). B
starts at zero, so that training starts from the source itself, and only A, B and the head train: biases, norms and
embeddings stay. A convolution gets a thin convolution A of its own kernel and a 1 x 1 convolution B. Which maps there
are is read off `Source.layers`: every linear map and convolution that a pass runs through, but not grouped or dilated
convolutions, for which the sum cannot be merged. The layers themselves come from the peft library.

After training the products are added to the matrices, so a prediction costs what it costs in the source. What is saved
is the source as it was and the adapter alone, in peft's own format (``adapter/``), or with ``merge`` the sum.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from headstart import disk
from headstart.datasets.base import Dataset
from headstart.engine import Group
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.network import GradientMethod, NetworkFitted, layer_rows
from headstart.methods.probe import Probe
from headstart.sources.torchvision_compat import heal
from headstart.sources.weights import read_safetensors
from headstart.tasks.base import Task
from headstart.types import Json, LayerRow

if TYPE_CHECKING:
    from headstart.sources.base import Source

WEIGHTS, CONFIG, PREFIX = "adapter_model.safetensors", "adapter_config.json", "base_model.model."  # peft's names


@dataclass(frozen=True)
class Lora(GradientMethod):
    """Low-rank adapters beside the source's matrices; the source itself stays."""

    name: ClassVar[str] = "lora"
    paper: ClassVar[str] = "Hu et al. 2021, arXiv:2106.09685"

    learning_rate: float = hyper(1e-3, "highest learning rate of the adapters", low=1e-8, high=1.0)
    head_rate: float = hyper(0.5, "factor on the rate of the head", low=0.0, high=1000.0)
    rank: int = hyper(4, "rank of each adapter", low=1, high=1024)
    lora_alpha: float = hyper(16.0, "alpha: the product of an adapter counts alpha / rank", low=1e-3, high=1e4)
    dropout: float = hyper(0.0, "dropout before the adapters", low=0.0, high=0.9)
    last: int = hyper(0, "how many of the last layers get adapters; 0 = all", low=0, high=10_000)
    variant: str = hyper(
        "plain", "rslora divides by the root of the rank, dora trains the length of each row of the matrices as well",
        choices=("plain", "rslora", "dora"), paper="rsLoRA: arXiv:2312.03732; DoRA: arXiv:2402.09353",
    )  # fmt: skip
    merge: bool = hyper(False, "save the network with the adapters added to it, instead of the adapters alone")

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; also refuses a source without a map to adapt."""
        super().admit(task, source, dataset, given)
        assert source is not None
        self._targets(source)

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """Fresh adapters in a copy of the source, and the probe's head."""
        assert problem.source is not None
        head = Probe(layers="last").fit(problem.replace(valid=None)).head
        return self.adapted(problem.source, problem.seed), head, (problem.task.needs,)

    def adapted(self, source: Source, seed: int = 0) -> Source:
        """A copy of the source with fresh adapters, which change nothing yet.

        Raises MethodError HS-METHOD-002 (more layers than there are), HS-METHOD-003 (no map to adapt).
        """
        names = self._targets(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return source.rewired(lambda network: _inject(network, names, self._config()))

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """The adapters of each layer at one rate, and the head. source: one that `adapted` made."""
        adapters = [
            (layer.name, [p for name, p in layer.module.named_parameters() if "lora_" in name])
            for layer in source.layers()
        ]
        return [
            *(Group(name, found, self.learning_rate, self.weight_decay) for name, found in adapters if found),
            Group("head", list(head.parameters()), self.learning_rate * self.head_rate, self.weight_decay),
        ]

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """What would train, adapters included."""
        adapted, head = self.adapted(source), task.head(source.card.width)
        return layer_rows(adapted, head, self.groups(adapted, head))

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train the adapters, then add them to the source's matrices."""
        trained = super().fit(problem)
        assert problem.source is not None
        adapter = Adapter(self._config(), _tensors(trained.source.network), problem.source.card.digest)
        source = adapter.onto(problem.source)
        moved = changes(problem.source, source)
        merged = NetworkFitted(
            self, trained.task, source, trained.head, trained.outputs_used, changed=True,
            precision=trained.precision, history=trained.history,
            layers=[replace(row, change=moved.get(row.layer, row.change)) for row in trained.trained()],
        )  # fmt: skip
        return merged if self.merge else LoraFitted(merged, problem.source, adapter)

    def _config(self) -> Json:
        """The fields of peft's ``LoraConfig``, but for the names of what is adapted."""
        variants = {"use_rslora": self.variant == "rslora", "use_dora": self.variant == "dora"}
        return {"r": self.rank, "lora_alpha": self.lora_alpha, "lora_dropout": self.dropout, **variants}

    def _targets(self, source: Source) -> list[str]:
        layers = len(source.layers())
        if self.last > layers:
            raise MethodError("HS-METHOD-002", f"lora: last is {self.last}; the source has {layers} layers.")
        if not (names := targets(source, self.last)):
            raise MethodError(
                "HS-METHOD-003", f"lora: {source.card.name} has no linear map or convolution to adapt.",
                "Use --method bitfit or finetune.",
            )  # fmt: skip
        return names


def targets(source: Source, last: int = 0) -> list[str]:
    """Dotted names in ``source.network`` of the maps of its ``last`` layers (0 = all) that can be adapted.

    A map that a pass does not call is left out: some networks read the weights of a linear map and never run it, and an
    adapter there would not be heard.
    """
    homes = tuple(f"{part}." for layer in source.layers()[-last:] for part in layer.parts)
    maps = {
        name: module
        for name, module in source.network.named_modules()
        if f"{name}.".startswith(homes) and _adaptable(module)
    }
    called: set[str] = set()
    hooks = [module.register_forward_pre_hook(_note(called, name)) for name, module in maps.items()]
    try:
        source.forward(source.example())
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in maps if name in called]


def changes(before: Source, after: Source) -> dict[str, float]:
    """By layer: norm of the weights' change over their norm before, for two sources of one structure."""

    def norm(tensors: Iterable[torch.Tensor]) -> float:
        return float(torch.stack([tensor.detach().double().square().sum() for tensor in tensors]).sum().sqrt())

    found = {}
    for old, new in zip(before.layers(), after.layers(), strict=True):
        pairs = list(zip(old.module.parameters(), new.module.parameters(), strict=True))
        found[old.name] = norm(b - a for a, b in pairs) / max(norm(a for a, _ in pairs), 1e-30)
    return found


def _adaptable(module: nn.Module) -> bool:
    """Whether the module is just the map that its class says (a subclass may compute another) and can be merged."""
    if not isinstance(module._parameters.get("weight"), nn.Parameter):
        return False
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        plain = module.groups == 1 and set(module.dilation) == {1} and module.padding_mode == "zeros"
        return plain and type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    kind = type(module)
    return kind is nn.Linear or f"{kind.__module__}.{kind.__name__}" == "transformers.pytorch_utils.Conv1D"


def _note(called: set[str], name: str) -> Callable[[nn.Module, Any], None]:
    return lambda module, inputs: called.add(name)


# --- adapters --------------------------------------------------------------------------------------------------------


class Adapter:
    """Trained adapters without the network they belong to.

    config: fields of peft's ``LoraConfig``. tensors: by peft's names. source: digest of the weights they were trained
    on; empty where it is not known.
    """

    def __init__(self, config: Json, tensors: dict[str, torch.Tensor], source: str = "") -> None:
        self.config, self.tensors, self.source = config, tensors, source

    @property
    def maps(self) -> list[str]:
        """Dotted names of the maps that have an adapter."""
        return sorted({name.split(".lora_")[0] for name in self.tensors})

    def onto(self, source: Source) -> Source:
        """A copy of the source with the adapters added to its matrices.

        Raises ArtefactError HS-ARTEFACT-003 where they were trained on other weights, or do not fit.
        """
        if self.source and self.source != source.card.digest:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"the adapter was not trained on the weights of {source.card.name}.",
                "Load it onto the source that it was trained on.",
            )  # fmt: skip
        other = source.clone()
        trains = [parameter.requires_grad for parameter in other.network.parameters()]
        there = {name for name, module in other.network.named_modules() if _adaptable(module)}
        wrong = [f"it has no map {name}" for name in self.maps if name not in there]
        if not self.maps:
            wrong = ["it holds no tensors"]
        if not wrong:
            with torch.random.fork_rng(devices=[]):  # fresh adapters are drawn before these take their place
                tuner = _inject(other.network, self.maps, self.config)
            wrong = _differences(_tensors(other.network), self.tensors)
        if wrong:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"the adapter does not fit {source.card.name}: {'; '.join(wrong[:3])}.",
                "Load it onto the source that it was trained on.",
            )  # fmt: skip
        _peft().set_peft_model_state_dict(other.network, self.tensors)
        tuner.merge_and_unload()
        for parameter, flag in zip(other.network.parameters(), trains, strict=True):
            parameter.requires_grad_(flag)  # peft switched them off
        other.card = replace(source.card, digest=other.digest())
        return other

    def save(self, folder: Path) -> None:
        """Write ``adapter_model.safetensors`` and ``adapter_config.json`` as peft does.

        ``PeftModel.from_pretrained(source.network, folder)`` reads them. Raises EnvironmentProblem HS-ENV-002, -003.
        """
        from safetensors.torch import save_file

        tensors = {PREFIX + name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        config = _config(self.maps, self.config)
        config.inference_mode = True
        with disk.guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "source": self.source})
            config.save_pretrained(str(folder))

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """What `save` wrote, or what peft saved of a plain LoRA, rsLoRA or DoRA adapter.

        Raises SourceError HS-SOURCE-008 (damaged weights), ArtefactError HS-ARTEFACT-004 (missing or damaged
        configuration), MethodError HS-METHOD-003 (another kind of adapter).
        """
        from safetensors import safe_open

        tensors = read_safetensors(folder / WEIGHTS)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            known = file.metadata() or {}
        try:
            stated = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            config = {name: value for name, value in stated.items() if name in KEPT}
            if not config["r"] > 0 or not all(isinstance(value, KEPT[name]) for name, value in config.items()):
                raise ValueError(config)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ArtefactError("HS-ARTEFACT-004", f"{folder / CONFIG} is missing or damaged.") from error
        _refuse_others(stated, folder / CONFIG)
        found = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
        return cls(config, found, known.get("source", ""))


KEPT: dict[str, Any] = {
    "r": int, "lora_alpha": int | float, "lora_dropout": int | float, "use_rslora": bool, "use_dora": bool,
    "rank_pattern": dict, "alpha_pattern": dict,
}  # fmt: skip
"""What an adapter's configuration may say about how it computes; ``Adapter.load`` takes these fields over."""

SILENT = (
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "inference_mode", "fan_in_fan_out",
    "base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version",
)  # fmt: skip
"""What it may say besides: where the adapters stand is read off the names of the tensors."""


def _refuse_others(stated: Json, path: Path) -> None:
    """Raise MethodError HS-METHOD-003 where the configuration asks for anything but LoRA as this file computes it."""
    plain = json.loads(json.dumps(_peft().LoraConfig().to_dict(), default=str))
    if stated.get("init_lora_weights") in (True, False, "gaussian"):  # the others change the source's own matrices
        plain["init_lora_weights"] = stated["init_lora_weights"]
    other = [
        name
        for name, value in stated.items()
        if name not in (*KEPT, *SILENT) and value != plain.get(name) and (value or plain.get(name))
    ]
    if other:
        raise MethodError(
            "HS-METHOD-003", f"{path}: lora cannot do {other[0]} = {stated[other[0]]!r}.",
            "Merge the adapter with peft, and use the merged model as a source.",
        )  # fmt: skip


def _differences(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> list[str]:
    """What of ``given`` does not fit into ``own``, in words."""
    return [
        *(f"{name} is missing" for name in sorted(own.keys() - given.keys())),
        *(f"{name} is one too many" for name in sorted(given.keys() - own.keys())),
        *(
            f"{name} is {list(given[name].shape)} instead of {list(own[name].shape)}"
            for name in sorted(own.keys() & given.keys())
            if own[name].shape != given[name].shape
        ),
    ]


def _inject(network: nn.Module, names: Sequence[str], config: Json) -> Any:
    """Put fresh adapters into the network, in place; returns peft's tuner. names: dotted, of the maps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # peft sees by itself which way round a map's weight stands
        return _peft().LoraModel(network, _config(names, config), "default")


def _config(names: Sequence[str], config: Json) -> Any:
    """peft's configuration; the pattern matches these names and no others."""
    return _peft().LoraConfig(**config, target_modules="|".join(re.escape(name) for name in names))


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """The adapters' tensors by peft's names."""
    found = _peft().get_peft_model_state_dict(network, save_embedding_layers=False)
    return {name: value.detach().clone() for name, value in found.items()}


def _peft() -> Any:
    heal()  # peft imports transformers, which imports torchvision
    import peft

    return peft


class LoraFitted(NetworkFitted):
    """A network with adapters added to it that is saved as the source it came from and the adapters alone."""

    kind: ClassVar[str] = "methods.lora"

    def __init__(self, merged: NetworkFitted, base: Source, adapter: Adapter) -> None:
        super().__init__(
            merged.method, merged.task, merged.source, merged.head, merged.outputs_used, changed=True,
            precision=merged.precision, history=merged.history, layers=merged.trained(),
        )  # fmt: skip
        self.base, self.adapter = base, adapter

    def save(self, folder: Path) -> None:
        """The unchanged source with the head, as `NetworkFitted.save`, and ``adapter/``."""
        NetworkFitted(
            self.method, self.task, self.base, self.head, self.outputs_used, changed=True,
            precision=self.precision, history=self.history, layers=self.trained(),
        ).save(folder)  # fmt: skip
        self.save_adapter(folder / "adapter")

    def save_adapter(self, folder: Path) -> None:
        """The adapter alone; ``Adapter.load(folder).onto(source)`` puts it onto its source again."""
        self.adapter.save(folder)

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> LoraFitted:
        """See `Fitted.load`."""
        plain = NetworkFitted.load(folder, task, method)
        base, adapter = plain.source, Adapter.load(folder / "adapter")
        plain.source = adapter.onto(base)
        return cls(plain, base, adapter)
