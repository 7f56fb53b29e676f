"""Sources from the transformers library: ``hf:owner/name`` or a folder in its format.

Text encoders, the encoder half of encoder-decoders, decoder-only models, image models; models of speech are handed to
`headstart.sources.speech`, those that forecast series to `headstart.sources.timesfm` and
`headstart.sources.chronos_bolt`. What differs between them is found by looking, not by a table of names: whether the
first position sees the last one tells a decoder (then the last token is pooled), a ``get_encoder`` that is a part of an
encoder-decoder is cut out, and a ``1_Pooling`` folder of sentence-transformers is followed. No code of a repository
runs unless the user names that repository as trusted.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import HeadstartError, SourceError
from headstart.sources import text, weights
from headstart.sources.base import Card, Source
from headstart.sources.image import ImageReader
from headstart.sources.torchvision_compat import heal
from headstart.types import Batch, Features, Json, Sample

LONGEST = 512


class HF(Source):
    """A transformers model without its head.

    settings: ``config`` of the model, ``part`` of it that is used, ``pooling`` (mean, first, last), ``normalise``,
    ``reader`` (see `TextReader`, `ImageReader`) and ``trust``, the repository whose code may run, or None.
    """

    provider = "hf"

    def __init__(self, card: Card, network: nn.Module, reader: text.TextReader | ImageReader, settings: Json) -> None:
        super().__init__(card, network)
        self.reader = reader
        self._settings = settings

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """See `Source.preprocess`."""
        return self.reader(samples, train) if isinstance(self.reader, ImageReader) else self.reader(samples)

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]; for pre-split words also tokens [B,W,D] and mask [B,W]; for images with maps the last one."""
        inputs = {name: value for name, value in batch.inputs.items() if name != "word_index"}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(next(self.network.parameters()).dtype)
        output = self.network(**inputs)
        hidden = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]
        features = Features(self._pool(hidden, batch.inputs.get("attention_mask")))
        if self._settings["normalise"]:
            features.pooled = nn.functional.normalize(features.pooled, dim=1)
        if "word_index" in batch.inputs:
            features.tokens, features.mask = text.by_word(hidden, batch.inputs["word_index"])
        if hidden.ndim == 4:
            features.maps = [hidden]
        return features

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """As the source itself pools, but never normalised."""
        return self._pool(output, batch.inputs.get("attention_mask"))

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """hidden [B,T,D] or [B,C,H,W] to [B,D], summed in at least fp32."""
        hidden = hidden.float()
        if hidden.ndim == 4:
            return hidden.mean(dim=(2, 3))
        if hidden.ndim != 3:
            return hidden
        if self._settings["pooling"] == "first":
            return hidden[:, 0]
        if mask is None or mask.shape[1] != hidden.shape[1]:
            return hidden.mean(dim=1)
        if self._settings["pooling"] == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).clamp(min=1) - 1]
        weight = mask.unsqueeze(-1).to(hidden.dtype)  # [B,T,1]
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)

    def example(self) -> Batch:
        """Two texts of different length, or two images of noise."""
        if isinstance(self.reader, ImageReader):
            return self.reader.example
        return self.reader(["a small example of a text", "another one"])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return build(self._settings)

    def settings(self) -> Json:
        """Everything besides the weights that determines the features."""
        return {**self._settings, "reader": self.reader.settings()}

    def batches(self, samples: Sequence[Sample], size: int) -> list[tuple[np.ndarray, Callable[[], Batch]]]:
        """See `Source.batches`."""
        if isinstance(self.reader, text.TextReader):
            return self.reader.batches(samples, size)
        return super().batches(samples, size)

    def cost(self, sample: Sample) -> int:
        """Characters of a text; 1 for an image."""
        return 1 if isinstance(self.reader, ImageReader) else text.cost(sample)

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)
        if isinstance(self.reader, text.TextReader):
            self.reader.save(folder)

    @classmethod
    def load(cls, folder: Path, trust_remote_code: str | None = None) -> HF:
        """See `Source.load`. A model that needs code of its repository raises HS-SOURCE-006 unless that is trusted."""
        card, settings, tensors = weights.read(folder)
        if settings["trust"] is not None and settings["trust"] != trust_remote_code:
            raise _remote_code(str(settings["trust"]))
        reader = _load_reader(folder, settings["reader"])
        with torch.random.fork_rng(devices=[]):
            network = build(settings, drawn=False)
        return cls(card, weights.fill(network, tensors, card.name), reader, settings)


