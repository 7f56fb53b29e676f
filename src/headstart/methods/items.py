"""What the methods for interactions share: recipes of item models, the choice among them, and the model fitted.

A recipe makes an `ItemWeights` of the interactions of the training rows (history and next items together). Which recipe
and which share of popularity is chosen by NDCG@10 on the validation rows or, without these, out of fold: by users, or
by items where items are held out as new ones, since there that is what a model must do without.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.errors import ArtefactError, MethodError, did_you_mean, missing_package
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.people import CUTS, People, chosen_half, chosen_strength
from headstart.nn.ease import ease, told_by_content
from headstart.nn.item_weights import BLOCK, ItemWeights, matrix
from headstart.tasks.base import Task
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json, LayerRow, Outputs

Array = np.ndarray

MIXES = (1e-3, 0.1, 0.3, 1.0, 3.0)
"""Shares of popularity that are tried."""

STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CONTENT_STRENGTHS, SHIFTS = (100.0, 1000.0), (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the ridges where contents tell; the wider the shift, the more alike are the columns that contents tell."""

USERS = (0.0, 10.0, 100.0, 1e6)
"""Users of the target for which the source's popularity counts."""

WORDS = 4000
MOST = 2500
"""Items that a dense matrix of weights speaks of: the most popular ones."""

WINDOW = 4.0
"""How many times a strength may be another one's to be tried beside it."""

FOLDS, ENOUGH, MANY, JUDGED = 3, 300, 3000, 1000
"""Folds of the choice; rows from which one fold of items, or of users, is enough; rows on which a choice is judged."""

SCORED = 5_000_000
"""Scores a choice looks at in one trial: rows times items; `LEAST` rows are judged all the same."""

LEAST = 300


class Recipe(ABC):
    """A kind of model with its settings. Subclasses are final."""

    kind: str
    settings: Json
    users: Sequence[float] = (0.0,)

    @abstractmethod
    def build(self, X: Any) -> ItemWeights:
        """The model of the interactions X [N,I]; its popularity counts users."""

    def popularity(self, model: ItemWeights, X: Any, users: float) -> Array:
        """The popularity [I], 1 for the first. users: for how many the source's counts, of those in ``users``."""
        return _largest1(model.popularity)


@dataclass(frozen=True)
class Prior:
    """What a source knows of the task's items. weights: [K,K] between the items ``known`` [K], or None. popularity:
    [I], the share of users, or None. vectors: [I,D] of unit length, zero where nothing is known, or None.
    """

    weights: Array | None = None
    known: Array | None = None
    popularity: Array | None = None
    vectors: Array | None = None

    def among(self, items: Array) -> Array | None:
        """The weights between these items [M], [M,M] float32, zero where nothing is known; None without any."""
        if self.weights is None or self.known is None:
            return None
        made = np.zeros((len(items), len(items)), np.float32)
        _, here, there = np.intersect1d(items, self.known, return_indices=True)
        made[np.ix_(here, here)] = self.weights[np.ix_(there, there)]
        return made


