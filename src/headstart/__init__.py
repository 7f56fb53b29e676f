"""Headstart: transfer learning that proves what it was worth.

    import headstart
    result = headstart.fit("reviews.csv", target="sentiment")

Importing this package loads neither torch nor transformers; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "read": "headstart.datasets.read",
    "fit": "headstart.transfer",
    "load": "headstart.artefact",
    "adapt": "headstart.adapting.verb",
    "rank": "headstart.ranking.verb",
    "embed": "headstart.embedding",
    "pretrain": "headstart.pretraining",
    "recommend": "headstart.recommending",
    "Dataset": "headstart.datasets.base",
    "Source": "headstart.sources.base",
    "Task": "headstart.tasks.base",
    "Method": "headstart.methods.base",
    "TransferClassifier": "headstart.estimators",
    "TransferRegressor": "headstart.estimators",
    "HeadstartError": "headstart.errors",
}

__all__ = ["__version__", "sources", *_WHERE]


def __getattr__(name: str) -> Any:
    if name == "sources":
        return importlib.import_module("headstart.sources")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
