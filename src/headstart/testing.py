"""Public conformance checks: what every source, task, method and ranker must do, plugins included.

    from headstart.testing import check_method
    def test_mine():
        check_method(Mine(), dataset, source)

Each check raises AssertionError with a sentence that says what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart import engine
from headstart.datasets.base import Column, Dataset
from headstart.errors import HeadstartError, MethodError
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.probe import Probe
from headstart.rankers.base import Kind, Ranker
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.tasks.recommendation import Recommendation
from headstart.types import Sample

SAFE = frozenset({".json", ".safetensors", ".txt", ".md", ".csv", ".html", ".npy", ".parquet"})
"""Endings that a saved folder may hold: formats that run no code when they are read."""


def samples_of(source: Source) -> list[Sample]:
    """Three inputs of the source's modality, of different size."""
    if source.card.modality == "image":
        generator = np.random.default_rng(0)
        return [generator.integers(0, 256, (height, 48, 3), dtype=np.uint8) for height in (32, 48, 64)]
    if source.card.modality == "audio":
        generator = np.random.default_rng(0)
        lengths = ((4_000, 8_000), (16_000, 16_000), (60_000, 11_025))  # numbers, rate; the last over 5 seconds
        return [(0.1 * generator.standard_normal(n).astype(np.float32), rate) for n, rate in lengths]
    if source.card.modality == "series":
        return [np.sin(np.arange(length, dtype=np.float32) / 5)[None] * length for length in (20, 30, 600)]
    if source.card.modality == "interactions":
        known = list(getattr(source, "ids", ()))
        return [{"user": "1", "items": known[:2]}, {"user": "2", "items": [*known[1:5], "unknown"]}, {"items": []}]
    if source.card.modality == "table":
        return [{"a": 1.0, "b": -2.0}, {"a": 0.5, "b": 3.0}, {"a": 0.0, "b": 0.0}]
    return ["short", "a text of a few more words", "one that is clearly longer than the other two, with commas, too"]


# --- sources -----------------------------------------------------------------------------------------------------


def check_source(source: Source, samples: Sequence[Sample] | None = None) -> None:
    """Features, layers, fresh weights and saving of a source."""
    given = list(samples if samples is not None else samples_of(source))
    json.dumps(source.card.to_json())
    with torch.no_grad():
        pooled = source.forward(source.preprocess(given)).pooled
        again = source.forward(source.preprocess(given)).pooled
        alone = source.forward(source.preprocess(given[:1])).pooled
    assert pooled.shape == (len(given), source.card.width), (
        f"pooled is {list(pooled.shape)}; the card promises [{len(given)}, {source.card.width}]"
    )
    assert torch.isfinite(pooled).all(), "the features hold values that are not finite"
    assert torch.equal(pooled, again), "two passes over the same rows differ: is dropout on?"
    assert torch.allclose(pooled[:1], alone, rtol=1e-3, atol=1e-4), "a row's features depend on its batch"
    _check_layers(source, given)
    _check_fresh(source)
    with tempfile.TemporaryDirectory() as folder:
        source.save(Path(folder) / "saved")
        _check_safe(Path(folder))
        loaded = type(source).load(Path(folder) / "saved")
        with torch.no_grad():
            after = loaded.forward(loaded.preprocess(given)).pooled
        assert torch.equal(pooled, after), "features before saving and after loading differ"
        assert loaded.card == source.card, "the card before saving and after loading differs"


def _check_layers(source: Source, samples: list[Sample]) -> None:
    copy = source.clone()
    layers = copy.layers()
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names), f"a layer's name stands twice: {names}"
    held = [id(parameter) for layer in layers for parameter in layer.module.parameters()]
    assert len(set(held)) == len(held), "a parameter belongs to two layers"
    if not list(copy.network.parameters()):
        return
    copy.network.requires_grad_(True)
    copy.forward(copy.preprocess(samples)).pooled.square().sum().backward()  # type: ignore[no-untyped-call]
    used = {name: id(p) for name, p in copy.network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    lost = sorted(name for name, number in used.items() if number not in set(held))
    assert not lost, f"no layer holds the parameters {lost[:5]}"
    with torch.no_grad():
        cuts = source.features(source.preprocess(samples), names).cuts
    assert list(cuts) == names, f"asked for the layers {names}, got {list(cuts)}"
    for name, value in cuts.items():
        assert value.ndim == 2 and len(value) == len(samples), f"layer {name} gives {list(value.shape)}, not [B,D]"


def _check_fresh(source: Source) -> None:
    state = torch.random.get_rng_state()
    first, same, other = (source.untrained(seed).network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state()), "untrained() changes the global random state"
    own = source.network.state_dict()
    assert {name: value.shape for name, value in first.items()} == {name: value.shape for name, value in own.items()}, (
        "untrained() builds another architecture"
    )
    assert all(torch.equal(first[name], same[name]) for name in first), "untrained(1) differs from untrained(1)"
    if own:
        assert any(not torch.equal(first[name], other[name]) for name in first), "untrained(1) equals untrained(2)"
        assert any(not torch.equal(first[name], own[name]) for name in first), "untrained() keeps the source's weights"


def _check_safe(folder: Path) -> None:
    unsafe = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix not in SAFE)
    assert not unsafe, f"saved files in formats that may run code when they are read: {unsafe}"


