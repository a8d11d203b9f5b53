"""The recipes of book and papers: the defaults of models, and what configurations add."""

import inspect
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import datamodules
import zoo
from zoo._hparams import CLASS_PATH
from zoo.optim import sgd
from zoo.tasks import Task

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "cnn"
SGD = torch.optim.SGD


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults of a model.

    Attributes:
        optimizer: Class of the optimizer.
        settings: Its arguments; all others have the class's own defaults.
        init: How weights of convolutions and of linear layers start: a key of ``DEVIATIONS`` each.
        arguments: The model's own, all but the label smoothing, which no recipe has.
        dropouts: Drop probabilities in the order of the network's modules.
    """

    optimizer: type[torch.optim.Optimizer] = SGD
    settings: dict[str, Any]
    init: tuple[str, str] = ("xavier_uniform", "xavier_uniform")
    arguments: dict[str, Any]
    dropouts: tuple[float, ...] = ()


def grey(image_size: int, **others: Any) -> dict[str, Any]:
    """Of grey images in 10 classes, as Fashion-MNIST's."""
    return {"in_channels": 1, "num_classes": 10, "image_size": image_size, **others}


def imagenet(**others: Any) -> dict[str, Any]:
    return {"in_channels": 3, "num_classes": 1000, "image_size": 224, "weights": None, **others}


XAVIER = {"init": "xavier_uniform"}
HIDDEN = {"hidden_size": 4096, "dropout": 0.5}
HE = ("he_fan_out", "default")

