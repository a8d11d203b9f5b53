"""What the data gives on the command line, and the trainable parameters of the full size, derived by hand."""

from typing import Any

# Residual stages of the widths w, two blocks of two 3 x 3 convolutions each, biased and with normalisation:
# 9 * in * out + out for the convolution, 2 * out for the normalisation; the shortcut is a biased 1 x 1.
BOOK_RESNET_STAGES = sum(
    9 * before * w + 3 * w + 3 * (9 * w * w + 3 * w) + (before * w + w if before != w else 0)
    for before, w in ((64, 64), (64, 128), (128, 256), (256, 512))
)
# Three blocks of a canonical bottleneck stage and so on: 1 x 1, 3 x 3 and 1 x 1 without biases.
RESNET50_STAGES = sum(
    before * w
    + 9 * w * w
    + 4 * w * w
    + 12 * w  # the first block, its three normalisations
    + before * 4 * w
    + 8 * w  # its shortcut
    + (blocks - 1) * (4 * w * w + 9 * w * w + 4 * w * w + 12 * w)
    for before, w, blocks in ((64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3))
)

# Stages of the widths w of the book's blocks, in groups of 16: three biased and normalised convolutions each,
# and a shortcut like them in the first.
REGNETX32_STAGES = sum(
    2 * before * w + 9 * 16 * w + w * w + 4 * 3 * w + (blocks - 1) * (2 * w * w + 9 * 16 * w + 3 * 3 * w)
    for before, w, blocks in ((32, 32, 4), (32, 80, 6))
)
# The same without biases, in groups of 8, and with two biased layers of squeeze-and-excitation between, whose
# width is a quarter of the block's input.
REGNETY400_STAGES = sum(
    before * w + w * (before // 4 * 2) + before // 4 + w + 9 * 8 * w + w * w + 3 * 2 * w
    for before, w in [
        *((32, 48), (48, 104), *[(104, 104)] * 2),
        *((104, 208), *[(208, 208)] * 5, (208, 440), *[(440, 440)] * 5),
    ]
) + sum(before * w + 2 * w for before, w in ((32, 48), (48, 104), (104, 208), (208, 440)))
# As ResNet-50 with bottlenecks of twice the width, in 32 groups.
RESNEXT50_STAGES = sum(
    before * w
    + 9 * w * w // 32
    + 2 * w * w
    + 8 * w  # the first block, its three normalisations
    + before * 2 * w
    + 4 * w  # its shortcut
    + (blocks - 1) * (2 * w * w + 9 * w * w // 32 + 2 * w * w + 8 * w)
    for before, w, blocks in ((64, 128, 3), (256, 256, 4), (512, 512, 6), (1024, 1024, 3))
)

# Inception blocks: channels in; 1 x 1; 1 x 1, 3 x 3; 1 x 1, 5 x 5 (canonical: 3 x 3); 1 x 1 after pooling.
INCEPTIONS = (
    (192, 64, 96, 128, 16, 32, 32),
    (256, 128, 128, 192, 32, 96, 64),
    (480, 192, 96, 208, 16, 48, 64),
    (512, 160, 112, 224, 24, 64, 64),
    (512, 128, 128, 256, 24, 64, 64),
    (512, 112, 144, 288, 32, 64, 64),
    (528, 256, 160, 320, 32, 128, 128),
    (832, 256, 160, 320, 32, 128, 128),
    (832, 384, 192, 384, 48, 128, 128),
)
# Biased convolutions in the book; two numbers for each normalised channel in the canonical one.
BOOK_INCEPTIONS, CANONICAL_INCEPTIONS = (
    sum(
        before * (a + b1 + c1 + d) + 9 * b1 * b2 + large * c1 * c2 + each * (a + b1 + b2 + c1 + c2 + d)
        for before, a, b1, b2, c1, c2, d in INCEPTIONS
    )
    for large, each in ((25, 1), (9, 2))
)
# Dense layers: normalisation and a biased 3 x 3 to 32 channels; canonically without biases and a 1 x 1 to 128
# before, with its own normalisation. Transitions halve the channels after a normalisation.
BOOK_DENSE_LAYERS = sum(
    2 * c + 9 * c * 32 + 32 for first in (64, 96, 112, 120) for c in range(first, first + 4 * 32, 32)
)
BOOK_TRANSITIONS = sum(2 * c + c * c // 2 + c // 2 for c in (192, 224, 240))
DENSENET121_LAYERS = sum(
    2 * c + c * 128 + 2 * 128 + 9 * 128 * 32
    for first, layers in ((64, 6), (128, 12), (256, 24), (512, 16))
    for c in range(first, first + layers * 32, 32)
)
DENSENET121_TRANSITIONS = sum(2 * c + c * c // 2 for c in (256, 512, 1024))

FULL_SIZES: dict[str, tuple[dict[str, Any], int]] = {
    # Convolutions: (kernel area * in + 1) * out; 256 maps of 5 x 5 before the first of three linear layers.
    "AlexNet": (
        {},
        (121 + 1) * 96
        + (25 * 96 + 1) * 256
        + (9 * 256 + 1) * 384
        + (9 * 384 + 1) * (384 + 256)
        + (25 * 256 + 1) * 4096
        + 4097 * (4096 + 10),
    ),
    "AnyNet": ({}, (9 * 32 + 32 + 64) + REGNETX32_STAGES + 81 * 10),
    "AutoRegressive": ({}, 4 + 1),
    # LeNet without padding, 16 maps of 4 x 4, and two numbers for each normalised channel.
    "BNLeNet": ({}, 156 + 2416 + 120 * 257 + 10164 + 850 + 2 * (6 + 16 + 120 + 84)),
    "BNLeNetScratch": ({}, 156 + 2416 + 120 * 257 + 10164 + 850 + 2 * (6 + 16 + 120 + 84)),
    "ChimeraMLP": ({}, (20 * 64 + 64) + (64 * 32 + 32) + (32 * 16 + 16) + (16 * 20 + 20) + (20 * 20 + 20)),
    # One-hot vectors of 28 tokens, h units: 28 * h + h * h + 2 * h for each gate, since torch has two biases;
    # h * h + h * h + 2 * h in a second layer; then a linear layer.
    "DeepGRULM": ({"vocab_size": 28}, 3 * (28 * 32 + 32 * 32 + 64) + 3 * (2 * 32 * 32 + 64) + 33 * 28),
    "GRULM": ({"vocab_size": 28}, 3 * (28 * 32 + 32 * 32 + 64) + 33 * 28),
    "LSTMLM": ({"vocab_size": 28}, 4 * (28 * 32 + 32 * 32 + 64) + 33 * 28),
    "RNNLM": ({"vocab_size": 28}, (28 * 32 + 32 * 32 + 64) + 33 * 28),
    "BiGRULM": ({"vocab_size": 28}, 2 * 3 * (28 * 32 + 32 * 32 + 64) + 65 * 28),
    "BiRNNScratch": ({"vocab_size": 28}, 2 * (28 * 32 + 32 * 32 + 32) + 65 * 28),
    "GRUScratch": ({"vocab_size": 28}, 3 * (28 * 32 + 32 * 32 + 32) + 33 * 28),
    "LSTMScratch": ({"vocab_size": 28}, 4 * (28 * 32 + 32 * 32 + 32) + 33 * 28),
    "RNNScratch": ({"vocab_size": 28}, (28 * 32 + 32 * 32 + 32) + 33 * 28),
    "StackedRNNScratch": ({"vocab_size": 28}, (28 * 32 + 32 * 32 + 32) + (2 * 32 * 32 + 32) + 33 * 28),
    "SequenceClassifier": ({"in_features": 3, "num_classes": 4}, 3 * (3 * 32 + 32 * 32 + 64) + 33 * 4),
    "SequenceRegressor": ({"in_features": 3}, 3 * (3 * 32 + 32 * 32 + 64) + 33),
    "DenseNet": (
        {},
        (49 * 64 + 64 + 128) + BOOK_DENSE_LAYERS + BOOK_TRANSITIONS + 2 * 248 + 249 * 10,
    ),
    "DropoutMLP": ({}, 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
    "DropoutMLPScratch": ({}, 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
    "EdgeKernel": ({}, 1 * 2),
    # Lengthscale, output scale and noise.
    "ExactGP": ({}, 1 + 1 + 1),
    "FixedHiddenMLP": ({}, 20 * 20 + 20),
    # As AlexNet, with 3 channels in, fewer on the way, and 256 maps of 6 x 6.
    "ImageNetAlexNet": (
        {},
        (3 * 121 + 1) * 64
        + (25 * 64 + 1) * 192
        + (9 * 192 + 1) * 384
        + (9 * 384 + 1) * 256
        + (9 * 256 + 1) * 256
        + (36 * 256 + 1) * 4096
        + 4097 * (4096 + 1000),
    ),
    "GoogLeNet": ({}, 64 * 50 + 64 * 65 + 192 * (9 * 64 + 1) + BOOK_INCEPTIONS + 1025 * 10),
    "ImageNetDenseNet": (
        {},
        (3 * 49 * 64 + 128) + DENSENET121_LAYERS + DENSENET121_TRANSITIONS + 2 * 1024 + 1025 * 1000,
    ),
    "ImageNetGoogLeNet": (
        {},
        (64 * 3 * 49 + 64 * 64 + 192 * 9 * 64 + 2 * (64 + 64 + 192))
        + CANONICAL_INCEPTIONS
        + sum(128 * c + 2 * 128 + 2049 * 1024 + 1025 * 1000 for c in (512, 528))
        + 1025 * 1000,
    ),
    # Convolutions: out * (in * 5 * 5 + 1); 16 maps of 5 x 5 are 400 inputs.
    "LeNet": ({}, 6 * (25 + 1) + 16 * (150 + 1) + 120 * 401 + 84 * 121 + 10 * 85),
    "LeNetModern": ({}, 61_706),
    "LinearRegression": ({"in_features": 330}, 330 + 1),
    "LinearRegressionScratch": ({"in_features": 2}, 2 + 1),
    "MLP": ({}, 784 * 256 + 256 + 256 * 10 + 10),
    "MLPScratch": ({}, 784 * 256 + 256 + 256 * 10 + 10),
    # 20 kernels of 3 x 3, 50 of 5 x 5; 28 pixels become 26, 13, 9, 4.
    "MultiDeviceLeNet": ({}, 20 * 10 + 50 * 501 + 128 * 801 + 10 * 129),
    "MyLinearMLP": ({}, 64 * 8 + 8 + 8 + 1),
    "NestMLP": ({}, (20 * 64 + 64) + (64 * 32 + 32) + (32 * 16 + 16)),
    # Each block has a convolution with a large kernel and two of 1 x 1.
    "NiN": (
        {},
        ((121 + 1) * 96 + 2 * 97 * 96)
        + ((25 * 96 + 1) * 256 + 2 * 257 * 256)
        + ((9 * 256 + 1) * 384 + 2 * 385 * 384)
        + ((9 * 384 + 1) * 10 + 2 * 11 * 10),
    ),
    "RegNet": ({}, (27 * 32 + 64) + REGNETY400_STAGES + 441 * 1000),
    "RegNetX32": ({}, (9 * 32 + 32 + 64) + REGNETX32_STAGES + 81 * 10),
    "ResNeXt": ({}, (3 * 49 * 64 + 128) + RESNEXT50_STAGES + 2049 * 1000),
    "ResNet": ({}, (3 * 49 * 64 + 128) + RESNET50_STAGES + 2049 * 1000),
    "ResNet18": ({}, (49 * 64 + 64 + 128) + BOOK_RESNET_STAGES + 513 * 10),
    "ResNet18Small": ({}, (9 * 64 + 64 + 128) + BOOK_RESNET_STAGES + 513 * 10),
    # Each layer has three gates; the decoder's first one sees embedding and context.
    "Seq2Seq": (
        {"source_vocab_size": 194, "target_vocab_size": 214},
        194 * 256
        + 2 * 3 * (256 * 256 + 256 * 256 + 2 * 256)
        + 214 * 256
        + 3 * (512 * 256 + 256 * 256 + 2 * 256)
        + 3 * (256 * 256 + 256 * 256 + 2 * 256)
        + 257 * 214,
    ),
    "SharedMLP": ({}, (4 * 8 + 8) + (8 * 8 + 8) + (8 + 1)),
    "SoftmaxRegression": ({}, 784 * 10 + 10),
    "SoftmaxRegressionScratch": ({}, 784 * 10 + 10),
    "TabularMLP": ({"in_features": 30, "num_classes": 2}, 30 * 64 + 64 + 64 * 2 + 2),
    # VGG-16: 13 convolutions of 3 x 3, then 512 maps of 7 x 7; the book's VGG-11: 8, then 128.
    "VGG": (
        {},
        (27 + 1) * 64
        + (9 * 64 + 1) * (64 + 128)
        + (9 * 128 + 1) * (128 + 256)
        + (9 * 256 + 1) * (2 * 256 + 512)
        + (9 * 512 + 1) * (5 * 512)
        + (49 * 512 + 1) * 4096
        + 4097 * (4096 + 1000),
    ),
    "VGG11": (
        {},
        (9 + 1) * 16
        + (9 * 16 + 1) * 32
        + (9 * 32 + 1) * 64
        + (9 * 64 + 1) * (64 + 128)
        + (9 * 128 + 1) * (3 * 128)
        + (49 * 128 + 1) * 4096
        + 4097 * (4096 + 10),
    ),
    "WeightDecay": ({"in_features": 200}, 200 + 1),
    "WeightDecayScratch": ({"in_features": 200}, 200 + 1),
}
