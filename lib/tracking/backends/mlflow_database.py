# SPDX-License-Identifier: MIT
"""Creating MLflow's SQLite database as a whole or not at all.

create_database(Path("mlflow.db"))

MLflow makes its tables in many transactions, which takes some seconds. Killed meanwhile, it would
leave a database that it refuses to open ever after.
"""

from pathlib import Path

from mlflow.tracking import MlflowClient

from ... import lock

_WAIT_S = 60.0  # for another process that is creating it


def create_database(path: Path) -> None:
    """Create the database unless there is one; of several processes one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    with lock.held(path.with_name(f".{path.name}.lock"), wait=_WAIT_S):
        if path.exists():
            return
        unfinished = path.with_name(f".{path.name}.new")
        unfinished.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
        unfinished.replace(path)
