import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from headstart.report import canvas, figures, worth
from headstart.types import HeadStart, LayerRow, Record

from . import records

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {
    "curves": worth.learning_curves,
    "verdict": worth.verdict_plot,
    "confusion": figures.confusion,
    "residuals": figures.residuals,
    "trained": figures.what_trained,
    "moved": figures.what_moved,
    "history": figures.history,
}


def texts(svg: str | None) -> list[str]:
    assert svg is not None
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", records.ALL)
def test_every_figure_takes_colours_from_the_page_and_owns_its_ids(name: str) -> None:
    record = records.ALL[name]()
    for prefix, figure in DRAWN.items():
        svg = figure(record)
        if svg is None:
            continue
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg" and root.get("viewBox") and not root.get("width")
        assert not list(root.iter(f"{SVG}style")), "a stylesheet in a figure reaches the whole page"
        for element in root.iter():
            assert element.get("id", f"{prefix}-").startswith(f"{prefix}-")
            style = re.sub(r"var\(--hs-\w+, #[0-9a-f]{6}\)", "", element.get("style", ""))
            assert not re.search(r"#[0-9a-fA-F]{3,6}", style), style


def test_head_start_is_drawn_and_named() -> None:
    shown = texts(worth.learning_curves(records.positive()))
    assert {"21x", "finetune", "baseline", "77", "1 600", "accuracy", "labels (log scale)"} <= set(shown)
    assert "0.27x" in texts(worth.learning_curves(records.negative()))
    assert ">32x" in texts(worth.learning_curves(records.images()))


def test_arrow_runs_from_transfer_to_control() -> None:
    """The marks at both ends lie at the same height, left and right by log-labels."""
    start = records.positive().head_start
    assert start is not None
    wider = worth.learning_curves(records.base(head_start=replace(start, transfer_labels=40.0)))
    nearer = worth.learning_curves(records.base(head_start=replace(start, transfer_labels=400.0)))
    assert "40" in texts(wider) and "400" in texts(nearer)
    ends = [marks(svg)[-2:] for svg in (wider, nearer)]
    for (transfer_x, transfer_y), (control_x, control_y) in ends:
        assert transfer_y == pytest.approx(control_y) and transfer_x < control_x
    assert ends[0][0][0] < ends[1][0][0]
    assert ends[0][1] == pytest.approx(ends[1][1])


