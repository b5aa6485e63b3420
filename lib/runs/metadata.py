# SPDX-License-Identifier: MIT
"""What metadata.yaml says besides the results: the code, the machine, the packages.

Everything here is best effort and quick (about 20 ms): without git, a checkout or CUDA the values
are None, and nothing raises. PyTorch is asked only if it has been imported already.
"""

import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ..files import ROOT, write_atomic
from ..launch_env import launch_env
from ..safe_yaml import load_mapping, to_plain

VERSION = "0.1.0"

_GIT_TIMEOUT_S = 5.0
_DIFF_LIMIT = 4 * 2**20  # characters
_UNTRACKED_LIMIT = 20  # names


def git_state(root: Path = ROOT) -> tuple[dict[str, Any], str]:
    """({commit, branch, dirty, untracked}, the redacted diff of tracked files against the commit).

    `untracked` names files, and folders with a slash at the end, that git does not track and that
    are not in the diff; the first 20 of them. A detached HEAD has branch None; without a
    checkout or git, all four are None.
    """
    state: dict[str, Any] = dict.fromkeys(("commit", "branch", "dirty", "untracked"))
    status = ask_git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    if status is None:
        return state, ""
    lines = status.splitlines()
    header = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = header.get("branch.oid"), header.get("branch.head")
    state["commit"] = commit if commit != "(initial)" else None
    state["branch"] = branch if branch != "(detached)" else None
    state["dirty"] = any(not line.startswith(("#", "?")) for line in lines)
    untracked = [line[2:] for line in lines if line.startswith("? ")]
    more = len(untracked) - _UNTRACKED_LIMIT
    rest = [f"and {more} more"] if more > 0 else []
    state["untracked"] = untracked[:_UNTRACKED_LIMIT] + rest
    if not state["dirty"] or state["commit"] is None:
        return state, ""
    from .redact import redact_diff  # takes 40 ms, which a listing does not need

    diff = ask_git(root, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD") or ""
    if len(diff) > _DIFF_LIMIT:
        diff = f"{diff[:_DIFF_LIMIT]}\n[cut: {len(diff)} characters in all]\n"
    return state, redact_diff(diff)


def ask_git(root: Path, *arguments: str) -> str | None:
    """What git prints in `root`; None where it fails, is missing, or takes more than 5 s."""
    # No GIT_DIR of a surrounding hook, no index lock taken from a user at work.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_GIT_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def environment(requirements: Path = ROOT / "requirements.txt") -> dict[str, Any]:
    """{python, torch, cuda, cudnn, driver, os, cpu, memory_gib, gpus, packages} of this process.

    packages: those that `requirements` names or, without that file, those imported so far.
    """
    return {
        "python": platform.python_version(),
        **_torch_state(),
        "driver": _driver(),
        "os": platform.platform(),
        "cpu": {"model": cpu_model(), "cores": os.cpu_count()},
        "memory_gib": _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "gpus": _gpus(),
        "packages": _installed(_direct_requirements(requirements) or _imported()),
    }


def _torch_state() -> dict[str, str | None]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {"torch": None, "cuda": None, "cudnn": None}
    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
    }


def _gpus() -> list[dict[str, Any]]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    devices = (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    return [
        {"name": d.name, "memory_gib": _gib(d.total_memory), "capability": f"{d.major}.{d.minor}"}
        for d in devices
    ]


def _gib(size: int) -> float:
    return round(size / 2**30, 1)


def _driver() -> str | None:
    """The version of NVIDIA's kernel module; None without one."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else None


def cpu_model() -> str:
    """The name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _direct_requirements(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    return list(dict.fromkeys(re.findall(r"^[A-Za-z0-9][\w.-]*", text, re.MULTILINE)))


def _imported() -> list[str]:
    """The packages that this process has imported so far."""
    return sorted({name.partition(".")[0] for name in list(sys.modules)})


def _installed(names: list[str]) -> dict[str, str]:
    """Versions from the names of the *.dist-info folders: takes 1 ms, importlib.metadata 50."""
    wanted = {re.sub(r"[-_.]+", "_", name).lower(): name for name in names}
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            stems = [path.stem for path in Path(folder).iterdir() if path.suffix == ".dist-info"]
        except OSError:
            continue
        for stem in stems:
            package, _, version = stem.partition("-")
            name = wanted.get(re.sub(r"[-_.]+", "_", package).lower())
            if name is not None:
                found.setdefault(name, version)
    return {name: found[name] for name in names if name in found}


def now() -> str:
    """Local time with its offset, ISO 8601, as metadata.yaml has it."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def new_id() -> str:
    """A run_id: 12 hex digits, unique."""
    return secrets.token_hex(6)


def command() -> str:
    """The command line of this process, without secrets."""
    from .redact import redact_command

    return redact_command(sys.orig_argv)


def first_fields(name: str, run_dir: Path, code: Path = ROOT) -> dict[str, Any]:
    """Every field of metadata.yaml at the start of a run; writes git.diff, if there is a diff.

    code: the folder of the program. Raises OSError.
    """
    git, diff = git_state(code)
    if diff:
        write_atomic(run_dir / "git.diff", diff)
    return {
        "run_name": name,
        "run_id": new_id(),
        "description": "",
        "hypothesis": "",
        "tags": [],
        "group": "",
        "job_type": "train",
        "version": VERSION,
        "status": "running",
        "start_time": now(),
        "end_time": None,
        "duration_s": None,
        "git": {**git, "diff": "git.diff" if diff else None},
        "science_hash": None,
        "command": command(),
        "launch": launch_env().launch_id,
        "seed": None,
        "environment": environment(code / "requirements.txt"),
        "dataset": {},
        "model": {},
        "final_metrics": {},
        "results": {},
    }


def attempt(
    step: int, checkpoint: str, changed: Mapping[str, Any], code: Path = ROOT
) -> dict[str, Any]:
    """An entry of `resumes`: an attempt of this process to go on after `step` updates."""
    git, _ = git_state(code)
    return {
        "time": now(),
        "step": step,
        "checkpoint": checkpoint,
        "command": command(),
        "commit": git["commit"],
        "dirty": git["dirty"],
        "changed": dict(changed),
    }


def resumed_fields(old: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a run that goes on; `entry` is the attempt.

    `duration_s` is what the run has lasted so far.
    """
    earlier = old.get("resumes")
    return {
        **{name: value for name, value in old.items() if name not in ("error", "best")},
        "status": "running",
        "end_time": None,
        "launch": launch_env().launch_id,
        "final_metrics": {},
        "results": {},
        "resumes": [*(earlier if isinstance(earlier, list) else ()), entry],
    }


def save(path: Path, metadata: Mapping[str, Any]) -> None:
    """Write metadata.yaml atomically, redacted, in the order of the keys. Raises OSError."""
    from .redact import redact_tree

    plain = redact_tree(to_plain(metadata))
    text = yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)
    write_atomic(path, text)


def load(path: Path, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Read metadata.yaml; the top-level keys `without` are cut out before it is parsed, for speed.

    Raises OSError, and ValueError when it is damaged.
    """
    return load_mapping(path, without=without)
