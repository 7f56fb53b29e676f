"""What a user can get wrong with sources: the documented code, one line, nothing half written."""

import json

import pytest

from headstart.errors import HeadstartError
from headstart.sources import shelf
from headstart.sources.identity import Identity


def line(name, **options):
    with pytest.raises(HeadstartError) as error:
        shelf.open_source(str(name), **options)
    text = str(error.value)
    assert "\n" not in text and text.startswith(error.value.code)
    return text


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("minilmm", "minilm"),
        ("mobilenet", "mobilenet_v2"),
        ("efficientnet_lite4", "efficientnet_lite"),
        ("Identity", "identity"),
    ],
)
def test_misspelt_names_get_a_suggestion(name, near):
    text = line(name)
    assert text.startswith("HS-SOURCE-001") and "Did you mean" in text and near in text


@pytest.mark.parametrize("name", ["", "hf:", "zzz", "foo:bar", "no/such/folder"])
def test_names_of_nothing(name):
    assert line(name).startswith("HS-SOURCE-001")


def test_info_and_fetch_of_unknown_names(home):
    for call in (shelf.info, shelf.fetch):
        with pytest.raises(HeadstartError, match="HS-SOURCE-001"):
            call("minilmm")
    assert not home.exists()


def test_hub_without_a_network():
    assert line("hf:nobody/never-was-a-model").startswith("HS-SOURCE-003")


def test_folders_that_are_no_source(tmp_path):
    assert line(tmp_path).startswith("HS-SOURCE-007")
    (tmp_path / "config.json").write_text("{}")
    assert line(tmp_path).startswith("HS-SOURCE-007")
    (tmp_path / "config.json").write_text("[broken")
    assert line(tmp_path).startswith("HS-SOURCE-007")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert line(tmp_path).startswith("HS-SOURCE-007")
    (tmp_path / "config.json").write_text('{"model_type": "made_up_type"}')
    assert line(tmp_path).startswith("HS-SOURCE-007")


def test_timm_folder_without_weights_or_with_an_unknown_architecture(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnet10t"}')
    assert line(tmp_path).startswith("HS-SOURCE-008")
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    assert line(tmp_path).startswith("HS-SOURCE-008")
    (tmp_path / "config.json").write_text('{"architecture": "resnet10tt"}')
    assert line(tmp_path).startswith("HS-SOURCE-001")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.clear(), "HS-SOURCE-007"),
        (lambda c: c.update(schema=99), "HS-SOURCE-007"),
        (lambda c: c.update(schema="x"), "HS-SOURCE-007"),
        (lambda c: c.update(provider="nobody"), "HS-SOURCE-001"),
        (lambda c: c["card"].pop("name"), "HS-SOURCE-007"),
        (lambda c: c["card"].update(digest="0" * 64), "HS-SOURCE-002"),
        (lambda c: c.update(settings={}), "HS-SOURCE-007"),
    ],
)
def test_damaged_descriptions(tmp_path, change, code):
    Identity([("a", 1)]).save(tmp_path)
    content = json.loads((tmp_path / "source.json").read_text())
    change(content)
    (tmp_path / "source.json").write_text(json.dumps(content))
    assert line(tmp_path).startswith(code)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_source_json_that_is_no_json(tmp_path, content):
    (tmp_path / "source.json").write_bytes(content)
    assert line(tmp_path).startswith("HS-SOURCE-007")


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 100, b"\xff" * 8 + b"{}"])
def test_damaged_weights(tmp_path, content):
    Identity([("a", 1)]).save(tmp_path)
    if content is None:
        (tmp_path / "model.safetensors").unlink()
    else:
        (tmp_path / "model.safetensors").write_bytes(content)
    assert line(tmp_path).startswith("HS-SOURCE-008")
