"""GoogLeNet: shapes, counts, equality with functions and with torchvision, the auxiliary heads."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from datamodules.interface.batches import ImageBatch
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from zoo import _pretrained
from zoo._pretrained import WeightsError
from zoo.cnn.googlenet import BOOK, GoogLeNetOutputs, Inception
from zoo.layers.conv import ConvBlock


def imagenet(**arguments: Any) -> zoo.ImageNetGoogLeNet:
    settings = {"num_classes": 5, "image_size": 64, "dropout": 0, "dropout_aux": 0, **arguments}
    return zoo.ImageNetGoogLeNet(**settings)


def twin_of(**arguments: Any) -> nn.Module:
    return torchvision_twin("googlenet", **{"num_classes": 5, "dropout": 0, "dropout_aux": 0, **arguments})


# The book's network


def test_shapes_of_the_books_network_at_96_pixels() -> None:
    with torch.device("meta"):
        net = zoo.GoogLeNet().net
    seen = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output.shape[1:]}))
    net(torch.zeros(1, 1, 96, 96, device="meta"))
    shapes = {name: tuple(shape) for name, shape in seen.items()}
    assert shapes["maxpool1"] == (64, 24, 24)
    assert shapes["maxpool2"] == (192, 12, 12)
    assert shapes["inception3a"] == (256, 12, 12)
    assert shapes["maxpool3"] == (480, 6, 6)
    assert shapes["maxpool4"] == (832, 3, 3)
    assert shapes["inception5b"] == (1024, 3, 3)
    assert shapes["flatten"] == (1024,)
    assert sum(name.startswith("inception") for name in shapes) == 9


def depth(module: nn.Module) -> int:
    """Weight layers on the longest path through a module whose children follow one another."""
    children = [depth(child) for child in module.children()]
    if isinstance(module, nn.Conv2d | nn.Linear):
        return 1
    return max(children) if isinstance(module, Inception) else sum(children)


def test_longest_path_has_22_weight_layers() -> None:
    with torch.device("meta"):
        assert depth(zoo.GoogLeNet().net) == depth(imagenet(aux_logits=False).net) == 22


def conv(block: ConvBlock, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, block.conv.weight, block.conv.bias, stride=stride, padding=padding).relu()


def inception(block: Inception, x: Tensor) -> Tensor:
    """The book's block by functions, section 8.4.1."""
    one, (two, three), (four, five), (_, six) = block.branch1, block.branch2, block.branch3, block.branch4
    branches = [
        conv(one, x),
        conv(three, conv(two, x), padding=1),
        conv(five, conv(four, x), padding=2),
        conv(six, F.max_pool2d(x, 3, stride=1, padding=1)),
    ]
    return torch.cat(branches, dim=1)


def test_books_block_is_what_section_8_4_1_says() -> None:
    block = Inception(3, 4, (5, 6), (7, 8), 9, style=BOOK)
    x = torch.randn(2, 3, 7, 7)
    assert block(x).shape == (2, 4 + 6 + 8 + 9, 7, 7)
    torch.testing.assert_close(block(x), inception(block, x), atol=1e-6, rtol=1e-5)
    assert [c.conv.kernel_size for c in (block.branch2[1], block.branch3[1])] == [(3, 3), (5, 5)]


def test_books_network_is_what_section_8_4_2_says() -> None:
    """Outputs and gradients, at a size of which every pooling leaves a rest."""
    net = zoo.GoogLeNet(image_size=50, num_classes=3, init="kaiming_normal").net
    x = torch.rand(2, 1, 50, 50)

    def by_functions() -> Tensor:
        y = F.max_pool2d(conv(net.conv1, x, stride=2, padding=3), 3, stride=2, padding=1)
        y = F.max_pool2d(conv(net.conv3, conv(net.conv2, y), padding=1), 3, stride=2, padding=1)
        y = F.max_pool2d(inception(net.inception3b, inception(net.inception3a, y)), 3, stride=2, padding=1)
        for name in "abcde":
            y = inception(net.get_submodule(f"inception4{name}"), y)
        y = F.max_pool2d(y, 3, stride=2, padding=1)
        y = inception(net.inception5b, inception(net.inception5a, y)).mean(dim=(2, 3))
        return F.linear(y, net.fc.weight, net.fc.bias)

    outputs, gradients = [], []
    for function in (lambda: net(x), by_functions):
        outputs.append(function())
        gradients.append(torch.autograd.grad(outputs[-1].square().sum(), list(net.parameters())))
    assert outputs[0].std() > 0.01
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-6, rtol=1e-4)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6 + 1e-4 * theirs.abs().max().item(), rtol=1e-4)


