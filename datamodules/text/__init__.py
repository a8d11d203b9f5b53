"""Text: vocabulary, tokenizers, windows of long texts, statistics (sections 9.2 and 9.3)."""

from datamodules.interface.tokenizers import (
    NORMALIZATIONS,
    TOKENIZERS,
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    WordPieceTokenizer,
    WordTokenizer,
    normalize,
    tokenizer_from_dict,
)
from datamodules.interface.vocab import Vocab, build_vocab_from_iterator

__all__ = [
    "NORMALIZATIONS",
    "TOKENIZERS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "Vocab",
    "WordPieceTokenizer",
    "WordTokenizer",
    "build_vocab_from_iterator",
    "normalize",
    "tokenizer_from_dict",
]
