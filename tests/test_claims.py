"""Claims: a row belongs to one process at a time, and to nobody once that process is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from headstart.claims import Claims
from headstart.locks import holding


def digests(*numbers: int) -> np.ndarray:
    return np.array([f"{number:032x}" for number in numbers], "S32")


HOLD = """
import sys, time
from pathlib import Path
import numpy as np
from headstart.claims import Claims
rows = np.array([f"{int(n):032x}" for n in sys.argv[2:]], "S32")
with Claims(Path(sys.argv[1])).take(rows) as mine:
    print(int(mine.sum()), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the rows 1, 2 and 3."""
    words = [sys.executable, "-c", HOLD, str(tmp_path), "1", "2", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline().strip() == "3"
        yield child
        child.kill()


def test_what_another_process_holds_is_not_ours(tmp_path, holder):
    with Claims(tmp_path).take(digests(3, 4, 1, 5)) as mine:
        assert mine.tolist() == [False, True, False, True]
        with Claims(tmp_path).take(digests(4, 6)) as other:
            assert other.tolist() == [False, True], "nor is what another extractor of this process holds"
    with Claims(tmp_path).take(digests(4, 5, 6)) as mine:
        assert mine.all(), "a claim ends with its block"


def test_a_killed_process_holds_nothing(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with Claims(tmp_path).take(digests(1, 2, 3)) as mine:
        assert mine.all()
        assert len(list((tmp_path / "claims").glob("*.claim"))) == 1, "the dead claim is cleared away"
    assert not list((tmp_path / "claims").glob("*.claim"))


def test_wait_ends_when_the_holder_does(tmp_path, holder):
    claims = Claims(tmp_path)
    began = time.monotonic()
    claims.wait(digests(7, 8))
    assert time.monotonic() - began < 5, "nobody holds these"
    threading.Timer(0.3, holder.kill).start()
    claims.wait(digests(2, 8))
    assert holder.wait(5) is not None and time.monotonic() - began < 30
    with claims.take(digests(2)) as mine:
        assert mine.all()


def test_an_error_in_the_block_releases_the_claim(tmp_path):
    claims = Claims(tmp_path)
    with pytest.raises(RuntimeError), claims.take(digests(1)):
        raise RuntimeError
    with claims.take(digests(1)) as mine:
        assert mine.all()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that this user cannot write")
def test_a_closed_folder_grants_everything(tmp_path):
    tmp_path.chmod(0o500)
    with Claims(tmp_path).take(digests(1, 2)) as mine:
        assert mine.all()
    tmp_path.chmod(0o700)


def test_a_file_in_the_way_grants_everything(tmp_path):
    (tmp_path / "claims").write_text("not a folder")
    with Claims(tmp_path).take(digests(1, 2)) as mine:
        assert mine.all()
    Claims(tmp_path).wait(digests(1))


def test_the_lock_is_exclusive_and_survives_its_removal(tmp_path):
    path, order = tmp_path / "lock", []

    def second() -> None:
        with holding(path):
            order.append("second")

    with holding(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        path.unlink()  # as a prune of the folder does
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"] and path.exists()
