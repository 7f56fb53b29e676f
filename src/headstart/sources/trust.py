"""Whose code may run: one repository that the user named, while ``with trusting("owner/name"):`` lasts.

A source whose repository brings Python code of its own is refused (HS-SOURCE-006) unless that very repository is
named, also where a saved run is loaded. On the command line the name comes from ``--trust-remote-code``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NAMED: ContextVar[str | None] = ContextVar("headstart.trusted", default=None)


@contextmanager
def trusting(repository: str | None) -> Iterator[None]:
    """Let code of ``repository`` (``owner/name``, with or without ``hf:``, or a folder) run inside the block.

    None changes nothing.
    """
    token = _NAMED.set(_NAMED.get() if repository is None else repository.removeprefix("hf:"))
    try:
        yield
    finally:
        _NAMED.reset(token)


def trusted() -> str | None:
    """The repository whose code may run now, or None."""
    return _NAMED.get()
