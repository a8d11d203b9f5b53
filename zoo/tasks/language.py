"""Language models: which token comes next (section 9.3)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.interface.batches import SequenceBatch
from datamodules.interface.vocab import UNK_ID
from zoo._checks import check_at_least
from zoo.generation.sampling import check_sampling, sample
from zoo.tasks.text import TextTask, TokenizerError

__all__ = ["LanguageModel", "perplexity"]


def perplexity(loss: float) -> float:
    """Exp of the mean cross-entropy of a token in nats (section 9.3.2); infinite on overflow, nan of nan."""
    return math.inf if loss >= 700 else math.exp(loss)


class LanguageModel(TextTask):
    """Base of models that say which token comes next.

    Logs ``loss`` (cross-entropy of a token, the mean over all tokens of the split) and ``perplexity`` (exp of
    it).

    The network's ``forward`` takes token ids (batch, num_steps) and returns logits
    (batch, num_steps, vocab_size). Its ``advance(tokens, state)`` reads on: it takes the next tokens
    (batch, steps) and its state (None at the start), and returns the logits of the token after them
    (batch, vocab_size) and the new state.

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    monitor = "val/perplexity"

    def measure(self, batch: SequenceBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean cross-entropy of the tokens, and their number."""
        loss = self.loss(self.logits_of(batch).flatten(0, 1), batch.label.flatten())
        return loss, {}, batch.label.numel()

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean cross-entropy of logits (tokens, vocab_size) and ids (tokens,)."""
        return F.cross_entropy(logits, label)

    def logits_of(self, batch: SequenceBatch) -> Tensor:
        """The logits for a batch (batch, num_steps, vocab_size)."""
        logits: Tensor = self(batch.tokens)
        return logits

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """The perplexity."""
        return {"perplexity": perplexity(means["loss"])}

    def random_inputs(self, batch_size: int) -> Tensor:
        """Random token ids like ``example_input_array``."""
        example = self.example_input_array
        assert isinstance(example, Tensor)
        size = (batch_size, *example.shape[1:])
        return torch.randint(self.hparams["vocab_size"], size, device=example.device)

    def example_batch(self, batch_size: int) -> SequenceBatch:
        """Random tokens, and for each the next one."""
        tokens, label = self.random_inputs(batch_size), self.random_inputs(batch_size)
        label[:, :-1] = tokens[:, 1:]
        return SequenceBatch(tokens, label, torch.zeros(batch_size, dtype=torch.bool, device=tokens.device))

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of each window (batch,)."""
        logits = self.logits_of(batch).transpose(1, 2)
        return F.cross_entropy(logits, batch.label, reduction="none").mean(dim=1)

    def generate(
        self,
        prompt: str,
        max_new_tokens: int = 50,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """Go on with a text (the book's ``predict``, which takes the likeliest token: ``top_k=1``).

        Args:
            prompt: The beginning; it is normalised as the training text was.
            max_new_tokens: How many tokens to add, at least 0.
            temperature: What the logits are divided by, positive.
            top_k: How many of the likeliest tokens to choose from, at least 1; None for all.
            top_p: Share of the probability to choose from, in (0, 1]; None for all.
            seed: Seed of the choices; None draws from torch's generator.

        Returns:
            The prompt, as the model sees it, and what follows; ``<unk>`` is never written.

        Raises:
            ValueError: If an argument is out of range.
            TokenizerError: If the prompt is empty, or has characters that the model does not know.
        """
        tokenizer = self.tokenizer("text")
        ids = tokenizer.encode(prompt)
        if not ids:
            raise TokenizerError("the prompt is empty, but must have something to go on from")
        if tokenizer.kind == "char" and (unknown := tokenizer.unknown(prompt)):
            raise TokenizerError(
                f"the prompt has {' '.join(map(repr, unknown))}, but the model knows only the "
                f"{len(tokenizer) - 1} characters of its training text"
            )
        new = self.generate_ids(
            torch.tensor([ids], device=self.device),
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            excluded=(UNK_ID,),
        )
        return tokenizer.decode([*ids, *new[0].tolist()])

    @torch.inference_mode()
    def generate_ids(
        self,
        tokens: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        excluded: Sequence[int] = (),
    ) -> Tensor:
        """Go on with several sequences of ids at once; the mode of each layer stays as it was.

        Args:
            tokens: The beginnings (batch, steps), int64, at least one step.
            max_new_tokens: As in :meth:`generate`.
            temperature: As in generate.
            top_k: As in generate.
            top_p: As in generate.
            seed: As in generate.
            excluded: Tokens that are never chosen.

        Returns:
            The new tokens (batch, max_new_tokens), int64.

        Raises:
            ValueError: If an argument is out of range.
        """
        check_at_least("max_new_tokens", max_new_tokens, 0)
        check_sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        generator = None if seed is None else torch.Generator(tokens.device).manual_seed(seed)
        network: Any = self.net
        left_out = torch.tensor(excluded, dtype=torch.int64, device=tokens.device)
        new: list[Tensor] = []
        with self.evaluating():
            state = None
            for _ in range(max_new_tokens):
                logits, state = network.advance(tokens, state)
                tokens = sample(
                    logits.index_fill_(1, left_out, -torch.inf),
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    generator=generator,
                )[:, None]
                new.append(tokens)
        return torch.cat(new, dim=1) if new else tokens[:, :0]
