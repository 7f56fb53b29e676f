import re

import pytest

from headstart.report.summary import html_summary, summary
from headstart.types import Candidate, Interval, Record, Verdict

from . import records
from .pages import Page


def line(record: Record, label: str) -> str:
    found = [text for text in summary(record).splitlines() if text.startswith(f"{label} ")]
    assert len(found) == 1, (label, found)
    return found[0].removeprefix(label).strip()


def test_positive_run_reads_as_the_design_says() -> None:
    lines = summary(records.positive()).splitlines()
    assert lines[0] == "task        classification (6 classes), 6 000 rows, 37 rejected: see rejected.csv"
    assert lines[1] == "source      minilm   method: finetune"
    assert lines[2] == (
        "test        accuracy 0.889  |  best control (TF-IDF + linear) 0.846  |  same net from scratch 0.694"
    )
    assert lines[3].startswith("VERDICT     positive transfer, +4.3 points [+3.3, +5.3] at 95 %")
    assert re.match(r"HEAD START  77 labels .* did the work of 1 600 .*\(21x\)", lines[4])
    assert lines[5] == "saved to    runs/reviews   (model, card, report.html)"
    assert len(lines) == 6


def test_shipped_control_is_said_with_its_reason() -> None:
    text = summary(records.negative())
    assert "negative transfer" in line(records.negative(), "VERDICT")
    assert "R² 0.371  |  best control (TF-IDF + linear) 0.433  |  same net from scratch −0.034" in text
    assert "the test took part in that choice" in line(records.negative(), "ships")
    assert "rejected" not in text


def test_cross_validated_run_shows_validation_scores() -> None:
    assert line(records.neutral(), "cross-val.").startswith("entity F1 0.612  |  best control")
    assert "\ntest " not in summary(records.neutral())
    assert "HEAD START" not in summary(records.neutral())


def test_without_controls_there_is_no_verdict() -> None:
    text = summary(records.no_control())
    assert "VERDICT" not in text and "HEAD START" not in text and "control" not in text
    assert line(records.no_control(), "test") == "accuracy 0.889"


def test_table_without_source() -> None:
    assert line(records.table_without_source(), "source") == "none   method: baseline"
    assert line(records.table_without_source(), "test") == "accuracy 0.868"


def test_scratch_can_be_the_best_control() -> None:
    verdict = Verdict("positive", Interval(0.19, 0.17, 0.21), "scratch", "paired bootstrap", 4000)
    assert "same net from scratch (best control) 0.694" in summary(records.base(verdict=verdict))
    assert "TF-IDF" not in summary(records.base(verdict=verdict))


def test_bound_is_never_written_as_a_number() -> None:
    assert "(>32x)" in line(records.images(), "HEAD START")
    assert "more than the work of 320" in line(records.images(), "HEAD START")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_width_wraps_without_losing_a_word(width: int) -> None:
    text = summary(records.negative(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.split() == summary(records.negative()).split()


def test_text_cannot_steer_the_terminal() -> None:
    record = records.base(name="x", shipped_because="a\x1b[2Jb\nc", shipped="baseline", folder="r\u202eun")
    text = summary(record)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize("name", records.ALL)
def test_notebook_fragment_is_escaped_and_self_contained(name: str) -> None:
    record = records.ALL[name]()
    page = Page(html_summary(record))
    page.check_inert()
    assert record.name in page.text
    if record.verdict is not None:
        assert f"{record.verdict.label} transfer" in page.text


def test_rows_are_called_what_they_are() -> None:
    task = {"name": "recommendation", "target": "next", "metric": "ndcg@10", "classes": [], "description": "x"}
    users = summary(records.base(task=task, head_start=records.positive().head_start))
    assert "6 000 users" in users and "77 users with this source" in users and "labels" not in users
    assert "NDCG@10 0.889" in users
    assert "6 000 windows" in summary(records.base(forecasts=[]))


def test_a_run_without_a_transfer_names_the_control_that_scored_best() -> None:
    found = {"rule": "r", "steps": 9, "flagged": 1, "series": [], "count": 1, "labelled": 1}
    controls = [Candidate(name, "control", name, None, score, 1.0) for name, score in (("a", 0.2), ("b", 0.4))]
    record = records.base(
        anomalies=found, candidates=controls, chosen_transfer=None, shipped="a", verdict=None, head_start=None
    )
    assert line(record, "score") == "accuracy 0.200  |  best control (b) 0.400"
