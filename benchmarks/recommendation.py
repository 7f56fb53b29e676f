"""Recommendation on MovieLens-100k and at scale: what a source of items is worth, and what it costs.

    python benchmarks/recommendation.py users     new users of an occupation that the source does not know
    python benchmarks/recommendation.py items     new items without interactions, by title and genres
    python benchmarks/recommendation.py texts     two catalogues without a common item or user, by title and genres
    python benchmarks/recommendation.py people    users without a history, by age, sex and occupation
    python benchmarks/recommendation.py scale     1 000 000 interactions: memory, and users a second

``users``: the source is EASE on the users of all other occupations. Half of the occupation's users train with their
first 5 interactions each; of the others the first 5 are known and everything after is to be found. The control then
gets more interactions of the same training users, until it reaches the transfer. ``--objective sasrec``: the source is
a transformer besides. ``--whole``: whole histories, whose last fifth is to be found. ``items``: a tenth of the films
validates and a tenth tests; nobody's history holds them. ``texts``: ten interactions of each training user; of 200
others the first 5 are known. ``people``: half of all users train; of the others 0, 1, 3 or 10 interactions are known.
``scale``: a fit with a source of as many interactions of others, in processes of their own, then the ten best of every
user beside implicit's. Every item is ranked, none is sampled.
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
from headstart.evidence.verdict import BOOTSTRAP, decide, paired_bootstrap
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.ease import Ease
from headstart.methods.items import ItemsFitted
from headstart.ranking.measure import open_for
from headstart.tasks.recommendation import Recommendation

COLUMNS = {"user_id": "user", "movie_id": "item", "timestamp": "step"}
KINDS = {"next": "items"}
GIVEN = 5


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


def lists(path: Path, taken: dict[str, list[str]], train: list[str], test: list[str], each: int = GIVEN) -> Path:
    """Rows of lists: of training users the first ``each`` interactions, of test users all."""
    with path.open("w", encoding="utf-8") as file:
        for part, users in (("train", train), ("test", test)):
            for user in users:
                cut = min(each, len(taken[user])) - 1 if part == "train" else GIVEN
                end = cut + 1 if part == "train" and each == GIVEN else each if part == "train" else None
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
    folder: Path, occupations: list[str], objective: str, everything: bool, method: str = "auto", seed: int = 0
) -> None:
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    items = write(
        folder / "films.csv", [{k: row[k] for k in ("movie_id", "title", "genres")} for row in films.values()]
    )
    print(
        f"{'occupation':14} {'train':>5} {'test':>5} {'transfer':>8} {'control':>8} {'difference':>22}  "
        "verdict   head start"
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
        made = (whole if everything else lists)(folder / "rows.jsonl", taken, train, test)
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
            f"{told:>22}  {verdict.label:9} {sign}{start.multiplier:.1f}x",
            flush=True,
        )
        if objective != "auto":
            told = ", ".join(
                f"{each.name} {'' if each.test is None else f'{each.test:.3f} '}(validation {each.validation:.3f})"
                for each in run.record.candidates
            )
            same = f"; ALS from scratch {control(made, items, 'ALS'):.3f}" if objective == "factors" else ""
            print(f"{'':14} {told}{same}", flush=True)
        reached = []
        for each in () if everything else (10, 20, 50, 1000):
            score = control(lists(folder / "rows.jsonl", taken, train, test, each), items)
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


# --- new items -----------------------------------------------------------------------------------------------------


def items(folder: Path, seeds: int) -> None:
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    bare = write(folder / "ratings.csv", [{k: row[k] for k in COLUMNS} for row in every])
    print(f"{'seed':>4} {'rows':>5} {'new':>4} {'minilm':>7} {'control':>8} {'difference':>22}  verdict")
    for seed in range(seeds):
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


def texts(folder: Path, seeds: int, sizes: list[int]) -> None:
    """Half of the films and half of the users make the source; the others, with the other films, are the target."""
    every = ratings()
    films = {row["movie_id"]: row for row in every}
    print(
        f"{'seed':>4} {'train':>5} {'test':>5} {'carried':>8} {'control':>8} {'difference':>24} {'minilm':>7} "
        f"{'EASE':>6} verdict"
    )
    for seed in range(seeds):
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
        headstart.pretrain(write(folder / "others.csv", others), source, roles=COLUMNS, items=tables[0], seed=seed)
        taken: dict[str, list[str]] = defaultdict(list)
        for row in every:
            if row["user_id"] not in ours and row["movie_id"] not in first:
                taken[row["user_id"]].append(f"b{row['movie_id']}")
        known = [user for user in people if len(taken[user]) >= 2 * GIVEN]
        assert len(known) >= max(sizes) + 200, f"{len(known)} users are too few"
        for size in sizes:
            rows = lists(folder / "rows.jsonl", taken, known[:size], known[-200:], 2 * GIVEN)
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


# --- features of users ---------------------------------------------------------------------------------------------


def people(folder: Path, seeds: int) -> None:
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
                    row = {"user_id": user, "history": taken[user][:cut], "next": taken[user][cut:]}
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
    """Top 10 of every user: the model that ships and item-kNN, beside implicit's own recommend, one thread each."""
    import warnings

    from implicit.nearest_neighbours import CosineRecommender
    from scipy.sparse import csr_matrix

    from headstart.methods.item_models import Neighbours
    from headstart.methods.items import encoded
    from headstart.nn.item_weights import matrix

    run = headstart.load(folder / "run")
    rows = run.read(str(folder / "a.csv"))
    X = matrix(encoded(rows, run.task)[0], run.task.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = CosineRecommender(K=100, num_threads=1)
        peer.fit(csr_matrix(X, dtype=np.float64), show_progress=False)
    ours = Neighbours("cosine", 100).build(X)
    ours = ours.mixed(np.zeros(X.shape[1]), 0.0)
    for name, call in {
        "implicit item-kNN": lambda: [
            peer.recommend(np.arange(at, min(at + 1000, X.shape[0])), csr_matrix(X[at : at + 1000]), N=10)
            for at in range(0, X.shape[0], 1000)
        ],
        "item-kNN, the same neighbours": lambda: ours.outputs(X, run.task),
        f"what ships ({run.fitted.description})": lambda: run.fitted.outputs(rows),
    }.items():
        begun = time.perf_counter()
        call()
        seconds = time.perf_counter() - begun
        print(f"{name:45} {X.shape[0] / seconds:9,.0f} users a second", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["users", "items", "texts", "people", "scale"])
    parser.add_argument(
        "--occupations", default="student,other,educator,administrator,engineer,programmer,librarian,writer"
    )
    parser.add_argument(
        "--objective", default="auto", help="users, scale: what the source learns: ease, sasrec, factors"
    )
    parser.add_argument("--method", default="auto", help="users: auto, ease, sasrec or factors")
    parser.add_argument("--whole", action="store_true", help="users: whole histories, in place of 5 interactions each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", type=int, default=0, help="users: which half of an occupation trains")
    parser.add_argument("--train", default="40,150", help="texts: users of the target that train")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--contest", action="store_true", help="scale: with controls, verdict and learning curves")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "users":
            users(Path(folder), given.occupations.split(","), given.objective, given.whole, given.method, given.draw)
        elif given.what == "texts":
            texts(Path(folder), given.seeds, [int(size) for size in given.train.split(",")])
        elif given.what == "people":
            people(Path(folder), given.seeds)
        elif given.what == "items":
            items(Path(folder), given.seeds)
        else:
            scale(Path(folder), given.users, given.items, given.interactions, given.contest, given.objective)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
