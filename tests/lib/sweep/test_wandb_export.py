# SPDX-License-Identifier: MIT
"""W&B sweep files, judged by W&B's own code: what it reads in them, and what its agents run."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.settings import load_settings
from lib.errors import BadUse
from lib.sweep.cells import Space
from lib.sweep.description import sweep_of
from lib.sweep.wandb_export import parameter, wandb_export

DEFCONFIG = "CONFIG_MODEL_LENET5=y\nCONFIG_ENABLE_TENSORBOARD=y\n"
METRIC = {"name": "val/loss"}
RANGE = {"min": "1e-4", "max": "1e-2", "log": True}


def described(defconfig: str = DEFCONFIG, **parts):
    return sweep_of({"metric": METRIC, **parts}, "digits", defconfig)


def search(method: str = "tpe", **parts):
    parts = {"axes": {"LEARNING_RATE": RANGE}, "trials": "20", **parts}
    return described(method=method, **parts)


def agent_command(config: dict, values: dict) -> list[str]:
    """The command line of the agent, by W&B's functions; its loop over them is in wandb_agent."""
    from wandb.sdk.launch.sweeps import utils

    words = utils.create_sweep_command(list(config["command"]))
    args = utils.create_sweep_command_args({"args": {n: {"value": v} for n, v in values.items()}})
    args |= {"env": ["/usr/bin/env"], "program": [config["program"]]}
    found = [args[word[2:-1]] if word.startswith("${") else [word] for word in words]
    return [word for part in found for word in part]


def test_an_agent_trains_exactly_the_cells_of_a_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = described(
        set={"NUM_EPOCHS": "2", "BATCH_SIZE": "50"},
        arms={"plain": {"OPTIMIZER": "adamw"}, "a/b": {"OPTIMIZER": "sgd", "MOMENTUM": "0.8"}},
        axes={"LEARNING_RATE": ["1e-3", "0.02"], "AUGMENT": ["y", "n"]},
        seeds=["1", "2"],
    )
    export = wandb_export(sweep, tmp_path / "two words")
    config = yaml.safe_load(yaml.safe_dump(export.config, sort_keys=False))
    for path, text in export.configs.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert {path.name for path in export.configs} == {"plain.config", "a%2Fb.config"}
    parameters = config["parameters"]
    assert list(parameters) == ["config", "learning-rate", "augment", "seed"]
    trained = {}
    for arm in parameters["config"]["values"]:
        for lr in parameters["learning-rate"]["values"]:
            for augment in parameters["augment"]["values"]:
                for seed in parameters["seed"]["values"]:
                    values = {"config": arm, "learning-rate": lr}
                    values |= {"augment": augment, "seed": seed}
                    env, _, program, *flags = agent_command(config, values)
                    assert (env, program) == ("/usr/bin/env", "lenet5/train.py")
                    made = load_settings("lenet5", flags)
                    assert set(made.trackers) == {"tensorboard", "wandb"}
                    trained[made.science_hash] = values
    assert trained.keys() == {cell.key for cell in Space(sweep).cells()}
    assert len(trained) == 16


numbers = st.floats(1e-6, 1e6, allow_nan=False)


@st.composite
def distributions(draw):
    """Any that an axis can have."""
    from optuna import distributions as of

    kind = draw(st.sampled_from(["float", "int", "values"]))
    if kind == "values":
        choices = draw(st.lists(st.booleans() | st.text() | numbers, min_size=1, unique=True))
        return of.CategoricalDistribution(choices)
    if kind == "int":
        log, low, count = draw(st.booleans()), draw(st.integers(1, 999)), draw(st.integers(1, 99))
        step = 1 if log else draw(st.integers(1, 9))
        return of.IntDistribution(low, low + count * step, log, step)
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    if draw(st.booleans()):
        return of.FloatDistribution(low, high, draw(st.booleans()))
    low, count, step = (
        draw(st.integers(0, 9)),
        draw(st.integers(1, 99)),
        2.0 ** -draw(st.integers(0, 9)),
    )
    return of.FloatDistribution(low * step, (low + count) * step, step=step)


