# SPDX-License-Identifier: MIT
"""The yardstick of `make bench-resnet50`: torchvision's ResNet trained the plain way.

Pillow images in a Dataset, a DataLoader with worker processes, torchvision's transforms, float32 in
the default memory format, AdamW: the usual small program for CIFAR. On a GPU it also has what is
usual there: bfloat16 autocast, pinned memory and copies that do not wait. It has no further
optimisations and stays short, so that anybody can check that the comparison is fair.
"""

import itertools
import os
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.torchvision_import import import_torchvision

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's
LOADERS = min(8, os.cpu_count() or 1)  # processes of the DataLoader
READ_AHEAD = 2  # batches of each: PyTorch's default
LAYERS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class Pictures(Dataset):
    """Images of 32 × 32 random pixels, kept as arrays as torchvision's CIFAR10 does."""

    def __init__(self, count: int, classes: int) -> None:
        transforms = import_torchvision().transforms
        generator = torch.Generator().manual_seed(0)
        shape = (count, 32, 32, 3)
        self.data = torch.randint(256, shape, dtype=torch.uint8, generator=generator).numpy()
        self.targets = torch.randint(classes, (count,), generator=generator).tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def batches(count: int, classes: int, batch: int, on_gpu: bool) -> Iterator[list[Tensor]]:
    """Batches without end."""
    loader = DataLoader(
        Pictures(count, classes),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=LOADERS,
        prefetch_factor=READ_AHEAD,
        persistent_workers=True,
        pin_memory=on_gpu,
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def reference_resnet(depth: int, width: int, classes: int) -> nn.Module:
    """torchvision's ResNet with a stem for small images and `width` channels in its first stage."""
    resnet = import_torchvision().models.resnet

    class Narrow(resnet.ResNet):
        """torchvision fixes the stages at 64, 128, 256 and 512 channels."""

        def _make_layer(self, block: type, planes: int, *rest: int, **more: object) -> nn.Module:
            self.inplanes = width if planes == 64 else self.inplanes
            return super()._make_layer(block, planes * width // 64, *rest, **more)

    block = resnet.Bottleneck if depth >= 50 else resnet.BasicBlock
    model = Narrow(block, LAYERS[depth], classes)
    model.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    model.maxpool = nn.Identity()
    model.fc = nn.Linear(width * 8 * block.expansion, classes)
    return model


def reference_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> None:
    """Forward, backward, update."""
    with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
        loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