# --- tasks -------------------------------------------------------------------------------------------------------


def check_task(task_class: type[Task], values: Sequence[Any], kind: str | Sequence[str]) -> None:
    """Learning, encoding, metric, decoding, loss and JSON of a task on N target values of a column kind.

    A task of several columns: their kinds, and tuples of values.
    """
    if isinstance(kind, str):
        column = Column("target", "target", kind)  # type: ignore[arg-type]
        assert task_class.matches(column, values), f"{task_class.name} does not match a column of the kind {kind}"
    task = task_class.learn(dataset_with(["x"] * len(values), values, kind))
    back = task_class.from_json(json.loads(json.dumps(task.to_json())))
    assert back.to_json() == task.to_json(), "to_json, from_json, to_json is not the same"
    assert task.to_json()["name"] == task_class.name, "the JSON lacks the task's name"
    targets = task.encode(values)
    assert len(targets) == len(values), "encode changes the number of rows"
    outputs = _random_outputs(task, targets)
    _check_metric(task, outputs, targets)
    prediction = task.decode(outputs)
    assert len(prediction) == len(values), "decode changes the number of rows"
    assert list(prediction.classes) == list(task.classes), "the prediction's classes are not the task's"
    if prediction.probabilities is not None:
        shares = np.asarray(prediction.probabilities)
        assert shares.shape == (len(values), task.width), f"probabilities are {shares.shape}"
        assert ((shares >= 0) & (shares <= 1 + 1e-6)).all(), "probabilities leave 0..1"
    _check_training(task, outputs, targets)


def _random_outputs(task: Task, targets: Any) -> Any:
    generator = np.random.default_rng(0)
    if task.needs == "tokens":
        return [generator.normal(size=(len(target), task.width)).astype(np.float32) for target in targets]
    scores = generator.normal(size=(len(targets), task.width)).astype(np.float32)
    return task.best(scores) if isinstance(task, Recommendation) else scores


def _check_metric(task: Task, outputs: Any, targets: Any) -> None:
    statistics = task.statistics(outputs, targets)
    assert statistics.ndim == 2 and len(statistics) == len(targets), f"statistics are {statistics.shape}, not [N,S]"
    score = task.score(outputs, targets)
    metrics = task.metrics(outputs, targets)
    assert next(iter(metrics)) == task.metric, f"metrics begin with {next(iter(metrics))}, not with {task.metric}"
    assert abs(metrics[task.metric] - score) < 1e-6, f"metrics say {metrics[task.metric]}, score says {score}"
    sums = np.stack([statistics.sum(axis=0), statistics[::-1].sum(axis=0)])
    both = np.asarray(task.combine(sums))
    assert both.shape == (2,) and np.allclose(both, score), "combine is not vectorised over leading axes"


def _check_training(task: Task, outputs: Any, targets: Any) -> None:
    generator = np.random.default_rng(1)
    if task.needs == "tokens":
        longest = max(len(target) for target in targets)
        logits = torch.randn(len(targets), longest, task.width, requires_grad=True)
        batch, flat = task.collate(targets, longest), np.concatenate(targets)
    else:
        logits = torch.randn(len(targets), task.width, requires_grad=True)
        batch, flat = task.collate(targets), targets
    losses = task.loss(logits, batch)
    assert "loss" in losses and losses["loss"].ndim == 0, "loss() must return a scalar under the key loss"
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and torch.isfinite(logits.grad).all(), "the gradient of the loss is not finite"
    X = generator.normal(size=(len(flat), 4)).astype(np.float32)
    weight, bias = task.linear(X, flat, 1.0)
    assert weight.shape == (task.width, 4) and bias.shape == (task.width,), "linear returns W [C,D] and b [C]"
    assert np.isfinite(weight).all() and np.isfinite(bias).all(), "linear gives values that are not finite"


