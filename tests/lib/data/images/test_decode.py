# SPDX-License-Identifier: MIT
"""Every kind of image becomes RGB by a stated rule, and is scaled as torchvision scales it."""

from functools import partial
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.torchvision_import import import_torchvision
from lib.data.images.decode import BrokenImage, decode, middle, part
from tests.image_files import encoded, picture

import_torchvision()
F = import_module("torchvision.transforms.v2.functional")

PICTURE = picture()
PIXELS = np.asarray(PICTURE)


def pixels(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000", "TGA"])
def test_any_kind_of_file(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encoded(PICTURE, kind, **options))
    assert np.abs(found.astype(int) - PIXELS).mean() < (12 if kind == "GIF" else 1e-9)


def test_jpeg_is_close():
    assert np.abs(pixels(encoded(PICTURE, "JPEG", quality=95)).astype(int) - PIXELS).mean() < 4


def test_grey_is_repeated():
    grey = PICTURE.convert("L")
    for image in (grey, grey.convert("1")):
        found = pixels(encoded(image))
        assert (found == np.asarray(image.convert("L"))[..., None]).all()


def test_a_palette_gives_its_colours():
    image = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(pixels(encoded(image)), np.asarray(image.convert("RGB")))


def test_cmyk():
    found = pixels(encoded(PICTURE.convert("CMYK"), "TIFF"))
    assert np.array_equal(found, PIXELS)
    found = pixels(encoded(PICTURE.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - PIXELS).mean() < 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode):
    image = PICTURE.convert(mode)
    alpha = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
    image.putalpha(Image.fromarray(alpha))
    colour = np.asarray(image.convert("RGB")).astype(float)
    share = alpha[..., None] / 255
    expected = colour * share + 255 * (1 - share)
    assert np.abs(pixels(encoded(image)) - expected).max() <= 1.01


def test_a_transparent_colour_of_a_palette_or_of_rgb_is_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((0, 0), 0)
    found = pixels(encoded(image, transparency=0))
    assert found[0, 0].tolist() == [255] * 3 and found[1, 1].tolist() == [200, 0, 0]
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    assert (pixels(encoded(image, transparency=(1, 2, 3))) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_lose_the_lower_8(kind):
    values = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    found = pixels(encoded(Image.fromarray(values), kind))
    assert np.array_equal(found, np.repeat((values >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_image_of_several(kind):
    others = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(others[0], kind, save_all=True, append_images=others[1:], **options)
    assert (pixels(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_is_applied(kind, orientation):
    stored = Image.new("RGB", (64, 32), "black")
    stored.paste("white", (0, 0, 16, 16))  # upper left in the file
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encoded(stored, kind, exif=exif))
    bright = found.mean(axis=2)
    height, width = bright.shape
    lower = bright[-8:].mean() > bright[:8].mean()
    right = bright[:, -8:].mean() > bright[:, :8].mean()
    # Where the first row and the first column of the file belong (EXIF 2.32, Orientation).
    assert lower == (orientation in (3, 4, 7, 8))
    assert right == (orientation in (2, 3, 6, 7))
    assert (width, height) == ((64, 32) if orientation < 5 else (32, 64))


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
BROKEN = {
    "empty": ("empty file", b""),
    "html": ("no image that Pillow reads", b"<html>not found</html>"),
    "jpeg": ("truncated", encoded(Image.fromarray(NOISE), "JPEG")[:-300]),
    "png": ("truncated|image file", encoded(Image.fromarray(NOISE))[:-900]),
    "float": ("32 bits", encoded(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_decoded_is_broken_and_says_why(name):
    reason, data = BROKEN[name]
    for function in (decode, partial(middle, size=8), partial(part, box=(0, 0, 9, 9), size=8)):
        with pytest.raises(BrokenImage, match=reason):
            function(data)


KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
_WHOLE = {kind: encoded(PICTURE, kind) for kind in KINDS}


@given(
    cut=st.integers(0, 2000),
    flip=st.integers(0, 2000),
    byte=st.integers(1, 255),
    kind=st.sampled_from(KINDS),
)
def test_damage_of_any_kind_is_either_harmless_or_broken(cut, flip, byte, kind):
    data = bytearray(_WHOLE[kind])
    data[flip % len(data)] ^= byte
    try:
        decode(bytes(data[: max(0, len(data) - cut)]))
    except BrokenImage as error:
        assert str(error)


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(8, 40))
def test_the_middle_is_that_of_torchvision(width, height, size):
    image = picture(1, (width, height))
    expected = F.center_crop(F.resize(image, [round(size * 8 / 7)]), [size, size])
    difference = np.abs(
        middle(encoded(image), size).astype(int) - F.pil_to_tensor(expected).numpy()
    )
    # Rounded after each of two passes, over columns and rows.
    assert difference.max() <= 2


def test_an_image_that_is_one_long_line_takes_little_memory():
    """Scaled as a whole it would have 1.6 × 256 × 10^7 pixels."""
    pixels = middle(encoded(picture(1, (60_000, 1))), 224)
    assert pixels.shape == (3, 224, 224)


def test_a_part_is_that_of_torchvision_up_to_its_border():
    image = picture(2, (90, 70))
    for top, left, height, width in ((0, 0, 70, 90), (10, 20, 40, 60), (3, 5, 16, 12)):
        cropped = F.resized_crop(image, top, left, height, width, [32, 32])
        expected = F.pil_to_tensor(cropped).numpy()
        found = part(encoded(image), (top, left, height, width), 32)
        inner = np.s_[:, 4:-4, 4:-4]  # beyond the box torchvision repeats its edge
        assert np.abs(found[inner].astype(int) - expected[inner]).max() <= 1
        assert np.abs(found.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(3, (1203, 901)), "JPEG", quality=95, exif=exif)
    whole = encoded(decode(data))  # a PNG file, which has no smaller forms
    difference = np.abs(middle(data, 48).astype(int) - middle(whole, 48))
    assert difference.mean() < 2 and difference.max() <= 12
    box = (101.5, 30.25, 600.0, 700.5)
    difference = np.abs(part(data, box, 48).astype(int) - part(whole, box, 48))
    assert difference.mean() < 2 and difference.max() <= 12
