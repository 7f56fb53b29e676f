"""The training loop: order, resume after a kill, freezing, rates, early stopping, accumulation, averaging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from headstart import catalog, engine
from headstart.engine import Group, Schedule, Trainer, batches
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.scratch import Scratch
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.testing import dataset_with
from headstart.types import Batch
from tests.conformance.examples import texts, tiny_bert, tiny_timm

ROOT = Path(__file__).parents[1]


# --- order of the rows ---------------------------------------------------------------------------------------------


def test_batches_are_deterministic_and_hold_every_row_once():
    costs = np.random.default_rng(0).integers(1, 500, 1003)
    first, again = batches(costs, 16, 7, 2), batches(costs, 16, 7, 2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert sorted(np.concatenate(first).tolist()) == list(range(1003))
    for other in (batches(costs, 16, 7, 3), batches(costs, 16, 8, 2)):
        assert not np.array_equal(np.concatenate(first), np.concatenate(other))


@pytest.mark.parametrize("rows", [65, 129, 64, 1, 66])
def test_no_batch_is_of_a_single_row(rows):
    found = batches(np.ones(rows), 64, 0, 0)
    assert sorted(np.concatenate(found).tolist()) == list(range(rows))
    assert len(found) == -(-rows // 64)
    assert rows == 1 or min(len(each) for each in found) > 1
    assert [len(each) for each in batches(np.ones(3), 1, 0, 0)] == [1, 1, 1]


def test_batches_hold_rows_of_like_cost():
    costs = np.random.default_rng(0).integers(1, 500, 1000)
    spread = [np.ptp(costs[rows]) for rows in batches(costs, 20, 0, 0)]
    mixed = [np.ptp(costs[rows]) for rows in batches(costs, 20, 0, 0, bucket=False)]
    assert np.mean(spread) < 0.1 * np.mean(mixed)


# --- a tiny network for what needs no source -----------------------------------------------------------------------


class Line(nn.Module):
    """Two layers on vectors, with the signature of a network of the project."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.last(torch.tanh(self.first(batch.inputs["x"])))


X = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
Y = X.sum(dim=1, keepdim=True)


def trainer(schedule: Schedule, network: nn.Module | None = None, rate: float = 0.05, **rest) -> Trainer:
    network = network or Line()
    settings = {
        "costs": np.ones(len(X), int),
        "loss": lambda net, batch, target: {"loss": (net(batch) - target).square().mean()},
        "prepare": lambda rows, train: (Batch({"x": X[rows]}), Y[rows]),
        "validate": None,
        "seed": 0,
        "precision": "fp32",
    }
    groups = [Group("all", list(network.parameters()), rate)]
    return Trainer(network, groups, schedule, **{**settings, **rest})


