# SPDX-License-Identifier: MIT
"""`keep`: a commit of two files and a tag, or nothing, whatever else goes on in the repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lib import lock
from lib.errors import BadUse, Failure
from lib.files import ROOT
from lib.runs.keep import summary
from lib.runs.keep.dvc import dvc
from lib.runs.keep.git import git
from lib.runs.keep.keep import keep
from lib.runs.keep.repository import Repository
from lib.runs.keep.tags import new_tag, tags_of
from lib.runs.run import Run
from tests.forked import in_child, kill_self
from tests.lib.runs.keep.conftest import RUNS, train

FILES = ["outputs/training/a.dvc", "outputs/training/a.summary.yaml"]


def committed(tree) -> list[str]:
    return git("show", "--format=", "--name-only", "HEAD", at=tree).splitlines()


def tags(tree) -> list[str]:
    return git("tag", at=tree).splitlines()


@pytest.mark.slow
def test_two_files_are_committed_and_nothing_else(tree):
    run = train(tree, "a")
    (tree / "staged").write_text("1")
    git("add", "staged", at=tree)
    (tree / ".dvcignore").write_text("changed\n")
    before = git("status", "--porcelain", at=tree)
    assert (
        killed_after(EFFECTS + 1, "the\nbaseline, token=ghp_" + "a" * 36) == 0
    )  # there are no more
    assert committed(tree) == FILES
    assert git("status", "--porcelain", at=tree) == before
    assert git("log", "-1", "--format=%s", at=tree) == "keep a: the baseline, token=[redacted]"
    assert git("cat-file", "-t", "run/a", at=tree) == "tag"
    # Modes and hard links of the run are what they were; what DVC has is private, too.
    best = (run / "checkpoints/best.pt").stat()
    assert (best.st_nlink, best.st_mode & 0o777) == (2, 0o600)
    assert (tree / ".dvc/cache").stat().st_mode & 0o077 == 0
    said = summary.read(tree / FILES[1])
    assert (said["run_name"], said["best_step"], said["status"]) == ("a", 1, "completed")
    assert said["final_metrics"] == {"final/best_val_loss": 0.5}
    # Kept again: only what has changed is a new version.
    assert keep(RUNS / "a").is_new is False
    assert tags(tree) == ["run/a"]
    (run / "logs" / "train.log").write_text("more")
    assert keep(RUNS / "a").tag == "run/a.v2"


def test_a_tag_is_of_the_run_that_it_names(tree):
    """The run a.v2 and the second version of a have the same first choice."""
    repository = Repository.of(train(tree, "a").parent)
    head = git("rev-parse", "HEAD", at=tree)
    made = [new_tag(repository, run, head, "Run: x\n#1") for run in ("a", "a.v2", "a", "a.v2")]
    assert made == ["run/a", "run/a.v2", "run/a.v3", "run/a.v2.v2"]
    assert [tag.name for tag in tags_of(repository, "a")] == ["run/a", "run/a.v3"]
    assert {tag.run for tag in tags_of(repository)} == {"a", "a.v2"}
    assert git("tag", "-l", "--format=%(contents)", "run/a", at=tree) == "Run: x\n#1\n\nRun: a"


def refused(tree, kind, match) -> None:
    """Nothing has been done when `keep` says no."""
    before = git("status", "--porcelain", at=tree), git("rev-parse", "HEAD", at=tree), tags(tree)
    with pytest.raises(kind, match=match):
        keep(RUNS / "a")
    after = git("status", "--porcelain", at=tree), git("rev-parse", "HEAD", at=tree), tags(tree)
    assert after == before


def test_what_cannot_be_kept(tree, tmp_path):
    with Run.create(RUNS, "a"):
        refused(tree, Failure, "a is running: wait for its end")
    (RUNS / "a" / ".partial").touch()
    refused(tree, BadUse, "only some files of a are here; make pull RUN=a")
    (RUNS / "a" / ".partial").unlink()
    (RUNS / "a" / "metadata.yaml").write_text("[")
    refused(tree, Failure, "metadata.yaml: ")
    train(tree, "x.dvc")
    with pytest.raises(BadUse, match=r"a run called x.dvc cannot be kept: rename"):
        keep(RUNS / "x.dvc")
    with pytest.raises(BadUse, match="is in no git repository"):
        keep(train(tmp_path, "a"))


def test_repositories_that_cannot_take_it(tree):
    run = train(tree, "a")
    (tree / ".git" / "MERGE_HEAD").write_text("")
    refused(tree, BadUse, "a merge, rebase or cherry-pick is under way")
    (tree / ".git" / "MERGE_HEAD").unlink()
    git("checkout", "-q", "--detach", at=tree)
    refused(tree, BadUse, "HEAD is detached.*git switch BRANCH")
    git("checkout", "-q", "main", at=tree)
    git("config", "user.useConfigOnly", "true", at=tree)
    git("config", "--unset", "user.email", at=tree)
    refused(tree, BadUse, "git does not know who you are: git config user.name")
    (tree / ".dvc" / "config").unlink()
    refused(tree, BadUse, "there is no DVC repository in .*: dvc init")
    assert run.is_dir()


@pytest.mark.slow
def test_another_output_dir_needs_lines_in_gitignore(tree):
    for folder in ("outputs/other/deep", "runs"):
        train(tree, "a").parent.rename(tree / "moved")
        (tree / folder).parent.mkdir(parents=True, exist_ok=True)
        (tree / "moved").rename(tree / folder)
        with pytest.raises(
            BadUse, match=rf"(?s)Append to .*gitignore:\n.*/{folder}/[*].dvc"
        ) as said:
            keep(tree / folder / "a")
        lines = [line.strip() for line in str(said.value).splitlines()[1:]]
        with (tree / ".gitignore").open("a") as file:
            file.write("\n".join(lines) + "\n")
        keep(tree / folder / "a")
        assert committed(tree) == [f"{folder}/a.dvc", f"{folder}/a.summary.yaml"]
    shutil.rmtree(tree / ".dvc" / "cache")  # DVC finds both, too, when it is not told of them
    status = json.loads(dvc("status", "--json", at=tree))
    assert status.keys() == {"outputs/other/deep/a.dvc", "runs/a.dvc"}


@pytest.mark.slow
def test_what_fails_is_taken_back(tree, file_size_limit):
    run = train(tree, "a")
    hook = tree / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho the hook says no >&2\nexit 1\n")
    hook.chmod(0o755)
    refused(tree, Failure, "git commit failed: the hook says no")
    hook.unlink()
    (run / "checkpoints" / "large.pt").write_bytes(bytes(2**20))
    with file_size_limit(2**19):
        refused(tree, Failure, "DVC could not copy checkpoints/large.pt")
    (tree / ".git" / "refs" / "tags" / "run").write_text(git("rev-parse", "HEAD", at=tree) + "\n")
    with pytest.raises(Failure, match=r"is kept in commit .*, but has no tag run/a yet"):
        keep(RUNS / "a")
    git("tag", "-d", "run", at=tree)
    assert keep(RUNS / "a").tag == "run/a"


EFFECTS = 5  # dvc add, the summary, git add, git commit, git tag


def killed_after(effects: int, message: str = "") -> int:
    """`keep` in a process that is killed after so many of its effects; returns its exit code."""
    done = []

    def counting(effect):
        def counted(*arguments):
            result = effect(*arguments)
            if arguments[1] in ("add", "commit", "tag") or effect is write:
                done.append(effect)
                if len(done) == effects:
                    kill_self()
            return result

        return counted

    def work():
        Repository.git = counting(Repository.git)
        Repository.dvc = counting(Repository.dvc)
        summary.write = counting(summary.write)
        keep(RUNS / "a", message)

    write = summary.write
    return in_child(work)


@pytest.mark.slow
@pytest.mark.parametrize("effects", range(1, EFFECTS + 1))
def test_killed_after_any_effect_the_next_completes(tree, effects):
    train(tree, "a")
    assert killed_after(effects) == -signal.SIGKILL
    if effects == 1:
        (RUNS / "a.dvc").write_text("outs:\n- md5: 8")  # as if it was not written to its end
    assert keep(RUNS / "a").tag == "run/a"
    assert git("status", "--porcelain", at=tree) == ""
    assert git("log", "--format=%s", at=tree).splitlines() == ["keep a: a is kept", "first"]
    assert (committed(tree), tags(tree)) == (FILES, ["run/a"])


@pytest.mark.slow
def test_killed_while_dvc_copies(tree):
    run = train(tree, "a")
    (run / "checkpoints" / "large.pt").write_bytes(os.urandom(2**26))
    command = [sys.executable, "-m", "scripts.keep.keep", "--output-dir", str(RUNS), "a"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    cache, deadline = tree / ".dvc" / "cache" / "files", time.monotonic() + 60
    while not cache.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert tags(tree) == []
    assert keep(RUNS / "a").is_new
    assert dvc("status", at=tree) == "Data and pipelines are up to date."


@pytest.mark.slow
def test_two_at_once(tree):
    for name in "ab":
        train(tree, name)
    command = [sys.executable, "-m", "scripts.keep.keep", "--output-dir", str(RUNS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([*command, name], env=environment, stdout=subprocess.PIPE, text=True)
        for name in "aab"
    ]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted("already" in text for text in said) == [False, False, True]
    assert tags(tree) == ["run/a", "run/b"]
    assert git("rev-list", "--count", "HEAD", at=tree) == "3"


def test_another_program_at_work_is_not_waited_for_without_end(tree, monkeypatch):
    train(tree, "a")
    held = lock.hold(tree / ".git" / "keep.lock")
    monkeypatch.setattr("lib.runs.keep.repository._WAIT_S", 0.05)
    try:
        refused(tree, Failure, "another `make keep`, `pull` or `gc` has been at work")
    finally:
        lock.release(held)
