# SPDX-License-Identifier: MIT
"""`make sweep-best`: its output is a defconfig that is the cell that was trained."""

import pytest

from lib.config import store
from lib.config.settings import Settings
from lib.config.tree import Tree
from lib.errors import BadUse
from scripts.sweep import best
from tests.scripts.sweep import studies


@pytest.fixture
def printed(sweeps_done, monkeypatch, capsys):
    def call(sweep, **variables):
        for name, value in (("SWEEP", sweep), *variables.items()):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["best", "--output-dir", str(sweeps_done)])
        best.main()
        return capsys.readouterr().out

    return call


def settings_of(text, tmp_path):
    """What `make defconfig` makes of the text."""
    path = tmp_path / "defconfig"
    path.write_text(text)
    tree = Tree()
    store.load(tree, path)
    return Settings(tree)


def trials(output_dir, name):
    url = studies.default_storage(output_dir)
    return studies.open_study(name, url, create=False).trials()


def test_the_best_of_a_grid_is_the_best_mean_with_its_first_seed(printed, sweeps_done, tmp_path):
    text = printed("grid")
    lines = text.splitlines()
    assert lines[0] == "# Best of sweep grid: arm=dense"
    assert "over the seeds 4 5 6" in lines[1] and "trials 0 9 2" in lines[1]
    found = settings_of(text, tmp_path)
    assert (found.SEED, found.PRUNING_METHOD) == (4, "none")
    first = trials(sweeps_done, "grid")[0]
    assert first.key == found.science_hash
    minimal = [line for line in lines if not line.startswith("#")]
    assert len(minimal) < 10
    assert "CONFIG_SEED=4" in minimal


def test_a_trial_is_as_it_was_trained_after_a_failure(printed, tmp_path):
    text = printed("grid", TRIAL="9")
    assert "# as trial 9 was trained after a failure: BATCH_SIZE=16" in text
    found = settings_of(text, tmp_path)
    assert (found.SEED, found.BATCH_SIZE) == (5, 16)


def test_two_metrics_have_a_front_and_no_best(printed, sweeps_done, tmp_path):
    with pytest.raises(BadUse) as refused:
        printed("pareto")
    named = [line.strip() for line in str(refused.value).splitlines()[1:]]
    assert [line.partition(":")[0] for line in named] == ["TRIAL=0", "TRIAL=2", "TRIAL=4"]
    found = settings_of(printed("pareto", TRIAL="2"), tmp_path)
    trial = trials(sweeps_done, "pareto")[2]
    assert pytest.approx(trial.params["LEARNING_RATE"]) == found.LEARNING_RATE
    assert found.science_hash == trial.key


def test_what_violates_a_constraint_is_not_the_best_but_may_be_taken(printed):
    with pytest.raises(BadUse, match=r"violates a constraint \(sparsity >= 0.9\)"):
        printed("broken")
    assert "# violates a constraint" in printed("broken", TRIAL="0")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TRIAL": "77"}, "has the trials 0 to 9"),
        ({"TRIAL": "1"}, "TRIAL=1 is failed"),
        ({"TRIAL": "one"}, "must be the number"),
    ],
)
def test_a_trial_that_cannot_be_taken(printed, given, said):
    with pytest.raises(BadUse, match=said):
        printed("grid", **given)
