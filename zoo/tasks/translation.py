"""Translation: a sentence in, a sentence out (sections 10.5 to 10.8)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.interface.batches import TranslationBatch
from datamodules.interface.vocab import BOS_ID, EOS_ID, PAD_ID
from zoo._checks import check_at_least, check_fraction
from zoo.generation.beam import beam_search
from zoo.generation.search import check_length_penalty, greedy_search
from zoo.layers.encoder_decoder import EncoderDecoder
from zoo.tasks._bleu import BLEUSums
from zoo.tasks.base import LRSchedulerCallable, OptimizerCallable
from zoo.tasks.language import perplexity
from zoo.tasks.text import TextTask

__all__ = ["Translator", "example_inputs"]

MAX_NEW_TOKENS = 100
BATCH_SIZE = 64
STEPS = 7  # of examples


class Translator(TextTask):
    """Base of models that translate: an :class:`~zoo.layers.encoder_decoder.EncoderDecoder` in ``self.net``.

    Logs ``loss`` (cross-entropy of a target token, ``<eos>`` included and padding not, the mean over all
    tokens of the split), ``perplexity`` (exp of it) and, in validation and test, ``bleu`` (BLEU-4 of the
    whole split against all references) and ``bleu_book`` (:func:`~zoo.generation.bleu.book_bleu` with k = 2
    against the best reference, the mean over sentences). Tokens of the target vocabulary are compared: words
    are, if they are what the data's tokens are. Validation translates greedily, the test with ``beam_size``.

    ``<pad>`` and ``<bos>`` are never generated. ``<unk>`` may be: it stands for a word that the vocabulary
    lacks, and is never right.

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
        label_smoothing: Probability spread evenly over all tokens in the training loss, in [0, 1).
        teacher_forcing: Probability that the decoder reads the true token in training, in the first and in
            the last epoch, each in [0, 1]; else it reads the token that it finds likeliest. In between it
            changes by the same amount each epoch.
        beam_size: Sentences kept while translating the test split and new lines, at least 1 (greedy).
        length_penalty: Exponent of the length that a beam's scores are divided by, in [0, 10].
    """

    monitor = "val/bleu"
    monitor_mode = "max"
    training_arguments = TextTask.training_arguments | {"teacher_forcing", "beam_size", "length_penalty"}

    net: EncoderDecoder

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        teacher_forcing: Sequence[float] = (1.0, 1.0),
        beam_size: int = 1,
        length_penalty: float = 0.75,
    ) -> None:
        check_fraction("label_smoothing", label_smoothing)
        if len(teacher_forcing) != 2 or not all(0 <= share <= 1 for share in teacher_forcing):
            raise ValueError(
                f"teacher_forcing is {list(teacher_forcing)}, but must be two probabilities, those of the "
                "first and of the last epoch"
            )
        check_at_least("beam_size", beam_size, 1)
        check_length_penalty(length_penalty)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.label_smoothing = label_smoothing
        self.teacher_forcing = tuple(teacher_forcing)
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self._bleu: dict[str, BLEUSums] = {}

    def setup(self, stage: str) -> None:
        """Start a run.

        Raises:
            ValueError: If teacher forcing shall change until the last epoch, and there is none.
        """
        super().setup(stage)
        start, end = self.teacher_forcing
        if stage == "fit" and start != end and (self.trainer.max_epochs or 0) < 1:
            raise ValueError(
                f"trainer.max_epochs is {self.trainer.max_epochs}, but must be positive for the schedule of "
                "teacher_forcing"
            )

    # Training

    def forward(  # type: ignore[override]  # a task's network may take several tensors
        self, source: Tensor, source_length: Tensor, target: Tensor
    ) -> Tensor:
        """For each target token, ``<bos>`` the first, the logits of the token after it."""
        logits: Tensor = self.net(source, source_length, target)
        return logits

    def network_inputs(self, batch: TranslationBatch) -> tuple[Tensor, ...]:
        """Source, source lengths, and the target without its last token."""
        return batch.source, batch.source_length, batch.target[:, :-1]

    def measure(self, batch: TranslationBatch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Mean cross-entropy of the target tokens, and their number; padding counts for nothing."""
        share = self.true_share() if self.training else 1.0
        logits = self(*self.network_inputs(batch)) if share == 1 else self.decode_own(batch, share)
        label = labels_of(batch)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(logits.flatten(0, 1), label.flatten(), label_smoothing=smoothing)
        return loss, {}, (batch.target_length - 1).sum()

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """The perplexity."""
        return {"perplexity": perplexity(means["loss"])}

    def true_share(self) -> float:
        """Probability that the decoder reads the true token in this epoch."""
        start, end = self.teacher_forcing
        if self._trainer is None or start == end:
            return start
        assert self.trainer.max_epochs is not None
        return start + (end - start) * min(self.current_epoch / max(self.trainer.max_epochs - 1, 1), 1.0)

    def decode_own(self, batch: TranslationBatch, share: float) -> Tensor:
        """Logits where the decoder reads its own likeliest token instead of the true one now and then.

        Args:
            batch: A batch.
            share: Probability of the true token, in [0, 1]; ``<bos>`` is always true.

        Returns:
            Logits (batch, target_steps - 1, vocab).
        """
        source, source_length, target = self.network_inputs(batch)
        state = self.net.start(source, source_length)
        tokens = target[:, :1]
        logits: list[Tensor] = []
        for step in range(target.shape[1]):
            if step > 0:
                true = torch.rand(tokens.shape, device=tokens.device) < share
                tokens = torch.where(true, target[:, step, None], logits[-1].argmax(dim=2))
            output, state = self.net.decoder(tokens, state)
            logits.append(output)
        return torch.cat(logits, dim=1)

    # Translation

    def translate(
        self,
        lines: Sequence[str],
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[str]:
        """Translate lines of text.

        Args:
            lines: Sentences, normalised as the training text was; words that the model does not know are
                ``<unk>`` to it.
            beam_size: Sentences kept on the way, at least 1 (greedy); None is the model's own.
            length_penalty: Exponent of the length that a beam's scores are divided by, in [0, 10]; None is
                the model's own.
            max_new_tokens: Most tokens of a translation, its end included, at least 1.

        Returns:
            A translation for each line; that of an empty line is empty.

        Raises:
            ValueError: If an argument is out of range.
            TokenizerError: If the model was neither trained nor loaded.
        """
        if isinstance(lines, str):
            raise ValueError(f"lines is the text {lines!r}, but must be a list of lines")
        source, target = self.tokenizer("source"), self.tokenizer("target")
        ids = [source.encode(line) for line in lines]
        # Lines of like length go together; the order of the result is that of the lines.
        order = sorted((i for i, line in enumerate(ids) if line), key=lambda i: len(ids[i]))
        texts = [""] * len(ids)
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            rows = [torch.tensor([*ids[i], EOS_ID]) for i in chosen]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)
            lengths = torch.tensor([len(row) for row in rows])
            translations = self.translate_ids(
                padded.to(self.device),
                lengths.to(self.device),
                beam_size=beam_size,
                length_penalty=length_penalty,
                max_new_tokens=max_new_tokens,
            )
            for i, translation in zip(chosen, translations, strict=True):
                texts[i] = target.decode(translation)
        return texts

    @torch.inference_mode()
    def translate_ids(
        self,
        source: Tensor,
        source_length: Tensor,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[list[int]]:
        """Translate ids; the mode of each layer stays as it was.

        Args:
            source: Token ids, ``<eos>`` at the end, padded (batch, source_steps), int64.
            source_length: Tokens without padding (batch,), int64, at least 1.
            beam_size: As in :meth:`translate`.
            length_penalty: As in translate.
            max_new_tokens: As in translate.

        Returns:
            The ids of each translation, without ``<bos>`` and ``<eos>``.

        Raises:
            ValueError: If an argument is out of range.
        """
        beam_size = self.beam_size if beam_size is None else beam_size
        length_penalty = self.length_penalty if length_penalty is None else length_penalty
        check_at_least("beam_size", beam_size, 1)
        check_length_penalty(length_penalty)
        decoder = self.net.decoder

        def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
            logits, state = decoder(tokens[:, None], state)
            return logits[:, 0], state

        first = torch.full_like(source_length, BOS_ID)
        limits: dict[str, Any] = {
            "eos_id": EOS_ID,
            "max_new_tokens": max_new_tokens,
            "excluded": (PAD_ID, BOS_ID),
        }
        with self.evaluating():
            state = self.net.start(source, source_length)
            if beam_size == 1:
                found = greedy_search(step, decoder.select, state, first, **limits)
            else:
                found = beam_search(
                    step,
                    decoder.select,
                    state,
                    first,
                    beam_size=beam_size,
                    length_penalty=length_penalty,
                    **limits,
                )
        return [[token for token in hypothesis.ids if token != EOS_ID] for hypothesis in found]

    def predict_step(self, batch: TranslationBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the tokens of each target sentence (batch,)."""
        logits = self(*self.network_inputs(batch)).transpose(1, 2)
        losses = F.cross_entropy(logits, labels_of(batch), reduction="none")
        return losses.sum(dim=1) / (batch.target_length - 1)

    # BLEU

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_validation_epoch_start()
        self._bleu["val"] = BLEUSums()

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_test_epoch_start()
        self._bleu["test"] = BLEUSums()

    def validation_step(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Add up a validation batch; translate it greedily."""
        super().validation_step(batch, batch_idx)
        self._compare("val", batch, beam_size=1)

    def test_step(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Add up a test batch; translate it."""
        super().test_step(batch, batch_idx)
        self._compare("test", batch, beam_size=self.beam_size)

    def on_validation_epoch_end(self) -> None:
        """Log the validation means, and BLEU."""
        super().on_validation_epoch_end()
        self._log_bleu("val")

    def on_test_epoch_end(self) -> None:
        """Log the test means, and BLEU."""
        super().on_test_epoch_end()
        self._log_bleu("test")

    def _compare(self, stage: str, batch: TranslationBatch, *, beam_size: int) -> None:
        """Translate a batch, and count what its translations and their references have in common."""
        if batch.references.shape[1] == 0:
            return
        translations = self.translate_ids(batch.source, batch.source_length, beam_size=beam_size)
        references = [
            [[i for i in reference if i >= 0] for reference in sentence if reference[0] >= 0]
            for sentence in batch.references.tolist()
        ]
        self._bleu[stage].add(translations, references)

    def _log_bleu(self, stage: str) -> None:
        """Log BLEU over all processes, if there was something to compare with."""
        bleu = self._bleu[stage].over_processes(self.trainer.strategy, self.device)
        for name, value in bleu.items():
            # Equal on all processes already; sync_dist only tells Lightning so.
            self.log(f"{stage}/{name}", value, prog_bar=True, on_epoch=True, batch_size=1, sync_dist=True)

    # Examples

    def example_batch(self, batch_size: int) -> TranslationBatch:
        """Random sentences of different lengths, each with one reference."""
        example: Any = self.example_input_array
        device = example[0].device
        lengths = torch.randint(2, STEPS + 1, (2, batch_size), device=device)
        lengths[:, 0] = STEPS
        source, target = (
            random_sentences(self.hparams[f"{side}_vocab_size"], length)
            for side, length in zip(("source", "target"), lengths, strict=True)
        )
        bos = torch.full((batch_size, 1), BOS_ID, device=device)
        references = target[:, None, :-1].where(target[:, None, :-1] > EOS_ID, -1)
        return TranslationBatch(
            source, lengths[0], torch.cat([bos, target], dim=1), lengths[1] + 1, references
        )


def labels_of(batch: TranslationBatch) -> Tensor:
    """The token that follows each target token (batch, target_steps - 1); -100, no token, where none does."""
    label = batch.target[:, 1:]
    steps = torch.arange(label.shape[1], device=label.device)
    return label.masked_fill(steps >= batch.target_length[:, None] - 1, -100)


def random_sentences(vocab_size: int, length: Tensor) -> Tensor:
    """Random words, ``<eos>`` after them, and padding (batch, STEPS), int64."""
    words = torch.randint(EOS_ID + 1, vocab_size, (len(length), STEPS), device=length.device)
    after = torch.arange(STEPS, device=length.device) - (length[:, None] - 1)
    return words.where(after < 0, EOS_ID).where(after <= 0, PAD_ID)


def example_inputs() -> tuple[Tensor, ...]:
    """Inputs of the network for ``example_input_array``: two sentences."""
    return (
        torch.full((2, STEPS), EOS_ID),
        torch.full((2,), STEPS),
        torch.full((2, STEPS), EOS_ID),
    )
