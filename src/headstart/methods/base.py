"""The Method contract: how knowledge moves from a source to a target.

A method is a frozen dataclass whose fields are its hyperparameters; ``fit(problem)`` returns a `Fitted`. Closed-form
methods override ``fit``; gradient methods inherit from `GradientMethod` and say only what trains and what the loss is.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.errors import ArtefactError, MethodError, did_you_mean
from headstart.tasks.base import Task
from headstart.types import Candidate, Json, LayerRow, Modality, Outputs, Prediction

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source


def hyper(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    paper: str = "",
) -> Any:
    """A hyperparameter field: default, help text, bounds or choices, and the paper it comes from."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "paper": paper}
    return field(default=default, metadata=metadata)


@dataclass
class Problem:
    """What a method is given. It never holds test targets.

    train, valid: labelled rows (valid None where the method must choose by cross-validation alone). task: learned on
    the training rows. source: None for the baseline. extractor: frozen features with cache; None with source None.
    seed: all randomness. deadline: ``time.monotonic()`` value or None. folder: for checkpoints. report: progress
    callback (stage, done, total). notes: lines for the user. options: engine settings such as precision; with
    ``drift`` False what moved is not measured; ``head`` is one to start from in place of the probe's.
    unlabelled: further rows with the same inputs and no target column, none of which is a test row; or None. domain:
    the rows of the domain to adapt to, with the same inputs and no target column, those that are predicted among them;
    or None. Then ``train`` may have a column with the role ``domain``; own: the value in it of labelled rows that are
    of the target domain themselves, or None. model: a fitted model to go on from, or None; a method that needs one has
    no labelled row, and ``train`` holds the inputs of ``domain``.
    """

    train: Dataset
    valid: Dataset | None
    task: Task
    source: Source | None
    extractor: Extractor | None
    seed: int = 0
    deadline: float | None = None
    folder: Path | None = None
    report: Callable[[str, int, int], None] = lambda stage, done, total: None
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    unlabelled: Dataset | None = None
    domain: Dataset | None = None
    model: Fitted | None = None
    own: str | None = None

    def replace(self, **changes: Any) -> Problem:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def given(self) -> list[Need]:
        """What there is besides labelled rows and a source."""
        there: dict[Need, Any] = {
            "unlabelled": self.unlabelled, "domain": self.domain, "model": self.model, "few": self.own,
        }  # fmt: skip
        return [need for need, found in there.items() if found is not None]

    @property
    def precision(self) -> str:
        """The arithmetic of training: ``auto``, ``bf16`` or ``fp32``."""
        exact = self.source is not None and self.source.exact
        return "fp32" if exact else str(self.options.get("precision", "auto"))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, or None."""
        return None if self.deadline is None else self.deadline - time.monotonic()


class Fitted(ABC):
    """A model that predicts. Subclasses are final and can be saved without pickle.

    kind: the name under which an artefact records the subclass ("methods.<file>").
    """

    kind: ClassVar[str]
    task: Task
    method: Method
    history: list[Json]
    tried: Sequence[Candidate] = ()  # what an automatic choice tried, this one among them; not saved with the model
    control: Fitted | None = None  # what it was compared with on the way; not saved either

    @property
    def description(self) -> str:
        """A few words on what was fitted, for tables and the summary."""
        return self.method.summary

    @property
    def keeps(self) -> str:
        """What of the training rows the saved model holds, for the user; most hold none."""
        return ""

    @abstractmethod
    def outputs(self, dataset: Dataset) -> Outputs:
        """Raw outputs of the rows (see `headstart.types.Outputs`)."""

    def predict(self, dataset: Dataset) -> Prediction:
        """Predictions in the user's own labels."""
        return self.task.predictions(self.outputs(dataset), dataset)

    @abstractmethod
    def trained(self) -> list[LayerRow]:
        """Layer by layer: parameters, share that trained, learning rate."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into ``folder`` (not the task; the artefact holds it)."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, task: Task, method: Method) -> Fitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor matches."""


