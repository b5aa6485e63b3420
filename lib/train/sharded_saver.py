# SPDX-License-Identifier: MIT
"""Saves the checkpoints of a sharded training: each rank writes its part of a directory.

    saver = open_saver(run.dir / "checkpoints", model, optimizer, is_main=…, …)
    saver.save(contents, step=120, metrics={"val/loss": 0.5}, best=True)    # all ranks

The training waits until the checkpoint is written. There are no last.pt and best.pt: index.json
says which directory is the best.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import CheckpointError, sharded
from .checkpoint.find import BEST, LAST
from .checkpoint.together import on_rank_0
from .checkpoint.writer import Untidy
from .ranks import is_sharded
from .saver import Saver


def open_saver(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any
) -> Saver:
    """A ShardedSaver if `model` is sharded, else a Saver; `options` are those of a Saver."""
    if is_sharded(model):
        return ShardedSaver(folder, model, optimizer, **options)
    return Saver(folder, **options)


class ShardedSaver(Saver):
    """A Saver, of which all ranks call `save` and all know what was saved."""

    def __init__(
        self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any
    ) -> None:
        super().__init__(folder, **options)
        self._model, self._optimizer = model, optimizer

    def save(
        self, contents: Mapping[str, Any], *, step: int, metrics: Mapping[str, float], best: bool
    ) -> None:
        """Write the model, the optimizer and `contents`, which are plain values.

        When it cannot be written, the run says so, once until it can be again.
        """
        self._job, self._job_saves = Future(), (step, (LAST, BEST) if best else (LAST,))
        try:
            self._job.set_result(self._write(contents, step, dict(metrics), best))
        except (CheckpointError, Untidy) as error:
            self._job.set_exception(error)
        except BaseException:  # other ranks are lost: it will never be done, and nobody must wait
            self._job = None
            raise
        self.wait()

    def _write(
        self, contents: Mapping[str, Any], step: int, metrics: dict[str, float], best: bool
    ) -> None:
        nbytes = sharded.nbytes(self._model, self._optimizer)

        def prepare() -> tuple[Path, bool]:
            self._sync_journal()
            return self._writer.prepare_folder(step=step, best=best, nbytes=nbytes)

        path, best = on_rank_0("cannot write the journal", prepare)
        sharded.save(path, self._model, self._optimizer, contents, metrics=metrics, best=best)
        if self._is_main:
            self._writer.add_folder(step=step, metrics=metrics, best=best)
