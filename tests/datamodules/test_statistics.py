"""N-grams and Zipf's law: the book's counts, exponents of sequences that follow the law, the command."""

import re
from collections import Counter
from pathlib import Path

import matplotlib.image
import pytest

from datamodules.interface.tokenizers import normalize
from datamodules.text.statistics import count_ngrams, main, read_tokens, zipf_exponent


def test_ngrams() -> None:
    tokens = list("abcab")
    assert count_ngrams(tokens, 1) == {("a",): 2, ("b",): 2, ("c",): 1}
    assert count_ngrams(tokens, 2) == {("a", "b"): 2, ("b", "c"): 1, ("c", "a"): 1}
    assert count_ngrams(tokens, 3) == {("a", "b", "c"): 1, ("b", "c", "a"): 1, ("c", "a", "b"): 1}
    assert count_ngrams(tokens[:2], 3) == {}


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_text_that_follows_the_law(alpha: float) -> None:
    counts = {(str(rank),): round(10**12 * rank**-alpha) for rank in (3, 1, 2, 5, 4)}
    assert zipf_exponent(counts) == pytest.approx(alpha, abs=1e-9)
    assert zipf_exponent({("a",): 3, ("b",): 3}) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="counts has 1 entries, but must have at least 2"):
        zipf_exponent({("a",): 3})


def test_the_books_stop_words(shared_data: Path) -> None:
    path = shared_data / "timemachine" / "timemachine.txt"
    words = list(read_tokens(path))
    assert words == normalize(path.read_text("utf-8"), "letters").split()
    most = [(word, count) for (word,), count in count_ngrams(words, 1).most_common(4)]
    assert most == [("the", 2261), ("i", 1267), ("and", 1245), ("of", 1155)]
    assert len(list(read_tokens(path, tokens="char"))) == 173_428


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question: to be!", encoding="utf-8")
    main([str(path), "--output", str(tmp_path / "zipf.png"), "--top", "2"])
    out = capsys.readouterr().out
    assert re.findall(r"^ +(\d+)  (.*)$", out, re.MULTILINE) == [
        ("3", "be"),
        ("3", "to"),
        ("3", "to be"),
        ("1", "be or"),
        ("1", "be or not"),
        ("1", "be that is"),
    ]
    assert out.startswith("unigrams: 8 different, Zipf exponent ")
    assert out.endswith(f"{tmp_path / 'zipf.png'}\n")
    picture = matplotlib.image.imread(tmp_path / "zipf.png")
    colors = Counter(map(tuple, (picture.reshape(-1, 4) * 255).round().astype(int)[:, :3].tolist()))
    for color in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # matplotlib's first three
        assert colors[color] > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"a b c", "has 3 tokens, but must have two different triples"),
        (b"a b \xff", "is not UTF-8: byte 0xff at offset 4"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=message) as caught:
        main([str(path)])
    assert str(caught.value).startswith(f"error: {path}: ")
    assert "\n" not in str(caught.value)


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b c d e", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^error: .*none/zipf\.png: cannot be written"):
        main([str(tmp_path / "text.txt"), "--output", str(tmp_path / "none" / "zipf.png")])


def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "text.txt"), "--top", "-1"])
    assert "--top is -1, but must be at least 0" in capsys.readouterr().err
