"""The paper's network in PyTorch as this package builds it: the peer of the speed benchmarks.

    python benchmarks/torch_twin.py        # counts parameters, times nothing

Encoder `vgg`, two bidirectional LSTMs of 256 with a projection of 256 in between, 37 classes. The
parameters are those of ours and one more bias per LSTM direction, which PyTorch's have. Training
is CTC, AdamW and clipping by global norm, as in ours. A `Setting` is a way to run it.
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

# features, kernel, padding, norm, pooling window (and stride) after it
_CONVOLUTIONS = (
    (64, 3, 1, False, (2, 2)),
    (128, 3, 1, False, (2, 2)),
    (256, 3, 1, False, None),
    (256, 3, 1, False, (2, 1)),
    (512, 3, 1, True, None),
    (512, 3, 1, True, (2, 1)),
    (512, 2, 0, False, None),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the network is run.

    Attributes:
      channels_last: memory format of images and kernels.
      autocast: products in bfloat16.
      compiled: through torch.compile.
      cudnn_ctc: the loss of cuDNN, which wants labels on the host, instead of PyTorch's own.
    """

    channels_last: bool = False
    autocast: bool = False
    compiled: bool = False
    cudnn_ctc: bool = False

    def __str__(self) -> str:
        names = [field.name for field in dataclasses.fields(self) if getattr(self, field.name)]
        return " + ".join(names) or "plain"

    def precision(self, device: str):
        """Returns the context in which products are computed."""
        if self.autocast:
            return torch.autocast(device, torch.bfloat16)
        return contextlib.nullcontext()


def settings(device: str, compiled: bool) -> list[Setting]:
    """Returns what is worth trying on a device, all in the precision that ours has there."""
    if device == "cpu":
        found = [Setting(), Setting(channels_last=True)]
    else:
        found = [
            Setting(autocast=True),
            Setting(autocast=True, channels_last=True),
            Setting(autocast=True, channels_last=True, cudnn_ctc=True),
        ]
    if compiled:
        found.append(dataclasses.replace(found[1], compiled=True))
    return found


class Twin(nn.Module):
    """Pixels uint8 (B, 1, 32, W) to logits (T, B, K), class 0 the blank."""

    def __init__(self, num_classes: int = 37, hidden: int = 256, projection: int = 256):
        super().__init__()
        layers, depth = [], 1
        for features, kernel, padding, norm, pool in _CONVOLUTIONS:
            layers.append(nn.Conv2d(depth, features, kernel, padding=padding))
            if norm:
                layers.append(nn.BatchNorm2d(features))
            layers.append(nn.ReLU(inplace=True))
            if pool:
                layers.append(nn.MaxPool2d(pool, pool))
            depth = features
        self.encoder = nn.Sequential(*layers)
        self.first = nn.LSTM(depth, hidden, bidirectional=True)
        self.projection = nn.Linear(2 * hidden, projection)
        self.second = nn.LSTM(projection, hidden, bidirectional=True)
        self.classifier = nn.Linear(2 * hidden, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.encoder(images.float() * (1 / 127.5) - 1)
        x = x.squeeze(2).permute(2, 0, 1)
        x = self.projection(self.first(x)[0])
        return self.classifier(self.second(x)[0])


def _network(device: str, setting: Setting, num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    network = Twin(num_classes).to(device)
    if setting.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return torch.compile(network) if setting.compiled else network


def to_images(images, device: str, setting: Setting) -> torch.Tensor:
    """Returns pixels (B, H, W, 1) as the network wants them."""
    images = torch.as_tensor(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


class Trainer:
    """The training step."""

    def __init__(self, device: str, setting: Setting, num_classes: int = 37):
        self.device, self.setting = device, setting
        self.network = _network(device, setting, num_classes).train()
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-3, weight_decay=0.0, fused=True)

    def place(self, images, labels, lengths) -> tuple:
        """Returns a batch of NumPy arrays where the step wants it."""
        lengths = torch.as_tensor(lengths).int()
        labels = torch.as_tensor(labels).int()
        if self.setting.cudnn_ctc:  # one row of all labels, on the host
            labels = torch.cat([row[:n] for row, n in zip(labels, lengths, strict=True)])
        else:
            labels = labels.to(self.device, non_blocking=True)
        return to_images(images, self.device, self.setting), labels, lengths

    def step(self, images: torch.Tensor, labels: torch.Tensor, lengths: torch.Tensor):
        """Makes one update; returns the loss, still on the device."""
        with self.setting.precision(self.device):
            logits = self.network(images)
        frames = torch.full((images.shape[0],), logits.shape[0], dtype=torch.int32)
        loss = F.ctc_loss(
            F.log_softmax(logits.float(), -1),
            labels,
            frames,
            lengths,
            reduction="sum",
            zero_infinity=True,
        ) / len(lengths)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        return loss.detach()


class Reader:
    """Logits and greedy decoding."""

    def __init__(self, device: str, setting: Setting, num_classes: int = 37):
        self.device, self.setting = device, setting
        self.network = _network(device, setting, num_classes).eval()

    @torch.inference_mode()
    def read(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns class ids (B, T), left-justified and padded with 0, and their number per row."""
        with self.setting.precision(self.device):
            path = self.network(images).argmax(-1).T
        previous = F.pad(path, (1, 0))[:, :-1]
        keep = (path != 0) & (path != previous)
        order = torch.argsort(~keep, dim=1, stable=True)
        lengths = keep.sum(1)
        ids = path.gather(1, order)
        at = torch.arange(path.shape[1], device=path.device)
        return torch.where(at[None] < lengths[:, None], ids, 0), lengths


if __name__ == "__main__":
    print(f"{sum(p.numel() for p in Twin().parameters()):,} parameters")
