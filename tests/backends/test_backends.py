"""Every backend gives what plain torch gives, and the search takes no one at their word."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart import catalog, runtime
from headstart.backends import search as searching
from headstart.backends import torch as eager
from headstart.backends.base import Variant
from headstart.backends.search import Search, Trial, absent, drive, open_variant, parity
from headstart.errors import EnvironmentProblem, MethodError, UsageError
from headstart.runtime import Extractor
from headstart.testing import dataset_with
from headstart.types import Batch
from tests.conformance.examples import WORDS, tiny_bert, tiny_timm, tiny_torchvision

CPU = torch.device("cpu")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name == "compile" else [])
    for name in catalog.names("backends")
    if not absent(catalog.find("backends", name))
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # so that two streams are tried on any machine
    return tmp_path / "home"


@pytest.fixture
def bert(tmp_path, home):
    return tiny_bert(tmp_path)


def lines(count: int) -> list[str]:
    """Texts that differ, of different lengths."""
    return [" ".join([WORDS[row % 15], WORDS[row // 15 % 15], *WORDS[: row % 7]]) for row in range(count)]


def texts(count: int):
    return dataset_with([f"{line} {WORDS[i % 11]}" for i, line in enumerate(lines(count))], ["a"] * count, "category")


def variants(name: str, source, precisions=("fp32",)) -> list[Variant]:
    return catalog.find("backends", name)().variants(source, CPU, precisions, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_text_network_agrees_with_plain_torch_at_every_length(name, bert):
    cuts = [layer.name for layer in bert.layers()][-2:-1] if name != "compile" else []
    samples = lines(24)
    with torch.no_grad():
        truth = [bert.features(bert.preprocess([sample]), cuts) for sample in samples]
    for variant in variants(name, bert):
        runner = open_variant(bert, CPU, variant, ["pooled", *cuts])
        groups = [samples[start : start + size] for start, size in ((0, 1), (1, 9), (10, 14))]
        got = drive(runner, [bert.preprocess(group) for group in groups])
        pooled = np.stack([row for part in got for row in part["pooled"]])
        assert np.allclose(pooled, np.concatenate([f.pooled.numpy() for f in truth]), atol=1e-4), str(variant)
        for cut in cuts:
            rows = np.stack([row for part in got for row in part[cut]])
            assert np.allclose(rows, np.concatenate([f.cuts[cut].numpy() for f in truth]), atol=1e-4), str(variant)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [tiny_torchvision, tiny_timm])
def test_an_image_network_agrees_with_plain_torch(name, make, tmp_path, home):
    source = make(tmp_path)
    arrays = [np.random.default_rng(i).integers(0, 256, (40, 30, 3), dtype=np.uint8) for i in range(5)]
    with torch.no_grad():
        truth = source.forward(source.preprocess(arrays)).pooled.numpy()
    for variant in variants(name, source):
        runner = open_variant(source, CPU, variant, ["pooled"])
        got = drive(runner, [source.preprocess(arrays[:3]), source.preprocess(arrays[3:])])
        pooled = np.stack([row for part in got for row in part["pooled"]])
        assert np.abs(pooled - truth).max() <= 1e-3 * np.abs(truth).max(), str(variant)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name.values[0] != "compile"])
def test_words_come_back_without_their_padding(name, bert):
    rows = [["good", "text"], ["bad"], ["a", "few", "more", "words"]]
    with torch.no_grad():
        features = bert.forward(bert.preprocess(rows))
    assert features.tokens is not None and features.mask is not None
    for variant in variants(name, bert):
        got = open_variant(bert, CPU, variant, ["tokens"])(bert.preprocess(rows))["tokens"]
        for mine, theirs, mask in zip(got, features.tokens, features.mask):
            assert np.allclose(mine, theirs[mask].numpy(), atol=1e-4), str(variant)


def test_streams_do_not_read_each_others_layers(bert):
    cuts = [layer.name for layer in bert.layers()][1:3]
    runner = open_variant(bert, CPU, Variant("torch", "fp32", 2), cuts)
    batches = [bert.preprocess([line]) for line in lines(60)]
    got = drive(runner, batches)
    with torch.no_grad():
        for batch, found in zip(batches, got):
            wanted = bert.features(batch, cuts).cuts
            assert all(np.allclose(found[cut][0], wanted[cut].numpy()[0], atol=1e-5) for cut in cuts)


def test_threads_are_given_back(bert):
    before = torch.get_num_threads()
    drive(open_variant(bert, CPU, Variant("torch", "fp32", 2), ["pooled"]), [bert.preprocess(["one"])] * 4)
    assert torch.get_num_threads() == before


# --- the search ------------------------------------------------------------------------------------------------


def searched(source, rows: int, **given) -> tuple[Search, Trial]:
    fields = {"precision": "auto", "backend": "auto", "native": True, "memo": None, **given}
    search = Search(source, CPU, ["pooled"], **fields)
    samples = lines(40)
    trial, _ = search.choose(
        rows, lambda count: source.preprocess(samples[:count]), lambda size: [source.preprocess(samples[:size])]
    )
    return search, trial


def test_a_few_rows_are_not_worth_a_search(bert):
    search, trial = searched(bert, 10)
    assert trial.variant == Variant("torch", "fp32") and not search.trials


@pytest.mark.slow
def test_long_jobs_try_what_is_installed_and_short_ones_do_not(bert):
    short, _ = searched(bert, 100)
    assert {trial.variant.backend for trial in short.trials.values()} == {"torch"}
    long, best = searched(bert, 100_000_000)
    assert {trial.variant.backend for trial in long.trials.values()} >= {"torch", "openvino"}
    assert best.cost(100_000_000) == min(t.cost(100_000_000) for t in long.trials.values() if not t.refused)


def test_the_choice_is_remembered_and_used_for_the_rows_at_hand(bert, tmp_path):
    memo = tmp_path / "memo.json"
    fast, slow = Variant("openvino", "bf16", 2), Variant("torch", "bf16", 2)
    trials = {str(fast): Trial(fast, seconds=0.001, setup=5.0), str(slow): Trial(slow, seconds=0.002, setup=0.1)}
    for other in ("torch bf16", "torch fp32", "onnxruntime fp32, 2 streams", "compile bf16"):
        trials[other] = Trial(Variant(other.split()[0], "bf16"), refused="slow")
    search = Search(bert, CPU, ["pooled"], "auto", "auto", True, memo)
    search.trials = trials
    search._remember()
    assert json.loads(memo.read_text())[str(fast)]["setup"] == 5.0
    assert searched(bert, 2_000, memo=memo)[1].variant == slow, "5 seconds of set-up do not pay"
    assert searched(bert, 8_000, memo=memo)[1].variant == fast
    memo.write_text('{"torch": 3}')
    assert searched(bert, 100, memo=memo)[1].variant.backend == "torch", "a damaged memory is no obstacle"


def coarse(honest, amount: float = 1.0):
    """bf16 that loses the features: stood for by noise on the weights."""

    def freeze(source, where, precision, fused):
        frozen = honest(source, where, "fp32", fused)
        if precision == "bf16":
            with torch.no_grad():
                for number, parameter in enumerate(frozen.network.parameters()):
                    noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                    parameter.add_(amount * noise)
        return frozen

    return freeze


def test_a_precision_that_disagrees_is_refused_in_words(bert, monkeypatch):
    monkeypatch.setattr(eager, "freeze", coarse(eager.freeze))
    search, trial = searched(bert, 500, backend="torch", precision="bf16")
    assert trial.variant.precision == "fp32" and trial.mean >= 0.999
    assert search.notes and all("refused: mean cosine to fp32 is " in note for note in search.notes)


def test_what_does_not_run_here_is_left_out_in_words(bert, monkeypatch):
    honest = eager.freeze

    def broken(source, where, precision, fused):
        if precision == "bf16":
            raise RuntimeError("no kernel\nmore words")
        return honest(source, where, precision, fused)

    monkeypatch.setattr(eager, "freeze", broken)
    monkeypatch.setattr(runtime, "bf16_is_native", lambda: True)
    extractor = Extractor(bert, cache=False, backend="torch")
    extractor.matrix(texts(100))
    assert "torch bf16 refused: no kernel." in extractor.notes
    assert extractor.description.startswith("torch fp32")


def test_a_backend_that_cannot_run_the_source_says_why(bert, monkeypatch):
    monkeypatch.setattr(eager, "freeze", coarse(eager.freeze, float("nan")))
    monkeypatch.setattr(
        searching.Search, "_fp32", lambda self, count, mixed: (mixed(count), {"pooled": [np.ones(32)] * count})
    )
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*openvino cannot run.*Use --backend auto"):
        broken = replace_backend(monkeypatch)
        Extractor(bert, cache=False, backend=broken).matrix(texts(100))


def replace_backend(monkeypatch) -> str:
    found = catalog.find("backends", "openvino")
    monkeypatch.setattr(found, "open", lambda *given: (_ for _ in ()).throw(RuntimeError("an operator is unknown")))
    return "openvino"


def test_unknown_and_missing_backends(bert, monkeypatch):
    with pytest.raises(UsageError, match=r'HS-USAGE-001.*no backend "openvin"'):
        Extractor(bert, backend="openvin")
    monkeypatch.setattr(searching, "absent", lambda backend: ["openvino"])
    with pytest.raises(EnvironmentProblem, match=r"headstart\[openvino\]"):
        Extractor(bert, cache=False, backend="openvino").matrix(texts(100))


def test_parity_reads_rows_words_zeros_and_nan():
    a = {"pooled": [np.array([1.0, 0.0]), np.zeros(2)], "tokens": [np.ones((3, 2)), np.ones((1, 2))]}
    assert parity(a, a) == pytest.approx((1.0, 1.0, 0.0))
    turned = {**a, "pooled": [np.array([0.0, 1.0]), np.zeros(2)]}
    assert parity(a, turned) == pytest.approx((0.5, 0.0, 0.5 / 2**0.5))
    assert not parity(a, {**a, "pooled": [np.array([np.nan, 0.0]), np.zeros(2)]})[0] >= 0.999


def test_a_mean_near_the_bar_is_read_on_more_rows(bert, monkeypatch):
    """The first rows leave it open; the many decide."""
    asked = []

    def near(truth, got):
        count = len(truth["pooled"])
        asked.append(count)
        return (0.9985, 0.99, 0.001) if count < 30 else (0.9995, 0.99, 0.0001)

    monkeypatch.setattr(searching, "parity", near)
    search, trial = searched(bert, 500, backend="torch", precision="bf16")
    assert trial.variant.precision == "bf16" and trial.mean == 0.9995 and not search.notes
    assert asked[0] < 30 < asked[1]


def test_a_long_job_after_a_short_one_is_searched_for(bert):
    extractor = Extractor(bert, cache=False)
    extractor.matrix(texts(200).select(range(10)))
    assert extractor.trial is not None and extractor.trial.variant == Variant("torch", "fp32")
    extractor.matrix(texts(200))
    assert extractor.trial.setup > 0, "measured"


def test_a_batch_that_does_not_fit_is_halved(bert, monkeypatch):
    extractor = Extractor(bert, cache=False, precision="fp32", backend="torch")
    whole = Extractor(bert, cache=False, precision="fp32").matrix(texts(50))
    sizes = []

    def prepared(samples, outputs, rows):
        honest = open_variant(bert, CPU, Variant("torch", "fp32"), outputs)
        inner = honest._run

        def run(slot, batch: Batch):
            sizes.append(len(batch))
            if len(batch) > 3:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return inner(slot, batch)

        honest._run = run
        return replace(Trial(Variant("torch", "fp32")), size=16), honest

    monkeypatch.setattr(extractor, "_prepared", prepared)
    assert np.allclose(extractor.matrix(texts(50)), whole, atol=1e-5)
    assert max(sizes) > 3 and extractor.batch_size is not None and extractor.batch_size <= 3
