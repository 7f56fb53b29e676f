"""Target sets for `ranking_quality.py`: small, made or fetched, the same on every machine.

A pool is a list of inputs; each of its targets is a task of its own. The first half of a pool is what a ranker and the
probe see, the second half is the test. Images are drawn from what matplotlib, scikit-image and scikit-learn ship.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

TRAIN, TEST = 1000, 1000
Array = np.ndarray


@dataclass
class Pool:
    """inputs: PNG bytes or texts. targets: name -> labels or numbers [N]. train: how many rows are for ranking."""

    name: str
    modality: str
    inputs: list[Any]
    targets: dict[str, list[Any]]
    train: int = TRAIN
    regression: frozenset[str] = field(default_factory=frozenset)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


# --- digits ----------------------------------------------------------------------------------------------------


def digits() -> Pool:
    """UCI digits, 8 x 8, enlarged."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    pixels = (data.images * 15.9375).astype(np.uint8)
    inputs = [png(Image.fromarray(pixels[row]).resize((64, 64), Image.Resampling.BICUBIC)) for row in order]
    return Pool("digits", "image", inputs, {"digits": data.target[order].tolist()}, train=len(order) - TEST)


def mnist() -> Pool:
    """MNIST, 28 x 28, from the shelf of datasets."""
    from headstart.datasets import shelf

    files = sorted(Path(shelf.fetch("mnist_5k")).rglob("*.png"))
    order = np.random.default_rng(0).permutation(len(files))[: TRAIN + TEST]
    inputs = [files[row].read_bytes() for row in order]
    return Pool("mnist", "image", inputs, {"mnist": [files[row].parent.name for row in order]})


# --- rendered characters ---------------------------------------------------------------------------------------

FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmtt10",
)  # fmt: skip


