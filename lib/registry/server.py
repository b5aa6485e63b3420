# SPDX-License-Identifier: MIT
"""The MLflow that holds the registry: a database of this machine, or a server.

    uri = checked("http://host:5000")       # raises Failure within seconds when nobody answers
    with answering(uri) as client:          # and what MLflow says as a Failure
        client.get_registered_model("digits")

Imports MLflow, which takes two seconds, only in `answering`.
"""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import Failure
from ..runs.redact import redact

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_SQLITE = "sqlite:///"
_ANSWER_S = 5.0


def checked(uri: str) -> str:
    """`uri`, once a server answers there, or the database is there. Raises Failure.

    Waits at most 5 s, where MLflow's own client would try for minutes.
    """
    if uri.startswith(_SQLITE):
        if not Path(uri.removeprefix(_SQLITE)).is_file():
            raise Failure(
                f"there is no registry yet: {uri.removeprefix(_SQLITE)} is missing. "
                "`make register RUN=… NAME=…` makes it; MLFLOW_TRACKING_URI says where"
            )
    elif urlsplit(uri).scheme in ("http", "https"):
        _knock(uri)
    return uri


def _knock(uri: str) -> None:
    where = redact(uri)
    try:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]  # a password is not needed to knock
        page = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health"
        with urllib.request.urlopen(page, timeout=_ANSWER_S):
            pass
    except urllib.error.HTTPError:
        pass  # an answer; not every server has this page, or shows it without a login
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(
            f"the MLflow server at {where} cannot be reached ({reason}). Nothing was changed; "
            "start it, or set MLFLOW_TRACKING_URI to where it is"
        ) from error


@contextmanager
def answering(uri: str) -> Iterator["MlflowClient"]:
    """MLflow's client for `uri`; errors within the block become Failures.

    A request that hangs is given up after MLFLOW_HTTP_REQUEST_TIMEOUT (20 s) and two more tries.
    """
    os.environ["MLFLOW_TRACKING_URI"] = uri  # also for what MLflow itself looks up by a global
    from ..tracking.backends.mlflow import MlflowClient, MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not what it waits for
    try:
        yield MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        raise _said(uri, error) from error


def _said(uri: str, error: Exception) -> Failure:
    from ..tracking.backends import brief

    text, where = redact(brief(error)), redact(uri)
    code = getattr(error, "error_code", "")
    if code == "ENDPOINT_NOT_FOUND" or ("404" in text and "API request" in text):
        return Failure(f"what answers at {where} has no model registry ({text})")
    if "failed with exception" in text or "timed out" in text.lower():
        return Failure(
            f"the MLflow server at {where} stopped answering ({text}). Repeat the command when it "
            "is back: it completes what is missing"
        )
    return Failure(f"MLflow at {where}: {text}")
