"""The loop that a careful user writes without any framework, on the images that the zoo trains on.

It needs PyTorch only. ``epoch.py`` runs it; by hand:
``python benchmarks/bare_loop.py lenet --data data --epochs 3 --output result.json``.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.fashion_mnist import read_unpacked

__all__ = ["NETWORKS", "main"]

BATCH_SIZE = 128
HELD_OUT = 6000


def softmax() -> nn.Sequential:
    """The network of ``zoo.SoftmaxRegression``."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def mlp() -> nn.Sequential:
    """The network of ``zoo.MLP``."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def lenet() -> nn.Sequential:
    """The network of ``zoo.LeNet``."""
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, 10),
    )


NETWORKS = {"softmax": softmax, "mlp": mlp, "lenet": lenet}


def read_training_images(data_dir: Path) -> tuple[Tensor, Tensor]:
    """Images (54000, 1, 28, 28), uint8, and labels (54000,), int64: the rest is held out for validation."""
    pixels = bytearray(read_unpacked(data_dir, "train-images-idx3-ubyte"))
    classes = bytearray(read_unpacked(data_dir, "train-labels-idx1-ubyte"))
    images = torch.frombuffer(pixels, dtype=torch.uint8, offset=16).reshape(-1, 1, 28, 28)
    labels = torch.frombuffer(classes, dtype=torch.uint8, offset=8).long()
    kept = torch.randperm(len(labels))[HELD_OUT:]
    return images[kept], labels[kept]


def train_epoch(net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One pass over the images in a new order; nothing is logged."""
    for batch in torch.split(torch.randperm(len(labels)), BATCH_SIZE):
        logits = net(images.index_select(0, batch).float() / 255)  # many times as fast as images[batch]
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # as torch declares it
        optimizer.step()


def main() -> None:
    """Train, and write images and seconds of all epochs after the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=NETWORKS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    images, labels = read_training_images(given.data)
    net = NETWORKS[given.model]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_epoch(net, optimizer, images, labels)
    start = time.perf_counter()
    for _ in range(given.epochs):
        train_epoch(net, optimizer, images, labels)
    seconds = time.perf_counter() - start
    given.output.write_text(json.dumps({"images": given.epochs * len(labels), "seconds": seconds}))


if __name__ == "__main__":
    main()
