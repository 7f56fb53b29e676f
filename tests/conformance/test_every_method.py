"""Every method of the catalog passes the public checks on a tiny source; so does the one in CONTRIBUTING.md."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from headstart import catalog
from headstart.errors import MethodError
from headstart.testing import check_method
from tests.conformance.examples import (
    histories,
    images,
    rows_of_people,
    series,
    sounds,
    texts,
    tiny_bert,
    tiny_factors,
    tiny_forecaster,
    tiny_items,
    tiny_people,
    tiny_sequences,
    tiny_torchvision,
    tiny_towers,
    tiny_whisper,
    users,
    waves,
)

QUICK = {
    "epochs": 2,
    "batch_size": 8,
    "trial": 2,
    "folds": 2,
    "members": 2,
    "steps": 6,
    "teacher": "probe",
    "hidden": 0.5,
    "relations": 0.5,
}


def quick(method_class, **more):
    """The method with the settings that keep a test short. more: settings for methods that have a field of the name."""
    names = {field.name for field in fields(method_class)}
    return method_class(**{name: value for name, value in {**QUICK, **more}.items() if name in names})


EXAMPLES = {
    "text": (texts, tiny_bert),
    "image": (images, tiny_torchvision),
    "audio": (sounds, tiny_whisper),
    "series": (waves, series),
    "table": (rows_of_people, tiny_people),
    "windows": (histories, tiny_forecaster),
    "interactions": (users, tiny_items),
    "factors": (users, tiny_factors),
    "sequences": (users, tiny_sequences),
    "towers": (users, tiny_towers),
}
TASKS = {
    "interactions": "recommendation",
    "factors": "recommendation",
    "sequences": "recommendation",
    "towers": "recommendation",
    "windows": "forecasting",
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "text" else pytest.param(kind, marks=pytest.mark.slow) for kind in EXAMPLES]
)
@pytest.mark.parametrize("name", catalog.names("methods"))
def test_method(name, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    rows, source = EXAMPLES[kind]
    encoder = str(tmp_path / "words")  # what methods that read words into images know them by
    tiny_bert(tmp_path).save(tmp_path / "words")
    method = quick(catalog.find("methods", name), encoder=encoder)
    task = catalog.find("tasks", TASKS.get(kind, "classification"))
    further = rows(36).without("target")
    check_method(method, rows(), task, source(tmp_path).settled(rows()), unlabelled=further, domain=further)


@pytest.mark.parametrize("name", catalog.names("methods"))
def test_what_a_method_needs_is_refused_by_name(name):
    """Without source, target and further rows, whatever the method needs is missing; the error says which method. One
    that needs nothing has tasks of its own."""
    method, rows = quick(catalog.find("methods", name)), texts()
    task = catalog.find("tasks", "classification").learn(rows)
    assert method.needs or "classification" not in method.tasks != ()
    with pytest.raises(MethodError, match=f"HS-METHOD-003.*{name}"):
        method.admit(task, None, rows.without("target"))


@pytest.fixture
def centroid():
    """The class of CONTRIBUTING.md, from its text."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?class Centroid.*?)```", text, re.DOTALL)
    assert code is not None
    module = ModuleType("centroid_example")
    sys.modules[module.__name__] = module
    exec(compile(code.group(1), "CONTRIBUTING.md", "exec"), module.__dict__)
    yield module.Centroid
    del sys.modules[module.__name__]


def test_the_method_of_contributing_works(centroid, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    check_method(centroid(), texts(), catalog.find("tasks", "classification"), tiny_bert(tmp_path))


def test_a_method_that_ignores_its_seed_is_refused(centroid, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng()
    honest = centroid.fit

    def restless(self, problem):
        fitted = honest(self, problem)
        fitted.head.bias.data += float(generator.normal())
        fitted.head.bias.data[0] += float(generator.normal())
        return fitted

    monkeypatch.setattr(centroid, "fit", restless)
    with pytest.raises(AssertionError, match="same seed predict differently"):
        check_method(centroid(), texts(), catalog.find("tasks", "classification"), tiny_bert(tmp_path))


def test_a_method_that_goes_on_wrongly_after_a_kill_is_refused(centroid, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    honest = centroid.fit

    def forgetful(self, problem):
        fitted = honest(self, problem)
        if problem.folder is not None:
            if (problem.folder / "begun").exists():
                fitted.head.bias.data[0] += 1
            problem.folder.mkdir(exist_ok=True)
            (problem.folder / "begun").touch()
            for done in range(3):
                problem.report("centroid", done, 3)
        return fitted

    monkeypatch.setattr(centroid, "fit", forgetful)
    with pytest.raises(AssertionError, match="a killed fit that goes on ends differently"):
        check_method(centroid(), texts(), catalog.find("tasks", "classification"), tiny_bert(tmp_path))
