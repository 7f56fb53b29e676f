"""Samples for reading."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from headstart.record import shown


def test_a_series_is_told_in_words_and_drawn():
    text, picture = shown(np.array([[0.0, 1.0, 3.0], [1.0, -2.0, 0.5]], np.float32))
    assert text == "2 channels, 3 steps, -2 to 3"
    image = Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,"))))
    assert image.size == (96, 48) and len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 2
    assert shown(np.ones((1, 2), np.float32))[0] == "2 steps, 1 to 1"