@settings(max_examples=60)
@given(distributions())
def test_wandb_reads_the_same_distribution(distribution):
    from optuna.distributions import CategoricalDistribution
    from wandb.apis.public.sweeps import _validate_config_and_fill_distribution as validated
    from wandb.sdk.sweeps.scheduler.optuna import search_space_from_sweep_config

    config = {"parameters": {"x": parameter("x", distribution)}}
    assert validated(config) == config
    found = search_space_from_sweep_config(config["parameters"])["x"]
    if isinstance(found, CategoricalDistribution) and not isinstance(distribution, type(found)):
        low, step = distribution.low, distribution.step  # not multiples of the step
        assert list(found.choices) == [*range(low, distribution.high + 1, step)]
        assert low % step
    else:
        assert found == distribution


def test_a_search(tmp_path):
    axes = {"LEARNING_RATE": RANGE, "BATCH_SIZE": {"min": "16", "max": "64", "step": "16"}}
    sweep = search(
        axes=axes,
        set={"EVAL_INTERVAL": "50", "WANDB_PROJECT": "ours"},
        pruner={"name": "hyperband", "min_steps": "120", "reduction_factor": "4"},
        hours="2",
    )
    export = wandb_export(sweep, tmp_path)
    config = export.config
    assert (config["method"], config["run_cap"], config["project"]) == ("bayes", 20, "ours")
    assert config["early_terminate"] == {"type": "hyperband", "min_iter": 3, "eta": 4}
    assert config["metric"] == {"name": "val/loss", "goal": "minimize"}
    assert config["parameters"] == {
        "learning-rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "batch-size": {"distribution": "q_uniform", "min": 16, "max": 64, "q": 16},
    }
    assert config["command"][3] == f"--config={tmp_path / 'base.config'}"
    said = " ".join(export.remarks)
    assert "not tpe" in said and "hours are not limited" in said and "one bracket" in said


def test_the_best_evaluation_is_a_metric_of_its_own(tmp_path):
    best = {"name": "val/accuracy", "at": "best"}
    config = wandb_export(search("random", metric=best), tmp_path).config
    assert config["metric"] == {"name": "final/best_val_accuracy", "goal": "maximize"}
    stopped = search("random", metric=best, pruner="hyperband")
    export = wandb_export(stopped, tmp_path)
    assert export.config["metric"]["name"] == "val/accuracy"
    assert "by the last val/accuracy, not by the best" in " ".join(export.remarks)
    assert "final" not in wandb_export(search("random"), tmp_path).config["metric"]["name"]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (search("cmaes"), "no method like cmaes"),
        (search("nsga2", metric=[METRIC, {"name": "val/accuracy"}]), "no method like nsga2"),
        (search(constraints="sparsity >= 0.9"), "searches without constraints"),
        (search(pruner={"name": "hyperband", "min_steps": "9"}), "needs an EVAL_INTERVAL"),
        (described(set={"NUM_EPOCHS": "2"}), "is a single run"),
        (
            described(axes={"PRUNING_METHOD": ["none", "magnitude"], "TARGET_SPARSITY": ["0.5"]}),
            "TARGET_SPARSITY does not apply at PRUNING_METHOD=none",
        ),
        (
            described(set={"MOMENTUM": "0.8"}, axes={"OPTIMIZER": ["sgd", "adamw"]}),
            "MOMENTUM does not apply at OPTIMIZER=adamw",
        ),
    ],
)
def test_what_wandb_cannot_do(sweep, said, tmp_path):
    with pytest.raises(BadUse, match=said):
        wandb_export(sweep, tmp_path)


def test_what_is_left_out_is_said(tmp_path):
    sweep = described(
        axes={"LEARNING_RATE": ["0.1", "0.2"]}, pruner="median", constraints="sparsity >= 0.9"
    )
    said = " ".join(wandb_export(sweep, Path(tmp_path)).remarks)
    assert "constraints are left out" in said and "pruner median is left out" in said
    drawn = search("random", seeds=["1", "2"])
    export = wandb_export(drawn, tmp_path)
    assert export.config["run_cap"] == 40 and "draws its seed" in " ".join(export.remarks)
