"""scikit-learn estimators: a pretrained source where scikit-learn expects ``fit`` and ``predict``.

X is a list of texts, a list of image paths, PIL images or arrays, a 4-D uint8 array [N,H,W,C], or a numeric 2-D array
[N,D]: features that somebody has extracted already, which get the same linear head on standardised columns (source
"identity"). They fit the method alone; the evidence is scikit-learn's own cross-validation. Features of texts and
images are kept on disk, so that a grid search runs the source over each row once.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from headstart.datasets import clip
from headstart.datasets.base import IMAGE_SUFFIXES, Column, Dataset
from headstart.errors import UsageError
from headstart.types import Prediction

if TYPE_CHECKING:
    from headstart.methods.base import Fitted
    from headstart.sources.base import Source
    from headstart.tasks.base import Task

DEFAULTS = {"text": "minilm", "image": "mobilenet_v2", "audio": "whisper_tiny_en"}
"""What source "auto" means for each modality."""

EFFORTS: dict[str, int] = {"quick": 3, "balanced": 5, "thorough": 10}
"""Folds of the cross-validation that chooses the strength of a linear head."""

InputKind = Literal["text", "image", "audio", "numeric"]


def kind_of(X: Any) -> InputKind:
    """What an input is, by its type and its first item: ``text``, ``image``, ``audio`` or ``numeric``.

    Sounds are paths, bytes of sound files, ``(array, rate)``, or dicts with ``array`` and ``sampling_rate``.
    """
    if hasattr(X, "toarray") or hasattr(X, "columns"):
        return "numeric"
    if isinstance(X, np.ndarray) and X.dtype != object and X.dtype.kind not in "US":
        return "image" if X.ndim == 4 else "numeric"
    first = next(iter(np.ravel(X)), None) if isinstance(X, np.ndarray) else next(iter(X), None) if _listed(X) else None
    if clip.numbers(first) is not None or (isinstance(first, bytes) and clip.is_sound(first)):
        return "audio"
    if isinstance(first, str | Path) and clip.is_sound_path(str(first)):
        return "audio"
    if isinstance(first, str):
        return "image" if Path(first).suffix.lower() in IMAGE_SUFFIXES and Path(first).is_file() else "text"
    if isinstance(first, Path | bytes) or hasattr(first, "getbands"):
        return "image"
    return "image" if isinstance(first, np.ndarray) and first.ndim in (2, 3) else "numeric"


def _listed(X: Any) -> bool:
    return hasattr(X, "__iter__") and hasattr(X, "__len__") and not isinstance(X, str | bytes | dict)


def rows_of(X: Any, kind: InputKind) -> list[Any]:
    """The N input values of texts, images or sounds as what a dataset holds: str, or a path or encoded bytes."""
    items = list(np.ravel(X)) if isinstance(X, np.ndarray) and X.ndim < 3 else list(X)
    if kind == "audio":
        return [_stored_sound(place, item) for place, item in enumerate(items)]
    if kind == "image":
        return [_stored_image(item) for item in items]
    wrong = next((place for place, item in enumerate(items) if not isinstance(item, str)), None)
    if wrong is not None:
        raise UsageError(
            "HS-USAGE-001", f"X[{wrong}] is a {type(items[wrong]).__name__} among texts.", "Give a list of str."
        )
    return [str(item) for item in items]


def _stored_sound(place: int, item: Any) -> str | bytes:
    if isinstance(item, str | Path):
        return str(item)
    if isinstance(item, bytes):
        return item
    given = clip.numbers(item)
    if given is None:
        raise UsageError("HS-USAGE-001", f"X[{place}] is no sound.", "Give a path, bytes, or (array, rate).")
    try:
        return clip.wav(*given)
    except ValueError as error:
        raise UsageError("HS-USAGE-001", f"X[{place}]: {error}.", "Give [n] or [n,C] numbers and a rate.") from error


def _stored_image(item: Any) -> str | bytes:
    if isinstance(item, str | Path):
        return str(item)
    if isinstance(item, bytes):
        return item
    from PIL import Image

    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8:
            raise UsageError("HS-USAGE-001", f"an image array has the type {item.dtype}.", "Give uint8, 0 to 255.")
        item = Image.fromarray(item.squeeze(-1) if item.ndim == 3 and item.shape[-1] == 1 else item)
    stream = io.BytesIO()
    item.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def dataset_of(
    rows: Sequence[Any], kind: Literal["text", "image", "audio"], target: Sequence[Any] | None, what: str
) -> Dataset:
    """A dataset with the columns ``input`` and, where ``target`` is given, ``target`` of the kind ``what``."""
    import datasets

    data: dict[str, list[Any]] = {"input": list(rows)}
    columns = [Column("input", "input", kind)]
    if target is not None:
        data["target"] = list(target)
        columns.append(Column("target", "target", what))  # type: ignore[arg-type]
    return Dataset(datasets.Dataset.from_dict(data), columns, origin="X")


def scaling(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and deviation [D] of the columns of X; 1 for a column that does not vary."""
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    return mean, np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(mean)), deviation, 1.0)


