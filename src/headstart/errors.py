"""The error tree. Every error a user can cause is a `HeadstartError` with a stable code.

    HeadstartError
      DataError       HS-DATA-...      the dataset: files, columns, rows, values
      SourceError     HS-SOURCE-...    pretrained models: names, downloads, digests, weights
      TaskError       HS-TASK-...      the task and the target
      MethodError     HS-METHOD-...    methods and their hyperparameters
      ArtefactError   HS-ARTEFACT-...  saved runs
      EnvironmentProblem  HS-ENV-...   packages, disk, permissions, memory
      UsageError      HS-USAGE-...     flags and arguments

A message is one line: what is wrong (file, column, row), what was expected, how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CODES: dict[str, str] = {
    "HS-DATA-001": "the path does not exist",
    "HS-DATA-002": "the file or folder holds no rows",
    "HS-DATA-003": "a named column does not exist",
    "HS-DATA-004": "the file cannot be decoded as text",
    "HS-DATA-005": "the table is ragged or has the wrong delimiter",
    "HS-DATA-006": "the target has only one class",
    "HS-DATA-007": "a class has too few rows",
    "HS-DATA-008": "the target has missing values in every row",
    "HS-DATA-009": "the target mixes numbers and text",
    "HS-DATA-010": "too many rows were rejected",
    "HS-DATA-011": "the format of the path is not known",
    "HS-DATA-012": "too few rows to fit",
    "HS-DATA-013": "the file is damaged",
    "HS-DATA-014": "the split column holds unknown names or lacks a part",
    "HS-DATA-015": "the new data lack a column the model needs",
    "HS-DATA-016": "a column name stands twice",
    "HS-DATA-017": "no usable input column",
    "HS-DATA-018": "a span or tag does not fit its tokens or text",
    "HS-DATA-019": "unknown dataset name",
    "HS-DATA-020": "a column does not have the kind that was asked for",
    "HS-SOURCE-001": "unknown source",
    "HS-SOURCE-002": "the digest of the downloaded file is wrong",
    "HS-SOURCE-003": "the source cannot be fetched",
    "HS-SOURCE-004": "the weights do not fit the architecture",
    "HS-SOURCE-005": "the source does not fit the kind of input",
    "HS-SOURCE-006": "the model asks for remote code",
    "HS-SOURCE-007": "the folder is not a source",
    "HS-SOURCE-008": "the weight file is unsafe or damaged",
    "HS-TASK-001": "unknown task",
    "HS-TASK-002": "the task does not fit the target",
    "HS-METHOD-001": "unknown method or ranker",
    "HS-METHOD-002": "a hyperparameter is unknown or out of bounds",
    "HS-METHOD-003": "the method cannot do what was asked",
    "HS-ARTEFACT-001": "the folder is not a Headstart run",
    "HS-ARTEFACT-002": "the run was written by a newer version",
    "HS-ARTEFACT-003": "tensors are missing, unexpected or misshapen",
    "HS-ARTEFACT-004": "a file of the run was changed or is missing",
    "HS-ENV-001": "a package is missing",
    "HS-ENV-002": "the disk is full",
    "HS-ENV-003": "no permission to write or read",
    "HS-ENV-004": "out of memory",
    "HS-USAGE-001": "a flag or argument has a bad value",
    "HS-USAGE-002": "the output folder belongs to something else",
    "HS-INTERNAL-001": "a fault in Headstart",
}


class HeadstartError(Exception):
    """An error with a stable code. ``str(error)`` is the one line a user reads.

    code: a key of `CODES`. message: what is wrong and where. hint: how to mend it.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in CODES:
            raise KeyError(f"{code} is not listed in headstart.errors.CODES")
        self.code, self.message, self.hint = code, message, hint
        super().__init__(code, message, hint)

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.code}: {self.message}{hint}"


class DataError(HeadstartError, ValueError):
    """The dataset cannot be used as it is."""


class SourceError(HeadstartError, ValueError):
    """A pretrained model cannot be found, fetched or loaded."""


class TaskError(HeadstartError, ValueError):
    """The task does not fit."""


class MethodError(HeadstartError, ValueError):
    """The method or a hyperparameter does not fit."""


class ArtefactError(HeadstartError, ValueError):
    """A saved run cannot be used."""


class EnvironmentProblem(HeadstartError, OSError):
    """The machine: packages, disk, permissions, memory."""

    def __str__(self) -> str:
        return HeadstartError.__str__(self)


class UsageError(HeadstartError, ValueError):
    """A flag or argument has a bad value."""


class Problems(DataError):
    """Several problems of one input, reported at once, one a line. The code is that of the first."""

    def __init__(self, problems: list[HeadstartError]) -> None:
        self.problems = problems
        super().__init__(problems[0].code, problems[0].message, problems[0].hint)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def raise_all(problems: list[HeadstartError]) -> None:
    """Raise nothing, the one problem, or all of them together."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A hint such as ``Did you mean "probe"?``, or the known names when nothing is near."""
    known = sorted(set(names))
    near = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    if near:
        match = next(name for name in known if name.lower() == near[0])
        return f'Did you mean "{match}"?'
    return "Known: " + ", ".join(known[:20]) + (", ..." if len(known) > 20 else ".")


def missing_package(package: str, extra: str | None = None) -> EnvironmentProblem:
    """The error for an optional package that is not installed, with the exact pip line."""
    line = f"pip install 'headstart[{extra}]'" if extra else f"pip install {package}"
    return EnvironmentProblem("HS-ENV-001", f"the package {package} is not installed.", f"Install it: {line}")
