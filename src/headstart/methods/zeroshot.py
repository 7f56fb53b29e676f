"""Zero-shot: rows are told apart by what their labels mean. No training label is read.

Texts and labels meet in one space: the labels' sentences ("This text is about sport.") are embedded by the source that
embeds the texts; by CLIP-type models where rows are images; or the image network's own 1 000 classes are composed, by
their names in a text encoder's space (ConSE, `headstart.nn.stages.Convex`). The rows' own layout then corrects the
labels (`headstart.nn.anchored`). A model trained on entailment is asked instead whether each text entails each sentence
(Yin, Hay & Roth 2019, arXiv:1909.00161), and the shares of the labels are corrected (`headstart.nn.priors`). A
forecaster forecasts as it is.

Measured, see ``benchmarks/zeroshot.py`` and docs/zero-shot.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from headstart.cache import key
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.entailed import Entailed, as_text, by_label
from headstart.methods.network import NetworkFitted, layer_rows
from headstart.methods.staged import Staged
from headstart.nn import anchored, priors, prompts, stages
from headstart.sources import pairs
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.tasks.classification import softmax
from headstart.types import Json, Modality

Array = np.ndarray
Way = Literal["similarity", "entailment", "image-text", "classes"]
Embed = Callable[[Sequence[str]], Array]

TEMPLATES: dict[Way, str] = {
    "similarity": "{} | This text is about {}. | The topic is {}. | a text about {}",
    "entailment": "This text is about {}.",
    "image-text": "a photo of {}. | an image of {}. | a picture of {}.",
    "classes": "{}",
}
SEEN = {"similarity": 20_000, "image-text": 20_000, "classes": 20_000, "entailment": 2_000}
"""Unlabelled rows that are looked at, at most."""

STRANGE = 0.15
"""Mean probability of an image network's likeliest own class that calls for a note (photographs 0.34, digits 0.08)."""

FEW = 10
"""Rows a label under which the rows' layout is not trusted and the similarity alone decides."""


