# SPDX-License-Identifier: MIT
"""What a run logs besides scalars, with the step of the latest `log` where none is given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Media:
    """The media half of lib.api.run.Run, which gives it `_run` and `step`."""

    _run: Any
    step: int

    def _check_open(self) -> None: ...

    def _at(self, step: int | None) -> int:
        self._check_open()
        return self.step if step is None else step

    def log_image(self, name: str, image: Any, step: int | None = None, caption: str = "") -> None:
        """An image: the path of a file, a PIL image, or an array or tensor of height × width (× 3
        or 4) or 1|3|4 × height × width, floats in [0, 1] or integers in [0, 255].

        Raises ValueError for anything else. Without Pillow, images are left out, which is said.
        """
        self._run.log_image(name, image, self._at(step), caption)

    def log_figure(
        self, name: str, figure: Any, step: int | None = None, caption: str = ""
    ) -> None:
        """A Matplotlib figure."""
        self._run.log_figure(name, figure, self._at(step), caption)

    def log_histogram(
        self, name: str, values: Any, step: int | None = None, bins: int = 64
    ) -> None:
        """The distribution of the finite values of an array or tensor."""
        self._run.log_histogram(name, values, self._at(step), bins)

    def log_table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        step: int | None = None,
    ) -> None:
        """A table; cells are numbers, texts, booleans or None."""
        self._run.log_table(name, columns, rows, self._at(step))

    def log_confusion_matrix(
        self,
        name: str,
        matrix: Any,
        step: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Counts, actual classes down and predicted classes across, n × n."""
        self._run.log_confusion_matrix(name, matrix, self._at(step), labels)

    def log_text(self, name: str, text: str, step: int | None = None) -> None:
        """A text; Markdown where the tracker shows it."""
        self._run.log_text(name, text, self._at(step))

    def log_artifact(
        self,
        path: str | Path,
        type: str = "file",
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        step: int | None = None,
    ) -> None:
        """A file as it is now; kept in the run, by a hard link where possible. Raises ValueError
        when there is no such file.
        """
        self._run.log_artifact(path, type, metadata, name=name, step=self._at(step))

    def log_model(
        self,
        model: Any,
        name: str = "model",
        metadata: Mapping[str, Any] | None = None,
        *,
        step: int | None = None,
    ) -> None:
        """Weights as an artifact: the path of a file, a module, or its state_dict.

        A module is saved as its state_dict, for torch.load(path, weights_only=True).
        """
        self._run.log_model(model, name, metadata, step=self._at(step))
