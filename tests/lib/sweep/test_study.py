# SPDX-License-Identifier: MIT
"""What becomes of the trials of a sweep, and of a sweep that is described anew."""

import math

import optuna
import pytest

from lib.errors import BadUse, Failure
from lib.sweep import stored, tables
from lib.sweep.claims import MOST_LOST
from lib.sweep.storage import TakenAway
from lib.sweep.study import Study, list_studies, open_study
from lib.sweep.trials import Progress
from tests.lib.sweep.made import GRID, SPACE, made_sweep, new_database


@pytest.fixture
def url(tmp_path):
    return new_database(tmp_path)


def finish(study: Study, value: float = 0.5, **facts: float) -> int:
    """Claim the next trial and complete it; its number."""
    claim = study.claim("worker")
    study.complete(claim, [value], f"run-{claim.number}", facts)
    return claim.number


def test_a_grid_is_done_cell_by_cell(url):
    sweep = made_sweep(seeds=["1", "2"])
    study = open_study(sweep, url)
    assert study.progress() == Progress(total=8, waiting=8)
    claim = study.claim("worker")
    assert claim.cell.params == {"LEARNING_RATE": 0.1, "BATCH_SIZE": 32}
    assert claim.cell.seed == 1
    assert "CONFIG_BATCH_SIZE=32\n" in claim.cell.config_text
    assert claim.launch_id == f"some-{claim.key}"
    assert study.progress() == Progress(total=8, waiting=7, running=1)
    study.complete(claim, [0.25], "run-0")
    assert [finish(study) for _ in range(7)] == [1, 2, 3, 4, 5, 6, 7]
    assert study.claim("worker") is None
    assert study.progress().done
    assert list_studies(url) == {"some": Progress(total=8, complete=8)}
    first, *others = study.trials()
    assert (first.state, first.values, first.run) == ("complete", (0.25,), "run-0")
    assert first.params == {"LEARNING_RATE": 0.1, "BATCH_SIZE": 32}
    assert first.settings == {"LEARNING_RATE": "0.1", "BATCH_SIZE": "32"}
    assert first.started <= first.ended <= others[0].started
    assert len({trial.key for trial in others}) == 7
    assert study.best() == first


def test_optuna_sees_the_same(url):
    """Its dashboard and plots read the tables without us."""
    study = open_study(made_sweep(seeds=["7"]), url)
    finish(study, 0.5)
    claim = study.claim("worker")
    study.report(claim, 10, 0.75)
    study.prune(claim, "worse than the median")
    study.fail(study.claim("worker"), "boom")
    theirs = optuna.load_study(study_name="some", storage=url)
    ours = study.optuna
    assert [t.state.name for t in theirs.trials] == [
        "COMPLETE", "PRUNED", "FAIL", "WAITING", "WAITING",
    ]  # fmt: skip
    assert theirs.trials[1].value == 0.75
    assert theirs.best_trial.number == 0
    assert theirs.trials[:3] == ours.trials
    assert theirs.trials[0].duration.total_seconds() >= 0


def test_an_axis_that_does_not_apply_is_left_out(url):
    arms = {"dense": {"PRUNING_METHOD": "none"}, "pruned": {"PRUNING_METHOD": "magnitude"}}
    study = open_study(made_sweep(arms=arms, axes={"TARGET_SPARSITY": ["0.5", "0.9"]}), url)
    claims = [study.claim("worker") for _ in range(3)]
    assert [claim.cell.params for claim in claims] == [
        {"arm": "dense"},
        {"arm": "pruned", "TARGET_SPARSITY": 0.5},
        {"arm": "pruned", "TARGET_SPARSITY": 0.9},
    ]
    assert study.claim("worker") is None


def test_a_failed_trial_is_tried_again_as_often_as_configured(url):
    study = open_study(made_sweep(retries=2, axes={"BATCH_SIZE": ["32"]}), url)
    first = study.claim("worker")
    assert study.fail(first, "out of memory; token=abcdefgh12345", {"BATCH_SIZE": "16"})
    second = study.claim("worker")
    assert (second.attempt, second.key, second.changes) == (1, first.key, {"BATCH_SIZE": "16"})
    assert "CONFIG_BATCH_SIZE=16\n" in second.cell.config_text
    assert second.launch_id != first.launch_id  # another run: it has other settings
    assert study.fail(second, "out of memory", {"BATCH_SIZE": "8"})
    third = study.claim("worker")
    assert not study.fail(third, "out of memory")
    assert study.claim("worker") is None
    assert study.progress() == Progress(total=1, failed=1)
    assert [trial.superseded for trial in study.trials()] == [True, True, False]
    assert study.trials()[0].reason == "out of memory; token=[redacted]"


