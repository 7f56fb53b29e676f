"""The public names are a tested list, and importing the package or asking for help stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headstart

HEAVY = ("torch", "transformers", "datasets", "pandas", "sklearn", "numpy", "pyarrow", "timm", "matplotlib")

PUBLIC = [
    "Dataset",
    "HeadstartError",
    "Method",
    "Source",
    "Task",
    "TransferClassifier",
    "TransferRegressor",
    "__version__",
    "adapt",
    "embed",
    "fit",
    "load",
    "pretrain",
    "rank",
    "read",
    "recommend",
    "sources",
]


def test_public_names():
    assert sorted(headstart.__all__) == PUBLIC
    assert dir(headstart) == sorted(headstart.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists(name):
    assert getattr(headstart, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        _ = headstart.fitt


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


LOADED = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"


@pytest.mark.parametrize(
    "code",
    [
        "import headstart",
        "import headstart.cli",
        "from headstart.cli import main; main(['--help'])",
        "from headstart.cli import main; main(['fit', '--help'])",
        "from headstart.cli import main; main(['rank', '--help'])",
        "from headstart.cli import main; main(['methods'])",
        "from headstart.cli import main; main(['fit', 'a.csv', '--method', 'probe', '--epochs', '3'])",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert run(f"{code}; {LOADED}").splitlines()[-1] == "[]"
