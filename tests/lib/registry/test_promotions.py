# SPDX-License-Identifier: MIT
"""Aliases and their history on a real server: in any order, at once, by hand, and forked."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from lib.errors import BadUse
from lib.registry.promotions import Promotion, before, history, promote
from lib.registry.versions import Name, the_name, the_version
from tests import forked

pytestmark = pytest.mark.slow
ALL = {1, 2, 3}


@pytest.fixture
def three(registry) -> str:
    """The name of a model with three versions that have no files."""
    name = f"digits-{uuid.uuid4().hex[:8]}"
    registry.create_registered_model(name)
    for _ in ALL:
        registry.create_model_version(name, "s3://nowhere/model")
    return name


def move(client, name: str, version: int, kind: str = "promote", why: str = ""):
    model = the_name(client, name)
    return promote(client, model, version, "production", by="Ada <a@b.c>", why=why, kind=kind)


def roll_back(client, name: str) -> int:
    version = before(the_name(client, name), "production", ALL)
    move(client, name, version, "rollback")
    return version


def test_promote_and_roll_back(registry, three):
    with pytest.raises(BadUse, match="no such alias; it has: none"):
        roll_back(registry, three)
    for version in (1, 2, 3):
        assert move(registry, three, version, why="it's “better”").version == version
    assert move(registry, three, 3) is None  # nothing to do, nothing recorded
    assert [roll_back(registry, three) for _ in range(2)] == [2, 1]
    with pytest.raises(BadUse, match="no version that is still there had this alias before"):
        roll_back(registry, three)
    move(registry, three, 3)
    assert roll_back(registry, three) == 1
    entries = history(the_name(registry, three))
    assert [entry.version for entry in entries] == [1, 2, 3, 2, 1, 3, 1]
    assert [entry.previous for entry in entries] == [0, 1, 2, 3, 2, 1, 3]
    assert {entry.by for entry in entries} == {"Ada <a@b.c>"}
    assert entries[0].why == "it's “better”" and entries[0].time < entries[1].time


def test_a_version_that_is_gone_is_passed_over(registry, three):
    for version in (1, 2, 3):
        move(registry, three, version)
    assert before(the_name(registry, three), "production", {1, 3}) == 1


def test_an_alias_that_was_set_by_hand(registry, three):
    move(registry, three, 1)
    registry.set_registered_model_alias(three, "production", "3")
    assert before(the_name(registry, three), "production", ALL) == 1
    assert move(registry, three, 2).previous == 3
    with pytest.raises(BadUse, match=r"VERSION=4: .* there are: 1, 2, 3"):
        the_version(registry, the_name(registry, three), 4)
    with pytest.raises(BadUse, match=f"did you mean {three}"):
        the_name(registry, three[:-1])


KILLS = [("set_registered_model_tag", 1), ("set_registered_model_alias", 1)]
KILLS += [("set_registered_model_tag", 2)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "call"), KILLS)
def test_killed_while_promoting(registry, three, monkeypatch, step, call, when):
    """Alias and history agree, on the old version or on the new one, and go on agreeing."""
    move(registry, three, 1)
    real, calls = getattr(MlflowClient, step), []

    def dying(client, *args):
        calls.append(args)
        if len(calls) == call and when == "before":
            forked.kill_self()
        real(client, *args)
        if len(calls) == call:
            forked.kill_self()

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, dying)
        assert forked.in_child(lambda: move(registry, three, 2)) == -9
    model = the_name(registry, three)
    effect = [1, 2] if (step, when) == ("set_registered_model_alias", "after") or call == 2 else [1]
    assert model.aliases["production"] == effect[-1]
    assert [entry.version for entry in history(model)] == effect
    move(registry, three, 3)
    assert [entry.version for entry in history(the_name(registry, three))] == [*effect, 3]


def test_two_at_once(registry, three):
    """Nobody's entry is lost, and the last word of the history is where the alias is."""
    for number in range(1, 6):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda version: move(registry, three, version), (2, 3)))
        model = the_name(registry, three)
        assert history(model)[-1].version == model.aliases["production"]
        move(registry, three, 1)
        assert len(history(the_name(registry, three))) == 3 * number


@given(st.lists(st.sampled_from([1, 2, 3, "back"]), max_size=12))
@settings(max_examples=200)
def test_rollbacks_take_promotions_back(moves):
    """Against a stack, with the history as a sequence of moves makes it."""
    tags, aliases, stack = {}, {}, []
    for number, what in enumerate(moves):
        model = Name("x", dict(aliases), dict(tags))
        if what == "back" and len(stack) < 2:
            with pytest.raises(BadUse):
                before(model, "production", ALL)
            continue
        if what == "back":
            stack.pop()
            assert before(model, "production", ALL) == stack[-1]
        elif stack[-1:] == [what]:
            continue
        else:
            stack.append(what)
        kind = "rollback" if what == "back" else "promote"
        was, time = aliases.get("production", 0), f"2025-01-01T00:00:{number:02}+00:00"
        entry = Promotion("production", stack[-1], was, "", time, "", kind, done=True)
        tags[f"promotion.{number}"] = json.dumps(asdict(entry))
        aliases["production"] = stack[-1]
