# SPDX-License-Identifier: MIT
"""From an encoded image to pixels, with Pillow and NumPy alone: what worker processes compute.

Rules by which every image becomes three colours of 8 bits:

- the orientation in its EXIF data is applied;
- grey, palette, CMYK and other colour spaces become RGB, without their colour profiles;
- what is transparent is laid over white;
- of 16 bits a channel the upper 8 are used;
- of an animation, or of several pages, the first image is used;
- an image is broken when Pillow cannot decode it to its end, when it has 32 bits a channel (whose
  range is not known), or when it has more than 179 million pixels (Pillow's limit).

Images are scaled as torchvision.transforms.v2 scales Pillow's: bilinear with antialiasing. It would
call the same functions of Pillow, but its import takes a process three seconds and 300 MB.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from ...errors import Failure

Size = tuple[int, int]  # width, height


class BrokenImage(Failure):
    """The bytes are no whole image; the message says why."""


def decode(encoded: bytes) -> Image.Image:
    """The image in RGB, upright. Raises BrokenImage."""
    with _errors():
        return _upright_rgb(_opened(encoded))


def middle(encoded: bytes, size: int) -> np.ndarray:
    """uint8 [3, size, size]: the shorter side is scaled to 8/7 of `size` and the middle cut out.

    Only what is seen is scaled, so that one pixel in 200 differs, by 1 or 2 of 255, from what
    resize and center_crop of torchvision.transforms.v2 give. A JPEG file four times as large or
    more is decoded at a fraction of its size. Raises BrokenImage.
    """
    return _scaled(encoded, lambda full: _middle(full, size), size)


def part(encoded: bytes, box: Sequence[float], size: int) -> np.ndarray:
    """uint8 [3, size, size]: the part `box` of the upright image, scaled to that size.

    `box`: top, left, height, width, in pixels and fractions of them. Large JPEG files as in
    `middle`. Raises BrokenImage.
    """
    return _scaled(encoded, lambda full: box, size)


def _middle(full: Size, size: int) -> Sequence[float]:
    """The box that becomes the middle once the shorter side is 8/7 of `size`."""
    width, height = full
    shorter = round(size * 8 / 7)
    if width <= height:
        scaled = (shorter, int(shorter * height / width))
    else:
        scaled = (int(shorter * width / height), shorter)
    x, y = width / scaled[0], height / scaled[1]
    left, top = (round((side - size) / 2) for side in scaled)
    return top * y, left * x, size * y, size * x


def _scaled(encoded: bytes, choose: Callable[[Size], Sequence[float]], size: int) -> np.ndarray:
    """The box that `choose` gives for the size of the upright image, as uint8 [3, size, size]."""
    with _errors():
        image = _opened(encoded)
        full = image.size
        _shrink(image, int(min(choose(full)[2:])), size)
        image = _upright_rgb(image)
        if not _same_way(full, image.size):
            full = full[::-1]
        top, left, height, width = map(float, choose(full))
        right, bottom = min(full[0], left + width), min(full[1], top + height)
        x, y = image.width / full[0], image.height / full[1]
        shown = (left * x, top * y, right * x, bottom * y)
        scaled = image.resize((size, size), Image.Resampling.BILINEAR, box=shown)
    return np.asarray(scaled).transpose(2, 0, 1)


def _shrink(image: Image.Image, side: int, needed: int) -> None:
    """Have a JPEG file decoded at 1/2, 1/4 or 1/8 if `side` keeps twice the pixels `needed`.

    That takes a fraction of the time; with fewer pixels it would be visibly softer.
    """
    factor = side // (2 * needed)
    if isinstance(image, JpegImageFile) and factor >= 2:
        factor = min(8, 1 << (factor.bit_length() - 1))
        image.draft(None, (image.width // factor, image.height // factor))


def _opened(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded))
    except Image.UnidentifiedImageError:
        raise BrokenImage("no image that Pillow reads" if encoded else "empty file") from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BrokenImage("32 bits a channel, whose range is not known")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _same_way(one: Size, other: Size) -> bool:
    """Whether both are upright, or both lie."""
    return (one[0] >= one[1]) == (other[0] >= other[1])


@contextmanager
def _errors() -> Iterator[None]:
    """Within it what a decoder raises on damaged bytes, of any type, becomes a BrokenImage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd metadata
        try:
            yield
        except (BrokenImage, MemoryError):
            raise
        except Exception as error:
            reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
            raise BrokenImage(reason) from error
