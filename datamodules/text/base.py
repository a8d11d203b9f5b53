"""What the texts of language models share: a tokenizer, three sequences of tokens, windows of them."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np

from datamodules.base import BatchSize, Loader, ZooDataModule
from datamodules.interface.checks import check_at_least, check_choice
from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import NORMALIZATIONS, TOKENIZERS, Tokenizer
from datamodules.interface.vocab import Vocab
from datamodules.text.vocabulary import saved_tokenizer, train_tokenizer
from datamodules.text.windows import PARTITIONS, StreamSampler, WindowLoader, WindowSampler

__all__ = ["TextDataModule", "encode", "smallest_type"]


def smallest_type(vocab_size: int) -> np.dtype[Any]:
    """The smallest type of unsigned integers that holds every id."""
    return np.min_scalar_type(vocab_size - 1)


def encode(tokenizer: Tokenizer, pieces: Iterable[str]) -> np.ndarray:
    """The ids of a text's tokens (tokens,), in the smallest type that holds them."""
    dtype = smallest_type(len(tokenizer))
    return np.concatenate([np.zeros(0, dtype), *(tokenizer.encode_array(p).astype(dtype) for p in pieces)])


class TextDataModule(ZooDataModule):
    """Base of the texts that language models learn from; batches are windows of ``num_steps`` tokens.

    Args:
        tokens: Kind of the tokens: ``char``, ``word``, ``bpe`` or ``wordpiece``.
        normalization: What is done to the text first: ``none``, ``lower``, ``letters`` or ``words``; see
            :data:`~datamodules.interface.tokenizers.NORMALIZATIONS`.
        min_freq: How often a token (for subwords: a merged pair) must occur to be in the vocabulary.
        max_vocab: Highest number of entries of the vocabulary, ``<unk>`` included; None for no limit, or for
            8,000 if the tokens are subwords. BPE needs at least 257, WordPiece some for each character.
        num_steps: Inputs in a window, at least 1.
        partition: How training windows are cut out of the text: ``sliding``, ``random`` or ``sequential``;
            see :data:`~datamodules.text.windows.PARTITIONS`.
        batch_size: Windows in a batch on each device, or ``full`` for one batch of everything.
        seed: Seed of the training order.

    Attributes:
        corpus: The ids of each split's tokens (tokens,), in the smallest type that holds them; filled by
            ``setup``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        tokens: str,
        normalization: str,
        min_freq: int,
        max_vocab: int | None,
        num_steps: int,
        partition: str,
        batch_size: BatchSize,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_choice("tokens", tokens, TOKENIZERS)
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_at_least("min_freq", min_freq, 1)
        if max_vocab is not None:
            check_at_least("max_vocab", max_vocab, 2)
        check_at_least("num_steps", num_steps, 1)
        check_choice("partition", partition, PARTITIONS)
        self.tokens = tokens
        self.normalization = normalization
        self.min_freq = min_freq
        self.max_vocab = max_vocab
        self.num_steps = num_steps
        self.partition = partition
        self.corpus: dict[str, np.ndarray] = {}
        self._tokenizer: Tokenizer | None = None

    # To override

    @abstractmethod
    def read_tokenizer(self) -> Tokenizer:
        """Make the tokenizer, from files that ``prepare_data`` got; see :meth:`train_tokenizer`."""

    @abstractmethod
    def read_corpus(self, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
        """The ids of the three splits, from files that ``prepare_data`` got."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What messages call the text."""

    def release(self) -> None:
        """Let go of what was read of a file; there is none unless a datamodule says otherwise."""

    # Tokens

    def train_tokenizer(self, texts: Iterable[str], reserved_tokens: tuple[str, ...] = ()) -> Tokenizer:
        """Make the vocabulary of pieces of text with this datamodule's settings.

        Raises:
            DataError: If ``max_vocab`` is too small for subwords.
        """
        return train_tokenizer(
            texts,
            tokens=self.tokens,
            normalization=self.normalization,
            min_freq=self.min_freq,
            max_vocab=self.max_vocab,
            reserved_tokens=reserved_tokens,
        )

    @property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """The tokenizer, under the name ``text``: a checkpoint's, or one made of the text when needed."""
        if self._tokenizer is None:
            self.prepare_data()
            self._tokenizer = self.read_tokenizer()
        return {"text": self._tokenizer}

    @property
    def vocab(self) -> Vocab:
        """The vocabulary."""
        return self.tokenizers["text"].vocab

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
        return len(self.vocab)

    def setup(self, stage: str | None = None) -> None:
        """Read the text into :attr:`corpus`, once.

        Raises:
            DataError: If it cannot be read, or a split is shorter than one window.
        """
        if self.corpus:
            return
        if self._tokenizer is None:
            self._tokenizer = self.read_tokenizer()
        corpus = self.read_corpus(self._tokenizer)
        for split, ids in corpus.items():
            if len(ids) <= self.num_steps:
                raise DataError(
                    f"{self.source}: the {split} split has {len(ids)} tokens, but must have at least "
                    f"{self.num_steps + 1}, one more than num_steps; use more text or fewer steps"
                )
        self.corpus = corpus

    # Loaders

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        ids = self.corpus[split]
        sampler: WindowSampler | StreamSampler
        if self.partition == "sequential":
            sampler = StreamSampler(
                len(ids),
                self.batch_size,
                num_steps=self.num_steps,
                shuffle=shuffle,
                seed=self.seed,
                rank=rank,
                world_size=world_size,
            )
        else:
            sampler = WindowSampler(
                len(ids),
                self.batch_size,
                num_steps=self.num_steps,
                sliding=self.partition == "sliding",
                shuffle=shuffle,
                seed=self.seed,
                rank=rank,
                world_size=world_size,
            )
        return WindowLoader(ids, sampler, self.release)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """How far training has come in its epoch, and the tokenizer."""
        state = super().state_dict()
        if self._tokenizer is not None:
            state["tokenizers"] = {"text": self._tokenizer.to_dict()}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was saved; a text that is read after that gets the saved tokenizer.

        Raises:
            DataError: If that tokenizer is not of the kind that this datamodule was asked for.
        """
        saved = state_dict.get("tokenizers", {})
        if self._tokenizer is None and "text" in saved:
            self._tokenizer = saved_tokenizer(
                saved["text"], tokens=self.tokens, normalization=self.normalization, source=self.source
            )
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "tokenizers"})
