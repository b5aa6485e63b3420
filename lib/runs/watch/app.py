# SPDX-License-Identifier: MIT
"""The screen of `make watch`: runs on the left, the selected one on the right, keys below.

    WatchApp(listing, "name of the run to begin with").run()

Everything happens in one thread, in slices of some 60 ms. Work that may be slow, scanning the runs
and drawing curves, is repeated only after 50 times as long as it took: each takes 2 % of a core at
most, however many runs there are and however large the terminal is.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from ... import text
from . import panel
from .chart import Chart
from .listing import Entry, Listing
from .tail import Tail, latest_step

MOST_RUNS = 500  # in the list
_TICK_S = 1.0
_SLICE_S, _PAUSE_S = 0.06, 0.02  # of reading a long journal, and between two slices
_SCAN_S = 2.0
_REST = 50  # times as long as the work took
_MOST_LINES = 60  # of the log
_STYLES = {"running": "cyan", "interrupted": "yellow", "failed": "red", "unreadable": "red"}
_MARKS = {"completed": "✓", "interrupted": "■", "failed": "✗", "unreadable": "?"}
_HELP = """\
↑ ↓ j k     another run
m  M        next, previous metric
l           logarithmic axis, or linear
t           the log alone, and back
p           pause, and go on
?           these keys
q  Ctrl-C   quit; trainings go on

