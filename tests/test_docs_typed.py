# SPDX-License-Identifier: MIT
"""What README.md and docs/*.md say to type works: each page is typed in a scratch clone.

The clone has a run, and a .config with the first defconfig; README.md begins without. A block that
is marked as not typed (tests/pages.py) is left out. In a block <run> and RUN=name stand for the run
that was trained last. A ```console block shows what is printed, too: each of those lines has to
come. A ```python block is run when it begins with its imports. Trainings are cut short by FRAGMENTS
in the environment, which make takes from there as from its command line; a loop of the shell goes
round twice.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from lib.files import ROOT
from tests.pages import PAGES, SHELL, Block, blocks

SHORT = "CONFIG_MAX_STEPS=12\nCONFIG_NUM_THREADS=1\nCONFIG_PLOTS=n\n"
ALONE = [ROOT / "docs" / "lifecycle.md"]  # which looks at everything that there is
KEPT = ("LANG", "LC_ALL", "TIKTOKEN_CACHE_DIR", "TMPDIR")  # of the environment


class Clone(NamedTuple):
    """A scratch clone of the tree as it is here, and the environment of a shell in it."""

    folder: Path
    environment: dict[str, str]

    def type(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run `text` in bash, the placeholders filled in."""
        found = (self.folder / "outputs/training").glob("[!.]*")
        runs = sorted((path for path in found if path.is_dir()), key=os.path.getmtime)
        for placeholder, wanted in (("<run>", "{}"), ("RUN=name", "RUN={}")):
            text = text.replace(placeholder, wanted.format(runs[-1].name if runs else "none"))
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


def copy_of_the_tree(folder: Path) -> None:
    """A clone, and what is not committed yet."""
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    for option in ("-d", "-mo"):
        listed = subprocess.run(
            ["git", "ls-files", "--exclude-standard", "-z", option],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            (folder / name).unlink(missing_ok=True)
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """The clone in which all pages are typed but those of ALONE."""
    return make_clone(tmp_path_factory)


def make_clone(tmp_path_factory) -> Clone:
    """With a home, trackers and caches of its own; nothing is installed; training is short."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "AdamWPrune"
    copy_of_the_tree(folder)
    (home / "packages").mkdir()  # in place of an installed package
    (home / "packages/adamwprune").symlink_to(folder / "lib")
    short = home / "short.config"
    short.write_text(SHORT)
    environment = {k: v for k, v in os.environ.items() if k in KEPT}
    environment |= {
        "HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENV": "system", "PYTHON3": sys.executable, "FRAGMENTS": str(short),
        "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "TRACKIO_DIR": str(home / "trackio"),
    }  # fmt: skip
    made = Clone(folder, environment)
    done = made.type("make defconfig-lenet5-digits-adamwprune && make")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p not in ALONE], ids=lambda page: page.stem)
def test_what_a_page_says_to_type_works(page, clone):
    check(page, clone)


@pytest.mark.slow
@pytest.mark.parametrize("page", ALONE, ids=lambda page: page.stem)
def test_what_a_page_says_to_type_works_in_a_fresh_clone(page, tmp_path_factory):
    check(page, make_clone(tmp_path_factory))


def check(page: Path, clone: Clone) -> None:
    for name in (".config", "config.py"):
        (clone.folder / name).unlink(missing_ok=True)
    # RUN=name is the run of the fixture, whatever other pages have trained.
    os.utime(min((clone.folder / "outputs/training").glob("lenet5_adamwprune_*")))
    if page.name != "README.md":
        assert clone.type("make defconfig-lenet5-digits").returncode == 0
    problems = [problem for block in blocks(page) if (problem := problem_with(block, clone))]
    assert not problems, "\n\n".join(f"{page.relative_to(ROOT)}:{text}" for text in problems)


def problem_with(block: Block, clone: Clone) -> str:
    """What goes wrong when the block is typed, or nothing."""
    if block.why:
        return ""
    if block.kind == "python" and block.text.startswith(("from ", "import ")):
        done = clone.type(f"PYTHONPATH=.:../packages python - <<'END'\n{block.text}\nEND")
    elif block.kind in SHELL:
        typed = "\n".join(block.typed)
        done = clone.type(re.sub(r"(\bfor \w+ in \S+ \S+)[^;]*;", r"\1;", typed))
    else:
        return ""
    printed = without_line_numbers(done.stdout + done.stderr)
    if block.kind == "console":
        wanted = [without_line_numbers(line).strip() for line in block.printed]
        missing = [line for line in wanted if line not in printed]
        return f"{block.line}: not printed: {missing}\n{printed[-3000:]}" if missing else ""
    return f"{block.line}: exit code {done.returncode}\n{printed[-3000:]}" * (done.returncode != 0)


def without_line_numbers(text: str) -> str:
    """Lines of Kconfig files, which change from day to day."""
    return re.sub(r"(Kconfig[\w.]*):\d+", r"\1:N", text)
