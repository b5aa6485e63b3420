# SPDX-License-Identifier: MIT
"""A curve of bounded size, however many values it is given: for pictures of a few hundred columns.

curve = Curve(1000)
for step, value in …: curve.add(step, value)
curve.points()                      # at most 1000 (step, value)
"""

Points = list[tuple[int, float]]  # (step, value)


class Curve:
    """At most `limit` points, an even number, each the mean of equally many values, at the step of
    the last of them.

    When there are that many, neighbours are merged in pairs, and each point stands for twice as
    many values from then on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._steps: list[int] = []
        self._sums: list[float] = []
        self._width = 1  # values per point
        self._filled = 1  # values in the last point so far

    def add(self, step: int, value: float) -> None:
        """Append one value."""
        if self._filled < self._width:
            self._steps[-1] = step
            self._sums[-1] += value
            self._filled += 1
            return
        if len(self._steps) == self._limit:
            self._steps = self._steps[1::2]
            self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
            self._width *= 2
        self._steps.append(step)
        self._sums.append(value)
        self._filled = 1

    def points(self) -> Points:
        """The means so far."""
        counts = [self._width] * (len(self._steps) - 1) + [self._filled]
        return [(s, v / n) for s, v, n in zip(self._steps, self._sums, counts, strict=False)]
