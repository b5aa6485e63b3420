# SPDX-License-Identifier: MIT
"""MLflow's database is created whole or not at all, whoever is killed meanwhile."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

CREATE = """
import sys
from pathlib import Path
from lib.tracking.backends.mlflow_database import create_database
create_database(Path(sys.argv[1]))
"""
OPEN = """
import sys
from mlflow.tracking import MlflowClient
print(MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}").create_experiment("digits"))
"""


def program(code: str, path: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)


@pytest.mark.slow
def test_killed_while_it_is_created(tmp_path):
    path = tmp_path / "folder" / "mlflow.db"
    killed = program(CREATE, path)
    unfinished = path.with_name(".mlflow.db.new")
    deadline = time.monotonic() + 60
    while not (unfinished.exists() and unfinished.stat().st_size > 50_000):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    assert not path.exists()
    two = [program(CREATE, path) for _ in range(2)]  # at once
    assert [process.wait(timeout=60) for process in two] == [0, 0]
    assert path.exists() and not unfinished.exists()
    opened = program(OPEN, path)
    assert opened.communicate(timeout=60)[0] and opened.returncode == 0
