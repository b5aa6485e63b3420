# SPDX-License-Identifier: MIT
"""Splits in memory: the batches of a training, the canvas, and normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from lib.data.batches import batch_indices
from lib.data.images import in_memory
from lib.data.images.augment import Augmentation
from lib.data.images.in_memory import InMemory, canvas
from lib.data.images.normalization import Normalization
from lib.train.batch_finding import BatchPlan
from tests.images import batch, load_images, whole

ANY_SIZE = "resnet50"  # a model with HAS_IMAGE_SIZE
NORMALIZE = Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def split(n: int, seed: int = 0, **operations) -> InMemory:
    """`n` random images of 8 × 8 pixels, each of a class of its own."""
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=random, dtype=torch.uint8)
    augment = Augmentation(NORMALIZE, seed, n, **operations)
    return InMemory(images, torch.arange(n), lambda x: canvas(x, 8, 3), augment, seed)


def test_batches_are_those_of_the_seed_and_the_step():
    images = split(50, seed=4)
    everything = whole(images)
    for step in (0, 5, 17):
        x, y = batch(images, step, 8)
        order = batch_indices(4, step, 50, 8)
        assert torch.equal(y, order) and torch.equal(x, everything[order])


@pytest.mark.parametrize("mixup", [0.0, 0.3])
@pytest.mark.parametrize("scaled_at_once", [0, 1 << 30], ids=["each batch", "at once"])
def test_however_ranks_and_micro_steps_divide_a_batch_it_is_the_same(
    monkeypatch, mixup, scaled_at_once
):
    operations = {"flip": True, "pad": 2, "min_area": 0.4, "random_ops": 1, "magnitude": 5}
    monkeypatch.setattr(in_memory, "SCALED_AT_ONCE", scaled_at_once)
    images = split(50, mixup=mixup, affine=True, cutout=3, **operations)
    x, y = batch(images, 3, 24)
    for ranks, micro in ((1, 8), (2, 12), (2, 6), (3, 4), (4, 2)):
        plan = BatchPlan(24, ranks, micro)
        parts = []
        for rank in range(ranks):
            stream = images.training(plan.shares(rank, first_step=3), plan.effective)
            parts += [next(stream) for _ in range(plan.micro_steps)]
        found_x, found_y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        assert torch.equal(found_x, x) and torch.equal(found_y, y)


def test_a_set_that_is_scaled_at_once_gives_the_same_images(monkeypatch, tmp_path):
    at_once = load_images(tmp_path)
    monkeypatch.setattr(in_memory, "SCALED_AT_ONCE", 0)
    each = load_images(tmp_path)
    assert torch.equal(whole(at_once.val), whole(each.val))
    for one, two in zip(batch(at_once.train, 7, 64), batch(each.train, 7, 64), strict=True):
        assert torch.equal(one, two)


def test_evaluation_is_in_order_and_not_augmented():
    images = split(30, flip=True, cutout=8)
    plain = whole(split(30))
    rows = [slice(0, 7), slice(7, 30), slice(2, 3)]
    for part, (x, y) in zip(rows, images.in_order(rows), strict=True):
        assert torch.equal(x, plain[part]) and torch.equal(y, torch.arange(30)[part])


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(ValueError, match="between 1 and the 5 examples"):
        next(split(5).training([(0, slice(0, 6))], 6))


def test_images_lie_in_memory_as_bytes(monkeypatch):
    monkeypatch.setattr(in_memory, "SCALED_AT_ONCE", 0)
    held = [value for value in vars(split(10)).values() if isinstance(value, torch.Tensor)]
    assert sum(t.numel() * t.element_size() for t in held if t.ndim == 4) == 10 * 3 * 8 * 8


# ---------------------------------------------------------------------- canvas


@pytest.mark.parametrize(("old", "new"), [(28, 32), (32, 28), (32, 10), (8, 32), (64, 33)])
def test_images_are_resized_as_pillow_resizes_them(old, new):
    pixels = np.random.default_rng(0).integers(0, 256, (old, old, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    found = (255 * canvas(x, new, 3))[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(pixels).resize((new, new), Image.Resampling.BILINEAR))
    assert abs(found - expected).max() < 1.01  # Pillow rounds twice


def test_padding_comes_before_resizing():
    x = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    padded = canvas(x, 32, 1, pad=2)
    assert torch.equal(padded, F.pad(torch.ones(1, 1, 28, 28), (2, 2, 2, 2)))
    assert canvas(x, 64, 1, pad=2)[0, 0, :3].max() == 0


def test_grey_is_repeated_and_colour_becomes_grey():
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    colour = canvas(x, 8, 3)
    assert colour.shape == (4, 3, 8, 8) and (colour == colour[:, :1]).all()
    torch.testing.assert_close(canvas(x.expand(-1, 3, -1, -1), 8, 1), colour[:, :1])


# ---------------------------------------------------------------------- normalisation


@given(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(0, 2**31))
@settings(max_examples=20)
def test_mean_and_deviation_are_those_of_all_batches_together(parts, channels, seed):
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(5 * parts, channels, 4, 4, generator=random)
    found = Normalization.of(images.split(5))
    std, mean = torch.std_mean(images, dim=(0, 2, 3))
    assert found.mean == pytest.approx(mean.tolist(), abs=6e-5)
    assert found.std == pytest.approx(std.tolist(), abs=6e-5)


def test_images_of_one_colour_are_not_divided_by_zero():
    normalize = Normalization.of([torch.full((3, 1, 4, 4), 0.5)])
    assert torch.isfinite(normalize(torch.rand(1, 1, 4, 4))).all()


@pytest.mark.parametrize("size", [8, 20, 48])
def test_a_model_of_any_size_sees_a_set_in_that_size(tmp_path, size):
    data = load_images(tmp_path, "--image-size", str(size), channels=3, model=ANY_SIZE)
    for images in data[:3]:
        x = whole(images)
        assert x.shape == (len(images), 3, size, size) and (x == x[:, :1]).all()
    assert abs(whole(data.train).mean()) < 1e-3