@lru_cache(maxsize=2)
def opened(name: str) -> Source:
    """The source of this name, opened once."""
    from headstart.sources.shelf import open_source

    return open_source(name)


class _Transfer(BaseEstimator):  # type: ignore[misc]
    """What both estimators share. Learned: ``fitted_`` (texts, images) or ``coef_`` [C,D], ``intercept_`` [C]."""

    _task: str
    _target_kind: str

    def __init__(
        self,
        source: Any = "auto",
        method: str = "probe",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        effort: str = "balanced",
    ) -> None:
        self.source = source
        self.method = method
        self.settings = settings
        self.seed = seed
        self.effort = effort

    # --- fitting -----------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any) -> None:
        """Learn from inputs and encoded targets y [N]; ``self.kind_`` is known."""
        if self.effort not in EFFORTS:
            raise UsageError("HS-USAGE-001", f'effort is "{self.effort}".', f"Expected one of {', '.join(EFFORTS)}.")
        if self.kind_ == "numeric":
            self._fit_numeric(X, y)
        else:
            self._fit_source(X, y)

    def _fit_numeric(self, X: np.ndarray, y: np.ndarray) -> None:
        from headstart.nn.linear import fit_linear

        settings = dict(self.settings or {})
        unknown = set(settings) - {"strength", "folds"}
        if self.source not in ("auto", "identity") or self.method != "probe" or unknown:
            raise UsageError(
                "HS-USAGE-001",
                f"X is numeric, which only the linear head reads (source {self.source!r}, method {self.method!r}, "
                f"settings {sorted(settings)}).",
                'Use source "identity", method "probe", settings strength and folds; or give texts or images.',
            )
        self.mean_, self.scale_ = scaling(X)
        rows = dataset_of([""] * len(X), "text", y.tolist(), self._target_kind)
        self.task_ = self._learn(rows)
        strength = settings.get("strength", 0.0)
        fit = fit_linear(
            self.task_,
            (X - self.mean_) / self.scale_,
            self.task_.encode(rows.targets()),
            seed=self.seed,
            strengths=[strength] if strength else None,
            folds=settings.get("folds", EFFORTS[self.effort]),
        )
        self.coef_, self.intercept_, self.strength_ = fit.weight, fit.bias, fit.strength

    def _fit_source(self, X: Any, y: np.ndarray) -> None:
        from headstart import catalog
        from headstart.methods.base import Problem, make
        from headstart.runtime import Extractor

        found = catalog.find("methods", self.method)
        settings = dict(self.settings or {})
        if "folds" in {field.name for field in _fields(found)}:
            settings.setdefault("folds", EFFORTS[self.effort])
        method = make(found, settings)
        train = dataset_of(rows_of(X, self.kind_), self.kind_, y.tolist(), self._target_kind)
        self.task_ = self._learn(train)
        valid = None
        if method.gradients:
            train, valid = self._hold_out(train)
        source = self._source()
        extractor = Extractor(source) if source is not None else None
        problem = Problem(train, valid, self.task_, source, extractor, seed=self.seed)
        self.fitted_: Fitted = method.fit(problem)

    def _source(self) -> Source | None:
        if not isinstance(self.source, str):
            return self.source  # type: ignore[no-any-return]
        return opened(DEFAULTS[self.kind_] if self.source == "auto" else self.source)

    def _learn(self, dataset: Dataset) -> Task:
        from headstart import catalog

        task: Task = catalog.find("tasks", self._task).learn(dataset)
        return task

    def _hold_out(self, dataset: Dataset) -> tuple[Dataset, Dataset]:
        """A fifth of the rows for early stopping, stratified where every stratum has two rows."""
        from sklearn.model_selection import train_test_split

        strata = self.task_.strata(dataset.targets())
        if strata is not None and (np.unique(strata, return_counts=True)[1] < 2).any():
            strata = None
        rows = np.arange(len(dataset))
        kept, held = train_test_split(rows, test_size=0.2, random_state=self.seed, stratify=strata)
        return dataset.select(sorted(kept)), dataset.select(sorted(held))

    # --- predicting --------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> np.ndarray:
        """Raw outputs [N,C] of the task."""
        check_is_fitted(self, "kind_")
        if self.kind_ == "numeric":
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
            return np.asarray(((X - self.mean_) / self.scale_) @ self.coef_.T + self.intercept_)
        rows = rows_of(X, self.kind_)
        return np.asarray(self.fitted_.outputs(dataset_of(rows, self.kind_, None, "")))

    def _decoded(self, X: Any) -> Prediction:
        outputs = self._outputs(X)
        return self.task_.decode(outputs)