class Popular(Recipe):
    """The most popular items, to everybody."""

    kind = "popularity"

    def __init__(self) -> None:
        self.settings: Json = {}

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`."""
        none = np.zeros(0, np.int64)
        return ItemWeights(none, none, np.zeros((0, 0), np.float32), _counts(X)).scaled(X)


class Ridge(Recipe):
    """EASE (`headstart.nn.ease`), alone or towards what a source knows.

    strength: of the ridge; infinity: the source's weights as they are. shift: of the kernel ridge from contents, where
    there are vectors. more: further settings, of how the prior was made.
    """

    def __init__(
        self, strength: float, *, prior: Prior | None = None, shift: float = 0.0, told: str = "",
        more: Json | None = None,
    ) -> None:  # fmt: skip
        self.prior, self.strength, self.shift = prior, strength, shift
        self.kind = "EASE" if prior is None else f"EASE towards {told}"
        self.settings: Json = {"strength": None if strength == np.inf else strength, **(more or {})}
        if prior is not None and prior.vectors is not None:
            self.settings["shift"] = shift
        if prior is not None and prior.popularity is not None:
            self.users = USERS

    def popularity(self, model: ItemWeights, X: Any, users: float) -> Array:
        """See `Recipe`: (counts + users * the source's) / (N + users)."""
        if self.prior is None or self.prior.popularity is None:
            return _largest1(model.popularity)
        return _largest1(model.popularity + users * self.prior.popularity)

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`."""
        counts, prior = _counts(X), self.prior
        weight = counts if prior is None or prior.popularity is None else counts + prior.popularity
        kept = np.sort(np.argsort(-weight, kind="stable")[:MOST])
        kept = kept[weight[kept] > 0]
        part = X[:, kept]
        if prior is None:
            return ItemWeights(kept, kept, ease(part, self.strength), counts).scaled(X)
        W = ease(part, self.strength, prior.among(kept))
        if prior.vectors is None:
            return ItemWeights(kept, kept, W, counts).scaled(X)
        return self._by_content(X, part, kept, counts, W, prior.vectors)

    def _by_content(self, X: Any, part: Any, kept: Array, counts: Array, W: Array, V: Array) -> ItemWeights:
        """Columns of new items as their contents tell, and the others drawn towards what theirs tell."""
        known = np.abs(V).sum(axis=1) > 0
        new = np.setdiff1d(np.flatnonzero(known), kept)
        told = np.concatenate([W, counts[None, kept]])  # popularity is told by content as well
        inside, outside = told_by_content(told, V[kept], V[new], self.shift)
        B = np.where(known[kept], inside[:-1], W)
        B[np.diag_indices(len(B))] = 0
        W = np.concatenate([ease(part, self.strength, B), outside[:-1]], axis=1)
        popularity = counts.copy()
        popularity[new] = np.maximum(outside[-1], 0)
        return ItemWeights(kept, np.concatenate([kept, new]), W, popularity).scaled(X)


class Neighbours(Recipe):
    """Item-kNN of the library ``implicit``: the ``size`` most similar items of each, by cosine, TF-IDF or BM25."""

    def __init__(self, weighting: str, size: int) -> None:
        self.weighting, self.size = weighting, size
        self.kind = "item-kNN"
        self.settings: Json = {"weighting": weighting, "neighbours": size}

    def build(self, X: Any) -> ItemWeights:
        """See `Recipe`. Raises EnvironmentProblem HS-ENV-001 where ``implicit`` is not installed."""
        try:
            from implicit import nearest_neighbours
        except ImportError as error:
            raise missing_package("implicit", "recommendation") from error
        from scipy.sparse import csr_matrix

        kind = {
            "cosine": nearest_neighbours.CosineRecommender,
            "TF-IDF": nearest_neighbours.TFIDFRecommender,
            "BM25": nearest_neighbours.BM25Recommender,
        }[self.weighting]
        model = kind(K=self.size, num_threads=1)
        with warnings.catch_warnings():  # it warns of a conversion of its own
            warnings.simplefilter("ignore")
            model.fit(csr_matrix(X, dtype=np.float64), show_progress=False)
        every = np.arange(X.shape[1])
        return ItemWeights(every, every, csr_array(model.similarity, dtype=np.float32), _counts(X)).scaled(X)


def classical(dataset: Dataset, task: Recommendation) -> list[Recipe]:
    """What a careful person would try without a source: popularity, item-kNN, EASE, and contents by TF-IDF."""
    found: list[Recipe] = [Popular()]
    found += [Neighbours(weighting, size) for weighting in ("cosine", "TF-IDF", "BM25") for size in (20, 100)]
    found += [Ridge(strength) for strength in STRENGTHS]
    if dataset.items is not None and any(dataset.items.texts):
        prior = Prior(vectors=word_vectors(dataset.items.texts))
        found += [
            Ridge(s, prior=prior, shift=shift, told="TF-IDF of contents") for s in CONTENT_STRENGTHS for shift in SHIFTS
        ]
    return found


def word_vectors(texts: Sequence[str]) -> Array:
    """TF-IDF of the words of each text, [I,D] float32 of unit length; zero for an empty text."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    reader = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", max_features=WORDS)
    return np.asarray(reader.fit_transform(texts).toarray(), np.float32)


