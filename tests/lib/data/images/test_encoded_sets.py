# SPDX-License-Identifier: MIT
"""Image folders and ImageNet: in memory and from files, broken images, changes, resuming."""

import errno
import io
import itertools
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.images import encoded_sets, imagenet, index, progress
from lib.data.images.decode import middle
from lib.data.images.from_files import FromFiles
from lib.data.images.from_settings import check_data, images_from_settings, prepare_data
from lib.data.images.in_memory import InMemory
from lib.data.images.records import Collection, Facts, FileReader, Records
from lib.data.images.usable import Usable, parts
from lib.data.workers import Workers
from lib.errors import BadUse, Failure
from tests.image_files import encoded, picture, write_classes

SIZE = 16


def options(tmp_path, **changes):
    """Settings of an image folder; those that the Kconfig of images defines, and SEED."""
    values = {
        "DATASET": "imagefolder", "DATA_FILES": str(tmp_path / "images"), "SEED": 0,
        "DATA_DIR": str(tmp_path / "data"), "VAL_FRACTION": 0.25, "NUM_WORKERS": 2,
        "IMAGE_SIZE": SIZE, "IMAGE_MEMORY": 1, "RESIZE": True, "BROKEN_IMAGES": "stop",
        "NORMALIZATION": "imagenet", "AUGMENT": True, "AUGMENT_AFFINE": False,
        "AUGMENT_FLIP": True, "AUGMENT_PAD": 0, "AUGMENT_MIN_AREA": 0.3, "AUGMENT_CUTOUT": 0,
        "AUGMENT_RANDOM_OPS": 0, "AUGMENT_MAGNITUDE": None, "MIXUP": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**(values | changes))


def load(tmp_path, channels=3, **changes):
    return images_from_settings(options(tmp_path, **changes), "cpu", channels)


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "images", {"a": 8, "b": 12})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder for tests that change nothing in it, and its images decoded from files."""
    tmp_path = tmp_path_factory.mktemp("shared")
    write_classes(tmp_path / "images", {"a": 8, "b": 12})
    return tmp_path, load(tmp_path, IMAGE_MEMORY=0)


def all_of(images, count=7):
    rows = [slice(i, min(i + count, len(images))) for i in range(0, len(images), count)]
    batches = list(images.in_order(rows))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


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


def shares(first, world, rank, micro, effective):
    """What BatchPlan.shares gives: this rank's rows, micro-step by micro-step, without an end."""
    per_rank = effective // world
    for step in itertools.count(first):
        for start in range(rank * per_rank, (rank + 1) * per_rank, micro):
            yield step, slice(start, start + micro)


