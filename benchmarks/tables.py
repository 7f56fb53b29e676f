"""Tables: what a source learned from one table is worth for another, against tuned boosting alone and on pooled rows.

    python benchmarks/tables.py columns
    python benchmarks/tables.py adult --targets Sales Tech-support
    python benchmarks/tables.py housing --labels 50 200 1000
    python benchmarks/tables.py overlap
    python benchmarks/tables.py choice

Five questions on real tables, which are fetched as `headstart data` does it:

- columns: three tables whose columns are renamed and shuffled, and of which the rows are others (another occupation,
  another half of California, another division of the shop). How many columns are aligned without help?
- adult: the source is made from all occupations but one; of that one 100 people have a label, and the others are the
  test rows. Is the income above 50 000 dollars?
- housing: the source is made from the districts north of 36 degrees; of those in the south 50, 200 or 1 000 have a
  label.

- overlap: of 3 000 other rows some were put among those of the source. How many are told from rows that are equal by
  chance, with all columns, without the one that divides the tables, and without telling ones, so that many are equal?

- choice: with 100 labels of one occupation (or of one value of the columns ``--by``), is boosting on them alone or on
  both tables taken, by one cross-validation or by the mean of four, by accuracy or by the loss? No source takes part.
  Of clothing reviews it is asked whether there are five stars.

Source columns keep their names in the second and third. Each fit is ``headstart.fit`` as a user calls it (``--method
auto``) and is made twice: where the source keeps no rows, the controls are boosting or a linear model on the target
alone and the network from fresh weights; where it keeps them, also boosting on the rows of both tables. All choices are
made by cross-validation on the labelled rows; test rows are read once.

Measured, one thread of a busy machine: docs/applications/tables.md. Adult, ten occupations, ``--rows 10000 --test 3000
--effort quick``: what ships is 2.8 points better than the control on 100 labels alone, 0.4 worse than boosting on both
tables; about a minute of processor time for each.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import headstart
from headstart.datasets import shelf
from headstart.evidence import contamination
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.pooled import Pooled
from headstart.methods.selection import out_of_fold
from headstart.nn import row_hashes
from headstart.sources.schema_matching import Profile, match
from headstart.tasks.base import infer_task

Columns = dict[str, list[Any]]

RENAMED = {
    "adult": {
        "age": ("years of age", "AGE_YRS"), "workclass": ("employer type", "WORK_CLASS"),
        "fnlwgt": ("sampling weight", "FINAL_WT"), "education": ("highest degree", "EDU_LEVEL"),
        "educational-num": ("years of schooling", "EDU_YRS"), "marital-status": ("married or single", "MARITAL"),
        "occupation": ("job", "OCCUP"), "relationship": ("role in family", "HOUSEHOLD_ROLE"),
        "race": ("ethnicity", "RACE_GROUP"), "gender": ("sex", "SEX_CD"),
        "capital-gain": ("investment profit", "CAP_GAINS"), "capital-loss": ("investment losses", "CAP_LOSSES"),
        "hours-per-week": ("weekly hours", "HRS_WK"), "native-country": ("country of birth", "BIRTH_CTRY"),
    },
    "california_housing": {
        "MedInc": ("median_household_income", "INCOME_MED"), "HouseAge": ("building_age_years", "AGE_HOUSE"),
        "AveRooms": ("rooms_per_household", "ROOMS_AVG"), "AveBedrms": ("bedrooms_per_household", "BEDRMS_AVG"),
        "Population": ("residents", "POP"), "AveOccup": ("persons_per_household", "OCCUP_AVG"),
        "Latitude": ("lat", "Y_COORD"), "Longitude": ("lon", "X_COORD"),
    },
    "clothing_reviews": {
        "Clothing ID": ("item_number", "SKU"), "Age": ("customer_years", "REVIEWER_AGE"), "Rating": ("stars", "SCORE"),
        "Recommended IND": ("would_recommend", "RECOMMENDS"), "Positive Feedback Count": ("helpful_votes", "UPVOTES"),
        "Division Name": ("product_division", "DIV"), "Department Name": ("section", "DEPT"),
        "Class Name": ("garment_type", "PRODUCT_CLASS"),
    },
}  # fmt: skip
"""What the columns are called in the other table, in two styles: in other words, and short. How columns are compared
was settled with the first in view; the second was written down after that."""

ROWS = 200
"""Rows of the other table whose columns are aligned."""

LABELS, OCCUPATIONS, LEAST = 100, 10, 500
"""Labels of a target; values of a column that are targets, the largest; and test rows that each has to have."""

SAME = {"education": ("educational-num",)}
"""Columns that say the same as another one."""

LEFT_OUT = {
    "adult": ("occupation", "fnlwgt", "age"),
    "california_housing": ("Latitude", "Longitude", "MedInc", "AveRooms", "AveBedrms", "AveOccup"),
    "clothing_reviews": ("Division Name", "Clothing ID", "Age"),
}
"""Columns without which more rows are equal by chance: that which says of which table a row is, and telling ones."""

OTHERS = 3000
"""Rows of the other table of which some are in the source."""


def table(name: str) -> Columns:
    """A table of the shelf, column by column, as Python values."""
    import pandas as pd

    frame = pd.read_csv(shelf.fetch(name), keep_default_na=True)
    return {column: [None if value != value else value for value in frame[column].tolist()] for column in frame}


def part(columns: Columns, rows: Any) -> Columns:
    """Some rows."""
    return {name: [values[row] for row in rows] for name, values in columns.items()}


# --- columns -------------------------------------------------------------------------------------------------------


def away(name: str, columns: Columns) -> np.ndarray:
    """Which rows are of the other table."""
    if name == "adult":
        return np.array([value == "Sales" for value in columns["occupation"]])
    if name == "california_housing":
        return np.array(columns["Latitude"]) <= 36
    return np.array([value == "General Petite" for value in columns["Division Name"]])


def aligned(name: str, style: int, seed: int) -> tuple[int, int, list[str], list[str]]:
    """(right, columns, wrong ones that look sure, doubtful ones) of one table."""
    names, whole = {column: called[style] for column, called in RENAMED[name].items()}, table(name)
    columns = {column: whole[column] for column in names}
    theirs, generator = away(name, whole), np.random.default_rng(seed)
    one = part(columns, np.flatnonzero(~theirs))
    rows = generator.choice(np.flatnonzero(theirs), ROWS, replace=False)
    order = generator.permutation(list(names)).tolist()
    other = {names[column]: values for column, values in part({c: columns[c] for c in order}, rows).items()}
    profiles = []
    for each in (one, other):
        dataset = headstart.read(each, input=list(each), for_prediction=True)
        profiles.append([Profile.of(dataset, column) for column in dataset.inputs])
    pairs = match(*profiles)
    right = [pair for pair in pairs if names[pair.source] == pair.target]
    sure = [str(pair) for pair in pairs if names[pair.source] != pair.target and not pair.doubtful]
    return len(right), len(names), sure, [str(pair) for pair in pairs if pair.doubtful]


def columns_of(seeds: int) -> None:
    """The table of alignments."""
    for name in RENAMED:
        for style, seed in ((style, seed) for style in (0, 1) for seed in range(seeds)):
            right, total, sure, doubtful = aligned(name, style, seed)
            print(
                f"{name:<18} style {style + 1} seed {seed}  {right} of {total} right; "
                f"wrong and not marked: {sure or 'none'}; marked as doubtful: {', '.join(doubtful) or 'none'}",
                flush=True,
            )  # fmt: skip


# --- rows in both tables -------------------------------------------------------------------------------------------


def overlap(name: str, style: str, share: float, seed: int) -> str:
    """How many of `OTHERS` rows the source is found to have learned from, where it did of ``share`` of them."""
    whole = distinct(table(name))
    theirs, generator = np.flatnonzero(away(name, whole)), np.random.default_rng(seed)
    ours = generator.permutation(theirs)[:OTHERS]
    known = np.concatenate([np.flatnonzero(~away(name, whole)), ours[: int(share * len(ours))]])
    plain = [column for column in whole if any(isinstance(value, str) for value in whole[column])]
    left = LEFT_OUT[name] if style == "few" else LEFT_OUT[name][:1] if style == "most" else ()
    names = [column for column in RENAMED[name] if column not in left]
    cells = [row_hashes.cells(c, "category" if c in plain else "number", whole[c]) for c in names]
    hashes = row_hashes.rows(cells)
    mine, source = hashes[ours], hashes[known]
    equal = row_hashes.among(source, [column[ours] for column in cells])
    chance = contamination.by_chance(mine, len(source), row_hashes.repeated(source))
    same = equal & contamination.alone(mine)
    told = int(same.sum()) if same.sum() > chance else 0
    right = int(same[: int(share * len(ours))].sum()) if told else 0
    return (
        f"{name:<18} {style:<4} columns {share:>5.0%} in both  {equal.sum():>5} of "
        f"{len(ours)} equal, {same.sum()} of them unlike all others, at most {chance:.0f} by chance; left out {told}, "
        f"of which in both {right}"
    )


def overlaps(seeds: int) -> None:
    """The table of rows that are in both."""
    for name in RENAMED:
        for style, share in ((style, s) for style in ("all", "most", "few") for s in (0.0, 0.01, 0.1, 0.5)):
            for seed in range(seeds):
                print(overlap(name, style, share, seed), flush=True)


# --- worth ---------------------------------------------------------------------------------------------------------


def fitted(rows: Columns, target: str, source: Path, out: Path, seed: int, effort: Any) -> dict[str, Any]:
    """What one fit says. rows: with a column ``split``."""
    begun = time.monotonic()
    run = headstart.fit(
        rows, target, source=str(source), out=out, seed=seed, effort=effort, roles={"split": "split"}, fresh=True
    )
    record = run.record
    scores = {each.name: each.test for each in record.candidates if each.test is not None}
    start, verdict = record.head_start, record.verdict
    assert verdict is not None and start is not None
    bound = {"exact": "", "more than": ">", "less than": "<"}[start.bound]
    return {
        "transfer": record.chosen_transfer, "score": scores[str(record.chosen_transfer)],
        "alone": scores["baseline"], "pooled": scores.get("pooled"), "scratch": scores.get("scratch"),
        "shipped": record.shipped, "shipped score": scores[record.shipped], "verdict": verdict.label,
        "difference": [verdict.difference.value, verdict.difference.low, verdict.difference.high],
        "against": verdict.control, "head start": f"{bound}{start.multiplier:.1f}x",
        "seconds": round(time.monotonic() - begun),
    }  # fmt: skip


def compared(
    name: str, theirs: Columns, ours: Columns, target: str, labels: list[int], given: argparse.Namespace
) -> list[dict[str, Any]]:
    """Make the source from ``theirs``; fit ``ours`` with each number of labels, with and without the rows pooled."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        keeping, made = (given.sources or Path(temporary)) / f"source of {name}", Path(temporary) / "source"
        if not keeping.is_dir():
            facts = headstart.pretrain(theirs, keeping, target=target, keep_rows=True, seed=given.seed).facts
            print(f"{name}: {facts['rows']:,} rows, {facts['scores']}, {facts['seconds']} s", flush=True)
        copied(keeping, made)
        order = np.random.default_rng([given.seed, 1]).permutation(len(ours[target]))
        for count in labels:
            chosen = order[: count + given.test]
            rows = part(ours, chosen) | {"split": ["train"] * count + ["test"] * (len(chosen) - count)}
            for kind, source in (("alone", made), ("pooled too", keeping)):
                facts = fitted(rows, target, source, Path(temporary) / f"{kind} {count}", given.seed, given.effort)
                found.append({"name": name, "labels": count, "controls": kind, **facts})
                print(json.dumps(found[-1]), flush=True)
    return found


