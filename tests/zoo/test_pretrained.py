"""Published weights: strict keys, checked hashes, and one line for what is not taken."""

import hashlib
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torchvision
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from zoo._pretrained import WeightsError, load_pretrained


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of ResNet-18's weights, random ones."""
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision_twin("resnet18").state_dict(), path)
    return path


def test_local_file_fills_the_network(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = zoo.ResNet(variant="resnet18", weights=str(saved))
    expected = torch.load(saved, weights_only=True)
    torch.testing.assert_close(dict(model.net.state_dict()), dict(expected), atol=0, rtol=0)
    assert caplog.records == []


def test_other_classes_and_channels_keep_their_start_and_are_named_in_one_line(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    fresh = zoo.ResNet(variant="resnet18", num_classes=7, in_channels=1).net
    torch.manual_seed(1)
    net = zoo.ResNet(variant="resnet18", num_classes=7, in_channels=1, weights=str(saved)).net
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "conv1 (3 channels there, 1 here), fc (1000 classes there, 7 here)" in caplog.text
    published = torch.load(saved, weights_only=True)
    for key, value in net.state_dict().items():
        replaced = key.startswith(("conv1.", "fc."))
        torch.testing.assert_close(
            value, (fresh.state_dict() if replaced else published)[key], atol=0, rtol=0
        )


def test_only_the_first_process_tells_what_was_not_loaded(
    saved: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    model = zoo.ResNet(variant="resnet18", num_classes=7, weights=str(saved))
    assert caplog.records == []
    published = torch.load(saved, weights_only=True)
    torch.testing.assert_close(model.net.conv1.weight.detach(), published["conv1.weight"], atol=0, rtol=0)


def test_file_of_another_architecture_names_the_first_three_keys(tmp_path: Path) -> None:
    path = tmp_path / "resnet50.pth"
    torch.save(torchvision_twin("resnet50").state_dict(), path)
    with pytest.raises(WeightsError) as error:
        zoo.ResNet(variant="resnet18", weights=str(path))
    assert str(error.value).startswith(
        f"weights is {str(path)!r}, but must be of resnet18: layer1.0.conv1.weight is (64, 64, 1, 1) in the "
        "file, but must be (64, 64, 3, 3); layer1.1.conv1.weight is (64, 256, 1, 1) in the file"
    )
    # 8 convolutions of other shapes, ... : every key that only one of them has, or has in another shape
    ours, theirs = (torchvision_twin(v).state_dict() for v in ("resnet18", "resnet50"))
    counters = [key for key in ours if key not in theirs and key.endswith("num_batches_tracked")]
    differing = [
        k for k in {**ours, **theirs} if k not in ours or k not in theirs or ours[k].shape != theirs[k].shape
    ]
    assert counters == []
    assert f"(and {len(differing) - 3} more)" in str(error.value)


class Tiny(nn.Module):
    stem_name = "conv"
    head_names = ("fc",)

    def __init__(self, features: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(features, 4)


def load(state: dict[str, Any], folder: Path, net: nn.Module | None = None, **arguments: Any) -> nn.Module:
    torch.save(state, folder / "tiny.pth")
    net = net or Tiny()
    load_pretrained(net, str(folder / "tiny.pth"), variant="tiny", **arguments)
    return net


def test_head_with_other_inputs_is_no_matter_of_classes(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"fc\.weight is \(4, 2\) in the file, but must be \(4, 3\)$"):
        load(Tiny(2).state_dict(), tmp_path, Tiny(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.weight"), r"norm\.weight is not in the file$"),
        (lambda s: s.pop("norm.running_var"), r"norm\.running_var is not in the file$"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is not in the network$"),
        (lambda s: s.pop("fc.weight"), r"fc\.weight is not in the file$"),
    ],
)
def test_missing_and_surplus_keys_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    state = dict(Tiny().state_dict())
    change(state)
    with pytest.raises(WeightsError, match=message):
        load(state, tmp_path)


def test_old_files_without_counters_are_taken(tmp_path: Path) -> None:
    state = {k: v for k, v in Tiny().state_dict().items() if not k.endswith("num_batches_tracked")}
    net = load(state, tmp_path)
    torch.testing.assert_close(net.state_dict()["fc.weight"], state["fc.weight"], atol=0, rtol=0)
    assert net.state_dict()["norm.num_batches_tracked"] == 0


def test_keys_may_be_renamed_and_left_out_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {f"old.{key}": value for key, value in Tiny().state_dict().items()}
    state["aux1.fc"] = state["aux2.fc"] = torch.zeros(1)
    net = load(state, tmp_path, rename=lambda k: k.removeprefix("old.") if k.startswith("old.") else None)
    torch.testing.assert_close(net.state_dict()["fc.weight"], state["old.fc.weight"], atol=0, rtol=0)
    assert "not used: aux1, aux2" in caplog.text
    assert len(caplog.records) == 1


def test_own_checkpoint_is_a_file_of_weights(tmp_path: Path) -> None:
    model = zoo.ResNet(variant="resnet18", image_size=8, num_classes=3)
    trainer = L.Trainer(max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = zoo.ResNet(variant="resnet18", weights=str(tmp_path / "model.ckpt"), num_classes=3)
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), atol=0, rtol=0)


def test_checkpoint_of_a_fine_tuned_model_needs_the_file_no_more(saved: Path, tmp_path: Path) -> None:
    model = zoo.ResNet(variant="resnet18", num_classes=3, weights=str(saved))
    assert model.hparams["weights"] is None
    trainer = L.Trainer(max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    saved.unlink()
    again = zoo.ResNet.load_from_checkpoint(tmp_path / "model.ckpt")
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), atol=0, rtol=0)


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"not a file of weights", pickle.dumps({"fc.weight": Trap()}), b"PK\x05\x06" + bytes(18)],
)
def test_what_is_no_file_of_tensors_is_refused_without_running_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^{re.escape(str(tmp_path))}/bad\.pth: "):
        zoo.ResNet(variant="resnet18", weights=str(tmp_path / "bad.pth"))
    assert not Path("sprung").exists()


def test_pickled_objects_are_refused_without_running_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds pickled objects, which could run code"):
        load({"fc.weight": Trap()}, tmp_path)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("step", [97, 1009])
def test_file_with_flipped_bytes_is_refused_in_one_line(tmp_path: Path, step: int) -> None:
    """Whatever torch's reader makes of the damage."""
    torch.save(Tiny().state_dict(), tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    refused = []
    for position in range(0, len(content), step):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (tmp_path / "bad.pth").write_bytes(damaged)
        try:
            load_pretrained(Tiny(), str(tmp_path / "bad.pth"), variant="tiny")
        except WeightsError as error:
            refused.append(str(error))
    assert refused
    assert not [line for line in refused if "\n" in line]


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"fc.weight": torch.zeros(2, 2).to_sparse()}])
def test_keys_that_are_no_names_and_sparse_tensors_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match="holds no state_dict"):
        load(content, tmp_path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """Torchvision publishes a file of VGG-16 whose classifier holds none."""
    state = dict(Tiny().state_dict())
    state["fc.weight"] = torch.full((4, 2), torch.nan)
    with pytest.raises(WeightsError, match=r"fc\.weight holds values that are not finite$"):
        load(state, tmp_path)


def test_head_of_another_width_needs_its_bias_too(tmp_path: Path) -> None:
    state = {**Tiny().state_dict(), "fc.weight": torch.zeros(9, 2)}
    del state["fc.bias"]
    with pytest.raises(WeightsError, match=r"fc\.bias is not in the file$"):
        load(state, tmp_path)


def test_network_without_memory_is_refused(saved: Path) -> None:
    with (
        pytest.raises(WeightsError, match="but must be None for a network on the meta device"),
        torch.device("meta"),
    ):
        zoo.ResNet(variant="resnet18", weights=str(saved))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "net.", "module."])
