"""Tiny sources with random weights, built here, one for each provider; and small labelled datasets."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.datasets.base import Dataset
from headstart.sources.base import Source
from headstart.testing import dataset_with

WORDS = [
    "good",
    "bad",
    "fine",
    "poor",
    "happy",
    "sad",
    "the",
    "a",
    "text",
    "of",
    "few",
    "more",
    "words",
    "short",
    "one",
]


def tiny_bert(folder: Path) -> Source:
    """A BERT of two layers and width 32 over a vocabulary of single words."""
    from headstart.sources import hf
    from headstart.sources.torchvision_compat import heal

    heal()  # transformers imports torchvision
    import tokenizers
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BertModel(config)
    model.save_pretrained(folder / "bert")
    fast.save_pretrained(folder / "bert")
    return hf.open_model(str(folder / "bert"))


def _vision(provider: str, model: str, size: int) -> Source:
    import importlib

    from headstart.sources.image import ImageReader

    module = importlib.import_module(f"headstart.sources.{provider}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = (module.build(model, classes=1000) if provider == "timm" else module.build(model)).state_dict()
    reader = ImageReader(size, (size, size), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    card = {"name": model, "architecture": model, "origin": "random weights", "licence": "none", "description": ""}
    return module.from_state(model, state, reader, card)


def tiny_torchvision(folder: Path) -> Source:
    return _vision("torchvision", "shufflenet_v2_x0_5", 64)


def tiny_timm(folder: Path) -> Source:
    return _vision("timm", "test_efficientnet", 64)


def identity(folder: Path) -> Source:
    from headstart.sources.identity import Identity

    return Identity()


def tiny_pair(folder: Path) -> Source:
    """The tiny networks of torchvision and timm side by side."""
    from headstart.sources.concatenated import joined

    return joined([tiny_torchvision(folder), tiny_timm(folder)])


def tiny_items(folder: Path) -> Source:
    """Weights between eight items."""
    from headstart.sources.items import of_table

    generator = np.random.default_rng(0)
    table = generator.normal(0, 0.1, (8, 8))
    table[np.diag_indices(8)] = 0
    return of_table(
        [f"item {n}" for n in range(8)], table, name="tiny", holds="weights", popularity=generator.random(8),
        origin="random weights", licence="none", description="",
    )  # fmt: skip


def tiny_factors(folder: Path) -> Source:
    """Factors of the same eight items, and the weights between them."""
    from headstart.sources.items import of_table

    beside = tiny_items(folder)
    table = np.random.default_rng(1).normal(0, 0.5, (8, 3))
    return of_table(
        beside.ids, table, name="tiny", holds="factors", popularity=beside.table.popularity.numpy(), origin="random",
        licence="none", description="", learned={"alpha": 2.0, "ridge": 1.0}, items=beside,
    )  # fmt: skip


def tiny_sequences(folder: Path) -> Source:
    """A transformer over histories of the same eight items, and the weights between them."""
    from headstart.sources.sasrec import Sequences

    beside = tiny_items(folder)
    source = Sequences.fresh(beside.ids, "tiny", 0, width=8, blocks=2, heads=2, length=4, dropout=0.1)
    source.items, source.pretrained = beside, True
    return source


def tiny_towers(folder: Path) -> Source:
    """Towers for the texts of the same eight items and for histories of them, and the weights between them."""
    from headstart.sources.two_tower import TwoTowers

    beside, vectors = tiny_items(folder), np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)
    source = TwoTowers.of_texts(beside.ids, vectors, "tiny", "minilm", 0)
    source.items, source.pretrained = beside, True
    return source


def users(count: int = 24) -> Dataset:
    """Rows of users who like even items or odd ones."""
    import datasets

    from headstart.datasets.base import Column, Items

    generator = np.random.default_rng(count)
    taken = [[f"item {2 * n + row % 2}" for n in generator.permutation(4)] for row in range(count)]
    rows = {
        "user": [str(row) for row in range(count)],
        "item": [row[:2] for row in taken],
        "next": [row[2:3] for row in taken],
    }
    columns = [Column("user", "user", "category"), Column("item", "input", "items"), Column("next", "target", "items")]
    items = Items(tuple(f"item {n}" for n in range(8)), tuple(f"{('even', 'odd')[n % 2]} number {n}" for n in range(8)))
    return Dataset(datasets.Dataset.from_dict(rows), columns, origin="memory", items=items)


def glyph(folder: Path) -> Source:
    from headstart.sources.glyph import Glyph

    return Glyph()


def _tiny_network(kind: Any, architecture: str, sizes: dict[str, int]) -> Source:
    """A source that reads sounds, of these sizes, with weights drawn from one seed."""
    from headstart.sources import weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind.built(sizes)
    card = {"name": "tiny", "origin": "random weights", "licence": "none", "description": ""}
    return kind.assemble(sizes, weights.state(network), {**card, "architecture": architecture})


def tiny_whisper(folder: Path) -> Source:
    """A Whisper encoder of two layers and width 32."""
    from headstart.sources.whisper import Whisper

    return _tiny_network(Whisper, "Encoder", {"bands": 20, "width": 32, "depth": 2, "heads": 2, "positions": 1500})


def tiny_wav2vec(folder: Path) -> Source:
    """A wav2vec 2.0 of two layers and width 32, whose first norm runs over time."""
    from headstart.sources import hf
    from headstart.sources.torchvision_compat import heal

    heal()  # transformers imports torchvision
    import transformers

    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 8),
        conv_stride=(8, 8, 5),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Wav2Vec2Model(config).save_pretrained(folder / "wav2vec")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder / "wav2vec")
    return hf.open_model(str(folder / "wav2vec"))


def tiny_voice(folder: Path) -> Source:
    """A voice encoder of two layers and width 16."""
    from headstart.sources.voice_encoder import VoiceEncoder

    return _tiny_network(VoiceEncoder, "LSTM", {"bands": 40, "width": 16, "depth": 2})


def tiny_musicnn(folder: Path) -> Source:
    """A musicnn of a few channels."""
    from headstart.sources.musicnn import Musicnn

    return _tiny_network(Musicnn, "musicnn", {"bands": 96, "timbre": 3, "rhythm": 2, "middle": 4, "dense": 5})


def tiny_ast(folder: Path) -> Source:
    """An Audio Spectrogram Transformer of two layers and width 32."""
    from headstart.sources import hf
    from headstart.sources.torchvision_compat import heal

    heal()  # transformers imports torchvision
    import transformers

    config = transformers.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_length=128,
        num_mel_bins=32,
        frequency_stride=16,
        time_stride=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.ASTModel(config).save_pretrained(folder / "ast")
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder / "ast")
    return hf.open_model(str(folder / "ast"))


def series(folder: Path) -> Source:
    from headstart.sources.series import Series

    return Series()


@cache
def _tables() -> Path:
    """A folder with two tiny sources, made once: of the columns a and b, and of people, with their rows."""
    import headstart

    folder = Path(tempfile.mkdtemp())
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 60))
    rows = {"a": a.tolist(), "b": b.tolist(), "y": (a - b + 1 > 0).tolist()}
    headstart.pretrain(rows, folder / "numbers", target="y", epochs=1, keep_rows=True)
    headstart.pretrain(people(60, seed=1), folder / "people", target="label", epochs=2, keep_rows=True)
    return folder


def tiny_table(folder: Path) -> Source:
    from headstart.sources.table import Table

    return Table.load(_tables() / "numbers")


def tiny_people(folder: Path) -> Source:
    """A source for `rows_of_people`, whose column of towns is called otherwise there."""
    from headstart.sources.table import Table

    return Table.load(_tables() / "people").settled(rows_of_people(), {"town": "home town"})


def _away_from_zero(tensors: dict) -> dict:
    """Drawn weights of which none is zero, so that every layer has a say."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: value + 0.3 * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def tiny_tabicl(folder: Path, kind: str = "classifier") -> Source:
    """A TabICL network of width 8, from a checkpoint in the library's format."""
    from headstart.sources import tabicl

    sizes = {"embed_dim": 8, "row_num_cls": 2, "col_num_inds": 4, "num_quantiles": 9}
    for part in ("col", "row", "icl"):
        sizes |= {f"{part}_num_blocks": 1, f"{part}_nhead": 2}
    facts = {"config": {**sizes, "max_classes": 10 if kind == "classifier" else 0}}
    with torch.random.fork_rng(devices=[]):
        state = _away_from_zero(tabicl.Tabicl.drawn(facts))
    torch.save({**facts, "state_dict": state}, folder / "tiny.ckpt")
    return tabicl.open_model(str(folder / "tiny.ckpt"))