def copied(source: Path, place: Path) -> None:
    """A source without its rows."""
    import shutil

    shutil.copytree(source, place, ignore=shutil.ignore_patterns("rows.parquet"))


def adult(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One occupation after the other."""
    whole = distinct(table("adult"))
    jobs, counts = np.unique(np.array([str(job) for job in whole["occupation"]]), return_counts=True)
    named = given.targets or jobs[np.argsort(-counts, kind="stable")][:OCCUPATIONS].tolist()
    found = []
    for job in named:
        mine = np.array([str(value) == job for value in whole["occupation"]])
        ours = part(whole, np.flatnonzero(mine))
        del ours["occupation"]
        found += compared(job, part(whole, others(mine, given)), ours, "income", given.labels or [LABELS], given)
    return found


def others(mine: np.ndarray, given: argparse.Namespace) -> np.ndarray:
    """The rows of the source: all that are not of the target, or so many of them."""
    rows = np.flatnonzero(~mine)
    return np.sort(np.random.default_rng([given.seed, 2]).permutation(rows)[: given.rows or None])


def distinct(columns: Columns) -> Columns:
    """Each row once."""
    rows = list(dict.fromkeys(zip(*columns.values())))
    return {name: list(values) for name, values in zip(columns, zip(*rows))}


class Rows:
    """In the place of a source: rows that it keeps, and nothing else."""

    network, in_context, card = torch.nn.Identity(), (), argparse.Namespace(name="rows")

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def rows(self) -> Columns:
        return self.columns


def parts_of(by: str, given: argparse.Namespace) -> Iterator[tuple[str, Columns, Columns]]:
    """(name, target table, source table) of each of the largest values of a column, which neither table then has."""
    name = "clothing_reviews" if by in RENAMED["clothing_reviews"] else "adult"
    whole = distinct(table(name))
    if name == "adult":
        whole["label"] = whole.pop("income")
    else:
        whole = {column: whole[column] for column in RENAMED[name]}
        whole["label"] = ["five stars" if stars == 5 else "fewer" for stars in whole.pop("Rating")]
    values = np.array([str(value) for value in whole[by]])
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:OCCUPATIONS]
    for value in given.targets or [str(names[at]) for at in order if counts[at] >= LABELS + LEAST]:
        both = part(whole, np.flatnonzero(values == value)), part(whole, others(values == value, given))
        for column in [by, *SAME.get(by, ())]:
            del both[0][column], both[1][column]
        yield value, *both


def choice(given: argparse.Namespace) -> None:
    """Which control each way of choosing takes, and what it gets: by scores out of fold as a fit has them, in which
    every fold makes all choices anew, and by those of the choice of the model itself, over some draws of the folds.
    """
    got: dict[str, list[float]] = {}
    for by in given.by:
        for value, ours, theirs in parts_of(by, given):
            order = np.random.default_rng([given.seed, 1]).permutation(len(ours["label"]))
            train, test = (
                headstart.read(part(ours, rows), target="label")
                for rows in (order[:LABELS], order[LABELS : LABELS + given.test])
            )
            if min(np.unique(train.targets(), return_counts=True)[1]) < 2 or len(set(train.targets())) < 2:
                print(f"{by} {value}: of one class there are fewer than two labels", flush=True)
                continue
            task, tested = infer_task(train), []
            y, truth = (task.encode(rows.targets()) for rows in (train, test))
            found = np.zeros((2, 2, 1 + given.draws))  # alone or pooled; accuracy or loss; by folds, by its own
            for place, method in enumerate((Baseline(), Pooled())):
                for draw in range(given.draws):
                    problem = Problem(train, None, task, Rows(theirs), None, seed=given.seed + draw)  # type: ignore[arg-type]
                    fitted = method.fit(problem)
                    found[place, :, 1 + draw] = measures(task, fitted.cv_outputs, y)
                    if isinstance(fitted.method, Pooled):
                        method = fitted.method  # of the size that was chosen first
                    if draw == 0:
                        tested.append(task.score(fitted.outputs(test.without("target")), truth))
                        outside = out_of_fold(type(method)(), problem, 5)
                        found[place, :, 0] = measures(task, outside, y)
            gain = found[1] - found[0]
            better = {
                "accuracy": gain[0, 0] > 0, "loss": gain[1, 0] < 0, "own accuracy": gain[0, 1] > 0,
                f"own accuracy x {given.draws}": gain[0, 1:].mean() > 0, "own loss": gain[1, 1] < 0,
                f"own loss x {given.draws}": gain[1, 1:].mean() < 0, "pooled": True, "alone": False,
                "the better one": tested[1] > tested[0],
            }  # fmt: skip
            for way, pooled in better.items():
                got.setdefault(way, []).append(tested[int(pooled)])
            taken = ", ".join(way for way, pooled in better.items() if pooled)
            print(
                f"{by} {value:<18} test: alone {tested[0]:.3f}, pooled {tested[1]:.3f}; out of fold: accuracy "
                f"{found[0, 0, 0]:.2f}, {found[1, 0, 0]:.2f}, loss {found[0, 1, 0]:.3f}, {found[1, 1, 0]:.3f}; "
                f"pooled is taken by {taken}", flush=True,
            )  # fmt: skip
    print({way: round(float(np.mean(scores)), 4) for way, scores in got.items()})
    gain = np.subtract(got["loss"], got["accuracy"])
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
    print(f"by the loss minus by accuracy, {len(gain)} targets: {gain.mean():+.5f}, standard error {error:.5f}")


def measures(task: Any, outside: Any, y: Any) -> tuple[float, float]:
    """Score and loss of outputs out of fold."""
    outputs = np.asarray(outside, float)
    return task.score(outputs, y), float(task.loss(torch.as_tensor(outputs), task.collate(y))["loss"])


def housing(given: argparse.Namespace) -> list[dict[str, Any]]:
    """North to south."""
    whole = table("california_housing")
    south = np.array(whole["Latitude"]) <= 36
    theirs, ours = part(whole, others(south, given)), part(whole, np.flatnonzero(south))
    return compared("south", theirs, ours, "MedHouseVal", given.labels or [50, 200, 1000], given)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("columns", "overlap", "choice", "adult", "housing"))
    parser.add_argument("--targets", nargs="*", help="occupations; the ten largest by default")
    parser.add_argument("--by", nargs="+", default=["occupation"], help="choice: columns that make the targets")
    parser.add_argument("--draws", type=int, default=4, help="choice: draws of the folds in the choice of the model")
    parser.add_argument("--labels", nargs="*", type=int)
    parser.add_argument("--test", type=int, default=5000, help="test rows at most")
    parser.add_argument("--rows", type=int, default=0, help="rows that the source is made from; 0: all")
    parser.add_argument("--seeds", type=int, default=1, help="draws of rows for the columns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", default="balanced", choices=("quick", "balanced", "thorough"))
    parser.add_argument("--sources", type=Path, help="a folder that keeps the sources")
    parser.add_argument("--keep", type=Path, help="a CSV file that the lines are added to")
    given = parser.parse_args()
    if given.what == "columns":
        columns_of(given.seeds)
        return
    if given.what == "overlap":
        overlaps(given.seeds)
        return
    if given.what == "choice":
        choice(given)
        return
    found = (adult if given.what == "adult" else housing)(given)
    for kind in ("alone", "pooled too"):
        lines = [line for line in found if line["controls"] == kind]
        worse = [line["shipped score"] - max(line["alone"], line["pooled"] or -9.0) for line in lines]
        every = [line["verdict"] for line in lines]
        verdicts = {label: every.count(label) for label in ("positive", "neutral", "negative")}
        print(f"{kind}: {verdicts}; shipped minus the better control, mean {100 * np.mean(worse):+.2f} points")
    if given.keep:
        fresh = not given.keep.exists()
        with given.keep.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(found[0]))
            if fresh:
                writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