# The first part is the book's: sections 7.6, 8.1 to 8.8, 12.11, 13.5 and 13.6. The second is the papers',
# with torchvision's values where the models' documentation says so.
RECIPES = {
    "LeNet": Recipe(
        settings={"lr": 0.1},
        arguments=grey(28, **XAVIER, activation="sigmoid", pooling="avg", padding=2),
    ),
    "AlexNet": Recipe(settings={"lr": 0.01}, arguments=grey(224, **XAVIER, **HIDDEN), dropouts=(0.5, 0.5)),
    "VGG11": Recipe(settings={"lr": 0.01}, arguments=grey(224, **XAVIER, **HIDDEN), dropouts=(0.5, 0.5)),
    "NiN": Recipe(settings={"lr": 0.05}, arguments=grey(224, **XAVIER, dropout=0.5), dropouts=(0.5,)),
    "GoogLeNet": Recipe(settings={"lr": 0.01}, arguments=grey(96, **XAVIER)),
    "BNLeNetScratch": Recipe(optimizer=sgd.SGD, settings={"lr": 0.1}, arguments=grey(28, unbiased=True)),
    "BNLeNet": Recipe(settings={"lr": 0.1}, arguments=grey(28, **XAVIER)),
    "ResNet18": Recipe(settings={"lr": 0.01}, arguments=grey(96, **XAVIER)),
    "DenseNet": Recipe(settings={"lr": 0.01}, arguments=grey(96, **XAVIER)),
    "RegNetX32": Recipe(settings={"lr": 0.05}, arguments=grey(96, **XAVIER)),
    "AnyNet": Recipe(
        settings={"lr": 0.05},
        arguments=grey(
            96,
            **XAVIER,
            stem_channels=32,
            depths=(4, 6),
            widths=(32, 80),
            group_widths=(16, 16),
            bottleneck_multipliers=(1.0, 1.0),
        ),
    ),
    "LeNetModern": Recipe(
        settings={"lr": 0.3},
        init=("default", "default"),
        arguments=grey(28, init="default"),
    ),
    "MultiDeviceLeNet": Recipe(
        optimizer=sgd.SGD,
        settings={"lr": 0.2},
        init=("normal", "normal"),
        arguments=grey(28),
    ),
    "ResNet18Small": Recipe(
        settings={"lr": 0.1}, init=("normal", "normal"), arguments=grey(28, init="normal")
    ),
    # Krizhevsky et al. (2012), section 5
    "ImageNetAlexNet": Recipe(
        settings={"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        init=("normal", "normal"),
        arguments=imagenet(**HIDDEN),
        dropouts=(0.5, 0.5),
    ),
    # Simonyan and Zisserman (2015), section 3.1
    "VGG": Recipe(
        settings={"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        init=("he_fan_out", "normal"),
        arguments=imagenet(**HIDDEN, variant="vgg16"),
        dropouts=(0.5, 0.5),
    ),
    # Szegedy et al. (2014), section 6
    "ImageNetGoogLeNet": Recipe(
        settings={"lr": 0.01, "momentum": 0.9},
        init=HE,
        arguments=imagenet(aux_logits=True, transform_input=False, dropout=0.2, dropout_aux=0.7),
        dropouts=(0.7, 0.7, 0.2),
    ),
    # He et al. (2016), section 3.4
    "ResNet": Recipe(
        settings={"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
        init=HE,
        arguments=imagenet(variant="resnet50", zero_init_residual=False),
    ),
    # Xie et al. (2017), section 4
    "ResNeXt": Recipe(
        settings={"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
        init=HE,
        arguments=imagenet(variant="resnext50_32x4d", zero_init_residual=False),
    ),
    # Huang et al. (2017), section 4.2
    "ImageNetDenseNet": Recipe(
        settings={"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
        init=("he_fan_in", "default"),
        arguments=imagenet(variant="densenet121", dropout=0.0, memory_efficient=False),
    ),
    # Radosavovic et al. (2020), section 4, for batches of 128
    "RegNet": Recipe(
        settings={"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-5},
        init=("he_fan_out", "normal"),
        arguments=imagenet(variant="regnet_y_400mf"),
    ),
}

every_recipe = pytest.mark.parametrize("name", RECIPES)


def test_every_convolutional_classifier_has_a_recipe() -> None:
    entries = [zoo.MODELS[name] for name in zoo.list_models()]
    convolutional = {
        entry.name
        for entry in entries
        if entry.task == "image classification"
        and (entry.cls.__module__.startswith("zoo.cnn.") or (entry.config or "").startswith("cnn/"))
    }
    assert convolutional == set(RECIPES)


@every_recipe
def test_defaults_are_the_recipes(name: str) -> None:
    recipe = RECIPES[name]
    with torch.device("meta"):
        model: Task = zoo.MODELS[name].cls()
    hparams = dict(model.hparams)
    assert hparams.pop(CLASS_PATH) == f"zoo.{name}"
    assert hparams.pop("lr_scheduler") is None
    assert hparams.pop("lr_scheduler_config") is None
    assert hparams.pop("label_smoothing", 0.0) == 0.0
    del hparams["optimizer"]  # made below
    assert hparams == recipe.arguments
    optimizer = model.build_optimizer([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is recipe.optimizer
    expected = recipe.optimizer([nn.Parameter(torch.zeros(1))], **recipe.settings)
    assert optimizer.defaults == expected.defaults
    dropouts = [m.p for m in model.net.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert tuple(dropouts) == recipe.dropouts


# How weights start


def fans(weight: Tensor) -> tuple[int, int]:
    """As torch counts them: of a grouped convolution the outputs of all groups."""
    area = weight[0, 0].numel()
    return weight.shape[1] * area, weight.shape[0] * area


DEVIATIONS = {
    "xavier_uniform": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "he_fan_in": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "he_fan_out": lambda fan_in, fan_out: math.sqrt(2 / fan_out),
    "normal": lambda fan_in, fan_out: 0.01,
    "default": lambda fan_in, fan_out: math.sqrt(1 / (3 * fan_in)),
}
UNIFORM = ("xavier_uniform", "default")


@every_recipe
def test_weights_start_as_the_recipe_says(name: str) -> None:
    """Each of some size by itself, and all together: divided by their deviation they have variance 1."""
    tiny = {key: value for key, value in zoo.MODELS[name].tiny.items() if key != "init"}
    net = zoo.MODELS[name].cls(**tiny).net
    for ndim, init in zip((4, 2), RECIPES[name].init, strict=True):
        scaled = {
            key: (weight.detach() / DEVIATIONS[init](*fans(weight))).flatten()
            for key, weight in net.named_parameters()
            if weight.ndim == ndim
        }
        for key, weight in scaled.items():
            if weight.numel() >= 1000:
                assert weight.var().item() == pytest.approx(1, rel=0.25), key
        if not scaled:  # NiN has no linear layer
            continue
        together = torch.cat(list(scaled.values()))
        assert together.var().item() == pytest.approx(1, rel=0.1)
        if init in UNIFORM:
            assert together.abs().max().item() <= math.sqrt(3) * (1 + 1e-5)
        else:
            assert together.abs().max().item() > 2.5


# Configurations


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a configuration asks for, with the defaults of its model and its data; here those of chapter 8."""

    lr: float
    optimizer: type[torch.optim.Optimizer] = SGD
    settings: dict[str, Any] = field(default_factory=dict)
    init: str = "xavier_uniform"
    image_size: int
    batch_size: int = 128
    max_epochs: int = 10


def scheduled(lr: float) -> Run:
    """Section 12.11's."""
    return Run(lr=lr, init="default", image_size=28, batch_size=256, max_epochs=30)


RUNS = {
    "lenet_fashion_mnist": Run(lr=0.1, image_size=28),
    "alexnet_fashion_mnist": Run(lr=0.01, image_size=224),
    "vgg11_fashion_mnist": Run(lr=0.01, image_size=224),
    "nin_fashion_mnist": Run(lr=0.05, image_size=224),
    "googlenet_fashion_mnist": Run(lr=0.01, image_size=96),
    "bn_lenet_scratch_fashion_mnist": Run(lr=0.1, optimizer=sgd.SGD, init="own", image_size=28),
    "bn_lenet_fashion_mnist": Run(lr=0.1, image_size=28),
    "resnet18_fashion_mnist": Run(lr=0.01, image_size=96),
    "densenet_fashion_mnist": Run(lr=0.01, image_size=96),
    "regnetx32_fashion_mnist": Run(lr=0.05, image_size=96),
    "lenet_modern_fashion_mnist_constant": scheduled(0.3),
    "lenet_modern_fashion_mnist_sqrt": scheduled(0.1),
    "lenet_modern_fashion_mnist_multi_step": scheduled(0.5),
    "lenet_modern_fashion_mnist_as_run": scheduled(0.5 / 4),  # halved twice by drawing the schedule
    "lenet_modern_fashion_mnist_cosine": scheduled(0.3),
    "lenet_modern_fashion_mnist_warmup_cosine": scheduled(0.3),
    "multi_device_lenet_fashion_mnist": Run(
        lr=0.2, optimizer=sgd.SGD, init="own", image_size=28, batch_size=256
    ),
    "resnet18_small_fashion_mnist": Run(lr=0.1, init="normal", image_size=28, batch_size=256),
    "resnet18_small_cifar10": Run(lr=0.001, optimizer=torch.optim.Adam, image_size=32, batch_size=256),
    # The book's 2e-4 and 5e-4 are for a loss summed over 32 images (Q13)
    "resnet18_small_kaggle_cifar10": Run(
        lr=6.4e-3,
        settings={"momentum": 0.9, "weight_decay": 1.5625e-5},
        init="default",
        image_size=32,
        batch_size=32,
        max_epochs=20,
    ),
}


def test_every_configuration_of_the_book_has_its_run() -> None:
    files = {path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.endswith("_tuned")}
    assert files - {"edge_kernel_edge_image"} == set(RUNS)
    named = {zoo.MODELS[name].config for name in RECIPES} - {None}
    assert named <= {f"cnn/{run}.yaml" for run in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_configuration_resolves_to_the_books_run(name: str) -> None:
    run = RUNS[name]
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    data_cls = getattr(datamodules, settings["data"]["class_path"].removeprefix("datamodules."))
    data = {key: p.default for key, p in inspect.signature(data_cls).parameters.items()}
    data |= settings["data"].get("init_args", {})
    assert data["image_size"] == run.image_size
    assert data["batch_size"] == run.batch_size
    assert settings["trainer"]["max_epochs"] == run.max_epochs
    with torch.device("meta"):
        model = zoo.create(
            settings["model"]["class_path"].removeprefix("zoo."), **settings["model"].get("init_args", {})
        )
    assert model.hparams.get("init", "own") == run.init
    optimizer = model.build_optimizer([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is run.optimizer
    expected = run.optimizer([nn.Parameter(torch.zeros(1))], lr=run.lr, **run.settings)
    assert optimizer.defaults == expected.defaults
