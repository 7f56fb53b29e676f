"""Transformers models that know texts beside their backbone: image-text pairs (CLIP) and entailment (NLI).

A `Source` is a backbone without its heads. What a zero-shot method needs besides is in the same repository or folder:
the projections of both halves of an image-text model, or the head that says whether one text follows from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import MethodError
from headstart.sources.base import Source
from headstart.types import Json

PAIRS = 32
"""Pairs of texts that an entailment model reads at once."""


def config(source: Source) -> Json:
    """The configuration of a transformers source; empty for others."""
    found = source.settings().get("config") if source.provider == "hf" else None
    return dict(found) if isinstance(found, dict) else {}


def is_image_text(source: Source) -> bool:
    """Whether the source is the image half of an image-text model."""
    return source.provider == "hf" and source.settings().get("part") == "vision_model"


def entails(source: Source) -> bool:
    """Whether the source is the backbone of a classifier trained on entailment."""
    labels = [str(label) for label in (config(source).get("id2label") or {}).values()]
    return source.card.modality == "text" and entailment_index(labels) is not None


def entailment_index(labels: Sequence[str]) -> int | None:
    """Which of a classifier's outputs stands for entailment, or None."""
    places = [at for at, label in enumerate(labels) if label.strip().lower() in ("entailment", "entail", "entailed")]
    return places[0] if places and len(labels) > 1 else None


# --- image-text pairs ----------------------------------------------------------------------------------------------


class ImageText:
    """Both halves of an image-text model of the CLIP type."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        if not all(hasattr(model, part) for part in ("visual_projection", "text_projection")):
            raise MethodError(
                "HS-METHOD-003", f"zeroshot knows image-text models with projections, as CLIP; {name} has none.",
                "Use another model, or a source with named classes such as mobilenet_v2.",
            )  # fmt: skip

    def stages(self) -> list[nn.Module]:
        """From the pooled features [N,D] of the source to the space that images and texts share, [N,E]."""
        norm, projection = self.model.vision_model.post_layernorm, self.model.visual_projection
        own = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
        own.load_state_dict(norm.state_dict())
        linear = nn.Linear(projection.in_features, projection.out_features)
        with torch.no_grad():
            linear.weight.copy_(projection.weight)
            linear.bias.zero_()
        return [own, linear]

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """The texts in the shared space, [P,E]."""
        found = []
        for start in range(0, len(texts), PAIRS):
            part = list(texts[start : start + PAIRS])
            tokens = self.tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                found.append(self.model.text_projection(self.model.text_model(**kept).pooler_output).numpy())
        return np.concatenate(found)


@cache
def image_text(place: str) -> ImageText:
    """The image-text model in a repository or folder. Raises SourceError HS-SOURCE-003, -007, -008."""
    return ImageText(*_loaded(place, "AutoModel"), place)


# --- entailment ----------------------------------------------------------------------------------------------------


class Entailment:
    """How likely a text entails each of some sentences: Yin, Hay & Roth 2019, arXiv:1909.00161, section 5."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        labels = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
        at = entailment_index(labels)
        assert at is not None
        self.at = at
        self._known: dict[tuple[str, str], float] = {}

    def scores(self, texts: Sequence[str], sentences: Sequence[str], report: Any = None) -> np.ndarray:
        """log p(entailment) of every text and sentence, [N,S]; a pair is read once in the life of the model."""
        wanted = {(str(text), sentence): 0 for text in texts for sentence in sentences}
        missing = sorted((pair for pair in wanted if pair not in self._known), key=lambda pair: -len(pair[0]))
        for start in range(0, len(missing), PAIRS):
            part = missing[start : start + PAIRS]
            tokens = self.tokenizer(
                [text for text, _ in part], [sentence for _, sentence in part], padding=True,
                truncation="only_first", max_length=self._longest, return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                chances = self.model(**tokens).logits.float().log_softmax(dim=-1)[:, self.at]
            self._known.update(zip(part, chances.tolist()))
            if report is not None:
                report("entailment", min(start + PAIRS, len(missing)), len(missing))
        return np.array([[self._known[str(text), sentence] for sentence in sentences] for text in texts])

    @property
    def _longest(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", None) or 512
        return int(min(self.tokenizer.model_max_length, positions, 512))

    def save(self, folder: Path) -> None:
        """Configuration, weights (safetensors) and tokenizer, as `entailment` reads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


@cache
def entailment(place: str) -> Entailment:
    """The entailment model in a repository or folder. Raises SourceError HS-SOURCE-003, -007, -008."""
    return Entailment(*_loaded(place, "AutoModelForSequenceClassification"))


def _loaded(place: str, auto: str) -> tuple[Any, Any]:
    """The whole model, fp32, and its tokenizer; no code of a repository runs."""
    from headstart.sources import hf
    from headstart.sources.torchvision_compat import heal

    heal()
    import transformers

    with hf._quiet(), hf._told(place):
        model = getattr(transformers, auto).from_pretrained(place, dtype=torch.float32, trust_remote_code=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    return model, tokenizer
