# SPDX-License-Identifier: MIT
"""Show all sweeps on Optuna's own page, on this machine.

    make optuna-ui [PORT=8080] [STORAGE=postgresql://…]
    python -m scripts.sweep.ui [--port PORT] [--storage URL]

The page listens on 127.0.0.1 only, until Ctrl-C. From another machine:
ssh -L 8080:127.0.0.1:8080 host. It can change and delete sweeps: whoever can open it can do that.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import threading

from lib.signals import Terminated, termination_raises
from scripts.common import parser
from scripts.sweep.reading import add_storage, storage_of
from scripts.tracking.pages import HOST, check_free, port_of

DEFAULT_PORT = 8080
_PAGE = "optuna-ui"


def main() -> int:
    flags = parser(__doc__)
    add_storage(flags)
    flags.add_argument("--port", metavar="PORT", default=os.environ.get("PORT", ""))
    given = flags.parse_args()
    port = port_of(given.port, DEFAULT_PORT)
    other = port + 1 if port < 65535 else DEFAULT_PORT
    check_free(port, _PAGE, f"choose another one: PORT={other}")
    from lib.sweep.storage import normalised
    from lib.sweep.study import list_studies

    url = storage_of(given)
    list_studies(url)  # says what is wrong with the database, where the page would show nothing
    from optuna_dashboard import run_server

    print(f"{_PAGE}: http://{HOST}:{port}  (Ctrl-C stops it)", flush=True)
    # In a thread of its own: in the middle of a request the server would swallow Ctrl-C.
    serving = threading.Thread(
        target=run_server, args=(normalised(url),), kwargs={"host": HOST, "port": port}, daemon=True
    )
    serving.start()
    with termination_raises():
        try:
            serving.join()
        except Terminated:
            raise
        except KeyboardInterrupt:
            return 0
    return 1  # the server's own message says why


if __name__ == "__main__":
    run_main(main)