def test_what_is_begun_goes_before_what_is_new(url):
    study = open_study(made_sweep(), url)
    first, second = study.claim("one"), study.claim("two")
    study.fail(second, "boom")
    study.put_back(first)
    claims = [study.claim("three") for _ in range(3)]
    assert [claim.key for claim in claims[:2]] == [first.key, second.key]
    assert claims[0].number == first.number
    assert claims[2].number == 2


def test_the_trials_of_a_dead_worker_are_not_their_own_fault(url):
    study = open_study(made_sweep(retries=0, axes={"BATCH_SIZE": ["32"]}), url)
    for lost in range(MOST_LOST + 1):
        claim = study.claim(f"worker-{lost}")
        assert (claim.attempt, claim.lost) == (0, lost)
        assert study.lost() == []  # it has just begun
        assert study.lost(lambda worker: worker == "another") == []
        assert study.lost(lambda worker, name=claim.worker: worker == name) == [claim.number]
    assert study.claim("worker") is None
    assert study.progress() == Progress(total=1, failed=1)
    assert "not tried again" in study.trials()[-1].reason


def test_a_worker_that_is_silent_loses_its_trials_and_is_told(url):
    study = open_study(made_sweep(), url)
    mine, other = study.claim("slow"), study.claim("lively")
    assert study.beat([mine]) == []
    silence = {"grace_s": -1.0}  # longer ago than that is everything
    assert study.lost(**silence) == [mine.number, other.number]
    assert study.beat([mine]) == [mine]
    again = study.claim("lively")
    assert again.key == mine.key
    for late in (
        lambda: study.complete(mine, [0.5], "run"),
        lambda: study.prune(mine, "bad"),
        lambda: study.fail(mine, "boom"),
        lambda: study.put_back(mine),
        lambda: study.note_run(mine, "run"),
        lambda: study.report(mine, 10, 0.5),
    ):
        with pytest.raises(TakenAway):
            late()
    study.complete(again, [0.5], "run")
    assert study.progress().complete == 1


def test_a_trial_that_was_put_back_is_no_longer_the_first_workers(url):
    study = open_study(made_sweep(), url)
    first = study.claim("one")
    study.put_back(first)
    second = study.claim("two")
    assert second.number == first.number
    with pytest.raises(TakenAway):
        study.complete(first, [0.1], "run")
    assert study.beat([first, second]) == [first]


def test_nan_is_a_failure_that_is_not_tried_again(url):
    study = open_study(made_sweep(axes={"BATCH_SIZE": ["32"]}), url)
    assert not study.complete(study.claim("worker"), [math.nan], "run")
    assert study.claim("worker") is None
    assert study.trials()[0].reason == "val/loss is NaN"
    assert study.trials()[0].run == "run"


def test_the_best_breaks_no_constraint(url):
    sweep = made_sweep(
        constraints=["sparsity >= 0.9"], metric={"name": "val/accuracy"}, seeds=["1"]
    )
    study = open_study(sweep, url)
    assert study.best() is None
    finish(study, 0.99, sparsity=0.5)
    finish(study, 0.98)  # not measured
    finish(study, 0.90, sparsity=0.9)
    finish(study, 0.80, sparsity=0.95)
    assert study.best().value == 0.90
    assert [trial.feasible for trial in study.trials()] == [False, False, True, True]
    assert study.optuna.best_trial.value == 0.90
    assert study.trials()[0].facts == {"sparsity": 0.5}


def test_nothing_new_starts_when_the_hours_are_over(url, monkeypatch):
    study = open_study(made_sweep(hours="0.001"), url)
    begun, put_back = study.claim("worker"), study.claim("worker")
    study.put_back(put_back)
    assert not study.out_of_time()
    start = tables.first_start
    monkeypatch.setattr(
        tables, "first_start", lambda *a: start(*a).replace(year=start(*a).year - 1)
    )
    assert study.out_of_time()
    assert study.claim("worker").number == put_back.number
    study.fail(begun, "boom")
    assert study.claim("worker").key == begun.key
    assert study.claim("worker") is None


def test_a_search_that_draws_a_cell_again_does_not_train_it_again(url):
    axes = {"BATCH_SIZE": ["32", "64"]}
    study = open_study(made_sweep(axes=axes, method="tpe", trials=12), url)
    claims = [study.claim("worker"), study.claim("worker")]
    assert len({claim.key for claim in claims}) == 2
    for value, claim in enumerate(claims):
        study.complete(claim, [value], f"run-{value}")
    assert study.claim("worker") is None
    assert study.progress().total == 12
    trials = study.trials()
    assert len(trials) == 12
    done = [trial for trial in trials if trial.state == "complete"]
    assert {(trial.key, trial.value, trial.run) for trial in done} == {
        (claims[0].key, 0.0, "run-0"),
        (claims[1].key, 1.0, "run-1"),
    }
    assert sum(trial.reused for trial in done) == len(done) - 2


