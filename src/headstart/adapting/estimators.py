"""scikit-learn estimators for two domains: ``fit(X, y, domain=...)``, ``predict`` for the target domain.

Rows whose ``domain`` is ``to`` are the target domain: their y is not read, whatever stands there. All other rows are
labelled, of one domain or several. Without ``domain`` there is nothing to adapt to, and the head of the labelled rows
is what predicts. X as in `headstart.estimators`: numbers [N,D], texts, or images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from headstart.errors import MethodError, UsageError
from headstart.estimators import DEFAULTS, dataset_of, kind_of, opened, rows_of, scaling

if TYPE_CHECKING:
    from headstart.methods.adaptation import Aligned, Reader
    from headstart.tasks.base import Task


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

    def _checked(self, X: Any, y: Any, domain: Any, *, y_numeric: bool = False, ensure_min_samples: int = 1) -> Any:
        """X, y of the labelled rows, the places of labelled and of target rows, and the domain of each labelled row."""
        self.kind_ = kind_of(X)
        if self.kind_ == "numeric" and domain is None:
            X, y = validate_data(
                self, X, y, dtype=[np.float64, np.float32], y_numeric=y_numeric, ensure_min_samples=ensure_min_samples
            )
        elif self.kind_ == "numeric":
            X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_consistent_length(X, y)
        y = column_or_1d(y, warn=True)
        labelled, theirs, domains = self._two(len(y), domain)
        return X, y[labelled], labelled, theirs, domains

    def _adapt(self, task: Task, X: Any, y: Any, target: Any, domain: np.ndarray | None) -> None:
        """Learn from features X [n,D], encoded y and features of the target domain [m,D], or None."""
        from headstart.methods.adaptation import Adaptation, Domains
        from headstart.methods.base import make
        from headstart.nn.heads import choose

        method = make(self._found(target), dict(self.settings or {}))
        assert isinstance(method, Adaptation)
        if task.name not in (method.tasks or (task.name,)):
            raise MethodError("HS-METHOD-003", f"{method.name} cannot do {task.name}.", "Choose another method.")
        recipe = choose(task, X, y, method.hyperparameters()["head"], seed=self.seed)
        given = Domains(task, X, y, X if target is None else target, recipe, domain, seed=self.seed)
        aligned: Aligned
        self.maps_, aligned, _ = method.adapt(given)
        self.history_ = dict(aligned.history or {})
        self.task_ = task

    def _train(self, task: Task, X: Any, y: list[Any], labelled: np.ndarray, theirs: np.ndarray, method: Any) -> None:
        """Train a network on the labelled rows with the target rows beside them. y: n labels or numbers."""
        from headstart.methods.base import Problem

        if self.kind_ == "numeric":
            raise MethodError(
                "HS-METHOD-003", f"{method.name} trains a network, and X holds numbers.",
                "Give texts or images, or choose coral, ot, ...",
            )  # fmt: skip
        rows = rows_of(X, self.kind_)
        what = "category" if task.classes else "number"
        train = dataset_of([rows[at] for at in labelled], self.kind_, y, what)
        goal = dataset_of([rows[at] for at in theirs], self.kind_, None, "")
        source = self._source()
        method.admit(task, source, train, ["domain"])
        extractor = self._extractor(source)
        self.fitted_ = method.fit(Problem(train, None, task, source, extractor, seed=self.seed, domain=goal))
        self.history_, self.task_ = {"epochs": self.fitted_.history}, task

    def _deep(self, target: np.ndarray) -> Any:
        """The method that is to train a network, or None."""
        from headstart.methods.adaptation import Adaptation
        from headstart.methods.base import make

        found = self._found(target if len(target) else None)
        return None if issubclass(found, Adaptation) else make(found, dict(self.settings or {}))

    def _found(self, target: Any) -> Any:
        from headstart import catalog

        if target is None:
            return catalog.find("methods", "sourceonly")
        found = catalog.find("methods", "adapt" if self.method == "auto" else self.method)
        if "domain" not in found.needs:
            raise UsageError("HS-USAGE-001", f"{self.method} does not adapt to a domain.", "Choose coral, ot, ...")
        return found

    def _two(self, rows: int, domain: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Places of the labelled rows and of the target rows; the number of the domain of each labelled row."""
        if domain is None:
            return np.arange(rows), np.arange(0), None
        names = np.asarray(domain)
        if names.shape != (rows,):
            raise UsageError("HS-USAGE-001", f"domain has the shape {names.shape}; X has {rows} rows.", "Give [N].")
        theirs = names == self.to
        if not theirs.any() or theirs.all():
            raise UsageError(
                "HS-USAGE-001", f"{int(theirs.sum())} of {rows} rows are of the domain {self.to!r}; expected some.",
                "Name the target domain with to=.",
            )  # fmt: skip
        return np.flatnonzero(~theirs), np.flatnonzero(theirs), np.unique(names[~theirs], return_inverse=True)[1]

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

    def fit(self, X: Any, y: Any, domain: Any = None) -> AdaptClassifier:
        """Fit on N inputs, N labels (those of the target domain are not read) and the domain [N] of each."""
        X, y, labelled, theirs, domains = self._checked(X, y, domain)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError("HS-USAGE-001", f"y holds one class only: {self.classes_.tolist()}.", "Give two or more.")
        from headstart.tasks.classification import Classification

        task = Classification(list(range(len(self.classes_))))
        self.__dict__.pop("fitted_", None)
        if (method := self._deep(theirs)) is not None:
            self._train(task, X, codes.tolist(), labelled, theirs, method)
            return self
        F = self._prepare(X, labelled)
        self._adapt(task, F[labelled], codes, F[theirs] if len(theirs) else None, domains)
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

    def fit(self, X: Any, y: Any, domain: Any = None) -> AdaptRegressor:
        """Fit on N inputs, N numbers (those of the target domain are not read) and the domain [N] of each."""
        X, y, labelled, theirs, domains = self._checked(X, y, domain, y_numeric=True, ensure_min_samples=2)
        numbers = np.asarray(y, np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("Input y contains NaN or infinity.")
        from headstart.tasks.regression import Regression

        spread = float(numbers.std())
        task = Regression(float(numbers.mean()), spread if spread > 0 else 1.0)
        self.__dict__.pop("fitted_", None)
        if (method := self._deep(theirs)) is not None:
            self._train(task, X, numbers.tolist(), labelled, theirs, method)
            return self
        F = self._prepare(X, labelled)
        encoded = np.asarray(task.encode(numbers.tolist()))
        self._adapt(task, F[labelled], encoded, F[theirs] if len(theirs) else None, domains)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of each of N inputs, [N]."""
        check_is_fitted(self, "history_")
        return np.asarray(self.task_.decode(self._outputs(X)).values, dtype=np.float64)
