# SPDX-License-Identifier: MIT
"""`push`, `pull` and `kept` with remotes that are a folder and an SSH server, and other clones."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.errors import BadUse, Failure
from lib.files import ROOT
from lib.runs.keep import pull as pulling
from lib.runs.keep.git import git
from lib.runs.keep.keep import keep
from lib.runs.keep.kept import chosen_name, kept_runs
from lib.runs.keep.partial import is_partial, missing
from lib.runs.keep.pull import pull
from lib.runs.keep.remote import push, remote_states
from lib.runs.keep.repository import Repository
from lib.runs.keep.tags import run_of
from lib.runs.stored import load_run
from tests.forked import in_child, kill_self
from tests.lib.runs.keep.conftest import RUNS, add_remote, make_tree, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A repository with a run in two versions and another one, all pushed to a folder."""
    folder = tmp_path_factory.mktemp("origin")
    root = folder / "tree"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.delenv("RANK", raising=False)
        make_tree(root)
        run = train(root, "a")
        keep(run, "the first")
        # The commit of the first tag knows of no remote: its version is pushed all the same.
        add_remote(root, str(folder / "store"))
        git("commit", "-q", "-am", "remote", at=root)
        (run / "logs" / "train.log").write_text("more\n")
        keep(run, "the second")
        keep(train(root, "b"))
        push(Repository.of(root / RUNS))
    return root


