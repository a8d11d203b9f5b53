"""How often words, and words in a row, occur in a text: Zipf's law (section 9.2.4).

``python -m datamodules.text.statistics FILE --tokens word --output zipf.png`` prints the most frequent ones
and draws their frequencies.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import NORMALIZATIONS, CharTokenizer, WordTokenizer, normalize
from datamodules.text.reading import find_blocks, find_cut, read_pieces

__all__ = ["count_ngrams", "draw", "main", "read_tokens", "zipf_exponent"]

SPLIT = {"word": WordTokenizer.split, "char": CharTokenizer.split}
NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
DOTS_PER_INCH = 110


def read_tokens(path: Path, *, tokens: str = "word", normalization: str = "letters") -> Iterator[str]:
    """The tokens of a file, one by one.

    Args:
        path: A file in UTF-8.
        tokens: ``word`` or ``char``.
        normalization: What is done to the text first.

    Raises:
        DataError: If the file cannot be read, is empty, or is not UTF-8.
    """
    cut = find_cut(tokens, normalization)
    (block,) = find_blocks(path, (), cut)
    for piece in read_pieces(path, block, cut):
        yield from SPLIT[tokens](normalize(piece, normalization))


def count_ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each ``n`` tokens in a row occur; none if there are fewer than ``n``."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def zipf_exponent(counts: Mapping[tuple[str, ...], int]) -> float:
    """The exponent alpha of Zipf's law ``frequency = c * rank**-alpha`` (equation 9.2.1).

    It is fitted by least squares to the logarithms of all ranks and frequencies; the many rare tokens weigh
    the most.

    Raises:
        ValueError: If there are fewer than two counts.
    """
    if len(counts) < 2:
        raise ValueError(f"counts has {len(counts)} entries, but must have at least 2")
    frequencies = np.sort(np.array(list(counts.values()), np.float64))[::-1]
    slope, _ = np.polyfit(np.log(np.arange(1, len(frequencies) + 1)), np.log(frequencies), 1)
    return -float(slope)


def draw(counts: Mapping[int, Mapping[tuple[str, ...], int]], file: Path) -> None:
    """Draw frequency over rank, both on logarithmic axes, into a PNG file.

    Args:
        counts: Counts of the n-grams by n.
        file: Where to; its folder exists.
    """
    # matplotlib takes long to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for n, counted in counts.items():
        frequencies = sorted(counted.values(), reverse=True)
        axes.plot(range(1, len(frequencies) + 1), frequencies, label=NAMES[n])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank")
    axes.set_ylabel("frequency")
    axes.legend()
    figure.savefig(file, dpi=DOTS_PER_INCH)


def main(args: Sequence[str] | None = None) -> None:
    """Count, print and draw.

    Args:
        args: Arguments of the command; None for those it was called with.

    Raises:
        SystemExit: With one line, if the file cannot be read or has too few tokens, or the picture cannot be
            written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m datamodules.text.statistics",
        description="Print the most frequent tokens, pairs and triples of a text file, and draw Zipf's law.",
    )
    parser.add_argument("file", type=Path, help="a text file in UTF-8")
    parser.add_argument("--tokens", choices=list(SPLIT), default="word", help="default: %(default)s")
    parser.add_argument(
        "--normalization",
        choices=list(NORMALIZATIONS),
        default="letters",
        help="what is done to the text first (default: %(default)s, lower case a to z as in the book)",
    )
    parser.add_argument(
        "--top", type=int, default=10, help="how many to print of each (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="a PNG file for the picture (default: no picture)")
    options = parser.parse_args(args)
    if options.top < 0:
        parser.error(f"--top is {options.top}, but must be at least 0")
    try:
        found = list(read_tokens(options.file, tokens=options.tokens, normalization=options.normalization))
    except DataError as error:
        raise SystemExit(f"error: {error}") from error
    counts = {n: count_ngrams(found, n) for n in NAMES}
    if len(counts[3]) < 2:
        raise SystemExit(
            f"error: {options.file}: has {len(found)} tokens, but must have two different triples of them; "
            "use a longer text"
        )
    for n, counted in counts.items():
        print(f"{NAMES[n]}s: {len(counted):,} different, Zipf exponent {zipf_exponent(counted):.3f}")
        for ngram, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[: options.top]:
            print(f"  {count:8,}  {' '.join(ngram) if options.tokens == 'word' else repr(''.join(ngram))}")
    if options.output is not None:
        try:
            draw(counts, options.output)
        except OSError as error:
            why = error.strerror or error
            raise SystemExit(f"error: {options.output}: cannot be written ({why})") from error
        print(options.output)


if __name__ == "__main__":
    main()
