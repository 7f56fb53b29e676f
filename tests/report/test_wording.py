import pytest

from headstart.report import wording


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (wording.metric_name, "entity_f1", "entity F1"),
        (wording.metric_name, "r2", "R²"),
        (wording.metric_name, "accuracy", "accuracy"),
        (wording.metric_name, "vus_pr", "VUS-PR"),
        (wording.metric_name, "ndcg@10", "NDCG@10"),
        (wording.metric_name, "coverage_of_80", "coverage of the middle 80 %"),
        (wording.score, 0.8885, "0.888"),
        (wording.score, -0.034, "−0.034"),
        (wording.score, None, "–"),
        (wording.score, float("nan"), "–"),
        (wording.points, 0.041, "+4.1"),
        (wording.points, -0.0261, "−2.6"),
        (wording.points, -0.0001, "0.0"),
        (wording.part, 0.0, "0"),
        (wording.part, 0.00123, "0.12"),
        (wording.part, 0.0146, "1.5"),
        (wording.part, 0.0999, "10"),
        (wording.part, 0.25, "25"),
        (wording.part, 1.0, "100"),
        (wording.times, 9.6, "9.6x"),
        (wording.times, 0.42, "0.42x"),
        (wording.times, 1234.4, "1 234x"),
        (wording.count, 4812, "4 812"),
        (wording.large, 22_713_216, "22.7 M"),
        (wording.large, 385, "385"),
        (wording.duration, 0.42, "0.4 s"),
        (wording.duration, 59.4, "59 s"),
        (wording.duration, 59.6, "1 min 00 s"),
        (wording.duration, 94.0, "1 min 34 s"),
        (wording.duration, 3599.7, "1 h 00 min"),
        (wording.plain, True, "yes"),
        (wording.plain, 3e-5, "3e-05"),
        (wording.plain, {"a": [1, None], "b": 22_713_216}, "a: 1, –, b: 22 713 216"),
        (wording.one_line, "a\n\x1bb\u202ec", "a  b c"),
        (wording.sentence, "it is so.", "It is so."),
    ],
)
def test_wording(function: object, value: object, expected: str) -> None:
    assert callable(function)
    assert function(value) == expected


def test_an_open_end_has_its_sign() -> None:
    assert wording.ends((6.1, 14.0), (False, True)) == "6.1x to >14x at 95 %"
    assert wording.ends(None, (False, False)) == "no interval"


def test_multipliers_read_the_same_in_the_sentence_and_the_figure() -> None:
    from headstart.evidence.curves import head_start_sentence
    from headstart.report.worth import multiplier

    from . import records

    for name in ("positive", "negative", "images"):
        start = records.ALL[name]().head_start
        assert start is not None and f"({multiplier(start)})" in head_start_sentence(start)
