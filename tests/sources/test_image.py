"""Decoding of every kind of image, and preprocessing."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.errors import DataError, SourceError
from headstart.sources.image import Augment, ImageReader, decode

READER = ImageReader(resize=40, crop=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
RAW = ImageReader(resize=(8, 8), crop=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="nearest")


def picture(width=60, height=50, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_path_bytes_image_and_array_agree(tmp_path):
    image = picture()
    (tmp_path / "a.png").write_bytes(encoded(image))
    array = np.asarray(image)
    forms = [str(tmp_path / "a.png"), tmp_path / "a.png", encoded(image), image, array, array.transpose(2, 0, 1)]
    forms.append({"bytes": encoded(image), "path": None})
    pixels = READER(forms).inputs["pixel_values"]
    assert pixels.shape == (7, 3, 32, 32) and pixels.dtype == torch.float32
    assert all(torch.equal(pixels[0], row) for row in pixels)


def test_values_are_normalised():
    pixels = READER([Image.new("RGB", (50, 50), (255, 0, 128))]).inputs["pixel_values"][0, :, 16, 16]
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    assert pixels.tolist() == pytest.approx(expected, abs=1e-5)


def test_grayscale_palette_transparency_and_16_bits():
    gray = Image.new("L", (8, 8), 100)
    palette = gray.convert("RGB").quantize(4)
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    deep = Image.fromarray(np.full((8, 8), 25700, np.uint16))
    one_bit = Image.new("1", (8, 8), 1)
    cmyk = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    pixels = RAW([gray, palette, clear, deep, one_bit, cmyk]).inputs["pixel_values"].mul(255).round()
    assert pixels.amin(dim=(1, 2, 3)).tolist() == [100, 100, 255, 100, 255, 255]
    assert pixels.amax(dim=(1, 2, 3)).tolist() == [100, 100, 255, 100, 255, 255]


@pytest.mark.parametrize(
    ("array", "level"),
    [
        (np.full((8, 8), 0.5, np.float32), 128),
        (np.full((8, 8), 16.0), 16),
        (np.full((8, 8, 1), 200, np.int64), 200),
        (np.ones((8, 8), bool), 255),
        (np.full((3, 8, 8), 65535, np.int32), 255),
    ],
)
def test_arrays_of_other_types(array, level):
    assert np.unique(np.asarray(decode(array))).tolist() == [level]


def test_orientation_flag_is_obeyed():
    image = picture(60, 30)
    flag = Image.Exif()
    flag[0x0112] = 6  # turn by 90 degrees
    turned = decode(encoded(image, "JPEG", quality=95, exif=flag))
    assert turned.size == (30, 60)


def test_tiny_images_are_enlarged():
    pixels = READER([np.arange(64, dtype=np.uint8).reshape(8, 8), Image.new("RGB", (1, 1))]).inputs["pixel_values"]
    assert pixels.shape == (2, 3, 32, 32) and torch.isfinite(pixels).all()


def test_very_long_images_are_padded_not_refused():
    assert READER([Image.new("RGB", (900, 2))]).inputs["pixel_values"].shape == (1, 3, 32, 32)


def test_large_jpegs_decode_at_reduced_scale_and_look_the_same():
    image = picture(1600, 1200)
    full = READER([image]).inputs["pixel_values"]
    reduced = READER([encoded(image, "JPEG", quality=95)]).inputs["pixel_values"]
    assert decode(encoded(image, "JPEG"), (40, 40)).size[0] < 1600
    assert (full - reduced).abs().mean() < 0.05


def test_augmentation_is_drawn_from_the_global_generator():
    images = [picture(seed=i) for i in range(3)]
    torch.manual_seed(1)
    first, second = READER(images, train=True), READER(images, train=True)
    torch.manual_seed(1)
    again = READER(images, train=True)
    assert torch.equal(first.inputs["pixel_values"], again.inputs["pixel_values"])
    assert not torch.equal(first.inputs["pixel_values"], second.inputs["pixel_values"])


def test_without_training_nothing_is_drawn():
    state = torch.get_rng_state()
    READER([picture()])
    assert torch.equal(state, torch.get_rng_state())


def test_flip_happens_only_where_asked_for():
    half = np.zeros((32, 32), np.uint8)
    half[:, 16:] = 255

    def share_mirrored(flip):
        augment = Augment(scale=(1.0, 1.0), flip=flip, jitter=0.0)
        reader = ImageReader(32, (32, 32), (0.0,) * 3, (1.0,) * 3, augment=augment)
        torch.manual_seed(0)
        pixels = reader([half] * 200, train=True).inputs["pixel_values"]
        return float((pixels[:, 0, 16, 2] > 0.5).float().mean())

    assert share_mirrored(False) == 0
    assert 0.35 < share_mirrored(True) < 0.65


def test_settings_come_back():
    reader = ImageReader((30, 40), (30, 40), (0.1,) * 3, (0.2,) * 3, "bicubic", Augment(flip=True))
    import json

    assert ImageReader.load(json.loads(json.dumps(reader.settings()))) == reader


def test_what_is_no_image_names_the_path(tmp_path):
    broken = tmp_path / "cut.png"
    broken.write_bytes(encoded(picture())[:200])
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    for path in (broken, empty, tmp_path / "missing.png", tmp_path):
        with pytest.raises(DataError, match="HS-DATA-013") as error:
            READER([str(path)])
        assert path.name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="HS-DATA-013"):
        READER([np.zeros((2, 3, 4, 5))])
    with pytest.raises(SourceError, match="HS-SOURCE-005"):
        READER([3.5])