# Torchvision's


@pytest.mark.parametrize(("aux_logits", "count"), [(False, 6_624_904), (True, 13_004_888)])
def test_published_numbers_of_parameters(aux_logits: bool, count: int) -> None:
    with torch.device("meta"):
        model = zoo.ImageNetGoogLeNet(aux_logits=aux_logits)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("aux_logits", "transform_input"), [(False, False), (True, True)])
def test_outputs_are_torchvisions(aux_logits: bool, transform_input: bool, training: bool) -> None:
    twin = twin_of(aux_logits=aux_logits, transform_input=transform_input).train(training)
    net = imagenet(aux_logits=aux_logits, transform_input=transform_input).net.train(training)
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    x = torch.rand(4, 3, 67, 67)  # a size that pooling rounds up
    with torch.no_grad():
        ours, theirs = net(x), twin(x)
    if training and aux_logits:
        assert isinstance(ours, GoogLeNetOutputs)
        ours, theirs = ours._asdict(), theirs._asdict()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(net.get_buffer(name), buffer, atol=1e-5, rtol=1e-5)


def test_gradients_of_all_heads_are_torchvisions() -> None:
    twin, net = twin_of(aux_logits=True).train(), imagenet().net
    net.load_state_dict(twin.state_dict())
    x = torch.rand(4, 3, 64, 64)
    gradients = []
    for network in (net, twin):
        loss = sum((i * output).square().sum() for i, output in enumerate(network(x), start=1))
        assert isinstance(loss, Tensor)
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * theirs.abs().max().item(), rtol=1e-4)


