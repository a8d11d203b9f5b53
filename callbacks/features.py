"""``features.png``: what a trained convolutional network looks for in an image, and where it finds it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn

from callbacks._evaluating import best_weights, validating
from callbacks._files import may_write, run_dir
from callbacks._pictures import as_shown, new_figure, save_figure
from zoo.tasks import ImageClassifier, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FeatureMaps", "Layer", "draw_features"]

MAX_FILTERS, MAX_LAYERS, MAX_MAPS = 64, 4, 8
MAX_NUMBERS = 9
"""Weights of all filters together up to which they are written out too, such as the edge kernel's two."""
MIN_SIDE = 4
"""Height and width in pixels below which a map is no picture (the last ones of a deep network)."""
BACKGROUND = "antiquewhite"
"""White pixels at the border of an image or a map stand out from it."""
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
    validation split, the weights are those of the best checkpoint. A compiled network runs uncompiled here.

    For tasks whose inputs are images (batch, channels, height, width), whatever they predict. A convolution
    is any module with a ``weight`` of four dimensions whose output has four as well. Of a network that has
    none, since it convolves in functions, the first parameter with four dimensions is drawn, without maps. A
    network without such parameters gets no picture.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the network an image and draw."""
        batches = trainer.val_dataloaders
        if not isinstance(pl_module, Task) or batches is None or not may_write(trainer):
            return
        if not any(parameter.ndim == 4 for parameter in pl_module.net.parameters()):
            return
        seen = _Seen(pl_module.net)
        with best_weights(trainer, pl_module) as weights, validating(trainer, pl_module), torch.no_grad():
            inputs, target, *_ = trainer.strategy.batch_to_device(next(iter(batches)))
            if not isinstance(inputs, Tensor) or inputs.ndim != 4:
                return
            with trainer.precision_plugin.forward_context():
                seen.look_at(inputs[:1])
            image = _copy(inputs[0])
            name, filters = seen.first or _first_weight(pl_module.net)
        label = ""
        if isinstance(pl_module, ImageClassifier):
            names = getattr(trainer.datamodule, "class_names", ())  # type: ignore[attr-defined]
            index = int(target[0] if target.ndim == 1 else target[0].argmax())
            label = names[index] if names else f"class {index}"
        title = f"features, {weights}"
        figure = draw_features(filters, image, seen.chosen(), first=name, label=label, title=title)
        save_figure(figure, run_dir(trainer) / "features.png")


def _copy(tensor: Tensor) -> Tensor:
    # Also on the CPU: in-place layers overwrite what they get, and the last weights the best ones.
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _first_weight(net: nn.Module) -> tuple[str, Tensor]:
    return next((name, _copy(weight)) for name, weight in net.named_parameters() if weight.ndim == 4)


class _Seen:
    """Convolutions of a network, and what they make of an image, in the order in which they run."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.first: tuple[str, Tensor] | None = None  # name and weight of the convolution that ran first
        self.layers: list[Layer] = []

    def look_at(self, image: Tensor) -> None:
        """Run the network on one image (1, channels, height, width)."""
        hooks = [
            module.register_forward_hook(lambda m, _, output, name=name: self._keep(name, m, output))
            for name, module in self.net.named_modules()
            if name
        ]
        try:
            # A call would run the compiled network, which knows nothing of new hooks.
            output = self.net.forward(image)
        finally:
            for hook in hooks:
                hook.remove()
        self._keep("net", self.net, output)  # it may be a convolution itself

    def _keep(self, name: str, module: nn.Module, output: Any) -> None:
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or not isinstance(output, Tensor):
            return
        if weight.ndim == output.ndim == 4:
            self.first = self.first or (name, _copy(weight))
            self.layers.append(Layer(name, _copy(output[0, :MAX_MAPS]), output.shape[1]))

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
        filters: Weight of the first convolution (out_channels, in_channels, height, width), float32. Those
            over three channels are shown as colours, of others the mean over the channels.
        image: (channels, height, width), float32.
        layers: Layers to show, one row each; every map on a grey scale of its own. May be empty.
        first: Name of the first convolution, or of its weight.
        label: What the image shows, empty if it has no class.
        title: Title of the picture.
    """
    rows = max(len(layers), 1)
    figure = new_figure(13.5, max(1.25 * rows + 0.6, 3.7))
    figure.set_layout_engine("none")
    figure.set_facecolor(BACKGROUND)
    figure.suptitle(title, fontsize=12)
    _draw_filters(figure.add_axes((0.01, 0.04, 0.27, 0.78)), filters, first)
    grid = figure.add_gridspec(rows, 1, left=0.45, right=0.99, top=0.86, bottom=0.02, hspace=0.3)
    for i, layer in enumerate(layers):
        _draw_maps(figure.add_subplot(grid[i]), layer)
    axes = figure.add_axes((0.31, 0.3, 0.12, 0.4))
    axes.imshow(as_shown(image).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(f"validation image\n{label}".rstrip(), fontsize=9)
    axes.axis("off")
    return figure


def _draw_filters(axes: "Axes", filters: Tensor, name: str) -> None:
    out_channels, in_channels, height, width = filters.shape
    shown = filters[:MAX_FILTERS]
    if in_channels != COLOURS:
        shown = shown.mean(dim=1, keepdim=True)
    limit = float(shown.abs().max()) or 1.0
    text = f"{len(shown)} of {out_channels}" if len(shown) < out_channels else f"{out_channels}"
    text += f" filter{'' if out_channels == 1 else 's'} of {name}, {height} x {width}"
    if in_channels not in (1, COLOURS):
        text += f", mean over {in_channels} channels"
    if filters.numel() <= MAX_NUMBERS:
        text += ": " + ", ".join(f"{weight:.2f}" for weight in filters.flatten().tolist())
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
