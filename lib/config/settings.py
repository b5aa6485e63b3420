# SPDX-License-Identifier: MIT
"""The settings of a run: what a training program was asked to do, typed and frozen.

    settings = load_settings(model, flags)  # the launch's, config.py or --config PATH; then flags
    settings.LEARNING_RATE               # 0.002
    settings.trackers                    # ("trackio", "wandb")
    settings.files(clean)[".config"]     # what the run directory keeps

All values go through Kconfig, so that its ranges, dependencies and choices hold for flags too.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BadUse, did_you_mean
from ..files import ROOT
from . import config_yaml, configpy, frozen, store
from . import resume as resuming
from .assign import apply
from .changes import checked_changes
from .dotconfig import Assignment, ConfigError, shorten
from .flags import Flags, config_flag, parse_flags
from .science import hash_of, is_science
from .trackers import enabled_trackers
from .tree import Clean, Tree, Value


class Settings:
    """The values of all symbols as read-only attributes, resolved by the Kconfig `tree`.

    `resume` is what to go on with: None for a new run, the path of a run directory or a checkpoint,
    or "auto" for the run of this launch if there is one, and a new run otherwise.
    """

    __slots__ = ("_tree", "_values", "resume")

    def __init__(self, tree: Tree, resume: Path | str | None = None):
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_values", tree.values())
        object.__setattr__(self, "resume", resume)

    def __getattr__(self, name: str) -> Any:
        # Any and not Value: only Kconfig knows the type of a symbol.
        if name in Settings.__slots__:
            raise AttributeError(name)  # not set yet; the look-up below would recurse for ever
        if name in self._values:
            return self._values[name]
        raise AttributeError(f"no symbol {name}{did_you_mean(name, self._values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name} cannot be set")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]  # for completion

    def __repr__(self) -> str:
        changed = (
            f"{entry.name}={shorten(entry.text)}"
            for entry in self._tree.entries()
            if entry.text != entry.default
        )
        return f"<Settings {self.MODEL} {self.science_hash}: {' '.join(changed) or 'all defaults'}>"

    def as_dict(self) -> dict[str, Value]:
        """Every symbol by name, sorted; None for a number whose dependencies are not met."""
        return dict(self._values)

    @property
    def trackers(self) -> tuple[str, ...]:
        """The names of the trackers that are on."""
        return enabled_trackers(self._values)

    @property
    def science(self) -> dict[str, Value]:
        """The symbols that can change a run's numbers and have an effect, with their values."""
        return {
            entry.name: self._values.get(entry.name, entry.text)
            for entry in self._tree.entries()
            if is_science(entry.name, entry.menu)
        }

    @property
    def science_hash(self) -> str:
        """16 hex digits, equal where everything is that can change a run's numbers.

        Symbols that have no effect do not count, so that the hash stays the same when a symbol is
        added that the run could not have set.
        """
        return hash_of(self.science)

    def changes(self, run_dir: Path) -> dict[str, list[Value]]:
        """{symbol: [value of the run in `run_dir`, value here]} of what differs.

        Raises ConfigError for changes with which the run's saved state would have no meaning.
        """
        return checked_changes(self._tree, run_dir)

    def files(self, clean: Clean) -> dict[str, str]:
        """Texts for the run directory, by file name.

        .config and defconfig (the minimal one) reproduce the run; config.yaml is the same grouped
        by menu; origins.yaml says where each value that is not its default came from.
        `clean(symbol, text)` returns what to write instead of a free text; numbers and choices stay
        as they are.
        """
        entries = self._tree.entries()
        values = dict(self._values)
        for name in self._tree.texts:
            values[name] = clean(name, values[name])
        by_menu: dict[str, dict[str, Value]] = {}
        for entry in entries:
            by_menu.setdefault(" / ".join(entry.menu), {})[entry.name] = values[entry.name]
        origins = {
            entry.name: {
                "value": values[entry.name],
                "origin": self._tree.origins.get(entry.name, "?"),
            }
            for entry in entries
            if entry.text != entry.default
        }
        return {
            ".config": self._tree.config_text(clean),
            "defconfig": self._tree.defconfig_text(clean),
            "config.yaml": config_yaml.render(by_menu),
            "origins.yaml": config_yaml.render(origins),
        }


