"""The feature store: found by content, written whole or not at all, by several at once."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from headstart import cache
from headstart.cache import Store, key, write_error
from headstart.errors import EnvironmentProblem


def digests(*numbers: int) -> np.ndarray:
    return np.array([f"{number:032x}" for number in numbers], "S32")


def rows(*numbers: int) -> np.ndarray:
    return np.array([[number, -number] for number in numbers], np.float32)


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    store = Store(tmp_path)
    store.append(digests(5, 1), rows(5, 1))
    store.append(digests(3), rows(3))
    assert np.array_equal(store.rows(digests(3, 5, 5, 1)), rows(3, 5, 5, 1))
    assert np.array_equal(Store(tmp_path).rows(digests(1, 3)), rows(1, 3)), "another process finds them"


def test_missing_names_the_first_of_equal_rows(tmp_path):
    store = Store(tmp_path)
    store.append(digests(2), rows(2))
    assert store.missing(digests(7, 2, 7, 9)).tolist() == [0, 3]
    with pytest.raises(KeyError, match="1 rows are not stored"):
        store.rows(digests(2, 9))


def test_token_rows_keep_their_lengths(tmp_path):
    store, words = Store(tmp_path), [np.full((n, 3), n, np.float32) for n in (2, 0, 5)]
    store.append(digests(2, 10, 5), words)
    back = store.ragged(digests(5, 2, 10))
    assert [row.shape for row in back] == [(5, 3), (2, 3), (0, 3)] and np.all(back[0] == 5)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-4], lambda raw: b"", lambda raw: b"\xff" * len(raw)])
def test_a_damaged_segment_is_dropped(tmp_path, damage):
    Store(tmp_path).append(digests(1), rows(1))
    (first,) = tmp_path.glob("segment-*")
    Store(tmp_path).append(digests(2), rows(2))
    first.write_bytes(damage(first.read_bytes()))
    store = Store(tmp_path)
    assert store.missing(digests(1, 2)).tolist() == [0] and not first.exists()
    store.append(digests(1), rows(1))
    assert np.array_equal(store.rows(digests(1, 2)), rows(1, 2))


def write(folder: str, start: int) -> None:
    store = Store(Path(folder))
    for number in range(start, start + 40):  # half of them are the other process's rows as well
        if len(store.missing(digests(number))):
            store.append(digests(number), rows(number))


def test_two_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=write, args=(str(tmp_path), start)) for start in (0, 20)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    everything = list(range(60))
    assert np.array_equal(Store(tmp_path).rows(digests(*everything)), rows(*everything))
    assert not list(tmp_path.glob(".*"))


def test_two_stores_see_each_others_rows(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    assert len(one.missing(digests(1, 2))) == len(other.missing(digests(1, 2))) == 2
    one.append(digests(1), rows(1))
    other.append(digests(1, 2), rows(1, 2))
    for store in (one, other):
        assert len(store.missing(digests(1, 2))) == 0
        assert np.array_equal(store.rows(digests(2, 1)), rows(2, 1))


@pytest.mark.parametrize(("number", "code"), [(28, "HS-ENV-002"), (122, "HS-ENV-002"), (13, "HS-ENV-003")])
def test_a_refusing_disk_leaves_nothing_half_written(tmp_path, monkeypatch, number, code):
    def refuse(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    store = Store(tmp_path)
    store.append(digests(1), rows(1))
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(cache, "save_file", refuse)
    with pytest.raises(EnvironmentProblem, match=code):
        store.append(digests(2), rows(2))
    assert sorted(tmp_path.iterdir()) == before
    assert store.missing(digests(1, 2)).tolist() == [1]


def test_the_words_of_safetensors_for_a_full_disk_are_understood(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def refuse(tensors, path):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cache, "save_file", refuse)
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"):
        Store(tmp_path).append(digests(2), rows(2))


def test_write_error_and_key():
    assert write_error(OSError(30, "read-only"), Path("x")).code == "HS-ENV-003"
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1}) != key({"a": 1, "b": 3})
