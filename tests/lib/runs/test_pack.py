# SPDX-License-Identifier: MIT
"""A run packed into one file and made a run again; and files that are damaged or meant to harm."""

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import settings as property_of
from hypothesis import strategies as st

from lib.errors import BadUse, Failure
from lib.runs import metadata
from lib.runs.pack import layout
from lib.runs.pack.layout import PackError
from lib.runs.pack.manifest import File, Manifest, parse
from lib.runs.pack.packing import write_pack
from lib.runs.pack.unpacking import unpack
from lib.runs.run import Run
from lib.runs.stored import find_runs, load_run
from tests.forked import in_child, kill_self

NOTHING_LEFT: list[str] = []


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A run with a checkpoint of three names, and with what stays out of a pack."""
    out = tmp_path_factory.mktemp("out")
    with Run.create(out, "a", files={".config": "CONFIG_SEED=3\n"}) as run:
        for step in range(20):
            run.log({"train/loss": 1 / (1 + step)}, step)
        folder = run.dir / "checkpoints"
        (folder / "step_00000020.pt").write_bytes(os.urandom(100_000) + bytes(300_000))
        os.link(folder / "step_00000020.pt", folder / "last.pt")
        os.link(folder / "step_00000020.pt", folder / "best.pt")
        (folder / "empty").write_bytes(b"")
    deep = run.dir / "media" / "ü 名" / ("long" * 40)
    deep.mkdir(parents=True)
    (deep / "0.png").write_bytes(b"png")
    (run.dir / "tracking").mkdir()
    for local in ("tracking/mlflow.json", ".status.lock", ".reserve", "logs/.x.1.tmp"):
        (run.dir / local).write_text("local")
    return run.dir


@pytest.fixture(scope="module")
def pack(run_dir, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "a.tar.zst"
    write_pack(load_run(run_dir), out)
    return out


def contents(directory: Path) -> dict[str, bytes]:
    """The files by path, those left out that belong to one machine."""
    files = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not layout.is_local(name)}


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def made_pack(path: Path, archive: bytes) -> Path:
    """A pack around the bytes of an archive, with the right SHA-256 at its end."""
    data = zstandard.ZstdCompressor().compress(archive)
    path.write_bytes(data + layout.footer(hashlib.sha256(data).hexdigest()))
    return path


def archive_of(files: list[tuple[str, bytes]], *more: File) -> bytes:
    """An archive as `write_pack` makes it, with whatever paths."""
    listed = [File(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files]
    text = Manifest("a", (*listed, *more)).text()
    parts = [layout.header("manifest.json", len(text)), text, layout.padding(len(text))]
    for file, (path, data) in zip(listed, files, strict=True):
        parts += [layout.header(f"a/{path}", file.size), data, layout.padding(file.size)]
    parts += [layout.header(f"a/{file.path}", 0, f"a/{file.link}") for file in more]
    return b"".join([*parts, layout.END])


METADATA = ("metadata.yaml", b"run_name: a\nstatus: completed\n")


# ------------------------------------------------------------------------------ there and back


def test_a_run_comes_out_as_it_went_in(run_dir, pack, tmp_path):
    made = unpack(pack, tmp_path / "there")
    before, after = contents(run_dir), contents(made)
    origin = metadata.load(made / "metadata.yaml").pop("unpacked")
    assert origin["sha256"] == hashlib.sha256(pack.read_bytes()).hexdigest()
    assert origin["file"] == "a.tar.zst"
    old, new = (metadata.load(d / "metadata.yaml") for d in (run_dir, made))
    del before["metadata.yaml"], after["metadata.yaml"]
    assert {**old, "unpacked": new["unpacked"]} == new
    assert after == before
    folder = made / "checkpoints"
    assert (folder / "last.pt").stat().st_nlink == 3
    assert (folder / "last.pt").samefile(folder / "best.pt")
    assert not (made / "tracking").exists()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (made, *made.rglob("*"))}
    assert modes == {0o600, 0o700}
    assert [run.name for run in find_runs(tmp_path / "there")] == ["a"]


def test_the_same_run_gives_the_same_bytes_and_tar_can_read_them(run_dir, pack, tmp_path):
    copy = tmp_path / "elsewhere" / "a"
    shutil.copytree(run_dir, copy)  # with other times; each name of the checkpoint is a copy
    for name in ("last.pt", "step_00000020.pt"):
        (copy / "checkpoints" / name).unlink()
        os.link(copy / "checkpoints" / "best.pt", copy / "checkpoints" / name)
    _, digest = write_pack(load_run(copy), tmp_path / "again.tar.zst")
    assert (tmp_path / "again.tar.zst").read_bytes() == pack.read_bytes()
    assert digest == hashlib.sha256(pack.read_bytes()).hexdigest()
    assert stat.S_IMODE(pack.stat().st_mode) == 0o600
    packed = subprocess.run(["tar", "--zstd", "-xf", pack], cwd=tmp_path, check=False)
    assert packed.returncode == 0
    assert contents(tmp_path / "a") == contents(run_dir)


def test_memory_does_not_grow_with_the_run(tmp_path):
    with Run.create(tmp_path, "large") as run:
        with (run.dir / "checkpoints" / "zeros").open("wb") as file:
            file.truncate(2**28)
        (run.dir / "checkpoints" / "random").write_bytes(os.urandom(2**20))

    def both() -> None:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        write_pack(load_run(run.dir), tmp_path / "large.tar.zst")
        unpack(tmp_path / "large.tar.zst", tmp_path / "there")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1024  # KiB

    assert in_child(both) == 0


# ------------------------------------------------------------------------------ what is refused


def test_a_run_in_progress_is_not_packed(tmp_path):
    with Run.create(tmp_path, "a") as run, pytest.raises(BadUse, match="is running"):
        write_pack(load_run(run.dir), tmp_path / "a.tar.zst")
    assert below(tmp_path) == below(run.dir.parent)
    assert not (tmp_path / "a.tar.zst").exists()


def test_a_directory_without_the_name_of_a_run_is_not_packed(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(run_dir)
    with pytest.raises(BadUse, match="run name ''"):
        write_pack(load_run("./"), tmp_path / "a.tar.zst")


@pytest.mark.parametrize("kind", ["link", "pipe", "name"])
def test_odd_files_are_not_packed(kind, tmp_path):
    with Run.create(tmp_path, "a") as run:
        pass
    odd = run.dir / "media" / ("new\nline" if kind == "name" else "odd")
    {"link": lambda: odd.symlink_to("/etc/passwd"), "pipe": lambda: os.mkfifo(odd)}.get(
        kind, odd.touch
    )()
    with pytest.raises(PackError, match=r"media/(odd is|new\\nline)"):
        write_pack(load_run(run.dir), tmp_path / "a.tar.zst")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    with Run.create(tmp_path, "a") as run:
        pass
    counts: list[int] = []
    total = sum(map(len, contents(run.dir).values()))

    def grow(count: int) -> None:
        counts.append(count)
        if sum(counts) == total:  # all digests are known
            with (run.dir / "logs" / "metrics.jsonl").open("ab") as file:
                file.write(b"{}\n")

    with pytest.raises(PackError, match="changed while it was being packed"):
        write_pack(load_run(run.dir), tmp_path / "a.tar.zst", seen=grow)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@property_of(max_examples=120, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_anywhere_is_noticed_before_anything_is_written(data, pack, tmp_path):
    whole = pack.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
    damaged = {
        "flip": whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :],
        "cut": whole[:at],
        "insert": whole[:at] + b"\0" + whole[at:],
        "append": whole + whole[at:],
    }[kind]
    if damaged == whole:
        return
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(PackError, match=r"damaged (is damaged|is cut off|is not a file of)"):
        unpack(tmp_path / "damaged", tmp_path / "there")
    assert below(tmp_path) == ["damaged"]


@property_of(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_archive_that_is_not_what_its_manifest_says_leaves_nothing(data, tmp_path):
    """Whoever makes a pack can make its SHA-256, too."""
    whole = archive_of([METADATA, ("x", b"text")], File("y", link="x"))
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    odd = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :]
    with pytest.raises(Failure):
        unpack(made_pack(tmp_path / "odd", odd), tmp_path / "there")
    assert not any((tmp_path / "there").glob("*"))
    assert {p.name for p in tmp_path.iterdir()} <= {"odd", "there"}


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/x", "a/../../x", "a//x", "./x", "", "a\\x", "a\0x", "a\nx", "x" * 300,
     "/".join("x" * 20), "tracking/mlflow.json", ".lock", "logs/.a.1.tmp", "\udc80",
     "metadata.yaml", "metadata.yaml/x"],
)  # fmt: skip
def test_paths_that_leave_the_run_or_clash(path, tmp_path):
    files = [METADATA, (path, b"text")]
    try:
        packed = made_pack(tmp_path / "odd", archive_of(files))
    except UnicodeEncodeError:
        listed = Manifest("a", (File(path, 1, "0" * 64),)).text()
        with pytest.raises(PackError):
            parse(listed)
        return
    with pytest.raises(PackError, match="odd is not a file of `make pack`: path"):
        unpack(packed, tmp_path / "there")
    assert below(tmp_path) == ["odd"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"format": 1', b'"format": 2', "newer version of this project"),
        (b'"format": 1', b'"format": 0', "another form"),
        (b'"run_name": "a"', b'"run_name": ".."', "run name"),
        (b'"size": 4', b'"size": true', "another form|odd size|cannot be read"),
        (b'"size": 4', b'"size": 999999999999', "as no run does"),
        (b'"path": "x"', b'"path": 7', "another form"),
        (b'"link": "x"', b'"link": "z"', "link to nothing"),
        (b'"link": "x"', b'"link": ["x"]', "another form|cannot be read"),
        (b'"files"', b'"fields"', "cannot be read"),
        (b"metadata.yaml", b"metadata.yam", "no metadata.yaml"),
    ],
)
def test_manifests_that_no_pack_has(old, new, said, tmp_path):
    whole = archive_of([METADATA, ("x", b"text")], File("y", link="x"))
    size = int(whole[124:135], 8)
    text = whole[512 : 512 + size]
    assert old in text
    odd = text.replace(old, new)
    head = layout.header("manifest.json", len(odd)) + odd + layout.padding(len(odd))
    rest = whole[512 + size + len(layout.padding(size)) :]
    with pytest.raises(PackError, match=said):
        unpack(made_pack(tmp_path / "odd", head + rest), tmp_path / "there")
    assert not any((tmp_path / "there").glob("*"))


def test_other_files_and_other_metadata(tmp_path):
    (tmp_path / "text").write_text("a text")
    with pytest.raises(PackError, match="is not a file of `make pack`"):
        unpack(tmp_path / "text", tmp_path)
    subprocess.run(["tar", "--zstd", "-cf", "foreign", "text"], cwd=tmp_path, check=True)
    with pytest.raises(PackError, match="is cut off, or is not a file"):
        unpack(tmp_path / "foreign", tmp_path)
    with pytest.raises(PackError, match="does not begin with a manifest"):
        unpack(made_pack(tmp_path / "zeros", bytes(5000)), tmp_path)
    bomb = archive_of([("metadata.yaml", b"a: &a [x]\nb: [*a, *a]\n")])
    with pytest.raises(PackError, match=r"metadata\.yaml: has aliases"):
        unpack(made_pack(tmp_path / "aliases", bomb), tmp_path)


def test_a_name_that_is_taken_is_refused(run_dir, pack, tmp_path):
    unpack(pack, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(BadUse, match="choose another one: NAME="):
        unpack(pack, tmp_path)
    assert contents(tmp_path) == before
    assert unpack(pack, tmp_path, "b").name == "b"
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadUse, match="rmdir"):
        unpack(pack, tmp_path, "empty")
    with pytest.raises(BadUse, match="run name"):
        unpack(pack, tmp_path, "../b")


def test_a_full_disk_leaves_nothing(pack, tmp_path, file_size_limit, monkeypatch):
    with file_size_limit(200_000), pytest.raises(OSError, match="too large"):
        unpack(pack, tmp_path)
    assert below(tmp_path) == NOTHING_LEFT
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 0, 2**26))
    with pytest.raises(PackError, match="to spare"):
        unpack(pack, tmp_path)
    assert below(tmp_path) == NOTHING_LEFT


# ---------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("moment", ["first byte", "metadata", "claim", "rename"])
def test_killed_while_unpacking(moment, pack, tmp_path, monkeypatch):
    """Afterwards there is no run; it can be done again, and what was left goes away."""

    def work() -> None:
        if moment == "metadata":
            monkeypatch.setattr(metadata, "save", lambda *_: kill_self())
        if moment == "claim":
            monkeypatch.setattr("lib.runs.pack.unpacking._claim", lambda *_: kill_self())
        if moment == "rename":
            monkeypatch.setattr(Path, "rename", lambda *_: kill_self())
        sizes = []

        def seen(count: int) -> None:
            sizes.append(count)
            if moment == "first byte" and sum(sizes) > pack.stat().st_size:
                kill_self()

        unpack(pack, tmp_path / "out", seen=seen)

    assert in_child(work) == -9
    assert find_runs(tmp_path / "out") == []
    left = [p.name for p in (tmp_path / "out").iterdir()]
    assert any(name.startswith(".unpack-") for name in left)
    for path in (tmp_path / "out").glob(".unpack-*"):
        os.utime(path, (0, 0))  # an hour later
    if moment == "rename":
        with pytest.raises(BadUse, match="rmdir"):
            unpack(pack, tmp_path / "out")
        (tmp_path / "out" / "a").rmdir()
    unpack(pack, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()] == ["a"]


def test_of_two_at_once_one_makes_the_run(pack, tmp_path):
    ends = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                unpack(pack, tmp_path)
                os._exit(0)
            except BadUse:
                os._exit(2)
            finally:
                os._exit(1)
        ends.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ends)
    assert codes == [0, 2, 2, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert load_run(tmp_path / "a").status == "completed"


def test_killed_while_packing(run_dir, tmp_path):
    assert in_child(lambda: write_pack(load_run(run_dir), tmp_path / "p", seen=_kill)) == -9
    assert not (tmp_path / "p").exists()
    write_pack(load_run(run_dir), tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def _kill(count: int) -> None:
    kill_self()
