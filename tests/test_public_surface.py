"""The public names are a tested list, and importing the package or asking for help stays light."""

from __future__ import annotations

import subprocess
import sys
import time

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


def run(code: str) -> tuple[str, float]:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - begun


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
    out, _ = run(f"{code}; {LOADED}")
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("code", "bar"), [("import headstart", 0.3), ("from headstart.cli import main; main(['--help'])", 0.6)]
)
def test_startup_is_fast(code, bar):
    best = min(run(code)[1] for _ in range(4))
    bare = min(run("pass")[1] for _ in range(2))
    assert best < max(bar, 4 * bare), f"{best:.2f} s (an empty interpreter takes {bare:.2f} s)"
