"""Recommendation on MovieLens-100k and at scale: what a source of items is worth, and what it costs.

    python benchmarks/recommendation.py users     new users of an occupation that the source does not know
    python benchmarks/recommendation.py items     new items without interactions, by title and genres
    python benchmarks/recommendation.py texts     two catalogues without a common item or user, by title and genres
    python benchmarks/recommendation.py people    users without a history, by age, sex and occupation
    python benchmarks/recommendation.py elsewhere two catalogues without a common item, the same users
    python benchmarks/recommendation.py scale     1 000 000 interactions: memory, and users a second

``users``: the source is EASE on the users of all other occupations. Half of the occupation's users train with their
first 5 interactions each; of the others the first 5 are known and everything after is to be found. The control then
gets more interactions of the same training users, until it reaches the transfer. ``--objective sasrec``: the source is
a transformer besides. ``--whole``: whole histories, whose last fifth is to be found. With ``--objective two_tower``
``texts`` and ``items`` have trained towers beside the rest; of ``items`` half of the users make the source then.
``items``: a tenth of the films validates and a tenth tests; nobody's history holds them. ``texts``: ten interactions of
each training user; of 200 others the first 5 are known. ``people``: half of all users train; of the others 0, 1, 3 or
10 interactions are known. With ``--soon`` only what comes next is asked for (the next 5; of ``people`` a quarter as
much as is known, one at least), in place of everything after. ``elsewhere``: the films of some genres are what users
took elsewhere, all others are the target; ten interactions of each training user; of 200 others the first 0 or 5 are
known. ``scale``: a fit with a source of as many interactions of others, in processes of their own, then the best of
every user beside implicit's. Every item is ranked, none is sampled.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import headstart
from headstart.datasets import shelf
from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.evidence.verdict import BOOTSTRAP, decide, paired_bootstrap
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease
from headstart.methods.items import ItemsFitted
from headstart.methods.two_tower import TwoTower
from headstart.methods.two_tower_scratch import TwoTowerScratch
from headstart.nn.item_weights import matrix
from headstart.ranking.measure import open_for
from headstart.sources.history_network import items_of
from headstart.tasks.recommendation import Recommendation

COLUMNS = {"user_id": "user", "movie_id": "item", "timestamp": "step"}
KINDS = {"next": "items"}
GIVEN = 5
ROUNDS = 5
"""Times that each is measured, in turn."""

PLAIN = {"drift": False}


def ratings() -> list[dict[str, str]]:
    with shelf.fetch("movielens_100k").open(encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


# --- new users -----------------------------------------------------------------------------------------------------


def lists(
    path: Path, taken: dict[str, list[str]], train: list[str], test: list[str], each: int = GIVEN, soon: bool = False
) -> Path:  # fmt: skip
    """Rows of lists: of training users the first ``each`` interactions, of test users all, or ``soon``: the next 5."""
    with path.open("w", encoding="utf-8") as file:
        for part, users in (("train", train), ("test", test)):
            for user in users:
                cut = min(each, len(taken[user])) - 1 if part == "train" else GIVEN
                end = cut + 1 if part == "train" and each == GIVEN else each if part == "train" else None
                if part == "test" and soon:
                    end = cut + GIVEN
                if part == "train" and each > GIVEN:
                    cut = max(1, round(0.8 * min(each, len(taken[user]))))
                row = {"user": user, "history": taken[user][:cut], "next": taken[user][cut:end], "split": part}
                file.write(json.dumps(row) + "\n")
    return path


def whole(path: Path, taken: dict[str, list[str]], train: list[str], test: list[str]) -> Path:
    """Rows of lists with everything that is known: the last fifth of each user's interactions is what comes next."""
    with path.open("w", encoding="utf-8") as file:
        for part, names in (("train", train), ("test", test)):
            for user in names:
                cut = len(taken[user]) - max(1, len(taken[user]) // 5)
                row = {"user": user, "history": taken[user][:cut], "next": taken[user][cut:], "split": part}
                file.write(json.dumps(row) + "\n")
    return path


def users(
    folder: Path, occupations: list[str], objective: str, everything: bool, method: str = "auto", seed: int = 0,
    soon: bool = False,
) -> None:  # fmt: skip
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    items = write(
        folder / "films.csv", [{k: row[k] for k in ("movie_id", "title", "genres")} for row in films.values()]
    )
    print(
        f"{'occupation':14} {'train':>5} {'test':>5} {'transfer':>8} {'control':>8} {'difference':>22}  "
        "verdict   head start   popular here, there"
    )
    found = []
    for occupation in occupations:
        others = [row for row in every if row["occupation"] != occupation]
        taken: dict[str, list[str]] = defaultdict(list)
        for row in every:
            if row["occupation"] == occupation:
                taken[row["user_id"]].append(row["movie_id"])
        names = np.random.default_rng(seed).permutation(sorted(taken)).tolist()
        train, test = names[: len(names) // 2], names[len(names) // 2 :]
        source = folder / f"other than {occupation}"
        headstart.pretrain(write(folder / "others.csv", others), source, roles=COLUMNS, objective=objective, seed=seed)
        path = folder / "rows.jsonl"
        made = whole(path, taken, train, test) if everything else lists(path, taken, train, test, soon=soon)
        run = fitted(made, items, str(source), folder / occupation, method)
        verdict, start = run.record.verdict, run.record.head_start
        scores = {each.name: each.test for each in run.record.candidates}
        reached_by = run.record.chosen_transfer
        d = verdict.difference
        found.append((len(test), d.value, (d.high - d.low) / 3.92))
        told = f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        sign = {"exact": "", "more than": ">", "less than": "<"}[start.bound]
        print(
            f"{occupation:14} {len(train):5} {len(test):5} {scores[reached_by]:8.3f} {scores[verdict.control]:8.3f} "
            f"{told:>22}  {verdict.label:9} {sign}{start.multiplier:.1f}x  {control(made, items, 'popularity'):.3f} "
            f"{popular_there(made, items, str(source)):.3f}", flush=True,
        )  # fmt: skip
        if objective != "auto":
            told = ", ".join(
                f"{each.name} {'' if each.test is None else f'{each.test:.3f} '}(validation {each.validation:.3f})"
                for each in run.record.candidates
            )
            same = f"; ALS from scratch {control(made, items, 'ALS'):.3f}" if objective == "factors" else ""
            print(f"{'':14} {told}{same}", flush=True)
        reached = []
        for each in () if everything else (10, 20, 50, 1000):
            score = control(lists(path, taken, train, test, each, soon), items)
            count = sum(min(each, len(taken[user])) for user in train)
            reached.append(f"{count:,}: {score:.3f}")
            if score >= scores[reached_by]:
                break
        if reached:
            more = f"control with more interactions than {GIVEN * len(train):,}"
            print(f"{'':14} {more}: {'; '.join(reached)}", flush=True)
    weights = np.array([n for n, _, _ in found]) / sum(n for n, _, _ in found)
    mean = float(sum(w * d for w, (_, d, _) in zip(weights, found)))
    error = float(np.sqrt(sum((w * s) ** 2 for w, (_, _, s) in zip(weights, found))))
    print(f"all together   {mean:+.3f} [{mean - 1.96 * error:+.3f}, {mean + 1.96 * error:+.3f}] NDCG@10")


ROLES = {"user": "user", "history": "item", "next": "target", "split": "split"}


def fitted(rows: Path, items: Path, source: str, out: Path, method: str):
    return headstart.fit(rows, roles=ROLES, kinds=KINDS, items=items, source=source, out=out, method=method)


def control(rows: Path, items: Path, recipe: str = "auto") -> float:
    """NDCG@10 of the control alone on the test rows. recipe: the kind of model."""
    data = headstart.read(rows, roles=ROLES, kinds=KINDS, items=items)
    task = Recommendation.learn(data)
    part = np.array(data.values("split"))
    train, test = (data.select(np.flatnonzero(part == name)) for name in ("train", "test"))
    found = Baseline(recipe=recipe).fit(Problem(train, None, task, None, None))
    return task.score(found.outputs(test), task.encode(test.targets()))


def popular_there(rows: Path, items: Path, source: str) -> float:
    """NDCG@10 of what is popular among the users of the source, on the test rows."""
    data = headstart.read(rows, roles=ROLES, kinds=KINDS, items=items)
    task = Recommendation.learn(data)
    test = data.select(np.flatnonzero(np.array(data.values("split")) == "test"))
    known = items_of(open_for(data, source))
    assert known is not None
    places, there = known.known(task.items)
    scores = np.zeros((len(test), task.width), np.float32)
    scores[:, places] = known.table.popularity.numpy()[there]
    scores[matrix(task.encode(histories(test)), task.width).nonzero()] = -np.inf
    return task.score(task.best(scores), task.encode(test.targets()))


# --- new items -----------------------------------------------------------------------------------------------------


def items(folder: Path, seeds: list[int], objective: str) -> None:
    """New films; where towers are learned, half of the users make the source, on the films that are not new."""
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    print(f"{'seed':>4} {'rows':>5} {'new':>4} {'minilm':>7} {'control':>8} {'difference':>22}  verdict")
    for seed in seeds:
        people = np.random.default_rng([seed, 9]).permutation(sorted({row["user_id"] for row in every}))
        ours = set(people[: len(people) // 2]) if objective == "two_tower" else set()
        kept = [{k: row[k] for k in COLUMNS} for row in every if row["user_id"] not in ours]
        bare = write(folder / "ratings.csv", kept)
        order = np.random.default_rng(seed).permutation(sorted(films))
        part = dict.fromkeys(order, "train")
        part |= dict.fromkeys(order[: len(order) // 10], "test")
        part |= dict.fromkeys(order[len(order) // 10 : len(order) // 5], "valid")
        table = [
            {"movie_id": name, "title": films[name]["title"], "genres": films[name]["genres"].replace("|", ", "),
             "split": part[name]} for name in sorted(films)
        ]  # fmt: skip
        rows = headstart.read(bare, roles=COLUMNS, items=write(folder / "films.csv", table))
        task = Recommendation.learn(rows)
        part_of = np.array(rows.values("split"))
        train, valid, test = (rows.select(np.flatnonzero(part_of == name)) for name in ("train", "valid", "test"))
        problem = Problem(train, valid, task, open_for(rows, "minilm"), None, seed=seed)
        every_label = problem.replace(train=train.followed_by(valid), valid=None)
        wanted, told = task.encode(test.targets()), []
        for method in (Ease(), Baseline()):  # as a fit does: chosen on validation, fitted again on all, tested once
            chosen = method.fit(problem)
            final = method.refitted(chosen, every_label)
            told.append((task.statistics(final.outputs(test), wanted), final.history[-1]))
        if ours:
            source = folder / f"source {seed}"
            old = [{k: row[k] for k in COLUMNS} for row in every
                   if row["user_id"] in ours and part[row["movie_id"]] == "train"]  # fmt: skip
            words = [{k: row[k] for k in ("movie_id", "title", "genres")} for row in table if row["split"] == "train"]
            headstart.pretrain(
                write(folder / "others.csv", old), source, roles=COLUMNS, items=write(folder / "old.csv", words),
                objective=objective, seed=seed,
            )  # fmt: skip
            given = problem.replace(source=open_for(rows, str(source)), options=PLAIN)
            weights = Ease().refitted(Ease().fit(given), every_label.replace(source=given.source))
            fits = {"two_tower": TwoTower().fit(given), "fresh": TwoTowerScratch().fit(given), "carried": weights}
            found = {name: task.statistics(each.outputs(test), wanted) for name, each in fits.items()}
            towers({**found, "minilm": told[0][0], "control": told[1][0]}, task, seed)
        d = paired_bootstrap(told[0][0], told[1][0], task.combine, seed=seed)
        scores = [float(task.combine(each.sum(axis=0))) for each, _ in told]
        shown = f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        verdict = decide(d, "baseline", BOOTSTRAP, len(test)).label
        print(
            f"{seed:4} {len(test):5} {len(order) // 10:4} {scores[0]:7.3f} {scores[1]:8.3f} {shown:>22}  {verdict} "
            f"({told[0][1]['model']}, against {told[1][1]['model']})",
            flush=True,
        )


# --- two catalogues ------------------------------------------------------------------------------------------------


def texts(folder: Path, seeds: list[int], sizes: list[int], objective: str, soon: bool) -> None:
    """Half of the films and half of the users make the source; the others, with the other films, are the target."""
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    print(
        f"{'seed':>4} {'train':>5} {'test':>5} {'carried':>8} {'control':>8} {'difference':>24} {'minilm':>7} "
        f"{'EASE':>6} verdict"
    )
    for seed in seeds:
        rng = np.random.default_rng([seed, 7])
        names, people = rng.permutation(sorted(films)), rng.permutation(sorted({row["user_id"] for row in every}))
        first, ours = set(names[: len(names) // 2]), set(people[: len(people) // 2])
        tables = []
        for part, mine in (("a", True), ("b", False)):
            kept = [films[name] for name in sorted(films) if (name in first) == mine]
            tables.append(write(folder / f"{part}.csv", [
                {"movie_id": part + row["movie_id"], "title": row["title"], "genres": row["genres"].replace("|", ", ")}
                for row in kept
            ]))  # fmt: skip
        others = [{**{key: row[key] for key in COLUMNS}, "movie_id": f"a{row['movie_id']}"} for row in every
                  if row["user_id"] in ours and row["movie_id"] in first]  # fmt: skip
        source = folder / f"source {seed}"
        headstart.pretrain(
            write(folder / "others.csv", others), source, roles=COLUMNS, items=tables[0], objective=objective, seed=seed
        )
        taken: dict[str, list[str]] = defaultdict(list)
        for row in every:
            if row["user_id"] not in ours and row["movie_id"] not in first:
                taken[row["user_id"]].append(f"b{row['movie_id']}")
        known = [user for user in people if len(taken[user]) >= 2 * GIVEN]
        assert len(known) >= max(sizes) + 200, f"{len(known)} users are too few"
        for size in sizes:
            rows = lists(folder / "rows.jsonl", taken, known[:size], known[-200:], 2 * GIVEN, soon)
            data = headstart.read(rows, roles=ROLES, kinds=KINDS, items=tables[1])
            task = Recommendation.learn(data)
            part = np.array(data.values("split"))
            train, test = (data.select(np.flatnonzero(part == name)) for name in ("train", "test"))
            fits = {
                "carried": Ease().fit(Problem(train, None, task, open_for(data, str(source)), None, seed=seed)),
                "control": Baseline().fit(Problem(train, None, task, None, None, seed=seed)),
                "minilm": Ease().fit(Problem(train, None, task, open_for(data, "minilm"), None, seed=seed)),
                "EASE": Baseline(recipe="EASE").fit(Problem(train, None, task, None, None, seed=seed)),
            }
            if objective == "two_tower":
                given = Problem(train, None, task, open_for(data, str(source)), None, seed=seed, options=PLAIN)
                fits |= {"two_tower": TwoTower().fit(given), "fresh": TwoTowerScratch().fit(given)}
            wanted = task.encode(test.targets())
            told = {name: task.statistics(each.outputs(test), wanted) for name, each in fits.items()}
            score = {name: float(task.combine(each.sum(axis=0))) for name, each in told.items()}
            d = paired_bootstrap(told["carried"], told["control"], task.combine, seed=seed)
            verdict = decide(d, "baseline", BOOTSTRAP, len(test)).label
            print(
                f"{seed:4} {size:5} {len(test):5} {score['carried']:8.3f} {score['control']:8.3f} "
                f"{d.value:+8.3f} [{d.low:+.3f}, {d.high:+.3f}] {score['minilm']:7.3f} {score['EASE']:6.3f} {verdict} "
                f"({fits['carried'].description}, against {fits['control'].description})",
                flush=True,
            )
            if objective == "two_tower":
                towers(told, task, seed)


def towers(told: dict[str, np.ndarray], task: Recommendation, seed: int) -> None:
    """The trained towers beside everything else on the same test rows, in paired differences."""
    for other in [name for name in told if name != "two_tower"]:
        d = paired_bootstrap(told["two_tower"], told[other], task.combine, seed=seed)
        scores = [float(task.combine(told[name].sum(axis=0))) for name in ("two_tower", other)]
        told_of = f"two_tower {scores[0]:.3f}, {other:8} {scores[1]:.3f}"
        print(f"{'':10} {told_of}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]", flush=True)


# --- the same users ------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "Action", "Adventure", "Crime", "Film-Noir", "Horror", "Mystery", "Sci-Fi", "Thriller", "War", "Western"
}  # fmt: skip
"""Genres of the source; a film of several is the source's if one of them is."""


def elsewhere(folder: Path, seeds: int, sizes: list[int], soon: bool) -> None:
    """What users watched of some genres, for what they will watch of the others."""
    every = ratings()
    theirs = [row for row in every if ELSEWHERE & set(row["genres"].split("|"))]
    logs = {row["movie_id"] for row in theirs}
    table = write(folder / "elsewhere.csv", [{"user": row["user_id"], "film": row["movie_id"]} for row in theirs])
    source = folder / "theirs"
    headstart.pretrain(table, source, roles={"user": "user", "film": "item"})
    taken: dict[str, list[str]] = defaultdict(list)
    for row in every:
        if row["movie_id"] not in logs:
            taken[row["user_id"]].append(row["movie_id"])
    print(f"source: {len(theirs):,} interactions with {len(logs):,} films; target: {len(every) - len(theirs):,}")
    print(f"{'seed':>4} {'train':>5} {'known':>5} {'source':>7} {'as it is':>8} {'without':>8}")
    for seed in range(seeds):
        names = np.random.default_rng([seed, 9]).permutation(sorted(u for u in taken if len(taken[u]) >= 15)).tolist()
        for size in sizes:
            path = folder / "rows.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for part, some in (("train", names[:size]), ("0", names[-200:]), (f"{GIVEN}", names[-200:])):
                    for user in some:
                        cut, end = (8, 10) if part == "train" else (int(part), int(part) + GIVEN if soon else None)
                        row = {"user": user, "history": taken[user][:cut], "next": taken[user][cut:end], "part": part}
                        file.write(json.dumps(row) + "\n")
            roles = {"user": "user", "history": "item", "next": "target", "part": "unused"}
            data = headstart.read(path, roles=roles, kinds={**KINDS, "film": "items"}, users=table)
            task = Recommendation.learn(data)
            part = np.array(data.values("part"))
            rows = {name: data.select(np.flatnonzero(part == name)) for name in ("train", "0", f"{GIVEN}")}
            bare = Dataset(
                rows["train"].table, [c for c in data.columns if c.role != "feature"], items=data.items
            )  # fmt: skip
            problem = Problem(rows["train"], None, task, open_for(data, str(source)), None, seed=seed)
            fits = [
                Ease().fit(problem), Baseline().fit(problem.replace(source=None)),
                Baseline().fit(problem.replace(source=None, train=bare)),
            ]  # fmt: skip
            for known in ("0", f"{GIVEN}"):
                wanted = task.encode(rows[known].targets())
                told = [task.statistics(each.outputs(rows[known]), wanted) for each in fits]
                scores = [float(task.combine(each.sum(axis=0))) for each in told]
                print(f"{seed:4} {size:5} {known:>5} {scores[0]:7.3f} {scores[1]:8.3f} {scores[2]:8.3f} ", end="")
                for place, control in ((1, "as it is"), (2, "without")):
                    d = paired_bootstrap(told[0], told[place], task.combine, seed=seed)
                    verdict = decide(d, "baseline", BOOTSTRAP, len(wanted)).label
                    print(f" {control}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] {verdict};", end="")
                print(f" ({', '.join(each.description for each in fits)})", flush=True)


# --- features of users ---------------------------------------------------------------------------------------------


def people(folder: Path, seeds: int, soon: bool) -> None:
    """The same model with and without the features of users, on users of whom little is known."""
    every = ratings()
    known = {row["user_id"]: {key: row[key] for key in ("user_id", "age", "gender", "occupation")} for row in every}
    table = write(folder / "people.csv", list(known.values()))
    taken: dict[str, list[str]] = defaultdict(list)
    for row in every:
        taken[row["user_id"]].append(row["movie_id"])
    print(f"{'seed':>4} {'known':>5} {'test':>5} {'features':>8} {'without':>8} {'difference':>24} verdict")
    for seed in range(seeds):
        names = np.random.default_rng([seed, 8]).permutation(sorted(taken)).tolist()
        models: dict[bool, ItemsFitted] = {}
        for given in (0, 1, 3, 10):
            path = folder / "rows.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for place, user in enumerate(names):
                    train = place < len(names) // 2
                    cut = len(taken[user]) * 4 // 5 if train else given
                    end = cut + max(1, cut // 4) if soon and not train else None
                    row = {"user_id": user, "history": taken[user][:cut], "next": taken[user][cut:end]}
                    file.write(json.dumps({**row, "split": "train" if train else "test"}) + "\n")
            told = {}
            for features in (True, False):
                roles = {"user_id": "user", "history": "item", "next": "target", "split": "split"}
                data = headstart.read(path, roles=roles, kinds=KINDS, users=table if features else None)
                task = Recommendation.learn(data)
                part = np.array(data.values("split"))
                train, test = (data.select(np.flatnonzero(part == name)) for name in ("train", "test"))
                if features not in models:
                    models[features] = Baseline().fit(Problem(train, None, task, None, None, seed=seed))
                wanted = models[features].task.encode(test.targets())
                told[features] = models[features].task.statistics(models[features].outputs(test), wanted)
            d = paired_bootstrap(told[True], told[False], task.combine, seed=seed)
            scores = [float(task.combine(told[features].sum(axis=0))) for features in (True, False)]
            verdict = decide(d, "baseline", BOOTSTRAP, len(test)).label
            print(
                f"{seed:4} {given:5} {len(test):5} {scores[0]:8.3f} {scores[1]:8.3f} {d.value:+8.3f} [{d.low:+.3f}, "
                f"{d.high:+.3f}] {verdict}", flush=True,
            )  # fmt: skip
        print(f"{'':4} {models[True].history[-1]}", flush=True)


# --- scale ---------------------------------------------------------------------------------------------------------


def synthetic(path: Path, people: int, things: int, count: int, seed: int) -> int:
    """Interactions whose items follow a power law, in forty tastes; returns how many there are."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, things + 1) ** 1.0
    share /= share.sum()
    owner = np.sort(rng.choice(people, int(count * 1.3), p=(w := rng.pareto(1.5, people) + 1) / w.sum()))
    taste = rng.integers(0, 40, people)[owner]
    item = rng.choice(things, len(owner), p=share)
    moved = (item * 7919 + taste * 104729) % things  # the same law, other items for each taste
    item = np.where(rng.random(len(owner)) < 0.5, item, moved)
    keys = np.unique(owner * things + item)
    keys = np.sort(rng.permutation(keys)[:count])
    import pyarrow as pa
    from pyarrow import csv as arrow

    table = {"user": keys // things, "item": keys % things, "time": rng.permutation(len(keys))}
    arrow.write_csv(pa.table(table), path)
    return len(keys)


def scale(folder: Path, people: int, things: int, count: int, contest: bool, objective: str) -> None:
    roles = "dict(user='user', item='item', time='step')"
    found = [synthetic(folder / f"{name}.csv", people, things, count, seed) for name, seed in (("a", 0), ("b", 1))]
    print(f"{found[0]:,} interactions of {people:,} users with {things:,} items; a source from {found[1]:,} others")
    peak = "import resource; print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)"
    steps = {
        "pretrain": f"headstart.pretrain('b.csv', 'source', roles={roles}, objective='{objective}')",
        "fit": f"print(headstart.fit('a.csv', roles={roles}, source='source', control={contest}, out='run').summary())",
        "recommend": (
            "from headstart.recommending import recommend, save; from pathlib import Path\n"
            "save(recommend('run', 'a.csv'), Path('top.csv'))"
        ),
    }
    for name, code in steps.items():
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", f"import headstart\n{code}\n{peak}"], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(done.stderr)
        lines = done.stdout.splitlines()
        print("\n".join(lines[:-1]))
        print(
            f"{name:10} {time.perf_counter() - begun:7.1f} s, {lines[-1].removeprefix('peak ')} MiB at most", flush=True
        )
    speed(folder)


def speed(folder: Path) -> None:
    """The best items of every user: the model that ships and item-kNN, beside implicit's own recommend, one thread
    each; by processor time, the median of `ROUNDS`, the slowest and the fastest.
    """
    import warnings

    from implicit.nearest_neighbours import CosineRecommender
    from scipy.sparse import csr_matrix

    from headstart.methods.item_models import Neighbours
    from headstart.methods.items import encoded

    run = headstart.load(folder / "run")
    rows = run.read(str(folder / "a.csv"))
    X = matrix(encoded(rows, run.task)[0], run.task.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = CosineRecommender(K=100, num_threads=1)
        peer.fit(csr_matrix(X, dtype=np.float64), show_progress=False)
    ours = Neighbours("cosine", 100).build(X)
    ours = ours.mixed(np.zeros(X.shape[1]), 0.0)
    seconds = defaultdict(list)
    calls = {
        "implicit item-kNN": lambda: [
            peer.recommend(np.arange(at, min(at + 1000, X.shape[0])), csr_matrix(X[at : at + 1000]), N=10)
            for at in range(0, X.shape[0], 1000)
        ],
        "item-kNN, the same neighbours": lambda: ours.outputs(X, run.task),
        f"what ships ({run.fitted.description})": lambda: run.fitted.outputs(rows),
    }
    for name in list(calls) * ROUNDS:  # in turn, so that other work on the machine slows all of them
        begun = time.process_time()
        calls[name]()
        seconds[name].append(time.process_time() - begun)
    for name, each in seconds.items():
        told = X.shape[0] / np.median(each), X.shape[0] / max(each), X.shape[0] / min(each)
        print("{:50} {:8,.0f} users a second ({:,.0f} to {:,.0f})".format(name, *told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["users", "items", "texts", "people", "elsewhere", "scale"])
    parser.add_argument(
        "--occupations", default="student,other,educator,administrator,engineer,programmer,librarian,writer"
    )
    parser.add_argument(
        "--objective",
        default="auto",
        help="what the source learns: ease, sasrec, factors, two_tower (of texts)",
    )
    parser.add_argument("--method", default="auto", help="users: auto, ease, sasrec or factors")
    parser.add_argument("--whole", action="store_true", help="users: whole histories, in place of 5 interactions each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="texts, items: the first seed")
    parser.add_argument("--draw", type=int, default=0, help="users: which half of an occupation trains")
    parser.add_argument("--train", default="40,150", help="texts, elsewhere: users of the target that train")
    parser.add_argument("--soon", action="store_true", help="ask for what comes next alone (not items)")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--contest", action="store_true", help="scale: with controls, verdict and learning curves")
    given = parser.parse_args()
    seeds = list(range(given.first, given.first + given.seeds))
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "users":
            users(
                Path(folder),
                given.occupations.split(","),
                given.objective,
                given.whole,
                given.method,
                given.draw,
                given.soon,
            )
        elif given.what == "texts":
            texts(Path(folder), seeds, [int(size) for size in given.train.split(",")], given.objective, given.soon)
        elif given.what == "people":
            people(Path(folder), given.seeds, given.soon)
        elif given.what == "elsewhere":
            elsewhere(Path(folder), given.seeds, [int(size) for size in given.train.split(",")], given.soon)
        elif given.what == "items":
            items(Path(folder), seeds, given.objective)
        else:
            scale(Path(folder), given.users, given.items, given.interactions, given.contest, given.objective)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
