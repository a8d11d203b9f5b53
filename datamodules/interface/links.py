"""Values that the data knows and the model needs; the command line passes them on under these names."""

LINKED_VALUES = {
    "in_features": "number of input columns",
    "out_features": "number of target columns",
    "num_classes": "number of classes",
    "in_channels": "number of image channels",
    "image_size": "height and width of the images in pixels",
    "vocab_size": "number of tokens in the vocabulary",
    "source_vocab_size": "number of tokens in the vocabulary of the source language",
    "target_vocab_size": "number of tokens in the vocabulary of the target language",
}
