# SPDX-License-Identifier: MIT
"""docs/examples: the Dockerfile is checked as far as it can be without Docker, the job really runs.

Docker itself is not needed: instructions, sources of COPY and shell lines are looked at. Slurm is
played by tests/slurm.py, which starts a requeued job again.
"""

import fnmatch
import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from benchmarks.sweep_tree import make_tree
from lib.files import ROOT
from lib.runs.stored import load_run
from tests import slurm as programs

EXAMPLES = ROOT / "docs" / "examples"
JOB = EXAMPLES / "train.sbatch"
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


class Instruction(NamedTuple):
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return [word for word in self.text.split() if not word.startswith("--")]


@pytest.fixture(scope="module")
def dockerfile() -> list[Instruction]:
    text = (EXAMPLES / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in whole.splitlines() if line.strip()]


def all_of(dockerfile: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in dockerfile if instruction.name == name]


def test_the_instructions(dockerfile):
    """They exist, begin with ARG and FROM, and end as a user who is not root."""
    names = [instruction.name for instruction in dockerfile]
    assert set(names) <= INSTRUCTIONS
    assert set(names[: names.index("FROM")]) <= {"ARG"}
    assert all_of(dockerfile, "USER")[-1].text not in ("root", "0")
    assert names[-1] == "CMD"
    assert not {"ADD", "MAINTAINER"} & set(names)


def test_images_are_of_a_version(dockerfile):
    given = dict(i.text.split("=", 1) for i in all_of(dockerfile, "ARG") if "=" in i.text)
    for instruction in all_of(dockerfile, "FROM"):
        image = re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], instruction.words[0])
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), image


def test_what_is_copied_is_there(dockerfile):
    """In the tree, and not left out by .dockerignore."""
    ignored = [
        line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"
    ]
    for instruction in all_of(dockerfile, "COPY"):
        *sources, _ = instruction.words
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not [pattern for pattern in ignored if fnmatch.fnmatch(source, pattern)], source


def test_dockerignore_leaves_out_what_is_not_of_the_tree():
    """Nothing that git tracks; and what make writes in the root."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in tracked:
        parts = name.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        assert not [p for p in above if any(fnmatch.fnmatchcase(p, i) for i in ignored)], name
    for written in (".venv", ".config", "config.py", "outputs", "data", "wandb", "mlflow.db"):
        assert any(fnmatch.fnmatchcase(written, pattern) for pattern in ignored), written


def test_the_shell_lines(dockerfile):
    """bash -n and shellcheck, with the arguments of the build as variables."""
    known = "".join(f"export {i.text.partition('=')[0]}=x\n" for i in all_of(dockerfile, "ARG"))
    for instruction in all_of(dockerfile, "RUN"):
        check_shell(f"#!/bin/sh\n{known}{instruction.text}\n")


def test_the_job_is_valid_shell():
    check_shell(JOB.read_text())
    directives = [line for line in JOB.read_text().split("\n") if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in directives)
    last, first = JOB.read_text().rindex("#SBATCH"), JOB.read_text().index("\nset ")
    assert last < first  # Slurm reads them up to the first command


def check_shell(text: str) -> None:
    for command in (["bash", "-n"], [shellcheck(), "-"]):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, text + done.stdout + done.stderr


def shellcheck() -> str:
    return shutil.which("shellcheck") or f"{sys.prefix}/bin/shellcheck"


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(tmp_path):
    """One run, saved at the signal; what has been done to .config meanwhile does not matter."""
    tree, slurm = make_tree(tmp_path / "tree"), programs.install(tmp_path / "slurm")
    config = tree.root / ".config"
    config.write_text("CONFIG_MODEL_TINY=y\nCONFIG_MAX_STEPS=100\nCONFIG_TINY_STEP_MS=30\n")
    submit(tree, slurm)
    journal = wait_for(lambda: next(tree.output_dir.glob("*/logs/metrics.jsonl"), None))
    wait_for(lambda: journal.read_text().count("\n") > 5)
    config.write_text("CONFIG_MODEL_TINY=y\nCONFIG_SEED=7\n")
    slurm.signal("1")
    said = tree.root / "slurm-1.out"
    assert slurm.wait("1") == 140
    assert slurm.wait("1", restarts=1) == 0, said
    (run_dir,) = (path.parent for path in tree.output_dir.glob("*/metadata.yaml"))
    run = load_run(run_dir)
    assert (run.status, len(run.metadata["resumes"])) == ("completed", 1)
    assert run.metadata["seed"] != 7


def test_each_node_gets_its_number_and_the_same_meeting_place(tmp_path):
    """What make takes as NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT and LAUNCH_ID."""
    slurm, tree = programs.install(tmp_path / "slurm"), tmp_path / "tree"
    tree.mkdir()
    (tree / "mine.config").write_text("CONFIG_SEED=3\n")
    launcher = tree / "python"
    names = "NNODES NODE_RANK MASTER_ADDR MASTER_PORT LAUNCH_ID KCONFIG_CONFIG"
    values = " ".join(f"${name}" for name in names.split())
    launcher.write_text(
        f'#!/bin/sh\necho "$*" {values} > node$NODE_RANK\nexit $((NODE_RANK * 2))\n'
    )
    launcher.chmod(0o700)
    environment = {"PATH": slurm.path, "PYTHON": str(launcher), "KCONFIG_CONFIG": "mine.config"}
    subprocess.run(["sbatch", "--nodes=2", JOB], cwd=tree, env=environment, check=True)
    assert slurm.wait("1") == 2
    for rank in (0, 1):
        said = (tree / f"node{rank}").read_text().split()
        wanted = f"-m scripts.train.launch 2 {rank} localhost 29501 slurm-1 slurm-1.config"
        assert said == wanted.split()
    assert (tree / "slurm-1.config").read_text() == "CONFIG_SEED=3\n"
    assert not (slurm.folder / "1.1.code").exists()  # 2: nothing that another start would cure


def submit(tree, slurm) -> None:
    environment = {**tree.environment, "PATH": slurm.path, "PYTHON": sys.executable}
    subprocess.run(["sbatch", JOB], cwd=tree.root, env=environment, check=True)


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
