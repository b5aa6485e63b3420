# SPDX-License-Identifier: MIT
"""The curves of one quantity, drawn with the characters of a terminal."""

import math

from textual_plotext import PlotextPlot

from ...text import one_line
from ..curve import Points

_SMALLEST = (24, 6)  # columns, rows
_TICKS = 4  # intervals of the axis of steps
_COLOURS = {"train": "blue+", "val": "red+", "test": "green+"}
_OTHERS = ("blue+", "red+", "green+", "orange+", "magenta+", "cyan+")


class Chart(PlotextPlot):
    """Draws what `show` was given last; a change of size draws it again."""

    def __init__(self) -> None:
        super().__init__(id="chart")
        self._title, self._log = "", False
        self._curves: dict[str, Points] = {}
        self.draws = 0  # how often it has been drawn

    def show(self, title: str, curves: dict[str, Points], log: bool) -> None:
        """Draw `curves`, by metric, under `title`; with `log` on a logarithmic axis."""
        self._title, self._curves, self._log = title, curves, log
        self.refresh()

    def render(self):
        """The picture as text in colours."""
        self.draws += 1
        plot, size = self.plt, self.size
        plot.clear_figure()
        if size.width < _SMALLEST[0] or size.height < _SMALLEST[1]:
            return "too small for curves"
        curves = {name: self._fitting(points, size.width) for name, points in self._curves.items()}
        curves = {name: points for name, points in curves.items() if points}
        if not curves:
            return f"{self._title}: nothing to draw yet"
        if self._log:
            plot.yscale("log")
        for number, (name, points) in enumerate(curves.items()):
            steps, values = zip(*points, strict=True)
            colour = _COLOURS.get(name.partition("/")[0], _OTHERS[number % len(_OTHERS)])
            label = one_line(name) if len(curves) > 1 else None
            plot.plot(steps, values, marker="braille", color=colour, label=label)
        plot.ylim(*self._limits(curves))
        first, last = (f(s for p in curves.values() for s, _ in p) for f in (min, max))
        ticks = sorted({first + (last - first) * i // _TICKS for i in range(_TICKS + 1)})
        plot.xticks(ticks, [f"{step:,}" for step in ticks])
        plot.title(self._title)
        return super().render()

    def _fitting(self, points: Points, width: int) -> Points:
        """No more points than dots in a row: two in each column."""
        if self._log:
            points = [(step, value) for step, value in points if value > 0]
        every = -(-len(points) // (2 * width)) or 1
        return points[-1::-every][::-1]

    def _limits(self, curves: dict[str, Points]) -> tuple[float, float]:
        """From the lowest value to the highest, or around them if they are the same; on a
        logarithmic axis, their exponents.
        """
        values = [value for points in curves.values() for _, value in points]
        low, high = min(values), max(values)
        if self._log:
            low, high = math.log10(low), math.log10(high)
        room = 0.0 if high - low > 1e-9 * abs(high) else max(0.1 * abs(high), 1e-3)
        return low - room, high + room
