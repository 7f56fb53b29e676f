"""Distilling: the losses against their formulas, what a student learns from unlabelled rows, teachers of every kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, DataError, MethodError
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.distill import Distill, Learning, rkd_angle, rkd_distance, soft_loss, translation
from headstart.methods.student import Draw, Student, StudentFitted
from headstart.nn.students import Shape, WordReader
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.testing import dataset_with
from headstart.types import Batch
from tests.conformance.examples import images, texts
from tests.report import records

TASK = Classification(["a", "b", "c"])


def table(rows: int, seed: int, targets: bool = True) -> Dataset:
    """Two numbers a row and the sum of them, about."""
    import datasets

    X = np.random.default_rng(seed).normal(size=(rows, 2))
    values = {"x": X[:, 0].tolist(), "y": X[:, 1].tolist(), "z": (2 * X[:, 0] - X[:, 1] + 0.5).tolist()}
    columns = [Column("x", "input", "number"), Column("y", "input", "number"), Column("z", "target", "number")]
    found = Dataset(datasets.Dataset.from_dict(values), columns, origin="memory")
    return found if targets else found.without("target")


# --- the losses ------------------------------------------------------------------------------------------------


def test_hinton_loss_in_closed_form_with_the_factor_of_the_temperature():
    """T² sum p log(p / q), p and q the softened teacher and student (Hinton et al. 2015, section 2), by hand."""
    student, teacher, T = [0.3, -1.2, 2.0], [1.5, 0.2, -0.7], 3.0
    p, q = ([math.exp(v / T) for v in row] for row in (teacher, student))
    p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
    expected = T**2 * sum(a * math.log(a / b) for a, b in zip(p, q))
    found = soft_loss(TASK, torch.tensor([student]), torch.tensor([teacher]), T)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_does_not_shrink_with_the_temperature():
    """For large T it is the difference of centred logits over C (Hinton et al. 2015, equation 4, times T²)."""
    output = torch.tensor([[0.3, -1.2, 2.0]], requires_grad=True)
    teacher = torch.tensor([[1.5, 0.2, -0.7]])
    soft_loss(TASK, output, teacher, 1000.0).backward()
    centred = (output - output.mean()) - (teacher - teacher.mean())
    assert torch.allclose(output.grad, centred.detach() / 3, atol=2e-3)


@pytest.mark.parametrize("task", [TASK, Multilabel(["a", "b", "c"]), Regression(0.0, 1.0)])
def test_a_student_that_says_the_same_has_no_loss_and_no_gradient(task):
    given = torch.randn(5, task.width)
    output = given.clone().requires_grad_()
    loss = soft_loss(task, output, given, 2.0)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-6 and float(output.grad.abs().max()) < 1e-6


def test_weights_count_rows():
    output, given = torch.randn(4, 3), torch.randn(4, 3)
    each = torch.stack([soft_loss(TASK, output[i : i + 1], given[i : i + 1], 2.0) for i in range(4)])
    weight = torch.tensor([0.0, 1.0, 2.0, 1.0])
    assert float(soft_loss(TASK, output, given, 2.0, weight)) == pytest.approx(float((each * weight).mean()), rel=1e-5)


def test_relations_against_a_direct_loop():
    """Park et al. 2019, equations 4 to 8, pair by pair and triple by triple."""
    generator = torch.Generator().manual_seed(0)
    S, T = torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)

    def huber(a: float, b: float) -> float:
        return 0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5

    def distances(X: torch.Tensor) -> list[list[float]]:
        found = [[float((a - b).norm()) for b in X] for a in X]
        mean = sum(v for row in found for v in row) / (len(X) * (len(X) - 1))
        return [[v / mean for v in row] for row in found]

    def cosine(X: torch.Tensor, i: int, j: int, k: int) -> float:
        a, b = X[i] - X[j], X[k] - X[j]
        return float(a @ b / (a.norm() * b.norm())) if i != j and k != j else 0.0

    mine, theirs = distances(S), distances(T)
    pairs = [huber(mine[i][j], theirs[i][j]) for i in range(5) for j in range(5)]
    assert float(rkd_distance(S, T)) == pytest.approx(sum(pairs) / 25, rel=1e-4)
    places = [(i, j, k) for i in range(5) for j in range(5) for k in range(5)]
    triples = [huber(cosine(S, *place), cosine(T, *place)) for place in places]
    assert float(rkd_angle(S, T)) == pytest.approx(sum(triples) / 125, rel=1e-4)


def test_relations_do_not_see_rotation_shift_or_scale_and_survive_equal_rows():
    X = torch.randn(6, 3)
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    moved = 5 * X @ turn + 2
    assert float(rkd_distance(moved, X)) < 1e-9 and float(rkd_angle(moved, X)) < 1e-9
    same = torch.ones(4, 3, requires_grad=True)
    (rkd_distance(same, X[:4]) + rkd_angle(same, X[:4])).backward()
    assert torch.isfinite(same.grad).all()


def batch_of(reader: WordReader, dataset: Dataset, width: int) -> Batch:
    inputs = reader.encode(dataset).batch(np.arange(len(dataset)), False)
    inputs |= {"teacher": torch.randn(len(dataset), 2), "labelled": torch.ones(len(dataset))}
    inputs |= {"taught": torch.randn(len(dataset), width)}
    return Batch(inputs)


def test_feature_matching_trains_the_projection_and_relations_train_the_body():
    rows = texts(8)
    reader = WordReader.fit([rows])
    network = Shape("lstm", 4, 0, 0.0).network(reader, 2)
    learning, task = Learning(network, 6), Classification(["no", "yes"])
    batch, target = batch_of(reader, rows, 6), task.collate(task.encode(rows.targets()))
    losses = Distill(hidden=1.0).loss(learning, batch, target, task)
    losses["loss"].backward()
    assert float(learning.projection.weight.grad.abs().max()) > 0
    with torch.no_grad():
        direct = (learning.projection(network.features(batch)) - batch.inputs["taught"]).square().mean()
    assert float(losses["hint"]) == pytest.approx(float(direct), rel=1e-5)
    learning.zero_grad()
    relate = Distill(relations=1.0, alpha=0.0).loss(learning, batch, target, task)
    (relate["loss"] - soft_loss(task, learning(batch), batch.inputs["teacher"], 2.0)).backward()
    assert float(network.body.embedding.weight.grad.abs().max()) > 1e-6
    with torch.no_grad():
        plain, related = (Distill(relations=r).loss(learning, batch, target, task)["loss"] for r in (0.0, 2.0))
        expected = rkd_distance(network.features(batch), batch.inputs["taught"])
        expected = expected + 2 * rkd_angle(network.features(batch), batch.inputs["taught"])
    assert float(related - plain) == pytest.approx(2 * float(expected), rel=1e-3)


def test_labelled_rows_mix_both_losses_and_others_hear_the_teacher_alone():
    rows = texts(8)
    reader = WordReader.fit([rows])
    learning, task = Learning(Shape("lstm", 4, 0, 0.0).network(reader, 2), 0), Classification(["no", "yes"])
    batch, target = batch_of(reader, rows, 1), task.collate(task.encode(rows.targets()))
    method = Distill(alpha=0.25)
    output = learning(batch).detach()
    soft, hard = soft_loss(task, output, batch.inputs["teacher"], 2.0), task.loss(output, target)["loss"]
    assert float(method.loss(learning, batch, target, task)["loss"].detach()) == pytest.approx(
        (0.75 * soft + 0.25 * hard).item(), rel=1e-5
    )
    batch.inputs["labelled"] = torch.zeros(8)
    assert float(method.loss(learning, batch, target, task)["loss"].detach()) == pytest.approx(float(soft), rel=1e-5)


# --- what is learned -------------------------------------------------------------------------------------------


class Spoken:
    """A teacher whose rule is known: 2x - y + 0.5 of standardised values, whatever the labels say."""

    name, notes = "rule", []

    def __init__(self, task: Regression) -> None:
        self.task = task

    def outputs(self, dataset: Dataset) -> np.ndarray:
        X = np.column_stack([dataset.values("x"), dataset.values("y")])
        return ((X @ [2.0, -1.0] + 0.5 - self.task.mean) / self.task.scale)[:, None]

    def features(self, parts):
        return None


def test_a_student_recovers_a_linear_teacher_from_unlabelled_rows_alone(monkeypatch):
    """The labels are noise and count nothing (alpha 0); two labelled rows, 200 unlabelled ones."""
    train = table(2, 0)
    task = Regression(0.5, math.sqrt(5))
    monkeypatch.setattr(Distill, "find_teacher", lambda self, problem: Spoken(task))
    method = Distill(architecture="linear", alpha=0.0, steps=100, learning_rate=0.1, weight_decay=0.0)
    fitted = method.fit(Problem(train, None, task, None, None, unlabelled=table(200, 1, targets=False)))
    fresh = table(100, 2)
    assert task.score(fitted.outputs(fresh.without("target")), task.encode(fresh.targets())) > 0.99
    alone = Student(architecture="linear", steps=20, learning_rate=0.1, weight_decay=0.0)
    rest = alone.fit(Problem(train, None, task, None, None))
    assert task.score(rest.outputs(fresh.without("target")), task.encode(fresh.targets())) < 0.9
    assert fitted.history[-1]["rows"] == 202 and fitted.history[-1]["labelled"] == 2


@pytest.mark.slow
def test_boosted_trees_teach_a_linear_model_of_a_table():
    train = table(60, 0)
    task = Regression.learn(train)
    method = Distill(architecture="linear", teacher="baseline", steps=40, batch_size=16)
    problem = Problem(train, None, task, None, None, unlabelled=table(60, 1, targets=False))
    fitted = method.fit(problem)
    assert isinstance(method.find_teacher(problem).fitted, type(Baseline().fit(problem)))
    assert fitted.history[-1]["teacher"] == "baseline"
    assert fitted.outputs(table(5, 3, targets=False)).shape == (5, 1)
    assert not any("source" in name or "teacher" in name for name in vars(fitted)), "a student needs no teacher"


def test_the_ablation_is_the_same_student_without_a_teacher():
    method = Distill(architecture="linear", width=17, steps=33, learning_rate=0.01, temperature=4.0, teacher="probe")
    other = method.ablation()
    assert isinstance(other, Student) and other.name == "student" and other.role == "control"
    shared = other.hyperparameters()
    assert {name: method.hyperparameters()[name] for name in shared} == shared


def test_the_better_of_probe_and_finetune_teaches(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    from headstart.runtime import Extractor
    from tests.conformance.examples import tiny_bert

    rows, source = texts(), tiny_bert(tmp_path)
    task = Classification.learn(rows)
    extractor = Extractor(source, cache=False, precision="fp32")
    said: dict[str, float] = {"probe": 0.0, "finetune": 0.0}

    class Named:
        def __init__(self, name: str) -> None:
            self.method = catalog.find("methods", name)()

        def outputs(self, dataset: Dataset) -> np.ndarray:
            right = np.eye(2)[task.encode(rows.targets())]
            return right if said[self.method.name] else 1 - right

    monkeypatch.setattr(Distill, "_fitted", lambda self, name, problem, share=0.5: Named(name))
    for best in said:
        said.update(dict.fromkeys(said, 0.0) | {best: 1.0})
        assert Distill().find_teacher(Problem(rows, rows, task, source, extractor)).name == best
    assert Distill().find_teacher(Problem(rows, None, task, source, extractor)).name == "probe"


# --- teachers from a folder ------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A saved run of the baseline on the short texts."""
    from headstart import artefact

    rows = texts(60)
    fitted = Baseline(strength=1.0).fit(Problem(rows, None, Classification.learn(rows), None, None))
    artefact.save(artefact.Artefact(fitted, records.positive(), rows.columns, tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.slow
def test_a_saved_run_teaches_and_is_not_needed_to_predict(run, tmp_path):
    import shutil

    rows = texts(30)
    task = Classification.learn(rows)
    method = Distill(teacher=str(run), steps=30, width=16)
    method.admit(task, None, rows)
    problem = Problem(rows, None, task, None, None, unlabelled=texts(60).without("target"))
    fitted = method.fit(problem)
    assert any("did not see the test rows" in note for note in problem.notes)
    place = tmp_path / "saved"
    place.mkdir()
    fitted.save(place)
    shutil.rmtree(run)
    again = StudentFitted.load(place, task, method)
    assert np.array_equal(again.outputs(rows.without("target")), fitted.outputs(rows.without("target")))
    assert task.score(again.outputs(rows.without("target")), task.encode(rows.targets())) > 0.9


def test_a_teacher_that_does_not_fit_is_refused_by_name(run):
    rows = texts(30)
    task = Classification.learn(rows)
    with pytest.raises(ArtefactError, match=r"HS-ARTEFACT-001.*nowhere"):
        Distill(teacher="nowhere").admit(task, None, rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*distill.*classification.*regression"):
        Distill(teacher=str(run)).admit(Regression(0.0, 1.0), None, rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*distill.*does not know the class 'perhaps'"):
        Distill(teacher=str(run)).admit(Classification(["no", "perhaps"]), None, rows)
    with pytest.raises(DataError, match=r"HS-DATA-015.*input"):
        other = dataset_with(["x"], ["a"], "category")
        Distill(teacher=str(run)).admit(task, None, Dataset(other.table.rename_column("input", "words"), [
            Column("words", "input", "text"), Column("target", "target", "category")]))  # fmt: skip


def test_outputs_are_translated_to_the_classes_and_the_scale_of_the_student():
    given, wanted = Classification(["a", "b", "c"]), Classification(["a", "c"])
    assert translation(given, wanted, "t")(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 3.0]]
    own, other = Regression(10.0, 2.0), Regression(4.0, 4.0)
    standard = np.array([[1.5]])
    assert other.decode(translation(own, other, "t")(standard)).values == pytest.approx(own.decode(standard).values)
    numbers = Classification([0, 1])
    with pytest.raises(MethodError, match="does not know the class '0'"):
        translation(numbers, Classification(["0", "1"]), "t")


# --- the student -----------------------------------------------------------------------------------------------


def test_what_a_student_cannot_read_is_refused_by_name():
    task = Classification(["no", "yes"])
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*student.*cnn.*text"):
        Student(architecture="cnn").admit(task, None, texts())
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*distill.*lstm.*image"):
        Distill(architecture="lstm", teacher="baseline").admit(task, None, images())
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*distill needs a teacher"):
        Distill().admit(task, None, texts())
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*token_labels"):
        Distill(teacher="baseline").admit(catalog.find("tasks", "token_labels")(["O", "B-X"]), None, texts())


@pytest.mark.slow
@pytest.mark.parametrize("rows", [texts, images])
def test_a_student_learns_what_separates_the_classes(rows):
    train, fresh = rows(40), rows(64)
    task = Classification.learn(train)
    fitted = Student(steps=60, batch_size=16, width=16, dropout=0.0).fit(Problem(train, None, task, None, None))
    part = fresh.select(range(40, 64))
    assert task.score(fitted.outputs(part.without("target")), task.encode(part.targets())) > 0.9
    assert sum(row.parameters for row in fitted.trained()) == sum(p.numel() for p in fitted.pupil.network.parameters())


def test_padding_and_company_do_not_change_what_a_text_gives():
    reader = WordReader(["good", "bad"])
    network = Shape("lstm", 4, 0, 0.5).network(reader, 2).eval()
    data = dataset_with(["good", "bad words of several kinds", ""], ["a", "b", "a"], "category")
    encoded = reader.encode(data)
    with torch.no_grad():
        together = network(Batch(encoded.batch(np.arange(3), False)))
        each = torch.cat([network(Batch(encoded.batch(np.array([i]), False))) for i in range(3)])
    assert torch.allclose(together, each, atol=1e-6)


def test_every_row_comes_once_before_any_comes_again():
    draw = Draw(np.arange(10), 4, seed=0)
    for cycle in range(3):
        rows = np.concatenate([draw(number) for number in range(3 * cycle, 3 * cycle + 3)])
        assert sorted(rows.tolist()) == list(range(10))
    again = Draw(np.arange(10), 4, seed=0)
    assert all(np.array_equal(draw(number), again(number)) for number in range(6))


def test_a_damaged_student_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    rows = texts()
    task = Classification.learn(rows)
    method = Student(architecture="linear", steps=2)
    method.fit(Problem(rows, None, task, None, None)).save(tmp_path)
    tensors = load_file(tmp_path / "student.safetensors")
    for name in ("network.body.bias", "reader.idf0"):
        save_file({key: value for key, value in tensors.items() if key != name}, tmp_path / "student.safetensors")
        with pytest.raises(ArtefactError, match=r"HS-ARTEFACT-003"):
            StudentFitted.load(tmp_path, task, method)
