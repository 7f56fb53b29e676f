"""Render the ten digits in every typeface under a folder: how `headstart.datasets`' set ``font_digits`` was made.

    for package in fonts-lato fonts-comfortaa ...; do apt-get download $package; done
    for package in *.deb; do dpkg -x $package fonts; done
    python benchmarks/font_digits.py fonts --out src/headstart/datasets/font_digits.png

A row of the picture is a typeface, a column a digit, `SIDE` x `SIDE` points each, black on white. Beside it stands a
text with the names of the typefaces. A face without one of the digits is left out; of a folder `MOST` are taken.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

SIDE, MOST = 28, 4
SKIPPED = (
    "aenigma", "mathjax", "unfonts", "teluguvijayam", "cwtex", "levien", "malayalam", "amiri", "Large", "NoLoop",
    "Keyboard",
    "adf", "beteckna", "dustin", "sjfonts", "isabella", "atarismall", "freefont", "f500",
)  # fmt: skip
"""Parts of paths: what is not of Latin digits, stands twice, or is under the GPL; the rest is OFL, Apache, MIT, CC0,
Bitstream Vera or in the public domain."""


def complete(path: Path) -> bool:
    """Whether the face has ten digits."""
    table = TTFont(path, fontNumber=0, lazy=True).getBestCmap() or {}
    return all(ord(digit) in table for digit in "0123456789")


def rendered(path: Path) -> np.ndarray:
    """uint8 [28,280]: the ten digits."""
    row = np.full((SIDE, 10 * SIDE), 255, np.uint8)
    font = ImageFont.truetype(str(path), 4 * SIDE)
    for digit in range(10):
        large = Image.new("L", (8 * SIDE, 8 * SIDE), 255)
        ImageDraw.Draw(large).text((4 * SIDE, 4 * SIDE), str(digit), fill=0, font=font, anchor="mm")
        box = Image.eval(large, lambda value: 255 - value).getbbox()
        if box is None:
            raise ValueError(f"{path}: an empty digit")
        cut, scale = large.crop(box), (SIDE - 8) / max(box[2] - box[0], box[3] - box[1])
        sign = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.BOX)
        left, top = digit * SIDE + (SIDE - sign.width) // 2, (SIDE - sign.height) // 2
        row[top : top + sign.height, left : left + sign.width] = np.asarray(sign)
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows: dict[str, np.ndarray] = {}
    counts: Counter[str] = Counter()
    for path in sorted([*given.folder.rglob("*.ttf"), *given.folder.rglob("*.otf")]):
        place = path.parent.name
        if counts[place] >= MOST or any(word in str(path) for word in SKIPPED) or not complete(path):
            continue
        row = rendered(path)
        if any(np.abs(row.astype(int) - other).mean() < 4 for other in rows.values()):
            continue  # as good as another one
        counts[place] += 1
        rows[path.stem] = row
    Image.fromarray(np.concatenate(list(rows.values()))).convert("L").quantize(16).save(given.out, optimize=True)
    given.out.with_suffix(".txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(rows)} typefaces, {given.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