def take(images, steps, first=0, world=1, micro=6, effective=6):
    """The batches of `steps` steps from `first` on, the shares of all ranks put together."""
    count = steps * (effective // world // micro)
    ranks = [
        list(itertools.islice(images.training(shares(first, world, r, micro, effective), effective),
                              count))
        for r in range(world)
    ]  # fmt: skip
    per_step = count // steps
    return [
        tuple(torch.cat([batch[k] for rank in ranks for batch in rank[s * per_step:][:per_step]])
              for k in (0, 1))
        for s in range(steps)
    ]  # fmt: skip


def same(one, two):
    return all(
        torch.equal(left, right)
        for a, b in zip(one, two, strict=True)
        for left, right in zip(a, b, strict=True)
    )


@settings(max_examples=12, deadline=None)
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


def test_crops_are_random_and_of_the_whole_image(shared):
    one, two, other = (
        load(shared[0], IMAGE_MEMORY=0, AUGMENT_FLIP=False, **changes).train
        for changes in ({}, {}, {"SEED": 1})
    )
    assert same(take(one, 2), take(two, 2))
    assert not same(take(one, 1), take(one, 1, first=3))
    assert len(other) == len(one)


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


def test_the_index_is_made_once_and_knows_what_changed(tmp_path, folder, monkeypatch):
    first = load(tmp_path).info
    monkeypatch.setattr(index, "examined", pytest.fail)
    assert load(tmp_path).info == first
    monkeypatch.undo()
    read = []
    monkeypatch.setattr(index.Index, "learn", _noting(index.Index.learn, read))
    (folder / "a" / "new.png").write_bytes(encoded(picture(99)))
    second = load(tmp_path).info
    assert second["sizes"] == {"train": 16, "val": 5} and read == [1]
    assert second["fingerprint"] != first["fingerprint"]
    (folder / "a" / "new.png").unlink()
    assert load(tmp_path).info["fingerprint"] == first["fingerprint"] and read == [1]
    os.utime(folder / "b" / "000.jpg", ns=(1, 1))
    assert load(tmp_path).info["fingerprint"] == first["fingerprint"] and read == [1, 1]


def _noting(learn, read):
    def noting(self, positions, facts):
        read.append(len(positions))
        return learn(self, positions, facts)

    return noting


def test_the_fingerprint_is_of_contents_and_classes_wherever_they_lie(tmp_path, folder):
    first = load(tmp_path).info["fingerprint"]
    shutil.copytree(folder, tmp_path / "copy")
    assert load(tmp_path, DATA_FILES=str(tmp_path / "copy")).info["fingerprint"] == first
    (tmp_path / "copy" / "a").rename(tmp_path / "copy" / "A")
    assert load(tmp_path, DATA_FILES=str(tmp_path / "copy")).info["fingerprint"] != first


class Killed(BaseException):
    pass


def test_an_interrupted_preparation_goes_on_where_it_was(tmp_path, monkeypatch):
    write_classes(tmp_path / "images", {"a": 40, "b": 40})
    whole = load(tmp_path, DATA_DIR=str(tmp_path / "other")).info
    read = []
    noting = _noting(index.Index.learn, read)

    def interrupted(self, positions, facts):
        if sum(read) > 50:
            raise Killed
        noting(self, positions, facts)

    monkeypatch.setattr(index.Index, "learn", interrupted)
    with pytest.raises(Killed):
        load(tmp_path)
    before = sum(read)
    monkeypatch.setattr(index.Index, "learn", noting)
    assert load(tmp_path).info == whole
    assert 0 < before < sum(read) == 80


def test_a_damaged_index_is_made_again(tmp_path, folder, capsys):
    first = load(tmp_path).info
    [path] = (tmp_path / "data").glob("*.index")
    path.write_bytes(path.read_bytes()[:-5])
    assert load(tmp_path).info == first
    assert "reading the images again" in capsys.readouterr().err


def test_a_data_dir_that_cannot_be_written_costs_only_time(tmp_path, folder, capsys):
    (tmp_path / "data").write_text("a file")
    assert load(tmp_path).info["sizes"] == {"train": 15, "val": 5}
    assert "cannot write" in capsys.readouterr().err


def spoil(folder, *names):
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:300])


def test_broken_images_stop_or_are_left_out(tmp_path, folder, capsys):
    spoil(folder, "a/001.jpg", "b/003.jpg")
    with pytest.raises(Failure) as failure:
        load(tmp_path)
    said = str(failure.value)
    assert said.startswith("2 of 20 images are broken:") and "BROKEN_IMAGES=skip" in said
    assert re.search(rf"{folder}/a/001\.jpg: .*[Tt]runcated", said)
    for memory in (0, 1):
        data = load(tmp_path, BROKEN_IMAGES="skip", IMAGE_MEMORY=memory)
        assert sum(data.info["sizes"].values()) == 18 and data.info["broken"] == 2
        assert f"{folder}/b/003.jpg" in capsys.readouterr().err
        assert len(all_of(data.train)[0]) == len(data.train)
    (folder / "a" / "001.jpg").write_bytes(encoded(picture(7)))
    assert load(tmp_path, BROKEN_IMAGES="skip").info["broken"] == 1


def test_of_many_broken_images_the_first_are_named(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 30, "b": 2})
    spoil(folder, *(f"a/{i:03}.jpg" for i in range(29)))
    with pytest.raises(Failure, match=r"(?s)29 of 32.*019\.jpg.*and 9 more"):
        load(tmp_path)
    spoil(folder, "a/029.jpg")
    with pytest.raises(Failure, match="No image is left of the class a in train"):
        load(tmp_path, BROKEN_IMAGES="skip")


