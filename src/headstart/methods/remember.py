"""What a search chose, kept beside the checkpoints, so that a fit that goes on after a kill does not choose anew.

A search that a time limit cut short could choose differently the second time, and what was trained would be lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from headstart import disk
from headstart.types import Json


def once(folder: Path | None, name: str, key: str, find: Callable[[], Json]) -> Json:
    """What ``find()`` returns, or what it returned for the same ``key`` before a kill. folder None: nothing is kept.

    Raises EnvironmentProblem HS-ENV-002 (disk full) or HS-ENV-003 (no permission).
    """
    if folder is None:
        return find()
    path = folder / f"{name}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: it costs the time of the search
        kept = None
    if isinstance(kept, dict) and kept.get("key") == key and isinstance(kept.get("found"), dict):
        return dict(kept["found"])
    found = find()
    disk.replace_text(path, json.dumps({"key": key, "found": found}))
    return found