def _load_reader(folder: Path, settings: Json) -> text.TextReader | ImageReader:
    return ImageReader.load(settings) if settings["kind"] == "image" else text.TextReader.load(folder, settings)


# --- from a repository or a folder in the library's format -----------------------------------------------------------


def open_model(place: str, *, trust_remote_code: str | None = None, card: Json | None = None) -> Source:
    """The source in a repository ``owner/name`` or a local folder. card: fields known beforehand.

    A model of sounds is a `headstart.sources.speech.Speech`, a `headstart.sources.whisper.Whisper` or a
    `headstart.sources.spectrogram.Spectrogram`; one that forecasts series is a `headstart.sources.timesfm.TimesFM` or a
    `headstart.sources.chronos_bolt.ChronosBolt`.

    Raises SourceError HS-SOURCE-003 (cannot be fetched), HS-SOURCE-004 (weights), HS-SOURCE-006 (asks for code),
    HS-SOURCE-007 (not a model of the library), HS-SOURCE-008 (damaged).
    """
    heal()
    import transformers

    known = card or {}
    with _quiet(), _told(place):
        settings = _inspect(place, trust_remote_code)
        if provider := _forecaster(settings["config"]):
            return _that_forecasts(provider, place, settings["config"], known)
        trust = settings["trust"] is not None
        model, info = transformers.AutoModel.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust
        )
        if model.main_input_name in ("input_values", "input_features") or hasattr(model, "audio_model"):
            _part(model, settings)
            return _of_sounds(model, place, settings, info, known)
        network = _part(model, settings)
        reader = _reader(place, network.config if hasattr(network, "config") else model.config, network, trust)
    source = HF(Card(known.get("name", place), _modality(reader), "", 0, 0, "", "", ""), network, reader, settings)
    _check_runs(source, place)
    _without_pooler(source)
    prefix = f"{settings['part']}." if settings["part"] else ""
    own = {prefix + name for name in network.state_dict()}
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]}
    weights.mismatch(place, sorted(own & set(info["missing_keys"])), [], sorted(own & mismatched))
    _choose_pooling(source, place)
    tensors = weights.state(network)
    source.card = Card(
        **_card(place, type(network).__name__, known),
        modality=_modality(reader),
        width=int(source.forward(source.example()).pooled.shape[1]),
        parameters=sum(p.numel() for p in network.parameters()),
        digest=weights.digest(tensors),
    )
    return source


def _card(place: str, architecture: str, known: Json) -> Json:
    """What a card says that is not read off the network. known: fields known beforehand."""
    found = {"name": place, "architecture": architecture, "origin": place, "licence": "", "description": ""}
    found |= {name: value for name, value in known.items() if name in found}
    return {**found, "licence": found["licence"] or _licence(place)}


def _of_sounds(model: Any, place: str, settings: Json, info: Json, known: Json) -> Source:
    """The source around a model that reads waves or their spectrograms."""
    from headstart.sources import spectrogram, speech

    missing = sorted(name for name in info["missing_keys"] if not name.startswith(("decoder.", "masked_spec")))
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]}
    weights.mismatch(place, missing, [], sorted(mismatched))
    card = _card(place, type(model).__name__, known)
    opened = spectrogram.opened if settings["config"]["model_type"] in spectrogram.EXTRACTORS else speech.opened
    return opened(model, place, settings, _json(place, "preprocessor_config.json"), card)


def _forecaster(config: Json) -> str:
    """The provider of a model that forecasts series; "" for every other one."""
    if "chronos_config" in config:
        return "chronos_bolt"
    return "timesfm" if config["model_type"] in ("timesfm", "timesfm2_5") else ""


def _that_forecasts(provider: str, place: str, config: Json, known: Json) -> Source:
    card = _card(place, (config.get("architectures") or [config["model_type"]])[0], known)
    source: Source = importlib.import_module(f"headstart.sources.{provider}").opened(place, config, card)
    return source


