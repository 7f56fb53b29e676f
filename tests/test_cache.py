"""The feature store: found by content, written whole or not at all, by several at once."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from headstart import cache, segments
from headstart.cache import Store, key
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
    assert not list(tmp_path.glob(".*.part"))


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
    def refuse(tensors):
        yield b"half"
        raise OSError(number, os.strerror(number))

    store = Store(tmp_path)
    store.append(digests(1), rows(1))
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(segments, "_blocks", refuse)
        with pytest.raises(EnvironmentProblem, match=code):
            store.append(digests(2), rows(2))
    assert sorted(tmp_path.iterdir()) == before
    assert store.missing(digests(1, 2)).tolist() == [1]


def test_key_depends_on_the_facts_alone():
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1}) != key({"a": 1, "b": 3})


# --- checksums -----------------------------------------------------------------------------------------------------


def only(folder: Path) -> Path:
    (path,) = folder.glob("segment-*")
    return path


def flip(path: Path, place: int) -> None:
    """Change one bit of a file without changing its size or its time."""
    stat, raw = path.stat(), bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(bytes(raw))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_segment_is_a_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    Store(tmp_path).append(digests(5, 1), rows(5, 1))
    tensors = load_file(only(tmp_path))
    assert np.array_equal(tensors["rows"], rows(5, 1)) and tensors["digests"].tobytes() == digests(5, 1).tobytes()


def test_any_flipped_bit_is_noticed(tmp_path):
    Store(tmp_path).append(digests(*range(8)), rows(*range(8)))
    size = only(tmp_path).stat().st_size
    for place in range(0, size, 3):
        flip(only(tmp_path), place)
        store = Store(tmp_path)
        assert len(store.missing(digests(*range(8)))) == 8, f"byte {place}"
        assert not list(tmp_path.glob("segment-*")), "the damaged file is gone"
        store.append(digests(*range(8)), rows(*range(8)))


def test_damage_found_while_reading_is_a_missing_row_not_a_wrong_number(tmp_path):
    Store(tmp_path).append(digests(1), rows(1))
    Store(tmp_path).append(digests(2), rows(2))
    store = Store(tmp_path)
    flip(sorted(tmp_path.glob("segment-*"))[0], -1)
    with pytest.raises(KeyError, match="1 rows are not stored"):
        store.rows(digests(1, 2))


# --- merging -------------------------------------------------------------------------------------------------------


def test_many_small_segments_become_few(tmp_path, monkeypatch):
    store, old = Store(tmp_path), Store(tmp_path)
    for number in range(20):
        store.append(digests(number), rows(number))
    assert len(old.missing(digests(0, 21))) == 1, "it knows the small segments"
    monkeypatch.setattr(cache, "MANY", 5)
    store.append(digests(20), rows(20))
    assert only(tmp_path)
    for each in (store, old, Store(tmp_path)):
        assert np.array_equal(each.rows(digests(*range(21))), rows(*range(21)))
        assert len(each.missing(digests(*range(22)))) == 1


def test_merging_keeps_each_row_once_and_token_rows_whole(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    words = {n: np.full((n % 4, 3), n, np.float32) for n in range(9)}
    for start in (0, 3, 5):
        one.append(digests(*range(start, start + 4)), [words[n] for n in range(start, start + 4)])
    other.compact()  # it knows no segment, so there is nothing to merge
    assert len(list(tmp_path.glob("segment-*"))) == 3
    one.compact()
    merged = segments.Segment(only(tmp_path))
    assert merged.count == 9
    assert all(np.array_equal(got, words[n]) for n, got in enumerate(other.ragged(digests(*range(9)))))


def test_a_damaged_segment_is_not_merged(tmp_path):
    Store(tmp_path).append(digests(1), rows(1))
    bad = only(tmp_path)
    Store(tmp_path).append(digests(2), rows(2))
    store = Store(tmp_path)
    store.missing(digests(3))  # knows both, has checked neither
    flip(bad, -1)
    store.compact()
    assert len(list(tmp_path.glob("segment-*"))) == 2
    assert store.missing(digests(1, 2)).tolist() == [0]
    assert np.array_equal(store.rows(digests(2)), rows(2))


def test_readers_see_every_row_while_another_process_merges(tmp_path, monkeypatch):
    """A merge is seen before it or after it: no listing shows a row as missing that is stored."""
    monkeypatch.setattr(cache, "MANY", 3)
    for number in range(3):
        Store(tmp_path).append(digests(number), rows(number))
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_append_and_merge, args=(str(tmp_path),))
    child.start()
    looks = 0
    while child.is_alive() or not looks:
        assert len(Store(tmp_path).missing(digests(0, 1, 2))) == 0
        assert np.array_equal(Store(tmp_path).rows(digests(2, 0)), rows(2, 0))
        looks += 1
    child.join()
    assert child.exitcode == 0 and looks > 3
    assert np.array_equal(Store(tmp_path).rows(digests(*range(300))), rows(*range(300)))


def _append_and_merge(folder: str) -> None:
    cache.MANY = 3
    store = Store(Path(folder))
    for number in range(3, 300):
        store.append(digests(number), rows(number))


def test_the_index_finds_the_same_as_a_dictionary():
    draw = np.random.default_rng(0)
    index, truth = cache._Index(), {}
    for number in range(40):
        chosen = np.unique(draw.integers(0, 5000, draw.integers(1, 60)))
        index.add(digests(*chosen), number)
        for row, value in enumerate(chosen.tolist()):
            truth.setdefault(value, set()).add((number, row))
    index.drop(7)
    found, where = index.find(digests(*range(5000)))
    for value in range(5000):
        places = {place for place in truth.get(value, set()) if place[0] != 7}
        assert found[value] == bool(places)
        assert not places or tuple(where[value].tolist()) in places
    assert len(index._runs) < 10, "runs are merged as they grow"
