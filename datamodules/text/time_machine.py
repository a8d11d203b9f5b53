"""The Time Machine by H. G. Wells, letter by letter (sections 9.2 and 9.3)."""

import re
from pathlib import Path

import numpy as np

from datamodules._download import RemoteFile, get_file
from datamodules._registry import register
from datamodules.base import BatchSize, default_data_dir
from datamodules.interface.checks import check_at_least, check_choice
from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import Tokenizer
from datamodules.text.base import TextDataModule, encode
from datamodules.text.reading import Block, find_blocks, find_cut, read_pieces

__all__ = ["TimeMachine"]

FILE = RemoteFile(
    name="timemachine.txt",
    sha1="090b5e7e70c295757f55df93cb0a180b9691891a",
    urls=(
        "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
        # The last state of the Chinese edition's repository that held its data.
        "https://raw.githubusercontent.com/d2l-ai/d2l-zh/f66f0829b472c4739fc7842b827c63e5eb39d69d/data/timemachine.txt",
    ),
)
SPLITS = ("book", "blocks")
HELD_OUT = 0.05  # of the blocks


@register(
    task="language modelling",
    book=("D08",),
    config="rnn/rnn_time_machine.yaml",
    tiny={"num_steps": 4, "num_train": 20, "num_val": 7, "num_test": 9, "batch_size": 8},
)
class TimeMachine(TextDataModule):
    """The Time Machine: 173,428 characters after normalisation, with a vocabulary of 28 (sections 9.2, 9.3).

    Windows of a split never reach into another one. The book's do: its validation windows begin with
    characters of its last training windows. Nor has the book a test split.

    Args:
        data_dir: Folder of datasets; the file is ``timemachine/timemachine.txt`` in it. None means
            ``$ZOO_DATA_DIR``, else ``data``.
        split: ``book`` takes the first ``num_train``, the next ``num_val`` and the next ``num_test`` windows,
            one at each token, and the vocabulary of the whole text; ``blocks`` takes the first 90 % of the
            text, the next 5 % and the last 5 %, and the vocabulary of the first block.
        num_train: Training windows of ``book``, at least 1.
        num_val: Validation windows of ``book``, at least 1.
        num_test: Test windows of ``book``, at least 1.
        tokens: Kind of the tokens: ``char``, ``word``, ``bpe`` or ``wordpiece``.
        normalization: What is done to the text first: ``none``, ``lower``, ``letters`` (as in the book) or
            ``words``.
        min_freq: How often a token (for subwords: a merged pair) must occur to be in the vocabulary.
        max_vocab: Highest number of entries of the vocabulary, ``<unk>`` included; None for no limit, or for
            8,000 if the tokens are subwords. BPE needs at least 257, WordPiece some for each character.
        num_steps: Inputs in a window, at least 1.
        partition: How windows are cut out of a split: ``sliding``, ``random`` or ``sequential``. The numbers
            of windows above are those of ``sliding``, with the others the text is the same.
        batch_size: Windows in a batch on each device, or ``full`` for one batch of everything.
        seed: Seed of the training order.

    Attributes:
        corpus: The ids of each split's tokens, uint8 for characters; filled by ``setup``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        data_dir: str | None = None,
        split: str = "book",
        num_train: int = 10_000,
        num_val: int = 5_000,
        num_test: int = 5_000,
        tokens: str = "char",
        normalization: str = "letters",
        min_freq: int = 1,
        max_vocab: int | None = None,
        num_steps: int = 32,
        partition: str = "sliding",
        batch_size: BatchSize = 1024,
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
        check_choice("split", split, SPLITS)
        check_at_least("num_train", num_train, 1)
        check_at_least("num_val", num_val, 1)
        check_at_least("num_test", num_test, 1)
        self.data_dir = data_dir
        self.split = split
        self.num_windows = {"train": num_train, "val": num_val, "test": num_test}

    @property
    def file(self) -> Path:
        """Where the file lies."""
        return Path(self.data_dir or default_data_dir()) / "timemachine" / FILE.name

    @property
    def source(self) -> str:
        """The file."""
        return str(self.file)

    def prepare_data(self) -> None:
        """Get the file."""
        get_file(FILE, [self.file])

    @property
    def _cut(self) -> re.Pattern[str]:
        return find_cut(self.tokens, self.normalization)

    def _blocks(self) -> list[Block]:
        """The whole text, or the three blocks."""
        fractions = () if self.split == "book" else (1 - 2 * HELD_OUT, 1 - HELD_OUT)
        return find_blocks(self.file, fractions, self._cut)

    def read_tokenizer(self) -> Tokenizer:
        """Make the vocabulary of the whole text or of the first block."""
        return self.train_tokenizer(read_pieces(self.file, self._blocks()[0], self._cut))

    def read_corpus(self, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
        """Read and encode the text, and divide it."""
        parts = [encode(tokenizer, read_pieces(self.file, block, self._cut)) for block in self._blocks()]
        if self.split == "book":
            ends = np.cumsum([windows + self.num_steps for windows in self.num_windows.values()])
            if len(parts[0]) < ends[-1]:
                raise DataError(
                    f"{self.file}: the text has {len(parts[0])} tokens, but num_train, num_val and num_test "
                    f"windows of {self.num_steps} steps need {ends[-1]}; ask for fewer, or split: blocks"
                )
            parts = np.split(parts[0], ends)[:3]
        return dict(zip(self.num_windows, parts, strict=True))