def state(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def test_a_backward_of_ones_own_replaces_the_plain_one():
    """It sees the losses of every piece, and which piece ends a step; the same gradients end in the same weights."""
    plain, own, seen = Line(), Line(), []

    def backward(network, batch, target, losses, last):
        seen.append((len(batch), last))
        (losses["half"] + losses["rest"]).backward()

    def loss(network, batch, target):
        whole = (network(batch) - target).square().mean()
        return {"loss": whole, "half": 0.5 * whole, "rest": 0.5 * whole}

    schedule = Schedule(epochs=2, batch_size=12, accumulate=3)
    trainer(schedule, plain).run()
    history = trainer(schedule, own, loss=loss, backward=backward).run()
    assert seen == [(4, False), (4, False), (4, True)] * 4
    assert torch.allclose(state(plain), state(own), atol=1e-6) and history[-1]["loss"] > 0


@pytest.mark.parametrize("accumulate", [2, 5, 24, 100])
def test_accumulated_steps_equal_whole_steps(accumulate):
    """Also where the pieces are unequal: 24 rows in steps of 10 leave one of 4, cut in 5 pieces at most in 4."""
    whole, pieces = trainer(Schedule(4, 10)), trainer(Schedule(4, 10, accumulate))
    assert [row["loss"] for row in whole.run()] == pytest.approx([row["loss"] for row in pieces.run()], abs=1e-5)
    assert torch.allclose(state(whole.network), state(pieces.network), atol=1e-5)
    assert not torch.allclose(state(whole.network), state(Line()), atol=1e-2)


def test_early_stopping_restores_the_best_epoch():
    scores, seen = [0.3, 0.9, 0.5, 0.4, 0.8, 0.9], []

    def validate(network: nn.Module, bf16: bool) -> float:
        seen.append(state(network).clone())
        return scores[len(seen) - 1]

    run = trainer(Schedule(6, 8, patience=2), validate=validate)
    history = run.run()
    assert [row["validation"] for row in history] == scores[:4], "stops after two epochs that are no better"
    assert torch.equal(state(run.network), seen[1]) and not torch.equal(seen[1], seen[3])


def test_the_deadline_stops_training_with_a_note():
    run = trainer(Schedule(50, 4), deadline=0.0)
    assert len(run.run()) == 1 and run.step == 1
    assert run.notes == ["train stopped at its time limit in epoch 1."]


def test_averaged_weights_are_the_running_mean_of_the_steps():
    seen = []

    def prepare(rows, train):
        if train:
            seen.append(state(run.network).clone())
        return Batch({"x": X[rows]}), Y[rows]

    run = trainer(Schedule(1, 6, ema=0.9), prepare=prepare)
    final = []
    run.report = lambda stage, done, total: final.append(state(run.network).clone())
    run.run()
    mean = final[0]  # the first step's weights, then 0.9 old + 0.1 new
    for value in final[1:]:
        mean = 0.9 * mean + 0.1 * value
    assert len(seen) == 4 and torch.allclose(state(run.network), mean, atol=1e-6)
    assert not torch.allclose(state(run.network), final[-1], atol=1e-3)


# --- checkpoints ---------------------------------------------------------------------------------------------------


class Stop(Exception):
    """Stands for a kill."""


def interrupt(at: int):
    def report(stage: str, done: int, total: int) -> None:
        if done == at:
            raise Stop

    return report


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("at", [2, 4, 7, 12])
def test_a_stopped_run_continues_bit_by_bit(eager, tmp_path, ema, at):
    schedule = Schedule(3, 6, ema=ema)
    whole = trainer(schedule)
    history = whole.run()
    with pytest.raises(Stop):
        trainer(schedule, folder=tmp_path, report=interrupt(at)).run()
    again = trainer(schedule, folder=tmp_path)
    assert again.run() == history and again.resumed
    assert torch.equal(state(again.network), state(whole.network))
    done = trainer(schedule, folder=tmp_path, report=interrupt(1))
    assert done.run() == history, "a finished run is read, not trained"
    assert torch.equal(state(done.network), state(whole.network))


def test_a_checkpoint_of_another_key_is_ignored(eager, tmp_path):
    with pytest.raises(Stop):
        trainer(Schedule(3, 6), folder=tmp_path, report=interrupt(5), key="a").run()
    other, whole = trainer(Schedule(3, 6), folder=tmp_path, key="b"), trainer(Schedule(3, 6))
    other.run(), whole.run()
    assert not other.resumed and other.notes == [] and torch.equal(state(other.network), state(whole.network))


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"no checkpoint"])
def test_a_damaged_checkpoint_costs_only_time(eager, tmp_path, damage):
    with pytest.raises(Stop):
        trainer(Schedule(3, 6), folder=tmp_path, report=interrupt(5)).run()
    path = tmp_path / "train.checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    again, whole = trainer(Schedule(3, 6), folder=tmp_path), trainer(Schedule(3, 6))
    again.run(), whole.run()
    assert again.notes == ["train: the checkpoint was damaged; started again."] and not again.resumed
    assert torch.equal(state(again.network), state(whole.network))


def test_a_full_disk_is_an_error_with_a_code(eager, tmp_path, monkeypatch):
    from headstart.errors import EnvironmentProblem

    def full(*args, **rest):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(EnvironmentProblem, match="HS-ENV-002"):
        trainer(Schedule(3, 6), folder=tmp_path).run()
    assert list(tmp_path.iterdir()) == []


CHILD = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from safetensors.torch import save_file
from headstart import catalog, engine
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.runtime import Extractor
from headstart.sources.shelf import open_source
from headstart.sources.torchvision_compat import heal
from tests.conformance.examples import texts

heal()
import accelerate, sklearn.linear_model, transformers  # before the processes part: they take seconds
transformers.BertModel, transformers.AutoTokenizer, transformers.AutoModel

engine.CHECKPOINT_SECONDS = 0.0
home = Path(sys.argv[1])

def train(out, say):
    data, source = texts(48), open_source(str(home / "bert"))
    rows, valid = data.select(range(32)), data.select(range(32, 48))
    task = catalog.find("tasks", "classification").learn(rows)
    extractor = Extractor(source, cache=False, precision="fp32")
    problem = Problem(
        rows, valid, task, source, extractor, seed=5, folder=home / ("work-" + out.stem), options={"precision": "fp32"},
        report=lambda stage, done, total: say(done) if stage == "finetune" else None, deadline=time.monotonic() + 600,
    )
    fitted = Finetune(epochs=4, batch_size=8, learning_rate=1e-3, patience=4).fit(problem)
    state = {**fitted.source.network.state_dict(), **fitted.head.state_dict()}
    save_file({name: value.contiguous() for name, value in state.items()}, out)

def process(out, kill_at):
    # a process of its own, killed as soon as it has said that it did this step
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        train(out, lambda step: os.write(writer, b"%d\\n" % step))
        os._exit(0)
    os.close(writer)
    steps = []
    for line in os.fdopen(reader):
        steps.append(int(line))
        if steps[-1] == kill_at:
            os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(status, steps[0], out.exists(), flush=True)