@pytest.fixture
def clone(origin, tmp_path, monkeypatch) -> Repository:
    """A fresh clone, which has no run and no cache; the current directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    git("clone", "-q", str(origin), str(tmp_path / "clone"), at=tmp_path)
    monkeypatch.chdir(tmp_path / "clone")
    return Repository.of(RUNS)


def contents(run_dir: Path) -> dict[str, bytes]:
    files = (path for path in run_dir.rglob("*") if path.is_file() and path.suffix != ".lock")
    found = {str(path.relative_to(run_dir)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name not in (".lock", ".status.lock")}


def hidden(repository: Repository) -> list[str]:
    return [path.name for path in repository.output_dir.glob(".*")]


def test_a_fresh_clone_pulls_one_file_then_the_run(origin, clone):
    assert [(run.here, run.in_cache) for run in kept_runs(clone)] == [("no", "no")] * 2
    partial = pull(clone, "a", only="checkpoints/best.pt")
    assert (partial.new, partial.is_partial) == (2, True)
    run = clone.output_dir / "a"
    assert sorted(contents(run)) == [".partial", "checkpoints/best.pt", "metadata.yaml"]
    assert missing(run) == "only some files of a are here; make pull RUN=a gets the rest"
    assert load_run(run).status == "completed"
    with pytest.raises(BadUse, match="only some files of a are here"):
        keep(run)
    assert [run.here for run in kept_runs(clone)] == ["partial", "no"]
    with pytest.raises(BadUse, match=r"ONLY=best.pt: a has no such file; did you mean check"):
        pull(clone, "a", only="best.pt")
    whole = pull(clone, "a")
    assert not whole.is_partial
    assert contents(run) == contents(origin / RUNS / "a")
    assert (run / "metadata.yaml").stat().st_mode & 0o777 == 0o600
    assert (run / "checkpoints/best.pt").samefile(run / "checkpoints/step_00000001.pt")
    assert pull(clone, "a").new == 0
    assert kept_runs(clone)[0].here == "yes"
    assert hidden(clone) == []
    # What has changed here is not overwritten.
    (run / "metadata.yaml").write_text((run / "metadata.yaml").read_text().replace("0.5", "0.6"))
    assert kept_runs(clone)[0].here == "changed"
    with pytest.raises(BadUse, match=r"a is here, with another metadata.yaml than was kept"):
        pull(clone, "a")


def test_versions_and_runs_that_are_gone_from_head(origin, clone):
    pull(clone, "a", tag=run_of(clone, "run/a", "") and "run/a")
    run = clone.output_dir / "a"
    assert (run / "logs/train.log").read_text() != "more\n"
    assert kept_runs(clone)[0].here == "unknown"  # the list of the second version is not here
    run.rename(run.with_name("first"))
    assert pull(clone, "a").new == len(contents(run))
    assert (run / "logs/train.log").read_text() == "more\n"
    git("rm", "-q", "outputs/training/b.dvc", at=clone.root)
    with pytest.raises(BadUse, match="RUN=b is not kept in this commit, but in a tag: TAG=run/b"):
        chosen_name(clone, "b")
    assert pull(clone, run_of(clone, "run/b", ""), tag="run/b").new == len(
        contents(origin / RUNS / "b")
    )
    git("tag", "model-v1", at=clone.root)
    with pytest.raises(BadUse, match="model-v1 does not say which run is meant: add RUN=, one of"):
        run_of(clone, "model-v1", "")
    assert pull(clone, run_of(clone, "model-v1", "a"), tag="model-v1").new == 0
    with pytest.raises(BadUse, match=r"TAG=run/c: no such tag; did you mean run/"):
        run_of(clone, "run/c", "")
    with pytest.raises(BadUse, match="TAG=run/a is of a, not of RUN=b"):
        run_of(clone, "run/a", "b")


def test_killed_while_copying_the_next_pull_completes(origin, clone):
    copy, copied = pulling._copy, []

    def killing(*arguments):
        copied.append(copy(*arguments))
        if len(copied) == 3:
            kill_self()

    def whole():
        pulling._copy = killing
        pull(clone, "a")

    assert in_child(whole) == -signal.SIGKILL
    assert not (clone.output_dir / "a").exists()
    assert hidden(clone) == [".pull-a"]
    (clone.output_dir / ".push-1.dvc").touch()
    pull(clone, "a", only="logs")
    assert hidden(clone) == []
    assert is_partial(clone.output_dir / "a")
    assert in_child(whole) == 0  # fewer files are left than it is killed after
    assert contents(clone.output_dir / "a") == contents(origin / RUNS / "a")


def test_damaged_copies_and_hostile_lists_are_refused(clone, tmp_path):
    pull(clone, "a", only="metadata.yaml")
    (listed,) = clone.cache.rglob("*.dir")
    named = listed.read_text()
    listed.chmod(0o644)
    listed.write_text(named.replace('"metadata.yaml"', '"../../evil"'))
    with pytest.raises(Failure, match=r"names '../../evil', which is outside"):
        pull(clone, "a")
    listed.write_text(named)
    (tmp_path / "clone/outputs/training/a/metadata.yaml").unlink()
    copies = [path for path in clone.cache.rglob("*") if path.is_file() and path != listed]
    for copy in copies:
        copy.chmod(0o644)
        copy.write_bytes(b"another")
    with pytest.raises(Failure, match=r"DVC's copy of metadata.yaml, is damaged: rm "):
        pull(clone, "a", only="metadata.yaml")
    assert "evil" not in {path.name for path in tmp_path.rglob("*")}


def test_remotes_that_are_missing_or_lack_it(tree, tmp_path):
    repository = Repository.of(train(tree, "a").parent)
    keep(RUNS / "a")
    for remote in (lambda: push(repository, ["a"]), lambda: remote_states(repository, ["a"])):
        with pytest.raises(BadUse, match="there is no DVC remote: dvc remote add -d NAME URL"):
            remote()
    add_remote(tree, "ssh://me:secret@127.0.0.1:1/x")
    with pytest.raises(Failure, match=r"Connect call failed.*\[redacted\]@127.0.0.1"):
        push(repository, ["a"])
    add_remote(tree, str(tmp_path / "store"))
    assert remote_states(repository, ["a"]) == {"a": "no"}
    for path in (tree / ".dvc/cache", RUNS / "a"):
        path.rename(tmp_path / path.name)
    with pytest.raises(Failure, match="neither the cache nor the remote has a: whoever kept it"):
        pull(repository, "a")
    assert remote_states(repository, ["a"]) == {"a": "lost"}
    assert hidden(repository) == []


@pytest.fixture
def ssh(tmp_path):
    """(port, the file with the key of the client) of a server on loopback."""
    keys = tmp_path / "keys"
    keys.mkdir()
    command = [sys.executable, "-m", "tests.lib.runs.keep.ssh", str(keys)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline()), keys / "client"
        server.kill()


def test_over_ssh(tree, tmp_path, ssh):
    port, key = ssh
    store = tmp_path / "far"
    add_remote(tree, f"ssh://127.0.0.1:{port}{store}", keyfile=key, user="researcher")
    repository = Repository.of(train(tree, "a").parent)
    keep(RUNS / "a")
    push(repository, ["a"])
    before = contents(RUNS / "a")
    # The list, and each content once.
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert len(stored) == len(set(before.values())) + 1
    for path in (tree / ".dvc/cache", RUNS / "a"):
        path.rename(tmp_path / path.name)
    pull(repository, "a")
    assert contents(RUNS / "a") == before
