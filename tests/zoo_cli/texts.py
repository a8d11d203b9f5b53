"""Models of text so small that what they write is known, and their checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from datamodules import TextFile
from datamodules.interface.tokenizers import CharTokenizer, Tokenizer, WordTokenizer
from zoo.tasks import LanguageModel, OptimizerCallable, TextTask


def sgd(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)  # type: ignore[arg-type]  # Lightning's own annotation is Any


class Bigram(nn.Embedding):
    """The next token follows from the last one alone."""

    def advance(self, tokens: Tensor, state: None) -> tuple[Tensor, None]:
        return self(tokens[:, -1]), None


class CountingLM(LanguageModel):
    """Goes on with the token whose id is the next one, after the last with the second (the first is <unk>).

    Args:
        vocab_size: Number of tokens.
        certainty: Logit of that token; the others' are 0.
        optimizer: As in Task.
    """

    def __init__(
        self, *, vocab_size: int, certainty: float = 50.0, optimizer: OptimizerCallable = sgd
    ) -> None:
        super().__init__(optimizer=optimizer)
        ids = torch.arange(1, vocab_size)
        weight = torch.zeros(vocab_size, vocab_size)
        weight[ids, ids.roll(-1)] = certainty
        self.net = Bigram(vocab_size, vocab_size, _weight=weight)
        self.example_input_array = torch.zeros(2, 5, dtype=torch.int64)


class ShoutingTranslator(TextTask):
    """Translates by writing in capitals, as often as the beam is wide."""

    batches: ClassVar[list[int]] = []

    def __init__(self, *, optimizer: OptimizerCallable = sgd) -> None:
        super().__init__(optimizer=optimizer)
        self.net = nn.Linear(1, 1)

    def translate(
        self,
        lines: Sequence[str],
        *,
        beam_size: int = 1,
        length_penalty: float = 0.75,
        max_new_tokens: int = 50,
    ) -> list[str]:
        if beam_size < 1:
            raise ValueError(f"beam_size is {beam_size}, but must be at least 1")
        self.batches.append(len(lines))
        tokens = [self.tokenizer("source").tokenize(line)[:max_new_tokens] for line in lines]
        return [" ".join(words * beam_size).upper() for words in tokens]


def save(model: TextTask, path: str | Path, **tokenizers: Tokenizer) -> None:
    """Write a checkpoint, as a run does."""
    model.tokenizers = dict(tokenizers)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)


def letters(text: str = "abc", normalization: str = "none") -> Tokenizer:
    """A tokenizer of these characters, in their order in the alphabet."""
    return CharTokenizer.train([text], normalization=normalization)


def words(text: str = "one two three") -> Tokenizer:
    return WordTokenizer.train([text], normalization="lower")


class OtherText(TextFile):
    """A dataset of its own: it does not take over the vocabulary that a TextFile left in a checkpoint."""
