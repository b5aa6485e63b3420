# SPDX-License-Identifier: MIT
"""Give an alias, by default production, to a version of a registered model.

    make promote NAME=digits VERSION=3 [ALIAS=production] [TEXT="0.2 points better"]
    make rollback NAME=digits [ALIAS=production] [TEXT=why]
    python -m scripts.registry.promote [--output-dir DIR] promote|rollback

An alias is on one version at a time; who loads models:/digits@production gets the new one from then
on. The registry keeps who promoted what, when, why and from which version: `make registry
NAME=digits` shows it. rollback gives the alias back to the version that had it before, and is
recorded as well; the next one goes one version further back. Killed at any moment, the alias and
the history are both as before, or both as after. With the W&B tracker on for the run, its artifact
gets the alias, too.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from pathlib import Path
from typing import Any

from lib.errors import BadUse
from lib.registry.promotions import MAX_TEXT, before, promote
from lib.registry.versions import Name, Version, the_name, the_version, versions
from scripts.common import output_dir, parser
from scripts.registry.common import (
    given,
    given_alias,
    given_name,
    identity,
    mirror_in_wandb,
    registry,
)


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("what", choices=("promote", "rollback"))
    options = flags.parse_args()
    what, runs = options.what, Path(output_dir(options.output_dir))
    name, alias = given_name(), given_alias()
    number = given_number() if what == "promote" else 0
    why = " ".join(os.environ.get("TEXT", "").split())
    if len(why) > MAX_TEXT:
        raise BadUse(f"TEXT has {len(why):,} characters; {MAX_TEXT:,} are allowed")
    with registry() as client:
        model = the_name(client, name)
        if what == "rollback":
            number = before(model, alias, {version.number for version in versions(client, [model])})
        version = the_version(client, model, number)
        entry = promote(client, model, number, alias, by=identity(), why=why, kind=what)
        if entry is None:
            print(f"{name}@{alias} is version {number} already")
            return
        was = f"version {entry.previous}" if entry.previous else "nothing"
        print(f"{name}@{alias} is version {number} (run {version.run_name}); before, {was}")
        _check_the_last_word(client, model, alias, version)
    if version.run_name:
        mirror_in_wandb(runs / version.run_name, version, [alias])


def given_number() -> int:
    """VERSION. Raises BadUse."""
    number = given("VERSION", "the number of a version, as `make registry` lists them")
    if not number.isdecimal() or int(number) == 0:
        raise BadUse(f"VERSION={number}: want a number, as `make registry` lists them")
    return int(number)


def _check_the_last_word(client: Any, model: Name, alias: str, version: Version) -> None:
    """Somebody else may have promoted at the same moment."""
    now = the_name(client, model.name).aliases.get(alias)
    if now != version.number:
        print(f"note: meanwhile {model.name}@{alias} was given to version {now} by somebody else")


if __name__ == "__main__":
    run_main(main)