def tiny_tabpfn(folder: Path, kind: str = "classifier", architecture: str = "tabpfn_v2") -> Source:
    """A TabPFN network of width 16, from a checkpoint in the library's format."""
    from headstart.sources import tabpfn

    width = "embed_dim" if architecture.startswith("tabpfn_v3") else "emsize"
    sizes = {width: 16, "nlayers": 2, "num_buckets": 12} | ({"nhead": 2} if width == "emsize" else {})
    facts = {"config": {**sizes, "max_num_classes": 10 if kind == "classifier" else 0}}
    if architecture != "tabpfn_v2":  # the first version did not say
        facts["architecture_name"] = architecture
    with torch.random.fork_rng(devices=[]):
        state = _away_from_zero(tabpfn.Tabpfn.drawn(facts))
    if kind == "regressor":
        from tabpfn.architectures.shared.bar_distribution import FullSupportBarDistribution

        bins = FullSupportBarDistribution(torch.linspace(-3, 3, 13))
        state |= {f"criterion.{name}": value for name, value in bins.state_dict().items()}
    torch.save({**facts, "state_dict": state}, folder / "tiny.ckpt")
    return tabpfn.open_model(str(folder / "tiny.ckpt"))


def tiny_forecaster(folder: Path) -> Source:
    """A forecaster of width 8 that looks back 32 steps."""
    from headstart.nn.forecaster import Forecaster
    from headstart.sources.forecaster import ForecasterSource

    sizes = {"context": 32, "horizon": 4, "width": 8, "stages": 3, "seed": 8, "layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Forecaster(**sizes)
        torch.nn.init.normal_(network.head.future_conv.out_proj.weight, std=0.1)
    return ForecasterSource(network, sizes=sizes)


def saved_timesfm(folder: Path, kind: str = "timesfm2_5") -> Path:
    """A TimesFM of width 16 over patches of 4 in the library's format; it looks back 64 steps and forecasts 8."""
    from headstart.sources.torchvision_compat import heal

    heal()  # transformers imports torchvision
    import transformers

    sizes = {
        "patch_length": 4, "context_length": 64, "horizon_length": 8, "num_hidden_layers": 2, "hidden_size": 16,
        "intermediate_size": 16, "head_dim": 8, "num_attention_heads": 2,
    }  # fmt: skip
    newer = {"num_key_value_heads": 2, "output_quantile_len": 8, "max_position_embeddings": 64}
    config = transformers.AutoConfig.for_model(kind, **sizes, **(newer if kind == "timesfm2_5" else {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForTimeSeriesPrediction.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / kind)
    return folder / kind


def tiny_timesfm(folder: Path) -> Source:
    from headstart.sources.hf import open_model

    return open_model(str(saved_timesfm(folder)))


def saved_chronos(folder: Path) -> Path:
    """A Chronos-Bolt of width 16 over patches of 4 in the package's format; it looks back 64 steps and forecasts 8."""
    from headstart.sources.torchvision_compat import heal

    heal()  # transformers imports torchvision
    import transformers
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

    bolt = {
        "context_length": 64, "prediction_length": 8, "input_patch_size": 4, "input_patch_stride": 4,
        "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "use_reg_token": True,
    }  # fmt: skip
    config = transformers.T5Config(
        d_model=16, d_kv=8, d_ff=16, num_layers=2, num_decoder_layers=2, num_heads=2, dense_act_fn="relu",
        decoder_start_token_id=0, pad_token_id=0, vocab_size=2, chronos_config=bolt,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ChronosBoltModelForForecasting(config)
    model.save_pretrained(folder / "chronos")
    return folder / "chronos"


def tiny_chronos(folder: Path) -> Source:
    from headstart.sources.hf import open_model

    return open_model(str(saved_chronos(folder)))


SOURCES = {
    "items": tiny_items,
    "sasrec": tiny_sequences,
    "two_tower": tiny_towers,
    "chronos_bolt": tiny_chronos,
    "concatenated": tiny_pair,
    "forecaster": tiny_forecaster,
    "glyph": glyph,
    "hf": tiny_bert,
    "identity": identity,
    "musicnn": tiny_musicnn,
    "spectrogram": tiny_ast,
    "speech": tiny_wav2vec,
    "series": series,
    "table": tiny_table,
    "tabicl": tiny_tabicl,
    "tabpfn": tiny_tabpfn,
    "timesfm": tiny_timesfm,
    "timm": tiny_timm,
    "torchvision": tiny_torchvision,
    "voice_encoder": tiny_voice,
    "whisper": tiny_whisper,
}


def texts(count: int = 24) -> Dataset:
    """Short texts with the labels yes and no, which the words good and bad tell."""
    generator = np.random.default_rng(0)
    labels = ["yes" if row % 2 else "no" for row in range(count)]
    inputs = [
        " ".join(["good" if label == "yes" else "bad", *generator.choice(WORDS[4:], size=1 + row % 5)])
        for row, label in enumerate(labels)
    ]
    return dataset_with(inputs, labels, "category")


def images(count: int = 24) -> Dataset:
    """Small noisy pictures, red ones labelled yes and blue ones labelled no."""
    import io

    from PIL import Image

    generator = np.random.default_rng(0)
    labels = ["yes" if row % 2 else "no" for row in range(count)]
    inputs = []
    for label in labels:
        pixels = generator.integers(0, 120, (40, 40, 3), dtype=np.uint8)
        pixels[..., 0 if label == "yes" else 2] += 120
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        inputs.append(stream.getvalue())
    return dataset_with(inputs, labels, "category", "image")


def sounds(count: int = 24) -> Dataset:
    """Short noisy tones, low ones labelled yes and high ones labelled no."""
    from headstart.datasets.clip import wav

    generator = np.random.default_rng(0)
    labels = ["yes" if row % 2 else "no" for row in range(count)]
    inputs = []
    for label in labels:
        times = np.arange(generator.integers(2_000, 4_000)) / 8_000
        tone = np.sin(2 * np.pi * generator.uniform(0.9, 1.1) * (300 if label == "yes" else 1_500) * times)
        inputs.append(wav(0.3 * tone + 0.05 * generator.normal(size=len(times)), 8_000))
    return dataset_with(inputs, labels, "category", "audio")


def waves(count: int = 24) -> Dataset:
    """Short noisy waves of unequal length, fast ones labelled yes and slow ones labelled no."""
    generator = np.random.default_rng(0)
    labels = ["yes" if row % 2 else "no" for row in range(count)]
    inputs = []
    for row, label in enumerate(labels):
        steps = np.arange(30 + row % 7)
        wave = np.sin(steps / (1 if label == "yes" else 4) + generator.uniform(0, 6))
        inputs.append((wave + 0.2 * generator.normal(size=len(steps))).tolist())
    return dataset_with(inputs, labels, "category", "series")


def people(count: int = 24, seed: int = 0, town: str = "town") -> dict[str, list]:
    """Columns of people; old ones in Oslo and Rome are labelled yes, and a few others."""
    generator = np.random.default_rng(seed)
    ages = generator.uniform(20, 80, count).round(1)
    towns = generator.choice(["Oslo", "Rome", "Bonn"], count)
    sure = (ages > 50) & (towns != "Bonn")
    labels = ["yes" if yes else "no" for yes in sure ^ (generator.random(count) < 0.1)]
    labels[:4] = ["yes", "no", "yes", "no"]
    return {"age": ages.tolist(), town: towns.tolist(), "label": labels}


def rows_of_people(count: int = 24) -> Dataset:
    """Other people, with a column that the source lacks."""
    import headstart

    columns = people(count, town="home town")
    height = np.random.default_rng(2).normal(170, 10, count).round(1).tolist()
    return headstart.read({**columns, "height": height}, target="label", input=["age", "home town", "height"])


def histories(count: int = 24, horizon: int = 3) -> Dataset:
    """Windows of four noisy waves by rolling origins, all labelled."""
    from headstart.datasets.read import read

    generator = np.random.default_rng(0)
    steps = count // 4 + 3 * horizon + 4
    rows = [
        {"name": name, "value": np.sin(step / (1 + place)) + 0.1 * generator.normal() + place}
        for place, name in enumerate("abcd")
        for step in range(steps)
    ]
    data = {key: [row[key] for row in rows] for key in ("name", "value")}
    return read(data, target="value", roles={"name": "series"}, horizon=horizon, season=3)
