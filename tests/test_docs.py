"""What the pages say is there: files, links, names, arguments, commands and the tests of the errata."""

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo_cli.commands import COMMANDS, RUN_COMMANDS
from zoo_cli.main import main
from zoo_cli.search_options import parse_options
from zoo_cli.sources import find_config

ROOT = Path(__file__).resolve().parent.parent
FOLDERS_OF_PAGES = (".", "docs", "benchmarks")
PAGES = [page for folder in FOLDERS_OF_PAGES for page in sorted((ROOT / folder).glob("*.md"))]
ERRATA = ROOT / "docs" / "errata.md"
OUR_PACKAGES = ("zoo", "datamodules", "callbacks", "search", "zoo_cli")
FOLDERS = (*OUR_PACKAGES, "configs", "tests", "docs", "benchmarks", r"\.ci")

Problems = Callable[[str], list[str]]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code_of(text: str) -> list[str]:
    """The blocks and the inline pieces of code on a page, in lines; continued lines are joined."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [line for piece in (*blocks, *inline) for line in piece.replace("\\\n", " ").splitlines()]


# Files


def missing_files(text: str) -> list[str]:
    """Paths within the project's folders that do not exist; ``<name>`` and ``*`` stand for any name."""
    missing = []
    for line in code_of(text):
        written = re.sub(r"(--output[ =]|> )\S+", "", line)
        for word in re.split(r"[\s=,;()\[\]'\"]+", written):
            path = word.split("::")[0].rstrip(".:")
            if re.match(rf"({'|'.join(FOLDERS)})/", path):
                pattern = re.sub(r"<[^<>]*>", "*", path)
                if "/.venv" not in path and not any(ROOT.glob(pattern.rstrip("/"))):
                    missing.append(path)
    return missing


def missing_tests(text: str) -> list[str]:
    """Tests named as ``tests/...py::test_name`` that do not exist."""
    return [
        f"{path}::{name}"
        for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)
        if not (ROOT / path).is_file() or name not in functions_of(ROOT / path)
    ]


def functions_of(path: Path) -> list[str]:
    """Names of the functions at the top of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


# Links


def anchor(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def dead_links(text: str, folder: Path = ROOT) -> list[str]:
    """Relative links to files or headings that do not exist."""
    dead = []
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, wanted = target.partition("#")
        path = (folder / name).resolve() if name else None
        if path is not None and not (path.is_relative_to(ROOT) and path.exists()):
            dead.append(target)
        elif wanted:
            linked = text if path is None else path.read_text(encoding="utf-8")
            if wanted not in map(anchor, re.findall(r"^#+ (.*)$", linked, flags=re.MULTILINE)):
                dead.append(target)
    return dead


# Names and arguments


def resolve(dotted: str) -> Any:
    """The object of a dotted name of ours, or an error that says which part does not exist."""
    first, *rest = dotted.split(".")
    found: Any = importlib.import_module(first)
    for i, part in enumerate(rest, start=2):
        if not hasattr(found, part):
            found = importlib.import_module(".".join(dotted.split(".")[:i]))
        else:
            found = getattr(found, part)
    return found


def unknown_names(text: str) -> list[str]:
    """Dotted names in our packages that lead to nothing."""
    unknown = []
    for line in code_of(text):
        for dotted in re.findall(rf"(?<![\w./-])(?:{'|'.join(OUR_PACKAGES)})(?:\.[A-Za-z_]\w*)+", line):
            try:
                resolve(dotted)
            except ImportError:
                unknown.append(dotted)
    return unknown


def wrong_arguments(text: str) -> list[str]:
    """Calls of our classes and functions with arguments that they do not take."""
    wrong = []
    for line in code_of(text):
        for call in calls_in(line):
            name = ast.unparse(call.func)
            if re.fullmatch(rf"(?:{'|'.join(OUR_PACKAGES)})(?:\.\w+)+", name):
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
                try:
                    signature_of(resolve(name)).bind(*call.args, **keywords)
                except TypeError as error:
                    wrong.append(f"{line}: {error}")
    return wrong


def signature_of(function: Any) -> inspect.Signature:
    """The signature as a caller sees it; Lightning's class methods show their ``cls``."""
    signature = inspect.signature(function)
    parameters = [p for name, p in signature.parameters.items() if name not in ("cls", "self")]
    return signature.replace(parameters=parameters)


def calls_in(line: str) -> Iterator[ast.Call]:
    """The calls in a line of Python; none in a line that is no Python by itself."""
    try:
        tree = ast.parse(line.strip())
    except SyntaxError:
        return
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


# Commands


def commands_in(text: str) -> list[list[str]]:
    """The words after ``python cli.py`` or ``d2l-zoo`` of each command on a page."""
    found = []
    for line in code_of(text):
        match = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:python cli\.py|d2l-zoo) (.+)", line)
        if match and "..." not in match[1]:
            found.append(shlex.split(re.split(r" [|>&]|;", match[1])[0], comments=True))
    return found


