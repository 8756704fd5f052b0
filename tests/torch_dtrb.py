"""The networks of deep-text-recognition-benchmark with CTC, written from their description.

Baek et al., 2019 (arXiv 1904.01906), transformation None. Only the structure matters: it gives the
parameter names of the checkpoints that circulate.
"""

from __future__ import annotations

import torch
from torch import nn


def _vgg(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    #       features, kernel, padding, normalised, pool after it
    table = [
        (64, 3, 1, False, 2),
        (128, 3, 1, False, 2),
        (256, 3, 1, False, None),
        (256, 3, 1, False, (2, 1)),
        (512, 3, 1, True, None),
        (512, 3, 1, True, (2, 1)),
        (512, 2, 0, False, None),
    ]
    for features, kernel, padding, norm, pool in table:
        layers.append(nn.Conv2d(channels, features, kernel, padding=padding, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(features))
        layers.append(nn.ReLU())
        if pool:
            layers.append(nn.MaxPool2d(pool, pool))
        channels = features
    return nn.Sequential(*layers)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class _ResNet(nn.Module):
    _ORDER = ("0_1", "0_2", "pool1", "layer1", "1", "pool2", "layer2", "2", "pool3", "layer3", "3",
              "layer4", "4_1", "4_2")  # fmt: skip

    def __init__(self, channels: int):
        super().__init__()
        self.add("0_1", channels, 32)
        self.add("0_2", 32, 64)
        self.pool1 = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(_Block(64, 128))
        self.add("1", 128, 128)
        self.pool2 = nn.MaxPool2d(2)
        self.layer2 = nn.Sequential(_Block(128, 256), _Block(256, 256))
        self.add("2", 256, 256)
        self.pool3 = nn.MaxPool2d(2, (2, 1), (0, 1))
        self.layer3 = nn.Sequential(_Block(256, 512), *(_Block(512, 512) for _ in range(4)))
        self.add("3", 512, 512)
        self.layer4 = nn.Sequential(*(_Block(512, 512) for _ in range(3)))
        self.add("4_1", 512, 512, 2, (2, 1), (0, 1))
        self.add("4_2", 512, 512, 2, 1, 0)

    def add(self, name, inputs, outputs, kernel=3, stride=1, padding=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.add_module(f"conv{name}", conv)
        self.add_module(f"bn{name}", nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self._ORDER:
            if name[0].isdigit():
                x = torch.relu(getattr(self, f"bn{name}")(getattr(self, f"conv{name}")(x)))
            else:
                x = getattr(self, name)(x)
        return x


class _Features(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.ConvNet = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ConvNet(x)


class _BiLSTM(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.rnn(x)[0])


class TorchDTRB(nn.Module):
    """Images (B, C, 32, W) from -1 to 1 to logits (B, T, K), class 0 the blank."""

    def __init__(self, features: str, num_classes: int, channels=1, hidden=256, recurrent=True):
        super().__init__()
        net = _vgg(channels) if features == "vgg" else _ResNet(channels)
        self.FeatureExtraction = _Features(net)
        if recurrent:
            self.SequenceModeling = nn.Sequential(_BiLSTM(512, hidden), _BiLSTM(hidden, hidden))
        self.recurrent = recurrent
        self.Prediction = nn.Linear(hidden if recurrent else 512, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.FeatureExtraction(images).permute(0, 3, 1, 2)  # B, T, D, rows
        features = nn.functional.adaptive_avg_pool2d(features, (512, 1)).squeeze(3)
        return self.Prediction(self.SequenceModeling(features) if self.recurrent else features)