def test_an_image_that_may_not_be_read_is_not_called_broken(tmp_path, folder, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(Failure, match=r"a/000\.jpg: cannot be read: Permission denied"):
        load(tmp_path, BROKEN_IMAGES="skip")


def test_an_image_that_breaks_during_the_training_ends_it_by_name(tmp_path, folder):
    data = load(tmp_path, IMAGE_MEMORY=0)
    for path in folder.glob("b/*.jpg"):
        path.write_bytes(b"gone")
    with pytest.raises(Failure, match=r"images/b/\d+\.jpg: no image.*changed since it was prep"):
        take(data.train, 3)
    shutil.rmtree(folder)
    with pytest.raises(Failure, match=r"images/[ab]/\d+\.jpg: cannot be read: No such file"):
        take(data.train, 1)


def test_images_of_another_size_are_refused_without_resize(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 4, "b": 4}, size=(SIZE, SIZE))
    for memory in (0, 1):
        data = load(tmp_path, RESIZE=False, IMAGE_MEMORY=memory, AUGMENT=False)
        x = all_of(data.val)[0]
        paths = sorted(folder.glob("*/*.jpg"))
        pixels = torch.stack([torch.tensor(np.asarray(Image.open(p))) for p in paths])
        whole = {tuple((p / 255).flatten().tolist()[::97]) for p in pixels}
        mean, std = (torch.tensor(data.info["normalization"][k]).view(3, 1, 1)
                     for k in ("mean", "std"))  # fmt: skip
        back = (x * std + mean).permute(0, 2, 3, 1)
        for image in back:
            near = [np.abs(np.subtract(image.flatten().tolist()[::97], w)).max() for w in whole]
            assert min(near) < 1e-5
    write_classes(tmp_path / "images", {"a": 5}, size=(SIZE, SIZE + 1))
    with pytest.raises(BadUse, match=rf"a/000\.jpg with {SIZE} × {SIZE + 1}: set RESIZE=y"):
        load(tmp_path, RESIZE=False)


def test_normalisation_by_the_images_needs_them_in_memory(tmp_path, folder):
    x, _ = all_of(load(tmp_path, NORMALIZATION="data").train)
    assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    with pytest.raises(BadUse, match="IMAGE_MEMORY=0: set NORMALIZATION=imagenet"):
        load(tmp_path, NORMALIZATION="data", IMAGE_MEMORY=0)


def test_own_folders_for_validation_and_test(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        write_classes(tmp_path / "images" / split, {"a": 3, "b": 3}, first=10 * number)
    data = load(tmp_path)
    assert data.info["sizes"] == {"train": 6, "val": 6, "test": 6}
    assert data.info == load(tmp_path).info
    assert data.info["split"] == load(tmp_path, SEED=3).info["split"]
    assert not torch.equal(all_of(data.val)[0], all_of(data.test)[0])


def test_the_line_of_make_data_and_the_check(tmp_path, folder):
    line = prepare_data(options(tmp_path))
    assert re.fullmatch(r".*\.index: 15 train, 5 val images, fingerprint [0-9a-f]{16}", line)
    lines = list(check_data(options(tmp_path)))
    assert lines[0].endswith("20 images are as they were prepared") and len(lines) == 2
    spoil(folder, "a/001.jpg")
    (folder / "a" / "002.jpg").unlink()
    (folder / "b" / "new.jpg").write_bytes(b"")
    os.utime(folder / "b" / "001.jpg")
    checked = check_data(options(tmp_path))
    assert "18 images are as they were" in next(checked)
    with pytest.raises(Failure) as failure:
        next(checked)
    said = str(failure.value)
    assert f"{folder}/a/001.jpg: changed" in said and f"{folder}/b/new.jpg: added" in said
    assert "a/002.jpg: removed" in said and "b/001.jpg" not in said


def test_a_check_before_the_preparation_says_so(tmp_path, folder):
    with pytest.raises(Failure, match="`make data` prepares it"):
        list(check_data(options(tmp_path)))


def test_imagefolder_needs_a_folder(tmp_path):
    with pytest.raises(BadUse, match="imagefolder needs DATA_FILES"):
        load(tmp_path, DATA_FILES="")


NAMES = ["fish", "bird", "dog"]


def write_imagenet(folder, splits, spoilt=()):
    """Parquet files with the schema of ILSVRC/imagenet-1k, two for each split."""
    folder.mkdir()
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    seed = itertools.count()
    for split, n in splits.items():
        for file in range(2):
            images = [encoded(picture(next(seed)), "JPEG") for _ in range(n)]
            rows = {
                "image": [
                    {"bytes": b"x" if (split, file, i) in spoilt else b, "path": f"n_{i}.JPEG"}
                    for i, b in enumerate(images)
                ],
                "label": [-1 if split == "test" else i % 3 for i in range(n)],
            }
            table = datasets.Dataset.from_dict(rows, features=features)
            table.to_parquet(str(folder / f"{split}-{file:05}-of-00002.parquet"))
    return folder


def test_imagenet_from_parquet_files(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 12, "validation": 6, "test": 3})
    held = load(tmp_path, DATASET="imagenet")
    assert held.info["sizes"] == {"train": 18, "val": 6, "test": 12}
    assert held.classes == NAMES
    assert held.test.labels.tolist() == [0, 1, 2] * 4
    streamed = load(tmp_path, DATASET="imagenet", IMAGE_MEMORY=0)
    for name in ("train", "val", "test"):
        one, two = (all_of(getattr(data, name)) for data in (held, streamed))
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    first = Image.open(
        io.BytesIO(
            datasets.load_dataset(
                "parquet",
                data_files=sorted(map(str, (tmp_path / "images").glob("validation-*"))),
                cache_dir=str(tmp_path / "hf"),
            )["train"].cast_column("image", datasets.Image(decode=False))[7]["image"]["bytes"]
        )
    )
    pixels = torch.tensor(middle(encoded(first.convert("RGB")), SIZE)) / 255
    mean, std = (torch.tensor(held.info["normalization"][k]).view(3, 1, 1) for k in ("mean", "std"))
    assert torch.allclose(all_of(held.test)[0][7], (pixels - mean) / std, atol=1e-5)