def check_loaded(place: str, info: Json) -> None:
    """Raise SourceError HS-SOURCE-004 unless every tensor of the model was in the file, in its shape."""
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]}
    weights.mismatch(place, sorted(info["missing_keys"]), [], sorted(mismatched))


@contextlib.contextmanager
def building(drawn: bool) -> Iterator[None]:
    """While a network is made: quietly, and without ``drawn`` with whatever memory held as its weights."""
    from transformers.initialization import no_init_weights

    with _quiet(), contextlib.nullcontext() if drawn else no_init_weights():
        yield


def build(settings: Json, drawn: bool = True, auto: str = "AutoModel") -> nn.Module:
    """The network of these settings with freshly drawn weights; without ``drawn`` with whatever memory held.

    auto: the class of the library that makes it.
    """
    heal()
    import transformers

    config = copy.deepcopy(settings["config"])
    trust = settings["trust"] is not None
    with building(drawn):
        if trust:
            loaded = transformers.AutoConfig.from_pretrained(settings["trust"], trust_remote_code=True)
            loaded.update(config)
        else:
            loaded = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        model = getattr(transformers, auto).from_config(loaded, dtype=torch.float32, trust_remote_code=trust)
    network = _part(model, settings)
    if not settings.get("pooler", True):
        network.pooler = None  # type: ignore[assignment]
    return network.eval()


