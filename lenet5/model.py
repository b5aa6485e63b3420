# SPDX-License-Identifier: MIT
"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998): images of 32 × 32 pixels to classes.

Two convolutions find strokes and their combinations, three dense layers decide which of ten digits
they form: 61,706 parameters. The original's scaled tanh, trainable average pooling and sparse
connection table are replaced by today's ReLU, maximum pooling and full connections.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """Logits, [batch, classes], from images, [batch, 1, 32, 32] with mean 0 and variance 1."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5)  #      156 parameters
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)  #   2,416
        self.fc1 = nn.Linear(16 * 5 * 5, 120)  #         48,120
        self.fc2 = nn.Linear(120, 84)  #                 10,164
        self.fc3 = nn.Linear(84, classes)  #                850

    def forward(self, images: Tensor) -> Tensor:
        # With channels innermost the CPU pools several at once. With that, and with ReLU on the
        # pooled quarter only (max and ReLU commute), a step takes half the time.
        x = images.to(memory_format=torch.channels_last)
        x = F.relu(F.max_pool2d(self.conv1(x), 2))  # [batch, 6, 28, 28] → [batch, 6, 14, 14]
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # [batch, 16, 10, 10] → [batch, 16, 5, 5]
        x = torch.flatten(x, 1)  #                    [batch, 400]
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)
