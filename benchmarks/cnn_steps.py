"""Training steps of a network of torchvision's in a bare loop: the zoo's own, torchvision's, or both in turn.

``cnn.py`` runs it in fresh processes. Each side computes on the same weights, the same random images and the
same optimizer; the zoo's step is the model's own ``training_step``, metrics included. On an accelerator it is
the step that a run of the command line takes, with the model's own optimizer.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import zoo
from datamodules.interface.batches import ImageBatch

__all__ = ["SIDES", "SINGLE", "main", "networks"]

SIDES = ("zoo", "torchvision")
SINGLE = {"alexnet": "ImageNetAlexNet", "googlenet": "ImageNetGoogLeNet"}
"""Networks of torchvision's that have a class of their own."""
AUXILIARY_WEIGHT = 0.3
NUM_CLASSES = 1000

Step = Callable[[], None]


def networks() -> list[str]:
    """Names of all networks that both the zoo and torchvision have."""
    zoo.list_models()
    families = [variant for entry in zoo.MODELS for variant in entry.variants]
    known = set(torchvision.models.list_models())
    return sorted({*(name for name in families if name in known), *SINGLE})


def make_model(name: str, image_size: int) -> Any:
    """The zoo's model under a name of torchvision's."""
    return zoo.create(SINGLE.get(name, name), image_size=image_size)


def make_twin(name: str) -> nn.Module:
    """Torchvision's own; GoogLeNet's slow initialiser is left out."""
    options = {"init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, **options)  # type: ignore[no-any-return]


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of both sides."""
    return torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)


def zoo_step(model: Any, batch: ImageBatch, optimizer: torch.optim.Optimizer) -> Step:
    """A step of the zoo's model, in training mode."""
    model.train()

    def step() -> None:
        loss: Tensor = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        optimizer.step()

    return step


def torchvision_step(net: nn.Module, batch: ImageBatch) -> Step:
    """A step of torchvision's network, in training mode."""
    optimizer = sgd(net.train())

    def step() -> None:
        output = net(batch.image)
        if isinstance(output, Tensor):
            loss = F.cross_entropy(output, batch.label)
        else:  # GoogLeNet: the main head and two auxiliary ones
            main, *others = (F.cross_entropy(head, batch.label) for head in output)
            loss = main + AUXILIARY_WEIGHT * torch.stack(others).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        optimizer.step()

    return step


def make_steps(name: str, sides: list[str], batch: ImageBatch) -> dict[str, Step]:
    """The steps of the sides; where both are there, from the same weights."""
    torch.manual_seed(0)
    steps: dict[str, Step] = {}
    twin = make_twin(name) if "torchvision" in sides else None
    if twin is not None:
        steps["torchvision"] = torchvision_step(twin, batch)
    if "zoo" in sides:
        model = make_model(name, batch.image.shape[-1])
        if twin is not None:
            model.net.load_state_dict(twin.state_dict())
        steps["zoo"] = zoo_step(model, batch, sgd(model))
    return steps


def peak_bytes() -> int:
    """Largest resident memory of this process since :func:`forget_peak`.

    Not ``getrusage``: its figure is at least that of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def forget_peak() -> None:
    """Count the peak from here on: that of the imports would hide a small network's. Linux alone can."""
    Path("/proc/self/clear_refs").write_text("5")


def time_in_turn(steps: dict[str, Step], *, warmup: int, count: int) -> dict[str, list[float]]:
    """Seconds of each step; the sides take turns, and in every second round the other goes first."""
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for i in range(warmup + count):
        for side in list(steps)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            steps[side]()
            if i >= warmup:
                seconds[side].append(time.perf_counter() - start)
    return seconds


def accelerator_step(batch_size: int, image_size: int, device: str) -> Step:
    """A step of the book's ResNet-18 in bfloat16, compiled, on a batch that is there already.

    The optimizer is the one that the model has on the command line, where no configuration sets another.
    """
    model = zoo.ResNet18(image_size=image_size).to(device)
    model.net.to(memory_format=torch.channels_last)
    image = torch.rand(batch_size, 1, image_size, image_size, device=device)
    label = torch.arange(batch_size, device=device) % 10
    model.net.compile()
    batch = ImageBatch(image.to(memory_format=torch.channels_last), label)
    in_float32 = zoo_step(model, batch, cast(torch.optim.Optimizer, model.configure_optimizers()))

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            in_float32()

    return step


def time_on_accelerator(batch_size: int, image_size: int, *, warmup: int, count: int) -> float:
    """Seconds of such a step."""
    step = accelerator_step(batch_size, image_size, "cuda")
    started = 0.0
    for i in range(warmup + count):
        if i == warmup:
            torch.cuda.synchronize()
            started = time.perf_counter()
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / count


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the network, or `accelerator`")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    counts = {"warmup": given.warmup, "count": given.steps}
    result: dict[str, Any]
    if given.name == "accelerator":
        result = {"seconds": time_on_accelerator(given.batch_size, given.image_size, **counts)}
    else:
        image = torch.rand(given.batch_size, 3, given.image_size, given.image_size)
        batch = ImageBatch(image, torch.arange(given.batch_size) % NUM_CLASSES)
        networks()
        lenet = zoo.LeNet()
        zoo_step(lenet, ImageBatch(torch.rand(2, 1, 28, 28), torch.arange(2)), sgd(lenet))()
        forget_peak()  # what either side imports on first use is there
        before = peak_bytes()
        steps = make_steps(given.name, given.sides, batch)
        result = {"seconds": time_in_turn(steps, **counts), "grown_bytes": peak_bytes() - before}
    given.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