# Weights


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes it, with the auxiliary heads."""
    path = tmp_path_factory.mktemp("weights") / "googlenet.pth"
    torch.save(twin_of(aux_logits=True, num_classes=5).state_dict(), path)
    return path


def test_auxiliary_heads_in_the_file_are_left_out_in_one_line(
    published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = imagenet(weights=str(published), aux_logits=False)
    assert caplog.messages == [f"googlenet from {published}: not used: aux1, aux2"]
    saved = torch.load(published, weights_only=True)
    assert not any(key.startswith("aux") for key in model.net.state_dict())
    for key, value in model.net.state_dict().items():
        torch.testing.assert_close(value, saved[key], atol=0, rtol=0)


def test_all_heads_get_the_classes_that_are_asked_for(
    published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = imagenet(weights=str(published), num_classes=7)
    heads = ", ".join(f"{head} (5 classes there, 7 here)" for head in ("fc", "aux1.fc2", "aux2.fc2"))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(heads)
    saved = torch.load(published, weights_only=True)
    for key in ("aux1.fc1.weight", "aux2.conv.conv.weight"):
        torch.testing.assert_close(model.net.state_dict()[key], saved[key], atol=0, rtol=0)


def test_file_without_auxiliary_heads_fits_a_network_without_them_alone(published: Path) -> None:
    saved = torch.load(published, weights_only=True)
    torch.save({k: v for k, v in saved.items() if not k.startswith("aux")}, "without.pth")
    imagenet(weights="without.pth", aux_logits=False)
    with pytest.raises(WeightsError, match=r"must be of googlenet: aux1\.conv\.conv\.weight is not in"):
        imagenet(weights="without.pth")


@pytest.mark.parametrize("transform_input", [False, True])
def test_published_weights_without_their_input_transform_are_warned_of(
    published: Path,
    transform_input: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_pretrained, "_download", lambda url: published)
    imagenet(weights="torchvision:IMAGENET1K_V1", transform_input=transform_input)
    assert ["set transform_input to true" in message for message in caplog.messages] == [True] * (
        not transform_input
    )


# Training with auxiliary heads


def heads_that_disagree() -> tuple[zoo.ImageNetGoogLeNet, ImageBatch]:
    """The main head sees class 1 everywhere, the others class 2 and class 3; half of the images are of 1."""
    model = imagenet(label_smoothing=0.1)
    for i, head in enumerate(model.net.head_names, start=1):
        nn.init.constant_(model.net.get_submodule(head).bias[i], 9.0)
    batch = ImageBatch(torch.rand(4, 3, 64, 64), torch.tensor([1, 1, 2, 3]))
    return model, batch


@pytest.mark.parametrize("soft", [False, True])
def test_training_loss_counts_auxiliary_heads_and_metrics_do_not(soft: bool) -> None:
    model, batch = heads_that_disagree()
    label = batch.label
    if soft:
        label = 0.8 * F.one_hot(label, 5).float() + 0.04
        batch = ImageBatch(batch.image, label)
    loss, sums, examples = model.measure(batch)
    outputs = model.net(batch.image)
    one_hot = label if soft else F.one_hot(label, 5).float()
    smooth = 0.9 * one_hot + 0.1 / 5
    main, aux2, aux1 = (-(smooth * o.log_softmax(dim=1)).sum(dim=1).mean() for o in outputs)
    torch.testing.assert_close(loss, main + 0.3 * (aux1 + aux2), atol=1e-5, rtol=1e-5)
    assert examples == 4
    assert set(sums) == {"acc"}
    assert sums["acc"] == 2  # the auxiliary heads have one right each


def test_evaluation_and_prediction_know_the_main_head_alone() -> None:
    model, batch = heads_that_disagree()
    assert model(batch.image).shape == (4, 5)  # in training too
    model.eval()
    loss, sums, _ = model.measure(batch)
    logits = model.net(batch.image)
    assert isinstance(logits, Tensor)
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.label), atol=1e-6, rtol=1e-6)
    assert sums["acc"] == 2
    torch.testing.assert_close(model.predict_step(batch, 0), logits.softmax(dim=1), atol=1e-6, rtol=1e-6)


def test_without_auxiliary_heads_training_has_one_loss() -> None:
    model = imagenet(aux_logits=False)
    batch = model.example_batch(4)
    loss = model.measure(batch)[0]
    torch.testing.assert_close(loss, F.cross_entropy(model.net(batch[0]), batch[1]), atol=1e-5, rtol=1e-5)


def test_a_network_frozen_in_evaluation_mode_has_one_loss() -> None:
    model = imagenet()
    batch = model.example_batch(4)
    model.net.eval()
    loss = model.measure(batch)[0]
    torch.testing.assert_close(loss, F.cross_entropy(model.net(batch[0]), batch[1]), atol=1e-5, rtol=1e-5)


def test_dropout_is_before_each_last_layer() -> None:
    net = imagenet(dropout=0.25, dropout_aux=0.5).net
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in ("dropout", "aux1.dropout", "aux2.dropout"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
    heads: dict[str, Tensor] = {}
    for name in net.head_names:
        net.get_submodule(name).register_forward_pre_hook(
            lambda _m, inputs, name=name: heads.update({name: inputs[0]})
        )
    net(torch.rand(8, 3, 64, 64))
    for dropout, head, p in zip(seen, ("fc", "aux2.fc2", "aux1.fc2"), (0.25, 0.5, 0.5), strict=True):
        before, after = seen[dropout]
        assert (after == 0)[before != 0].float().mean().item() == pytest.approx(p, abs=0.05)
        assert heads[head] is after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout_aux": 1.5}, r"^dropout_aux is 1\.5, but must be in \[0, 1\)$"),
        (
            {"in_channels": 1, "transform_input": True},
            "^transform_input is True, but must be False where in_channels is 1: it takes red, green and",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imagenet(**arguments)
