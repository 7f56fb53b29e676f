"""Writing to disk: refusals become one error with a code, whoever reports them, and no half file stays."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstart import disk
from headstart.errors import DataError, EnvironmentProblem


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "x"), "HS-ENV-002"),
        (OSError(errno.EDQUOT, "x"), "HS-ENV-002"),
        (OSError(errno.EFBIG, "x"), "HS-ENV-002"),
        (OSError(errno.EACCES, "x"), "HS-ENV-003"),
        (OSError(errno.EROFS, "x"), "HS-ENV-003"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "HS-ENV-002"),
        (RuntimeError("cannot create (os error 13)"), "HS-ENV-003"),
        ("ERROR: Could not install: [Errno 122] Disk quota exceeded", "HS-ENV-002"),
        (ValueError("(os error 2)"), None),
        (OSError(errno.ENOENT, "no such file"), None),
        (ValueError("ten rows are too few"), None),
    ],
)
def test_refusals_by_number_and_by_words(error, code, tmp_path):
    found = disk.refusal(error, tmp_path / "x")
    assert (found.code if found else None) == code
    if found:
        assert str(tmp_path / "x") in str(found) and "HEADSTART_HOME" in found.hint


def test_the_place_of_an_error_is_its_own_file_where_none_is_named():
    assert "/full/disk" in str(disk.refusal(OSError(errno.ENOSPC, "x", "/full/disk")))


def test_every_error_of_writing_gets_a_code(tmp_path):
    assert disk.write_error(OSError(errno.EIO, "Input/output error"), tmp_path).code == "HS-ENV-003"
    assert "Input/output error" in str(disk.write_error(OSError(errno.EIO, "Input/output error"), tmp_path))
    assert "a file is in the way" in str(disk.write_error(OSError(errno.ENOTDIR, "Not a directory"), tmp_path))
    known = EnvironmentProblem("HS-ENV-002", "said before.")
    assert disk.write_error(known, tmp_path) is known


def test_guard_lets_other_errors_pass(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, "gone"), ValueError("bad"), DataError("HS-DATA-001", "bad")):
        with pytest.raises(type(error)) as caught, disk.guard(tmp_path):
            raise error
        assert caught.value is error


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "a.txt"
    disk.replace_text(place, "old")
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"), disk.replacing(place) as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ValueError, match="ours"), disk.replacing(place) as part:
        part.write_text("half")
        raise ValueError("ours")
    assert place.read_text() == "old" and list(place.parent.iterdir()) == [place]


def test_the_folder_of_a_file_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentProblem, match="HS-ENV-003"):
        disk.replace_text(tmp_path / "file" / "a.txt", "text")
    assert (tmp_path / "file").read_text() == "x"


def test_what_another_process_settled_first_stays(tmp_path):
    for name in ("made", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    disk.settle(tmp_path / "made", tmp_path / "place")
    assert (tmp_path / "place" / "who").read_text() == "place"
    disk.settle(tmp_path / "made", tmp_path / "free")
    assert (tmp_path / "free" / "who").read_text() == "made"


def test_leavings_of_killed_processes_go_after_a_day(tmp_path):
    old, fresh = tmp_path / ".partial-old", tmp_path / ".partial-fresh"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (1, 1))
    with disk.workspace(tmp_path / "out") as folder:
        assert folder.is_dir() and not old.exists() and fresh.exists()
    assert not folder.exists()


def test_two_threads_write_one_place_without_taking_each_others_file(tmp_path):
    both = threading.Barrier(2)

    def write(text):
        with disk.replacing(tmp_path / "x.json") as partial:
            partial.write_text(text)
            both.wait(10)
        both.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "two"]))
    assert (tmp_path / "x.json").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
