# SPDX-License-Identifier: MIT
"""run.log_image and its siblings, which log what is not a scalar.

Small items are stored in the journal itself. Images, figures, tables and artifacts are files below
media/ in the run directory, and the journal has their paths. Nothing here talks to a tracker. A
full disk is reported once and never ends the training; a wrong argument raises ValueError.

    run.log_image("val/samples", pixels, step, caption="first batch")
    run.log_histogram("weights/conv1", model.conv1.weight, step)
    run.log_confusion_matrix("val/confusion", counts, step, labels=[…])
    run.log_artifact("checkpoints/best.pt", "model", {"val/loss": 0.1})

Arrays may be NumPy arrays, PyTorch tensors on any device, or nested lists.
"""

import importlib.util
import io
import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..advice import installing
from ..files import link_or_copy, write_atomic
from .directory import make_private
from .media_files import sha256
from .redact import redact, redact_tree

_MODES_OF_PNG = {"1", "L", "LA", "P", "I;16", "RGB", "RGBA"}
_HEAD = 50  # rows of a table that the journal has, for trackers without tables


class MediaLog:
    """The media half of lib.runs.run.Run, which gives it `dir`, `record` and `say`."""

    dir: Path
    record: Callable[[Mapping[str, Any], int], None]
    say: Callable[[str], None]
    _media_failed = False
    _no_images_said = False

    def log_image(self, name: str, image: Any, step: int, caption: str = "") -> None:
        """An image: PIL image, height × width (× 3 or 4) or 1|3|4 × height × width array, or the
        path of a file.

        Floats are in [0, 1], integers in [0, 255].
        """
        if not self._has_pillow():
            return
        picture = _to_pil(image)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        item = {"caption": redact(caption), "width": picture.width, "height": picture.height}
        self._file(name, step, ".png", buffer.getvalue(), {"type": "image", **item})

    def log_figure(self, name: str, figure: Any, step: int, caption: str = "") -> None:
        """A Matplotlib figure, as PNG."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        png = buffer.getvalue()
        width, height = struct.unpack(">II", png[16:24])  # in the header of every PNG
        item = {"caption": redact(caption), "width": width, "height": height}
        self._file(name, step, ".png", png, {"type": "figure", **item})

    def log_histogram(self, name: str, values: Any, step: int, bins: int = 64) -> None:
        """The distribution of the finite values of an array; without any, nothing is logged."""
        import numpy as np  # here, since listing runs should not load NumPy

        flat = _to_numpy(values).astype(np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        if flat.size == 0:
            return
        counts, edges = np.histogram(flat, bins=bins)
        self._histogram(name, counts, edges, step, flat.sum(), np.square(flat).sum())

    def log_counts(
        self, name: str, counts: Sequence[int], edges: Sequence[float], step: int
    ) -> None:
        """A histogram counted elsewhere: n counts between n + 1 rising edges."""
        import numpy as np

        if len(edges) != len(counts) + 1:
            raise ValueError(f"histogram {name!r}: n counts have n + 1 edges")
        numbers, bounds = np.asarray(counts), np.asarray(edges, dtype=np.float64)
        middles = (bounds[1:] + bounds[:-1]) / 2  # stand for each value in their bins
        total, squares = (numbers * middles).sum(), (numbers * middles**2).sum()
        self._histogram(name, numbers, bounds, step, total, squares)

    def _histogram(
        self, name: str, counts: Any, edges: Any, step: int, total: float, squares: float
    ) -> None:
        item = {
            "type": "histogram",
            "counts": counts.tolist(),
            "edges": edges.tolist(),
            "min": float(edges[0]),
            "max": float(edges[-1]),
            "count": int(counts.sum()),
            "sum": float(total),
            "sum_squares": float(squares),
        }
        self.record({"media": {name: item}}, step)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """A table; cells are numbers, texts, booleans or None."""
        columns = [str(column) for column in columns]
        cells = [[_cell(value) for value in row] for row in rows]
        if any(len(row) != len(columns) for row in cells):
            raise ValueError(f"table {name!r}: every row needs {len(columns)} cells")
        data = json.dumps({"columns": columns, "rows": cells}, ensure_ascii=False).encode()
        item = {"type": "table", "columns": columns, "head": cells[:_HEAD], "count": len(cells)}
        self._file(name, step, ".json", data, item)

    def log_confusion_matrix(
        self, name: str, matrix: Any, step: int, labels: Sequence[str] | None = None
    ) -> None:
        """Counts, actual classes down and predicted classes across, n × n."""
        counts = [[int(count) for count in row] for row in _to_numpy(matrix).tolist()]
        texts = [str(label) for label in labels] if labels else list(map(str, range(len(counts))))
        if any(len(row) != len(counts) for row in counts) or len(texts) != len(counts):
            raise ValueError(f"confusion matrix {name!r}: needs n × n counts and n labels")
        item = {"type": "confusion_matrix", "matrix": counts, "labels": texts}
        self.record({"media": {name: item}}, step)

    def log_text(self, name: str, text: str, step: int) -> None:
        """A text; Markdown where the tracker shows it."""
        self.record({"media": {name: {"type": "text", "text": redact(text)}}}, step)

    def log_artifact(
        self,
        path: str | Path,
        type: str = "file",
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        step: int = 0,
    ) -> None:
        """A file as it is now. It is kept under media/artifacts, by a hard link where possible,
        which takes no space; the original may be replaced or deleted afterwards.
        """
        source = Path(path)
        if not source.is_file():
            raise ValueError(f"artifact {path}: no such file")
        name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", source.stem)
        digest = sha256(source)
        kept = self.dir / "media" / "artifacts" / f"{digest[:12]}-{source.name}"
        if not self._try(lambda: _keep(source, kept)):
            return
        item = {
            "type": "artifact",
            "path": str(kept.relative_to(self.dir)),
            "kind": type,
            "name": name,
            "bytes": kept.stat().st_size,
            "sha256": digest,
            "metadata": redact_tree(dict(metadata or {})),
        }
        self.record({"media": {f"artifact/{name}": item}}, step)

    def log_model(
        self,
        model: Any,
        name: str = "model",
        metadata: Mapping[str, Any] | None = None,
        *,
        step: int = 0,
    ) -> None:
        """Weights as an artifact: the path of a file, a module, or its state_dict.

        A module is saved as its state_dict, for torch.load(path, weights_only=True).
        """
        if not isinstance(model, (str, Path)):
            import torch

            buffer = io.BytesIO()
            torch.save(model if isinstance(model, Mapping) else model.state_dict(), buffer)
            model = self.dir / "media" / "models" / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}.pt"
            if not self._try(lambda: _write(model, buffer.getvalue())):
                return
        self.log_artifact(model, "model", metadata, name=name, step=step)

    def _file(self, name: str, step: int, suffix: str, data: bytes, item: dict[str, Any]) -> None:
        """Write media/<name>/<step><suffix>, and log `item` with its path."""
        parts = [re.sub(r"[^A-Za-z0-9_.-]", "_", part).strip(".") for part in name.split("/")]
        path = self.dir.joinpath("media", *filter(None, parts), f"{step:08d}{suffix}")
        if self._try(lambda: _write(path, data)):
            item["path"] = str(path.relative_to(self.dir))
            self.record({"media": {name: item}}, step)

    def _has_pillow(self) -> bool:
        """Whether images can be encoded; where they cannot, this is said once."""
        if importlib.util.find_spec("PIL") is not None:
            return True
        if not self._no_images_said:
            self.say(f"warning: images are left out: pillow is missing: {installing('pillow')}")
        self._no_images_said = True
        return False

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            if not self._media_failed:
                self.say(f"warning: media are being lost, training goes on: {error}")
            self._media_failed = True
            return False
        return True


class NullMediaLog:
    """The media of a rank that does not log."""

    def log_image(self, *_: Any, **__: Any) -> None:
        """Do nothing, as all the methods here."""

    log_figure = log_histogram = log_counts = log_table = log_image
    log_confusion_matrix = log_text = log_artifact = log_model = log_image


def _to_numpy(values: Any) -> Any:
    import numpy as np

    if hasattr(values, "detach"):  # a tensor; bfloat16 has no NumPy counterpart
        values = values.detach().cpu()
        values = values.float().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def _to_pil(image: Any) -> Any:
    import numpy as np
    from PIL import Image

    if isinstance(image, (str, Path)):
        try:
            image = Image.open(image)
            image.load()
        except OSError as error:
            raise ValueError(f"not an image that can be read: {error}") from None
    if isinstance(image, Image.Image):
        return image if image.mode in _MODES_OF_PNG else image.convert("RGB")
    pixels = _to_numpy(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ValueError(f"an image cannot have the shape {np.shape(image)}")
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels) * 255.0
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _cell(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return redact(value) if isinstance(value, str) else value


def _write(path: Path, data: bytes) -> None:
    make_private(path.parent)
    write_atomic(path, data, sync=False)


def _keep(source: Path, target: Path) -> None:
    make_private(target.parent)
    if not target.exists():  # the name has the digest: the same content
        link_or_copy(source, target)
