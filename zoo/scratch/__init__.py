"""Models from scratch: tensors and autograd only, each the twin of a model made of torch's layers."""
