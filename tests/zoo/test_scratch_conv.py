"""Convolution and pooling from scratch against torch and against values worked out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.scratch.convolution import (
    Conv2D,
    corr2d,
    corr2d_1x1,
    corr2d_multi_in,
    corr2d_multi_in_out,
    pool2d,
)


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Outputs, and gradients of a random weighting of them, agree to 1e-5."""
    copies = [[x.clone().requires_grad_() for x in inputs] for _ in range(2)]
    outputs = [f(*x) for f, x in zip((ours, theirs), copies, strict=True)]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weight).sum().backward()
    for mine, other in zip(*copies, strict=True):
        assert other.grad is not None
        assert other.grad.any()
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-5)


def test_corr2d_by_hand() -> None:
    """The kernel is not mirrored: 0*0 + 1*1 + 3*2 + 4*3 = 19, and so on."""
    x = torch.arange(9.0).reshape(3, 3)
    kernel = torch.arange(4.0).reshape(2, 2)
    assert corr2d(x, kernel).tolist() == [[19, 25], [37, 43]]
    assert corr2d(x, kernel, stride=(2, 1)).tolist() == [[19, 25]]
    assert corr2d(x, kernel, padding=1)[0].tolist() == [0, 3, 8, 4]  # the upper row sees kernel row 2, 3


def test_channels_by_hand() -> None:
    """Channels 0..8 and 1..9 with kernels 0..3 and 1..4: 19 + 37 = 56 in the first place."""
    x = torch.stack([torch.arange(9.0).reshape(3, 3), torch.arange(1.0, 10).reshape(3, 3)])
    kernel = torch.stack([torch.arange(4.0).reshape(2, 2), torch.arange(1.0, 5).reshape(2, 2)])
    expected = torch.tensor([[56.0, 72], [104, 120]])
    torch.testing.assert_close(corr2d_multi_in(x, kernel), expected)
    weight = torch.stack([kernel, kernel + 1])
    # One more in each weight adds the window's sum: 0+1+3+4 + 1+2+4+5 = 20 in the first place.
    output = corr2d_multi_in_out(x[None], weight, torch.tensor([0.0, 0.5]))[0]
    torch.testing.assert_close(output[0], expected)
    assert output[1, 0, 0].item() == 56 + 20 + 0.5


STRIDES_AND_PADDINGS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": (1, 3), "padding": (2, 0)},
    {"padding": 1, "stride": (3, 2)},
    {"padding": "same"},
    {"padding": "valid", "stride": 2},
]


@pytest.mark.parametrize("kernel", [(3, 3), (1, 2), (4, 3), (5, 2)])
@pytest.mark.parametrize("options", STRIDES_AND_PADDINGS, ids=str)
def test_convolution_equals_torch(kernel: tuple[int, int], options: dict[str, Any]) -> None:
    if options.get("padding") == "same" and 0 in ((kernel[0] + 1) % 2, (kernel[1] + 1) % 2):
        # torch warns that it has to copy when a total is odd; the pixel more is at the end.
        height, width = kernel

        def theirs(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            sides = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)
            return F.conv2d(F.pad(x, sides), w, b)
    else:

        def theirs(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return F.conv2d(x, w, b, **options)

    inputs = torch.randn(2, 3, 9, 10), torch.randn(4, 3, *kernel), torch.randn(4)
    assert_same(lambda *x: corr2d_multi_in_out(*x, **options), theirs, *inputs)
    assert_same(
        lambda x, w: torch.stack([corr2d_multi_in(x, v, **options) for v in w])[None],
        lambda x, w: theirs(x[None], w, torch.zeros(4)),
        inputs[0][0],
        inputs[1],
    )
    if options.get("padding") == "same":
        assert corr2d_multi_in_out(*inputs, **options).shape[2:] == (9, 10)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_same_padding_of_an_odd_total_equals_torch() -> None:
    inputs = torch.randn(2, 3, 9, 10), torch.randn(4, 3, 2, 4)
    assert_same(
        lambda *x: corr2d_multi_in_out(*x, padding="same"), lambda *x: F.conv2d(*x, padding="same"), *inputs
    )


def test_one_by_one_is_a_linear_layer_at_each_pixel() -> None:
    x, linear = torch.randn(2, 3, 4, 5), nn.Linear(3, 6)
    expected = linear(x.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(corr2d_1x1(x, linear.weight, linear.bias), expected, atol=1e-5, rtol=1e-5)
    assert_same(
        corr2d_1x1, lambda x, w: corr2d_multi_in_out(x, w[:, :, None, None]), x, linear.weight.detach()
    )


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "size"),
    [
        (32, 7, 2, 1, 14),  # (32 - 7 + 2) / 2 = 13.5, rounded down, and one
        (28, 5, 1, 0, 24),
        (28, 5, 1, 2, 28),
        (224, 11, 4, 1, 54),
        (8, 3, 5, 1, 2),
    ],
)
def test_output_size(n: int, kernel: int, stride: int, padding: int, size: int) -> None:
    layer = Conv2D(3, 2, kernel, stride=stride, padding=padding)
    assert layer(torch.zeros(1, 3, n, n)).shape == (1, 2, size, size)


