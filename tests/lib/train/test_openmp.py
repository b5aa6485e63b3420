# SPDX-License-Identifier: MIT
"""Waiting threads spin for a moment, unless the user has chosen otherwise."""

import os

import pytest

from lib.train.openmp import spin_briefly

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def settings_after(given: dict[str, str], monkeypatch) -> dict[str, str]:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    os.environ.update(given)
    spin_briefly()
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_by_default_threads_spin_and_then_sleep(monkeypatch):
    assert 0 < int(settings_after({}, monkeypatch)["GOMP_SPINCOUNT"]) < 30_000


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_set_stays(given, monkeypatch):
    assert settings_after(given, monkeypatch) == given
