"""The size of the feature store: least recently used goes first, what is open stays, what is damaged goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from headstart import upkeep
from headstart.cache import Store
from headstart.cli import main
from headstart.errors import UsageError

ROW = 4 * 256


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    monkeypatch.setattr(upkeep, "_unseen", upkeep._EVERY)
    return tmp_path / "features"


def digests(*numbers: int) -> np.ndarray:
    return np.array([f"{number:032x}" for number in numbers], "S32")


def fill(home: Path, source: str, numbers: list[int], days: float) -> Path:
    """A store with one segment for each number, last used some days ago."""
    folder = home / f"{source}-0123456789" / "pooled"
    store = Store(folder, {"source": source, "output": "pooled", "precision": "bf16"})
    for number in numbers:
        store.append(digests(number), np.full((1, 256), number, np.float32))
    for path in folder.glob("segment-*"):
        os.utime(path, (time.time() - days * 86400,) * 2)
    return folder


def stored(folder: Path) -> int:
    return len(list(folder.glob("segment-*")))


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("1.5T", 15 * 10**11), ("4GiB", 4 << 30), ("77", 77), ("2K", 2000)],
)
def test_sizes(monkeypatch, text, size):
    monkeypatch.setenv("HEADSTART_CACHE_SIZE", text)
    assert upkeep.limit() == size


@pytest.mark.parametrize("text", ["lots", "-3GB", "3XB", "GB", "1.2.3G"])
def test_a_bad_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("HEADSTART_CACHE_SIZE", text)
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*HEADSTART_CACHE_SIZE.*20GB"):
        upkeep.limit()


def test_the_default_is_20_gb_or_a_tenth_of_the_disk(monkeypatch):
    monkeypatch.delenv("HEADSTART_CACHE_SIZE", raising=False)
    for total, expected in ((10**12, 20 * 10**9), (10**11, 10**10)):
        monkeypatch.setattr(upkeep.shutil, "disk_usage", lambda place, total=total: os.terminal_size((total, 0)))
        monkeypatch.setattr(os.terminal_size, "total", property(lambda self: self[0]), raising=False)
        assert upkeep.limit() == expected


def test_the_longest_unused_goes_first(home):
    old, new = fill(home, "old", [1, 2, 3], 9), fill(home, "new", [4, 5, 6], 2)
    report = upkeep.prune(to=upkeep.info()["bytes"] - 1)
    assert (report["removed"], stored(old), stored(new)) == (1, 2, 3)
    report = upkeep.prune(to=2 * ROW + 1000)
    assert stored(new) >= 1 and not old.parent.exists(), "an empty store leaves no folder"
    assert report["kept"] == upkeep.info()["bytes"] <= 2 * ROW + 1000


def test_reading_counts_as_use(home):
    read, unread = fill(home, "read", [1], 9), fill(home, "unread", [2], 5)
    Store(read).rows(digests(1))
    upkeep.prune(to=ROW + 1000)
    assert (stored(read), stored(unread)) == (1, 0)


def test_older_than(home):
    old, new = fill(home, "old", [1], 9), fill(home, "new", [2], 2)
    upkeep.prune(older_than=5)
    assert (stored(old), stored(new)) == (0, 1)


HOLD = """
import sys, time
from pathlib import Path
import numpy as np
from headstart.cache import Store
store = Store(Path(sys.argv[1]))
print(len(store.missing(np.array(["0" * 32], "S32"))), flush=True)
time.sleep(60)
"""


def test_what_a_living_process_has_open_stays(home):
    kept, gone = fill(home, "kept", [1], 9), fill(home, "gone", [2], 2)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(kept)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        assert {each.source: each.open for each in upkeep.stores()} == {"kept": True, "gone": False}
        report = upkeep.prune(to=0)
        assert (stored(kept), stored(gone)) == (1, 0) and report["open"] == report["kept"] > 0
        child.kill()
    upkeep.prune(to=0)
    assert not kept.exists() and not any(home.iterdir())


def test_what_this_process_has_open_stays(home):
    folder = fill(home, "mine", [1], 9)
    store = Store(folder)
    assert len(store.missing(digests(1, 2))) == 1
    upkeep.prune(to=0)
    assert np.all(store.rows(digests(1)) == 1)


def test_writing_brings_the_store_down_to_its_limit(home, monkeypatch):
    old = fill(home, "old", [1, 2, 3], 9)
    monkeypatch.setenv("HEADSTART_CACHE_SIZE", str(3 * ROW))
    monkeypatch.setattr(upkeep, "_unseen", upkeep._EVERY)
    new = fill(home, "new", [4, 5], 0)
    assert (stored(old), stored(new)) == (1, 2)


def test_a_store_elsewhere_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE_SIZE", "1")
    folder = tmp_path / "temporary" / "pooled"
    for number in range(3):
        Store(folder).append(digests(number), np.zeros((1, 256), np.float32))
    assert stored(folder) == 3


# --- the commands --------------------------------------------------------------------------------------------------


def run(capsys, *words: str) -> dict:
    assert main(["cache", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_info(home, capsys):
    fill(home, "old", [1, 2], 9)
    (fill(home, "bare", [3], 1) / upkeep.ABOUT).unlink()
    data = run(capsys, "info")
    assert [(each["source"], each["output"], each["precision"], each["rows"]) for each in data["stores"]] == [
        ("bare", "pooled", "unknown", 1),
        ("old", "pooled", "bf16", 2),
    ]
    assert data["bytes"] == sum(path.stat().st_size for path in home.rglob("segment-*")) > 3 * ROW
    assert main(["cache"]) == 0
    text = capsys.readouterr().out
    assert "old" in text and "9 days ago" in text and str(home) in text


def test_info_of_nothing(capsys):
    assert run(capsys)["stores"] == []
    assert run(capsys, "verify") == {"segments": 0, "bytes": 0, "damaged": [], "left_over": []}
    assert run(capsys, "prune", "--all")["removed"] == 0


def test_verify_removes_the_damaged_and_the_left_over(home, capsys):
    folder = fill(home, "one", [1, 2, 3], 3)
    bad = sorted(folder.glob("segment-*"))[1]
    bad.write_bytes(bad.read_bytes()[:-1] + b"\x99")
    (folder / ".x.part").write_bytes(b"half")
    data = run(capsys, "verify")
    assert data["damaged"] == [str(bad)] and data["left_over"] == [str(folder / ".x.part")] and data["segments"] == 2
    assert not bad.exists() and not (folder / ".x.part").exists()
    assert run(capsys, "verify")["damaged"] == []
    assert upkeep.stores()[0].used < time.time() - 2 * 86400, "a look is no use"


@pytest.mark.parametrize(
    ("words", "left"),
    [(["--all"], 0), (["--to", "1.5kB"], 1), (["--older-than", "3"], 1), ([], 2), (["--older-than", "99"], 2)],
)
def test_prune(home, capsys, words, left):
    fill(home, "old", [1], 9), fill(home, "new", [2], 2)
    assert run(capsys, "prune", *words)["removed"] == 2 - left
    assert len(upkeep.stores()) == left


def test_prune_refuses_a_bad_size(capsys):
    assert main(["cache", "prune", "--to", "half"]) == 2
    assert "HS-USAGE-001" in capsys.readouterr().err