def _largest1(counts: Array) -> Array:
    top = float(counts.max(initial=0))
    return np.asarray(counts / top if top > 0 else counts)


def _counts(X: Any) -> Array:
    return np.asarray(X.sum(axis=0), np.float64).ravel()


# --- choosing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """X: interactions to learn from, of the users of ``learned``. given: histories of the rows ``rows``, which judge.
    targets: what came next. among: [I] bool of the items that are ranked, or None for all.
    """

    X: Any
    given: Any
    targets: list[Array]
    learned: Dataset
    rows: Dataset
    among: Array | None = None


def trials(problem: Problem) -> Iterator[Trial]:
    """The validation rows, or folds of the training rows; see the module."""
    task = recommending(problem.task)
    past, later = encoded(problem.train, task)
    rng = np.random.default_rng([problem.seed, 5])
    if problem.valid is not None:
        given, targets = encoded(problem.valid, task)
        some = np.sort(rng.permutation(len(given))[: judged_rows(task)]).tolist()
        yield Trial(
            matrix(joined(past, later), task.width), matrix([given[i] for i in some], task.width),
            [targets[i] for i in some], problem.train, problem.valid.select(some),
        )  # fmt: skip
        return
    whole = joined(past, later)
    if len(task.parts):  # new items are told by items left out
        fold = rng.permutation(task.width) % FOLDS
        for number in range(FOLDS if len(whole) < ENOUGH else 1):
            out = fold == number
            kept = [row[(row < 0) | ~out[row]] for row in whole]
            wanted = [row[(row >= 0) & out[row]] for row in whole]
            some = [i for i in rng.permutation(len(whole)).tolist() if len(kept[i]) and len(wanted[i])][
                : judged_rows(task)
            ]
            X = matrix(kept, task.width)
            yield Trial(X, X[some], [wanted[i] for i in some], problem.train, problem.train.select(some), out)
        return
    folds = FOLDS if len(whole) < MANY else 6
    fold = rng.permutation(len(whole)) % folds
    for number in range(folds if folds == FOLDS else 1):
        rest, rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)[: judged_rows(task)]
        if len(rest) and len(rows):
            yield Trial(
                matrix([whole[i] for i in rest], task.width), matrix([past[i] for i in rows], task.width),
                [later[i] for i in rows], problem.train.select(rest.tolist()), problem.train.select(rows.tolist()),
            )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A recipe, the share of popularity, for how many users the source's popularity counts, and strength and half of
    the features of users (`headstart.methods.people`), or None.
    """

    recipe: Recipe
    mix: float = MIXES[0]
    users: float = 0.0
    people: tuple[float, float] | None = None

    def build(self, X: Any) -> ItemWeights:
        """The model of the interactions X [N,I]."""
        model = self.recipe.build(X)
        return model.mixed(self.recipe.popularity(model, X, self.users), self.mix)


