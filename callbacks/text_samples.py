"""``samples.txt``: what a model of text writes, epoch after epoch."""

from collections.abc import Sequence
from typing import Any, cast

import lightning as L

from callbacks._files import may_write, run_dir
from datamodules.interface.batches import SequenceBatch, TranslationBatch
from datamodules.interface.vocab import UNK_ID
from zoo._checks import check_at_least, check_positive
from zoo.tasks import LanguageModel
from zoo.tasks.translation import Translator

__all__ = ["TextSamples"]

FILE_NAME = "samples.txt"
PROMPT_TOKENS = 16
"""Tokens of a validation window that a language model goes on from, if no prompts are given."""
SENTENCES = 3
"""Validation sentences that are translated, if no prompts are given."""
SEED = 0
SEPARATOR = " | "


def _can_write(model: L.LightningModule) -> bool:
    """Whether it can go on with a text, or translate one."""
    if isinstance(model, LanguageModel):
        return "text" in model.tokenizers and hasattr(model.net, "advance")
    return isinstance(model, Translator) and {"source", "target"} <= model.tokenizers.keys()


class TextSamples(L.Callback):
    r"""Prints what the model writes after validation, and adds it to ``samples.txt``.

    A language model goes on with each prompt: the line is the prompt, ``|``, and what follows. A translator
    translates greedily: the line is the sentence, ``|``, the translation, and where the sentence is of the
    validation split ``|`` and its references. Line ends within a text are written as ``\n``.

    The choices are drawn with the same seed each time, and from a generator of their own: the training goes
    as it would without. Models of other things, models that cannot go on with a text (:class:`zoo.BiGRULM`)
    and models without a tokenizer write nothing. Without a progress bar nothing is printed.

    Args:
        prompts: Texts to go on with, or to translate; None for the beginning of the validation split: 16
            tokens, or 3 sentences.
        every_n_epochs: Epochs from one sample to the next, at least 1.
        max_new_tokens: Most tokens of a sample, at least 1.
        temperature: What a language model's logits are divided by, positive.

    Raises:
        ValueError: If an argument is out of range; or, when the fit starts, if a prompt is empty or has
            characters that the model does not know.
    """

    def __init__(
        self,
        *,
        prompts: Sequence[str] | None = None,
        every_n_epochs: int = 1,
        max_new_tokens: int = 50,
        temperature: float = 1.0,
    ) -> None:
        check_at_least("every_n_epochs", every_n_epochs, 1)
        check_at_least("max_new_tokens", max_new_tokens, 1)
        check_positive("temperature", temperature)
        if isinstance(prompts, str):
            raise ValueError(f"prompts is the text {prompts!r}, but must be a list of texts")
        self.prompts = None if prompts is None else list(prompts)
        self.every_n_epochs = every_n_epochs
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self._first_batch: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Try the prompts, so that a wrong one does not end the run after its first epoch."""
        for prompt in self.prompts or () if _can_write(pl_module) else ():
            try:
                if isinstance(pl_module, LanguageModel):
                    pl_module.generate(prompt, 0, seed=SEED)
                elif isinstance(pl_module, Translator) and not pl_module.tokenizer("source").encode(prompt):
                    raise ValueError("it is empty, but must have something to translate")
            except ValueError as error:
                raise ValueError(f"TextSamples cannot use the prompt {prompt!r}: {error}") from error

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the beginning of the split."""
        if batch_idx == 0 and self.prompts is None and isinstance(batch, SequenceBatch | TranslationBatch):
            self._first_batch = type(batch)(*(part[:SENTENCES].clone() for part in batch))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write a sample."""
        if self.prompts is None and self._first_batch is None:
            return
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.state.fn != "fit" or trainer.sanity_checking or not due or not may_write(trainer):
            return
        if not _can_write(pl_module):
            return
        with trainer.precision_plugin.forward_context():
            if isinstance(pl_module, LanguageModel):
                lines = self._continued(pl_module)
            else:
                lines = self._translated(cast(Translator, pl_module))
        lines = [line.replace("\r", r"\r").replace("\n", r"\n") for line in lines]
        header = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        with (run_dir(trainer) / FILE_NAME).open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in (header, *lines)))
        if trainer.progress_bar_callback is not None:
            for line in lines:
                print(f"sample: {line}", flush=True)

    def _continued(self, model: LanguageModel) -> list[str]:
        tokenizer = model.tokenizer("text")
        choices: dict[str, Any] = {"temperature": self.temperature, "seed": SEED}
        if self.prompts is not None:
            starts = [tokenizer.decode(tokenizer.encode(prompt)) for prompt in self.prompts]
            texts = [model.generate(prompt, self.max_new_tokens, **choices) for prompt in self.prompts]
        else:
            tokens = self._first_batch.tokens[:1, :PROMPT_TOKENS]
            new = model.generate_ids(tokens, self.max_new_tokens, **choices, excluded=(UNK_ID,))
            starts = [tokenizer.decode(tokens[0].tolist())]
            texts = [tokenizer.decode([*tokens[0].tolist(), *new[0].tolist()])]
        return [
            f"{start}{SEPARATOR}{text.removeprefix(start)}" for start, text in zip(starts, texts, strict=True)
        ]

    def _translated(self, model: Translator) -> list[str]:
        if self.prompts is not None:
            found = model.translate(self.prompts, beam_size=1, max_new_tokens=self.max_new_tokens)
            return [SEPARATOR.join(pair) for pair in zip(self.prompts, found, strict=True)]
        batch: TranslationBatch = self._first_batch
        source, target = model.tokenizer("source"), model.tokenizer("target")
        lengths = batch.source_length.tolist()
        found_ids = model.translate_ids(
            batch.source, batch.source_length, beam_size=1, max_new_tokens=self.max_new_tokens
        )
        lines = []
        for ids, length, translation, references in zip(
            batch.source.tolist(), lengths, found_ids, batch.references.tolist(), strict=True
        ):
            texts = [source.decode(ids[: length - 1]), target.decode(translation)]
            for reference in references:
                known = [i if i < len(target) else 0 for i in reference if i >= 0]
                if known:
                    texts.append(target.decode(known))
            lines.append(SEPARATOR.join(texts))
        return lines