def refused_commands(text: str) -> list[str]:
    """Commands that the command line does not understand; nothing is run but listings and help."""
    refused = []
    for words in commands_in(text):
        if words[0].startswith("-"):
            accepted = main(words) == 0
        elif words[0] not in COMMANDS:
            accepted = False
        elif words[0] in ("models", "data") or "--help" in words or any("help" in w for w in words[1:]):
            accepted = main(words) == 0
        elif words[0] == "search" and words[1:]:
            options, rest = parse_options(words[1:])
            accepted = find_config(options.space).is_file() and main(["fit", *rest, "--print_config"]) == 0
        elif any(word.startswith("studies/") for word in words):
            accepted = True  # a search leaves that file
        elif words[0] in (*RUN_COMMANDS, "kfold"):
            command = "fit" if words[0] == "kfold" else words[0]
            rest = without_options(words[1:], ("--ckpt_path", "--input", "--output", "--folds"))
            accepted = main([command, *rest, "--print_config"]) == 0
        else:
            accepted = True
        if not accepted:
            refused.append(" ".join(words))
    return refused


def without_options(words: list[str], options: tuple[str, ...]) -> list[str]:
    """Words without these options and their values: checkpoints and inputs are not there to be read."""
    kept: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word in options:
            next(remaining, None)
        elif word.split("=")[0] not in options:
            kept.append(word)
    return kept


def unknown_targets(text: str) -> list[str]:
    """``make`` targets that the Makefile lacks."""
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = [match for line in code_of(text) for match in re.findall(r"^\s*(?:\$ )?make ([\w-]+)", line)]
    return [target for target in named if target not in known]


CHECKS: list[Problems] = [
    missing_files,
    missing_tests,
    unknown_names,
    wrong_arguments,
    refused_commands,
    unknown_targets,
]


@every_page
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_a_page_names_is_there(page: Path, check: Problems) -> None:
    assert check(page.read_text(encoding="utf-8")) == []


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page.read_text(encoding="utf-8"), page.parent) == []


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (missing_files, "`configs/cnn/lenet_on_the_moon.yaml`"),
        (missing_files, "`zoo/<area>/<model>.rs`"),
        (missing_files, "```sh\npython cli.py fit --config=configs/nothing.yaml\n```"),
        (missing_tests, "`tests/test_docs.py::test_that_was_renamed`"),
        (missing_tests, "`tests/test_that_is_gone.py::test_it`"),
        (dead_links, "[here](docs/nothing.md)"),
        (dead_links, "# One\n[there](#two)"),
        (dead_links, "[outside](../shared)"),
        (unknown_names, "`zoo.LaNet`"),
        (unknown_names, "```python\nmodel = zoo.LeNet.nett\n```"),
        (wrong_arguments, "`zoo.LeNet(lr=0.1)`"),
        (wrong_arguments, "`zoo.LinearRegression()`"),
        (wrong_arguments, "```python\nmodel = zoo.create()\n```"),
        (refused_commands, "`python cli.py train`"),
        (refused_commands, "`python cli.py models LaNet`"),
        (refused_commands, "`python cli.py fit --config configs/quickstart.yaml --model.init_args.lr 1`"),
        (
            refused_commands,
            "```\n$ d2l-zoo fit --model LeNet \\\n    --data FashionMNIST --trainer.epochs 3\n```",
        ),
        (refused_commands, "`python cli.py kfold --config configs/linear/no_prices.yaml --folds 3`"),
        (unknown_targets, "`make coffee`"),
    ],
)
def test_checks_see_what_they_are_for(check: Problems, wrong: str) -> None:
    assert len(check(wrong)) == 1


RIGHT = """
# Two words, one `heading`

[here](docs/errata.md), [there](#two-words-one-heading), [elsewhere](https://example.org/nothing)

`configs/<area>/<model>_<dataset>.yaml` `runs/nothing/version_0` `zoo.LeNet(num_classes=3).net` `zoo.tasks`
`make test` `tests/test_docs.py::test_checks_let_the_rest_pass`

```sh
$ ZOO_DATA_DIR=folder python cli.py fit --model LeNet \\
    --data FashionMNIST --trainer.max_epochs 3  # a comment
python cli.py test --config configs/quickstart.yaml --ckpt_path best | grep acc
python cli.py results runs --output docs/nothing.md
```
"""


@pytest.mark.parametrize("check", [*CHECKS, dead_links], ids=lambda check: check.__name__)
def test_checks_let_the_rest_pass(check: Problems) -> None:
    assert check(RIGHT) == []
    assert len(commands_in(RIGHT)) == 3


# The errata page


def rows_of(page: Path) -> list[str]:
    """The rows of the tables of a page, without their headers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [
        line for i, line in enumerate(lines) if line.startswith("|") and "|-" not in "".join(lines[i : i + 2])
    ]


def test_every_erratum_names_a_test() -> None:
    rows = rows_of(ERRATA)
    assert len(rows) > 10
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::test_\w+`", row)] == []


def test_every_test_of_an_erratum_is_in_the_row_of_its_number() -> None:
    rows = rows_of(ERRATA)
    tests = [
        (match, f"{path.relative_to(ROOT)}::{name}")
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in functions_of(path)
        if (match := re.match(r"test_(?:erratum_(\d+)|(q\d+))_", name))
    ]
    assert len(tests) > 5
    for match, test in tests:
        number = match[1] or match[2].upper()
        row = next((row for row in rows if f"`{test}`" in row), None)
        assert row is not None, f"docs/errata.md lacks {test}"
        assert number in re.split(r"[|, ]+", row.split("|")[1]), f"{test} is in the row of another erratum"


def test_every_model_of_the_book_can_be_found_from_its_name() -> None:
    """Each registered model is on the page that leads from the book's names to ours."""
    text = (ROOT / "docs" / "from-the-book.md").read_text(encoding="utf-8")
    assert [name for name in zoo.list_models() if not re.search(rf"\bzoo\.{name}\b", text)] == []
