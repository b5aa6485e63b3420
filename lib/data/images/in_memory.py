# SPDX-License-Identifier: MIT
"""A split that lies in the memory of the device as uint8; each batch is made when it is asked for.

Four bytes a pixel would not fit where one does, and scaling a batch costs little beside a step. A
very small set, with a model as small, is scaled once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from torch import Tensor
from torch.nn import functional as F

from ..batches import batch_indices
from ..prefetch import Batch
from .augment import Augmentation
from .normalization import GREY, per_channel

SCALED_AT_ONCE = 32 << 20  # bytes of a set in float32


class InMemory:
    """`images` uint8 [n, channels, height, width] on the device, `labels` int64 [n] on the CPU.

    `to_canvas` makes float32 [m, channels, size, size] in [0, 1] of some of them; `seed` determines
    the order of training.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        to_canvas: Callable[[Tensor], Tensor],
        augment: Augmentation,
        seed: int,
    ) -> None:
        self.labels, self._targets = labels, labels.to(images.device)
        if 4 * to_canvas(images[:1]).numel() * len(images) <= SCALED_AT_ONCE:
            images, to_canvas = to_canvas(images).contiguous(), lambda canvas: canvas
        self._images, self._to_canvas = images, to_canvas
        self._augment, self._seed = augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def in_order(self, rows: Sequence[slice]) -> Iterator[Batch]:
        """See lib/data/images/datasets.py."""
        for part in rows:
            x = self._to_canvas(self._images[part])
            yield self._augment.normalize(x), self._targets[part]

    def training(self, shares: Iterable[tuple[int, slice]], batch_size: int) -> Iterator[Batch]:
        """See lib/data/images/datasets.py."""
        device, n = self._images.device, len(self)
        for step, rows in shares:
            part = batch_indices(self._seed, step, n, batch_size, device)[rows]
            x = self._to_canvas(self._images[part])
            x = self._augment.crop(x, step, rows.start, batch_size)
            yield self._augment(x, self._targets[part], step, rows.start, batch_size)


def canvas(images: Tensor, size: int, channels: int, brightest: int = 255, pad: int = 0) -> Tensor:
    """float32 [m, channels, size, size] in [0, 1] from uint8 [m, 1 or 3, height, width].

    `brightest` is the largest value of a pixel; `pad` pixels of 0 are added on each side. Images of
    another size are scaled by linear interpolation, with antialiasing when they become smaller.
    Colour becomes grey by its brightness; grey is repeated in each channel.
    """
    x = images.float() / brightest
    if channels < x.shape[1]:
        x = (x * per_channel(GREY, x.device)).sum(dim=1, keepdim=True)
    if pad:
        x = F.pad(x, (pad, pad, pad, pad))
    if x.shape[2:] != (size, size):
        smaller = size < x.shape[-1]
        x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=smaller)
    return x.expand(-1, channels, -1, -1)
