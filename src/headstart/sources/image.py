"""Images of any kind to normalised tensors [B,3,H,W].

Paths, bytes, PIL images and arrays are decoded alike: grayscale, palette, 16-bit, transparency and the camera's
orientation flag included. JPEGs much larger than needed are decoded at a reduced scale, which is several times
faster. Training samples are augmented mildly (random crop, light and contrast; no flip unless asked for, since a
mirrored digit or letter is another one); all draws come from torch's global generator, before anything is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from headstart.errors import DataError, SourceError
from headstart.types import Batch, Json, Sample

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
DRAWS = 7  # random numbers that one training sample takes


@dataclass(frozen=True)
class Augment:
    """Training augmentation. scale: share of the area that a crop keeps. jitter: brightness and contrast, +- part."""

    scale: tuple[float, float] = (0.7, 1.0)
    ratio: tuple[float, float] = (0.8, 1.25)
    flip: bool = False
    jitter: float = 0.1


@dataclass
class ImageReader:
    """Decodes, resizes, crops and normalises.

    resize: length of the shorter edge, or (height, width) regardless of the aspect. crop: (height, width) of the
    network's input. mean, std: of the channels after division by 255.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    augment: Augment = Augment()

    kind = "image"

    def __call__(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Samples to ``pixel_values`` [B,3,H,W] float32. Raises DataError HS-DATA-013 for one that is no image."""
        height, width = self.crop
        pixels = np.empty((len(samples), height, width, 3), dtype=np.uint8)
        draws = torch.rand(len(samples), DRAWS).tolist() if train else [None] * len(samples)
        for row, sample, draw in zip(pixels, samples, draws):
            row[:] = np.asarray(self._fitted(sample) if draw is None else self._augmented(sample, draw))
        tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        scale = torch.tensor(self.std).view(1, 3, 1, 1).mul(255)
        shift = torch.tensor(self.mean).view(1, 3, 1, 1).mul(255)
        return Batch({"pixel_values": tensor.sub_(shift).div_(scale)})

    def _fitted(self, sample: Sample) -> Image.Image:
        """Resize, then cut out the middle; borders are black where the crop is larger than the image."""
        edges = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        image = decode(sample, (edges[1], edges[0]))
        if isinstance(self.resize, int):
            short = min(image.size)
            size = (int(self.resize * image.width / short), int(self.resize * image.height / short))
        else:
            size = (self.resize[1], self.resize[0])
        size = (max(size[0], 1), max(size[1], 1))
        height, width = self.crop
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        if left < 0 or top < 0:
            return image.resize(size, FILTERS[self.interpolation]).crop((left, top, left + width, top + height))
        across, down = image.width / size[0], image.height / size[1]  # the same pixels, without those cut off after
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return image.resize((width, height), FILTERS[self.interpolation], box=box)

    def _augmented(self, sample: Sample, draw: Sequence[float]) -> Image.Image:
        """A random part of the image at the network's input size."""
        height, width = self.crop
        image = decode(sample, (2 * width, 2 * height))
        low, high = self.augment.scale
        area = image.width * image.height * (low + (high - low) * draw[0])
        flat, tall = self.augment.ratio
        ratio = flat * (tall / flat) ** draw[1] * (image.width / image.height) ** 0.5
        wide = min(max(round((area * ratio) ** 0.5), 1), image.width)
        high_ = min(max(round((area / ratio) ** 0.5), 1), image.height)
        left, top = draw[2] * (image.width - wide), draw[3] * (image.height - high_)
        box = (left, top, left + wide, top + high_)
        image = image.resize((width, height), FILTERS[self.interpolation], box=box)
        if self.augment.flip and draw[4] < 0.5:
            image = ImageOps.mirror(image)
        if self.augment.jitter:
            image = ImageEnhance.Brightness(image).enhance(1 + self.augment.jitter * (2 * draw[5] - 1))
            image = ImageEnhance.Contrast(image).enhance(1 + self.augment.jitter * (2 * draw[6] - 1))
        return image

    def settings(self) -> Json:
        """The reader as JSON."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def load(cls, settings: Json) -> ImageReader:
        """The reader that `settings` describes."""
        values = {key: value for key, value in settings.items() if key != "kind"}
        augment: Json = {key: tuple(v) if isinstance(v, list) else v for key, v in values.pop("augment").items()}
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**values, augment=Augment(**augment))

    @property
    def example(self) -> Batch:
        """Two small random-looking but fixed inputs of the right size."""
        height, width = self.crop
        ramp = torch.linspace(-2, 2, 2 * 3 * height * width)
        return Batch({"pixel_values": torch.sin(ramp * 997).view(2, 3, height, width)})


def decode(sample: Sample, least: tuple[int, int] = (0, 0)) -> Image.Image:
    """A path, bytes, PIL image or array [H,W], [H,W,C] or [C,H,W] to an RGB image.

    least: (width, height) below which a JPEG is not reduced while decoding. Raises DataError HS-DATA-013 naming the
    path for what cannot be decoded, SourceError HS-SOURCE-005 for what is no image at all.
    """
    if isinstance(sample, dict) and ("bytes" in sample or "path" in sample):  # the image struct of the datasets library
        sample = sample.get("bytes") or sample.get("path")
    if isinstance(sample, Image.Image):
        return _rgb(sample)
    if isinstance(sample, np.ndarray | torch.Tensor):
        return _from_array(np.asarray(sample))
    if not isinstance(sample, str | Path | bytes):
        raise SourceError(
            "HS-SOURCE-005",
            f"this source reads images, but a sample is of type {type(sample).__name__}.",
            "Choose a source for that kind of input, or give a path, bytes, a PIL image or an array.",
        )
    name = "an image given as bytes" if isinstance(sample, bytes) else str(sample)
    try:
        with Image.open(io.BytesIO(sample) if isinstance(sample, bytes) else sample) as image:
            if all(least):
                image.draft("RGB" if image.mode != "L" else "L", (2 * least[0], 2 * least[1]))
            return _rgb(image)
    except FileNotFoundError as error:
        raise DataError("HS-DATA-013", f"{name} does not exist.", "Correct the path, or remove the row.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(name, "the file").split()) or type(error).__name__
        raise DataError("HS-DATA-013", f"{name} is not a readable image: {reason}.", "Replace or remove it.") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Upright RGB. Transparency is laid on white, 16-bit and float images are brought to 8 bits."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    """uint8 as it is; other integers and floats by their range: 0..1, 0..255, 0..65535, else stretched to 0..255."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or array.size == 0 or array.dtype.kind not in "uifb":
        raise DataError(
            "HS-DATA-013",
            f"an array of shape {list(array.shape)} and type {array.dtype} is not an image.",
            "Give [H,W], [H,W,3], [H,W,4] or [3,H,W] numbers.",
        )
    if array.dtype != np.uint8:
        array = _eight_bits(array)
    return _rgb(Image.fromarray(np.ascontiguousarray(array)))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    kind = array.dtype.kind
    values = np.nan_to_num(array.astype(np.float32))
    low, high = float(values.min()), float(values.max())
    if low < 0:
        values, top = values - low, high - low
    elif kind == "f" and high <= 1:
        top = 1.0
    elif high <= 255:
        top = 255.0
    else:
        top = 65535.0 if high <= 65535 else high
    return np.asarray((values * (255 / (top or 1.0))).round().clip(0, 255), dtype=np.uint8)
