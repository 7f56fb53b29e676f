"""The contest for several targets: what ships for each is decided on validation, and the test overrules what harms."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import headstart
from headstart import plan
from headstart.errors import MethodError
from headstart.evidence.entries import Entry
from headstart.evidence.separately import Separately
from headstart.evidence.several import MIXED, Contest, Rival
from headstart.evidence.verdict import BOOTSTRAP, KFOLD
from headstart.methods.base import Fitted, Problem
from headstart.methods.baseline import Baseline
from headstart.methods.bundle import Bundle
from headstart.methods.multitask import Multitask
from headstart.methods.network import NetworkFitted
from headstart.methods.probe import Probe
from headstart.runtime import Extractor
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from headstart.types import Record
from tests.conformance.examples import tiny_bert
from tests.test_transfer import sentiment

ROWS = 400


@dataclass
class Fixed(Fitted):
    """A model whose outputs are given."""

    kind = "tests.fixed"
    task: object
    given: np.ndarray
    method: object
    history = ()

    def outputs(self, dataset):
        return self.given

    def trained(self):
        return []

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder, task, method):
        raise NotImplementedError


class Field:
    """A contest over two targets of two classes each, with rivals of given accuracies."""

    def __init__(self, procedure=BOOTSTRAP) -> None:
        generator = np.random.default_rng(0)
        self.values = list(zip(generator.choice(["a", "b"], ROWS), generator.choice(["x", "y"], ROWS)))
        self.values = [(str(one), str(two)) for one, two in self.values]
        self.rows = dataset_with([f"text {i}" for i in range(ROWS)], self.values, ("category", "category"))
        self.task = infer_task(self.rows)
        self.procedure = procedure
        self.problem = Problem(self.rows, None, self.task, None, None)
        self.rivals: list[Rival] = []

    def add(self, method, validation, accuracy) -> None:
        """A rival that is right on the first ``accuracy`` of the rows of each target."""
        targets = self.task.encode(self.values)
        outputs = np.zeros((ROWS, self.task.width))
        for place, (column, share) in enumerate(zip(self.task.parts, accuracy)):
            truth = targets[:, place].astype(int)
            shown = np.where(np.arange(ROWS) < share * ROWS, truth, 1 - truth)
            outputs[:, self.task.outputs_of[column]] = np.eye(2)[shown]
        entry = Entry(method, Fixed(self.task, outputs, method), float(np.mean(validation)), 1.0, outputs=outputs)
        named = dict(zip(self.task.parts, validation))
        folds = None
        if self.procedure == KFOLD:
            wobble = 0.002 * np.random.default_rng(len(self.rivals)).normal(size=(10, 2))
            folds = np.asarray(accuracy) + wobble
        self.rivals.append(Rival(entry, named, self.task.scores(outputs, targets), folds))

    def outcome(self):
        contest = Contest(self.problem, self.rivals, self.rows, self.values, self.procedure, ROWS / 5, 4 * ROWS / 5)
        return contest.outcome()


@pytest.fixture(params=[BOOTSTRAP, KFOLD])
def field(request):
    return Field(request.param)


def test_each_target_ships_what_was_best_on_validation(field):
    single = Multitask().ablation()
    field.add(single, (0.90, 0.70), (0.90, 0.70))
    field.add(Multitask(), (0.80, 0.85), (0.80, 0.85))
    field.add(Baseline(), (0.60, 0.60), (0.60, 0.60))
    found = field.outcome()
    assert [(each.column, each.shipped) for each in found.by_target] == [
        ("target_1", "finetune"),
        ("target_2", "multitask"),
    ]
    assert [each.shipped_by for each in found.by_target] == ["validation", "validation"]
    against = {each.on: each for each in found.comparisons}
    assert against["target_1"].verdict.label == "negative" and against["target_2"].verdict.label == "positive"
    assert all((each.method, each.against) == ("multitask", "finetune") for each in found.comparisons)
    assert found.shipped.name == MIXED and isinstance(found.shipped.fitted, Bundle)
    outputs = found.shipped.fitted.outputs(field.rows)
    assert field.task.scores(outputs, field.task.encode(field.values)) == {"target_1": 0.90, "target_2": 0.85}
    assert np.array_equal(outputs, found.outputs)
    candidates = {each.name: each.validation for each in found.by_target[1].candidates}
    assert candidates == {"finetune": 0.70, "multitask": 0.85, "baseline": 0.60}


def test_a_negative_verdict_ships_the_single_model_and_says_that_the_test_took_part(field):
    field.add(Multitask().ablation(), (0.80, 0.80), (0.90, 0.80))
    field.add(Multitask(), (0.85, 0.85), (0.70, 0.80))
    field.add(Baseline(), (0.60, 0.60), (0.60, 0.60))
    found = field.outcome()
    first, second = found.by_target
    assert (first.shipped, second.shipped) == ("finetune", "multitask")
    assert "together with the others harmed" in first.because
    overruled = "test" if field.procedure == BOOTSTRAP else "validation"
    assert (first.shipped_by, second.shipped_by, found.shipped_by) == (overruled, "validation", overruled)
    assert ("the test rows took part" in first.because) == (overruled == "test")


def test_a_control_ships_for_the_target_that_the_transfer_harms(field):
    field.add(Multitask().ablation(), (0.80, 0.80), (0.60, 0.90))
    field.add(Multitask(), (0.79, 0.79), (0.60, 0.90))
    field.add(Baseline(), (0.75, 0.60), (0.90, 0.60))
    found = field.outcome()
    assert [each.shipped for each in found.by_target] == ["baseline", "finetune"]
    assert [each.verdict.label for each in found.by_target] == ["negative", "positive"]


def test_no_target_ships_worse_than_its_single_network(field):
    """Also where what won on validation shares nothing."""
    field.add(Multitask().ablation(), (0.80, 0.80), (0.90, 0.80))
    field.add(Multitask(), (0.70, 0.70), (0.70, 0.70))
    field.add(Baseline(), (0.85, 0.85), (0.70, 0.82))
    found = field.outcome()
    assert [each.shipped for each in found.by_target] == ["finetune", "baseline"]
    assert {(each.method, each.on) for each in found.comparisons if each.method == "baseline"} >= {
        ("baseline", "target_2")
    }


def test_heads_on_one_frozen_source_become_one_network(tmp_path, monkeypatch):
    """Heads that read different outputs of it are each what they were by themselves, also after saving."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    rows = dataset_with(sentiment(40)["text"], [("ab"[i % 2], float(i % 7)) for i in range(40)], ("category", "number"))
    source = tiny_bert(tmp_path)
    extractor = Extractor(source, cache=False, precision="fp32")
    problem = Problem(rows, None, infer_task(rows), source, extractor)
    chosen = {"target_1": Probe(layers="pooled,encoder.layer.0"), "target_2": Probe(layers="last")}
    found = Separately(Probe(), chosen).fit(problem)
    assert isinstance(found, NetworkFitted) and found.outputs_used == ("pooled", "encoder.layer.0")
    blind = rows.without("target")
    for column, part in problem.task.parts.items():
        alone = chosen[column].fit(problem.replace(train=rows.aim(column), task=part)).outputs(blind)
        assert np.allclose(problem.task.outputs_for(column, found.outputs(blind)), alone, atol=1e-4)
    again = found.method.refitted(found, problem)
    assert np.allclose(again.outputs(blind), found.outputs(blind), atol=1e-4)
    (tmp_path / "saved").mkdir()
    found.save(tmp_path / "saved")
    loaded = NetworkFitted.load(tmp_path / "saved", problem.task, found.method)
    assert np.allclose(loaded.outputs(blind), found.outputs(blind), atol=1e-4)