def glyphs() -> Pool:
    """One letter a picture: which letter (26), and in which of 12 typefaces."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(1)
    inputs, letters, faces = [], [], []
    for _ in range(TRAIN + TEST):
        letter, face = chr(65 + int(rng.integers(26))), FACES[rng.integers(len(FACES))]
        font = ImageFont.truetype(str(folder / f"{face}.ttf"), int(rng.integers(36, 72)))
        paper, ink = rng.integers(150, 256, 3), rng.integers(0, 110, 3)
        image = Image.new("RGB", (112, 112), tuple(int(v) for v in paper))
        place = (56 + int(rng.integers(-12, 13)), 56 + int(rng.integers(-12, 13)))
        ImageDraw.Draw(image).text(place, letter, fill=tuple(int(v) for v in ink), font=font, anchor="mm")
        image = image.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR, fillcolor=tuple(map(int, paper)))
        noisy = np.asarray(image, float) + rng.normal(0, rng.uniform(2, 25), (112, 112, 3))
        inputs.append(png(Image.fromarray(noisy.clip(0, 255).astype(np.uint8))))
        letters.append(letter)
        faces.append(face)
    return Pool("glyphs", "image", inputs, {"letters": letters, "typefaces": faces})


# --- crops of photographs --------------------------------------------------------------------------------------

PHOTOS = (
    "astronaut.png", "brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png", "ihc.png",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg", "hubble_deep_field.jpg",
)  # fmt: skip
SPOILS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "none": lambda image, rng: image,
    "blur": lambda image, rng: image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.0, 2.5)))),
    "noise": lambda image, rng: _noise(image, rng),
    "jpeg": lambda image, rng: _jpeg(image, int(rng.integers(6, 20))),
    "dull": lambda image, rng: ImageEnhance.Contrast(image).enhance(float(rng.uniform(0.3, 0.6))),
    "blocks": lambda image, rng: image.resize((32, 32)).resize(image.size, Image.Resampling.NEAREST),
    "sharp": lambda image, rng: image.filter(ImageFilter.UnsharpMask(3, 250, 0)),
}


def _noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image, float) + rng.normal(0, rng.uniform(10, 30), (*image.size[::-1], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def crops(train: int = TRAIN, test: int = TEST) -> Pool:
    """Grey crops of 14 photographs: which one, and how the crop was spoiled. Train: left parts; test: right parts."""
    import skimage
    import sklearn.datasets

    folder = Path(skimage.__file__).parent / "data"
    paths = [folder / name for name in PHOTOS]
    paths += [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
    photos = [Image.open(path).convert("L").convert("RGB") for path in paths]
    rng = np.random.default_rng(2)
    inputs, names, spoils = [], [], []
    for number in range(train + test):
        at, spoil = int(rng.integers(len(photos))), list(SPOILS)[rng.integers(len(SPOILS))]
        photo, half = photos[at], photos[at].width // 2
        side = int(rng.integers(64, min(129, half, photo.height)))
        left = int(rng.integers(0, half - side + 1)) + (0 if number < train else photo.width - half)
        top = int(rng.integers(0, photo.height - side + 1))
        crop = photo.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.BICUBIC)
        inputs.append(png(SPOILS[spoil](crop, rng)))
        names.append(paths[at].stem)
        spoils.append(spoil)
    return Pool("crops", "image", inputs, {"photographs": names, "spoiled": spoils})


# --- shapes ----------------------------------------------------------------------------------------------------


def shapes() -> Pool:
    """Coloured polygons and discs on a cluttered ground: which shape (6), and how many of them (1 to 5)."""
    rng = np.random.default_rng(3)
    inputs, kinds, counts = [], [], []
    for _ in range(TRAIN + TEST):
        ground = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((128, 128))
        image, kind, count = ImageEnhance.Contrast(ground).enhance(0.35), int(rng.integers(6)), int(rng.integers(1, 6))
        draw = ImageDraw.Draw(image)
        for cell in rng.permutation(9)[:count]:
            radius, turn = float(rng.uniform(11, 19)), float(rng.uniform(0, 2 * np.pi))
            centre = np.array([21 + 43 * (cell % 3), 21 + 43 * (cell // 3)]) + rng.uniform(-3, 4, 2)
            fill = tuple(int(v) for v in rng.integers(0, 256, 3))
            if kind == 0:
                draw.ellipse([*(centre - radius * 0.9), *(centre + radius * 0.9)], fill=fill)
                continue
            corners = (3, 4, 5, 10, 8)[kind - 1]
            angles = turn + 2 * np.pi * np.arange(corners) / corners
            reach = np.where(np.arange(corners) % 2 == 0, radius, radius * (0.45 if corners >= 8 else 1.0))
            points = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            draw.polygon([tuple(map(float, point)) for point in points], fill=fill)
        inputs.append(png(image))
        kinds.append(kind)
        counts.append(count)
    return Pool("shapes", "image", inputs, {"shapes": kinds, "counts": counts})


# --- reviews ---------------------------------------------------------------------------------------------------


def reviews() -> Pool:
    """Clothing reviews: department (6), rating (5), recommended (2), garment (14), and the length."""
    import pandas as pd

    from headstart.datasets import shelf

    table = pd.read_csv(shelf.fetch("clothing_reviews"))
    names = {
        "department": "Department Name",
        "rating": "Rating",
        "recommended": "Recommended IND",
        "garment": "Class Name",
    }
    table = table.dropna(subset=["Review Text", "Department Name", "Class Name"]).drop_duplicates("Review Text")
    common = table["Class Name"].value_counts()
    table = table[table["Class Name"].isin(common[common >= 200].index) & (table["Department Name"] != "Trend")]
    table = table.sample(TRAIN + TEST, random_state=0)
    targets = {name: table[column].tolist() for name, column in names.items()}
    targets["length"] = np.log(table["Review Text"].str.len()).tolist()
    return Pool("reviews", "text", table["Review Text"].tolist(), targets, regression=frozenset({"length"}))


POOLS: dict[str, Callable[[], Pool]] = {
    "digits": digits, "mnist": mnist, "glyphs": glyphs, "crops": crops, "shapes": shapes, "reviews": reviews,
}  # fmt: skip
