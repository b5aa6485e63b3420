# SPDX-License-Identifier: MIT
"""Images decoded by workers: the same as in memory, from any step, for any number of ranks."""

import gc
import itertools
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.batches import batch_indices
from lib.data.images import encoded_sets
from lib.data.images.decode import middle, part
from lib.data.images.from_files import FromFiles
from lib.data.images.in_memory import InMemory
from lib.data.workers import Workers
from lib.errors import Failure
from tests.image_files import write_classes
from tests.image_sets import SIZE, all_of, load, same, shares, take


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "images", {"a": 8, "b": 12})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder for tests that change nothing in it, and its images decoded from files."""
    tmp_path = tmp_path_factory.mktemp("shared")
    write_classes(tmp_path / "images", {"a": 8, "b": 12})
    return tmp_path, load(tmp_path, IMAGE_MEMORY=0)


def test_memory_and_files_hold_the_same_images(shared):
    tmp_path, streamed = shared
    held = load(tmp_path)
    assert isinstance(held.train, InMemory) and isinstance(streamed.train, FromFiles)
    assert held.classes == streamed.classes == ["a", "b"]
    assert held.test is None
    assert held.info["sizes"] == {"train": 15, "val": 5}
    assert held.info | {"decoded": ""} == streamed.info | {"decoded": ""}
    for one, two in ((held.train, streamed.train), (held.val, streamed.val)):
        for left, right in zip(all_of(one), all_of(two), strict=True):
            assert torch.equal(left, right)
        assert torch.equal(one.labels, two.labels)


def test_pixels_labels_and_normalisation(shared):
    tmp_path, data = shared
    x, y = all_of(data.train)
    paths = sorted((tmp_path / "images").glob("*/*.jpg"))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    pixels = [torch.tensor(middle(path.read_bytes(), SIZE)) / 255 for path in paths]
    wanted = {tuple(((p - mean) / std).flatten().tolist()[:40]): q.parent.name == "b"
              for p, q in zip(pixels, paths, strict=True)}  # fmt: skip
    for image, label in zip(x, y, strict=True):
        assert wanted[tuple(image.flatten().tolist()[:40])] == bool(label)


@settings(max_examples=12)
@given(
    first=st.integers(0, 9),
    steps=st.integers(1, 3),
    division=st.sampled_from([(1, 6), (1, 2), (2, 3), (3, 1)]),
)
def test_any_start_and_any_division_give_the_same_batches(shared, first, steps, division):
    data = shared[1].train
    world, micro = division
    assert same(take(data, first + steps)[first:], take(data, steps, first, world, micro))


def test_an_epoch_shows_each_image_at_most_once_in_an_order_of_its_own(shared):
    data = load(shared[0], IMAGE_MEMORY=0, AUGMENT=False)
    plain, _ = all_of(data.train)
    rows = {tuple(image.flatten().tolist()[:40]): i for i, image in enumerate(plain)}
    seen = [
        [rows[tuple(image.flatten().tolist()[:40])] for image in x]
        for x, _ in take(data.train, 6, effective=5, micro=5)
    ]
    epochs = [[*itertools.chain(*some)] for some in (seen[:3], seen[3:])]
    assert [sorted(epoch) for epoch in epochs] == [list(range(15))] * 2
    assert epochs[0] != epochs[1]


def test_a_crop_is_the_part_of_the_file_that_the_augmentation_says(shared):
    data = load(shared[0], IMAGE_MEMORY=0, AUGMENT_FLIP=False).train
    step, n = 4, 6
    indices = batch_indices(0, step, len(data), n).numpy()
    records, augment = data._part.records, data._augment
    height, width = np.full(n, 30), np.full(n, 40)
    boxes = augment.boxes(step, slice(0, n), n, height, width)
    pixels = [
        part(Path(records.name(i)).read_bytes(), box, SIZE)
        for i, box in zip(indices, boxes, strict=True)
    ]
    expected = augment.normalize(torch.tensor(np.stack(pixels)) / 255)
    [(x, y)] = take(data, 1, first=step)
    assert torch.allclose(x, expected, atol=1e-6)
    assert torch.equal(y, data.labels[indices])


def test_grey_for_models_of_one_channel(shared):
    held, streamed = load(shared[0], 1), load(shared[0], 1, IMAGE_MEMORY=0)
    assert torch.equal(all_of(held.val)[0], all_of(streamed.val)[0])
    assert all_of(held.val)[0].shape == (5, 1, SIZE, SIZE)


def test_evaluation_between_steps_does_not_disturb_the_training(shared):
    data = shared[1]
    stream = data.train.training(shares(0, 1, 0, 6, 6), 6)
    got = [next(stream)]
    assert torch.equal(all_of(data.val)[0], all_of(data.val)[0])
    got += [next(stream), next(stream)]
    assert same(got, take(data.train, 3))


def test_a_stream_that_is_left_stops_reading(shared):
    data = load(shared[0], IMAGE_MEMORY=0).train
    read = []

    def noted():
        for share in shares(0, 1, 0, 6, 6):
            read.append(share)
            yield share

    stream = data.training(noted(), 6)
    next(stream)
    stream.close()
    count = len(read)
    assert count <= 12
    assert same(take(data, 1), take(data, 1)) and len(read) == count


def test_workers_end_with_the_data(shared):
    data = load(shared[0], IMAGE_MEMORY=0)
    take(data.train, 1)
    processes = data.train._decoders._workers.processes
    assert data.val._decoders is data.train._decoders
    assert [process.poll() for process in processes] == [None, None]
    del data
    gc.collect()
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2


def test_an_image_that_breaks_during_the_training_ends_it_by_name(tmp_path, folder):
    data = load(tmp_path, IMAGE_MEMORY=0)
    for path in folder.glob("b/*.jpg"):
        path.write_bytes(b"gone")
    with pytest.raises(Failure, match=r"images/b/\d+\.jpg: no image.*changed since it was prep"):
        take(data.train, 3)
    shutil.rmtree(folder)
    with pytest.raises(Failure, match=r"images/[ab]/\d+\.jpg: cannot be read: No such file"):
        take(data.train, 1)


def test_workers_decode_as_the_program_does(tmp_path):
    write_classes(tmp_path / "images", {"a": 150, "b": 150}, size=(20, 20))
    streamed = load(tmp_path, IMAGE_MEMORY=0)
    held = load(tmp_path)  # more than a few: by workers
    assert torch.equal(all_of(held.train, 64)[0], all_of(streamed.train, 50)[0])


def test_each_rank_takes_its_share_of_the_cores(monkeypatch):
    asked = []
    monkeypatch.setattr(encoded_sets, "cpu_count", lambda: 8)
    for environment in ({}, {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "x",
                             "MASTER_PORT": "1", "LOCAL_WORLD_SIZE": "4"}):  # fmt: skip
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        asked.append(encoded_sets._workers(SimpleNamespace(NUM_WORKERS=0)))
    assert asked == [8, 2]
    assert encoded_sets._workers(SimpleNamespace(NUM_WORKERS=3)) == 3


def test_workers_need_no_pytorch(shared):
    code = "import lib.data.images.records, sys; assert 'torch' not in sys.modules"
    with Workers(exec, 1) as workers:
        assert list(workers.map([code])) == [None]
