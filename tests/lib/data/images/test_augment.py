# SPDX-License-Identifier: MIT
"""Augmentation: a pure function of (seed, step, position), and right."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from benchmarks.torchvision_import import import_torchvision
from lib.data.batches import Stream, generator
from lib.data.images import augment as augmentation
from lib.data.images import random_ops
from lib.data.images.augment import Augmentation, uniforms
from lib.data.images.crops import crop_boxes, resized_crop
from lib.data.images.normalization import Normalization
from lib.errors import BadUse

AS_IT_IS = Normalization((0.0,), (1.0,))


def augment(images, seed=0, step=0, first=0, batch_size=None, **operations):
    """`images` with `operations`, by default AUGMENT_AFFINE."""
    changed = Augmentation(AS_IT_IS, seed, **(operations or {"affine": True}))
    y = torch.zeros(len(images), dtype=torch.int64)
    return changed(images, y, step, first, batch_size or len(images))[0]


def test_augment_depends_on_seed_and_step_alone():
    images = torch.rand(6, 1, 32, 32)
    first = augment(images, seed=1, step=10)
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, seed=1, step=10))
    assert not torch.equal(first, augment(images, seed=1, step=11))
    assert not torch.equal(first, augment(images, seed=2, step=10))


def test_augment_changes_nothing_when_its_bounds_are_zero(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_DEGREES", 0.0)
    monkeypatch.setattr(augmentation, "MAX_SHIFT", 0.0)
    images = torch.rand(4, 2, 16, 16)
    torch.testing.assert_close(augment(images, 0, 0), images, rtol=0, atol=1e-5)


def centre(image: torch.Tensor) -> tuple[float, float]:
    """Centre of mass, (row, column), of [height, width]."""
    rows, columns = torch.meshgrid(*(torch.arange(s) * 1.0 for s in image.shape), indexing="ij")
    row, column = ((places * image).sum() / image.sum() for places in (rows, columns))
    return row.item(), column.item()


def test_shifts_are_of_up_to_two_pixels_in_each_direction(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_DEGREES", 0.0)
    images = torch.zeros(500, 1, 32, 32)
    images[:, :, 14:18, 14:18] = 1.0
    moved = [centre(image[0]) for image in augment(images, 0, 0)]
    for axis in (0, 1):
        shifts = [point[axis] - 15.5 for point in moved]
        assert -2.01 < min(shifts) < -1.9 and 1.9 < max(shifts) < 2.01
        assert abs(sum(shifts) / 500) < 0.2


def test_turns_are_of_up_to_ten_degrees(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_SHIFT", 0.0)
    images = torch.zeros(500, 1, 32, 32)
    images[:, :, 14:18, 26:30] = 1.0  # 12 pixels to the right of the centre
    angles = []
    for image in augment(images, 0, 0):
        row, column = centre(image[0])
        angles.append(math.degrees(math.atan2(row - 15.5, column - 15.5)))
    assert -10.2 < min(angles) < -9.5 and 9.5 < max(angles) < 10.2


# ------------------------------------------------------------------ all of them together

OPERATIONS = {
    "random_ops": {"random_ops": 2, "magnitude": 9},
    "affine": {"affine": True},
    "flip": {"flip": True},
    "pad": {"pad": 4},
    "cutout": {"cutout": 9},
    "mixup": {"mixup": 0.4, "classes": 3},
}
ALL = {name: value for options in OPERATIONS.values() for name, value in options.items()}


def in_parts(images, labels, augmentation, step, sizes):
    """A batch of all `images`, cropped and augmented in parts of `sizes`."""
    found, first = [], 0
    for size in sizes:
        part = slice(first, first + size)
        x = augmentation.crop(images[part], step, first, len(images))
        found.append(augmentation(x, labels[part], step, first, len(images)))
        first += size
    return tuple(torch.cat(tensors) for tensors in zip(*found, strict=True))


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from([1, 3]),
    st.integers(1, 8),
    st.sets(st.sampled_from([*OPERATIONS])),
    st.integers(0, 2**32 - 1),
    st.integers(0, 10**9),
)
@settings(max_examples=60)
def test_however_a_batch_is_divided_it_is_the_same(halves, channels, size, names, seed, step):
    sizes = [2 * half for half in halves]  # pairs stay together
    n, chosen = sum(sizes), [OPERATIONS[name] for name in sorted(names)]
    options = {name: value for one in chosen for name, value in one.items()}
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(n, channels, 4 * size, 4 * size, generator=random)
    labels = torch.randint(3, (n,), generator=random)
    normalize = Normalization((0.4,) * channels, (0.3,) * channels)
    augmentation = Augmentation(normalize, seed, min_area=0.3, **options)
    whole, parts = (in_parts(images, labels, augmentation, step, s) for s in ([n], sizes))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    if "mixup" not in names:
        ones = in_parts(images, labels, augmentation, step, [1] * n)
        assert all(torch.equal(a, b) for a, b in zip(whole, ones, strict=True))


def test_a_large_image_alone_is_changed_as_in_a_batch():
    """Sums over a whole image must not depend on the number of threads that share them."""
    images = torch.rand(6, 3, 224, 224)
    options = {"random_ops": 4, "magnitude": 9, "affine": True}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        whole = augment(images, step=2, **options)
        parts = [augment(images[i : i + 1], 0, 2, i, 6, **options) for i in range(6)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("pair", [*combinations(OPERATIONS, 2)], ids="+".join)
def test_switching_one_on_does_not_alter_another(pair):
    images, y = torch.rand(8, 3, 16, 16), torch.arange(8) % 3
    options = [OPERATIONS[name] for name in pair]
    one, other, both = (
        Augmentation(AS_IT_IS, 5, **chosen) for chosen in (*options, {**options[0], **options[1]})
    )
    expected, labels = other(*one(images, y, 7, 0, 8), 7, 0, 8)
    found, found_labels = both(images, y, 7, 0, 8)
    assert torch.equal(found, expected) and torch.equal(found_labels, labels)


def test_each_has_random_numbers_of_its_own():
    draws = {
        tuple(uniforms(stream, 5, step, 1, slice(0, 4), 4)[0])
        for stream in Stream
        for step in (0, 1)
    }
    assert len(draws) == 2 * len(Stream)


def test_without_any_the_images_are_only_normalised():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    normalize = Normalization((0.5, 0.4, 0.3), (0.1, 0.2, 0.25))
    x, y = Augmentation(normalize)(images, torch.arange(4), 0, 0, 4)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (normalize.mean, normalize.std))
    np.testing.assert_allclose(x.numpy(), (images.numpy() / 255 - mean) / std, rtol=1e-4, atol=1e-5)
    assert torch.equal(y, torch.arange(4))


# ------------------------------------------------------------------ each against a reference


def test_half_of_the_images_are_mirrored():
    images = torch.rand(400, 3, 8, 8)
    mirrored = [
        torch.equal(new, old.flip(2)) and not torch.equal(new, old)
        for old, new in zip(images, augment(images, flip=True), strict=True)
    ]
    same = (augment(images, flip=True) == images).flatten(1).all(1).tolist()
    assert [not one for one in same] == mirrored
    assert 160 < sum(mirrored) < 240


def test_pad_and_crop_is_that_of_numpy():
    images, pad = torch.rand(200, 3, 12, 12), 3
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = set()
    for old, new in zip(padded, augment(images, pad=pad).numpy(), strict=True):
        places = [
            (top, left)
            for top, left in product(range(2 * pad + 1), repeat=2)
            if np.array_equal(old[:, top : top + 12, left : left + 12], new)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {top for top, _ in seen} == {left for _, left in seen} == set(range(2 * pad + 1))


@pytest.mark.parametrize("side", [1, 4, 5, 16, 40])
def test_cutout_blanks_one_square_whose_centre_is_in_the_image(side):
    images = torch.ones(300, 2, 16, 16)
    blank = (augment(images, cutout=side) == 0).numpy()
    assert np.array_equal(blank[:, 0], blank[:, 1])
    centres = set()
    for one in blank[:, 0]:
        rows, columns = (np.flatnonzero(one.any(axis)) for axis in (1, 0))
        assert one.sum() == len(rows) * len(columns)  # a rectangle
        assert len(rows) <= side and len(columns) <= side
        if len(rows) == side == len(columns):
            centres.add((rows[0] + side // 2, columns[0] + side // 2))
    if side == 1:
        assert centres == set(product(range(16), repeat=2)) & centres and len(centres) > 150
    assert 0 < blank.mean() <= min(1, (side / 16) ** 2)


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_a_box_lies_in_its_image_and_has_the_share_and_shape_that_are_allowed(h, w, min_area, seed):
    uniform = np.random.default_rng(seed).random((4, 50), dtype="float32")
    boxes = crop_boxes(uniform, np.full(50, h), np.full(50, w), min_area)
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= h + 1e-9).all() and (left + width <= w + 1e-9).all()
    assert (height >= 1).all() and (width >= 1).all()
    if min(h, w) * min_area > 4:  # otherwise a pixel is a lower bound
        assert (height * width <= h * w * (1 + 1e-9)).all()
        largest = min(1, 4 / 3 * min(w / h, h / w))
        assert (height * width >= min(min_area, largest) * h * w * (1 - 1e-9)).all()
        aspect = width / height
        assert (aspect >= 3 / 4 - 1e-9).all() and (aspect <= 4 / 3 + 1e-9).all()


def test_boxes_are_uniform_in_area():
    uniform = np.random.default_rng(0).random((4, 20_000), dtype="float32")
    boxes = crop_boxes(uniform, np.full(20_000, 100), np.full(20_000, 100), 0.2)
    area = boxes[:, 2] * boxes[:, 3] / 100**2
    counts, _ = np.histogram(area, bins=8, range=(0.2, 1.0))
    assert abs(counts / 2500 - 1).max() < 0.06
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    assert abs(middle.mean(0) - 50).max() < 0.5


@given(st.data())
@settings(max_examples=30)
def test_a_crop_of_whole_pixels_is_cut_and_interpolated(data):
    size = data.draw(st.integers(4, 24))
    boxes = []
    for _ in range(3):
        height, width = (data.draw(st.integers(1, size)) for _ in range(2))
        top, left = (data.draw(st.integers(0, size - side)) for side in (height, width))
        boxes.append((top, left, height, width))
    images = torch.rand(3, 2, size, size)
    found = resized_crop(images, np.array(boxes, dtype=float))
    for image, new, (top, left, height, width) in zip(images, found, boxes, strict=True):
        cut = image[None, :, top : top + height, left : left + width]
        expected = F.interpolate(cut, (size, size), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(new, expected, rtol=0, atol=2e-5)


def test_without_a_smallest_area_nothing_is_cropped():
    images = torch.rand(4, 1, 8, 8)
    assert Augmentation(AS_IT_IS).crop(images, 0, 0, 4) is images


@given(st.floats(0.01, 100), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=30)
def test_mixup_blends_neighbours_and_their_labels(alpha, pairs, step):
    images, labels = torch.rand(2 * pairs, 1, 4, 4), torch.arange(2 * pairs) % 3
    augmentation = Augmentation(AS_IT_IS, 3, mixup=alpha, classes=3)
    x, y = augmentation(images, labels, step, 0, 2 * pairs)
    shares = generator(Stream.MIXUP, 3, step).beta(alpha, alpha, pairs)
    target = np.eye(3)[labels]
    for i in range(2 * pairs):
        share, other = shares[i // 2], i ^ 1
        blended = share * images[i] + (1 - share) * images[other]
        torch.testing.assert_close(x[i], blended.float(), rtol=0, atol=1e-6)
        expected = share * target[i] + (1 - share) * target[other]
        np.testing.assert_allclose(y[i], expected, atol=1e-6)
    assert y.dtype == torch.float32 and torch.isfinite(y).all()


def test_mixup_needs_whole_pairs():
    images, labels = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    augmentation = Augmentation(AS_IT_IS, mixup=0.2, classes=2)
    for first, n in ((0, 3), (1, 2)):
        with pytest.raises(BadUse, match="even number of images"):
            augmentation(images[:n], labels[:n], 0, first, 12)


def reference_operations():
    """What torchvision computes for one image [3, size, size] at a level of -1 to 1."""
    import_torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    def affine(x, **what):
        still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        return tv.affine(x, **{**still, **what}, interpolation=InterpolationMode.BILINEAR)

    def shear(level):
        return math.degrees(math.atan(0.3 * level))

    return {
        # Its numbers move the picture; ours the places that pixels are fetched from.
        "rotate": lambda x, v: affine(x, angle=-30 * v),
        "shear across": lambda x, v: affine(x, shear=[shear(v), 0.0]),
        "shear down": lambda x, v: affine(x, shear=[0.0, shear(v)]),
        "shift across": lambda x, v: affine(x, translate=[-0.45 * 16 * v, 0]),
        "shift down": lambda x, v: affine(x, translate=[0, -0.45 * 16 * v]),
        "brightness": lambda x, v: tv.adjust_brightness(x, 1 + 0.9 * v),
        "contrast": lambda x, v: tv.adjust_contrast(x, 1 + 0.9 * v),
        "colour": lambda x, v: tv.adjust_saturation(x, 1 + 0.9 * v),
        "sharpness": lambda x, v: tv.adjust_sharpness(x, 1 + 0.9 * v),
        "solarise": lambda x, v: tv.solarize(x, 1 - abs(v)),
    }


@pytest.mark.parametrize("name", random_ops.OPERATIONS)
def test_random_operations_are_those_of_torchvision(name):
    torch.manual_seed(0)
    images, levels = torch.rand(4, 3, 16, 16), torch.tensor([-1.0, -0.5, 0.5, 1.0])
    found = random_ops.OPERATIONS[name](images, levels, torch.zeros(3, 1, 1))
    reference = reference_operations()[name]
    for image, level, new in zip(images, levels.tolist(), found, strict=True):
        torch.testing.assert_close(new, reference(image, level), rtol=0, atol=2e-3)


def test_colour_is_nothing_to_grey_images():
    images = torch.rand(2, 1, 8, 8)
    found = random_ops.OPERATIONS["colour"](images, torch.tensor([0.5, -1.0]), torch.zeros(1, 1, 1))
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6)


def test_what_moves_in_has_the_mean_colour():
    images, fill = torch.ones(1, 3, 16, 16), torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    moved = random_ops.OPERATIONS["shift across"](images, torch.tensor([1.0]), fill)
    torch.testing.assert_close(moved[0, :, :, -1], fill[:, 0].expand(3, 16), rtol=0, atol=1e-6)


def test_each_operation_is_drawn_about_equally_often(monkeypatch):
    marked = {
        name: lambda x, level, fill, n=n: torch.full_like(x, float(n))
        for n, name in enumerate(random_ops.OPERATIONS)
    }
    monkeypatch.setattr(random_ops, "OPERATIONS", marked)
    images = augment(torch.rand(4000, 1, 4, 4), random_ops=1, magnitude=5)
    counts = torch.bincount(images[:, 0, 0, 0].long(), minlength=10)
    assert counts.shape == (10,) and counts.min() > 320 and counts.max() < 480
