"""SHOT and Tent from a saved run, without a labelled row: typefaces, then UCI digits.

    python benchmarks/source_free.py
    python benchmarks/source_free.py --labelled mnist_5k --to digits

A network is trained on the first set and saved; no row of that set is read again. `headstart adapt RUN TO` goes on with
SHOT; `headstart predict RUN TO --adapt tent` answers the second set as a stream, in mixed order, then as a bad one
of one class after the other, with noise and blank pictures between. Labels of the second set are read here.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")


def main() -> None:
    import headstart
    from headstart.adapting.tent import Tent
    from headstart.datasets import shelf
    from headstart.datasets.read import read
    from headstart.testing import dataset_with

    parser = argparse.ArgumentParser()
    parser.add_argument("--labelled", default="font_digits")
    parser.add_argument("--to", default="digits")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place, goal = Path(folder), shelf.fetch(given.to)
        headstart.adapt(shelf.fetch(given.labelled), goal, method="sourcetuned", out=place / "run", seed=given.seed)
        run = headstart.load(place / "run")
        found = headstart.adapt(place / "run", goal, method="shot", out=place / "shot", seed=given.seed).record
        scores = {each.name: each.test for each in found.candidates}
        assert found.verdict is not None
        print(
            f"{given.labelled} > {given.to}: as it is {scores['kept']:.4f}, shot {scores['shot']:.4f}, {found.verdict}"
        )
        rows, rng = read(goal), np.random.default_rng(given.seed)
        inputs, truth = rows.without("target").samples(), np.array([str(value) for value in rows.targets()])
        mixed = rng.permutation(len(inputs))
        by_class = mixed[np.argsort(truth[mixed], kind="stable")]
        for name, order, bad in (("mixed", mixed, False), ("bad", by_class, True)):
            samples, wanted = [inputs[at] for at in order], list(truth[order])
            if bad:
                middle = len(samples) // 2
                noise = [rng.integers(0, 255, (12, 12), dtype=np.uint8) for _ in range(128)]
                noise += [np.full((12, 12), 128, np.uint8) for _ in range(128)]
                samples[middle:middle] = [png(each) for each in noise]
                wanted[middle:middle] = [""] * len(noise)
            stream = dataset_with([as_bytes(each) for each in samples], ["0"] * len(samples), "category", "image")
            known = np.array([value != "" for value in wanted])
            line = [right(run.fitted.predict(stream.without("target")).values, wanted, known)]
            for guard in (False, True):
                prediction, report = Tent(run.fitted, guard=guard).predict(stream.without("target"))
                line.append(right(prediction.values, wanted, known))
            told = (
                f"{report.adapted} batches adapted to, {report.rolled_back} rolled back{', stopped' * report.stopped}"
            )
            print(f"{name} stream: as it is {line[0]:.4f}, tent unguarded {line[1]:.4f}, tent {line[2]:.4f}; {told}")


def right(values: list[str], wanted: list[str], known: np.ndarray) -> float:
    """Accuracy over the rows that have a label."""
    return float((np.array([str(value) for value in values]) == np.array(wanted))[known].mean())


def png(pixels: np.ndarray) -> bytes:
    """The file of a picture."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def as_bytes(sample: object) -> bytes:
    """The file of a sample."""
    if isinstance(sample, dict):
        sample = sample.get("bytes") or sample["path"]
    return sample if isinstance(sample, bytes) else Path(str(sample)).read_bytes()


if __name__ == "__main__":
    main()
