"""Whether image files decode to the last pixel.

JPEG files are decoded at an eighth of their size (Pillow's draft mode), which still reads all their data. The answer
is remembered by path, size and time, so a second look at the same files costs nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headstart.datasets import store


def reason(image: Path | bytes) -> str:
    """Why an image cannot be read, or an empty string."""
    from PIL import Image

    if isinstance(image, Path) and not image.is_file():
        return "the image file does not exist"
    if not (len(image) if isinstance(image, bytes) else image.stat().st_size):
        return "the image has zero bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
                picture.draft("RGB", (max(picture.width // 8, 1), max(picture.height // 8, 1)))
                picture.load()
    except PermissionError:
        return "no permission to read the image"
    except Image.DecompressionBombError:
        return "the image has too many pixels"
    except Exception as error:  # decoders raise errors of every kind on damaged data
        return (
            f"the image cannot be decoded ({str(error).splitlines()[0][:80] if str(error) else type(error).__name__})"
        )
    return ""


def broken(paths: Sequence[Path]) -> dict[int, str]:
    """Position -> reason for the images that cannot be read; two threads, remembered on disk."""
    present = [path for path in paths if path.is_file()]
    key = store.digest("images", present, [str(path) for path in paths if not path.is_file()])
    found = store.remember(key, lambda: _check(paths))
    return {int(position): why for position, why in found.items()}


def _check(images: Sequence[Path] | Sequence[bytes]) -> dict[str, str]:
    from PIL import Image

    Image.init()  # plugins are loaded once, before the threads
    with ThreadPoolExecutor(2) as pool:
        return {str(i): why for i, why in enumerate(pool.map(reason, images, chunksize=32)) if why}


def broken_bytes(images: Sequence[bytes]) -> dict[int, str]:
    """Position -> reason for encoded images that cannot be read."""
    return {int(position): why for position, why in _check(images).items()}
