"""Weights that others trained: where they come from, and whether they fit.

A network that can take them has two attributes: ``stem_name``, its first layer, whose width is that of the
images, and ``head_names``, the last layers, whose width is the number of classes. These may differ from the
file; every other key and shape must be the file's.
"""

import hashlib
import logging
import pickle
import re
import sys
import urllib.error
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

__all__ = ["WeightsError", "load_pretrained"]

logger = logging.getLogger(__name__)

TORCHVISION = "torchvision:"

Rename = Callable[[str], str | None]


class WeightsError(ValueError):
    """Weights cannot be had, or do not fit; the message says which, and what to do."""


def load_pretrained(
    net: nn.Module, weights: str | None, *, variant: str, rename: Rename = lambda key: key
) -> None:
    """Fill a network with pretrained weights, and say which layers were left out.

    Args:
        net: The network, with ``stem_name`` and ``head_names``.
        weights: ``torchvision:NAME`` for a file that torchvision publishes for this variant, such as
            ``torchvision:IMAGENET1K_V1`` (it is downloaded once, into torch's own cache); or the path of a
            file: a state_dict, or a checkpoint that holds one as ``state_dict`` (as Lightning's do) or
            ``model``. None does nothing.
        variant: Name of the network, as torchvision spells it.
        rename: From a key in the file to the network's, or to None for what the network has no use for.

    Raises:
        ValueError: If torchvision publishes no weights of that name.
        WeightsError: If there is no such file, it cannot be downloaded, its hash is wrong, it is no file of
            plain tensors or holds values that are not finite, or its keys and shapes are not the network's.
    """
    if weights is None:
        return
    if any(parameter.is_meta for parameter in net.parameters()):
        raise WeightsError(f"weights is {weights!r}, but must be None for a network on the meta device")
    name, path = _locate(weights, variant)
    saved = _read(path)
    renamed = {key: rename(key) for key in saved}
    state = {new: saved[key] for key, new in renamed.items() if new is not None}
    left_out = sorted({key.partition(".")[0] for key, new in renamed.items() if new is None})
    own = net.state_dict()
    replaced = _take_other_widths(net, state, own)
    for key, value in own.items():
        # Files from before torch 0.4 have no such counters, and no layer uses them.
        if (
            key.endswith(".num_batches_tracked")
            and key.replace(key.rpartition(".")[2], "running_mean") in state
        ):
            state.setdefault(key, value)
    _refuse_other_keys(state, own, variant, name)
    net.load_state_dict(state)
    _report(variant, name, replaced, left_out)


def _locate(weights: str, variant: str) -> tuple[str, Path]:
    """What to call the weights, and the file, which is downloaded if need be."""
    if not weights.startswith(TORCHVISION):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"weights is {weights!r}, but must be a file that exists, or torchvision:NAME "
                f"({_published(variant)})"
            )
        return weights, path
    from torchvision.models import get_model_weights

    known = get_model_weights(variant)
    name = weights.removeprefix(TORCHVISION)
    if name not in known.__members__:
        raise ValueError(f"weights is {weights!r}, but must be {_published(variant)}, or a file")
    return weights, _download(known[name].url)


def _published(variant: str) -> str:
    from torchvision.models import get_model_weights

    return " or ".join(f"{TORCHVISION}{name}" for name in get_model_weights(variant).__members__)


def _download(url: str) -> Path:
    """The file of that address in torch's cache, its hash checked also when it was there already."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if match is None:
        raise WeightsError(f"{url}: its name does not say its hash")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # several processes download it once
            if not path.exists():
                logger.warning("downloading %s to %s", url, path)
                torch.hub.download_url_to_file(url, str(path), match[1], progress=sys.stderr.isatty())
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"{url} could not be downloaded ({reason}); check the network, or put the file there by hand: "
            f"{path}"
        ) from error
    except RuntimeError as error:  # torch's own word for a wrong hash; it has deleted the file
        raise WeightsError(f"{url}: the download is damaged ({error})") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read or written ({error.strerror or error})") from error
    if not found.startswith(match[1]):
        raise WeightsError(
            f"{path}: its SHA-256 is {found}, but must begin with {match[1]}; move it away to have it "
            "downloaded again"
        )
    return path


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, without running code that may hide in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyway
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch's reader raise whatever its bytes happen to say
        is_pickle = isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path)
        what = "holds pickled objects, which could run code" if is_pickle else "is no file of weights"
        raise WeightsError(f"{path}: {what}, or is damaged; save a state_dict with torch.save") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided
        for key, value in content.items()
    ):
        raise WeightsError(f"{path}: holds no state_dict (names and tensors); save one with torch.save")
    for key, value in content.items():
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {key} holds values that are not finite")
    for prefix in ("net.", "module."):  # what Lightning's modules and DistributedDataParallel put before
        if all(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return dict(content)


def _take_other_widths(net: Any, state: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    """Put the network's own values in place of a stem or heads of another width; returns what those are."""
    replaced = []
    layers = [(net.stem_name, "channels", 1), *((head, "classes", 0) for head in net.head_names)]
    for layer, what, dim in layers:
        key = f"{layer}.weight"
        if key not in state or key not in own:
            continue
        there, here = list(state[key].shape), list(own[key].shape)
        if there != here and there[:dim] + there[dim + 1 :] == here[:dim] + here[dim + 1 :]:
            replaced.append(f"{layer} ({there[dim]} {what} there, {here[dim]} here)")
            state.update({k: v for k, v in own.items() if k.startswith(f"{layer}.") and k in state})
    return replaced


def _refuse_other_keys(state: dict[str, Tensor], own: dict[str, Tensor], variant: str, name: str) -> None:
    differing = [
        f"{key} is not in the file"
        if key not in state
        else f"{key} is {tuple(state[key].shape)} in the file, but must be {tuple(value.shape)}"
        for key, value in own.items()
        if key not in state or state[key].shape != value.shape
    ]
    differing += [f"{key} is not in the network" for key in state if key not in own]
    if differing:
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise WeightsError(f"weights is {name!r}, but must be of {variant}: {'; '.join(differing[:3])}{more}")


@rank_zero_only
def _report(variant: str, name: str, replaced: list[str], left_out: list[str]) -> None:
    """One line for all that was not taken; at the level of warnings, which is shown by default."""
    parts = []
    if replaced:
        parts.append(f"not loaded, and to be trained from their start: {', '.join(replaced)}")
    if left_out:
        parts.append(f"not used: {', '.join(left_out)}")
    if parts:
        logger.warning("%s from %s: %s", variant, name, "; ".join(parts))