def test_one_model_for_all_targets_is_no_mixture(field):
    field.add(Multitask().ablation(), (0.80, 0.80), (0.80, 0.80))
    field.add(Multitask(), (0.85, 0.85), (0.85, 0.85))
    found = field.outcome()
    assert found.shipped.name == "multitask" and found.verdict is None
    assert [entry.name for entry in found.entries] == ["finetune", "multitask"]


# --- from end to end ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A multitask fit of three targets with a given split, and its rows."""
    home = tmp_path_factory.mktemp("several")
    patch = pytest.MonkeyPatch()
    patch.setenv("HEADSTART_HOME", str(home / "home"))
    rows = sentiment(102)
    noise = np.random.default_rng(3).normal(size=102)
    rows["stars"] = [len(text.split()) + float(more) for text, more in zip(rows["text"], noise)]
    rows["article"] = ["yes" if "the" in text.split() else "no" for text in rows["text"]]
    rows["split"] = (["train"] * 3 + ["test"]) * 24 + ["valid"] * 6
    with torch.random.fork_rng(devices=[]):
        result = headstart.fit(
            rows, ["label", "stars", "article"], source=tiny_bert(home), method="multitask", out=home / "run",
            precision="fp32", effort="quick", settings={"epochs": 1, "affinity": 1},
        )  # fmt: skip
    yield result, rows
    patch.undo()