def load_settings(model: str, flags: Sequence[str] = ()) -> Settings:
    """The settings for the training program of `model`, with `flags` as on its command line.

    Raises BadUse, whose text has every error. Exits 0 after --help.
    """
    if isinstance(flags, str) or not all(isinstance(flag, str) for flag in flags):
        raise BadUse(f'flags are a list of texts, ["--learning-rate", "0.01"], not {flags!r}')
    return Settings(*_configured_tree(model, flags))


def program_settings(model: str) -> Settings:
    """The settings for this program, by its command line.

    Exits 0 after --help and 2, with every error said on stderr, on bad use.
    """
    try:
        return load_settings(model, sys.argv[1:])
    except BadUse as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def configured_model(flags: Sequence[str]) -> str:
    """The model that is configured, by `--config PATH` among `flags`, config.py or the default.

    For programs that serve every model. Raises BadUse.
    """
    tree = Tree()
    _load(tree, config_flag(flags))
    return tree.syms["MODEL"].str_value


def _configured_tree(model: str, argv: Sequence[str]) -> tuple[Tree, Path | str | None]:
    """The tree as it was configured, and what to go on with (`Settings.resume`)."""
    tree = Tree()
    select_model = Assignment("MODEL", model, "the program")
    apply(tree, [[select_model]])
    flags = parse_flags(tree, model, argv)
    tree.unset_values()
    resume = _resumed(flags)
    run_dir = resuming.run_directory(resume) if isinstance(resume, Path) else None
    source = _load(tree, flags.config, run_dir)
    if source is None:
        print(f"no config.py: using the defaults for {model} (make defconfig)", file=sys.stderr)
        apply(tree, [[select_model]])
    chosen = tree.syms["MODEL"].str_value
    if chosen != model and run_dir:
        raise BadUse(
            f"{run_dir} is a run of MODEL={chosen}, this program trains {model}: "
            f"`make resume RUN={run_dir}`, or {chosen}/train.py --resume {run_dir}"
        )
    if chosen != model:
        raise ConfigError(
            [
                f"{source} is for MODEL={chosen}, this program trains {model}: run `make defconfig "
                f"SET=MODEL={model}`, or {chosen}/train.py"
            ]
        )
    for note in apply(tree, [flags.tracker, flags.assignments]):
        print(f"note: {note}", file=sys.stderr)
    if run_dir:
        checked_changes(tree, run_dir)
    return tree, resume


def _resumed(flags: Flags) -> Path | str | None:
    """What `--resume` names; a run is looked for in the OUTPUT_DIR of the present configuration."""
    if flags.resume in (None, resuming.AUTO):
        return flags.resume
    if flags.config:
        raise BadUse(
            "--resume uses the configuration of the run: leave --config out, and give what should "
            "change as flags"
        )
    given = next((a.value for a in flags.assignments if a.name == "OUTPUT_DIR"), None)
    output_dir = given or _present().get("OUTPUT_DIR") or Tree().values()["OUTPUT_DIR"]
    return resuming.locate(flags.resume, str(output_dir))


def _present() -> dict[str, Value]:
    """The values in config.py; none if it is missing or damaged."""
    try:
        return configpy.read(store.CONFIG_PY)[0]
    except (OSError, ConfigError):
        return {}


def _load(tree: Tree, path: Path | None, run_dir: Path | None = None) -> str | None:
    """Load the file that `--config` names, what the launch froze, the configuration of the run that
    goes on, or config.py; returns which.
    """
    if path:
        store.load(tree, path)
        return str(path)
    if frozen.PATH in os.environ:
        return frozen.thaw(tree)
    if run_dir:
        for note in resuming.load_run(tree, run_dir, _present()):
            print(f"note: {note}", file=sys.stderr)
        return f"{run_dir}/.config"
    if not store.CONFIG_PY.exists():
        return None
    values, made_from = configpy.read(store.CONFIG_PY)
    store.load_values(tree, values, "config.py", _OUT_OF_DATE)
    store.recall_origins(tree, ROOT / made_from, made_from)
    if _is_newer(ROOT / made_from, store.CONFIG_PY):
        print(f"note: {made_from} is newer than config.py: `make config.py`", file=sys.stderr)
    return "config.py"


_OUT_OF_DATE = "config.py is out of date: run `make olddefconfig`"


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns > other.stat().st_mtime_ns