Need: TypeAlias = Literal["labels", "source", "network", "unlabelled", "domain", "model", "few"]
"""What a method may require: labelled rows, a source, a source whose network can train, further unlabelled rows, rows
of another domain to adapt to, a model that was fitted before, a few labelled rows of the domain to adapt to."""

LACKS: dict[Need, tuple[str, str]] = {
    "labels": ("labelled rows", "Name the column to predict with --target."),
    "source": (
        "a source, and there is none for this kind of input on the shelf",
        "Name one with --source (`headstart pretrain` makes one), or use --method baseline.",
    ),
    "network": ("a network to train", "Use --method probe, or another source."),
    "unlabelled": ("unlabelled rows", "Give them with --unlabelled PATH."),
    "domain": ("rows of a domain to adapt to", "Use `headstart adapt SOURCE TARGET`."),
    "model": ("a fitted model and no labelled rows", "Fit one first, then `headstart adapt RUN TARGET`."),
    "few": ("a few labelled rows of the target domain", "Label some of its rows, and add --use-labels."),
}


@dataclass(frozen=True)
class Method(ABC):
    """How knowledge moves. name: the file's name. kind: place in the taxonomy. paper: where it comes from.

    role: ``transfer`` or ``control``. gradients: whether it trains a network by gradient descent. needs: what it cannot
    do without; uses: what it takes where it is there. tasks, modalities: those it makes sense for; empty means all.
    shares: of several targets one fit serves all; other methods are fitted for each target by itself. ranks: whether it
    can rank items, for tasks that have no head.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["inductive", "transductive", "unsupervised"]] = "inductive"
    role: ClassVar[Literal["transfer", "control"]] = "transfer"
    gradients: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = ("labels", "source")
    uses: ClassVar[tuple[Need, ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = ()
    modalities: ClassVar[tuple[Modality, ...]] = ()
    shares: ClassVar[bool] = False
    ranks: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_bounds(self.name, item, getattr(self, item.name))

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return (type(self).__doc__ or "").strip().splitlines()[0].rstrip(".")

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """Names of the source's outputs that `fit` will read from the extractor; the task's need by default."""
        return [task.needs] if task.needs != "items" else []

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what the method cannot do. Raises MethodError HS-METHOD-003 that names the method and what is missing.

        dataset: the rows it would be fitted on. given: which of the other needs are met.
        """
        there: dict[Need, bool] = {
            "labels": dataset.target is not None,
            "source": source is not None,
            "network": source is not None and any(True for _ in source.network.parameters()),
            "unlabelled": "unlabelled" in given,
            "domain": "domain" in given,
            "model": "model" in given,
            "few": "few" in given,
        }
        if (task.needs == "items" and not self.ranks) or (self.tasks and task.name not in self.tasks):
            raise MethodError(
                "HS-METHOD-003", f"{self.name} cannot do {task.name}; it does {', '.join(self.tasks) or 'the others'}.",
                "See `headstart methods` for those that can.",
            )  # fmt: skip
        for need in self.needs:
            if not there[need]:
                what, hint = LACKS[need]
                raise MethodError("HS-METHOD-003", f"{self.name} needs {what}.", hint)
        if self.modalities and dataset.modality not in self.modalities:
            raise MethodError(
                "HS-METHOD-003", f"{self.name} reads {' or '.join(self.modalities)}; the input is {dataset.modality}.",
                "See `headstart methods` for those that can.",
            )  # fmt: skip

    def rows_trained(self, rows: int) -> float:
        """How many rows go forwards and backwards through the network in a fit on ``rows``; for estimates of time."""
        return 3.0 * rows if self.gradients else 0.0

    def settled(self, fitted: Fitted) -> Method:
        """The method to fit on parts of the rows, once ``fitted`` was fitted on all; a search is narrowed by then."""
        return self

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """The fit once more on other rows (all that are labelled) at no great cost; None where a network would train.

        fitted: that on some of the rows, whose choices may be kept.
        """
        return None if self.gradients else fitted.method.fit(problem)

    def widened(self, task: Task) -> Task:
        """The task that the method is fitted for, where it knows of classes that no row shows; the task itself else."""
        return task

    def ablation(self) -> Method | None:
        """The same thing without this method's own idea: fitted beside it, with a verdict of its own."""
        return None

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """What would train, for ``--dry-run``: a head on the frozen source, in closed form, by default."""
        parameters = sum(p.numel() for p in task.head(source.card.width).parameters())
        return [*frozen(source), LayerRow("head", parameters, 1.0, None)]

    @abstractmethod
    def fit(self, problem: Problem) -> Fitted:
        """Fit on ``problem.train``, choosing by ``problem.valid`` or cross-validation on train."""

    def hyperparameters(self) -> Json:
        """The fields as JSON."""
        return dataclasses.asdict(self)