@pytest.mark.slow
def test_the_record_holds_every_target(run):
    result, _ = run
    record = result.record
    assert [each.name for each in record.targets] == ["label", "stars", "article"]
    assert [each.task["name"] for each in record.targets] == ["classification", "regression", "classification"]
    met = {(each.method, each.against, each.on) for each in record.comparisons}
    assert {("multitask", "finetune", name) for name in ("label", "stars", "article")} <= met
    shipped = {each.name: each.shipped for each in record.targets}
    assert all((shipped[name], "finetune", name) in met for name in shipped if shipped[name] != "finetune")
    for each in record.targets:
        assert each.verdict is not None and each.metrics[each.task["metric"]] is not None
        shipped = next(line for line in each.candidates if line.name == each.shipped)
        assert each.metrics[each.task["metric"]] == pytest.approx(shipped.test)
    assert record.affinity["targets"] == ["label", "stars", "article"] and record.affinity["measured"] == 3
    assert record.to_json() == Record.from_json(json.loads(json.dumps(record.to_json()))).to_json()
    assert "--target label --target stars --target article" in record.command
    text = result.summary()
    assert all(f"target      {name}: " in text for name in ("label", "stars", "article"))


def test_the_saved_run_predicts_and_scores_every_target(run):
    result, rows = run
    loaded = headstart.load(result.folder)
    texts = rows["text"][:7]
    predicted = loaded.predict(texts)
    outputs = result.fitted.outputs(result.read(texts))
    assert np.allclose(loaded.fitted.outputs(loaded.read(texts)), outputs, atol=1e-5)
    assert set(predicted.values[0]) == {"label", "stars", "article"}
    assert predicted.parts["label"].probabilities.shape == (7, 2)
    held = {name: values[3::4] for name, values in rows.items()}
    scores = loaded.evaluate(headstart.read(held, target=["label", "stars", "article"]))
    for each in result.record.targets:
        assert scores[f"{each.name}: {each.task['metric']}"] == pytest.approx(
            each.metrics[each.task["metric"]], abs=0.05
        )


def test_predictions_have_columns_for_each_target(run, tmp_path):
    from headstart.export import save_csv

    result, rows = run
    dataset = result.read({"text": rows["text"][:3]})
    save_csv(tmp_path / "out.csv", dataset, result.predict(dataset))
    head = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert head == [
        "text", "prediction_label", "probability_label_down", "probability_label_up", "prediction_stars",
        "prediction_article", "probability_article_no", "probability_article_yes",
    ]  # fmt: skip
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_the_report_has_a_section_for_each_target(run):
    from tests.report.pages import Page

    result, _ = run
    page = Page((result.folder / "report.html").read_text(encoding="utf-8"))
    page.check_inert()
    assert all(f"Target: {name}" in page.text for name in ("label", "stars", "article"))
    assert "What the targets do for each other" in page.text


def test_the_plan_learns_several_targets_together_where_rows_suffice(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    source = tiny_bert(tmp_path)
    many = dataset_with(
        ["w"] * plan.MANY, [("ab"[i % 2], float(i % 9)) for i in range(plan.MANY)], ("category", "number")
    )
    few = many.select(range(50))

    def names(rows, effort):
        return [each.name for each in plan.transfers(rows, infer_task(rows), source, "auto", effort, {})]

    assert names(many, "balanced") == ["probe", "multitask"] and names(many, "quick") == ["probe"]
    assert names(few, "balanced") == ["probe"] and names(few, "thorough") == ["probe", "multitask"]
    with pytest.raises(MethodError, match=r"HS-METHOD-003: prototypes cannot do regression"):
        plan.transfers(few, infer_task(few), source, "prototypes", "balanced", {})
