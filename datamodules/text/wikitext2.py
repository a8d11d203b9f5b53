"""WikiText-2: verified good and featured articles of Wikipedia, word by word (used in section 15.9)."""

import re
from pathlib import Path

import numpy as np

from datamodules._download import RemoteFile, get_file, read_members
from datamodules._registry import register
from datamodules.base import BatchSize, default_data_dir
from datamodules.interface.checks import check_choice
from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import Tokenizer
from datamodules.interface.vocab import EOS
from datamodules.text.base import TextDataModule, encode

__all__ = ["WikiText2"]

ARCHIVE = RemoteFile(
    name="wikitext-2-v1.zip",
    sha1="3c914d17d80b1459be871a5039ac23e752a53cbe",
    urls=(
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
        "https://wikitext.smerity.com/wikitext-2-v1.zip",
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/wikitext-2/wikitext-2-v1.zip",
    ),
)
VALID_AND_TEST = RemoteFile(
    name="wikitext-2-valid-test.zip",
    members_md5={
        "wiki.valid.tokens": "d756d22ab2310e7e60c094bea5c5a8eb",
        "wiki.test.tokens": "781c9418ab9414bd09e4aad825aae752",
    },
    urls=(),
)
TRAIN_SPLITS = ("train", "valid")
TRAINED_ON = 0.9  # of the validation file, where there is no other
TITLE = re.compile(r"^ = (?!= ).* = $", re.MULTILINE)
"""The title of an article; those of its sections have more signs on each side."""


@register(task="language modelling", tiny={"num_steps": 4, "partition": "sliding", "batch_size": 8})
class WikiText2(TextDataModule):
    """WikiText-2 (Merity et al., 2017): 2,088,628 words to train on, 217,646 and 245,569 to evaluate on.

    Words are separated by white space and rare ones are ``<unk>`` already; a line's end is the word
    ``<eos>``. The vocabulary is that of the training text, 33,278 words, with ``<unk>`` at 0 and ``<eos>``
    at 1.

    Where only the validation and test files are at hand (``wikitext-2-valid-test.zip``), ``train_split:
    valid`` makes do with them.

    Args:
        data_dir: Folder of datasets; the archive is ``wikitext-2/wikitext-2-v1.zip`` in it. None means
            ``$ZOO_DATA_DIR``, else ``data``.
        train_split: ``train`` trains and validates on the official files; ``valid`` trains on the first 54
            articles of the validation file, about 90 % of it, and validates on its last 6. The test is on the
            official file either way.
        min_freq: How often a word must occur to be in the vocabulary.
        max_vocab: Highest number of entries of the vocabulary; None for no limit.
        num_steps: Inputs in a window, at least 1.
        partition: How windows are cut out of a text: ``sliding`` (one at every word), ``random`` (side by
            side, from another word each epoch) or ``sequential`` (side by side, and each row of a batch goes
            on where it ended in the batch before).
        batch_size: Windows in a batch on each device, or ``full`` for one batch of everything.
        seed: Seed of the training order.

    Attributes:
        corpus: The ids of each split's words, uint16; filled by ``setup``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        data_dir: str | None = None,
        train_split: str = "train",
        min_freq: int = 1,
        max_vocab: int | None = None,
        num_steps: int = 35,
        partition: str = "sequential",
        batch_size: BatchSize = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(
            tokens="word",
            normalization="none",
            min_freq=min_freq,
            max_vocab=max_vocab,
            num_steps=num_steps,
            partition=partition,
            batch_size=batch_size,
            seed=seed,
        )
        check_choice("train_split", train_split, TRAIN_SPLITS)
        self.data_dir = data_dir
        self.train_split = train_split

    @property
    def places(self) -> list[Path]:
        """Where the archive may lie."""
        folder = Path(self.data_dir or default_data_dir()) / "wikitext-2"
        return [folder / ARCHIVE.name, folder / VALID_AND_TEST.name]

    @property
    def source(self) -> str:
        """The archive."""
        return str(next((place for place in self.places if place.exists()), self.places[0]))

    def prepare_data(self) -> None:
        """Get the archive.

        Raises:
            DataError: If it cannot be had, or what lies there has no training text and one is asked for.
        """
        whole, part = self.places
        if whole.exists() or not part.exists():
            get_file(ARCHIVE, [whole])
            return
        if self.train_split == "train":
            raise DataError(
                f"{part}: holds no wiki.train.tokens; give train_split: valid to train on the validation "
                f"text, or put {ARCHIVE.name} beside it, or move it away to have that downloaded"
            )
        get_file(VALID_AND_TEST, [part])

    def _read_texts(self) -> dict[str, str]:
        """The text of each split, with the word ``<eos>`` at the end of each line."""
        names = [f"wiki.{split}.tokens" for split in dict.fromkeys((self.train_split, "valid", "test"))]
        files = read_members(self.places, names)
        train, *val, test = (files[name].decode() for name in names)
        if not val:  # one text for both
            title = TITLE.search(train, int(TRAINED_ON * len(train)))
            if title is None:
                raise DataError(f"{self.source}: no article begins in the last tenth of {names[0]}")
            train, val = train[: title.start()], [train[title.start() :]]
        texts = {"train": train, "val": val[0], "test": test}
        return {split: text.replace("\n", f" {EOS} ") for split, text in texts.items()}

    def read_tokenizer(self) -> Tokenizer:
        """Make the vocabulary of the training text."""
        return self.train_tokenizer([self._read_texts()["train"]], (EOS,))

    def read_corpus(self, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
        """Read and encode the texts."""
        return {split: encode(tokenizer, [text]) for split, text in self._read_texts().items()}
