"""``headstart adapt`` where a network is trained: which one, what it tells, what it leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.adapting import reading, verb
from headstart.cli import main
from headstart.errors import UsageError
from headstart.report import html, summary
from tests.conformance.examples import texts, tiny_bert
from tests.methods.test_deep_adaptation import digits

QUICK = {"epochs": 5, "runs": 1, "of": "mcc", "batch_size": 32}


def write(folder, rows, mode="L", size=None):
    """The pictures as files in one folder a class."""
    import io

    for number, (sample, label) in enumerate(zip(rows.samples(), rows.targets())):
        picture = Image.open(io.BytesIO(sample["bytes"] if isinstance(sample, dict) else sample)).convert(mode)
        (folder / label).mkdir(parents=True, exist_ok=True)
        (picture if size is None else picture.resize(size)).save(folder / label / f"{number}.png")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scans", digits(150))
    write(tmp_path / "photos", digits(90, target=True))
    return tmp_path


@pytest.mark.slow
def test_small_grey_pictures_get_a_network_of_their_own(here):
    run = headstart.adapt("scans", "photos", settings=QUICK, out="run", score_labels=True)
    record = run.record
    assert record.source["name"] == "glyph" and record.shipped == "deepadapt"
    names = {each.name: each for each in record.candidates}
    assert list(names) == ["deepadapt", "sourcetuned", "mcc"]
    assert names["sourcetuned"].test == pytest.approx(
        record.metrics["accuracy"] - record.verdict.difference.value, abs=1e-6
    )
    assert names["mcc"].validation is not None and names["mcc"].test is None, (
        "only what ships and its control are scored"
    )
    assert record.verdict.control == "sourcetuned"
    told = record.adaptation
    assert [each["method"] for each in told["compared"]] == ["sourcetuned", "mcc"]
    assert told["chosen"] in ("mcc", "sourcetuned") and told["because"] == record.shipped_because
    assert told["distances"]["a_distance"] >= 0 and set(told["picture"]) == {"before", "after"}
    assert len(told["typical"]["target"]) == 3 and told["oracle"] > 0.5
    page, text = html.render(record), summary.summary(record)
    assert "What the choice went by" in page and "mcc" in page
    assert record.shipped_because in text
    again = headstart.load("run")
    assert np.allclose(again.predict("photos").probabilities, run.predict("photos").probabilities, atol=1e-5)


@pytest.mark.parametrize(("mode", "size", "small"), [("L", None, True), ("L", (64, 64), False), ("RGB", None, True)])
def test_what_counts_as_signs(here, mode, size, small):
    write(here / "others", digits(12, target=True), mode, size)
    two = reading.two(
        "scans", "others", target=None, domain=None, value=None, input=None, roles=None, kinds=None, limit=None
    )
    assert verb.signs(two) == small
    coloured = here / "coloured" / "0"
    coloured.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(coloured / "a.png")
    two = reading.two(
        "scans", "coloured", target=None, domain=None, value=None, input=None, roles=None, kinds=None, limit=None
    )
    assert not verb.signs(two)


def test_a_named_network_method_on_the_command_line(here, capsys):
    words = [
        "adapt",
        "scans",
        "photos",
        "--method",
        "mcc",
        "--epochs",
        "2",
        "--temperature",
        "2",
        "--out",
        "run",
        "--json",
    ]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["shipped"] == "mcc"
    assert [each["name"] for each in record["candidates"]] == ["mcc", "sourcetuned"]
    control = record["candidates"][1]["hyperparameters"]
    assert control["epochs"] == 2, "the control is trained as long"


def test_the_source_may_go_on_learning_from_the_target_rows_first(here, tmp_path):
    """Domain-specific fine-tuning: pretraining on the rows of the target domain, then the labels of the other one."""
    tiny_bert(tmp_path).save(tmp_path / "words")
    labelled, there = texts(40), texts(30)
    run = headstart.adapt(
        labelled, there.without("target"), source=str(tmp_path / "words"), method="pretrain", out="run",
        settings={"objective": "simcse", "epochs": 1},
    )  # fmt: skip
    assert [each.name for each in run.record.candidates] == ["pretrain", "probe"]
    assert run.record.verdict is None, "no labels, no score"
    assert run.record.adaptation["distances"]


def test_methods_that_look_at_no_target_row_are_refused(here):
    with pytest.raises(UsageError, match="finetune does not adapt to another domain"):
        headstart.adapt("scans", "photos", method="finetune", out="run")
    with pytest.raises(UsageError, match="zeroshot does not adapt"):
        headstart.adapt("scans", "photos", method="zeroshot", out="run")