def frozen(source: Source) -> list[LayerRow]:
    """The layers of a source, none of which trains."""
    return [
        LayerRow(layer.name, sum(p.numel() for p in layer.module.parameters()), 0.0, None) for layer in source.layers()
    ]


def check_bounds(method: str, item: dataclasses.Field[Any], value: Any) -> None:
    """Raise MethodError HS-METHOD-002 where a hyperparameter is out of bounds."""
    low, high, choices = (item.metadata.get(key) for key in ("low", "high", "choices"))
    name = item.name.replace("_", "-")
    if choices is not None and value not in choices:
        raise MethodError(
            "HS-METHOD-002", f"{method}: {name} is {value!r}.", did_you_mean(str(value), map(str, choices))
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        if (low is not None and value < low) or (high is not None and value > high):
            raise MethodError("HS-METHOD-002", f"{method}: {name} is {value}; expected {low} to {high}.")
        if value != value:
            raise MethodError("HS-METHOD-002", f"{method}: {name} is not a number.")


def admits(method: Method, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> bool:
    """Whether `Method.admit` lets it."""
    try:
        method.admit(task, source, dataset, given)
    except MethodError:
        return False
    return True


def make(method: type[Method], settings: Json) -> Method:
    """The method with these hyperparameters. Raises MethodError HS-METHOD-002 for unknown names."""
    known = {item.name for item in dataclasses.fields(method)}
    for name in settings:
        if name not in known:
            raise MethodError(
                "HS-METHOD-002", f'{method.name} has no hyperparameter "{name}".', did_you_mean(name, known)
            )
    return method(**settings)


def fitted_class(kind: str) -> type[Fitted]:
    """The class that an artefact records as "methods.<file>". Raises ArtefactError HS-ARTEFACT-004 for another name."""
    known = re.fullmatch(r"methods\.[a-z_0-9]+", kind) and importlib.util.find_spec(f"headstart.{kind}")
    module = importlib.import_module(f"headstart.{kind}") if known else None
    for value in vars(module).values() if module else ():
        if isinstance(value, type) and issubclass(value, Fitted) and getattr(value, "kind", None) == kind:
            return value
    raise ArtefactError("HS-ARTEFACT-004", f'model.json names the kind "{kind}".', "Copy the run again.")


def save_part(model: Fitted, folder: Path) -> Json:
    """Write a model that is one of several into its own folder; returns what `load_part` needs besides the task."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    return {"kind": model.kind, "method": {"name": model.method.name, "settings": model.method.hyperparameters()}}


def load_part(facts: Json, folder: Path, task: Task) -> Fitted:
    """What `save_part` wrote. Raises ArtefactError HS-ARTEFACT-003 or HS-ARTEFACT-004 for what is not that."""
    method = make(catalog.find("methods", facts["method"]["name"]), facts["method"]["settings"])
    return fitted_class(facts["kind"]).load(folder, task, method)
