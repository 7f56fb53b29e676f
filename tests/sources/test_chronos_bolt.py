"""Chronos-Bolt as a source: what is refused, and why."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from headstart.errors import EnvironmentProblem, SourceError
from headstart.sources import chronos_bolt
from headstart.sources.shelf import open_source
from tests.conformance.examples import saved_chronos


def rewritten(folder, **changes):
    """The folder with another configuration."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_without_the_package_the_error_names_what_to_install(tmp_path, monkeypatch):
    folder = saved_chronos(tmp_path)
    monkeypatch.setattr(chronos_bolt.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"HS-ENV-001.*chronos-forecasting.*headstart\[timeseries\]"):
        open_source(str(folder))


def test_a_chronos_of_another_kind_is_refused(tmp_path):
    folder = rewritten(saved_chronos(tmp_path), architectures=["Chronos2Model"])
    with pytest.raises(SourceError, match=r"HS-SOURCE-007.*Chronos2Model.*Chronos-Bolt"):
        open_source(f"hf:{folder}")


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    folder = saved_chronos(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    gone = "output_patch_embedding.output_layer.weight"
    save_file({name: each for name, each in tensors.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(SourceError, match=rf"HS-SOURCE-004.*{gone}"):
        open_source(str(folder))