def choose(problem: Problem, recipes: Sequence[Recipe]) -> tuple[Choice, dict[str, float]]:
    """What ranks best, of equals the first; and the best score of each kind of recipe."""
    task = recommending(problem.task)
    judge = task if problem.valid is not None else Recommendation(task.items)
    parts = list(trials(problem))

    def judged(recipe: Recipe, some: Sequence[Choice]) -> Array:
        total = np.zeros(len(some))
        for trial in parts:
            model = recipe.build(trial.X)
            added = [each.mix * recipe.popularity(model, trial.X, each.users) for each in some]
            left_out = None if trial.among is None else ~trial.among[None]
            for at in range(0, len(trial.targets), BLOCK):
                wanted = trial.targets[at : at + BLOCK]
                for place, scores in enumerate(model.scores(trial.given[at : at + BLOCK], added)):
                    found = judge.statistics(judge.best(scores, left_out), wanted)[:, 0].sum()
                    total[place] += found / len(trial.targets) / len(parts)
        return total

    by_kind: dict[str, float] = {}
    best, top = Choice(recipes[0]), -1.0
    for recipe in recipes:
        some = [Choice(recipe, mix, recipe.users[len(recipe.users) // 2]) for mix in MIXES]
        found = judged(recipe, some)
        by_kind[recipe.kind] = max(by_kind.get(recipe.kind, 0.0), float(found.max()))
        if found.max() > top:
            best, top = some[int(found.argmax())], float(found.max())
    if len(best.recipe.users) > 1:  # how far the source's popularity is believed, once the weights are chosen
        some = [Choice(best.recipe, mix, users) for users in best.recipe.users for mix in MIXES]
        found = judged(best.recipe, some)
        best, top = some[int(found.argmax())], float(found.max())
        by_kind[best.recipe.kind] = max(by_kind[best.recipe.kind], top)
    return best, by_kind


def fit_items(method: Method, problem: Problem, recipes: Sequence[Recipe], recipe: str, near: float) -> ItemsFitted:
    """Choose, then build on all training rows. recipe, near: of the method, see `admitted`.

    The method of the result keeps the kind that was chosen, and the strength's neighbourhood.
    """
    choice, by_kind = choose(problem, admitted(recipes, recipe, near))
    choice, features = with_people(problem, choice)
    facts: Json = {"model": choice.recipe.kind, **choice.recipe.settings, "popularity": choice.mix, **features}
    if len(choice.recipe.users) > 1:
        facts["users"] = choice.users
    strength = choice.recipe.settings.get("strength")
    settled: Any = replace(method, recipe=choice.recipe.kind, near=strength or 0.0)  # type: ignore[call-arg]
    return built(settled, problem, choice, {**facts, "on validation": by_kind})


def with_people(problem: Problem, choice: Choice) -> tuple[Choice, Json]:
    """The choice with the features of users, where these rank users without a history better; and what was found."""
    task = recommending(problem.task)
    every = joined(*encoded(problem.train, task))
    found = chosen_strength(
        problem.train, matrix(every, task.width), every, task, problem.seed, judged_rows(task)
    )  # fmt: skip
    if found is None:
        return choice, {}
    strength, scores = found
    judge, parts = Recommendation(task.items), []
    for trial in trials(problem):
        model, people = choice.build(trial.X), People.fit(trial.learned, trial.X, strength)
        whole, told = joined(*encoded(trial.rows, task)), people.told(trial.rows)
        for cut in CUTS:
            kept = [row for row, items in enumerate(whole) if len(items) > cut]
            if kept:
                given, wanted = matrix([whole[row][:cut] for row in kept], task.width), [whole[r][cut:] for r in kept]
                parts.append((model, people, given, told[kept], wanted))

    def score(half: float) -> float:
        total = 0.0
        for model, people, given, told, wanted in parts:
            own = replace(people, half=half)
            added = own.added(told, np.diff(given.indptr), model.popularity, model.mix)
            total += judge.score(judge.best(next(model.scores(given, [added]))), wanted)
        return total

    half = chosen_half(score)
    return replace(choice, people=(strength, half)), {"features": {"strength": strength, "half": half, **scores}}


def admitted(recipes: Sequence[Recipe], kind: str, near: float) -> list[Recipe]:
    """The recipes of a kind (``auto``: all) whose strength is within `WINDOW` times of ``near`` (0: any).

    Raises MethodError HS-METHOD-002 for an unknown kind.
    """
    found = [each for each in recipes if kind in ("auto", each.kind)]
    if not found:
        raise MethodError(
            "HS-METHOD-002", f'recipe is "{kind}".', did_you_mean(kind, {"auto", *(r.kind for r in recipes)})
        )
    strengths = [each.settings.get("strength") for each in found]
    close = [e for e, s in zip(found, strengths) if not near or not s or near / WINDOW <= s <= near * WINDOW]
    return close or found


def built(method: Method, problem: Problem, choice: Choice, facts: Json) -> ItemsFitted:
    """The model of all training rows."""
    task = recommending(problem.task)
    X = matrix(joined(*encoded(problem.train, task)), task.width)
    people = None if choice.people is None else People.fit(problem.train, X, *choice.people)
    fitted = ItemsFitted(method, task, choice.build(X), [facts], people)
    fitted.choice = choice
    return fitted


def refitted(fitted: ItemsFitted, problem: Problem) -> ItemsFitted | None:
    """The same choice on other rows."""
    return None if fitted.choice is None else built(fitted.method, problem, fitted.choice, fitted.history[-1])


def recommending(task: Task) -> Recommendation:
    """The task, which is this one."""
    assert isinstance(task, Recommendation)
    return task


def encoded(dataset: Dataset, task: Recommendation) -> tuple[list[Array], list[Array]]:
    """Item numbers of the past and of what came next; nothing came next where there is no target column."""
    later = dataset.targets() if dataset.target is not None else [()] * len(dataset)
    return task.encode(histories(dataset)), task.encode(later)


def judged_rows(task: Recommendation) -> int:
    """Rows on which a choice is judged: fewer where there are many items."""
    return max(LEAST, min(JUDGED, SCORED // task.width))


def joined(past: Sequence[Array], later: Sequence[Array]) -> list[Array]:
    """Past and next items of each row together."""
    return [np.concatenate(pair) for pair in zip(past, later)]


# --- the model ---------------------------------------------------------------------------------------------------


class ItemsFitted(Fitted):
    """Item weights and popularity; people: what features of users say of items, or None. choice: what made them; not
    saved.
    """

    kind: ClassVar[str] = "methods.items"

    def __init__(
        self, method: Method, task: Recommendation, model: ItemWeights, history: list[Json],
        people: People | None = None,
    ) -> None:  # fmt: skip
        self.method, self.task, self.model, self.history, self.people = method, task, model, history, people
        self.choice: Choice | None = None

    @property
    def description(self) -> str:
        """The kind of model."""
        return str(self.history[-1]["model"])

    def outputs(self, dataset: Dataset) -> Outputs:
        """The best items of each row, [N,P,K,2] (see `headstart.tasks.recommendation`), in blocks of users."""
        task = recommending(self.task)
        X, people = matrix(task.encode(histories(dataset)), task.width), self.people
        if people is None:
            return self.model.outputs(X, task)
        counts, model = np.diff(X.indptr), self.model

        def added(part: slice) -> Array:
            told = people.told(dataset.select(range(len(dataset))[part]))
            return people.added(told, counts[part], model.popularity, model.mix)

        return model.outputs(X, task, added)

    def trained(self) -> list[LayerRow]:
        """The weights between items."""
        count = int(getattr(self.model.weights, "nnz", self.model.weights.size))
        return [
            LayerRow("item weights", count, 1.0, None),
            LayerRow("popularity", len(self.model.popularity), 1.0, None),
        ]

    def save(self, folder: Path) -> None:
        """``items.json`` and ``items.safetensors``."""
        from safetensors.numpy import save_file

        facts, arrays = self.model.state()
        told, more = (None, {}) if self.people is None else self.people.state()
        save_file({**arrays, **more}, folder / "items.safetensors")
        facts = {**facts, "people": told, "history": self.history}
        (folder / "items.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> ItemsFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where tensors are missing or misshapen."""
        from safetensors.numpy import load_file

        facts = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        try:
            arrays, width = load_file(folder / "items.safetensors"), recommending(task).width
            model = ItemWeights.restore(facts, arrays, width)
            people = People.restore(told, arrays, width) if (told := facts.get("people")) else None
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'items.safetensors'}: {error}.", "Copy the run again."
            ) from error
        return cls(method, recommending(task), model, facts["history"], people)
