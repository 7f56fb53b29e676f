import errno
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.errors import EnvironmentProblem
from headstart.report import html
from headstart.types import Interval, Record, Verdict

from . import records
from .pages import Page


@pytest.mark.parametrize("name", records.ALL)
def test_page_is_inert_and_whole(name: str) -> None:
    page = Page(html.render(records.ALL[name]()))
    page.check_inert()
    policies = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert page.tags[0][0] == "html"
    for heading in ("Candidates", "Most confident mistakes", "Data", "Source", "To reproduce", "Rejected rows"):
        assert heading in page.text


@pytest.mark.parametrize("name", records.ALL)
def test_page_shows_what_the_record_holds(name: str) -> None:
    record = records.ALL[name]()
    text = " ".join(Page(html.render(record)).text.replace("\x00", "\ufffd").split())
    expected = [record.command, record.shipped_because, record.created, *record.notes]
    expected += [candidate.description for candidate in record.candidates]
    expected += [mistake.text for mistake in record.mistakes] + [mistake.prediction for mistake in record.mistakes]
    expected += [column["name"] for column in record.data["columns"]]
    expected += [str(reject["reason"]) for reject in record.rejects[: html.MOST_REJECTS]]
    expected += [*record.versions, *record.seconds, *record.machine]
    expected += ["No verdict"] if record.verdict is None else [f"{record.verdict.label.capitalize()} transfer"]
    for each in expected:
        assert " ".join(each.split()) in text, each


def test_hostile_text_is_shown_and_not_run() -> None:
    source = html.render(records.hostile())
    page = Page(source)
    assert page.text.count(records.HOSTILE) > 20
    assert "<script" not in source and "<img src=x" not in source
    assert page.named("img") == [], "a thumbnail that is not an embedded picture is left out"


def test_thumbnails_are_embedded_pictures() -> None:
    images = Page(html.render(records.images())).named("img")
    assert [image["src"] for image in images] == [mistake.thumbnail for mistake in records.images().mistakes]


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a.png",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        'data:image/png;base64,AA" onload="x',
        "data:image/png;base64,",
        None,
    ],
)
def test_other_thumbnails_are_refused(uri: str | None) -> None:
    assert html.picture(uri) == ""


def test_figures_appear_where_the_record_has_them() -> None:
    def drawn(record: Record) -> list[str]:
        return [str(attributes["aria-label"]) for attributes in Page(html.render(record)).named("svg")]

    assert len(drawn(records.positive())) == 6
    assert any("Truth and prediction" in label for label in drawn(records.negative()))
    assert not any("Learning curves" in label for label in drawn(records.neutral()))
    assert len(drawn(records.table_without_source())) == 2
    assert any("most frequent confusions among 100" in label for label in drawn(records.many_classes()))
    assert any("Confusion matrix of 30" in label for label in drawn(records.thirty_classes()))


def test_neutral_verdict_says_that_nothing_is_shown() -> None:
    text = Page(html.render(records.neutral())).text
    assert "Neutral transfer" in text and "do not show that the source helped or harmed" in text


def test_long_lists_are_cut_and_say_so() -> None:
    rejects = [{"path": "a.csv", "row": i, "reason": f"reason {i}."} for i in range(500)]
    text = Page(html.render(records.base(rejects=rejects))).text
    assert "reason 99." in text and "reason 100." not in text and "the first 100" in text
    assert "and 40 more" in Page(html.render(records.many_classes())).text


def test_a_record_with_little_in_it_still_renders() -> None:
    bare = records.base(
        data={}, task={"name": "regression"}, source={}, candidates=[], metrics={}, verdict=None, head_start=None,
        chosen_transfer=None, trained=[], history=[], confusion=None, mistakes=[], rejects=[], notes=[], seconds={},
        versions={}, machine={},
    )  # fmt: skip
    Page(html.render(bare)).check_inert()


def test_not_a_number_does_not_break_the_page() -> None:
    verdict = Verdict("neutral", Interval(0.0, 0.0, 0.0), "baseline", "paired bootstrap", 1)
    candidates = [replace(item, test=float("nan")) for item in records.base().candidates]
    Page(html.render(records.base(verdict=verdict, candidates=candidates))).check_inert()


def test_the_same_record_gives_the_same_bytes() -> None:
    assert html.render(records.positive()) == html.render(Record.from_json(records.positive().to_json()))


def test_write_makes_the_folder_and_leaves_only_the_report(tmp_path: Path) -> None:
    place = tmp_path / "run" / "report.html"
    html.write(records.positive(), place)
    html.write(records.negative(), place)
    assert place.read_text(encoding="utf-8") == html.render(records.negative())
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "HS-ENV-002"), (errno.EACCES, "HS-ENV-003")])
def test_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    place = tmp_path / "report.html"
    place.write_text("old")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(EnvironmentProblem, match=r"report\.html") as caught:
        html.write(records.positive(), place)
    assert caught.value.code == code
    assert place.read_text() == "old" and list(tmp_path.iterdir()) == [place]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem) as caught:
        html.write(records.positive(), tmp_path / "file" / "report.html")
    assert caught.value.code == "HS-ENV-003"


def test_the_control_that_has_the_rows_of_the_source_is_not_said_to_know_nothing() -> None:
    record = next(made for name in records.ALL if (made := records.ALL[name]()).verdict and made.head_start)
    assert record.verdict is not None and record.head_start is not None
    before = Page(html.render(record)).text
    assert "without the source's knowledge. Every" in before and "rows that it learned from" not in before
    known = record.verdict.control
    record.candidates = [replace(each, name="pooled") if each.name == known else each for each in record.candidates]
    record.verdict = replace(record.verdict, control="pooled", label="negative")
    record.head_start = replace(record.head_start, control=replace(record.head_start.control, name="pooled"))
    text = " ".join(Page(html.render(record)).text.split())
    assert "The source helped less than the rows that it learned from" in text
    assert "without the source's knowledge; pooled has the rows that the source learned from. Every" in text
    assert "beside the rows that it learned from" in text and "without it (" not in text
