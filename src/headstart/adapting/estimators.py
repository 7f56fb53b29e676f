"""scikit-learn estimators for two domains: ``fit(X, y, domain=...)``, ``predict`` for the target domain.

Rows whose ``domain`` is ``to`` are the target domain: their y is not read, whatever stands there, except where ``few``
says so. All other rows are labelled, of one domain or several. Without ``domain`` there is nothing to adapt to, and the
head of the labelled rows is what predicts. X as in `headstart.estimators`: numbers [N,D], texts, or images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from headstart.errors import MethodError, UsageError
from headstart.estimators import DEFAULTS, dataset_of, kind_of, opened, rows_of, scaling

if TYPE_CHECKING:
    from headstart.methods.adaptation import Aligned, Reader
    from headstart.tasks.base import Task


class Rows(NamedTuple):
    """Places of the n labelled and of the target rows; of each labelled one its domain [n] and whether it is one of the
    target domain [n], or None.
    """

    labelled: np.ndarray
    theirs: np.ndarray
    domain: np.ndarray | None
    few: np.ndarray | None


class _Adapt(BaseEstimator):  # type: ignore[misc]
    """What both share. Learned: ``maps_`` from features to outputs, ``history_``, what the method found."""

    def __init__(
        self,
        method: str = "auto",
        to: Any = "target",
        source: Any = "auto",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.to = to
        self.source = source
        self.settings = settings
        self.seed = seed

    def _checked(
        self, X: Any, y: Any, domain: Any, few: Any, *, y_numeric: bool = False, ensure_min_samples: int = 1
    ) -> tuple[Any, Any, Rows]:
        """X, y of the labelled rows, and which rows are which."""
        self.kind_ = kind_of(X)
        if self.kind_ == "numeric" and domain is None:
            X, y = validate_data(
                self, X, y, dtype=[np.float64, np.float32], y_numeric=y_numeric, ensure_min_samples=ensure_min_samples
            )
        elif self.kind_ == "numeric":
            X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_consistent_length(X, y)
        y = column_or_1d(y, warn=True)
        rows = self._two(len(y), domain, few)
        return X, y[rows.labelled], rows

    def _adapt(self, task: Task, X: Any, y: Any, rows: Rows) -> None:
        """Learn from features X [N,D] of all rows and encoded y [n] of the labelled ones."""
        from headstart.methods.adaptation import Adaptation, Domains
        from headstart.methods.base import make
        from headstart.nn.heads import choose

        method = make(self._found(rows), dict(self.settings or {}))
        assert isinstance(method, Adaptation)
        if task.name not in (method.tasks or (task.name,)):
            raise MethodError("HS-METHOD-003", f"{method.name} cannot do {task.name}.", "Choose another method.")
        known, target = X[rows.labelled], X[rows.theirs] if len(rows.theirs) else X
        recipe = choose(task, known, y, method.hyperparameters()["head"], seed=self.seed)
        given = Domains(task, known, y, target, recipe, rows.domain, seed=self.seed, few=rows.few)
        aligned: Aligned
        self.maps_, aligned, _ = method.adapt(given)
        self.history_ = dict(aligned.history or {})
        self.task_ = task

    def _train(self, task: Task, X: Any, y: list[Any], rows: Rows, method: Any) -> None:
        """Train a network on the labelled rows with the target rows beside them. y: n labels or numbers."""
        from headstart.methods.base import Problem

        if self.kind_ == "numeric":
            raise MethodError(
                "HS-METHOD-003", f"{method.name} trains a network, and X holds numbers.",
                "Give texts or images, or choose coral, ot, ...",
            )  # fmt: skip
        values = rows_of(X, self.kind_)
        what = "category" if task.classes else "number"
        train = dataset_of([values[at] for at in rows.labelled], self.kind_, y, what)
        goal = dataset_of([values[at] for at in rows.theirs], self.kind_, None, "")
        source = self._source()
        method.admit(task, source, train, ["domain"])
        extractor = self._extractor(source)
        self.fitted_ = method.fit(Problem(train, None, task, source, extractor, seed=self.seed, domain=goal))
        self.history_, self.task_ = {"epochs": self.fitted_.history}, task

    def _deep(self, rows: Rows) -> Any:
        """The method that is to train a network, or None."""
        from headstart.methods.adaptation import Adaptation
        from headstart.methods.base import make

        found = self._found(rows)
        return None if issubclass(found, Adaptation) else make(found, dict(self.settings or {}))

    def _found(self, rows: Rows) -> Any:
        from headstart import catalog

        if not len(rows.theirs):
            return catalog.find("methods", "sourceonly")
        found = catalog.find("methods", "adapt" if self.method == "auto" else self.method)
        if "domain" not in found.needs or "model" in found.needs:
            raise UsageError(
                "HS-USAGE-001", f"{self.method} does not adapt labelled rows to a domain.", "Choose coral, ot, ..."
            )
        if "few" in found.needs and rows.few is None:
            raise UsageError(
                "HS-USAGE-001", f"{self.method} needs some labels of the target domain.",
                "Say which rows of it have one: fit(X, y, domain=..., few=[N] of True and False).",
            )  # fmt: skip
        return found

    def _two(self, size: int, domain: Any, few: Any) -> Rows:
        """Which of ``size`` rows are which."""
        if domain is None:
            return Rows(np.arange(size), np.arange(0), None, None)
        names, known = np.asarray(domain), np.zeros(size, bool) if few is None else np.asarray(few)
        for word, given in (("domain", names), ("few", known)):
            if given.shape != (size,):
                raise UsageError("HS-USAGE-001", f"{word} has the shape {given.shape}; X has {size} rows.", "Give [N].")
        if known.dtype != bool:
            raise UsageError("HS-USAGE-001", f"few holds {known.dtype}, no truth values.", "Give [N] of bool.")
        theirs = names == self.to
        if not theirs.any() or theirs.all():
            raise UsageError(
                "HS-USAGE-001", f"{int(theirs.sum())} of {size} rows are of the domain {self.to!r}; expected some.",
                "Name the target domain with to=.",
            )  # fmt: skip
        known = known & theirs
        if known.any() and (known == theirs).all():
            raise UsageError(
                "HS-USAGE-001", "every row of the target domain has a label.", "Leave some rows out of few."
            )
        labelled = np.flatnonzero(~theirs | known)
        codes = np.unique(names[labelled], return_inverse=True)[1]
        return Rows(labelled, np.flatnonzero(theirs & ~known), codes, known[labelled] if known.any() else None)

    def _features(self, X: Any) -> np.ndarray:
        """Features [N,D] of inputs, as the maps read them."""
        if self.kind_ == "numeric":
            return np.asarray((X - self.mean_) / self.scale_)
        return self.reader_.matrix(dataset_of(rows_of(X, self.kind_), self.kind_, None, ""))

    def _prepare(self, X: Any, labelled: np.ndarray) -> np.ndarray:
        """Learn how inputs become features, and give those of all rows."""
        if self.kind_ == "numeric":
            self.mean_, self.scale_ = scaling(X[labelled])
        else:
            self.reader_: Reader = self._reader()
        return self._features(X)

    def _reader(self) -> Reader:
        from headstart.methods.adaptation import Reader

        source = self._source()
        return Reader(source, self._extractor(source), None)

    def _source(self) -> Any:
        if not isinstance(self.source, str):
            return self.source
        return opened(DEFAULTS[self.kind_] if self.source == "auto" else self.source)

    @staticmethod
    def _extractor(source: Any) -> Any:
        from headstart.runtime import Extractor

        return Extractor(source)

    def _outputs(self, X: Any) -> np.ndarray:
        """Raw outputs [N,C]."""
        from headstart.nn.maps import chain

        check_is_fitted(self, "history_")
        if hasattr(self, "fitted_"):
            assert self.kind_ != "numeric"
            return np.asarray(self.fitted_.outputs(dataset_of(rows_of(X, self.kind_), self.kind_, None, "")))
        if self.kind_ == "numeric":
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return chain(self.maps_, self._features(X))


class AdaptClassifier(ClassifierMixin, _Adapt):  # type: ignore[misc]
    """Classification in a domain without labels.

    method: one that adapts (see ``headstart methods``), or "auto", which abstains where the evidence is thin. to: the
    value of ``domain`` that is the target domain. source, seed: as in `headstart.TransferClassifier`. settings: of the
    method. One that trains a network (dann, mcc, ...) reads texts or images. Learned: ``classes_`` [C], ``history_``.
    Raises UsageError HS-USAGE-001 and the errors of the method.
    """

    def fit(self, X: Any, y: Any, domain: Any = None, few: Any = None) -> AdaptClassifier:
        """Fit on N inputs, N labels and the domain [N] of each.

        few: [N], the rows of the target domain whose label may be read (``tradaboost`` needs such); otherwise none is.
        """
        X, y, rows = self._checked(X, y, domain, few)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError("HS-USAGE-001", f"y holds one class only: {self.classes_.tolist()}.", "Give two or more.")
        from headstart.tasks.classification import Classification

        task = Classification(list(range(len(self.classes_))))
        self.__dict__.pop("fitted_", None)
        if (method := self._deep(rows)) is not None:
            self._train(task, X, codes.tolist(), rows, method)
            return self
        self._adapt(task, self._prepare(X, rows.labelled), codes, rows)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits [N,C] in the order of ``classes_``, or for two classes the log odds [N] of the second."""
        logits = self._outputs(X)
        return np.asarray(logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [N,C] in the order of ``classes_``."""
        from headstart.tasks.classification import softmax

        return softmax(self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each of N inputs."""
        check_is_fitted(self, "history_")
        return np.asarray(self.classes_[self._outputs(X).argmax(axis=1)])


class AdaptRegressor(RegressorMixin, _Adapt):  # type: ignore[misc]
    """Regression in a domain without labels. Parameters and errors as in `AdaptClassifier`."""

    def fit(self, X: Any, y: Any, domain: Any = None, few: Any = None) -> AdaptRegressor:
        """Fit on N inputs, N numbers and the domain [N] of each; few: as in `AdaptClassifier.fit`."""
        X, y, rows = self._checked(X, y, domain, few, y_numeric=True, ensure_min_samples=2)
        numbers = np.asarray(y, np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("Input y contains NaN or infinity.")
        from headstart.tasks.regression import Regression

        spread = float(numbers.std())
        task = Regression(float(numbers.mean()), spread if spread > 0 else 1.0)
        self.__dict__.pop("fitted_", None)
        if (method := self._deep(rows)) is not None:
            self._train(task, X, numbers.tolist(), rows, method)
            return self
        self._adapt(task, self._prepare(X, rows.labelled), np.asarray(task.encode(numbers.tolist())), rows)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of each of N inputs, [N]."""
        check_is_fitted(self, "history_")
        return np.asarray(self.task_.decode(self._outputs(X)).values, dtype=np.float64)
