"""Every study has its files of pictures, and an empty picture says why."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.parameter_pictures import draw_parallel
from search.pictures import draw_all, draw_curves, draw_history, draw_pareto
from search.trials import TrialView
from tests.search.figures import ADAM, SGD, SPACE, texts
from tests.search.views import ACC, TWO, trial

ROOT = Path(__file__).resolve().parent.parent.parent


def study(kind: str) -> list[TrialView]:
    whole = {epoch: 0.5 + 0.04 * epoch for epoch in range(1, 11)}
    views = {
        "none": [],
        "one": [trial(0, "complete", 0.9, params=SGD, curve=whole)],
        "starting": [trial(0, "running", params={}), trial(1, "running", params=SGD)],
        "all pruned": [trial(n, "pruned", params=ADAM, curve={1: 0.1 * n, 2: 0.2}) for n in range(5)],
        "no number": [trial(n, "complete", math.nan, params=SGD, curve={1: math.nan}) for n in range(5)],
        "all failed": [trial(n, "failed", params=ADAM, error="boom") for n in range(5)],
        "equal": [trial(n, "complete", 0.5, params=SGD, curve={1: 0.5}) for n in range(9)],
    }
    return views[kind]


@pytest.mark.parametrize(
    "kind", ["none", "one", "starting", "all pruned", "no number", "all failed", "equal"]
)
def test_every_study_has_pictures(tmp_path: Path, kind: str) -> None:
    paths, missing = draw_all(
        tmp_path / "pictures", study(kind), ACC, title="study", distributions=SPACE, rungs=[1, 3]
    )
    assert [path.name for path in paths] == ["history.png", "curves.png", "parallel.png"]
    (sentence,) = missing
    assert sentence.startswith("No importances: ")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(p.name for p in paths)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            # More than paper.
            assert np.asarray(image.convert("L")).std() > 1


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: draw_history([], ACC, "study"), "No trial has a value yet."),
        (lambda: draw_curves(study("no number"), ACC, "study"), "No trial has a value yet."),
        (lambda: draw_parallel([], ACC, "study", []), "No trial has started yet."),
        (lambda: draw_pareto(study("no number"), TWO, "study"), "No trial is complete yet."),
    ],
)
def test_a_picture_of_nothing_says_so(draw: Any, sentence: str) -> None:
    (axes,) = draw().axes
    assert texts(axes) == [sentence]


def test_with_two_objectives_the_front_is_drawn_too(tmp_path: Path) -> None:
    rates = [0.1, 0.2, 0.4, 0.8]
    views = [
        trial(n, "complete", 0.1 * n, 100.0, params=SGD | {"m.opt.init_args.lr": rate})
        for n, rate in enumerate(rates)
    ]
    paths, missing = draw_all(tmp_path, views, TWO, title="study", distributions=SPACE)
    assert missing == []  # of the second objective a sentence says it
    assert [path.stem for path in paths] == ["history", "curves", "importances", "parallel", "pareto"]
    assert all(path.is_file() for path in paths)


def test_showing_a_study_needs_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, search.board, search.pictures\n"
        "print('matplotlib' in sys.modules)\n"
        "from pathlib import Path\n"
        "from search.objectives import parse_objectives\n"
        "objectives = parse_objectives(['a:min'])\n"
        "search.pictures.draw_all(Path(sys.argv[1]), [], objectives, title='t', distributions={})\n"
        "print([m for m in ('torch', 'lightning') if m in sys.modules])\n"
    )
    arguments = [sys.executable, "-c", code, str(Path.cwd())]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n[]\n"
    assert Path("history.png").is_file()