def marks(svg: str | None) -> list[tuple[float, float]]:
    assert svg is not None
    uses = ElementTree.fromstring(svg).iter(f"{SVG}use")
    return [(float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in uses]


def test_equal_ends_need_no_arrow() -> None:
    start = records.positive().head_start
    assert start is not None
    same = replace(start, multiplier=1.0, transfer_labels=64.0, control_labels=64.0)
    assert "1x" in texts(worth.learning_curves(records.base(head_start=same)))


@pytest.mark.parametrize(("bound", "expected"), [("exact", "9.6x"), ("more than", ">9.6x"), ("less than", "<9.6x")])
def test_multiplier(bound: str, expected: str) -> None:
    start = records.positive().head_start
    assert start is not None
    assert worth.multiplier(HeadStart(**{**vars(start), "bound": bound, "multiplier": 9.6})) == expected


def test_counts_stand_in_the_cells() -> None:
    record = records.positive()
    assert record.confusion is not None
    shown = texts(figures.confusion(record))
    for row in record.confusion["counts"]:
        for value in row:
            assert value == 0 or f"{value:,}".replace(",", " ") in shown
    assert set(record.confusion["labels"]) <= set(shown)


def test_many_classes_become_a_list_of_pairs() -> None:
    counts = [[0] * 40 for _ in range(40)]
    counts[3][7], counts[8][1] = 9, 4
    shown = texts(figures.confusion(records.base(confusion={"labels": list(range(40)), "counts": counts})))
    assert [text for text in shown if re.match(r"\d+ →", text)] == ["3 → 7", "8 → 1"]
    assert "9 of 9" in shown
    perfect = {"labels": list(range(40)), "counts": [[0] * 40 for _ in range(40)]}
    assert figures.confusion(records.base(confusion=perfect)) is None


def test_labels_are_text_and_never_formulas() -> None:
    shown = texts(figures.confusion(records.hostile()))
    assert "$\\alpha$" in shown and "日本" in shown


def test_verdict_plot_names_every_candidate_with_its_score() -> None:
    shown = texts(worth.verdict_plot(records.positive()))
    assert {"finetune", "0.889", "scratch", "0.694", "difference", "test accuracy"} <= set(shown)
    assert "cross-validated entity F1" in texts(worth.verdict_plot(records.neutral()))
    assert "difference" not in texts(worth.verdict_plot(records.no_control()))
    assert worth.verdict_plot(records.base(candidates=[])) is None


def test_what_trained_says_frozen_and_rates() -> None:
    shown = texts(figures.what_trained(records.negative()))
    assert "11.9 M, frozen" in shown
    rows = [LayerRow(f"layer {i}", 10, 1.0, None) for i in range(figures.MOST_LAYERS + 1)]
    assert figures.what_trained(records.base(trained=rows)) is None
    part = [LayerRow("block", 1000, 0.25, 3e-5)]
    assert "1 k, 25 % trained, rate 3.0e-05" in texts(figures.what_trained(records.base(trained=part)))


def test_what_moved_shows_change_and_drift_of_the_sources_layers() -> None:
    shown = texts(figures.what_moved(records.positive()))
    assert {"change of the weights", "drift of the output", "embeddings", "0.04 %", "0.4 %", "0", "0.1"} <= set(shown)
    assert "head" not in shown and "41 %" not in shown
    assert figures.what_moved(records.negative()) is None, "nothing was measured"
    still = [LayerRow("block", 10, 0.0, None, 0.0, 0.0), LayerRow("head", 10, 1.0, None, 0.5)]
    assert figures.what_moved(records.base(trained=still)) is None, "nothing moved"
    alone = texts(figures.what_moved(records.base(trained=[LayerRow("block", 10, 1.0, 1e-3, 0.02, None)])))
    assert "2 %" in alone and "drift of the output" not in alone


def test_history_takes_the_engines_rows_and_others() -> None:
    axis, series = figures.history_series(records.positive().history)
    assert axis == "epoch" and list(series) == ["loss", "validation"]
    assert series["loss"] == ([1.0, 2.0, 3.0], [0.612, 0.371, 0.288])
    rows = [{"loss": 1.0, "note": "a"}, {"loss": float("nan")}, {"loss": 0.5, "lr": 0.1}]
    assert figures.history_series(rows) == ("row", {"loss": ([1.0, 3.0], [1.0, 0.5])})
    assert figures.history(records.base(history=rows[:2])) is None
    trials = [{"trial": "1/2", "score": 0.7}, {"found rate": 1e-4, "steps": 20}, *records.positive().history]
    assert figures.history_series(trials) == figures.history_series(records.positive().history)
    soup = [{"member": 1, "validation": 0.8}, *({"alpha": part, "validation": 0.7 + part} for part in (0.0, 0.5, 1.0))]
    assert figures.history_series(soup) == ("alpha", {"validation": ([0.0, 0.5, 1.0], [0.7, 1.2, 1.7])})
    shown = texts(figures.history(records.base(history=soup)))
    assert {"from the source (0) to the soup (1)", "validation accuracy"} <= set(shown)
    assert "validation accuracy" in texts(figures.history(records.positive()))


def test_residuals_leave_out_what_is_not_a_number() -> None:
    values = {"truth": [1.0, 2.0, float("nan")], "prediction": [1.5, 2.0, 3.0]}
    record = records.base(residuals=values)
    svg = figures.residuals(record)
    assert svg is not None and "Truth and prediction of 2 rows" in svg
    assert figures.residuals(records.base(residuals={"truth": [], "prediction": []})) is None


def test_figures_are_deterministic() -> None:
    def all_of(record: Record) -> list[str | None]:
        return [figure(record) for figure in DRAWN.values()]

    assert all_of(records.positive()) == all_of(records.positive())


@pytest.mark.parametrize(("text", "expected"), [("a\nb", "a b"), ("x" * 30, "x" * 17 + "…"), ("", "")])
def test_shorten(text: str, expected: str) -> None:
    assert canvas.shorten(text) == expected
