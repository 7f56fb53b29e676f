"""What the methods for interactions share: the choice among recipes of item models, and the model fitted.

A recipe (`headstart.methods.item_models`) makes an `ItemWeights` of the interactions of the training rows (history and
next items together). Which recipe and which share of popularity is chosen by NDCG@10 on the validation rows or, without
these, out of fold: by users, or by items where items are held out as new ones, since there that is what a model must do
without. Where it is known what users took elsewhere, a recipe that reads it is preferred among those that are level, if
it ranks users without a history better.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.errors import ArtefactError, MethodError, did_you_mean
from headstart.methods.base import Fitted, Method, Problem
from headstart.methods.elsewhere import Elsewhere, beside
from headstart.methods.item_models import Recipe
from headstart.methods.people import CLEARLY, CUTS, People, chosen_half, chosen_strength
from headstart.nn.item_weights import BLOCK, ItemWeights, matrix
from headstart.tasks.base import Task
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json, LayerRow, Outputs

Array = np.ndarray

MIXES = (1e-3, 0.1, 0.3, 1.0, 3.0)
"""Shares of popularity that are tried."""

WINDOW = 4.0
"""How many times a strength may be another one's to be tried beside it."""

FOLDS, ENOUGH, MANY, JUDGED = 3, 300, 3000, 1000
"""Folds of the choice; rows from which one fold of items, or of users, is enough; rows on which a choice is judged."""

SCORED = 5_000_000
"""Scores a choice looks at in one trial: rows times items; `LEAST` rows are judged all the same."""

LEAST = 300


