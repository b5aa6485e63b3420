# SPDX-License-Identifier: MIT
"""lib/ as the package `adamwprune`: built, installed beside its dependencies alone, and used."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lib
from lib.files import ROOT
from tests.bare import bare_environment, install

DEPENDENCIES = ("torch", "numpy", "orjson", "PyYAML")
OF_A_CHECKOUT = ("registry", "sweep")  # rooms that are not installed


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="part of Python 3.11 and later")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_room_is_in_the_package():
    folders = {path.parent for path in (ROOT / "lib").rglob("*.py")}
    rooms = {folder.relative_to(ROOT / "lib").parts for folder in folders}
    wanted = {".".join(("adamwprune", *room)) for room in rooms if room[:1] not in
              {(name,) for name in OF_A_CHECKOUT}}  # fmt: skip
    assert set(project()["tool"]["setuptools"]["packages"]) == wanted


def test_only_what_is_needed_is_required():
    required = [line.partition(">=")[0] for line in project()["project"]["dependencies"]]
    assert sorted(required) == sorted(name.lower() for name in DEPENDENCIES)
    extras = project()["project"]["optional-dependencies"]
    assert {"trackio", "wandb", "mlflow", "tensorboard", "all"} <= set(extras)
    assert all(name in extras["all"][0] for name in extras if name != "all")


def test_every_name_of_the_face_is_there():
    assert set(lib.__all__) == set(lib._MODULES)
    for name in lib.__all__:
        assert getattr(lib, name) is not None
    assert set(lib.__all__) <= set(dir(lib))
    with pytest.raises(AttributeError, match="no attribute 'Prunner'"):
        lib.Prunner  # noqa: B018


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """What is packaged, without what earlier builds left."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "lib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return folder


def python(interpreter: Path, folder: Path, text: str) -> str:
    """What the program prints, in an empty folder, with an environment of its own."""
    done = subprocess.run(
        [interpreter, "-c", textwrap.dedent(text)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TRAINING = """
    import adamwprune, sys
    assert not {"torch", "numpy", "yaml"} & set(sys.modules), "import adamwprune is not quick"
    import torch
    from adamwprune import AdamWPrune, Checkpoints, Failure, Pruner, Schedule, prunable

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    pruner = Pruner(prunable(net), Schedule(0.9, total_steps=20, start=2, end=10, frequency=2))
    optimizer = AdamWPrune(net.parameters(), pruner, lr=0.01)
    with adamwprune.run("x", trackers="wandb", resume=True) as run:
        checkpoints = Checkpoints(run)
        last = checkpoints.restore(model=net, optimizer=optimizer)
        for step in range(last.step + 1, last.step + 11):
            net(torch.randn(4, 8)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log({"train/loss": 1.0})
        checkpoints.save(step, model=net, optimizer=optimizer)
        run.log_image("i", torch.zeros(2, 2))
        run.plot()
    run.print_summary()
    print(step, round(pruner.sparsity, 2), adamwprune.__file__)
    for need in (
        lambda: adamwprune.export(net, "x"),
        lambda: Checkpoints("c", compress=True),
    ):
        try:
            need()
        except Failure as error:
            print(error)
"""


@pytest.mark.slow
def test_a_wheel_beside_its_dependencies_alone(tree, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps",
         "--no-build-isolation", "-w", tmp_path, tree], check=True,
    )  # fmt: skip
    interpreter = bare_environment(tmp_path / "venv", DEPENDENCIES)
    done = install(interpreter, str(next(tmp_path.glob("*.whl"))))
    assert done.returncode == 0, done.stderr
    place = tmp_path / "work"
    place.mkdir()
    said = python(interpreter, place, TRAINING)
    assert "10 0.9 " in said and "/venv/" in said
    for cure in ("adamwprune[wandb]", "pillow", "matplotlib", "safetensors", "zstandard"):
        assert f"pip install {cure}" in said.replace("'", "")
    assert "make " not in said
    assert python(interpreter, place, TRAINING).splitlines()[-3].startswith("20 0.9 ")
    facts = """
        import adamwprune, importlib.metadata, importlib.resources as resources
        print(importlib.metadata.version("adamwprune") == adamwprune.__version__)
        for name in ("py.typed", "runs/report/run.html", "runs/report/charts.js"):
            print(resources.files("adamwprune").joinpath(name).is_file())
        print(adamwprune.open_run("x").metric("train/loss").steps.tolist() == list(range(1, 21)))
    """
    assert python(interpreter, place, facts).split() == ["True"] * 5


@pytest.mark.slow
def test_an_editable_installation_delivers_to_a_tracker(tree, tmp_path):
    names = (*DEPENDENCIES, "tensorboard", "psutil")
    interpreter = bare_environment(tmp_path / "venv", names)
    done = install(interpreter, "-e", str(tree))
    assert done.returncode == 0, done.stderr
    place = tmp_path / "work"
    place.mkdir()
    said = python(
        interpreter,
        place,
        """
        import adamwprune
        with adamwprune.run("x", config={"lr": 1}, trackers="tensorboard") as run:
            run.log({"train/loss": 1.0})
        for path in (run.dir / "tracking").iterdir():
            path.unlink()
        print(adamwprune.track(run.dir), adamwprune.__file__)
        """,
    )
    assert f"True {tree}/lib/__init__.py" in said and "tensorboard --logdir" in said
    assert (
        b"train/loss"
        in next((place / "outputs/training/x/logs/tensorboard").iterdir()).read_bytes()
    )
