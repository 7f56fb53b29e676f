"""docs/errors.md and errors.CODES say the same, and errors behave as their docstring promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headstart import errors

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (HS-[A-Z]+-\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def documented() -> list[tuple[str, str, str]]:
    return ROW.findall((ROOT / "docs/errors.md").read_text(encoding="utf-8"))


def test_docs_list_every_code_once_in_order_with_its_meaning():
    rows = documented()
    assert [(code, meaning) for code, meaning, _ in rows] == list(errors.CODES.items())


def test_docs_say_how_to_mend_every_error():
    for code, _, mend in documented():
        assert len(mend) > 15 and mend.endswith("."), code


def test_every_code_in_the_program_is_listed_and_every_listed_code_is_used():
    used = set()
    for path in (ROOT / "src/headstart").rglob("*.py"):
        if path.name != "errors.py":
            used |= set(re.findall(r"HS-[A-Z]+-\d{3}", path.read_text(encoding="utf-8")))
    used |= {"HS-ENV-001"}  # raised by errors.missing_package
    assert used - set(errors.CODES) == set()
    assert set(errors.CODES) - used == set()


def test_an_unlisted_code_cannot_be_raised():
    with pytest.raises(KeyError):
        errors.DataError("HS-DATA-999", "anything")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.DataError, "HS-DATA-001"),
        (errors.SourceError, "HS-SOURCE-001"),
        (errors.TaskError, "HS-TASK-001"),
        (errors.MethodError, "HS-METHOD-001"),
        (errors.ArtefactError, "HS-ARTEFACT-001"),
        (errors.EnvironmentProblem, "HS-ENV-002"),
        (errors.UsageError, "HS-USAGE-001"),
    ],
)
def test_every_kind_prints_code_message_and_hint_on_one_line(kind, code):
    error = kind(code, "a.csv: something is wrong.", "Do this.")
    assert str(error) == f"{code}: a.csv: something is wrong. Do this."
    assert (error.code, error.message, error.hint) == (code, "a.csv: something is wrong.", "Do this.")


def test_several_problems_are_reported_together_one_a_line():
    first, second = errors.DataError("HS-DATA-003", "no column a."), errors.DataError("HS-DATA-003", "no column b.")
    with pytest.raises(errors.Problems) as caught:
        errors.raise_all([first, second])
    assert str(caught.value) == "HS-DATA-003: no column a.\nHS-DATA-003: no column b."
    with pytest.raises(errors.DataError) as alone:
        errors.raise_all([first])
    assert alone.value is first
    errors.raise_all([])


def test_did_you_mean_offers_the_nearest_name_or_the_known_ones():
    assert errors.did_you_mean("prob", ["probe", "finetune"]) == 'Did you mean "probe"?'
    assert errors.did_you_mean("zzz", ["probe", "finetune"]) == "Known: finetune, probe."