def dataset_with(
    inputs: Sequence[Any], targets: Sequence[Any], kind: str | Sequence[str], input_kind: str = "text"
) -> Dataset:
    """A dataset of the columns ``input`` and ``target`` from values in memory; of several kinds ``target_1`` and on."""
    import datasets

    if isinstance(kind, str):
        named = {"target": (list(targets), kind)}
    else:
        columns_of = zip(zip(*targets), kind, strict=True)
        named = {f"target_{place}": (list(column), each) for place, (column, each) in enumerate(columns_of, start=1)}
    table = datasets.Dataset.from_dict({"input": list(inputs), **{name: column for name, (column, _) in named.items()}})
    columns = [Column("input", "input", input_kind)]  # type: ignore[arg-type]
    columns += [Column(name, "target", each) for name, (_, each) in named.items()]  # type: ignore[arg-type]
    return Dataset(table, columns, origin="memory")


# --- methods -----------------------------------------------------------------------------------------------------


def check_method(
    method: Method,
    dataset: Dataset,
    task_class: type[Task],
    source: Source | None,
    unlabelled: Dataset | None = None,
    domain: Dataset | None = None,
) -> None:
    """Fitting, determinism, saving, loading and resuming of a method on a small labelled dataset.

    A method that cannot do this has to refuse by name; then nothing else is checked. unlabelled: further rows, for
    methods that use them. domain: rows of another domain, for methods that adapt to one. A method that goes on from a
    model gets a probe of the labelled rows, and of these nothing else.
    """
    further: dict[str, Any] = {"unlabelled": unlabelled, "domain": domain}
    if "model" in method.needs and source is not None and task_class.needs != "items":
        further["model"] = _fit(Probe(), dataset, task_class, source)
    assert json.loads(json.dumps(method.hyperparameters())) is not None
    try:
        method.admit(task_class.learn(dataset), source, dataset, [need for need, rows in further.items() if rows])  # type: ignore[misc]
    except MethodError as error:
        assert method.name in str(error), f"the refusal does not name {method.name}: {error}"
        return
    before = {} if source is None else {name: value.clone() for name, value in source.network.state_dict().items()}
    fitted = _fit(method, dataset, task_class, source, **further)
    blind = dataset.without("target")
    outputs = fitted.outputs(blind)
    assert len(fitted.predict(blind)) == len(dataset), "predict changes the number of rows"
    if source is not None:
        after = source.network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), "fit changes the weights of the source"
    for row in fitted.trained():
        assert 0.0 <= row.share <= 1.0 and row.parameters >= 0, f"the table of what trained has the line {row}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved"
        place.mkdir()
        fitted.save(place)
        _check_safe(place)
        loaded = type(fitted).load(place, fitted.task, method)
        assert _equal(outputs, loaded.outputs(blind)), "outputs before saving and after loading differ"
        assert loaded.trained() == fitted.trained(), "the table of what trained is another one after loading"
        again, killed = _fitted_again(method, dataset, task_class, source, further, Path(folder) / "work")
        if not _equal(outputs, again.outputs(blind)):
            unbroken = _fit(method, dataset, task_class, source, **further).outputs(blind) if killed else None
            if unbroken is not None and _equal(outputs, unbroken):
                raise AssertionError("a killed fit that goes on ends differently")
            raise AssertionError("two fits with the same seed predict differently")


def _fit(
    method: Method,
    dataset: Dataset,
    task_class: type[Task],
    source: Source | None,
    **more: Any,
) -> Fitted:
    """A fit on two thirds of the rows, with every third row for validation; or from a model, without any of them."""
    rows, model = range(len(dataset)), more.get("model")
    train: Dataset = dataset.select([r for r in rows if r % 3])
    valid: Dataset | None = dataset.select([r for r in rows if r % 3 == 0])
    task = task_class.learn(train)
    if model is not None:
        train, valid, task = more["domain"], None, model.task
    extractor = None if source is None else Extractor(source, cache=False, precision="fp32")
    options = {"precision": "fp32"}
    return method.fit(
        Problem(
            train,
            valid,
            task,
            source,
            extractor,
            seed=3,
            options=options,
            **more,
        )
    )


class _Killed(BaseException):
    pass


def _fitted_again(
    method: Method,
    dataset: Dataset,
    task_class: type[Task],
    source: Source | None,
    further: dict[str, Any],
    folder: Path,
) -> tuple[Fitted, bool]:
    """Another fit, killed while it reports progress and started once more; and whether it was, or ended before."""
    calls = 0

    def kill(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise _Killed

    interval, engine.CHECKPOINT_SECONDS = engine.CHECKPOINT_SECONDS, 0.0
    try:
        with contextlib.suppress(_Killed):
            return _fit(method, dataset, task_class, source, folder=folder, report=kill, **further), False
        return _fit(method, dataset, task_class, source, folder=folder, **further), True
    finally:
        engine.CHECKPOINT_SECONDS = interval


def _equal(one: Any, other: Any) -> bool:
    """Whether two outputs agree to rounding: caches and batches may add in another order."""
    if isinstance(one, list):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other))
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-5))


# --- rankers -----------------------------------------------------------------------------------------------------

