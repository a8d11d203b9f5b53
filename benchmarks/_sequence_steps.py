"""What ``sequence.py`` measures of this project alone: generation, beam search, vocabularies."""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import datamodules
import zoo
from benchmarks._sequence_clock import Took, now
from datamodules.interface.tokenizers import TOKENIZERS
from datamodules.interface.vocab import EOS_ID

__all__ = ["main", "median_time", "time_beam", "time_generation", "time_vocabulary"]

PROMPT = "it has"


def median_time(run: Callable[[], Any], repeats: int) -> Took:
    """The median seconds of some runs, after one that does not count."""
    times = []
    for _ in range(1 + repeats):
        started_at = now()
        run()
        ended_at = now()
        times.append(Took(ended_at.wall - started_at.wall, ended_at.cpu - started_at.cpu))
    walls, cpus = zip(*times[1:], strict=True)
    return Took(statistics.median(walls), statistics.median(cpus))


def result_of(count: int, took: Took) -> dict[str, float]:
    """What is written: a count and the seconds that it takes."""
    return {"count": count, **took._asdict()}


def time_generation(name: str, characters: int, repeats: int) -> dict[str, float]:
    """Characters after the prompt, the likeliest each, and their seconds."""
    data = datamodules.TimeMachine()
    model: Any = zoo.create(name, vocab_size=data.vocab_size)
    model.tokenizers = data.tokenizers
    text = model.generate(PROMPT, characters, top_k=1)
    if len(text) < len(PROMPT) + characters:
        raise RuntimeError(f"{len(text)} characters, but {len(PROMPT) + characters} were asked for")
    return result_of(characters, median_time(lambda: model.generate(PROMPT, characters, top_k=1), repeats))


def time_beam(
    *, beam_size: int, steps: int, hidden_size: int, vocab_size: int, sentences: int, repeats: int
) -> dict[str, float]:
    """Sentences and seconds of one batch, with random weights, none of which ends a sentence early."""
    torch.manual_seed(0)
    model: Any = zoo.create(
        "Seq2Seq",
        source_vocab_size=vocab_size,
        target_vocab_size=vocab_size,
        embed_dim=hidden_size,
        hidden_size=hidden_size,
    )
    with torch.no_grad():
        model.net.decoder.dense.bias[EOS_ID] = -100.0
    source = torch.randint(EOS_ID + 1, vocab_size, (sentences, steps))
    length = torch.full((sentences,), steps)

    def translate() -> None:
        found = model.translate_ids(source, length, beam_size=beam_size, max_new_tokens=steps)
        if not all(len(ids) == steps for ids in found):
            raise RuntimeError(f"a translation has not {steps} tokens")

    return result_of(sentences, median_time(translate, repeats))


def time_vocabulary(path: Path, tokens: str, repeats: int) -> dict[str, float]:
    """Entries of a file's vocabulary, and the seconds from the file to it."""
    sizes = []

    def build() -> None:
        with path.open(encoding="utf-8") as file:
            sizes.append(len(TOKENIZERS[tokens].train(file)))

    took = median_time(build, repeats)
    return result_of(sizes[-1], took)


def main() -> None:
    """Measure, and write a count and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("generation", "beam", "vocabulary"))
    parser.add_argument("--model", default="RNNLM")
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--beam_size", type=int, default=4)
    parser.add_argument("--beam_steps", type=int, default=20)
    parser.add_argument("--beam_hidden", type=int, default=256)
    parser.add_argument("--beam_vocab", type=int, default=10_000)
    parser.add_argument("--beam_sentences", type=int, default=64)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--tokens", default="word")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if given.part == "generation":
        result = time_generation(given.model, given.characters, given.repeats)
    elif given.part == "beam":
        result = time_beam(
            beam_size=given.beam_size,
            steps=given.beam_steps,
            hidden_size=given.beam_hidden,
            vocab_size=given.beam_vocab,
            sentences=given.beam_sentences,
            repeats=given.repeats,
        )
    else:
        result = time_vocabulary(given.file, given.tokens, given.repeats)
    given.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
