"""Sources: pretrained models, one provider a file.

headstart.sources.names()            # what is on the shelf
headstart.sources.info("minilm")     # its card, without loading it
headstart.sources.fetch("minilm")    # download once
headstart.sources.open("minilm")     # the source itself; also hf:owner/name, timm:name, torchvision:name, a folder
"""

from __future__ import annotations

from typing import Any

_VERBS = ("names", "info", "fetch", "open")

__all__ = list(_VERBS)


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        from headstart.sources import shelf

        return getattr(shelf, name if name != "open" else "open_source")
    raise AttributeError(f"module 'headstart.sources' has no attribute {name!r}")
