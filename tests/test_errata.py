"""Faults of the book that are mended here, as far as no package's own tests hold them: docs/errata.md."""

import ast
import inspect
import math
import re
import tomllib
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import torchvision
import yaml
from torch import Tensor, nn

import datamodules
import zoo
from datamodules.interface.batches import ImageBatch
from datamodules.loaders import BatchSampler, TensorLoader
from tests.datamodules.fixtures import idx
from zoo.layers.init import INITIALISERS
from zoo.scratch import multi_device
from zoo.scratch.normalization import BatchNorm
from zoo.tasks import ImageClassifier

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
INITIALISED = [
    name for name in zoo.list_models() if "init" in inspect.signature(zoo.MODELS[name].cls).parameters
]
SHIPPED = [ROOT / "cli.py", *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]


# 15: a metric of an epoch is a mean over its examples


def test_erratum_15_accuracy_is_over_examples_not_over_batches() -> None:
    model = zoo.SoftmaxRegression(in_channels=1, image_size=1, num_classes=2)
    with torch.no_grad():  # chooses class 1 for positive pixels
        model.net[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.net[1].bias.zero_()
    image = torch.ones(5, 1, 1, 1)
    label = torch.tensor([1, 1, 1, 1, 0])  # batches of 4 and 1: right 4 of 4, and 0 of 1
    loader = TensorLoader(ImageBatch(image, label), BatchSampler(5, 4))
    trainer = L.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    (metrics,) = trainer.validate(model, dataloaders=loader, verbose=False)
    assert metrics["val/acc"] == pytest.approx(4 / 5)  # the mean over batches is 1/2
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert metrics["val/loss"] == pytest.approx((4 * right + wrong) / 5, rel=1e-5)


# 16: the test split is only tested on


def test_erratum_16_fashion_mnist_is_not_validated_on_its_test_split(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    # Each image is one number of its own: 0-59 in the training files, 200-209 in the test files.
    for name, pixels in (("train", torch.arange(60)), ("t10k", torch.arange(200, 210))):
        images = pixels.to(torch.uint8).reshape(-1, 1, 1).numpy()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(images.reshape(-1) % 10))
    data = datamodules.FashionMNIST(data_dir=str(tmp_path), val_size=6, image_size=1, batch_size=4)
    data.setup()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    seen = {
        split: sorted(torch.cat([batch.image.flatten() for batch in loader]).tolist())
        for split, loader in loaders.items()
    }
    assert seen["test"] == list(range(200, 210))
    assert len(seen["val"]) == 6
    assert sorted(seen["train"] + seen["val"]) == list(range(60))


# 17: neither the competition's rows nor the validation split shape what a model learns from

HOUSES = [
    "1,10,RL,100000",
    "2,20,RM,110000",
    "3,900,FV,900000",
    "4,,C,950000",
    "5,30,RL,120000",
    "6,40,RL,130000",
]


def houses(folder: Path, rows: list[str]) -> datamodules.HousePrices:
    """The middle rows are held out. There are no competition rows: nothing can be learnt from them."""
    (folder / "house-prices").mkdir(parents=True)
    text = "\n".join(["Id,LotArea,MSZoning,SalePrice", *rows])
    (folder / "house-prices" / "kaggle_house_pred_train.csv").write_text(text + "\n")
    data = datamodules.HousePrices(data_dir=str(folder), fold=1, num_folds=3)
    data.setup()
    return data


def test_erratum_17_held_out_houses_leave_the_training_features_as_they_are(tmp_path: Path) -> None:
    before = houses(tmp_path / "a", HOUSES)
    after = houses(tmp_path / "b", [*HOUSES[:2], "3,1,Other,1", "4,5,New,2", *HOUSES[4:]])
    assert before.encoder is not None
    assert after.encoder is not None
    assert before.encoder.names == ["LotArea", "MSZoning_RL", "MSZoning_RM", "MSZoning_nan"]
    assert before.encoder.state_dict() == after.encoder.state_dict()
    train = [data.splits["train"].features for data in (before, after)]
    torch.testing.assert_close(*train, atol=0, rtol=0)
    areas = torch.tensor([10.0, 20, 30, 40])
    torch.testing.assert_close(train[0][:, 0], (areas - 25) / areas.std())


# Q1, 6: an initialiser takes effect, since every layer has its weights from the start


def test_q1_lenet_starts_with_the_initialiser_that_it_names() -> None:
    for layer in zoo.LeNet().net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            area = layer.weight[0, 0].numel()
            fan_in, fan_out = layer.weight.shape[1] * area, layer.weight.shape[0] * area
            bound = math.sqrt(6 / (fan_in + fan_out))  # Glorot and Bengio (2010), uniform
            assert 0.9 * bound < layer.weight.abs().max().item() <= bound * (1 + 1e-6)
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("model", [zoo.LeNet, zoo.MLP, zoo.DropoutMLP])
@pytest.mark.parametrize("init", [name for name in INITIALISERS if name != "bilinear"])
def test_q1_every_weight_changes_with_the_initialiser(model: type[zoo.LeNet], init: str) -> None:
    weights = {}
    for name in ("default", init):
        torch.manual_seed(0)
        weights[name] = {
            key: weight.detach().clone()
            for key, weight in model(init=name).net.named_parameters()
            if key.endswith("weight")
        }
    for key, weight in weights[init].items():
        assert not torch.equal(weight, weights["default"][key]), key


@pytest.mark.parametrize("name", INITIALISED)
def test_q1_no_model_leaves_a_weight_out(name: str) -> None:
    """The book's does nothing on AlexNet, DenseNet and RegNet, and little on ResNet-18 for small images.

    An embedding is a table, whose rows no initialiser for layers has a fan for; it stays torch's N(0, 1).
    """
    entry = zoo.MODELS[name]
    weights = []
    for init in ("default", "kaiming_normal"):
        torch.manual_seed(0)
        net = entry.cls(**{**entry.tiny, "init": init}).net
        layers = {name: layer for name, layer in net.named_modules() if not isinstance(layer, nn.Embedding)}
        weights.append(
            {
                f"{name}.{key}": value
                for name, layer in layers.items()
                for key, value in layer.named_parameters(recurse=False)
                if value.ndim > 1
            }
        )
    assert weights[0]
    for key in weights[0]:
        assert not torch.equal(weights[0][key], weights[1][key]), key


@pytest.mark.parametrize("model", [zoo.AlexNet, zoo.DenseNet, zoo.RegNetX32])
def test_q1_networks_that_the_book_leaves_at_torchs_start_are_xavier_here(
    model: type[ImageClassifier],
) -> None:
    assert_starts_xavier(model())


def assert_starts_xavier(model: ImageClassifier) -> None:
    weights = [m.weight for m in model.net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert weights
    for weight in weights:
        bound = math.sqrt(6 / (weight[0, 0].numel() * (weight.shape[0] + weight.shape[1])))
        assert 0.9 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("model", [zoo.LeNet, zoo.VGG11, zoo.NiN, zoo.GoogLeNet, zoo.BNLeNet, zoo.ResNet18])
def test_erratum_19_other_convolutional_networks_are_xavier_too(model: type[ImageClassifier]) -> None:
    assert_starts_xavier(model(image_size=67))


# Q30: weights are named, not asked for by a flag that torchvision deprecates


def test_q30_weights_are_named_by_their_release() -> None:
    with (
        pytest.warns(UserWarning, match="'pretrained' is deprecated"),
        pytest.warns(UserWarning, match="Arguments other than a weight enum"),
        torch.device("meta"),
    ):
        torchvision.models.resnet18(pretrained=False)
    with pytest.raises(TypeError, match="pretrained"):
        zoo.ResNet(variant="resnet18", pretrained=True)
    with pytest.raises(
        ValueError, match="but must be torchvision:IMAGENET1K_V1 or torchvision:IMAGENET1K_V2"
    ):
        zoo.ResNet(weights="torchvision:BEST")


@pytest.mark.parametrize("name", zoo.list_models())
def test_erratum_6_no_model_has_a_lazy_layer(name: str) -> None:
    entry = zoo.MODELS[name]
    model = entry.cls(**entry.tiny)
    assert not [m for m in model.modules() if isinstance(m, nn.modules.lazy.LazyModuleMixin)]
    assert not [p for p in model.parameters() if isinstance(p, nn.UninitializedParameter)]


# Q3: batch normalisation from scratch looks at the mode, and its statistics are part of the model


def test_q3_batch_norm_looks_at_the_mode_and_not_at_gradients() -> None:
    model = zoo.BNLeNetScratch(image_size=16)
    norm = model.net.bn1
    images = torch.rand(4, 1, 16, 16)
    with torch.no_grad():
        model(images)  # in training mode: the running mean follows
        follows = norm.running_mean.clone()
        assert follows.any()
        model.eval()(images)
    model(images)  # in evaluation mode, with gradients: it stays
    assert torch.equal(norm.running_mean, follows)


def test_q3_running_statistics_are_saved_and_move_with_the_model() -> None:
    model = zoo.BNLeNetScratch(image_size=16)
    model(torch.rand(4, 1, 16, 16))
    again = zoo.BNLeNetScratch(image_size=16)
    again.load_state_dict(model.state_dict())
    for name in ("bn1", "bn2", "bn3", "bn4"):
        for statistic in ("running_mean", "running_var"):
            loaded, saved = (getattr(getattr(m.net, name), statistic) for m in (again, model))
            torch.testing.assert_close(loaded, saved, atol=0, rtol=0)
    assert model.to("meta").net.bn1.running_mean.device.type == "meta"


# Q15: a schedule that was drawn still does its work


class Rates(L.Callback):
    """The learning rate at each epoch's start."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_q15_multi_step_schedule_works_after_it_was_drawn() -> None:
    text = (ROOT / "configs" / "cnn" / "lenet_modern_fashion_mnist_multi_step.yaml").read_text()
    arguments = yaml.safe_load(text)["model"]["init_args"]
    model = zoo.LeNetModern(image_size=12, num_classes=4, **arguments)

    # Drawing a schedule takes its steps, so that the run after it goes on where the picture ended.
    drawn = model.configure_optimizers()
    curve = []
    for _ in range(30):
        curve.append(drawn["optimizer"].param_groups[0]["lr"])
        drawn["optimizer"].step()
        drawn["lr_scheduler"]["scheduler"].step()
    assert drawn["optimizer"].param_groups[0]["lr"] == 0.125

    rates = Rates()
    trainer = L.Trainer(
        max_epochs=30,
        limit_val_batches=0,
        logger=False,
        callbacks=[rates],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
    )
    loader = TensorLoader(model.example_batch(2), BatchSampler(2, 2))
    trainer.fit(model, loader, loader)
    assert rates.seen == curve == [0.5] * 15 + [0.25] * 15


# 18: a learning rate means the same on any number of devices


@pytest.mark.parametrize("devices", [2, 4])
def test_erratum_18_learning_rate_does_not_depend_on_the_number_of_devices(devices: int) -> None:
    model = zoo.MultiDeviceLeNet(image_size=14, num_classes=4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    start = model.net.as_tuple()
    batch = model.example_batch(8)

    def after(devices: int, lr: float) -> list[Tensor]:
        copies = [multi_device.copy_parameters(start, "cpu") for _ in range(devices)]
        multi_device.train_batch(batch.image, batch.label, copies, lr=lr)
        return [p.detach() for p in copies[-1]]

    torch.testing.assert_close(after(devices, 0.1), after(1, 0.1), atol=1e-6, rtol=1e-5)

    # Each device's mean loss, and gradients only added up: the rate acts times the number of devices.
    parts = zip(batch.image.chunk(devices), batch.label.chunk(devices), strict=True)
    losses = [F.cross_entropy(multi_device.lenet(x, start), y) for x, y in parts]
    gradients = [list(torch.autograd.grad(loss, start)) for loss in losses]
    for of_one_parameter in zip(*gradients, strict=True):
        multi_device.allreduce(of_one_parameter)
    summed = [p.detach() - 0.1 * g for p, g in zip(start, gradients[0], strict=True)]
    torch.testing.assert_close(summed, after(1, 0.1 * devices), atol=1e-6, rtol=1e-5)
    assert (summed[6] - after(1, 0.1)[6]).abs().max() > 0.01


def test_q13_step_on_the_mean_is_the_books_on_the_sum() -> None:
    config = yaml.safe_load((ROOT / "configs/cnn/resnet18_small_kaggle_cifar10.yaml").read_text())
    ours = config["model"]["init_args"]["optimizer"]["init_args"]
    batch_size = inspect.signature(datamodules.KaggleCIFAR10).parameters["batch_size"].default
    inputs, label = torch.randn(batch_size, 4), torch.arange(batch_size) % 3

    def weights_after_two_steps(reduction: str, settings: dict[str, float]) -> Tensor:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(net.parameters(), **settings)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), label, reduction=reduction).backward()
            optimizer.step()
        return net.weight.detach()

    book = weights_after_two_steps("sum", {"lr": 2e-4, "momentum": 0.9, "weight_decay": 5e-4})
    torch.testing.assert_close(weights_after_two_steps("mean", ours), book, atol=1e-7, rtol=1e-6)
    undivided = weights_after_two_steps("mean", {**ours, "weight_decay": 5e-4})
    assert (undivided - book).abs().max() > 1e-6


# 19: what the book has mended


def test_erratum_19_momentum_of_batch_norm_weighs_the_new_value() -> None:
    images = torch.full((4, 3, 2, 2), 10.0)
    for norm in (BatchNorm(3), nn.BatchNorm2d(3)):
        norm(images)
        torch.testing.assert_close(norm.running_mean, torch.full((3,), 0.9 * 0 + 0.1 * 10))
        torch.testing.assert_close(norm.running_var, torch.full((3,), 0.9 * 1 + 0.1 * 0))


def test_erratum_19_dropout_of_alexnet_follows_the_hidden_layers() -> None:
    expected = [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    model = zoo.AlexNet(image_size=65, hidden_size=8)
    assert [type(layer) for layer in model.net.classifier] == expected
    assert [layer.p for layer in model.net.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_erratum_19_googlenets_second_module_has_a_relu_after_each_convolution() -> None:
    net = zoo.GoogLeNet(image_size=32).net
    seen: dict[str, Tensor] = {}
    for name in ("conv2.conv", "conv2", "conv3.conv", "conv3"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output.clone()})
        )
    net(torch.rand(2, 1, 32, 32))
    for name in ("conv2", "conv3"):
        assert seen[f"{name}.conv"].min() < 0
        torch.testing.assert_close(seen[name], seen[f"{name}.conv"].clamp(min=0), atol=0, rtol=0)


@pytest.mark.parametrize("model", [zoo.BNLeNet, zoo.BNLeNetScratch])
def test_erratum_19_lenet_with_batch_norm_averages_as_lenet_does(model: type[ImageClassifier]) -> None:
    net = model(image_size=16).net
    seen: dict[str, Tensor] = {}
    for name in ("bn1", "bn2"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output})
        )
    for name in ("conv2", "fc1"):
        net.get_submodule(name).register_forward_pre_hook(
            lambda _m, inputs, name=name: seen.update({name: inputs[0]})
        )
    net(torch.rand(2, 1, 16, 16))
    torch.testing.assert_close(seen["conv2"], F.avg_pool2d(seen["bn1"].sigmoid(), 2))
    torch.testing.assert_close(seen["fc1"].flatten(1), F.avg_pool2d(seen["bn2"].sigmoid(), 2).flatten(1))


# Guards over the source of what is shipped


def deprecated_flags(tree: ast.AST) -> list[str]:
    """Lines that ask torchvision for weights as the book does."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and any(keyword.arg == "pretrained" for keyword in node.keywords)
    ]


def lazy_layers(tree: ast.AST) -> list[str]:
    """Lines that use torch's lazy layers, by their names."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        names += [node.id] if isinstance(node, ast.Name) else []
        if any(re.fullmatch(r"(.*\.)?(Lazy[A-Z]\w*|Uninitialized\w+)", name) for name in names):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def torchtext_imports(tree: ast.AST) -> list[str]:
    """Lines that import torchtext, by a statement or by its name in a string."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        if any(name.split(".")[0] == "torchtext" for name in names):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def unsafe_loading(tree: ast.AST) -> list[str]:
    """Lines that load weights that do not fit (``strict=False``), or may run code that hides in a file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        lenient = given.get("strict", "True") != "True" and name != "zip"
        if name.endswith("load_state_dict") and len(node.args) > 1:
            lenient = ast.unparse(node.args[1]) != "True"
        pickled = given.get("weights_only", "True") != "True"
        pickled |= name == "torch.load" and "weights_only" not in given
        if lenient or pickled:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


GUARDS = [deprecated_flags, lazy_layers, torchtext_imports, unsafe_loading]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_code_has_no_lazy_layer_no_torchtext_and_no_unsafe_loading(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [line for guard in GUARDS for line in guard(tree)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "layer = nn.LazyLinear(10)",
        "from torch.nn import LazyConv2d",
        "weight = nn.parameter.UninitializedParameter()",
        "import torchtext",
        "import torchtext.vocab as v",
        "from torchtext.data import get_tokenizer",
        "importlib.import_module('torchtext.vocab')",
        "net.load_state_dict(state, strict=False)",
        "net.load_state_dict(state, False)",
        "LeNet.load_from_checkpoint(path, strict=False)",
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "trainer.fit(model, weights_only=False)",
        "trainer.fit(model, weights_only=trusted)",
        "net = torchvision.models.resnet18(pretrained=True)",
    ],
)
def test_guards_see_what_they_are_for(wrong: str) -> None:
    assert any(guard(ast.parse(wrong)) for guard in GUARDS)


@pytest.mark.parametrize(
    "right",
    [
        "import lazy_loader",
        "for a, b in zip(x, y, strict=False): pass",
        "net.load_state_dict(state, strict=True)",
        "torch.load(path, map_location='cpu', weights_only=True)",
        "text = 'torchtext is not needed'",
    ],
)
def test_guards_let_the_rest_pass(right: str) -> None:
    assert not any(guard(ast.parse(right)) for guard in GUARDS)


def test_requirements_need_no_torchtext_and_leave_new_releases_in() -> None:
    project = PYPROJECT["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=!~ ;]", text)[0] for text in requirements}
    assert "torch" in names
    assert "torchtext" not in names
    # The book's package pins numpy, scipy and pandas to releases that have no wheels for Python 3.12.
    bounded = [text for text in requirements if re.search(r"[<~]|==", text)]
    assert bounded == ["jsonargparse[signatures]>=4.41,<5"]
    assert project["requires-python"] == ">=3.11"