def test_a_configuration_that_changed_its_meaning_is_not_trained(url):
    study = open_study(made_sweep(), url)
    trial_id = study.trials()[0].number + 1
    study.database.write(lambda c: tables.set_attrs(c, trial_id, {"key": "0" * 16}))
    with pytest.raises(Failure, match="Kconfig files have changed"):
        study.claim("worker")
    assert study.progress() == Progress(total=4, waiting=4)


# ------------------------------------------------------------------ the same name again


def test_the_same_description_goes_on(url):
    finish(open_study(made_sweep(), url))
    again = made_sweep(description="in other words")
    assert open_study(again, url).progress() == Progress(total=4, waiting=3, complete=1)
    assert open_study("some", url).sweep == made_sweep()


def test_another_description_says_what_differs(url):
    open_study(made_sweep(), url)
    with pytest.raises(BadUse) as refused:
        open_study(made_sweep(axes={**GRID, "BATCH_SIZE": ["32"]}, retries=3), url)
    said = str(refused.value)
    assert 'axes.BATCH_SIZE is ["32", "64"] there and ["32"] here' in said
    assert "retries is 1 there and 3 here" in said
    assert "EXTEND=y" in said


def test_a_grid_grows_while_a_worker_is_at_it(url):
    worker = open_study(made_sweep(seeds=["1"]), url)
    claim = worker.claim("worker")
    finish(worker, 0.3)
    axes = {"LEARNING_RATE": ["0.001", "0.01", "0.1"], "BATCH_SIZE": ["32", "64"]}
    grown = open_study(made_sweep(seeds=["1", "2"], axes=axes), url, extend=True)
    assert grown.progress() == Progress(total=12, waiting=10, running=1, complete=1)
    worker.complete(claim, [0.4], "run")
    params = []
    while claim := worker.claim("worker"):
        params.append(tuple(claim.cell.params.values()))
        worker.complete(claim, [0.5], "run")
    assert len(params) == 10
    assert (0.001, 32) in params
    trials = grown.trials()
    assert trials[1].params == {"LEARNING_RATE": 0.1, "BATCH_SIZE": 64}  # as it was trained
    assert len({t.distributions["LEARNING_RATE"] for t in grown.optuna.trials}) == 1
    assert open_study(made_sweep(seeds=["1", "2"], axes=axes), url).progress().done


def test_a_search_grows_in_trials_and_in_nothing_else(url):
    small = made_sweep(axes=SPACE, method="tpe", trials=2)
    study = open_study(small, url)
    assert [finish(study, 0.5), finish(study, 0.4)] == [0, 1]
    assert study.claim("worker") is None
    more = open_study(made_sweep(axes=SPACE, method="tpe", trials=3), url, extend=True)
    assert finish(more) == 2
    for wrong, said in (
        ({"trials": 1}, "can only grow"),
        ({"method": "gp"}, "another method"),
        ({"axes": {**SPACE, "BATCH_SIZE": ["32"]}}, "another axes"),
        ({"metric": {"name": "val/accuracy"}}, "another metric"),
    ):
        parts = {"axes": SPACE, "method": "tpe", "trials": 3, **wrong}
        with pytest.raises(BadUse, match=said):
            open_study(made_sweep(**parts), url, extend=True)
    assert more.progress() == Progress(total=3, complete=3)


def test_a_grid_does_not_shrink(url):
    open_study(made_sweep(), url)
    with pytest.raises(BadUse, match="2 cells that would not be in it any more"):
        open_study(made_sweep(axes={**GRID, "BATCH_SIZE": ["32"]}), url, extend=True)
    assert open_study(made_sweep(), url).progress().total == 4


def test_a_study_of_somebody_elses_is_left_alone(url):
    theirs = optuna.create_study(storage=url, study_name="some")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(BadUse, match="is not a sweep"):
        open_study(made_sweep(), url)
    assert list_studies(url) == {}
    assert len(optuna.load_study(storage=url, study_name="some").trials) == 1


def test_a_sweep_that_was_not_begun_is_named(url):
    open_study(made_sweep("learning-rates"), url)
    for wanted in ("learning-rate", made_sweep("learning-rate")):
        with pytest.raises(BadUse, match="did you mean learning-rates"):
            open_study(wanted, url, create=False)


def test_the_description_is_read_back_as_it_was(url):
    sweep = made_sweep(seeds=["1", "2"], constraints=["sparsity >= 0.5"], pruner="median")
    open_study(sweep, url)
    assert open_study("some", url).sweep == sweep
    database = open_study("some", url).database
    assert database.read(lambda c: tables.studies_with(c, stored.SWEEP)) == {"some": 1}
