"""Synthetic data: linear functions with noise (sections 3.3 and 3.7), edges (7.2), two sines (18.3)."""

from collections.abc import Sequence

import torch

from datamodules._registry import register
from datamodules.base import BatchSize, ZooDataModule
from datamodules.interface.batches import Batch, RegressionBatch
from datamodules.interface.checks import check_at_least

__all__ = ["EdgeImage", "SyntheticHighDimensional", "SyntheticRegression", "SyntheticSines", "edge_batch"]


@register(
    task="regression",
    book=("D02",),
    config="linear/linear_regression_synthetic.yaml",
    tiny={"num_train": 8, "num_val": 4, "num_test": 4, "batch_size": 4},
)
class SyntheticRegression(ZooDataModule):
    """``y = Xw + b + noise`` with features and noise from normal distributions (section 3.3.1).

    The three splits are drawn one after the other, so another number of test rows leaves the others as they
    are. The book has no test split.

    Args:
        w: True weight of each feature; its length is the number of features.
        b: True bias.
        noise: Standard deviation of the noise, in units of y, at least 0.
        num_train: Training examples, at least 1.
        num_val: Validation examples, at least 1.
        num_test: Test examples, at least 1.
        batch_size: Examples in a batch on each device, or ``full``.
        seed: Seed of the data and of the training order.

    Attributes:
        in_features: Number of features.
        out_features: 1.
    """

    out_features = 1

    def __init__(
        self,
        *,
        w: Sequence[float] = (2.0, -3.4),
        b: float = 4.2,
        noise: float = 0.01,
        num_train: int = 1000,
        num_val: int = 1000,
        num_test: int = 1000,
        batch_size: BatchSize = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("the length of w", len(w), 1)
        check_at_least("noise", noise, 0)
        check_at_least("num_train", num_train, 1)
        check_at_least("num_val", num_val, 1)
        check_at_least("num_test", num_test, 1)
        self.w = tuple(w)
        self.b = b
        self.noise = noise
        self.num_train = num_train
        self.num_val = num_val
        self.num_test = num_test
        self.in_features = len(w)

    def read_splits(self) -> dict[str, Batch]:
        """Draw the data with the seed."""
        generator = torch.Generator().manual_seed(self.seed)
        sizes = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        return {split: self._draw(size, generator) for split, size in sizes.items()}

    def _draw(self, size: int, generator: torch.Generator) -> RegressionBatch:
        features = torch.randn(size, self.in_features, generator=generator)
        noise = self.noise * torch.randn(size, 1, generator=generator)
        weight = torch.tensor(self.w, dtype=features.dtype)
        return RegressionBatch(features, features @ weight[:, None] + self.b + noise)


@register(
    task="regression",
    book=("D03",),
    config="linear/weight_decay_synthetic.yaml",
    tiny={"num_features": 5, "num_train": 8, "num_val": 4, "num_test": 4, "batch_size": 4},
)
class SyntheticHighDimensional(SyntheticRegression):
    """Fewer examples than features, so that a linear model overfits (section 3.7.3).

    ``y = 0.05 + sum of 0.01 x + noise``, the noise from N(0, 0.01).

    Args:
        num_features: Number of features, at least 1; each weighs .01.
        num_train: Training examples, at least 1.
        num_val: Validation examples, at least 1.
        num_test: Test examples, at least 1.
        batch_size: Examples in a batch on each device, or ``full``.
        seed: Seed of the data and of the training order.
    """

    def __init__(
        self,
        *,
        num_features: int = 200,
        num_train: int = 20,
        num_val: int = 100,
        num_test: int = 100,
        batch_size: BatchSize = 5,
        seed: int = 0,
    ) -> None:
        check_at_least("num_features", num_features, 1)
        super().__init__(
            w=[0.01] * num_features,
            b=0.05,
            noise=0.01,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            batch_size=batch_size,
            seed=seed,
        )


def edge_batch(edges: Sequence[tuple[int, int]], *, height: int, width: int) -> RegressionBatch:
    """White images with a black stripe each, and where the stripe begins and ends.

    Args:
        edges: First black column and first white column after it, for each image.
        height: Rows of the images in pixels.
        width: Columns of the images in pixels.

    Returns:
        Images (batch, 1, height, width), 1.0 for white and 0.0 for black; each pixel less its right neighbour
        (batch, 1, height, width - 1): 1.0 from white to black, -1.0 from black to white.
    """
    images = torch.ones(len(edges), 1, height, width)
    for image, (start, stop) in zip(images, edges, strict=True):
        image[:, :, start:stop] = 0
    return RegressionBatch(images, images[..., :-1] - images[..., 1:])


@register(task="image regression", book=("D06",))
class EdgeImage(ZooDataModule):
    """The image of section 7.2.3, 6 by 8 pixels with four black columns, and its vertical edges.

    A convolution with the kernel (1, -1) turns the one into the other; the book learns that kernel from this
    single image, which is the training split. Validation and test have one image each with the stripe
    elsewhere: only a model that has learnt the kernel finds the edges there.

    Args:
        batch_size: Images in a batch; there is one in each split.
        seed: Of no effect, since nothing is drawn.

    Attributes:
        in_channels: 1.
    """

    in_channels = 1

    def __init__(self, *, batch_size: BatchSize = 1, seed: int = 0) -> None:
        super().__init__(batch_size=batch_size, seed=seed)

    def read_splits(self) -> dict[str, Batch]:
        """Draw the three images: black columns 2-5, 1-2 and 4-6, counted from 0."""
        stripes = {"train": (2, 6), "val": (1, 3), "test": (4, 7)}
        return {split: edge_batch([stripe], height=6, width=8) for split, stripe in stripes.items()}


@register(
    task="regression",
    book=("D27",),
    config="gp/exact_gp_sines.yaml",
    tiny={"num_train": 8, "num_val": 4, "num_test": 6, "batch_size": 4},
)
class SyntheticSines(ZooDataModule):
    """``y = sin(x) + sin(4x) / 2 + noise`` for x in [0, 5] (section 18.3.4).

    As in the book, training and test points lie on even grids, and test targets are the function itself,
    without noise. The book has no validation; ours is drawn evenly from the interval, with noise.

    Args:
        noise: Standard deviation of the noise, in units of y, at least 0.
        num_train: Training examples, at least 1.
        num_val: Validation examples, at least 1.
        num_test: Test examples, at least 1.
        batch_size: Examples in a batch on each device, or ``full``.
        seed: Seed of the noise, of the validation points and of the training order.

    Attributes:
        in_features: 1.
        out_features: 1.
    """

    in_features = 1
    out_features = 1

    def __init__(
        self,
        *,
        noise: float = 0.25,
        num_train: int = 50,
        num_val: int = 50,
        num_test: int = 500,
        batch_size: BatchSize = "full",
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("noise", noise, 0)
        check_at_least("num_train", num_train, 1)
        check_at_least("num_val", num_val, 1)
        check_at_least("num_test", num_test, 1)
        self.noise = noise
        self.num_train = num_train
        self.num_val = num_val
        self.num_test = num_test

    def read_splits(self) -> dict[str, Batch]:
        """Draw the data with the seed."""
        generator = torch.Generator().manual_seed(self.seed)
        train = self._observe(torch.linspace(0, 5, self.num_train), self.noise, generator)
        val = self._observe(5 * torch.rand(self.num_val, generator=generator), self.noise, generator)
        test = self._observe(torch.linspace(0, 5, self.num_test), 0.0, generator)
        return {"train": train, "val": val, "test": test}

    @staticmethod
    def _observe(x: torch.Tensor, noise: float, generator: torch.Generator) -> RegressionBatch:
        y = torch.sin(x) + 0.5 * torch.sin(4 * x) + noise * torch.randn(len(x), generator=generator)
        return RegressionBatch(x[:, None], y[:, None])
