"""The book's own package on texts, as its users run it from a script: with the board not drawn.

``sequence.py`` runs it with the interpreter that ``setup_d2l.py`` made, in a folder beside ``data/`` (d2l
reads ``../data``).
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from d2l import torch as d2l
from torch import nn

__all__ = ["main"]

HIDDEN = 32
RATES = {"RNNLM": 1, "LSTMLM": 4, "GRULM": 4, "DeepGRULM": 2}
PROMPT = "it has"


class LSTM(d2l.RNN):
    """The concise LSTM of section 10.1.3, which the book's package lacks."""

    def __init__(self, num_inputs: int, num_hiddens: int) -> None:
        d2l.Module.__init__(self)
        self.save_hyperparameters()
        self.rnn = nn.LSTM(num_inputs, num_hiddens)


class Decoder(d2l.Decoder):
    """The decoder of section 10.7.3, which the book's package lacks."""

    def __init__(self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = d2l.GRU(embed_size + num_hiddens, num_hiddens, num_layers, dropout)
        self.dense = nn.LazyLinear(vocab_size)
        self.apply(d2l.init_seq2seq)

    def init_state(self, encoded: Any, *_: Any) -> Any:
        """What the encoder returns."""
        return encoded

    def forward(self, tokens: Any, state: Any) -> Any:
        """Logits, and the state with the same context."""
        encoded, hidden = state
        embedded = self.embedding(tokens.T)
        context = encoded[-1].repeat(len(embedded), 1, 1)
        outputs, hidden = self.rnn(d2l.concat((embedded, context), -1), hidden)
        return self.dense(outputs).swapaxes(0, 1), [encoded, hidden]


class Seq2Seq(d2l.Seq2Seq):
    """With the loss of section 10.7.4, where padding does not count."""

    def loss(self, logits: Any, labels: Any) -> Any:
        """Mean loss of the tokens that are no padding."""
        losses = super().loss(logits, labels, averaged=False)
        mask = (labels.reshape(-1) != self.tgt_pad).type(losses.dtype)
        return (losses * mask).sum() / mask.sum()


class TimedTrainer(d2l.Trainer):
    """The book's trainer, with both clocks at the end of each epoch."""

    def fit_epoch(self) -> None:
        """One epoch."""
        super().fit_epoch()
        ended_at = (time.perf_counter(), time.process_time())
        self.ended_at = [*getattr(self, "ended_at", []), ended_at]


def make_language_model(name: str, vocab_size: int) -> Any:
    """A language model as the book makes it."""
    if name == "RNNLM":
        rnn = d2l.RNN(vocab_size, HIDDEN)
    elif name == "LSTMLM":
        rnn = LSTM(vocab_size, HIDDEN)
    else:
        rnn = d2l.GRU(vocab_size, HIDDEN, num_layers=2 if name == "DeepGRULM" else 1)
    model = d2l.RNNLM(rnn, vocab_size, lr=RATES[name])
    model.board.display = False
    return model


def make_translator(data: Any) -> Any:
    """The translator of section 10.7.5."""
    encoder = d2l.Seq2SeqEncoder(len(data.src_vocab), 256, 256, num_layers=2, dropout=0.2)
    decoder = Decoder(len(data.tgt_vocab), 256, 256, num_layers=2, dropout=0.2)
    model = Seq2Seq(encoder, decoder, tgt_pad=data.tgt_vocab["<pad>"], lr=0.005)
    model.board.display = False
    return model


def time_epochs(model: Any, data: Any, epochs: int, tokens: int) -> dict[str, float]:
    """Tokens and seconds of all epochs after the first, without validation."""
    data.val_dataloader = lambda: None
    trainer = TimedTrainer(max_epochs=1 + epochs, gradient_clip_val=1)
    trainer.fit(model, data)
    (wall, cpu), (last_wall, last_cpu) = trainer.ended_at[0], trainer.ended_at[-1]
    return {"count": epochs * tokens, "wall": last_wall - wall, "cpu": last_cpu - cpu}


def time_generation(model: Any, vocab: Any, count: int, repeats: int) -> dict[str, float]:
    """Characters, and the median seconds that they take after a first time."""
    wall, cpu = [], []
    for _ in range(1 + repeats):
        started_at = (time.perf_counter(), time.process_time())
        text = model.predict(PROMPT, count, vocab)
        wall.append(time.perf_counter() - started_at[0])
        cpu.append(time.process_time() - started_at[1])
        if len(text) < len(PROMPT) + count:
            raise RuntimeError(f"{len(text)} characters, but {len(PROMPT) + count} were asked for")
    return {"count": count, "wall": statistics.median(wall[1:]), "cpu": statistics.median(cpu[1:])}


def main() -> None:
    """Train or generate, and write tokens and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("language_models", "translation", "generation"))
    parser.add_argument("model", choices=(*RATES, "Seq2Seq"))
    parser.add_argument("--epochs", type=int, default=1, help="time so many epochs after the first")
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if given.part == "translation":
        data = d2l.MTFraEng(batch_size=128)
        labels = data.arrays[3][: data.num_train]
        tokens = int((labels != data.tgt_vocab["<pad>"]).sum())
        result = time_epochs(make_translator(data), data, given.epochs, tokens)
    else:
        data = d2l.TimeMachine(batch_size=1024, num_steps=32)
        model = make_language_model(given.model, len(data.vocab))
        if given.part == "generation":
            result = time_generation(model, data.vocab, given.characters, given.repeats)
        else:
            result = time_epochs(model, data, given.epochs, data.num_train * data.num_steps)
    given.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
