"""What tasks with classes share: a list of the user's own labels in output order, and where each of them stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Self

import numpy as np

from headstart.errors import TaskError, did_you_mean
from headstart.tasks.base import Array, Task
from headstart.types import Json


class Labelled(Task):
    """A task whose C outputs stand for C labels. classes: the labels in output order."""

    def __init__(self, classes: Sequence[Any]) -> None:
        self._classes = list(classes)
        self._index = {label_key(label): i for i, label in enumerate(self._classes)}

    def to_json(self) -> Json:
        """The name and the classes."""
        return {"name": self.name, "classes": self._classes}

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The task that `to_json` wrote."""
        return cls(data["classes"])

    @property
    def width(self) -> int:
        """C, the number of classes."""
        return len(self._classes)

    @property
    def classes(self) -> list[Any]:
        """The labels in output order."""
        return list(self._classes)

    def index(self, label: Any) -> int | None:
        """Where a label stands among the classes; None where it was not seen in training."""
        return self._index.get(label_key(label))

    def unseen(self, place: str, label: Any, word: str) -> TaskError:
        """The error HS-TASK-002 for a label that is none of the classes; ``word`` is what the task calls a label."""
        return TaskError(
            "HS-TASK-002",
            f"{place}: the {word} {label!r} was not among those in training.",
            did_you_mean(str(label), map(str, self._classes)),
        )

    def rarest(self, rows: Sequence[Collection[Any]]) -> Array:
        """The rarest known class of each row of labels, int [N], C where it has none: strata that spread rare ones."""
        known = [{at for label in row if (at := self.index(label)) is not None} for row in rows]
        counts = Counter(label for row in known for label in row)
        return np.asarray([min(row, key=lambda i: (counts[i], i), default=self.width) for row in known], dtype=np.int64)


def label_key(label: Any) -> tuple[str, Any]:
    """Equal for 1 and 1.0, but not for 1, True and "1"."""
    return ("bool" if isinstance(label, bool) else "text" if isinstance(label, str) else "number", label)
