"""Several targets: each as a record of its own in the summary, the card and the report."""

from __future__ import annotations

from headstart.report import card, html, summary, targets

from . import records
from .pages import Page


def test_a_view_shows_one_target():
    record = records.several()
    first, second, third = targets.views(record)
    assert [view.shipped for view in (first, second, third)] == ["multitask", "finetune", "baseline"]
    assert first.task["target"] == "Department Name" and first.metrics == {"accuracy": 0.8}
    assert [each.on for each in second.comparisons] == ["stars"] and second.shipped_by == "test"
    assert targets.views(records.positive()) == []


def test_the_summary_has_a_line_for_each_target_and_its_verdicts():
    lines = summary.rows(records.several())
    shown = [text for label, text in lines if label == "target"]
    assert shown[0] == "Department Name: accuracy 0.800, ships multitask: best on validation"
    assert shown[1].startswith("stars: R² 0.800, ships finetune: harmed")
    text = summary.summary(records.several())
    assert "multitask: positive transfer, +4.0 points [+2.0, +6.0] at 95 % (accuracy, against baseline)" in text
    assert "multitask: better, +2.0 points [+1.0, +3.0] at 95 % (accuracy, against finetune)" in text
    assert "multitask: worse, -5.0 points [-8.0, -1.0] at 95 % (R², against finetune)" in text
    assert "learn Department Name + stars together, " in text
    assert "target" not in dict(summary.rows(records.positive()))


def test_the_table_of_affinity_marks_what_is_certain():
    rows = targets.affinity_rows(records.several().affinity)
    assert [cell["tone"] for cell in rows[0]["cells"]] == ["own", "helps", "none"]
    assert [cell["tone"] for cell in rows[1]["cells"]] == ["none", "own", "none"]
    assert [cell["tone"] for cell in rows[2]["cells"]] == ["harms", "none", "own"]
    assert rows[0]["cells"][1]["text"] == "+40 %" and rows[0]["cells"][1]["error"] == "10"
    assert rows[0]["cells"][2]["text"] == "–"


def test_few_measurements_give_no_advice():
    record = records.several()
    assert targets.together({**record.affinity, "together": []}) == "" and targets.together(None) == ""


def test_the_report_holds_every_target_and_stays_inert():
    page = Page(html.render(records.several()))
    page.check_inert()
    assert page.text.count("Target: ") == 3 and "What the targets do for each other" in page.text
    assert records.HOSTILE in page.text
    assert "What the targets do" not in Page(html.render(records.positive())).text


def test_the_card_names_every_target_and_no_pipeline():
    record = records.several()
    text = card.card(record)
    assert "### Target Department Name" in text and "### Target stars" in text and "<script>" not in text
    assert "for some targets" in text
    found = card.metadata(record)
    assert "pipeline_tag" not in found and found["metrics"] == ["mean_score"]
