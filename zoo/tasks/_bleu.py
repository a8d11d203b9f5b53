"""BLEU of a split, counted over its batches and over all processes."""

from collections.abc import Sequence

import torch
from lightning.pytorch.strategies import Strategy
from torchmetrics.text import BLEUScore

from zoo.generation.bleu import book_bleu

__all__ = ["BLEUSums"]

NGRAMS = 4
BOOK_NGRAMS = 2


class BLEUSums:
    """What translations and their references have in common, for BLEU-4 and the book's BLEU with k = 2.

    Not a torchmetrics metric, which would be a part of the network that holds it: a metric that was made on
    the meta device would stay there, and count nothing.
    """

    def __init__(self) -> None:
        self._corpus = BLEUScore(n_gram=NGRAMS, sync_on_compute=False)
        self._book: list[float] = []

    def add(
        self, translations: Sequence[Sequence[int]], references: Sequence[Sequence[Sequence[int]]]
    ) -> None:
        """Count a batch.

        Args:
            translations: Ids of the tokens of each translation.
            references: For each translation those of its references, at least one.
        """
        self._corpus.update(
            [_words(ids) for ids in translations], [[_words(ids) for ids in each] for each in references]
        )
        self._book += [
            max(book_bleu(ids, reference, BOOK_NGRAMS) for reference in each)
            for ids, each in zip(translations, references, strict=True)
        ]

    def over_processes(self, strategy: Strategy, device: torch.device) -> dict[str, torch.Tensor]:
        """The metrics of what all processes counted, on each of them; every process must call this.

        Args:
            strategy: The trainer's.
            device: Device of this process.

        Returns:
            ``bleu``, of the whole split against all references, and ``bleu_book``, the mean over sentences of
            that of the best reference; nothing, if no process counted anything.
        """
        own = self._corpus
        book = torch.tensor([sum(self._book), len(self._book)], dtype=torch.float32)
        lengths = torch.stack([own.preds_len, own.target_len])
        sums = torch.cat([own.numerator, own.denominator, lengths, book]).to(device)
        sums = strategy.reduce(sums, reduce_op="sum").cpu()
        if sums[-1] == 0:
            return {}
        whole = BLEUScore(n_gram=NGRAMS, sync_on_compute=False)
        whole.update([], [])  # it is said to be used before its sums are filled
        whole.numerator, whole.denominator = sums[:NGRAMS], sums[NGRAMS : 2 * NGRAMS]
        whole.preds_len, whole.target_len = sums[-4], sums[-3]
        return {"bleu": whole.compute(), "bleu_book": sums[-2] / sums[-1]}


def _words(ids: Sequence[int]) -> str:
    """Ids as words: torchmetrics compares texts."""
    return " ".join(map(str, ids))