✓ completed  ■ interrupted  ✗ failed  ? unreadable
any key closes this"""


class Repeated:
    """Work that is done again only after a rest in proportion to how long it took."""

    def __init__(self, work: Callable[[], None], least_s: float) -> None:
        self._work, self._least = work, least_s
        self._next = 0.0

    def run(self, now: bool = False) -> None:
        """Do it, if it is due or wanted `now`."""
        began = time.monotonic()
        if now or began >= self._next:
            self._work()
            took = time.monotonic() - began
            self._next = began + max(self._least, _REST * took)


class Help(ModalScreen[None]):
    """The keys; any key closes it."""

    CSS = """
    Help { align: center middle; }
    #help { width: 58; height: auto; padding: 1 2; border: round $accent; background: $surface; }
    """

    def compose(self) -> ComposeResult:
        yield Static(Text(_HELP), id="help")

    def on_key(self) -> None:
        self.dismiss()


class WatchApp(App[int]):
    """The runs of `listing`; `name` is selected first, else the first of the list."""

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (60, "-medium"), (120, "-wide")]
    VERTICAL_BREAKPOINTS: ClassVar = [(0, "-short"), (18, "-usual")]
    CSS = """
    #head { height: 1; background: $primary; color: $text; padding: 0 1; text-wrap: nowrap; }
    #runs { width: 30; height: 1fr; border: none; padding: 0; text-wrap: nowrap; }
    .-wide #runs { width: 46; }
    .-narrow #runs { display: none; }
    #about { height: auto; max-height: 9; padding: 0 1; }
    .-short #about { max-height: 4; }
    #chart { height: 1fr; min-height: 6; }
    #log { height: 20%; min-height: 4; padding: 0 1; color: $text-muted; text-wrap: nowrap; }
    .-short #log { display: none; }
    .log-alone #chart { display: none; }
    .log-alone #log { display: block; height: 1fr; }
    """
    BINDINGS: ClassVar = [
        ("m", "metric(1)", "metric"),
        ("M", "metric(-1)"),
        ("l", "log", "log scale"),
        ("t", "toggle_log", "train.log"),
        ("p", "pause", "pause"),
        ("question_mark", "help", "keys"),
        ("q", "quit", "quit"),
        ("ctrl+c", "quit"),
        ("j", "move(1)"),
        ("k", "move(-1)"),
    ]

    def __init__(self, listing: Listing, name: str = "") -> None:
        super().__init__()
        self.listing, self.selected = listing, name
        self.tail: Tail | None = None
        self.quantity, self.log_scale, self.paused = "loss", False, False
        self.chart = Chart()
        self._listed: list[tuple[str, Text]] = []
        self._said: dict[str, Text] = {}
        self._position = 0
        self._reading = False
        self._drawn: tuple[Tail | None, int] = (None, 0)
        self._scanning = Repeated(self._scan, _SCAN_S)
        self._drawing = Repeated(self._draw, _TICK_S)

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with Horizontal():
            yield OptionList(id="runs", markup=False)
            with Vertical():
                yield Static(id="about")
                yield self.chart
                yield Static(id="log")
        yield Footer()

    def on_mount(self) -> None:
        """SIGTERM and a lost connection leave the terminal as it was."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)
        self.query_one(OptionList).focus()
        self._list()
        self._show(now=True)
        self.set_interval(_TICK_S, self._tick)

    # ------------------------------------------------------------------------------ what goes on

    def _tick(self) -> None:
        if not self.paused:
            self._scanning.run()
            self._show()

    def _scan(self) -> None:
        self.listing.scan()
        self._list()

    def _list(self) -> None:
        """Bring the list up to date; the selected run stays selected, wherever it is now."""
        entries = self.listing.entries(MOST_RUNS)
        steps = {e.name: latest_step(e.dir) for e in entries if e.status == "running"}
        room = (46 if self.size.width >= 120 else 30) - 9
        rows = [(e.name, _prompt(e, steps.get(e.name), room)) for e in entries]
        names = [name for name, _ in rows]
        if self.selected not in names:
            self._select(names[min(self._position, len(names) - 1)] if names else "")
        self._head()
        if rows == self._listed:
            return
        runs = self.query_one(OptionList)
        if names == [name for name, _ in self._listed]:
            for number, (old, new) in enumerate(zip(self._listed, rows, strict=True)):
                if old != new:
                    runs.replace_option_prompt_at_index(number, new[1])
        else:
            runs.clear_options()
            runs.add_options([Option(prompt, id=name) for name, prompt in rows])
        self._listed = rows
        if names:
            self._position = names.index(self.selected)
            runs.highlighted = self._position

    def _head(self) -> None:
        where = text.one_line(self.listing.output_dir)
        said = f"runs: {len(self.listing):,}, running: {self.listing.running}   {where}"
        self._put("#head", Text(f"PAUSED   {said}" if self.paused else said))

    def _put(self, place: str, said: Text) -> None:
        """Show it, if it is not there: laying out the screen again has a price."""
        if self._said.get(place) != said:
            self._said[place] = said
            self.query_one(place, Static).update(said)

    def _select(self, name: str) -> None:
        self.selected, self.tail = name, None

    @property
    def entry(self) -> Entry | None:
        """The selected run; None when there is none."""
        return self.listing.entry(self.selected) if self.selected else None

    def _show(self, now: bool = False) -> None:
        """Read on in the selected run and show what it says."""
        entry = self.entry
        if entry is None:
            where = text.one_line(self.listing.output_dir)
            self._put("#about", Text(f"no runs in {where} yet: train one with `make`"))
            self._put("#log", Text())
            self.chart.show("", {}, False)
            return
        if self.tail is None:
            self.tail, now = Tail(entry.dir, entry.fields), True
        self.tail.describe(entry.fields)
        self._read()
        self._say(entry, self.tail)
        if now or self._drawn != (self.tail, self.tail.rows):
            self._drawing.run(now)

    def _read(self) -> None:
        """Read what is new, in slices if it is much."""
        if self.tail and not self._reading and self.tail.read(_SLICE_S):
            self._reading = True
            self.set_timer(_PAUSE_S, self._read_on)

    def _read_on(self) -> None:
        self._reading = False
        if not self.paused:
            self._read()

    def _say(self, entry: Entry, tail: Tail) -> None:
        style = _STYLES.get(entry.status, "")
        said = Text(text.one_line(entry.name), style="bold")
        for number, line in enumerate(panel.about(entry, tail)):
            said.append(f"\n{line}", style=f"not bold {style if number == 0 else ''}".strip())
        self._put("#about", said)
        count = max(1, min(_MOST_LINES, self.query_one("#log").size.height))
        self._put("#log", Text("\n".join(panel.log_lines(entry.dir, count))))

    def _draw(self) -> None:
        if self.tail is None:
            return
        self._drawn = (self.tail, self.tail.rows)
        found = panel.quantities(self.tail.curves)
        if self.quantity not in found and found and "loss" not in found:
            self.quantity = next(iter(found))
        metrics = found.get(self.quantity, [])
        curves = {name: self.tail.curves[name].points() for name in metrics}
        title = text.one_line(" ".join(metrics) or self.quantity)
        self.chart.show(f"{title} (log)" if self.log_scale else title, curves, self.log_scale)

    # -------------------------------------------------------------------------------------- keys

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Another run is selected."""
        name = event.option.id or ""
        self._position = event.option_index
        if name != self.selected and name in dict(self._listed):
            self._select(name)
            self._show(now=True)

    def action_move(self, by: int) -> None:
        runs = self.query_one(OptionList)
        runs.action_cursor_down() if by > 0 else runs.action_cursor_up()

    def action_metric(self, by: int) -> None:
        names = list(panel.quantities(self.tail.curves)) if self.tail else []
        if names:
            at = names.index(self.quantity) if self.quantity in names else -1
            self.quantity = names[(at + by) % len(names)]
            self._drawing.run(now=True)

    def action_log(self) -> None:
        self.log_scale = not self.log_scale
        self._drawing.run(now=True)

    def action_toggle_log(self) -> None:
        self.screen.toggle_class("log-alone")
        self.call_after_refresh(self._show)

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._head()
        self._tick()

    def action_help(self) -> None:
        self.push_screen(Help())


def _prompt(entry: Entry, step: int | None, room: int) -> Text:
    """A line of the list; a name that is longer than `room` loses its middle."""
    said = _MARKS.get(entry.status) or panel.row(entry, step)[1]
    name = text.one_line(entry.name)
    if len(name) > room:
        name = f"{name[: room // 2]}…{name[len(name) - (room - 1 - room // 2) :]}"
    return Text.assemble((f"{said:>6} ", _STYLES.get(entry.status, "")), name, no_wrap=True)
