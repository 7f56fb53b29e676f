"""Tent with its guard, without it, and the model as it is, on streams of slanted digits; SHOT on the same rows.

    python benchmarks/streams.py

The network reads upright digits of rows 1000 to 1796 (seed 7); the streams are of rows 0 to 899, of which the limits of
the guard have seen nothing. Measured figures stand in docs/domain-adaptation.md.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from headstart import catalog
from headstart.adapting.tent import Tent
from headstart.methods.base import Problem
from headstart.methods.shot import Shot
from headstart.methods.sourcetuned import Sourcetuned
from headstart.sources.glyph import Glyph
from headstart.testing import dataset_with

SIDE, OPTIONS = 24, {"precision": "fp32", "drift": False}
DIGITS = load_digits()


def signs(rows, shear=0.0):
    """Digits as pictures, slanted."""
    found = []
    for row in rows:
        image = Image.fromarray((DIGITS.images[row] * 15.9).astype(np.uint8)).resize((SIDE, SIDE), Image.BILINEAR)
        stream = io.BytesIO()
        map_ = (1, shear, -shear * SIDE / 2, 0, 1, 0)
        image.transform((SIDE, SIDE), Image.AFFINE, map_, Image.BILINEAR).save(stream, "PNG")
        found.append(stream.getvalue())
    return dataset_with(found, [str(DIGITS.target[row]) for row in rows], "category", "image")


def main():
    """Print the table."""
    rows, generator = signs(range(1000, 1797)), np.random.default_rng(5)
    task = catalog.find("tasks", "classification").learn(rows)
    given = Problem(rows, None, task, Glyph(), None, seed=7, options=OPTIONS, domain=rows.without("target"))
    model = Sourcetuned(epochs=5).fit(given)
    mixed, y = generator.permutation(900), DIGITS.target
    pairs = [np.flatnonzero((y[mixed] == c) | (y[mixed] == (c + 1) % 10))[:90] for c in (3, 8, 1, 6, 0)]
    orders = {
        "mixed": mixed,
        "one class after the other": mixed[np.argsort((y[mixed] * 7) % 10, kind="stable")],
        "two classes at a time": mixed[np.concatenate(pairs)],
    }
    print("| stream | shear | as it is | tent, unguarded | tent | rolled back |\n|---|---|---|---|---|---|")
    for name, order in orders.items():
        for shear in (0.0, 0.9, -0.9):
            stream, truth = signs(order, shear), y[order].astype(str)
            blind = stream.without("target")
            scores = [np.mean(np.array(model.predict(blind).values) == truth)]
            for guard in (False, True):
                found, report = Tent(model, guard=guard).predict(blind)
                scores.append(np.mean(np.array(found.values) == truth))
            print(f"| {name} | {shear} | " + " | ".join(f"{score:.3f}" for score in scores), end="")
            print(f" | {report.rolled_back} of {report.batches}{', stopped' * report.stopped} |", flush=True)
    for shear in (0.9, -0.9):
        blind, truth = signs(mixed, shear).without("target"), y[mixed].astype(str)
        goes_on = Problem(blind, None, task, model.source, None, options=OPTIONS, domain=blind, model=model)
        found = Shot().fit(goes_on).predict(blind)
        print(f"shot, shear {shear}: {np.mean(np.array(found.values) == truth):.3f}", flush=True)


if __name__ == "__main__":
    main()