def test_checkpoints_of_other_programs_are_taken(tmp_path: Path, wrapper: str, prefix: str) -> None:
    """Such as torchvision's own training script writes, with or without several devices."""
    state = {f"{prefix}{key}": value for key, value in Tiny().state_dict().items()}
    net = load({wrapper: state, "epoch": 3}, tmp_path)
    torch.testing.assert_close(net.fc.weight.detach(), state[f"{prefix}fc.weight"], atol=0, rtol=0)


def test_values_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tiny\.pth: holds no state_dict"):
        load({"fc.weight": "3"}, tmp_path)


def test_missing_file_and_unknown_name_say_what_there_is() -> None:
    with pytest.raises(
        WeightsError, match=r"^weights is 'resnet18\.pth', but must be a file that exists, or torch"
    ):
        zoo.ResNet(variant="resnet18", weights="resnet18.pth")
    with pytest.raises(
        ValueError, match="but must be torchvision:IMAGENET1K_V1 or torchvision:IMAGENET1K_V2"
    ):
        zoo.ResNet(variant="resnet50", weights="torchvision:IMAGENET1K_V3")


# Downloads, from a folder by file:// in place of the network


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path) -> Path:
    """A file of our own at torchvision's address of ResNet-18's weights, and an empty cache."""
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    path = saved.rename(tmp_path / f"resnet18-{digest[:8]}.pth")
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", path.as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return path


def download(folder: Path) -> dict[str, Tensor]:
    return zoo.ResNet(variant="resnet18", weights="torchvision:IMAGENET1K_V1").net.state_dict()


def test_published_file_is_downloaded_once(published: Path, tmp_path: Path) -> None:
    expected = torch.load(published, weights_only=True)
    torch.testing.assert_close(dict(download(tmp_path)), dict(expected), atol=0, rtol=0)
    published.unlink()
    torch.testing.assert_close(dict(download(tmp_path)), dict(expected), atol=0, rtol=0)


def test_damaged_download_is_refused_and_leaves_nothing(published: Path, tmp_path: Path) -> None:
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="the download is damaged"):
        download(tmp_path)
    assert list((tmp_path / "torch" / "hub" / "checkpoints").glob("[!.]*")) == []


def test_damaged_file_in_the_cache_is_refused_and_left_there(published: Path, tmp_path: Path) -> None:
    download(tmp_path)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / published.name
    cached.write_bytes(cached.read_bytes() + b"x")
    with pytest.raises(
        WeightsError, match=r"its SHA-256 is [0-9a-f]{64}, but must begin with [0-9a-f]{8}; move it"
    ):
        download(tmp_path)
    assert cached.exists()


def test_no_network_names_address_and_place(published: Path, tmp_path: Path) -> None:
    published.unlink()
    with pytest.raises(
        WeightsError, match=r"could not be downloaded \(.*\); check the network, or put the file"
    ):
        download(tmp_path)
    assert list((tmp_path / "torch" / "hub" / "checkpoints").glob("[!.]*")) == []