# --- choosing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """X: interactions to learn from, of the users of ``learned``. given: histories of the rows ``rows``, which judge.
    targets: what came next. among: [I] bool of the items that are ranked, or None for all. read: what users took
    elsewhere, once it was read.
    """

    X: Any
    given: Any
    targets: list[Array]
    learned: Dataset
    rows: Dataset
    among: Array | None = None
    read: dict[Elsewhere, tuple[Any, Any]] = field(default_factory=dict, compare=False)

    def beside(self, elsewhere: Elsewhere | None) -> tuple[Any, Any]:
        """X and given, with what the users took elsewhere beside them."""
        if elsewhere is None:
            return self.X, self.given
        if elsewhere not in self.read:
            self.read[elsewhere] = beside(self.X, elsewhere, self.learned), beside(self.given, elsewhere, self.rows)
        return self.read[elsewhere]

    def cut(
        self, most: int, task: Recommendation, elsewhere: Elsewhere | None
    ) -> tuple[list[int], Any, list[Array]]:  # fmt: skip
        """Which of the rows have more items than ``most``, in all; their histories cut off there; and what follows, as
        many items for each of the history as the rows have themselves, or all where nothing is left of a history.
        """
        past, later = encoded(self.rows, task)
        ahead = float(np.median([len(after) / max(len(before), 1) for before, after in zip(past, later)]))
        end, whole = most + max(1, round(ahead * most)) if most else None, joined(past, later)
        kept = [row for row, items in enumerate(whole) if len(items) > most]
        given = beside(matrix([whole[row][:most] for row in kept], task.width), elsewhere, self.rows.select(kept))
        return kept, given, [whole[row][most:end] for row in kept]


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
    the features of users (`headstart.methods.people`), or None. newcomers: where it is known what users took elsewhere,
    NDCG@10 without a history, by the kind of recipe.
    """

    recipe: Recipe
    mix: float = MIXES[0]
    users: float = 0.0
    people: tuple[float, float] | None = None
    newcomers: Json = field(default_factory=dict)

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
        """NDCG@10 of each row [choices,n], trial after trial."""
        found = []
        for trial in parts:
            X, given = trial.beside(recipe.elsewhere)
            model = recipe.build(X)
            added = [each.mix * recipe.popularity(model, X, each.users) for each in some]
            left_out = None if trial.among is None else ~trial.among[None]
            for at in range(0, len(trial.targets), BLOCK):
                wanted = trial.targets[at : at + BLOCK]
                ranked = [judge.best(scores, left_out) for scores in model.scores(given[at : at + BLOCK], added)]
                found.append(np.stack([judge.statistics(each, wanted)[:, 0] for each in ranked]))
        return np.concatenate(found, axis=1)

    share = np.concatenate([np.full(len(trial.targets), 1 / len(trial.targets) / len(parts)) for trial in parts])
    tops: dict[str, tuple[float, Choice, Array]] = {}
    for recipe in recipes:
        some = [Choice(recipe, mix, recipe.users[len(recipe.users) // 2]) for mix in MIXES]
        rows = judged(recipe, some)
        place = int((rows @ share).argmax())
        if recipe.kind not in tops or rows[place] @ share > tops[recipe.kind][0]:
            tops[recipe.kind] = float(rows[place] @ share), some[place], rows[place]
    kind = max(tops, key=lambda kind: tops[kind][0])
    newcomers: Json = {}
    if not len(task.parts) and any(recipe.elsewhere is not None for recipe in recipes):
        kind, newcomers = _for_newcomers(kind, {each: top[1:] for each, top in tops.items()}, parts, task)
    best, by_kind = tops[kind][1], {each: score for each, (score, _, _) in tops.items()}
    if len(best.recipe.users) > 1:  # how far the source's popularity is believed, once the weights are chosen
        some = [Choice(best.recipe, mix, users) for users in best.recipe.users for mix in MIXES]
        found = judged(best.recipe, some) @ share
        best, by_kind[kind] = some[int(found.argmax())], max(by_kind[kind], float(found.max()))
    return replace(best, newcomers=newcomers), by_kind


def _for_newcomers(
    best: str, tops: dict[str, tuple[Choice, Array]], parts: Sequence[Trial], task: Recommendation
) -> tuple[str, Json]:  # fmt: skip
    """The kind of recipe that ranks users without a history best, by what they took elsewhere, among those that are
    level with ``best`` (within `CLEARLY`) on the rows that judge; ``best`` where none is clearly ahead of it there. And
    the scores of those.

    tops: of each kind the choice, and NDCG@10 of the rows [n].
    """
    level = [
        kind for kind, (choice, rows) in tops.items()
        if choice.recipe.elsewhere is not None and not _ahead(tops[best][1], rows)
    ]  # fmt: skip
    found = {kind: _without_history(tops[kind][0], parts, task) for kind in dict.fromkeys([best, *level])}
    ahead = [kind for kind in level if _ahead(found[kind], found[best])]
    scores = {kind: float(rows.mean()) for kind, rows in found.items()}
    return max(ahead, key=scores.__getitem__, default=best), scores


def _ahead(one: Array, other: Array) -> bool:
    """Whether the scores of the same rows [n] are ahead of the others by `CLEARLY` standard errors."""
    gain = one - other
    return bool(gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)))


def _without_history(choice: Choice, parts: Sequence[Trial], task: Recommendation) -> Array:
    """NDCG@10 of the rows that judge as if nothing here were known of their users, who took all items afterwards."""
    judge, found = Recommendation(task.items), []
    for trial in parts:
        model = choice.build(trial.beside(choice.recipe.elsewhere)[0])
        _, given, wanted = trial.cut(0, task, choice.recipe.elsewhere)
        found.append(judge.statistics(model.outputs(given, judge), wanted)[:, 0])
    return np.concatenate(found)


def fit_items(method: Method, problem: Problem, recipes: Sequence[Recipe], recipe: str, near: float) -> ItemsFitted:
    """Choose, then build on all training rows. recipe, near: of the method, see `admitted`.

    The method of the result keeps the kind that was chosen, and the strength's neighbourhood.
    """
    choice, by_kind = choose(problem, admitted(recipes, recipe, near))
    choice, features = with_people(problem, choice)
    facts: Json = {"model": choice.recipe.kind, **choice.recipe.settings, "popularity": choice.mix, **features}
    if len(choice.recipe.users) > 1:
        facts["users"] = choice.users
    if choice.newcomers:
        facts["without a history"] = choice.newcomers
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
        elsewhere = choice.recipe.elsewhere
        model, people = choice.build(trial.beside(elsewhere)[0]), People.fit(trial.learned, trial.X, strength)
        told = people.told(trial.rows)
        for cut in CUTS:
            kept, given, wanted = trial.cut(cut, task, elsewhere)
            if kept:
                parts.append((model, people, given, told[kept], wanted))

    def score(half: float) -> float:
        total = 0.0
        for model, people, given, told, wanted in parts:
            own = replace(people, half=half)
            added = own.added(told, np.diff(model.items_of(given).indptr), model.popularity, model.mix)
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
    people, elsewhere = None, choice.recipe.elsewhere
    if choice.people is not None:
        people = People.fit(problem.train, X, *choice.people)
    fitted = ItemsFitted(method, task, choice.build(beside(X, elsewhere, problem.train)), [facts], people, elsewhere)
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
    """Item weights and popularity; people: what features of users say of items, or None. elsewhere: how what users took
    elsewhere is read, or None. choice: what made them; not saved.
    """

    kind: ClassVar[str] = "methods.items"

    def __init__(
        self, method: Method, task: Recommendation, model: ItemWeights, history: list[Json],
        people: People | None = None, elsewhere: Elsewhere | None = None,
    ) -> None:  # fmt: skip
        self.method, self.task, self.model, self.history = method, task, model, history
        self.people, self.elsewhere = people, elsewhere
        self.choice: Choice | None = None

    @property
    def description(self) -> str:
        """The kind of model."""
        return str(self.history[-1]["model"])

    def outputs(self, dataset: Dataset) -> Outputs:
        """The best items of each row, [N,P,K,2] (see `headstart.tasks.recommendation`), in blocks of users."""
        task = recommending(self.task)
        own, people, model = matrix(task.encode(histories(dataset)), task.width), self.people, self.model
        X = beside(own, self.elsewhere, dataset)
        if people is None:
            return model.outputs(X, task)
        counts = np.diff(own.indptr)

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
        other, table = (None, {}) if self.elsewhere is None else self.elsewhere.state()
        save_file({**arrays, **more, **table}, folder / "items.safetensors")
        facts = {**facts, "people": told, "elsewhere": other, "history": self.history}
        (folder / "items.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> ItemsFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where tensors are missing or misshapen."""
        from safetensors.numpy import load_file

        facts = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        try:
            arrays, width = load_file(folder / "items.safetensors"), recommending(task).width
            elsewhere = Elsewhere.restore(told, arrays) if (told := facts.get("elsewhere")) else None
            model = ItemWeights.restore(facts, arrays, width, 0 if elsewhere is None else elsewhere.width)
            people = People.restore(told, arrays, width) if (told := facts.get("people")) else None
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'items.safetensors'}: {error}.", "Copy the run again."
            ) from error
        return cls(method, recommending(task), model, facts["history"], people, elsewhere)