process(home / "whole.safetensors", None)
for kill_at in (2, 4, 7, 11, 15, None):
    process(home / "broken.safetensors", kill_at)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_at_five_moments_the_weights_are_bit_identical(tmp_path):
    tiny_bert(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HEADSTART_HOME": str(tmp_path / "home")}
    line = [sys.executable, "-c", CHILD, str(tmp_path)]
    said = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    runs = [words.split() for words in said.stdout.splitlines()]
    assert [(status, there) for status, _, there in runs] == [
        ("0", "True"), *[(str(-signal.SIGKILL), "False")] * 5, ("0", "True")
    ]  # fmt: skip
    starts = [int(first) for _, first, _ in runs]
    assert starts[:2] == [1, 1] and 1 < starts[2] <= starts[3] <= starts[4] <= starts[5] <= starts[6] <= 16
    assert starts[6] > 11, "each process continues where the one before was killed"
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "broken"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    fresh = tiny_bert(tmp_path / "again").network.state_dict()
    assert any(not torch.equal(fresh[name], one[name]) for name in fresh), "nothing was trained"


# --- fine-tuning ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bert(tmp_path, monkeypatch) -> Source:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tiny_bert(tmp_path)


def problem_of(source: Source, data=None, **rest) -> Problem:
    data = data or texts(24)
    extractor = Extractor(source, cache=False, precision="fp32")
    task = catalog.find("tasks", "classification").learn(data)
    return Problem(data, None, task, source, extractor, options={"precision": "fp32"}, **rest)


def moved(source: Source, fitted) -> dict[str, float]:
    """How far the parameters and buffers of each layer went."""
    far = {}
    for old, new in zip(source.layers(), fitted.source.layers(), strict=True):
        pairs = zip(old.module.state_dict().values(), new.module.state_dict().values(), strict=True)
        far[old.name] = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)
    return far


def test_frozen_layers_stay_as_they_are(bert):
    far = moved(bert, Finetune(epochs=1, batch_size=8, freeze=1).fit(problem_of(bert)))
    assert [value == 0 for value in far.values()] == [True, *[False] * (len(far) - 1)]


def test_frozen_batch_norm_keeps_its_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    source = tiny_timm(tmp_path)
    generator = np.random.default_rng(0)
    pictures = [_png(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(8)]
    data = dataset_with(pictures, ["a", "b"] * 4, "category", "image")
    frozen = len(source.layers()) - 1
    fitted = Finetune(epochs=1, batch_size=4, freeze=frozen).fit(problem_of(source, data))
    far = list(moved(source, fitted).values())
    assert far[:frozen] == [0.0] * frozen and far[-1] > 0


def _png(array: np.ndarray) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def test_gradual_unfreezing_opens_one_layer_an_epoch_from_the_output(bert):
    opened = []
    for epochs in (1, 2, 3):
        far = moved(bert, Finetune(epochs=epochs, batch_size=8, gradual=True, patience=9).fit(problem_of(bert)))
        opened.append([value > 0 for value in far.values()])
    layers = len(opened[0])
    assert opened == [[False] * (layers - n) + [True] * n for n in (0, 1, 2)]


def test_the_pull_towards_the_source_keeps_the_weights_nearer(bert):
    def distance(fitted) -> float:
        own = dict(bert.network.named_parameters())
        with torch.no_grad():
            return sum(float((p - own[name]).square().sum()) for name, p in fitted.source.network.named_parameters())

    settings = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3}
    free, held = (distance(Finetune(**settings, l2sp=pull).fit(problem_of(bert))) for pull in (0.0, 10.0))
    assert 0 < held < 0.5 * free


def test_rates_fall_towards_the_input(bert):
    fitted = Finetune(epochs=1, learning_rate=1e-3, layer_decay=0.5, head_rate=4.0).fit(problem_of(bert))
    rates = [row.rate for row in fitted.trained()]
    assert rates == pytest.approx([1e-3 * 0.5**n for n in range(len(rates) - 2, -1, -1)] + [4e-3])
    uniform = Scratch(epochs=1, learning_rate=1e-3).fit(problem_of(bert)).trained()
    assert {row.rate for row in uniform} == {1e-3} and {row.share for row in uniform} == {1.0}


def test_finetuning_with_accumulation_and_averages_learns(bert):
    data = texts(48)
    problem = problem_of(bert, data)
    fitted = Finetune(epochs=6, batch_size=8, accumulate=2, ema=0.5, learning_rate=1e-3).fit(problem)
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"] or fitted.history[-1]["loss"] < 0.05
    targets = problem.task.encode(data.targets())
    assert problem.task.score(fitted.outputs(data.without("target")), targets) > 0.95
