"""``features.png``: what a trained convolutional network looks for in an image, and where it finds it."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn

from callbacks._evaluating import best_weights, validating
from callbacks._files import may_write, run_dir
from callbacks._pictures import as_shown, new_figure, save_figure
from zoo.tasks import ImageClassifier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FeatureMaps", "Layer", "draw_features"]

MAX_FILTERS, MAX_LAYERS, MAX_MAPS = 64, 4, 8
MIN_SIDE = 4
"""Height and width in pixels below which a map is no picture (the last ones of a deep network)."""
COLOURS = 3
"""Filters over so many channels are shown in colour."""


class Layer(NamedTuple):
    """What a convolution made of the image, before normalisation and activation.

    Attributes:
        name: Its name in the network.
        maps: Its first output channels (maps, height, width), on the CPU.
        channels: How many there are in all.
    """

    name: str
    maps: Tensor
    channels: int


class FeatureMaps(L.Callback):
    """Draws ``features.png`` after training: filters of the first convolution, feature maps of an image.

    Up to 64 filters, and the first eight maps of up to four convolutions: they are chosen evenly over the
    depth of the network, among those whose maps are at least 4 x 4 pixels. The image is the first of the
    validation split, the weights are those of the best checkpoint. For image classifiers that have a
    convolution; others get no picture. A compiled network runs uncompiled here.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the network an image and draw."""
        batches = trainer.val_dataloaders
        if not isinstance(pl_module, ImageClassifier) or batches is None or not may_write(trainer):
            return
        seen = _Seen(pl_module.net)
        if not seen.convolutions:
            return
        with best_weights(trainer, pl_module) as weights, validating(trainer, pl_module), torch.no_grad():
            image, label = trainer.strategy.batch_to_device(next(iter(batches)))
            with trainer.precision_plugin.forward_context():
                seen.look_at(image[:1])
            filters = None if seen.first is None else seen.first.weight.detach().float().cpu()
        if filters is None:  # no convolution ran
            return
        names = getattr(trainer.datamodule, "class_names", ())  # type: ignore[attr-defined]
        index = int(label[0] if label.ndim == 1 else label[0].argmax())
        figure = draw_features(
            filters,
            image[0].detach().float().cpu(),
            seen.chosen(),
            first=seen.layers[0].name,
            label=names[index] if names else f"class {index}",
            title=f"features, {weights}",
        )
        save_figure(figure, run_dir(trainer) / "features.png")


class _Seen:
    """Convolutions of a network, and what they make of an image, in the order in which they run."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.convolutions = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
        self.first: nn.Conv2d | None = None
        self.layers: list[Layer] = []

    def look_at(self, image: Tensor) -> None:
        """Run the network on one image (1, channels, height, width)."""
        hooks = [m.register_forward_hook(self._keep(n)) for n, m in self.convolutions.items()]
        try:
            self.net.forward(image)  # a call would run the compiled network, which knows nothing of new hooks
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if self.first is None and isinstance(module, nn.Conv2d):
                self.first = module
            maps = output[0, :MAX_MAPS].detach().float().cpu()
            self.layers.append(Layer(name, maps, output.shape[1]))

        return keep

    def chosen(self) -> list[Layer]:
        """Layers to show: the first, the last and some evenly between, of those that still show a picture."""
        fit = [layer for layer in self.layers if min(layer.maps.shape[1:]) >= MIN_SIDE] or self.layers
        count = min(len(fit), MAX_LAYERS)
        return [fit[round(i * (len(fit) - 1) / max(count - 1, 1))] for i in range(count)]


def draw_features(
    filters: Tensor, image: Tensor, layers: Sequence[Layer], *, first: str, label: str, title: str
) -> "Figure":
    """Filters on the left, the image and its feature maps on the right.

    Args:
        filters: Weights of the first convolution (out_channels, in_channels, height, width), float32. Those
            over three channels are shown as colours, of others the mean over the channels.
        image: (channels, height, width), float32.
        layers: Layers to show, one row each; every map on a grey scale of its own.
        first: Name of the first convolution.
        label: What the image shows.
        title: Title of the picture.
    """
    rows = max(len(layers), 1)
    figure = new_figure(13.5, max(1.25 * rows + 0.6, 3.7))
    figure.set_layout_engine("none")
    figure.suptitle(title, fontsize=12)
    _draw_filters(figure.add_axes((0.01, 0.04, 0.27, 0.78)), filters, first)
    grid = figure.add_gridspec(rows, 1, left=0.45, right=0.99, top=0.86, bottom=0.02, hspace=0.3)
    for i, layer in enumerate(layers):
        _draw_maps(figure.add_subplot(grid[i]), layer)
    axes = figure.add_axes((0.31, 0.3, 0.12, 0.4))
    axes.imshow(as_shown(image).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(f"validation image\n{label}", fontsize=9)
    axes.axis("off")
    return figure


def _draw_filters(axes: "Axes", filters: Tensor, name: str) -> None:
    out_channels, in_channels, height, width = filters.shape
    shown = filters[:MAX_FILTERS]
    if in_channels != COLOURS:
        shown = shown.mean(dim=1, keepdim=True)
    limit = float(shown.abs().max()) or 1.0
    text = f"{len(shown)} of {out_channels}" if len(shown) < out_channels else f"{out_channels}"
    text = f"{text} filters of {name}, {height} x {width}"
    if in_channels not in (1, COLOURS):
        text += f", mean over {in_channels} channels"
    mosaic = _mosaic(shown, columns=math.ceil(math.sqrt(len(shown))))
    if in_channels == COLOURS:
        axes.imshow(
            ((mosaic / limit + 1) / 2).nan_to_num(1.0).movedim(0, -1).numpy(), interpolation="nearest"
        )
        text += "\ngrey: zero"
    else:
        axes.imshow(mosaic[0].numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        text += f"\nred: positive, blue: negative, up to {limit:.2g}"
    axes.set_title(text, fontsize=9)
    axes.axis("off")


def _draw_maps(axes: "Axes", layer: Layer) -> None:
    maps = layer.maps
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    mosaic = _mosaic(scaled[:, None], columns=MAX_MAPS)
    axes.imshow(mosaic[0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _, height, width = maps.shape
    axes.set_title(
        f"{layer.name}: {len(maps)} of {layer.channels} maps, {height} x {width}",
        fontsize=9,
        pad=2,
        loc="left",
    )
    axes.axis("off")


def _mosaic(tiles: Tensor, *, columns: int) -> Tensor:
    """Tiles (tiles, channels, height, width) side by side, with gaps of nan, which is drawn as nothing."""
    count, channels, height, width = tiles.shape
    rows = math.ceil(count / columns)
    gap = max(1, width // 12)
    mosaic = torch.full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), math.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        mosaic[:, top : top + height, left : left + width] = tile
    return mosaic
