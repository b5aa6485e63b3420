# SPDX-License-Identifier: MIT
"""TensorBoard: one event file under <run>/logs/tensorboard, written without TensorFlow or PyTorch.

A row of the journal is an event. Exactly once, because the cursor has the length of the file after
the last row that it counts: what follows was written just before a kill, is cut off, and written
again.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf import struct_pb2
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.histogram_pb2 import HistogramProto
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2 as hparams_api
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from ...advice import typed
from ...runs.directory import make_private
from .. import media
from . import Backend, Row

_STATUS = {
    "completed": hparams_api.STATUS_SUCCESS,
    "failed": hparams_api.STATUS_FAILURE,
}


class TensorBoard(Backend):
    """Scalars, images, histograms, text and hparams in TensorBoard's own file format."""

    batch_rows: ClassVar[int] = 1000
    _file: io.FileIO | None = None

    def open(self) -> int | None:
        folder = self.run.dir / "logs" / "tensorboard"
        make_private(folder)
        path = folder / f"events.out.tfevents.{int(self.run.started)}.{self.run.id}"
        size = self.state.get("size", 0)
        held = None
        show = typed("make tensorboard", f"tensorboard --logdir {self.run.dir.parent}")
        self.where = f"{show}, run {self.run.name}"
        if not path.exists() or path.stat().st_size < size:
            size, held = 0, 0
        self._file = _open_at(path, size)
        if size == 0:
            self._append([Event(wall_time=self.run.started, file_version="brain.Event:2")])
        return held

    def describe(self, facts: Mapping[str, Any]) -> None:
        start = SessionStartInfo(group_name=self.run.name, start_time_secs=self.run.started)
        for name, value in facts.items():
            start.hparams[name].CopyFrom(_hparam(value))
        data = HParamsPluginData(session_start_info=start)
        about = {"name": self.run.name, "group": self.run.group}
        about |= {"job_type": self.run.job_type, "tags": ", ".join(self.run.tags)}
        about |= {f"conclusion.{name}": text for name, text in self.run.conclusion.items()}
        rows = [[name, value] for name, value in {**about, **facts}.items() if value != ""]
        session = _hparams_value(hparams.SESSION_START_INFO_TAG, data)
        table = _text("run", media.markdown_table(["name", "value"], rows))
        values = [session, table, _text("notes", self.run.notes)]
        self._append([_summary(self.run.started, 0, values)])

    def write(self, rows: Sequence[Row]) -> None:
        self._append([self._event(row) for row in rows])

    def finish(self, status: str, ended: float | None) -> None:
        values = [_text("status", status)]
        if status in _STATUS:  # TensorBoard keeps the first end; an interrupted run may go on
            end = SessionEndInfo(status=_STATUS[status], end_time_secs=ended)
            data = HParamsPluginData(session_end_info=end)
            values.append(_hparams_value(hparams.SESSION_END_INFO_TAG, data))
        self._append([_summary(self.run.started if ended is None else ended, 0, values)])
        self.abandon()

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()

    def _event(self, row: Row) -> Event:
        values = [Summary.Value(tag=k, simple_value=v) for k, v in row.metrics.items()]
        for name, item in row.media.items():
            with self.encoding(row, name):
                values.append(self._medium(name, item))
        return _summary(row.time, row.step, values)

    def _medium(self, name: str, item: dict[str, Any]) -> Summary.Value:
        kind = item["type"]
        if kind == "histogram":
            return Summary.Value(tag=name, histo=_histogram(item))
        if kind in ("image", "figure"):
            png = media.file_of(self.run.dir, item).read_bytes()
            return _image(name, png, item["width"], item["height"])
        if kind == "confusion_matrix":
            return _image(name, *media.draw_confusion_matrix(item))
        return _text(name, media.as_markdown(item))

    def _append(self, events: Sequence[Event]) -> None:
        """Unbuffered: nothing may reach the file later, when it has been truncated and reopened."""
        assert self._file is not None
        buffer = io.BytesIO()
        writer = RecordWriter(buffer)
        for event in events:
            writer.write(event.SerializeToString())
        data = buffer.getbuffer()
        while data:
            data = data[self._file.write(data) :]
        self.state["size"] = self._file.tell()


def _open_at(path: Path, size: int) -> io.FileIO:
    """Open for writing at byte `size`, which becomes the end of the file."""
    file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    file.truncate(size)
    file.seek(size)
    return file


def _summary(time: float, step: int, values: Sequence[Summary.Value]) -> Event:
    return Event(wall_time=time, step=step, summary=Summary(value=values))


def _histogram(item: dict[str, Any]) -> HistogramProto:
    return HistogramProto(
        min=item["min"],
        max=item["max"],
        num=item["count"],
        sum=item["sum"],
        sum_squares=item["sum_squares"],
        # TensorBoard wants the right edge of each bucket; the first one ends where the data start.
        bucket_limit=item["edges"],
        bucket=[0, *item["counts"]],
    )


def _image(tag: str, png: bytes, width: int, height: int) -> Summary.Value:
    image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)
    return Summary.Value(tag=tag, image=image)


def _text(tag: str, text: str) -> Summary.Value:
    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[text.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    return Summary.Value(tag=tag, tensor=tensor, metadata=text_metadata(tag, ""))


def _hparam(value: Any) -> struct_pb2.Value:
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=value)
    return struct_pb2.Value(string_value=str(value))


def _hparams_value(tag: str, data: HParamsPluginData) -> Summary.Value:
    metadata: SummaryMetadata = hparams.create_summary_metadata(data)
    return Summary.Value(tag=tag, metadata=metadata, tensor=hparams.NULL_TENSOR)