def test_thirty_two_filters() -> None:
    """32 filters of 7 x 7 over 3 channels, a bias each: 32 * (147 + 1)."""
    layer = Conv2D(3, 32, 7, stride=2, padding=1)
    assert layer(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 14, 14)
    assert sum(p.numel() for p in layer.parameters()) == 4736


@pytest.mark.parametrize("bias", [True, False])
def test_layer_has_the_weights_of_torchs(bias: bool) -> None:
    ours = Conv2D(3, 4, (3, 2), stride=2, padding=1, bias=bias)
    theirs = nn.Conv2d(3, 4, (3, 2), stride=2, padding=1, bias=bias)
    for layer in (ours, theirs):  # within 1 / sqrt(3 * 3 * 2) of 0
        bound = 18**-0.5
        assert 0.7 * bound < layer.weight.abs().max().item() <= bound
        assert (layer.bias is not None) == bias
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 7, 8)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_pooling_by_hand() -> None:
    x = torch.tensor([[1.0, 3, 2, 4], [5, 6, 7, 8], [9, 1, 2, 0], [3, 4, 5, 6]])
    assert pool2d(x, 2, stride=2).tolist() == [[6, 8], [9, 6]]
    assert pool2d(x, 2, mode="avg", stride=2).tolist() == [[3.75, 5.25], [4.25, 3.25]]
    x = torch.arange(9.0).reshape(3, 3)
    assert pool2d(x, 2).tolist() == [[4, 5], [7, 8]]
    assert pool2d(x, (1, 3), mode="avg").tolist() == [[1], [4], [7]]


@pytest.mark.parametrize("mode", ["max", "avg"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1)},
        {"kernel_size": (3, 2), "stride": 1},
    ],
    ids=str,
)
def test_pooling_equals_torch(mode: str, options: dict[str, Any]) -> None:
    theirs = F.max_pool2d if mode == "max" else F.avg_pool2d
    x = torch.randn(2, 3, 9, 10) - 2  # mostly negative: zeros as padding would win
    assert_same(lambda x: pool2d(x, mode=mode, **options), lambda x: theirs(x, **options), x)


def test_pooling_with_same_padding() -> None:
    x = torch.randn(2, 3, 5, 6) - 2
    expected = F.max_pool2d(F.pad(x, (0, 1, 1, 1), value=-torch.inf), (3, 2), stride=1)
    torch.testing.assert_close(pool2d(x, (3, 2), padding="same"), expected)
    expected = F.avg_pool2d(F.pad(x, (0, 1, 1, 1)), (3, 2), stride=1)
    torch.testing.assert_close(pool2d(x, (3, 2), mode="avg", padding="same"), expected)


IMAGE = torch.zeros(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pool2d(IMAGE, 5), "the kernel is 5x5, but must fit into the padded image, 4x4"),
        (lambda: pool2d(IMAGE, 2, mode="mean"), "mode is 'mean', but must be 'max' or 'avg'"),
        (lambda: pool2d(IMAGE, 3, padding=2), "padding is 2, but must be at most half of kernel_size, 3"),
        (lambda: pool2d(IMAGE, 0), "kernel_size is 0, but must be at least 1"),
        (lambda: Conv2D(1, 1, 3, stride=0), "stride is 0, but must be at least 1"),
        (lambda: Conv2D(1, 1, 3, padding=(1, -1)), "padding is -1, but must be at least 0"),
        (
            lambda: Conv2D(1, 1, 3, padding="full"),
            "padding is 'full', but must be 'same', 'valid' or a number",
        ),
        (
            lambda: Conv2D(1, 1, 3, padding="same", stride=2),
            r"stride is \(2, 2\), but must be 1 with padding 'same'",
        ),
        (lambda: Conv2D(0, 1, 3), "in_channels is 0, but must be positive"),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
