"""Initialisers by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.init import INITIALISERS, bilinear_, init_parameters, init_weight_, sparse_uniform_


def test_xavier_variance_and_bound() -> None:
    """2 / (256 + 120); uniform within sqrt(6 / (256 + 120))."""
    weight = torch.empty(120, 256)
    assert init_weight_(weight, "xavier_normal").var().item() == pytest.approx(2 / 376, rel=0.03)
    uniform = init_weight_(weight, "xavier_uniform")
    assert uniform.var().item() == pytest.approx(2 / 376, rel=0.03)
    assert (6 / 376) ** 0.5 * 0.999 < uniform.abs().max().item() <= (6 / 376) ** 0.5


def test_kaiming_variance_and_bound() -> None:
    """2 / (3 * 9) for a convolution of three channels; uniform within sqrt(6 / 27)."""
    normal = torch.stack([init_weight_(torch.empty(16, 3, 3, 3), "kaiming_normal") for _ in range(50)])
    assert normal.var().item() == pytest.approx(2 / 27, rel=0.03)
    uniform = torch.stack([init_weight_(torch.empty(16, 3, 3, 3), "kaiming_uniform") for _ in range(50)])
    assert uniform.var().item() == pytest.approx(2 / 27, rel=0.03)
    assert (6 / 27) ** 0.5 * 0.999 < uniform.abs().max().item() <= (6 / 27) ** 0.5


def test_simple_initialisers() -> None:
    weight = torch.empty(200, 200)
    assert init_weight_(weight, "zeros").eq(0).all()
    assert init_weight_(weight, "ones").eq(1).all()
    assert init_weight_(weight, "constant").eq(1).all()
    assert init_weight_(weight, "normal").std().item() == pytest.approx(0.01, rel=0.02)
    uniform = init_weight_(weight, "uniform")
    assert uniform.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.02)
    assert uniform.abs().max().item() <= 0.1


def test_sparse_uniform_is_zero_below_five() -> None:
    weight = sparse_uniform_(torch.empty(300, 300))
    assert weight.eq(0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    kept = weight[weight != 0].abs()
    assert kept.min().item() >= 5
    assert 9.99 < kept.max().item() <= 10


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (8, 4, 2), (64, 32, 16)])
def test_bilinear_is_bilinear_upsampling(kernel: int, stride: int, padding: int) -> None:
    layer = nn.ConvTranspose2d(3, 3, kernel, stride=stride, padding=padding, bias=False)
    bilinear_(layer.weight)
    image = torch.rand(1, 3, 6, 6)
    expected = F.interpolate(image, scale_factor=stride, mode="bilinear", align_corners=False)
    # The border differs: a transposed convolution pads with zeros, interpolation repeats the edge.
    inner = slice(stride, -stride)
    torch.testing.assert_close(layer(image)[..., inner, inner], expected[..., inner, inner])


def test_bilinear_does_not_mix_channels() -> None:
    weight = bilinear_(torch.empty(3, 2, 4, 4))
    assert weight[0, 1].eq(0).all()
    assert weight[2].eq(0).all()
    assert weight[1, 1].sum().item() == pytest.approx(4)
    with pytest.raises(ValueError, match="bilinear kernel is 2x3, but must be square"):
        bilinear_(torch.empty(1, 1, 2, 3))


@pytest.mark.parametrize("name", INITIALISERS)
def test_every_initialiser_fills_in_place(name: str) -> None:
    weight = torch.full((2, 3, 4, 4), torch.nan)
    assert init_weight_(weight, name) is weight
    assert weight.isfinite().all()


def test_network_is_initialised_throughout_and_biases_only_if_asked() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    biases = [net[0].bias.clone(), net[3].bias.clone()]
    init_parameters(net, "ones")
    assert net[0].weight.eq(1).all()
    assert net[3].weight.eq(1).all()
    torch.testing.assert_close([net[0].bias, net[3].bias], biases)
    init_parameters(net, "ones", zero_bias=True)
    assert net[0].bias.eq(0).all()
    before = net[3].weight.clone()
    init_parameters(net, "default")
    torch.testing.assert_close(net[3].weight, before)


def test_tied_weights_stay_tied() -> None:
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    init_parameters(net, "xavier_uniform")
    assert net[0].weight is net[2].weight


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"init is 'xavier_unifrom', but must be one of .*did you mean xavier_uniform"
    ):
        init_parameters(nn.Linear(2, 2), "xavier_unifrom")
