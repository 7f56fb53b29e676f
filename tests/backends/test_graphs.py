"""Compiled graphs on disk: found by the next process, made anew where damaged or of another version, pruned."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from headstart import graphs, upkeep
from headstart.backends import openvino as backend
from headstart.backends.base import Variant
from headstart.backends.search import open_variant
from headstart.backends.trace import Graphs
from headstart.cache import key
from tests.conformance.examples import tiny_bert

TEXTS = ["a man", "a man rides a horse", "dog", "the dog runs"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def traced(monkeypatch):
    """How often the network was copied to be traced."""
    pytest.importorskip("openvino")
    count: list[int] = []
    frozen = Graphs._frozen.func
    monkeypatch.setattr(Graphs, "_frozen", property(lambda self: (count.append(1), frozen(self))[1]))
    return count


def pooled(source) -> np.ndarray:
    runner = open_variant(source, torch.device("cpu"), Variant("openvino", "fp32"), ("pooled",))
    return np.stack(runner(source.preprocess(TEXTS))["pooled"])


@pytest.mark.slow
def test_the_next_process_reads_the_graph_and_gives_the_same_bits(tmp_path, traced):
    source = tiny_bert(tmp_path)
    first = pooled(source)
    assert len(graphs.files()) == len(traced) == 1
    assert np.array_equal(pooled(source), first) and len(traced) == 1
    place = graphs.files()[0]
    place.write_bytes(place.read_bytes()[:-1])  # damaged: made again
    assert np.array_equal(pooled(source), first) and len(traced) == 2
    assert all(graphs.is_sound(path) for path in graphs.files())


@pytest.mark.slow
def test_what_is_whole_but_no_graph_is_dropped_and_made_again(tmp_path, traced, monkeypatch):
    source = tiny_bert(tmp_path)
    monkeypatch.setattr(graphs, "find", lambda key: b"no graph")
    dropped: list[str] = []
    monkeypatch.setattr(graphs, "discard", dropped.append)
    assert pooled(source).shape[0] == len(TEXTS) and len(traced) == len(dropped) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"?", lambda _: b""])
def test_damaged_bytes_are_not_returned_and_the_file_is_dropped(damage):
    graphs.keep("aa", b"1" * 1000)
    path = graphs.files()[0]
    path.write_bytes(damage(path.read_bytes()))
    assert not graphs.is_sound(path)
    assert graphs.find("aa") is None and not path.exists()


def test_another_version_other_weights_and_another_processor_have_other_keys(tmp_path, monkeypatch):
    source = tiny_bert(tmp_path)

    class Processor:
        name = "a"

        def get_property(self, device: str, name: str) -> str:
            return self.name

    def now(source, outputs=("pooled",)) -> str:
        return key(backend.facts(source, outputs, Processor()))

    usual = now(source)
    assert usual == now(source) and usual != now(source, ("tokens",)) and usual != now(source.untrained(1))
    monkeypatch.setattr(Processor, "name", "b")
    assert now(source) != usual
    monkeypatch.setattr(Processor, "name", "a")
    monkeypatch.setattr(backend, "_version", lambda name: "0.0" if name == "openvino" else None)
    assert now(source) != usual


def test_a_disk_that_refuses_is_no_error(home):
    home.mkdir(exist_ok=True)
    (home / "runtime").write_text("in the way")
    graphs.keep("aa", b"1")
    assert graphs.find("aa") is None and graphs.files() == []


def test_upkeep_counts_verifies_and_prunes_graphs(home):
    graphs.keep("aa", b"1" * 1000)
    graphs.keep("bb", b"2" * 1000)
    os.utime(next(home.glob("runtime/aa-*")), (1, 1))
    assert upkeep.info()["graphs"] == upkeep.info()["bytes"] == 2000
    assert upkeep.prune(to=1500)["freed"] == 1000
    assert graphs.find("aa") is None and graphs.find("bb") == b"2" * 1000
    next(home.glob("runtime/bb-*")).write_bytes(b"3" * 1000)
    left = home / "runtime" / ".cc-00.graph.1.part"
    left.write_bytes(b"4")
    os.utime(left, (time.time() - 7200,) * 2)
    report = upkeep.verify()
    assert len(report["damaged"]) == 1 and report["left_over"] == [str(left)] and graphs.find("bb") is None


def test_use_keeps_a_graph_from_being_pruned(home):
    for name in ("aa", "bb"):
        graphs.keep(name, name.encode() * 500)
        os.utime(next(home.glob(f"runtime/{name}-*")), (1, 1) if name == "aa" else (2, 2))
    graphs.find("aa")
    upkeep.prune(to=1000)
    assert graphs.find("aa") is not None and graphs.find("bb") is None
