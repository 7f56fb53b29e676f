"""The verb from end to end on small synthetic data, with a tiny network of random or shuffled weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import headstart
from headstart import catalog, plan, transfer
from headstart.datasets.read import read
from headstart.errors import HeadstartError, UsageError
from headstart.evidence import splits
from headstart.evidence.learners import LinearLearner
from headstart.methods.auto import Auto
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import infer_task
from tests.conformance.examples import WORDS, tiny_bert

COMMON = {"effort": "quick", "precision": "fp32"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def bert(home) -> Source:
    return tiny_bert(home)


def lines(count: int, seed: int = 0) -> list[list[str]]:
    """Rows of 3 to 9 words, no two the same."""
    generator, found = np.random.default_rng(seed), {}
    while len(found) < count:
        words = tuple(generator.choice(WORDS, size=generator.integers(3, 10)).tolist())
        found.setdefault(words)
    return [list(words) for words in found]


def sentiment(count: int, noise: float = 0.1, seed: int = 0) -> dict[str, list]:
    """Texts whose label the words good, happy, fine against bad, sad, poor tell; a share of labels is wrong."""
    generator, rows = np.random.default_rng([seed, 1]), lines(count, seed)
    score = np.array(
        [sum(w in ("good", "happy", "fine") for w in r) - sum(w in ("bad", "sad", "poor") for w in r) for r in rows]
    )
    labels = np.where(generator.random(count) < noise, score <= 0, score > 0)
    return {"text": [" ".join(row) for row in rows], "label": ["up" if label else "down" for label in labels]}


# --- the test targets ----------------------------------------------------------------------------------------------


def test_the_test_targets_open_once_when_every_model_is_fixed(bert, home, monkeypatch):
    """No method is fitted after the opening, and no rows that a method sees hold a target of the test part."""
    events, sealed, seen = [], [], []
    opening, dividing = splits.Sealed.open, transfer.without_twins

    def spy_open(self, models):
        events.append("open")
        return opening(self, models)

    def spy_split(*args, **rest):
        parts = dividing(*args, **rest)
        sealed.append(parts)
        return parts

    monkeypatch.setattr(splits.Sealed, "open", spy_open)
    monkeypatch.setattr(transfer, "without_twins", spy_split)
    for name in ("probe", "baseline", "scratch"):
        found = catalog.find("methods", name)

        def spy_fit(self, problem, honest=found.fit):
            events.append("fit")
            seen.append(problem)
            return honest(self, problem)

        monkeypatch.setattr(found, "fit", spy_fit)
    small = LinearLearner.fit
    monkeypatch.setattr(LinearLearner, "fit", lambda *given: events.append("fit") or small(*given))
    made = headstart.fit(sentiment(2200), target="label", source=bert, out=home / "run", **COMMON)
    assert made.record.data["procedure"] == "holdout"
    assert events.count("open") == 1 and events[-1] == "open" and events.count("fit") > 12
    (parts,) = sealed
    assert parts.test.target is None and "label" not in parts.test.table.column_names
    test = set(parts.test.numbers)
    assert len(test) > 300
    for problem in seen:
        for rows in (problem.train, *([problem.valid] if problem.valid is not None else [])):
            assert not test & set(rows.numbers)
    assert made.record.verdict is not None and made.record.verdict.rows == len(test)


def test_a_spent_budget_trains_no_network_and_still_gives_a_verdict(bert, home):
    """A network trained for no time is no control; the closed forms are always fitted."""
    made = headstart.fit(
        sentiment(2200), target="label", source=bert, out=home / "run", effort="balanced", budget=0.01,
        precision="fp32",
    )  # fmt: skip
    assert [item.name for item in made.record.candidates] == ["probe", "baseline"]
    assert made.record.verdict is not None and made.record.head_start is not None
    assert "scratch was left out: the budget was spent." in made.record.notes
    assert any("Stopped: finetune would take about" in note for note in made.record.notes)
    assert all(len(scores) >= 3 for scores in made.record.head_start.transfer.scores[:-1])


# --- the same fit again --------------------------------------------------------------------------------------------


class Again(Exception):
    """Says that the fit went on to its contest."""


def test_bad_weights_are_refused_before_the_work(home):
    data = {**sentiment(20), "w": [-1.0, *[1.0] * 19]}
    with pytest.raises(HeadstartError, match=r'HS-DATA-020.*"w", row 1'):
        headstart.fit(data, target="label", roles={"w": "weight"}, input="text", out=home / "run")
    assert not (home / "run").exists() and not (home / ".run.work").exists()


def test_another_weight_is_another_fit(bert):
    def digest(*weights):
        data = headstart.read(
            {**sentiment(40), "w": [*weights, *[1.0] * 38]}, target="label", roles={"w": "weight"}, input="text"
        )
        return transfer.request(data, transfer.infer_task(data, None), bert, [], 0)

    assert digest(1.0, 2.0) == digest(1.0, 2.0) != digest(2.0, 1.0)


@pytest.mark.slow
def test_the_same_fit_again_returns_what_is_there(bert, home, monkeypatch):
    data = sentiment(120)
    settings = {"target": "label", "source": str(home / "bert"), "out": home / "run", "method": "probe", **COMMON}
    first = headstart.fit(data, **settings)
    assert not (home / ".run.work").exists()
    passes = []
    honest = Extractor._run
    monkeypatch.setattr(Extractor, "_run", lambda *args: passes.append(1) or honest(*args))
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "evaluate", lambda *args: pytest.fail("fitted again"))
        again = headstart.fit(data, **settings)
    assert passes == [] and again.record.created == first.record.created
    other = headstart.fit(data, **{**settings, "seed": 1, "control": False})
    assert other.record.seed == 1 and passes == [], "another seed is another fit, on stored features"
    assert json.loads((home / "run" / "run.json").read_text())["seed"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "evaluate", lambda *args, **rest: (_ for _ in ()).throw(Again))
        with pytest.raises(Again):
            headstart.fit(data, **{**settings, "seed": 1, "control": False}, fresh=True)
        assert headstart.fit(data, **{**settings, "seed": 1, "control": False}).record.seed == 1
    changed = {**data, "label": [*data["label"][1:], "up"]}
    assert headstart.fit(changed, **{**settings, "control": False}).record.data["digest"] != first.record.data["digest"]


def test_a_dry_run_plans_and_writes_nothing(bert, home):
    before = sorted(path for path in home.rglob("*") if "home" not in path.parts[len(home.parts) :])
    plan = headstart.fit(
        sentiment(80), target="label", source=bert, method="finetune", settings={"freeze": 1}, out=home / "run",
        dry_run=True, **COMMON,
    )  # fmt: skip
    assert sorted(path for path in home.rglob("*") if "home" not in path.parts[len(home.parts) :]) == before
    shares = [row.share for row in plan.rows]
    assert shares[0] == 0 and set(shares[1:]) == {1.0} and plan.rows[-1].layer == "head"
    assert sum(row.parameters for row in plan.rows) == bert.card.parameters + 2 * 33 or len(plan.rows) > 3
    for words in ("80 rows", "text (input, text)", "label (target, category)", "finetune", "head"):
        assert words in plan.text()
    assert json.loads(json.dumps(plan.to_json()))["methods"] == "finetune"


# --- verdicts ------------------------------------------------------------------------------------------------------


def test_small_data_is_cross_validated(bert, home):
    made = headstart.fit(sentiment(150, 0.0), target="label", source=bert, out=home / "run", **COMMON)
    record = made.record
    assert record.data["procedure"] == "cross-validation" and record.data["splits"]["test"] == 0
    assert record.verdict is not None and record.verdict.procedure == "corrected repeated k-fold"
    assert record.verdict.rows == 150 - len(record.rejects) and record.head_start is not None
    assert np.sum(record.confusion["counts"]) == 150
    assert record.metrics["accuracy"] > 0.8 and {c.role for c in record.candidates} == {"transfer", "control"}
    for words in ("VERDICT", "accuracy"):
        assert words in made.summary()
    assert {"model.json", "report.html", "run.json", "README.md"} <= {path.name for path in (home / "run").iterdir()}


def test_without_a_control_there_is_no_verdict(bert, home):
    made = headstart.fit(
        sentiment(80), target="label", source=bert, method="probe", control=False, out=home / "run", **COMMON
    )
    assert made.record.verdict is None and made.record.head_start is None and made.record.shipped == "probe"
    assert "positive" not in made.summary() and "HEAD START" not in made.summary()


def test_a_table_ships_the_baseline_without_a_verdict(home):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 150))
    data = {"a": a.tolist(), "b": b.tolist(), "y": np.where(a + b > 0, "p", "n").tolist()}
    made = headstart.fit(data, target="y", out=home / "run", **COMMON)
    assert made.record.shipped == "baseline" and made.record.verdict is None and made.record.source == {}
    assert made.record.metrics["accuracy"] > 0.8 and any("no pretrained source" in note for note in made.record.notes)
    assert headstart.load(home / "run").predict({"a": [3.0, -3.0], "b": [3.0, -3.0]}).values == ["p", "n"]


def shuffled(source: Source, seed: int) -> Source:
    """The source with the values of each tensor in another order: its shape and scale, and none of what it knew."""
    from dataclasses import replace

    generator = torch.Generator().manual_seed(seed)
    harmful = source.clone()
    with torch.no_grad():
        for parameter in harmful.network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    harmful.card = replace(harmful.card, name=f"shuffled-{seed}", digest=harmful.digest())
    return harmful


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_harmful_source_is_never_positive(bert, home, seed):
    made = headstart.fit(
        sentiment(200, 0.05, seed), target="label", source=shuffled(bert, seed), method="probe", seed=seed,
        out=home / "run", **COMMON,
    )  # fmt: skip
    assert made.record.verdict is not None and made.record.verdict.label != "positive"
    if made.record.verdict.label == "negative":
        assert made.record.shipped == "baseline"


# --- other tasks ---------------------------------------------------------------------------------------------------


def ends_well(made, home: Path, task: str, metric: str, least: float) -> None:
    record = made.record
    assert record.task["name"] == task and record.task["metric"] == metric
    assert record.verdict is not None and record.head_start is not None
    assert record.verdict.difference.low <= record.verdict.difference.value <= record.verdict.difference.high
    assert record.metrics[metric] > least
    assert "VERDICT" in made.summary() and (home / "run" / "report.html").stat().st_size > 1000


def test_regression(bert, home):
    rows = lines(140)
    worth = [
        float(sum(word in ("good", "happy") for word in row) - len(row) / 5) + 0.01 * n for n, row in enumerate(rows)
    ]
    data = {"text": [" ".join(row) for row in rows], "price": worth}
    made = headstart.fit(data, target="price", source=bert, method="probe", out=home / "run", **COMMON)
    ends_well(made, home, "regression", "r2", 0.3)
    assert made.record.residuals is not None and len(made.record.residuals["truth"]) == 140
    assert np.array_equal(
        headstart.load(home / "run").predict(data["text"][:5]).values, made.predict(data["text"][:5]).values
    )


def test_multilabel(bert, home):
    rows = lines(140)
    labels = [[word for word in ("good", "bad", "happy") if word in row] for row in rows]
    made = headstart.fit(
        {"text": [" ".join(row) for row in rows], "tags": labels}, target="tags", source=bert, method="probe",
        out=home / "run", **COMMON,
    )  # fmt: skip
    ends_well(made, home, "multilabel", made.record.task["metric"], 0.5)
    assert set(made.record.task["classes"]) == {"good", "bad", "happy"}


@pytest.mark.slow
def test_token_labels(bert, home):
    rows = lines(90)
    tags = [["B-X" if word in ("good", "happy", "bad") else "O" for word in row] for row in rows]
    made = headstart.fit(
        {"tokens": rows, "tags": tags}, target="tags", source=bert, method="probe", out=home / "run", **COMMON
    )
    ends_well(made, home, "token_labels", made.record.task["metric"], 0.5)
    assert [len(row) for row in made.predict(rows[:4]).values] == [len(row) for row in rows[:4]]


# --- choices and refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5m", 90), (45, 45), (" 30 ", 30), (0.5, 0.5)]
)
def test_budgets(text, seconds):
    assert plan.budget_seconds(text, "quick") == seconds


@pytest.mark.parametrize("text", ["ten minutes", "-5", "0", "10d", "", "m", "1e9", "nan", "inf"])
def test_a_budget_that_is_none(text):
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*Expected seconds"):
        plan.budget_seconds(text, "quick")


def test_efforts():
    assert plan.budget_seconds(None, "quick") == 120 and plan.budget_seconds(None, "thorough") is None
    with pytest.raises(UsageError, match=r"HS-USAGE-001.*quick, balanced, thorough"):
        plan.budget_seconds("10m", "heroic")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"method": "prob"}, "HS-METHOD-001"),
        ({"method": "probe", "settings": {"fold": 3}}, "HS-METHOD-002"),
        ({"settings": {"folds": 3}}, "HS-METHOD-002"),
        ({"budget": "soon"}, "HS-USAGE-001"),
        ({"source": "minilmm"}, "HS-SOURCE-001"),
        ({"source": "identity"}, "HS-SOURCE-005"),
        ({"target": "lable"}, "HS-DATA-003"),
        ({"task": "regresion"}, "HS-TASK-001"),
    ],
)
def test_refusals_come_before_anything_is_written(bert, home, settings, code):
    call = {"target": "label", "source": bert, "out": home / "run", **COMMON, **settings}
    with pytest.raises(HeadstartError, match=code) as error:
        headstart.fit(sentiment(40), **call)
    assert "\n" not in str(error.value) and not (home / "run").exists() and not (home / ".run.work").exists()


def test_table_methods_that_need_a_source_are_refused(home):
    data = {"a": [1.0, 2.0, 3.0, 4.0] * 10, "y": ["p", "n"] * 20}
    with pytest.raises(HeadstartError, match="HS-METHOD-003"):
        headstart.fit(data, target="y", method="probe", out=home / "run", **COMMON)


def test_the_plan_is_a_search_unless_a_method_is_named(bert):
    dataset = read(sentiment(40), target="label")
    task = infer_task(dataset)
    assert plan.transfers(dataset, task, bert, "auto", "thorough", {}) == [Auto(effort="thorough")]
    assert [method.name for method in plan.transfers(dataset, task, bert, "finetune", "quick", {})] == ["finetune"]
    assert plan.transfers(dataset, task, None, "auto", "quick", {}) == []
    shown = headstart.fit(sentiment(40), target="label", source=bert, dry_run=True, effort="thorough")
    assert shown.facts["methods"].startswith("probe -> ") and "finetune" in shown.facts["methods"]