class TransferClassifier(ClassifierMixin, _Transfer):  # type: ignore[misc]
    """Classification with a pretrained source.

    source: "auto", a name on the shelf, ``hf:``/``timm:``/``torchvision:``, a folder, or a `Source`. method: a name of
    `headstart methods`. settings: its hyperparameters. seed: all randomness. effort: quick, balanced or thorough.
    Learned: ``classes_`` [C]. Raises UsageError HS-USAGE-001, and the errors of the source, the method and the task.
    """

    _task = "classification"
    _target_kind = "category"

    def fit(self, X: Any, y: Any) -> TransferClassifier:
        """Fit on N inputs and N labels."""
        self.kind_ = kind_of(X)
        if self.kind_ == "numeric":
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        else:
            check_consistent_length(X, y)
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError("HS-USAGE-001", f"y holds one class only: {self.classes_.tolist()}.", "Give two or more.")
        self._fit(X, codes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [N,C] in the order of ``classes_``."""
        probabilities = self._decoded(X).probabilities
        assert probabilities is not None
        return np.asarray(probabilities)[:, self._order()]

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits [N,C] in the order of ``classes_``, or for two classes the log odds [N] of the second."""
        logits = self._outputs(X)[:, self._order()]
        return np.asarray(logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def _order(self) -> np.ndarray:
        """The output column of each class [C]."""
        return np.argsort(np.asarray(self.task_.classes, dtype=int))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each of N inputs."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[likeliest])


class TransferRegressor(RegressorMixin, _Transfer):  # type: ignore[misc]
    """Regression with a pretrained source. Parameters and errors as in `TransferClassifier`."""

    _task = "regression"
    _target_kind = "number"

    def fit(self, X: Any, y: Any) -> TransferRegressor:
        """Fit on N inputs and N numbers."""
        self.kind_ = kind_of(X)
        if self.kind_ == "numeric":
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=True, ensure_min_samples=2)
        else:
            check_consistent_length(X, y)
            y = column_or_1d(y, warn=True)
        self._fit(X, np.asarray(y, dtype=np.float64))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of each of N inputs, [N]."""
        return np.asarray(self._decoded(X).values, dtype=np.float64)


def _fields(method: Any) -> Any:
    import dataclasses

    return dataclasses.fields(method)
