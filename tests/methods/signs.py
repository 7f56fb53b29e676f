"""Handwritten digits as pictures, upright and slanted: a network of the upright ones reads slanted ones worse."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.methods.base import Problem
from headstart.methods.sourcetuned import Sourcetuned
from headstart.sources.glyph import Glyph
from headstart.testing import dataset_with

SIDE = 24


def picture(digit, shear=0.0):
    """A digit [8,8] of 0 to 16 as PNG, slanted by ``shear``."""
    image = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    map_ = (1, shear, -shear * SIDE / 2, 0, 1, 0)
    stream = io.BytesIO()
    image.transform((SIDE, SIDE), Image.Transform.AFFINE, map_, Image.Resampling.BILINEAR).save(stream, "PNG")
    return stream.getvalue()


def digits(rows, shear=0.0) -> Dataset:
    """Some of the 1 797 digits, with labels."""
    found = load_digits()
    images = [picture(found.images[row], shear) for row in rows]
    return dataset_with(images, [str(found.target[row]) for row in rows], "category", "image")


@cache
def reader():
    """A network that reads upright digits, trained on the first 800 for a few passes. Tests must not change it."""
    rows = digits(range(800))
    task = catalog.find("tasks", "classification").learn(rows)
    blind = rows.without("target")
    return Sourcetuned(epochs=5).fit(
        Problem(rows, None, task, Glyph(), None, options={"precision": "fp32", "drift": False}, domain=blind)
    )


def accuracy(fitted, rows):
    """The accuracy of a model on labelled rows."""
    return fitted.task.score(fitted.outputs(rows.without("target")), fitted.task.encode(rows.targets()))