KINDS: tuple[Kind, ...] = ("classes", "labels", "values")


def ranking_example(ranker: Ranker, kind: Kind, rows: int = 120, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features [N,D] (or probabilities, where the ranker needs them) and targets of a kind that they tell well."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(rows, width))
    if kind == "values":
        targets = features[:, :4] @ generator.normal(size=(4, 2)) + 0.05 * generator.normal(size=(rows, 2))
        features[:, :4] *= 5
    elif kind == "labels":
        targets = (generator.random((rows, 3)) < 0.4).astype(np.float64)
        features[:, :3] += 6 * targets
    else:
        targets = generator.permutation(np.arange(rows) % 3)
        features[np.arange(rows), targets] += 6
    if ranker.needs == "probabilities":
        features = np.exp(features - features.max(axis=1, keepdims=True))
        features /= features.sum(axis=1, keepdims=True)
    return features, targets


def check_ranker(ranker: Ranker) -> None:
    """Whether a score is finite, repeatable, blind to what must not matter, and high where features tell the target."""
    assert ranker.reads and ranker.reads <= set(KINDS), f"{ranker.name} reads {set(ranker.reads)}, not some of {KINDS}"
    for kind in KINDS:
        features, targets = ranking_example(ranker, kind)
        if kind not in ranker.reads:
            _refused(ranker, features, targets, f"targets of the kind {kind}")
            continue
        _check_score(ranker, features, targets)
        _check_score(ranker, *ranking_example(ranker, kind, rows=40, width=90))
        flat = np.full_like(features, 1 / features.shape[1])
        assert np.isfinite(ranker.score(flat, targets)), f"{ranker.name} has no finite score for constant features"
        for value in (np.nan, np.inf):
            broken = features.copy()
            broken[5, 2] = value
            _refused(ranker, broken, targets, f"features with {value}")
        _refused(ranker, features[1:], targets, "one row less than targets")
        _refused(ranker, features, targets[:1].repeat(len(targets), axis=0), "targets that are all the same")
    if "classes" in ranker.reads:
        _check_classes(ranker)
        if ranker.grouped:
            _check_groups(ranker)


def _check_score(ranker: Ranker, features: np.ndarray, targets: np.ndarray) -> None:
    generator = np.random.default_rng(1)
    shape, before = f"{ranker.name} on {list(features.shape)}", (features.copy(), targets.copy())
    score = ranker.score(features, targets)
    assert isinstance(score, float) and np.isfinite(score), f"{shape}: the score is {score!r}, not a finite float"
    assert np.array_equal(before[0], features) and np.array_equal(before[1], targets), f"{shape}: it changes its input"
    assert ranker.score(features, targets) == score, f"{shape}: two calls on the same rows differ"
    order = generator.permutation(len(targets))
    assert _same(ranker.score(features[order], targets[order]), score), f"{shape}: the order of the rows matters"
    for _ in range(3):
        other = ranker.score(features, targets[generator.permutation(len(targets))])
        assert score > other, f"{shape}: shuffled targets score {other}, the true ones {score}"


def _check_classes(ranker: Ranker) -> None:
    features, targets = ranking_example(ranker, "classes")
    score = ranker.score(features, targets)
    for names in ([2, 0, 1], [0, 1, 5]):
        other = ranker.score(features, np.asarray(names)[targets])
        assert _same(other, score), f"{ranker.name}: the classes named {names} score {other}, named 0, 1, 2 {score}"
    for rest in (1, 2, 20):
        kept = np.sort(np.concatenate([np.flatnonzero(targets != 1), np.flatnonzero(targets == 1)[:rest]]))
        part = ranker.score(features[kept], targets[kept])
        assert np.isfinite(part), f"{ranker.name} has no finite score where a class has {rest} rows"


def _check_groups(ranker: Ranker) -> None:
    """Rows of a group are alike and of one class, which nothing else tells: only leaving out whole groups shows it."""
    generator = np.random.default_rng(2)
    group = np.repeat(np.arange(20), 6)
    features = generator.normal(size=(20, 8))[group] + 0.01 * generator.normal(size=(120, 8))
    targets = (generator.permutation(20) % 2)[group]
    alone, apart = ranker.score(features, targets), ranker.score(features, targets, group)
    assert apart < alone, (
        f"{ranker.name} says that it leaves out whole groups, but scores {apart} with and {alone} without"
    )


def _refused(ranker: Ranker, features: np.ndarray, targets: np.ndarray, what: str) -> None:
    try:
        score = ranker.score(features, targets)
    except HeadstartError as error:
        assert ranker.name in str(error), f"the error for {what} does not name {ranker.name}: {error}"
    else:
        raise AssertionError(f"{ranker.name} scores {what} ({score}); it must raise a HeadstartError")


def _same(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-6, atol=1e-9))
