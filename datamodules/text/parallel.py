"""What all corpora of sentence pairs share: tokens of two languages, batches, references (section 10.5)."""

from abc import ABC, abstractmethod
from itertools import count
from typing import Any

from datamodules.base import BatchSize, ZooDataModule
from datamodules.interface.checks import check_at_least, check_choice
from datamodules.interface.tokenizers import NORMALIZATIONS, TOKENIZERS, Tokenizer
from datamodules.interface.vocab import BOS_ID, EOS_ID, PADDED_RESERVED, UNK_ID
from datamodules.loaders import ResumableLoader
from datamodules.text.buckets import BucketSampler
from datamodules.text.pairs import PairLoader, Ragged, SentencePairs
from datamodules.text.parallel_corpus import ParallelCorpus, Translations
from datamodules.text.vocabulary import saved_tokenizer, train_tokenizer, vocab_limit

__all__ = ["ParallelDataModule"]


class ParallelDataModule(ZooDataModule, ABC):
    """Base of the sentence pairs of two languages: text, tokens, batches for translation.

    A source sentence ends with ``<eos>``; a target begins with ``<bos>`` and ends with ``<eos>``. Both
    vocabularies are of the training pairs alone, and begin with ``<unk>``, ``<pad>``, ``<bos>`` and
    ``<eos>``.

    In training every pair is an example, and a batch has sentences of similar lengths. In evaluation every
    source is one, with the first of its translations as the target and all of them as references. References
    are in the target's tokens, never trimmed: words, or what else ``tokens`` says, so that BLEU is of that.
    What the vocabulary lacks in a reference has an id that is not below its size, so that nothing matches it.

    A ``<pad>``, ``<bos>`` or ``<eos>`` that is written in a sentence is read as ``<unk>``.

    Args:
        tokens: What a token is, in both languages: ``word``, ``char``, ``bpe`` or ``wordpiece``.
        normalization: What is done to a sentence first: ``words`` (lower case, punctuation apart), ``lower``,
            ``letters`` or ``none``.
        min_freq: How often a token (for bpe and wordpiece: a merged pair) must occur in the training pairs of
            its language, at least 1.
        max_vocab: Highest number of entries of each vocabulary, at least 5; None for no limit, or for 8,000
            with bpe and wordpiece. bpe needs at least 260, wordpiece some for each character.
        max_length: Highest number of tokens of a sentence with its ``<eos>``, at least 2; what is longer is
            cut before the ``<eos>``. None cuts nothing.
        batch_size: Pairs in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.

    Attributes:
        pairs: ``train``, ``val`` and ``test``, filled by ``setup``.
    """

    def __init__(
        self,
        *,
        tokens: str = "word",
        normalization: str = "words",
        min_freq: int = 2,
        max_vocab: int | None = None,
        max_length: int | None = None,
        batch_size: BatchSize = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_choice("tokens", tokens, TOKENIZERS)
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_at_least("min_freq", min_freq, 1)
        if max_vocab is not None:
            check_at_least("max_vocab", max_vocab, 2 + len(PADDED_RESERVED))
        if max_length is not None:
            check_at_least("max_length", max_length, 2)
        self.tokens = tokens
        self.normalization = normalization
        self.min_freq = min_freq
        self.max_vocab = vocab_limit(tokens, max_vocab)
        self.max_length = max_length
        self.pairs: dict[str, SentencePairs] = {}
        self._tokenizers: dict[str, Tokenizer] = {}

    @abstractmethod
    def read_corpus(self) -> ParallelCorpus:
        """The text, from files that ``prepare_data`` got.

        Raises:
            DataError: If it cannot be read or split.
        """

    # Tokens

    @property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """The tokenizers of ``source`` and ``target``; before ``setup`` this gets and reads the files."""
        if not self._tokenizers:
            self.prepare_data()
            self.setup()
        return self._tokenizers

    @property
    def source_vocab_size(self) -> int:
        """Number of tokens in the vocabulary of the source language."""
        return len(self.tokenizers["source"])

    @property
    def target_vocab_size(self) -> int:
        """Number of tokens in the vocabulary of the target language."""
        return len(self.tokenizers["target"])

    def setup(self, stage: str | None = None) -> None:
        """Read the files into :attr:`pairs`, once.

        Raises:
            DataError: If they cannot be read or split, or ``max_vocab`` is too small for subwords.
        """
        if self.pairs:
            return
        corpus = self.read_corpus()
        if not self._tokenizers:
            self._tokenizers = {
                "source": self._trained([pair.source for pair in corpus.train]),
                "target": self._trained([pair.target for pair in corpus.train]),
            }
        train = [Translations(pair.source, [pair.target]) for pair in corpus.train]
        self.pairs = {
            "train": self._encoded(train, references=False),
            "val": self._encoded(corpus.val, references=True),
            "test": self._encoded(corpus.test, references=True),
        }

    def _trained(self, texts: list[str]) -> Tokenizer:
        return train_tokenizer(
            texts,
            tokens=self.tokens,
            normalization=self.normalization,
            min_freq=self.min_freq,
            max_vocab=self.max_vocab,
            reserved_tokens=PADDED_RESERVED,
        )

    def _encoded(self, examples: list[Translations], *, references: bool) -> SentencePairs:
        source, target = (self._tokenizers[name] for name in ("source", "target"))
        known = [example.targets if references else [] for example in examples]
        numbers = count()
        unknown = count(len(target))
        return SentencePairs(
            source=Ragged([self._ids(source, example.source) for example in examples]),
            target=Ragged([[BOS_ID, *self._ids(target, example.targets[0])] for example in examples]),
            references=Ragged(
                [
                    [next(unknown) if i == UNK_ID else i for i in target.encode(text)]
                    for texts in known
                    for text in texts
                ]
            ),
            references_of=Ragged([[next(numbers) for _ in texts] for texts in known]),
        )

    def _ids(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """The ids of a sentence with its ``<eos>``, cut if there are too many."""
        ids = tokenizer.encode(text)
        return [*(ids if self.max_length is None else ids[: self.max_length - 1]), EOS_ID]

    # Loaders

    def _loader(self, split: str, *, shuffle: bool) -> ResumableLoader:
        pairs = self.pairs[split]
        sampler = self.batch_sampler(len(pairs), shuffle=shuffle)
        if shuffle:
            sampler = BucketSampler(
                pairs.by_length(),
                self.batch_size,
                seed=sampler.seed,
                rank=sampler.rank,
                world_size=sampler.world_size,
            )
        return PairLoader(pairs, sampler)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch; the tokenizers, as plain values."""
        return {**super().state_dict(), **self._tokenizer_state()}

    def _tokenizer_state(self) -> dict[str, Any]:
        if not self._tokenizers:
            return {}
        return {"tokenizers": {name: t.to_dict() for name, t in self._tokenizers.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the epoch, and encode as the checkpoint's model expects; what was read is read anew.

        Raises:
            DataError: If its tokens are not of the kind that this datamodule was asked for.
        """
        saved = {key: value for key, value in state_dict.items() if key == "tokenizers"}
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in saved})
        if not saved or saved == self._tokenizer_state():
            return
        self._tokenizers = {
            name: saved_tokenizer(
                state, tokens=self.tokens, normalization=self.normalization, source=f"the {name} text"
            )
            for name, state in saved["tokenizers"].items()
        }
        if self.pairs:
            self.pairs = {}
            self.setup()
