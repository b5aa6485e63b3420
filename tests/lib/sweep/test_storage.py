# SPDX-License-Identifier: MIT
"""Databases that can be opened, and what is said about those that cannot."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse, Failure
from lib.files import ROOT
from lib.sweep import storage
from lib.sweep.storage import Database, default_storage, normalised, redacted
from lib.sweep.study import list_studies, open_study
from tests.forked import ended, started
from tests.lib.sweep.made import made_sweep, url_in
from tests.postgres import postgres  # noqa: F401, a fixture


def test_the_default_is_a_private_file_of_the_output_directory(tmp_path):
    url = default_storage(tmp_path / "outputs")
    Database(url, create=True)
    path = tmp_path / "outputs" / ".sweeps" / "studies.sqlite"
    assert url == f"sqlite:///{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_form_of_a_server_has_the_driver_that_is_used(scheme):
    assert normalised(f"{scheme}://me:pw@host/db") == "postgresql+psycopg://me:pw@host/db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("studies.sqlite", "sqlite:///PATH or postgresql://"),
        ("mysql://me:secret1@host/db", "is not a database that is known here"),
        ("postgress://host/db", "did you mean postgres"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
    ],
)
def test_other_urls_are_refused(url, said):
    with pytest.raises(BadUse, match=said) as refused:
        Database(url, create=True)
    assert "secret1" not in str(refused.value)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=4))
def test_no_password_is_shown(password):
    for written in (quote(password, safe=""), password):
        shown = redacted(f"postgresql://me:Ω{written}Ω@host.example:5432/db")
        assert "Ω" not in shown
        assert shown.endswith("host.example:5432/db")


def test_a_file_that_is_not_there_is_not_made_for_a_reader(tmp_path):
    with pytest.raises(BadUse, match="there are no sweeps yet"):
        list_studies(url_in(tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_is_no_database_stays_as_it_is(tmp_path):
    path = tmp_path / "studies.sqlite"
    path.write_text("learning_rate: 0.1\n" * 100)
    with pytest.raises(Failure, match="not an SQLite database"):
        Database(url_in(tmp_path), create=True)
    assert path.read_text() == "learning_rate: 0.1\n" * 100
    path.unlink()
    path.mkdir()
    with pytest.raises(BadUse, match="is a directory"):
        Database(url_in(tmp_path), create=True)


def test_the_database_of_another_program_stays_as_it_is(tmp_path):
    with sqlite3.connect(tmp_path / "studies.sqlite") as other:
        other.execute("CREATE TABLE experiments (id INTEGER)")
    with pytest.raises(BadUse, match=r"another program .*experiments"):
        Database(url_in(tmp_path), create=True)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("experiments",)]


@pytest.mark.parametrize(
    ("revision", "cure"), [("v2.6.0.a", "storage upgrade"), ("v9", "updating")]
)
def test_the_schema_of_another_optuna_is_refused(tmp_path, revision, cure):
    open_study(made_sweep(), url_in(tmp_path))
    with sqlite3.connect(tmp_path / "studies.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", [revision])
        database.execute("UPDATE version_info SET library_version = '2.6.0'")
    with pytest.raises(Failure, match=rf"set up by optuna 2\.6\.0.*{cure}"):
        open_study(made_sweep(), url_in(tmp_path))


def test_another_optuna_with_the_same_schema_is_no_problem(tmp_path):
    open_study(made_sweep(), url_in(tmp_path))
    with sqlite3.connect(tmp_path / "studies.sqlite") as database:
        database.execute("UPDATE version_info SET library_version = '4.9.0'")
    assert open_study(made_sweep(), url_in(tmp_path)).progress().waiting == 4


def test_a_locked_database_is_said(tmp_path, monkeypatch):
    open_study(made_sweep(), url_in(tmp_path))
    monkeypatch.setattr(storage, "BUSY_S", 0.2)
    study = open_study(made_sweep(), url_in(tmp_path))
    with sqlite3.connect(tmp_path / "studies.sqlite") as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Failure, match="has kept the database locked"):
            study.claim("worker")
    other.close()
    assert study.claim("worker").number == 0


def test_a_full_disk_loses_nothing(tmp_path, file_size_limit):
    url = url_in(tmp_path)
    study = open_study(made_sweep(), url)
    size = (tmp_path / "studies.sqlite").stat().st_size
    many = made_sweep("many", axes={"WEIGHT_DECAY": [f"0.{i:03}" for i in range(1, 100)]})
    with file_size_limit(size + 4096), pytest.raises(Failure, match="free some space"):
        open_study(many, url)
    assert study.claim("worker").number == 0
    assert open_study(many, url).progress().waiting == 99


def test_a_path_may_have_braces_and_spaces(tmp_path):
    folder = tmp_path / "a {SCHEMA_VERSION} b"
    folder.mkdir()
    assert open_study(made_sweep(), url_in(folder)).optuna.study_name == "some"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_database_is_made_by_several_at_once(tmp_path, postgres):  # noqa: F811
    for url in (url_in(tmp_path), postgres.new_database()):

        def opened(url: str = url) -> None:
            assert open_study(made_sweep(), url).progress().waiting == 4

        assert [ended(child) for child in [started(opened) for _ in range(3)]] == [0] * 3
        assert list_studies(url)["some"].total == 4


def test_a_server_that_does_not_answer_is_said(postgres):  # noqa: F811
    url = postgres.new_database()
    for wrong, said in (
        (url.replace(postgres.password, "wrongpassword"), "check user and password"),
        (f"{url}x", "createdb"),
        (url.replace(str(postgres.port), "1"), "cannot be reached"),
        (url.replace("127.0.0.1", "nowhere.invalid"), "nowhere.invalid"),
    ):
        with pytest.raises(Failure, match=said) as refused:
            Database(wrong, create=True)
        assert postgres.password not in str(refused.value)
        assert "wrongpassword" not in str(refused.value)


def test_the_tables_of_another_program_on_the_server_are_left_alone(postgres):  # noqa: F811
    url = postgres.new_database()
    postgres.execute(url.rpartition("/")[2], "CREATE TABLE alembic_version (version_num text)")
    with pytest.raises(BadUse, match="another program"):
        Database(url, create=True)


def test_a_restart_of_the_server_is_waited_for(postgres, capfd, monkeypatch):  # noqa: F811
    study = open_study(made_sweep(), postgres.new_database())
    claim = study.claim("worker")
    postgres.kill()
    postgres.start()
    study.complete(claim, [0.5], "run")  # on a connection that is broken
    postgres.kill()
    monkeypatch.setattr(storage, "_rest", postgres.start)
    assert study.claim("worker").number == 1  # while there is no server
    assert "waiting for it" in capfd.readouterr().err
    assert study.best().value == 0.5


def test_a_server_that_stays_away_is_given_up(postgres, monkeypatch):  # noqa: F811
    study = open_study(made_sweep(), postgres.new_database())
    monkeypatch.setattr(storage, "PATIENCE_S", 0.0)
    postgres.kill()
    try:
        with pytest.raises(Failure, match="cannot be reached"):
            study.claim("worker")
    finally:
        postgres.start()


def test_nothing_of_the_database_is_imported_for_a_url():
    code = (
        "from lib.sweep.storage import default_storage, redacted; redacted(default_storage('x'));"
        "import sys; sys.exit(bool({'optuna', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_folder_of_the_database_is_made_if_it_can_be(tmp_path):
    Path(tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="File exists"):
        Database(f"sqlite:///{tmp_path}/file/studies.sqlite", create=True)