def test_a_broken_image_of_a_table_is_named_by_its_row(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 12, "validation": 3}, {("train", 1, 4)})
    with pytest.raises(Failure, match=r"ImageNet, train, row 16 \(n_4\.JPEG\): no image"):
        load(tmp_path, DATASET="imagenet")
    assert load(tmp_path, DATASET="imagenet", BROKEN_IMAGES="skip").info["broken"] == 1


def test_imagenet_from_folders(tmp_path):
    for split in ("train", "val"):
        write_classes(tmp_path / "images" / split, {"n01": 8, "n02": 4})
    data = load(tmp_path, DATASET="imagenet")
    assert data.info["sizes"] == {"train": 9, "val": 3, "test": 12}
    shutil.rmtree(tmp_path / "images" / "val")
    with pytest.raises(BadUse, match=r"no val/ beside train/"):
        load(tmp_path, DATASET="imagenet")


def test_a_folder_that_is_no_imagenet_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(BadUse, match=r"no train-\*\.parquet and no validation-\*\.parquet"):
        load(tmp_path, DATASET="imagenet")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a", "b"]}, "columns image and label expected"),
        ({"image": [{"bytes": b"", "path": ""}] * 2, "label": [0, -1]}, "images without labels"),
    ],
)
def test_parquet_files_of_another_schema_are_a_failure(tmp_path, columns, reason):
    (tmp_path / "images").mkdir()
    for split in ("train", "validation"):
        table = datasets.Dataset.from_dict(columns)
        table.to_parquet(str(tmp_path / "images" / f"{split}-0.parquet"))
    with pytest.raises(Failure, match=reason):
        load(tmp_path, DATASET="imagenet")


def test_parquet_files_that_are_not_all_there_are_refused(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 3, "validation": 3})
    (tmp_path / "images" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(BadUse, match=r"1 of 2 files train-\*\.parquet"):
        load(tmp_path, DATASET="imagenet")


def test_imagenet_of_an_earlier_download_needs_no_network(tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "datasets--ILSVRC--imagenet-1k" / "snapshots" / imagenet.REVISION
    snapshot.mkdir(parents=True)
    write_imagenet(snapshot / "data", {"train": 12, "validation": 6})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(imagenet, "probe", pytest.fail)
    data = load(tmp_path, DATASET="imagenet", DATA_FILES="")
    assert data.info["sizes"] == {"train": 18, "val": 6, "test": 12}


def test_the_hub_that_does_not_answer_is_a_failure_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Failure, match=r"(?s)ILSVRC/imagenet-1k.*terms.*DATA_FILES"):
        load(tmp_path, DATASET="imagenet", DATA_FILES="")


@given(counts=st.lists(st.integers(4, 30), min_size=2, max_size=5), seed=st.integers(0, 2**32))
def test_a_split_is_complete_disjoint_and_class_by_class(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    n = len(labels)
    keys = np.array([f"{i}" for i in range(n)], object)
    records = Records(FileReader(""), keys, labels, np.zeros((n, 2), np.int64))
    facts = Facts(np.zeros((n, 32), np.uint8), np.ones((n, 2), np.int32), [""] * n)
    found = Usable(Collection({"train": records}, [], ""), {"train": facts}, 0)
    divided = parts(found, 0.25, seed)
    train, val = (divided[name].indices for name in ("train", "val"))
    assert sorted([*train, *val]) == list(range(n))
    assert np.bincount(labels[val]).tolist() == [round(0.25 * count) for count in counts]
    assert divided["val"].records.keys.tolist() == keys[val].tolist()


def test_the_progress_of_a_long_reading_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.reading_progress("flowers", 40) as update:
        update(10)
    assert re.fullmatch(
        r"flowers: 10 of 40 images read, [\d,]+ a second, 0 minutes left\n", capsys.readouterr().err
    )


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    with progress.reading_progress("flowers", 40) as update:
        update(10)
    assert "10/40" in sys.stderr.getvalue()


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