def _inspect(place: str, trust: str | None) -> Json:
    """The settings that the configuration decides."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw, _ = transformers.PretrainedConfig.get_config_dict(place)
    if not raw.get("model_type") and "auto_map" not in raw:
        raise SourceError(
            "HS-SOURCE-007", f"{place}: its config.json names no model_type.", "Is it a transformers model?"
        )
    remote = "auto_map" in raw and raw.get("model_type") not in CONFIG_MAPPING
    if remote and trust != place:
        raise _remote_code(place)
    config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=remote)
    config.use_cache = False
    return {
        "config": json.loads(config.to_json_string(use_diff=False)),
        "part": "",
        "pooling": "mean",
        "normalise": False,
        "pooler": True,
        "trust": place if remote else None,
    }


def _part(model: nn.Module, settings: Json) -> nn.Module:
    """The half that makes features: the encoder of an encoder-decoder, the image or sound half of a pair with text."""
    if getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "encoder"):
        settings["part"] = "encoder"
    elif hasattr(model, "vision_model") and hasattr(model, "text_model"):
        settings["part"] = "vision_model"
    elif hasattr(model, "audio_model") and hasattr(model, "text_model"):
        settings["part"] = "audio_model"
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    part = model.get_submodule(settings["part"]) if settings["part"] else model
    return part.eval()


def _reader(place: str, config: Any, network: nn.Module, trust: bool) -> text.TextReader | ImageReader:
    import transformers

    if "pixel_values" in inspect.signature(network.forward).parameters:
        processor = transformers.AutoImageProcessor.from_pretrained(place, trust_remote_code=trust)
        return _image_reader(processor.to_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=trust)
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None or not hasattr(fast, "to_str"):
        raise SourceError("HS-SOURCE-007", f"{place} has no fast tokenizer (tokenizer.json).", "Choose another source.")
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    types = "token_type_ids" in inspect.signature(network.forward).parameters
    return text.TextReader(fast, _longest(place, tokenizer, config, network), int(pad), types)


def _longest(place: str, tokenizer: Any, config: Any, network: nn.Module) -> int:
    """How many tokens the network takes: what sentence-transformers says, else tokenizer and positions, at most 512."""
    stated = _json(place, "sentence_bert_config.json").get("max_seq_length")
    if stated:
        return int(stated)
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            positions = module.num_embeddings - module.padding_idx - 1  # positions start after the padding
    return int(min(tokenizer.model_max_length, positions, LONGEST))


def _image_reader(processor: Json) -> ImageReader:
    """Our reader from the settings of an image processor of the library."""
    size, crop = processor.get("size") or {}, processor.get("crop_size") or {}
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    final = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
    resize: int | tuple[int, int] = final if "height" in size else size["shortest_edge"]
    if processor.get("do_center_crop") and crop:
        final = (crop["height"], crop["width"])
    elif isinstance(resize, int) and processor.get("crop_pct") and resize < 384:
        resize = int(resize / processor["crop_pct"])
    elif isinstance(resize, int):
        resize = final
    names = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    plain = not processor.get("do_normalize", True)
    return ImageReader(
        resize=resize,
        crop=final,
        mean=(0.0, 0.0, 0.0) if plain else tuple(processor["image_mean"]),
        std=(1.0, 1.0, 1.0) if plain else tuple(processor["image_std"]),
        interpolation=names[int(processor.get("resample") or 2)],
    )


def _check_runs(source: HF, place: str) -> None:
    try:
        with torch.no_grad():
            source.forward(source.example())
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        raise SourceError(
            "HS-SOURCE-007",
            f"{place} cannot be run on {source.card.modality}: {weights.told(error)}.",
            "Choose a model that reads text or images.",
        ) from error


def _without_pooler(source: HF) -> None:
    """Drop a pooler that the features do not pass through."""
    network: Any = source.network
    pooler = getattr(network, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        network.pooler = None
        try:
            with torch.no_grad():
                source.forward(source.example())
            source._settings["pooler"] = False
        except (TypeError, AttributeError):
            network.pooler = pooler


def _choose_pooling(source: HF, place: str) -> None:
    """By sentence-transformers' files, a class token, or whether attention is causal."""
    settings, network = source._settings, source.network
    stated = _json(place, "1_Pooling/config.json")
    if stated:
        kinds = {"pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}
        mode = {"cls": "first", "lasttoken": "last"}.get(str(stated.get("pooling_mode")), "mean")
        settings["pooling"] = next((kind for key, kind in kinds.items() if stated.get(key)), mode)
        steps = _json(place, "modules.json", [])
        settings["normalise"] = any(str(step.get("type", "")).endswith("Normalize") for step in steps)
    elif isinstance(source.reader, ImageReader):
        names = [name.rsplit(".", 1)[-1] for name, _ in network.named_parameters()]
        settings["pooling"] = "first" if {"cls_token", "class_embedding"} & set(names) else "mean"
    elif _causal(network, source.reader):
        settings["pooling"] = "last"


def _causal(network: nn.Module, reader: text.TextReader) -> bool:
    """Whether the first position stays the same when the last token changes."""
    ids = reader(["one two three four five six"]).inputs["input_ids"]
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % 7
    if ids.shape[1] < 2:
        return False
    with torch.no_grad():
        first, second = (network(input_ids=x, attention_mask=torch.ones_like(x))[0][0, 0] for x in (ids, other))
    return bool(torch.equal(first, second))


def _modality(reader: text.TextReader | ImageReader) -> Any:
    return reader.kind


def _json(place: str, name: str, default: Any = None) -> Any:
    """A JSON file of the folder or repository; the default where it has none."""
    from transformers.utils import cached_file

    path = cached_file(
        place, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else ({} if default is None else default)


def _licence(place: str) -> str:
    """The licence that the model card's metadata states."""
    from transformers.utils import cached_file

    path = cached_file(
        place, "README.md", _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    if path:
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[:60]:
            if line.lower().startswith("license:"):
                return line.split(":", 1)[1].strip().strip("'\"")
    return "not stated"


def _remote_code(place: str) -> SourceError:
    return SourceError(
        "HS-SOURCE-006",
        f"{place} can only be built by running Python code of its repository.",
        f"Read that code first; then allow it with --trust-remote-code {place} (Python: trust_remote_code).",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and notes about unused heads."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """One line for what the library raises."""
    from safetensors import SafetensorError

    local = Path(place).exists()
    try:
        yield
    except HeadstartError:
        raise
    except SafetensorError as error:
        raise SourceError("HS-SOURCE-008", f"the weights of {place} are damaged ({error}).") from error
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        first = f"{weights.told(error)}."
        if local:
            raise SourceError("HS-SOURCE-007", f"{place} cannot be opened as a transformers model: {first}") from error
        raise SourceError(
            "HS-SOURCE-003", f"hf:{place} cannot be fetched: {first}", "Check the name and the network."
        ) from error
