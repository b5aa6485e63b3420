# SPDX-License-Identifier: MIT
"""Residual networks (He, Zhang, Ren and Sun, 2015) with 18, 34, 50 or 101 layers.

    model = ResNet(depth=50, classes=1000)
    logits = model(images)          # float [batch, 3, height, width] → [batch, classes]

Version 1.5: a bottleneck that halves the image does so in its 3 × 3 convolution; in the paper it is
the 1 × 1 before it. Parameters have torchvision's names and initial values, except that the last
gain of each block is zero, so that at first every block passes its input on (Goyal et al. 2017).
Weights and activations have channels innermost in memory, which convolutions prefer on CPUs and
GPUs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]  # from the number of channels, such as nn.BatchNorm2d


class BasicBlock(nn.Module):
    """Two convolutions of 3 × 3 and a shortcut past them."""

    EXPANSION = 1  # the output has so many times `channels`

    def __init__(self, inputs: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = conv(inputs, channels, 3, stride)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = norm(channels)
        self.downsample = projection(inputs, channels, stride, norm)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.downsample(x) if self.downsample else x
        return F.relu_(y)


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two of 1 × 1, which reduce and restore the channels."""

    EXPANSION = 4

    def __init__(self, inputs: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outputs = channels * self.EXPANSION
        self.conv1 = conv(inputs, channels, 1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, outputs, 1)
        self.bn3 = norm(outputs)
        self.downsample = projection(inputs, outputs, stride, norm)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += self.downsample(x) if self.downsample else x
        return F.relu_(y)


# The kind of block, and how many of them in each of the four stages (table 1 of the paper).
STAGES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """Logits, [batch, classes], from normalised images, [batch, 3, height, width].

    `width` is the number of channels in the first stage; each later one has twice those of the one
    before, in images of half the size. stem: "imagenet" reduces the images to a quarter of their
    size first, "cifar" keeps them, for images of about 32 pixels.
    """

    def __init__(
        self,
        depth: int,
        classes: int,
        width: int = 64,
        stem: str = "imagenet",
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        block, counts = STAGES[depth]
        self.conv1 = conv(3, width, 7, stride=2) if stem == "imagenet" else conv(3, width, 3)
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        inputs = width
        for stage, count in enumerate(counts):
            channels, blocks = width * 2**stage, []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(block(inputs, channels, stride, norm))
                inputs = channels * block.EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        x = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(F.relu_(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the image but for its stride, without a bias.

    The norm that follows has one. He et al., "Delving deep into rectifiers" (2015): the variance
    of the initial weights, by which gradients keep theirs through a ReLU.
    """
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def projection(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """What gives the shortcut the shape of the block's output; None if it has that."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))
