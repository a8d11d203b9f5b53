"""Any text file, for language models."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodules._registry import register
from datamodules.base import BatchSize
from datamodules.interface.checks import check_held_out
from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import Tokenizer
from datamodules.text.base import TextDataModule, encode
from datamodules.text.cache import TokenCache
from datamodules.text.reading import find_blocks, find_cut, read_pieces, stat_of

__all__ = ["TextFile"]

MAPPED_FROM = 64 << 20  # bytes; shorter files are read anew each time, which takes seconds
SPLITS = ("train", "val", "test")


@register(
    task="language modelling",
    config="rnn/lstm_textfile.yaml",
    tiny={"num_steps": 4, "partition": "sliding", "batch_size": 8},
)
class TextFile(TextDataModule):
    """A text file in UTF-8, in three blocks: the first is trained on, the last is tested on.

    The blocks are shares of the file's bytes; each begins between two tokens. No window reaches into another
    block. The vocabulary is that of the training block, and unknown tokens of the others are ``<unk>``; a
    checkpoint brings its own, so that a trained model can be tested on another file. The command line sees to
    that; from Python, ``data.load_state_dict(checkpoint["TextFile"])`` comes before the data are used.

    A file of 64 MB or more is encoded once, into a file under ``$ZOO_CACHE_DIR`` (else
    ``$XDG_CACHE_HOME/d2l-zoo``, else ``~/.cache/d2l-zoo``) with one, two or four bytes a token, and mapped
    into memory from there. Such files may be deleted at any time between runs, all or some.

    Args:
        path: The file.
        tokens: Kind of the tokens: ``char``, ``word``, ``bpe`` or ``wordpiece``.
        normalization: What is done to the text first: ``none``, ``lower``, ``letters`` (a to z and spaces) or
            ``words`` (lower case, punctuation apart).
        min_freq: How often a token (for subwords: a merged pair) must occur to be in the vocabulary.
        max_vocab: Highest number of entries of the vocabulary, ``<unk>`` included; None for no limit, or for
            8,000 if the tokens are subwords. BPE needs at least 257, WordPiece some for each character.
        val_fraction: Share of the text for validation, in (0, 1).
        test_fraction: Share of the text for the test, in (0, 1).
        num_steps: Inputs in a window, at least 1.
        partition: How windows are cut out of a block: ``sliding`` (one at every token), ``random`` (side by
            side, from another token each epoch) or ``sequential`` (side by side, and each row of a batch goes
            on where it ended in the batch before).
        batch_size: Windows in a batch on each device, or ``full`` for one batch of everything.
        seed: Seed of the training order.

    Attributes:
        corpus: The ids of each split's tokens, in the smallest type that holds them; filled by ``setup``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        path: str,
        tokens: str = "char",
        normalization: str = "none",
        min_freq: int = 1,
        max_vocab: int | None = None,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        num_steps: int = 32,
        partition: str = "random",
        batch_size: BatchSize = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            normalization=normalization,
            min_freq=min_freq,
            max_vocab=max_vocab,
            num_steps=num_steps,
            partition=partition,
            batch_size=batch_size,
            seed=seed,
        )
        check_held_out(val_fraction, test_fraction)
        self.path = Path(path)
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self._mapped: TokenCache | None = None

    @property
    def source(self) -> str:
        """The file."""
        return str(self.path)

    def _pieces(self) -> dict[str, Iterator[str]]:
        """Pieces of the text of each block."""
        cut = find_cut(self.tokens, self.normalization)
        fractions = (1 - self.val_fraction - self.test_fraction, 1 - self.test_fraction)
        blocks = find_blocks(self.path, fractions, cut)
        return {
            split: read_pieces(self.path, block, cut) for split, block in zip(SPLITS, blocks, strict=True)
        }

    def prepare_data(self) -> None:
        """Encode a long file, once.

        Raises:
            DataError: If it cannot be read, or what it becomes cannot be written.
        """
        if self._is_long():
            pieces = self._pieces()
            tokenizer = self._tokenizer
            self._cache().fill(lambda: tokenizer or self.train_tokenizer(self._pieces()["train"]), pieces)

    def read_tokenizer(self) -> Tokenizer:
        """Make the vocabulary of the first block; of a long file, read it."""
        if not self._is_long():
            return self.train_tokenizer(self._pieces()["train"])
        tokenizer = self._cache().tokenizer()
        if tokenizer is None:
            raise DataError(f"{self.path}: is not encoded yet; prepare_data() does it")
        return tokenizer

    def read_corpus(self, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
        """Read and encode the file; map the ids of a long one into memory."""
        if not self._is_long():
            return {split: encode(tokenizer, pieces) for split, pieces in self._pieces().items()}
        self._mapped = self._cache()
        return self._mapped.read()

    def release(self) -> None:
        """Let go of the pages of a long file."""
        if self._mapped is not None:
            self._mapped.release()

    def _is_long(self) -> bool:
        return stat_of(self.path).st_size >= MAPPED_FROM

    def _cache(self) -> TokenCache:
        """Where the ids of a long file are; elsewhere if a checkpoint's tokenizer is not its own."""
        stat = stat_of(self.path)
        settings = {
            "path": str(self.path.resolve()),
            "size": stat.st_size,
            "modified": stat.st_mtime_ns,
            "tokens": self.tokens,
            "normalization": self.normalization,
            "min_freq": self.min_freq,
            "max_vocab": self.max_vocab,
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
        }
        own = TokenCache(settings)
        if self._tokenizer is None or self._tokenizer == own.tokenizer():
            return own
        return TokenCache({**settings, "tokenizer": self._tokenizer.to_dict()})
