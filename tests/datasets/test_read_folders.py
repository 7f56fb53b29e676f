"""Folders of images and texts, tables of image paths, saved datasets."""

from pathlib import Path

import datasets
import pytest
from PIL import Image

from headstart.datasets import images
from headstart.datasets.read import read
from headstart.errors import DataError


def picture(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (colour, 0, 0)).save(path)


def test_class_folders_of_images(tmp_path):
    for i in range(4):
        picture(tmp_path / "pets" / "cat" / f"{i}.png", i)
        picture(tmp_path / "pets" / "dog" / f"{i}.jpg", i)
    (tmp_path / "pets" / "README.md").write_text("not a class")
    dataset = read(tmp_path / "pets")
    assert dataset.targets() == ["cat"] * 4 + ["dog"] * 4
    assert dataset.target.name == "label"
    assert dataset.modality == "image"
    assert dataset.samples()[0] == str(tmp_path / "pets" / "cat" / "0.png")
    assert dataset.rejects == ()


def test_split_folders(tmp_path):
    for part in ("train", "val", "test"):
        for name in "ab":
            picture(tmp_path / "d" / part / name / "0.png")
    dataset = read(tmp_path / "d")
    assert dataset.values("split") == ["test", "test", "train", "train", "valid", "valid"]
    assert dataset.targets() == ["a", "b"] * 3


def test_broken_images_are_rejected_and_remembered(tmp_path, monkeypatch):
    for i in range(12):
        picture(tmp_path / "d" / "ab"[i % 2] / f"{i}.png", i)
    broken = tmp_path / "d" / "a" / "0.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    (tmp_path / "d" / "b" / "1.png").write_bytes(b"")
    dataset = read(tmp_path / "d")
    assert len(dataset) == 10
    assert [(r.path, r.row) for r in dataset.rejects] == [(str(broken), 1), (str(tmp_path / "d" / "b" / "1.png"), 7)]
    assert dataset.rejects[1].reason == "the image has zero bytes"
    monkeypatch.setattr(images, "reason", lambda image: pytest.fail("decoded twice"))
    assert len(read(tmp_path / "d")) == 10


def test_a_truncated_jpeg_is_seen(tmp_path):
    import random

    noise = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
    noise.save(tmp_path / "x.jpg")
    assert images.reason(tmp_path / "x.jpg") == ""
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:1500])
    assert "truncated" in images.reason(tmp_path / "x.jpg")


def test_flat_folder_is_for_prediction(tmp_path):
    picture(tmp_path / "d" / "x.png")
    assert read(tmp_path / "d", for_prediction=True).target is None
    with pytest.raises(DataError, match="HS-DATA-003"):
        read(tmp_path / "d")


def test_class_folders_of_texts(tmp_path):
    for name, text in (("pos", "sehr schön"), ("neg", "übel")):
        for i in range(6):
            path = tmp_path / "d" / "train" / name / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text} {i}", encoding="utf-8")
    (tmp_path / "d" / "train" / "pos" / "2.txt").write_text(" ")
    dataset = read(tmp_path / "d")
    assert len(dataset) == 11
    assert dataset.rejects[0].row == 9
    assert dataset.numbers == [*range(1, 9), 10, 11, 12]
    assert dataset.samples()[-1] == "sehr schön 5"
    assert set(dataset.values("split")) == {"train"}


def test_table_with_image_paths(tmp_path):
    for i in range(10):
        picture(tmp_path / "img" / f"{i}.png", i)
    lines = ["file,label"] + [f"img/{i}.png,{'ab'[i % 2]}" for i in range(11)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    dataset = read(tmp_path / "labels.csv")
    assert dataset.inputs[0].kind == "image"
    assert dataset.samples()[0] == str(tmp_path / "img" / "0.png")
    assert [(r.row, r.reason) for r in dataset.rejects] == [(11, "the image file does not exist")]


def test_saved_datasets_folder(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = {"text": [f"some text, number {i}" for i in range(6)], "label": [0, 1] * 3}
    one = datasets.Dataset.from_dict(rows, features=features)
    one.save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one").targets() == ["neg", "pos"] * 3
    datasets.DatasetDict(train=one, test=one.select([1, 3])).save_to_disk(tmp_path / "two")
    both = read(tmp_path / "two")
    assert both.values("split") == ["train"] * 6 + ["test"] * 2
    assert both.targets()[-2:] == ["pos", "pos"]


def test_saved_images_are_bytes(tmp_path):
    pictures = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(4)]
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict({"picture": pictures, "label": list("abab")}, features=features).save_to_disk(tmp_path)
    dataset = read(tmp_path)
    assert dataset.modality == "image"
    assert dataset.samples()[0].startswith(b"\x89PNG")
