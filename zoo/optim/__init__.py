"""Optimizers and learning rate schedules (chapter 12).

``zoo.optim.Adam`` is ``torch.optim.Adam`` from scratch, and so on: same arguments, same steps.
"""

from zoo.optim.adam import Adam, AdamW, Yogi
from zoo.optim.adaptive import Adadelta, Adagrad, RMSprop
from zoo.optim.newton import Newton
from zoo.optim.sgd import SGD, Momentum

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Momentum", "Newton", "RMSprop", "Yogi"]
