"""The digits that scikit-learn carries: real images without a download."""

import torch

from datamodules._registry import register
from datamodules.base import BatchSize
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.vision.base import ImageDataModule

__all__ = ["Digits"]


@register(task="image classification", config="quickstart.yaml")
class Digits(ImageDataModule):
    """1,797 handwritten digits, 8 x 8 pixels of 16 grey levels (UCI, Alpaydin and Kaynak, 1998).

    Args:
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split (1,297 train, 200 validation, 300 test) and of the training order.
        image_size: Height and width in pixels that the model sees.
    """

    in_channels = 1
    num_classes = 10
    class_names = tuple("0123456789")

    def __init__(self, *, batch_size: BatchSize = 32, seed: int = 0, image_size: int = 28) -> None:
        super().__init__(batch_size=batch_size, seed=seed, image_size=image_size)

    def read_splits(self) -> dict[str, Batch]:
        """Read scikit-learn's file and split it with the seed."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target).long()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.seed))
        parts = dict(zip(("train", "val", "test"), torch.split(order, [1297, 200, 300]), strict=True))
        return {split: ImageBatch(images[part], labels[part]) for split, part in parts.items()}