@dataclass(frozen=True)
class ZeroShot(Method):
    """Rows told apart by what their labels mean; no training label is read."""

    name: ClassVar[str] = "zeroshot"
    kind: ClassVar[Literal["inductive", "transductive", "unsupervised"]] = "transductive"
    needs: ClassVar[tuple[Need, ...]] = ("source",)
    uses: ClassVar[tuple[Need, ...]] = ("unlabelled",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "forecasting")
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image", "series")
    paper: ClassVar[str] = "Yin et al. 2019, arXiv:1909.00161; Norouzi et al. 2013, arXiv:1312.5650"

    labels: str = hyper("", "labels with commas, or a JSON or CSV file of label and description; else the class names")
    template: str = hyper("", "sentences with {} for the label, separated by |; chosen by the kind of source if empty")
    encoder: str = hyper("minilm", "text source that knows the names of an image network's classes")
    adapt: str = hyper(
        "rows", "rows: their layout corrects the labels; none: similarity alone", choices=("rows", "none"),
        paper="Zanella et al. 2024, arXiv:2406.01837; Saerens et al. 2002",
    )  # fmt: skip
    top: int = hyper(10, "classes of an image network that are composed", low=1, high=100_000, paper="arXiv:1312.5650")
    sharpness: float = hyper(0.25, "temperature, over the spread of the similarities", low=1e-3, high=100.0)
    hubness: float = hyper(0.25, "part of a label's mean similarity to all rows that is taken off", low=0.0, high=1.0)
    anchor: float = hyper(1000.0, "weight of the start in every cluster, in rows", low=0.0, high=1e9)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; images need a source that knows words: an image-text model, or named classes."""
        super().admit(task, source, dataset, given)
        assert source is not None
        if task.start(source.card.width) is not None:
            return
        way_of(source)
        if self.template:
            prompts.templates(self.template)
        self._meanings(task)

    def fit(self, problem: Problem) -> Fitted:
        """Fit on the inputs of ``problem.train`` and ``problem.unlabelled``; no target is read."""
        if problem.source is None or problem.extractor is None:
            raise MethodError("HS-METHOD-003", "zeroshot needs a source.", "Name one with --source.")
        if (ready := problem.task.start(problem.source.card.width)) is not None:
            return self._as_it_is(problem, ready)
        way = way_of(problem.source)
        sentences = prompts.templates(self.template or TEMPLATES[way])
        texts, owner = prompts.filled(self._meanings(problem.task), sentences)
        parts = [problem.train, *([problem.unlabelled] if problem.unlabelled is not None else [])]
        parts = [_some(part.without("target"), SEEN[way], problem.seed) for part in parts]
        if way == "entailment":
            return self._by_entailment(problem, parts, texts, owner, len(sentences))
        body, embed = self._space(problem.source, way)
        features = np.concatenate([problem.extractor.matrix(part) for part in parts])
        with torch.inference_mode():
            rows = nn.Sequential(*body)(torch.from_numpy(features).float()).numpy().astype(np.float64)
        vectors = prompts.unit(embed(texts))
        labels = prompts.mean_by_class(vectors, owner, problem.task.width)
        found = self._adapted(rows, labels)
        head = [*body, stages.linear(torch.from_numpy(found.weight), torch.from_numpy(found.bias))]
        guesses = (rows @ found.weight.T + found.bias).argmax(axis=1)
        step, classes = len(sentences), len(labels)
        each = [rows @ prompts.mean_by_class(vectors[k::step], owner[k::step], classes).T for k in range(step)]
        history = _facts(way, problem.task, found.shares, guesses, each)
        if way == "classes":
            history[-1]["own classes"] = own = _own(body[0], features)
            if own < STRANGE:
                problem.notes.append(
                    f"zeroshot: the image network is at home elsewhere: the likeliest of its own classes has "
                    f"{100 * own:.0f} % on average. Composed labels are then little better than chance."
                )
        return Staged(
            self, problem.task, problem.source, head, history, extractor=problem.extractor,
            precision=problem.extractor.precision, description=DESCRIBED[way],
        )  # fmt: skip

    def _as_it_is(self, problem: Problem, head: nn.Module) -> NetworkFitted:
        """A source whose features are the prediction already, such as a forecaster."""
        assert problem.source is not None
        return NetworkFitted(
            self, problem.task, problem.source, head, ("pooled",), changed=False, extractor=problem.extractor,
            layers=layer_rows(problem.source, head, []),
        )  # fmt: skip

    def _meanings(self, task: Task) -> list[list[str]]:
        found = prompts.described(self.labels, task.classes, self.name)
        if any(isinstance(meaning, float) for meanings in found for meaning in meanings):
            raise MethodError("HS-METHOD-002", "zeroshot reads labels in words, not in numbers.", "Use --method eszsl.")
        return found

    def _space(self, source: Source, way: Way) -> tuple[list[nn.Module], Embed]:
        """Stages from pooled features to unit vectors in the labels' space, and what embeds a label's texts."""
        if way == "similarity":
            return [stages.Unit()], lambda texts: embedded(source, tuple(texts))
        if way == "image-text":
            model = pairs.image_text(source.card.origin)
            return [*model.stages(), stages.Unit()], model.texts
        assert source.classifier is not None
        encoder = opened(self.encoder)
        names = prompts.unit(embedded(encoder, source.classes))
        convex = stages.Convex(len(names), names.shape[1], self.top)
        with torch.no_grad():
            convex.names.copy_(torch.from_numpy(names))
        classifier = stages.linear(source.classifier.weight, source.classifier.bias)
        return [classifier, convex, stages.Unit()], lambda texts: embedded(encoder, tuple(texts))

    def _adapted(self, rows: Array, labels: Array) -> anchored.Anchored:
        similarity = rows @ labels.T
        temperature = self.sharpness * max(float((similarity - similarity.mean(axis=0)).std()), 1e-6)
        if self.adapt == "none" or len(rows) < FEW * len(labels):
            return anchored.plain(labels, temperature)
        return anchored.anchored(rows, labels, temperature=temperature, hubness=self.hubness, anchor=self.anchor)

    def _by_entailment(
        self, problem: Problem, parts: Sequence[Dataset], texts: Sequence[str], owner: Array, step: int
    ) -> Entailed:
        """step: sentences for each description; they take turns in ``texts``."""
        assert problem.source is not None
        model, task = pairs.entailment(problem.source.card.origin), problem.task
        samples = [as_text(sample) for part in parts for sample in part.samples()]
        scores = model.scores(samples, texts, problem.report)
        raw = by_label(scores, owner, task.width)
        bias = np.zeros(task.width)
        found = softmax(raw).mean(axis=0)
        if self.adapt == "rows" and len(samples) >= FEW * task.width:
            bias -= self.hubness * (raw.mean(axis=0) - raw.mean())
            found, _ = priors.shares(softmax(raw + bias), smoothing=len(raw) / task.width)
            bias += np.log(found * task.width)
        each = [by_label(scores[:, k::step], owner[k::step], task.width) for k in range(step)]
        history = _facts("entailment", task, found, (raw + bias).argmax(axis=1), each)
        return Entailed(self, task, model, texts, owner.tolist(), bias, history)


DESCRIBED: dict[Way, str] = {
    "similarity": "similarity of texts and labels, no training label read",
    "image-text": "similarity of images and labels, no training label read",
    "classes": "classes of the image network composed to labels, no training label read",
}


def way_of(source: Source) -> Way:
    """How the source knows words. Raises MethodError HS-METHOD-003 where it does not."""
    if source.card.modality == "text":
        return "entailment" if pairs.entails(source) else "similarity"
    if pairs.is_image_text(source):
        return "image-text"
    if source.classifier is not None and source.classes:
        return "classes"
    raise MethodError(
        "HS-METHOD-003", f"zeroshot cannot read words into {source.card.name}: its classes have no names.",
        "Use mobilenet_v2 or another source with named classes, or an image-text model by hf:.",
    )  # fmt: skip


def _facts(way: Way, task: Task, shares: Array, guesses: Array, each: Sequence[Array]) -> list[Json]:
    """What the fit saw: how, rows, the labels' shares, and how often the sentences agree with the outcome."""
    facts: Json = {"way": way, "rows read": len(guesses)}
    facts["shares"] = {str(label): round(float(share), 4) for label, share in zip(task.classes, shares)}
    if len(each) > 1:
        facts["agreement"] = round(float(np.mean([(one.argmax(axis=1) == guesses).mean() for one in each])), 4)
    return [facts]


