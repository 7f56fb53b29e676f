"""A scikit-learn estimator that goes on from a fitted one to another domain, without labels and without its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from headstart.errors import UsageError
from headstart.estimators import dataset_of, rows_of


class SourceFreeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier goes on to another domain, of which it sees inputs alone; none of its own rows is read.

    estimator: a fitted `TransferClassifier` or `AdaptClassifier` of texts, images or sounds; it stays as it is. method:
    one that goes on from a model (``shot``). settings: of the method. seed: all randomness. Learned: ``classes_`` [C];
    ``collapsed_``, whether the adapted model gathered the rows in few classes, so that the model from before predicts;
    ``history_``. Raises UsageError HS-USAGE-001, MethodError HS-METHOD-003 for a model without a network to train.
    """

    def __init__(
        self, estimator: Any, method: str = "shot", settings: dict[str, Any] | None = None, seed: int = 0
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.settings = settings
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> SourceFreeClassifier:
        """Adapt to N inputs; y is not read."""
        from headstart import catalog
        from headstart.methods.base import Problem, make
        from headstart.nn.collapse import collapsed

        before = getattr(self.estimator, "fitted_", None)
        if before is None or not hasattr(self.estimator, "classes_"):
            raise UsageError(
                "HS-USAGE-001", f"{type(self.estimator).__name__} is no fitted classifier of texts, images or sounds.",
                "Fit a TransferClassifier or an AdaptClassifier first.",
            )  # fmt: skip
        found = catalog.find("methods", self.method)
        if "model" not in found.needs:
            raise UsageError("HS-USAGE-001", f"{self.method} does not go on from a model.", "Choose shot.")
        method, goal = make(found, dict(self.settings or {})), self._rows(X)
        problem = Problem(goal, None, before.task, None, None, seed=self.seed, domain=goal, model=before)
        after = method.fit(problem)
        self.collapsed_ = collapsed(after.outputs(goal), before.outputs(goal))
        self.fitted_ = before if self.collapsed_ else after
        self.classes_, self.history_ = self.estimator.classes_, {"epochs": after.history}
        return self

    def _rows(self, X: Any) -> Any:
        return dataset_of(rows_of(X, self.estimator.kind_), self.estimator.kind_, None, "")

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [N,C] in the order of ``classes_``."""
        check_is_fitted(self, "fitted_")
        order = np.argsort(np.asarray(self.fitted_.task.classes, dtype=int))
        probabilities = self.fitted_.task.decode(self.fitted_.outputs(self._rows(X))).probabilities
        return np.asarray(probabilities)[:, order]

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each of N inputs."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
