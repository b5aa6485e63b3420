# SPDX-License-Identifier: MIT
"""An SSH server on loopback with SFTP, for a DVC remote: python -m tests.lib.runs.keep.ssh FOLDER

It makes its keys in FOLDER (`client` is the one that may log in), prints its port, and serves until
it is killed.
"""

import asyncio
import sys
from pathlib import Path

import asyncssh


async def serve(folder: Path) -> None:
    for name in ("host", "client"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / name))
        key.write_public_key(str(folder / f"{name}.pub"))
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[str(folder / "host")], sftp_factory=True,
        authorized_client_keys=str(folder / "client.pub"),
    )  # fmt: skip
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