def _own(classifier: nn.Module, features: Array) -> float:
    """The mean probability of the likeliest class of the image network itself."""
    with torch.inference_mode():
        logits = classifier(torch.from_numpy(features).float())
        return round(float(logits.softmax(dim=1).amax(dim=1).mean()), 4)


def _some(rows: Dataset, most: int, seed: int) -> Dataset:
    """At most ``most`` of the rows, drawn."""
    if len(rows) <= most:
        return rows
    return rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:most]).tolist())


# --- embedding a few texts ---------------------------------------------------------------------------------------


@cache
def opened(name: str) -> Source:
    """The text source called ``name``, opened once. Raises MethodError HS-METHOD-002 where it reads no text."""
    from headstart.sources.shelf import open_source

    source = open_source(name)
    if source.card.modality != "text":
        raise MethodError("HS-METHOD-002", f"the encoder {name} reads {source.card.modality}.", "Name a text source.")
    return source


_texts: dict[tuple[str, tuple[str, ...]], Array] = {}


def embedded(source: Source, texts: tuple[str, ...]) -> Array:
    """Pooled features [P,D] of a few texts, fp32; kept for the life of the process."""
    place = (key({"weights": source.card.digest, "settings": source.settings()}), texts)
    if place not in _texts:
        found: list[Array] = [np.zeros(0)] * len(texts)
        with torch.inference_mode():
            for rows, batch in source.batches(list(texts), 32):
                for at, value in zip(rows, source.features(batch()).pooled.float().numpy()):
                    found[at] = value
        _texts[place] = np.stack(found)
    return _texts[place]
