"""The widely used PyTorch port of the CRNN, written from its description for comparison.

Only the structure matters: it gives the parameter names of the checkpoints that circulate.
Differences from the paper's network: pooling windows 2x2 with stride 2x1 and padding 0x1, and batch
normalisation after the third, fifth and seventh convolution.
"""

from __future__ import annotations

import torch
from torch import nn

#            features, kernel, padding, norm, pooling after it
_CONVOLUTIONS = (
    (64, 3, 1, False, {"kernel_size": 2, "stride": 2}),
    (128, 3, 1, False, {"kernel_size": 2, "stride": 2}),
    (256, 3, 1, True, None),
    (256, 3, 1, False, {"kernel_size": (2, 2), "stride": (2, 1), "padding": (0, 1)}),
    (512, 3, 1, True, None),
    (512, 3, 1, False, {"kernel_size": (2, 2), "stride": (2, 1), "padding": (0, 1)}),
    (512, 2, 0, True, None),
)


class BidirectionalLSTM(nn.Module):
    """An LSTM in both directions and a linear layer on every frame of it."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(self.rnn(x)[0])


class TorchCRNN(nn.Module):
    """Images (B, C, 32, W) from -1 to 1 to logits (T, B, K), class 0 the blank."""

    def __init__(self, num_classes: int, channels: int = 1, hidden: int = 256):
        super().__init__()
        self.cnn = nn.Sequential()
        depth, pools = channels, 0
        for i, (features, kernel, padding, norm, pool) in enumerate(_CONVOLUTIONS):
            conv = nn.Conv2d(depth, features, kernel, padding=padding)
            self.cnn.add_module(f"conv{i}", conv)
            if norm:
                self.cnn.add_module(f"batchnorm{i}", nn.BatchNorm2d(features))
            self.cnn.add_module(f"relu{i}", nn.ReLU(inplace=True))
            if pool is not None:
                self.cnn.add_module(f"pooling{pools}", nn.MaxPool2d(**pool))
                pools += 1
            depth = features
        self.rnn = nn.Sequential(
            BidirectionalLSTM(depth, hidden, hidden),
            BidirectionalLSTM(hidden, hidden, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.cnn(images)
        assert features.shape[2] == 1, "images must be 32 pixels high"
        return self.rnn(features.squeeze(2).permute(2, 0, 1))
