# SPDX-License-Identifier: MIT
"""git and dvc as functions: what they print, and what they say when they fail."""

import subprocess

import pytest

from lib.runs.keep.dvc import DvcFailed, dvc
from lib.runs.keep.git import GitFailed, answers, git


def test_git_prints_and_answers(tmp_path):
    git("init", "-q", "-b", "main", at=tmp_path)
    assert git("symbolic-ref", "--short", "HEAD", at=tmp_path) == "main"
    assert answers("rev-parse", "--git-dir", at=tmp_path)
    assert not answers("rev-parse", "--verify", "-q", "HEAD", at=tmp_path)


def test_git_works_on_its_own_repository_within_a_hook(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    git("init", "-q", at=tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert git("rev-parse", "--show-toplevel", at=tmp_path) == str(tmp_path)


def test_git_says_what_it_said(tmp_path, monkeypatch):
    with pytest.raises(GitFailed, match="git rev-parse failed: fatal: not a git repository"):
        git("rev-parse", "HEAD", at=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is not installed"):
        git("status", at=tmp_path)


def test_dvc_says_what_it_said_without_its_advertisements(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DvcFailed) as failed:
        dvc("status", at=tmp_path)
    assert "you are not inside of a DVC repository" in failed.value.said
    assert "troubles" not in str(failed.value)
    subprocess.run(["git", "init", "-q"], check=True)
    assert "Initialized DVC repository" in dvc("init", at=tmp_path)
