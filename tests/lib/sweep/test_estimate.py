# SPDX-License-Identifier: MIT
"""What a sweep will take, by runs that were made before."""

import pytest

from lib.config.settings import Settings
from lib.config.tree import Tree
from lib.runs.redact import redact_named
from lib.runs.run import Run, info_from_settings
from lib.sweep.cells import Space
from lib.sweep.description import sweep_of
from lib.sweep.estimate import Past, Shapes, estimate, past_runs, shapes_of


@pytest.fixture(scope="module")
def shapes():
    return Shapes()


def cells(**parts):
    given = {"metric": {"name": "val/loss"}, "seeds": [1, 2], **parts}
    return Space(sweep_of(given, "one", "")).cells()


def past(shapes, cell, seconds, size=1000):
    return Past(shapes.of(cell.config_text), seconds, size)


def test_runs_that_differ_in_the_seed_are_preferred(shapes):
    wanted = cells(set={"NUM_EPOCHS": 10})
    same = cells(set={"NUM_EPOCHS": 10}, seeds=[7, 8, 9])
    other = cells(set={"NUM_EPOCHS": 10, "LEARNING_RATE": 0.5})[0]
    of_all = [past(shapes, cell, s) for cell, s in zip(same, (8, 10, 99), strict=True)]
    found = estimate(shapes_of(wanted, shapes), [*of_all, past(shapes, other, 1000)])
    assert (found.cells, found.known, found.equal, found.runs) == (2, 2, 2, 3)
    assert (found.seconds, found.size) == (2 * 10, 2 * 1000)


def test_runs_of_the_same_shape_are_scaled_by_the_length(shapes):
    wanted = cells(set={"NUM_EPOCHS": 10})
    shorter = cells(set={"NUM_EPOCHS": 4, "LEARNING_RATE": 0.5, "OPTIMIZER": "sgd"})[0]
    larger = cells(set={"NUM_EPOCHS": 10, "BATCH_SIZE": 512})[0]
    by_steps = cells(set={"MAX_STEPS": 10})[0]
    of_others = [past(shapes, larger, 999), past(shapes, by_steps, 999)]
    found = estimate(shapes_of(wanted, shapes), [past(shapes, shorter, 8, 50), *of_others])
    assert (found.known, found.equal, found.runs) == (2, 0, 1)
    assert found.seconds == pytest.approx(2 * 8 * 10 / 4)
    assert found.size == 100
    with_start = [Past(shapes.of(shorter.config_text), 9.0, 50, fixed=1.0)]
    assert estimate(shapes_of(wanted, shapes), with_start).seconds == pytest.approx(2 * (1 + 20))
    unknown = estimate(shapes_of(wanted, shapes), of_others)
    assert (unknown.known, unknown.seconds) == (0, 0)


def test_the_model_of_a_configuration(shapes):
    found = cells(axes={"MODEL": ["gpt2", "lenet5"]}, seeds=[1])
    assert [shapes.model(cell.config_text) for cell in found] == ["gpt2", "lenet5"]


def test_completed_runs_are_found(shapes, tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    settings = Settings(Tree())
    about = {"files": settings.files(redact_named), "info": info_from_settings(settings)}
    with Run.create(tmp_path, "done", **about) as run:
        run.log({"val/loss": 1.0}, 1)
        run.summary({"final/training_time_s": 50.0})
        run._before_s = 60.0  # as if it had been resumed after a minute
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path, "failed", **about):
        raise ZeroDivisionError
    with Run.create(tmp_path, "without", info=about["info"]):
        pass
    (found,) = past_runs(tmp_path, shapes)
    assert found.seconds == pytest.approx(60, abs=5)
    assert found.fixed == pytest.approx(found.seconds - 50)
    assert found.size > 0
    assert found.shape == shapes.of(cells(seeds=[3])[0].config_text)
    assert past_runs(tmp_path / "missing", shapes) == []
